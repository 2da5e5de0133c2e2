// No standard containers or algorithms here: an inline function compiled for AVX-512 could be the
// copy that the linker keeps for every caller, also on a processor without it. Loops of a fixed
// count are left to the compiler, which turns each into a few vector instructions.
#include "cpu/codes.h"

#define KC_CONCAT_(a, b) a##b
#define KC_CONCAT(a, b) KC_CONCAT_(a, b)

namespace kcircuits::cpu {
namespace {

constexpr float kNothing = -0.0F;  // x + kNothing is x, and keeps the sign of a zero

template <int kGroup>
void nibbles_of(float* __restrict__ out, const uint8_t* __restrict__ codes, const float* scale,
                const float* offset, float zero, int64_t groups) {
  constexpr int kHalf = kGroup / 2;
  for (int64_t g = 0; g < groups; ++g, out += kGroup, codes += kHalf) {
    const float by = scale[g];
    const float add = offset == nullptr ? kNothing : offset[g];
    for (int i = 0; i < kHalf; ++i) {
      out[i] = by * (static_cast<float>(codes[i] & 15) - zero) + add;
    }
    for (int i = 0; i < kHalf; ++i) {
      out[kHalf + i] = by * (static_cast<float>(codes[i] >> 4) - zero) + add;
    }
  }
}

template <int kGroup>
void bytes_of(float* __restrict__ out, const int8_t* __restrict__ codes, const float* scale,
              const float* offset, int64_t groups) {
  for (int64_t g = 0; g < groups; ++g, out += kGroup, codes += kGroup) {
    const float by = scale[g];
    const float add = offset == nullptr ? kNothing : offset[g];
    for (int i = 0; i < kGroup; ++i) out[i] = by * static_cast<float>(codes[i]) + add;
  }
}

void nibbles(float* out, const uint8_t* codes, const float* scale, const float* offset, float zero,
             int64_t group, int64_t groups) {
  (group == 16 ? nibbles_of<16> : nibbles_of<32>)(out, codes, scale, offset, zero, groups);
}

void bytes(float* out, const int8_t* codes, const float* scale, const float* offset, int64_t group,
           int64_t groups) {
  (group == 16 ? bytes_of<16> : bytes_of<32>)(out, codes, scale, offset, groups);
}

}  // namespace

extern const CodeKernels KC_CONCAT(code_kernels_, CPU_CAPABILITY);
const CodeKernels KC_CONCAT(code_kernels_, CPU_CAPABILITY) = {nibbles, bytes};

}  // namespace kcircuits::cpu
