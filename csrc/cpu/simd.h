// Row primitives, compiled once per instruction set (csrc/cpu/simd_rows.cpp) and picked at load
// time.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <type_traits>

#include "norm_kind.h"

namespace kcircuits::cpu {

// Sums of T are kept in this type: double for double, float for everything else.
template <typename T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Primitives for one element type. All rows are contiguous runs of n elements.
template <typename T>
struct RowOps {
  using Acc = Accumulate<T>;
  // out = init + sum over k < count of weights[k] * inputs[k]; a null init counts as zeros.
  void (*weighted_sum)(Acc* out, const Acc* init, const T* const* inputs, const Acc* weights,
                       int64_t count, int64_t n);
  // out = norm(x) * weight + bias; a null weight counts as ones, a null bias as zeros.
  void (*normalize)(T* out, const Acc* x, NormKind kind, const Acc* weight, const Acc* bias,
                    Acc eps, int64_t n);
};

struct RowKernels {
  const char* name;
  // Rotary embedding in place: the pair (x[i], x[half + i]) turns by the angle with this cos and
  // sin.
  void (*rotate)(float* x, const float* cos, const float* sin, int64_t half);
  // One query of one head: out [d] = sum over t < count of softmax_t(scale * q·k_t) * v_t. Row t of
  // the keys and values starts at t * d; scores is scratch of `count` elements.
  void (*attend)(float* out, const float* q, const float* keys, const float* values, int64_t count,
                 int64_t d, float scale, float* scores);
  RowOps<float> f32;
  RowOps<double> f64;
  RowOps<c10::BFloat16> bf16;
  RowOps<c10::Half> f16;

  template <typename T>
  const RowOps<T>& of() const {
    if constexpr (std::is_same_v<T, double>) {
      return f64;
    } else if constexpr (std::is_same_v<T, c10::BFloat16>) {
      return bf16;
    } else if constexpr (std::is_same_v<T, c10::Half>) {
      return f16;
    } else {
      static_assert(std::is_same_v<T, float>);
      return f32;
    }
  }
};

// The widest set this processor and torch's own settings allow.
const RowKernels& rows();

}  // namespace kcircuits::cpu
