#include "engine/metric.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/nodes.h"
#include "ops/calls.h"

namespace kcircuits::engine {

at::Tensor Metric::operator()(const at::Tensor& rows) const {
  const auto sizes = rows.sizes().slice(0, 2);
  const at::Tensor flat = rows.reshape({-1, rows.size(-1)});
  if (answers) {
    const at::Tensor targets = answers->expand(sizes).reshape(-1);
    const Readout readout = vocab_readout(flat, unembedding, targets, bias);
    return (readout.log_sum_exp - readout.target_logits.to(at::kDouble)).view(sizes);
  }
  const at::Tensor value = offset - (rows.to(at::kDouble) * direction).sum(-1);  // [B, N]
  return needs_lse
             ? value + vocab_readout(flat, unembedding, std::nullopt, bias).log_sum_exp.view(sizes)
             : value;
}

at::Tensor Metric::gradient(const at::Tensor& rows) const {
  const c10::NoGradGuard no_grad;
  at::Tensor out = direction.neg().expand(rows.sizes());
  if (needs_lse) {
    const at::Tensor p = project(rows, unembedding, bias).softmax(-1);  // [B, N, V]
    out = out + project(p, unembedding.t(), std::nullopt);
  }
  return out.to(rows.scalar_type());
}

Metric make_metric(const std::string& kind, const Model& model, const at::Tensor& answers,
                   const std::optional<at::Tensor>& wrong, const at::Tensor& full_rows) {
  const at::Tensor& w = model.unembedding;
  const auto& bias = model.unembedding_bias;
  const auto direction_of = [&](const at::Tensor& ids) {
    return w.index_select(0, ids).to(at::kDouble);
  };
  const auto bias_of = [&](const at::Tensor& ids) {
    return bias ? bias->index_select(0, ids).to(at::kDouble)
                : at::zeros({ids.size(0)}, w.options().dtype(at::kDouble));
  };
  if (kind == "nll") return {w, bias, direction_of(answers), -bias_of(answers), true, answers};
  if (kind == "logit-diff") {
    TORCH_CHECK_VALUE(wrong.has_value(), "metric logit-diff needs a wrong answer for every prompt");
    return {w,
            bias,
            direction_of(answers) - direction_of(*wrong),
            bias_of(*wrong) - bias_of(answers),
            false,
            {}};
  }
  TORCH_CHECK_VALUE(kind == "kl", "metric: expected nll, kl or logit-diff, got ", kind);
  // KL(full ‖ run) = Σ p log p − Σ p·logit_run + lse_run, and Σ p·logit_run = ⟨row, Σ p W⟩ + Σ p b.
  const at::Tensor logits = project(full_rows, w, bias).to(at::kDouble);
  const at::Tensor log_p = at::log_softmax(logits, -1);
  const at::Tensor p = log_p.exp();
  at::Tensor offset = (p * log_p).sum(-1);
  if (bias) offset = offset - at::mv(p, bias->to(at::kDouble));
  return {w,      bias, project(p.to(full_rows.scalar_type()), w.t(), std::nullopt).to(at::kDouble),
          offset, true, {}};
}

}  // namespace kcircuits::engine
