// Row primitives, compiled once per instruction set (csrc/cpu/simd_rows.cpp) and picked at load time.
#pragma once

#include <cstdint>

namespace kcircuits::cpu {

// All rows are contiguous runs of n elements.
struct RowKernels {
  const char* name;
  // out[i] += w * in[i]
  void (*axpy)(float* out, const float* in, float w, int64_t n);
};

// The widest set this processor and torch's own settings allow.
const RowKernels& rows();

}  // namespace kcircuits::cpu
