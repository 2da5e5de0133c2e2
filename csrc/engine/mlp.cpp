#include "engine/mlp.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "engine/project.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

at::Tensor apply_activation(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kQuickGelu:
      return x * at::sigmoid(x * 1.702);
  }
  TORCH_CHECK(false, "activation: unknown value");
}

// f(x) / x, at 0 too.
at::Tensor secant(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return at::sigmoid(x);
    case Activation::kGelu:
      return at::erfc(x * (-0.5 * std::numbers::sqrt2)) * 0.5;
    case Activation::kGeluTanh:
      return (at::tanh((x + 0.044715 * x * x * x) * std::sqrt(2 / std::numbers::pi)) + 1) * 0.5;
    case Activation::kRelu:
      return x.gt(0).to(x.scalar_type());
    case Activation::kQuickGelu:
      return at::sigmoid(x * 1.702);
  }
  TORCH_CHECK(false, "activation: unknown value");
}

at::Tensor activate(const at::Tensor& x, Activation activation, Rule rule) {
  return rule == Rule::kGradient ? apply_activation(x, activation)
                                 : x * secant(x.detach(), activation);
}

at::Tensor multiply_factors(const at::Tensor& a, const at::Tensor& b, Rule rule) {
  return rule == Rule::kGradient ? a * b : (a * b.detach() + a.detach() * b) * 0.5;
}

at::Tensor run_mlp(const at::Tensor& x, const Mlp& mlp, Rule rule) {
  if (const auto hidden = project_gated(x, mlp)) return project(*hidden, mlp.w_down, mlp.b_down);
  at::Tensor up = project(x, mlp.w_up, mlp.b_up);
  if (!mlp.w_gate) {
    return project(activate(up, mlp.activation, rule), mlp.w_down, mlp.b_down);
  }
  at::Tensor gate = project(x, *mlp.w_gate, mlp.b_gate);
  if (mlp.limit > 0) {
    gate = gate.clamp_max(mlp.limit);
    up = up.clamp(-mlp.limit, mlp.limit);
  }
  if (mlp.up_offset != 0) up = up + mlp.up_offset;
  const at::Tensor hidden = multiply_factors(activate(gate, mlp.activation, rule), up, rule);
  return project(hidden, mlp.w_down, mlp.b_down);
}

// x [rows, D]. Each row is sent to its top experts, and an expert sees its rows alone.
at::Tensor run_experts(const at::Tensor& x, const Experts& block, Rule rule) {
  const at::Tensor logits = project(x, block.router, block.router_bias);
  auto [weights, chosen] = at::softmax(logits, -1).topk(block.top_k, -1);  // [rows, top_k]
  if (block.normalise) weights = weights / weights.sum(-1, /*keepdim=*/true);
  if (rule == Rule::kRelevance) weights = weights.detach();
  at::Tensor out = at::zeros_like(x);
  for (size_t e = 0; e < block.experts.size(); ++e) {
    const at::Tensor places = (chosen == static_cast<int64_t>(e)).nonzero();  // [rows of e, 2]
    if (places.size(0) == 0) continue;
    const at::Tensor rows = places.select(1, 0);
    const at::Tensor weight = weights.index({rows, places.select(1, 1)}).unsqueeze(1);
    const at::Tensor written = run_mlp(x.index_select(0, rows), block.experts[e], rule) * weight;
    out = out.index_add(0, rows, written);
  }
  return out;
}

}  // namespace

at::Tensor apply_mlp(const at::Tensor& x, const Layer& layer, Rule rule) {
  const profile::Scope scope(profile::Op::kMlp);
  const at::Tensor out =
      layer.mlp ? run_mlp(x, *layer.mlp, rule)
                : run_experts(x.reshape({-1, x.size(-1)}), *layer.experts, rule).view_as(x);
  return layer.mlp_post_norm ? apply_norm(out, *layer.mlp_post_norm, rule) : out;
}

}  // namespace kcircuits::engine
