// Matrix products of the CPU kernels, by the fastest library call for the shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace kcircuits::cpu {

// x [M, K] · w [N, K]ᵀ (+ bias [N]) -> [M, N], contiguous, in x's dtype. No autograd.
// w may be a transposed view (w.t() contiguous, as GPT-2's Conv1D weights are). x, w and bias are
// dense CPU tensors of one floating dtype. Safe inside at::parallel_for, where it runs on the
// calling thread alone.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w,
                  const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace kcircuits::cpu
