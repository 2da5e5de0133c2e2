// The metric of a run, lower is better, from its final-normed rows at each prompt's last position.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "engine/spec.h"

namespace kcircuits::engine {

// nll, kl and logit-diff have one form where logits are linear in the row: [needs_lse] log-sum-exp
// − ⟨row, direction⟩ + offset. Behind a soft cap they are not, and logits are looked at one by one.
struct Metric {
  Weight unembedding;  // [V, D]
  std::optional<at::Tensor> bias;
  double soft_cap;       // 0: none
  bool needs_lse;        // all but logit-diff
  at::Tensor direction;  // double [N, D]; without soft cap
  at::Tensor offset;     // double [N]; without soft cap, and of kl the entropy's part with it
  // nll only, int64 [N]: the answers, whose logits are then taken from where the log-sum-exp is
  // taken. The two rounded alike, their small difference keeps its digits.
  std::optional<at::Tensor> answers;
  // With a soft cap, [N, V]: the metric is [needs_lse] log-sum-exp − Σ weights · logits + offset.
  std::optional<at::Tensor> weights;

  // rows [B, N, D] -> double [B, N]
  at::Tensor operator()(const at::Tensor& rows) const;

  // The gradient of each row's metric at that row, [B, N, D] in the rows' dtype.
  at::Tensor gradient(const at::Tensor& rows) const;

 private:
  at::Tensor logits(const at::Tensor& rows) const;  // [..., V], capped
  at::Tensor capped(const at::Tensor& rows) const;
  at::Tensor gradient_of(const at::Tensor& rows, int64_t first, int64_t end) const;
};

// kind: "nll", "kl" (to the full model) or "logit-diff". answers, wrong: int64 [N]; `wrong` only
// for logit-diff. full_rows [N, D]: the full model's final-normed rows, only for kl.
Metric make_metric(const std::string& kind, const Model& model, const at::Tensor& answers,
                   const std::optional<at::Tensor>& wrong, const at::Tensor& full_rows);

}  // namespace kcircuits::engine
