#include "engine/nodes.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <numbers>

#include "cpu/attention.h"

namespace kcircuits::engine {

namespace {

// A stream [..., D] without what its norm takes away, and 1 / its deviation.
struct Normed {
  at::Tensor centred, scale;
};

Normed take_norm(const at::Tensor& x, const Norm& norm) {
  const at::Tensor centred = norm.rms ? x : x - x.mean(-1, /*keepdim=*/true);
  return {centred, at::rsqrt(centred.square().mean(-1, /*keepdim=*/true) + norm.eps)};
}

// x · wᵀ + b without autograd.
at::Tensor product(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  const at::Tensor wide = w.to(x.scalar_type());
  const auto bias = b ? std::optional(b->to(x.scalar_type())) : std::nullopt;
  if (!x.device().is_cpu()) return at::linear(x, wide, bias.value_or(at::Tensor()));
  auto sizes = x.sizes().vec();
  const int64_t k = sizes.back();
  sizes.back() = w.size(0);
  return cpu::linear(x.reshape({-1, k}), wide, bias).view(sizes);
}

// Weights are constants here, and all that is saved is a reference to them.
class Project : public torch::autograd::Function<Project> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& w, const std::optional<at::Tensor>& b) {
    context->save_for_backward({w});
    return product(x, w, b);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor w = context->get_saved_variables()[0];
    return {product(gradients[0], w.t(), std::nullopt), {}, {}};
  }
};

}  // namespace

at::Tensor apply_norm(const at::Tensor& x, const Norm& norm) {
  const Normed normed = take_norm(x, norm);
  at::Tensor out = normed.centred * normed.scale;
  if (norm.weight) out = out * *norm.weight;
  if (norm.bias) out = out + *norm.bias;
  return out;
}

at::Tensor norm_gradient(const at::Tensor& at_normed, const at::Tensor& x, const Norm& norm,
                         Rule rule) {
  const Normed normed = take_norm(x, norm);
  at::Tensor out = norm.weight ? at_normed * *norm.weight : at_normed.clone();
  if (rule == Rule::kGradient) {
    const at::Tensor direction = normed.centred * normed.scale;
    out.sub_(direction * (out * direction).mean(-1, /*keepdim=*/true));
  }
  if (!norm.rms) out.sub_(out.mean(-1, /*keepdim=*/true));
  return out.mul_(normed.scale);
}

at::Tensor project(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  return at::GradMode::is_enabled() ? Project::apply(x, w, b) : product(x, w, b);
}

void project_into(const std::vector<Product>& products) {
  if (products.empty()) return;
  if (products[0].x.device().is_cpu()) {
    std::vector<Product> wide = products;
    for (Product& p : wide) {
      p.w = p.w.to(p.x.scalar_type());
      if (p.bias) p.bias = p.bias->to(p.x.scalar_type());
    }
    return cpu::multiply(wide);
  }
  for (const Product& p : products) {
    at::Tensor out = p.out;
    out.copy_(at::linear(p.x, p.w, p.bias.value_or(at::Tensor())));
  }
}

Rotation make_rotation(const Rotary& rotary, const at::Tensor& positions) {
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * rotary.inv_freq.unsqueeze(0);
  return {at::cos(angles) * rotary.scale, at::sin(angles) * rotary.scale};
}

Rotation rotation_rows(const Rotation& rotation, const at::Tensor& rows) {
  return {rotation.cos.index_select(0, rows), rotation.sin.index_select(0, rows)};
}

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  if (cpu::attends(x) && !at::GradMode::is_enabled()) {
    const at::Tensor out = x.is_contiguous() ? x.clone() : x.contiguous();
    cpu::rotate_(out, rotation.cos, rotation.sin);
    return out;
  }
  const int64_t half = rotation.cos.size(1);
  const at::Tensor first = x.slice(-1, 0, half);
  const at::Tensor second = x.slice(-1, half, 2 * half);
  const at::Tensor cos = rotation.cos.to(x.scalar_type());
  const at::Tensor sin = rotation.sin.to(x.scalar_type());
  std::vector<at::Tensor> parts = {first * cos - second * sin, second * cos + first * sin};
  if (x.size(-1) > 2 * half) parts.push_back(x.slice(-1, 2 * half));
  return at::cat(parts, -1);
}

at::Tensor attend(const Tokens& tokens, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, double scale, bool last_only) {
  if (cpu::attends(q) && !at::GradMode::is_enabled())
    return cpu::attend(q, k, v, tokens.starts, scale, last_only);
  const int64_t batch = std::max({q.size(0), k.size(0), v.size(0)});
  const auto full = [&](const at::Tensor& x) { return x.expand({batch, x.size(1), x.size(2)}); };
  return mix_values(tokens, attention_pattern(tokens, full(q), full(k), scale, last_only), full(v),
                    last_only);
}

at::Tensor attention_pattern(const Tokens& tokens, const at::Tensor& q, const at::Tensor& k,
                             double scale, bool last_only) {
  const int64_t n = tokens.num_prompts;
  const int64_t batch = q.size(0);
  const at::Tensor keys = to_padded(tokens, k);  // [B*N, T, d]
  const at::Tensor queries =
      last_only ? q.reshape({batch * n, 1, q.size(2)}) : to_padded(tokens, q);
  const at::Tensor& mask = last_only ? tokens.causal_last : tokens.causal;
  const at::Tensor scores = at::bmm(queries, keys.transpose(1, 2)) * scale;  // [B*N, Tq, T]
  return at::softmax(scores.unflatten(0, {batch, n}) + mask, -1).flatten(0, 1);
}

at::Tensor mix_values(const Tokens& tokens, const at::Tensor& pattern, const at::Tensor& v,
                      bool last_only) {
  const at::Tensor mixed = at::bmm(pattern, to_padded(tokens, v));
  return last_only ? mixed.view({v.size(0), tokens.num_prompts, v.size(2)})
                   : to_packed(tokens, mixed);
}

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

}  // namespace

at::Tensor apply_mlp(const at::Tensor& x, const Mlp& mlp, Rule rule) {
  const at::Tensor up = project(x, mlp.w_up, mlp.b_up);
  const at::Tensor hidden =
      mlp.w_gate
          ? multiply_factors(activate(project(x, *mlp.w_gate, mlp.b_gate), mlp.activation, rule),
                             up, rule)
          : activate(up, mlp.activation, rule);
  return project(hidden, mlp.w_down, mlp.b_down);
}

HeadWeights head_rows(const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t head,
                      int64_t head_dim) {
  const int64_t first = head * head_dim;
  return {weight.slice(0, first, first + head_dim),
          bias ? std::optional(bias->slice(0, first, first + head_dim)) : std::nullopt};
}

at::Tensor head_output_weight(const Attention& attention, int64_t head, int64_t head_dim) {
  return attention.w_o.slice(1, head * head_dim, (head + 1) * head_dim);
}

}  // namespace kcircuits::engine
