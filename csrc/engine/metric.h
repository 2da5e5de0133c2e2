// The metric of a run, lower is better, from its final-normed rows at each prompt's last position.
// nll, kl and logit-diff have one form: [needs_lse] log-sum-exp − ⟨row, direction⟩ + offset.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "engine/spec.h"

namespace kcircuits::engine {

struct Metric {
  at::Tensor unembedding;  // [V, D]
  std::optional<at::Tensor> bias;
  at::Tensor direction;  // double [N, D]
  at::Tensor offset;     // double [N]
  bool needs_lse;
  // nll only, int64 [N]: the answers, whose logits are then taken from where the log-sum-exp is
  // taken. The two rounded alike, their small difference keeps its digits.
  std::optional<at::Tensor> answers;

  // rows [B, N, D] -> double [B, N]
  at::Tensor operator()(const at::Tensor& rows) const;

  // The gradient of each row's metric at that row, [B, N, D] in the rows' dtype.
  at::Tensor gradient(const at::Tensor& rows) const;
};

// kind: "nll", "kl" (to the full model) or "logit-diff". answers, wrong: int64 [N]; `wrong` only
// for logit-diff. full_rows [N, D]: the full model's final-normed rows, only for kl.
Metric make_metric(const std::string& kind, const Model& model, const at::Tensor& answers,
                   const std::optional<at::Tensor>& wrong, const at::Tensor& full_rows);

}  // namespace kcircuits::engine
