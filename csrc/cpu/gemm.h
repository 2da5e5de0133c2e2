// Matrix products of the CPU kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace kcircuits::cpu {

// x [M, K] · w [N, K]ᵀ (+ bias [N]) -> [M, N], contiguous, in x's dtype. No autograd.
// w may be a view, with a stride along either dimension; neither layout is copied when the other
// dimension is contiguous. x, w and bias are CPU tensors of one floating dtype. Safe inside
// at::parallel_for, where it runs on the calling thread alone.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w,
                  const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace kcircuits::cpu
