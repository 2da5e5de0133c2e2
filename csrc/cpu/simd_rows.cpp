#include <ATen/cpu/vec/vec.h>

#include "cpu/simd.h"

#define KC_CONCAT_(a, b) a##b
#define KC_CONCAT(a, b) KC_CONCAT_(a, b)

namespace kcircuits::cpu {
namespace {

using Vec = at::vec::Vectorized<float>;

void axpy(float* out, const float* in, float w, int64_t n) {
  const Vec weight(w);
  int64_t i = 0;
  for (; i + Vec::size() <= n; i += Vec::size()) {
    at::vec::fmadd(Vec::loadu(in + i), weight, Vec::loadu(out + i)).store(out + i);
  }
  for (; i < n; ++i) out[i] += w * in[i];
}

}  // namespace

extern const RowKernels KC_CONCAT(row_kernels_, CPU_CAPABILITY);
const RowKernels KC_CONCAT(row_kernels_, CPU_CAPABILITY) = {"rows", axpy};

}  // namespace kcircuits::cpu
