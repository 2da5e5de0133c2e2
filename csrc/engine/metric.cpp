#include "engine/metric.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "engine/project.h"
#include "engine/read_vocabulary.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

constexpr int64_t kLogitBytes = 64 << 20;  // of logits that exist at a time

at::Tensor cap(const at::Tensor& logits, double soft_cap) {
  return soft_cap > 0 ? at::tanh(logits / soft_cap) * soft_cap : logits;
}

}  // namespace

at::Tensor Metric::operator()(const at::Tensor& rows) const {
  const profile::Scope scope(profile::Op::kVocabulary, profile::kNoLayer);
  const auto sizes = rows.sizes().slice(0, 2);
  const at::Tensor flat = rows.reshape({-1, rows.size(-1)});
  if (answers) {
    const at::Tensor targets = answers->expand(sizes).reshape(-1);
    const Readout readout = read_vocabulary(flat, unembedding, targets, bias, soft_cap);
    return (readout.log_sum_exp - readout.target_logits.to(at::kDouble)).view(sizes);
  }
  if (soft_cap > 0) return capped(rows);
  const at::Tensor value = offset - (rows.to(at::kDouble) * direction).sum(-1);  // [B, N]
  if (!needs_lse) return value;
  return value + read_vocabulary(flat, unembedding, std::nullopt, bias, 0).log_sum_exp.view(sizes);
}

// Few hypotheses at a time, as every row's logits are there at once.
at::Tensor Metric::capped(const at::Tensor& rows) const {
  const int64_t bytes = rows.size(1) * unembedding.size(0) * static_cast<int64_t>(sizeof(double));
  const int64_t chunk = std::max<int64_t>(1, kLogitBytes / bytes);
  std::vector<at::Tensor> values;
  for (int64_t first = 0; first < rows.size(0); first += chunk) {
    const at::Tensor some =
        logits(rows.slice(0, first, std::min(first + chunk, rows.size(0)))).to(at::kDouble);
    const at::Tensor value = offset - (some * *weights).sum(-1);
    values.push_back(needs_lse ? value + some.logsumexp(-1) : value);
  }
  return values.empty() ? at::empty({0, rows.size(1)}, rows.options().dtype(at::kDouble))
                        : at::cat(values, 0);
}

at::Tensor Metric::logits(const at::Tensor& rows) const {
  return cap(project(rows, unembedding, bias), soft_cap);
}

at::Tensor Metric::gradient(const at::Tensor& rows) const {
  const c10::NoGradGuard no_grad;
  if (soft_cap == 0 && !needs_lse)
    return direction.neg().expand(rows.sizes()).to(rows.scalar_type());
  // Few prompts at a time, as every row's logits are there at once.
  const int64_t bytes = rows.size(0) * unembedding.size(0) * rows.element_size();
  const int64_t chunk = std::max<int64_t>(1, kLogitBytes / bytes);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < rows.size(1); first += chunk) {
    const int64_t end = std::min(first + chunk, rows.size(1));
    parts.push_back(gradient_of(rows.slice(1, first, end), first, end));
  }
  return at::cat(parts, 1);
}

// Of prompts `first` to `end`.
at::Tensor Metric::gradient_of(const at::Tensor& rows, int64_t first, int64_t end) const {
  const at::Tensor values = logits(rows);  // [B, n, V]
  at::Tensor at_logits = needs_lse ? values.softmax(-1) : at::zeros_like(values);
  if (soft_cap > 0) {
    at_logits = (at_logits - weights->slice(0, first, end)) * (1 - (values / soft_cap).square());
  }
  const at::Tensor out = project(at_logits.to(rows.scalar_type()), unembedding.t(), std::nullopt);
  return soft_cap > 0 ? out : (out - direction.slice(0, first, end)).to(rows.scalar_type());
}

namespace {

// What each logit counts for: 1 at the answers, −1 at the wrong ones; or, for kl, the full model's
// probabilities. double [N, V].
at::Tensor logit_weights(const std::string& kind, const at::Tensor& answers,
                         const std::optional<at::Tensor>& wrong, const at::Tensor& full_p,
                         int64_t words) {
  if (kind == "kl") return full_p;
  at::Tensor weights = at::zeros({answers.size(0), words}, answers.options().dtype(at::kDouble));
  weights.scatter_(1, answers.unsqueeze(1), 1);
  if (kind == "logit-diff") weights.scatter_(1, wrong->unsqueeze(1), -1);
  return weights;
}

}  // namespace

Metric make_metric(const std::string& kind, const Model& model, const at::Tensor& answers,
                   const std::optional<at::Tensor>& wrong, const at::Tensor& full_rows) {
  TORCH_CHECK_VALUE(kind == "nll" || kind == "kl" || kind == "logit-diff",
                    "metric: expected nll, kl or logit-diff, got ", kind);
  TORCH_CHECK_VALUE(kind != "logit-diff" || wrong.has_value(),
                    "metric logit-diff needs a wrong answer for every prompt");
  const Weight& w = model.unembedding;
  Metric metric{w, model.unembedding_bias, model.logit_soft_cap, kind != "logit-diff", {}, {}, {},
                {}};
  if (kind == "nll") metric.answers = answers;
  // KL(full ‖ run) = Σ p log p − Σ p·logit_run + lse_run.
  at::Tensor p, entropy = at::zeros({answers.size(0)}, answers.options().dtype(at::kDouble));
  if (kind == "kl") {
    const at::Tensor logits =
        cap(project(full_rows, w, model.unembedding_bias), model.logit_soft_cap).to(at::kDouble);
    const at::Tensor log_p = at::log_softmax(logits, -1);
    p = log_p.exp();
    entropy = (p * log_p).sum(-1);
  }
  metric.offset = entropy;
  if (model.logit_soft_cap > 0) {
    metric.weights = logit_weights(kind, answers, wrong, p, w.size(0));
    return metric;
  }
  // Σ weights · logits = ⟨row, Σ weights W⟩ + Σ weights b.
  if (kind == "kl") {
    metric.direction = project(p.to(full_rows.scalar_type()), w.t(), std::nullopt).to(at::kDouble);
    if (metric.bias) metric.offset = entropy - at::mv(p, metric.bias->to(at::kDouble));
    return metric;
  }
  const auto rows_of = [&](const at::Tensor& ids) { return w.rows_at(ids).widened(at::kDouble); };
  metric.direction = rows_of(answers);
  if (kind == "logit-diff") metric.direction = metric.direction - rows_of(*wrong);
  if (metric.bias) {
    const at::Tensor bias = metric.bias->to(at::kDouble);
    metric.offset = -bias.index_select(0, answers);
    if (kind == "logit-diff") metric.offset = metric.offset + bias.index_select(0, *wrong);
  }
  return metric;
}

}  // namespace kcircuits::engine
