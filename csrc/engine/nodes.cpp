#include "engine/nodes.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "cpu/attention.h"

namespace kcircuits::engine {

at::Tensor apply_norm(const at::Tensor& x, const Norm& norm) {
  const at::Tensor wide = x.to(at::kFloat);
  at::Tensor out;
  if (norm.rms) {
    out = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + norm.eps);
  } else {
    const at::Tensor centred = wide - wide.mean(-1, /*keepdim=*/true);
    out = centred * at::rsqrt(centred.square().mean(-1, /*keepdim=*/true) + norm.eps);
  }
  if (norm.weight) out = out * *norm.weight;
  if (norm.bias) out = out + *norm.bias;
  return out.to(x.scalar_type());
}

at::Tensor project(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  if (at::GradMode::is_enabled() || !x.device().is_cpu())
    return at::linear(x, w, b.value_or(at::Tensor()));
  auto sizes = x.sizes().vec();
  const int64_t k = sizes.back();
  sizes.back() = w.size(0);
  return cpu::linear(x.reshape({-1, k}), w, b).view(sizes);
}

void project_into(const std::vector<Product>& products) {
  if (products.empty()) return;
  if (products[0].x.device().is_cpu()) return cpu::multiply(products);
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
  const int64_t n = tokens.num_prompts;
  const int64_t d = q.size(2);
  const int64_t batch = std::max({q.size(0), k.size(0), v.size(0)});
  const auto full = [&](const at::Tensor& x) { return x.expand({batch, x.size(1), d}); };
  const at::Tensor keys = to_padded(tokens, full(k));    // [B*N, T, d]
  const at::Tensor values = to_padded(tokens, full(v));  // [B*N, T, d]
  const at::Tensor queries =
      last_only ? full(q).reshape({batch * n, 1, d}) : to_padded(tokens, full(q));
  const at::Tensor& mask = last_only ? tokens.causal_last : tokens.causal;

  at::Tensor scores = at::bmm(queries, keys.transpose(1, 2)) * scale;  // [B*N, Tq, T]
  scores = scores.view({batch, n, scores.size(1), scores.size(2)}).to(at::kFloat) + mask;
  const at::Tensor weights = at::softmax(scores, -1).to(q.scalar_type());
  const at::Tensor mixed =
      at::bmm(weights.view({batch * n, weights.size(2), weights.size(3)}), values);
  return last_only ? mixed.view({batch, n, d}) : to_packed(tokens, mixed);
}

namespace {

at::Tensor activate(const at::Tensor& x, Activation activation) {
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

}  // namespace

at::Tensor apply_mlp(const at::Tensor& x, const Mlp& mlp) {
  const at::Tensor up = project(x, mlp.w_up, mlp.b_up);
  const at::Tensor hidden = mlp.w_gate
                                ? activate(project(x, *mlp.w_gate, mlp.b_gate), mlp.activation) * up
                                : activate(up, mlp.activation);
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
