// Every CUDA kernel of the package without torch: tools/check_cuda.py compiles this for each
// architecture.
#include "cuda/edge_mix.cuh"
#include "cuda/edge_scores.cuh"
#include "cuda/vocab_readout.cuh"

namespace kcircuits::cuda {

#define KCIRCUITS_INSTANTIATE(T)                                     \
  template void launch_edge_mix(EdgeMixCall<T>, cudaStream_t);       \
  template void launch_edge_scores(EdgeScoresCall<T>, cudaStream_t); \
  template void launch_vocab_readout(VocabReadoutCall<T>, cudaStream_t);

KCIRCUITS_INSTANTIATE(float)
KCIRCUITS_INSTANTIATE(double)
KCIRCUITS_INSTANTIATE(Half)
KCIRCUITS_INSTANTIATE(BFloat16)

}  // namespace kcircuits::cuda
