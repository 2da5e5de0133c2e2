// Rows of codes as the numbers they stand for, compiled once per instruction set
// (csrc/cpu/simd_codes.cpp) and picked at load time.
#pragma once

#include <cstdint>

namespace kcircuits::cpu {

// `groups` runs of `group` (16 or 32) codes: out = scale * (code - zero) + offset, with a scale and
// an offset per group; a null offset adds nothing.
struct CodeKernels {
  // Two codes of 4 bits per byte: the low halves of a group's bytes, then the high ones.
  void (*nibbles)(float* out, const uint8_t* codes, const float* scale, const float* offset,
                  float zero, int64_t group, int64_t groups);
  // A byte per code; zero is 0.
  void (*bytes)(float* out, const int8_t* codes, const float* scale, const float* offset,
                int64_t group, int64_t groups);
};

// The widest set this processor and torch's own settings allow.
const CodeKernels& codes();

}  // namespace kcircuits::cpu
