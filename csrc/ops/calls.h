// The package's ops as C++ calls, through the dispatcher: the same code runs where the tensors
// live. Schemas: csrc/register.cpp. Shapes and meaning: kcircuits/ops/.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace kcircuits {

at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated,
                    const std::optional<at::Tensor>& constant, std::string_view norm,
                    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                    double eps, bool unit_offset = false);

// scores [S, R], float32 (float64 for float64), any strides: adds Σ_t ⟨delta[s, t], grad[r, t]⟩.
// delta [S, T, D], grad [R, T, D]. Receiver r has the first limits[r] senders.
void add_edge_scores(const at::Tensor& scores, const at::Tensor& delta, const at::Tensor& grad,
                     const std::vector<int64_t>& limits);

// Logits of rows [N, D] times unembedding [V, D] (+ bias [V]), capped where soft_cap > 0 ->
// log-sum-exp over the vocabulary double [N], and the logits of targets int64 [N] where they are
// given.
struct Readout {
  at::Tensor log_sum_exp, target_logits;
};
Readout vocab_readout(const at::Tensor& rows, const at::Tensor& unembedding,
                      const std::optional<at::Tensor>& targets,
                      const std::optional<at::Tensor>& bias, double soft_cap);

}  // namespace kcircuits
