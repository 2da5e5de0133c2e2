// The one list of op schemas. Kernels register themselves beside their code with
// TORCH_LIBRARY_IMPL.
#include <torch/library.h>

TORCH_LIBRARY(kcircuits, library) {
  library.def(
      "edge_mix(Tensor senders, Tensor mask, Tensor? ablated=None, Tensor? constant=None, *, "
      "str norm=\"none\", Tensor? weight=None, Tensor? bias=None, float eps=1e-5, "
      "bool unit_offset=False) -> Tensor");
  library.def(
      "edge_scores(Tensor delta, Tensor grad, Tensor limits, *, Tensor? positions=None, "
      "bool per_position=False) -> Tensor");
  library.def(
      "edge_scores_(Tensor(a!) scores, Tensor delta, Tensor grad, Tensor limits, *, "
      "Tensor? positions=None, bool per_position=False) -> ()");
  library.def(
      "vocab_readout(Tensor rows, Tensor unembedding, Tensor? targets=None, Tensor? bias=None, *, "
      "int topk=0, float soft_cap=0.0, str norm=\"none\", Tensor? weight=None, "
      "Tensor? norm_bias=None, float eps=1e-5, bool unit_offset=False, Tensor? scale=None, "
      "bool rank_range=False) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
