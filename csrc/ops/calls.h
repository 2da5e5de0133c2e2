// The package's ops as C++ calls, through the dispatcher: the same code runs where the tensors
// live. Schemas: csrc/register.cpp. Shapes and meaning: kcircuits/ops/.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace kcircuits {

at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated,
                    const std::optional<at::Tensor>& constant, std::string_view norm,
                    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                    double eps, bool unit_offset = false);

// Log-sum-exp of rows [N, D] times unembedding [V, D] (+ bias [V]) over the vocabulary -> float
// [N].
at::Tensor log_sum_exp(const at::Tensor& rows, const at::Tensor& unembedding,
                       const std::optional<at::Tensor>& bias);

}  // namespace kcircuits
