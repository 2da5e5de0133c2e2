// Weights kept as codes of 4 or 8 bits, as float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace kcircuits::cpu {

// scale * (code - zero) + offset, float32 [N, G * group]. codes: uint8 [N, G * group / 2], packed
// as cpu/codes.h says, or int8 [N, G * group]; elements of a row adjacent. scale, offset:
// contiguous float32 [N, G]. It writes 4 bytes per number and reads about one, so memory is its
// bound.
at::Tensor dequantise(const at::Tensor& codes, const at::Tensor& scale,
                      const std::optional<at::Tensor>& offset, double zero, int64_t group);

}  // namespace kcircuits::cpu
