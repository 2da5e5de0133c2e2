#include "cpu/simd.h"

#include <ATen/Version.h>

#include <string>

#include "cpu/gemm_kernels.h"

namespace kcircuits::cpu {

#ifdef KCIRCUITS_SIMD_AVX2
extern const RowKernels row_kernels_AVX2;
extern const GemmKernels gemm_kernels_AVX2;
#endif
#ifdef KCIRCUITS_SIMD_AVX512
extern const RowKernels row_kernels_AVX512;
extern const GemmKernels gemm_kernels_AVX512;
#endif
extern const RowKernels row_kernels_DEFAULT;
extern const GemmKernels gemm_kernels_DEFAULT;

namespace {

struct Kernels {
  const RowKernels& rows;
  const GemmKernels& gemm;
};

const Kernels& chosen() {
  static const Kernels kernels = []() -> Kernels {
    // Follow torch's choice, so that ATEN_CPU_CAPABILITY governs both.
    const std::string capability = at::get_cpu_capability();
#ifdef KCIRCUITS_SIMD_AVX512
    if (capability == "AVX512") return {row_kernels_AVX512, gemm_kernels_AVX512};
#endif
#ifdef KCIRCUITS_SIMD_AVX2
    if (capability == "AVX512" || capability == "AVX2") return {row_kernels_AVX2, gemm_kernels_AVX2};
#endif
    return {row_kernels_DEFAULT, gemm_kernels_DEFAULT};
  }();
  return kernels;
}

}  // namespace

const RowKernels& rows() { return chosen().rows; }

const GemmKernels& gemm_kernels() { return chosen().gemm; }

}  // namespace kcircuits::cpu
