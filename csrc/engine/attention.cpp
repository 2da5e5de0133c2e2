#include "engine/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "cpu/attention.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// 0 or -inf for every query and key, [1, max_length, max_length], or of the last queries [N or 1,
// 1, max_length].
at::Tensor visibility(const Tokens& tokens, const std::optional<int64_t>& window, bool last_only) {
  const at::Tensor& causal = last_only ? tokens.causal_last : tokens.causal;
  if (!window || *window >= tokens.max_length) return causal;
  // A query's position: of the last token where only that is asked for.
  const auto options = tokens.positions.options();
  const at::Tensor key = at::arange(tokens.max_length, options);
  const at::Tensor query =
      last_only ? tokens.positions.index_select(0, tokens.last).unsqueeze(1) : key.unsqueeze(0);
  const at::Tensor hidden = key <= query.unsqueeze(-1) - *window;
  return causal.masked_fill(hidden, -std::numeric_limits<float>::infinity());
}

// Scores and mixed values of what each query sees: half of all pairs, or the last query's.
void add_work(const Tokens& tokens, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
              bool last_only) {
  const int64_t batch = std::max({q.size(0), k.size(0), v.size(0)});
  const double seen = last_only
                          ? static_cast<double>(tokens.num_tokens)
                          : 0.5 * static_cast<double>(tokens.num_tokens * (tokens.max_length + 1));
  const auto width = static_cast<double>(q.size(2));
  profile::add_work(4 * static_cast<double>(batch) * seen * width,
                    static_cast<double>(q.nbytes() + k.nbytes() + v.nbytes()) +
                        static_cast<double>(batch * q.size(1) * q.element_size()) * width);
}

}  // namespace

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

at::Tensor attend(const Tokens& tokens, const Attention& attention, const at::Tensor& q,
                  const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& sinks,
                  bool last_only) {
  if (profile::recording()) add_work(tokens, q, k, v, last_only);
  if (!at::GradMode::is_enabled() && !makes_patterns(tokens, attention, q))
    return cpu::attend(q, k, v, tokens.starts, attention.scale, last_only);
  const int64_t batch = std::max({q.size(0), k.size(0), v.size(0)});
  const auto full = [&](const at::Tensor& x) { return x.expand({batch, x.size(1), x.size(2)}); };
  return mix_values(tokens,
                    attention_pattern(tokens, attention, full(q), full(k), sinks, last_only),
                    full(v), last_only);
}

bool makes_patterns(const Tokens& tokens, const Attention& attention, const at::Tensor& like) {
  const bool plain = !attention.sinks && attention.soft_cap == 0 &&
                     (!attention.window || *attention.window >= tokens.max_length);
  return !plain || !cpu::attends(like);
}

at::Tensor attention_pattern(const Tokens& tokens, const Attention& attention, const at::Tensor& q,
                             const at::Tensor& k, const std::optional<at::Tensor>& sinks,
                             bool last_only) {
  const int64_t n = tokens.num_prompts;
  const int64_t batch = q.size(0);
  const at::Tensor keys = to_padded(tokens, k);  // [B*N, T, d]
  const at::Tensor queries =
      last_only ? q.reshape({batch * n, 1, q.size(2)}) : to_padded(tokens, q);
  at::Tensor scores = at::bmm(queries, keys.transpose(1, 2)) * attention.scale;  // [B*N, Tq, T]
  if (attention.soft_cap > 0) scores = at::tanh(scores / attention.soft_cap) * attention.soft_cap;
  scores = scores.unflatten(0, {batch, n}) + visibility(tokens, attention.window, last_only);
  if (!sinks) return at::softmax(scores, -1).flatten(0, 1);
  // A sink is one more key, which has no value.
  const at::Tensor sink = sinks->to(scores.scalar_type()).view({-1, 1, 1, 1});
  const at::Tensor with_sink = at::cat({scores, sink.expand({batch, n, scores.size(2), 1})}, -1);
  return at::softmax(with_sink, -1).slice(-1, 0, -1).flatten(0, 1);
}

at::Tensor mix_values(const Tokens& tokens, const at::Tensor& pattern, const at::Tensor& v,
                      bool last_only) {
  const at::Tensor mixed = at::bmm(pattern, to_padded(tokens, v));
  return last_only ? mixed.view({v.size(0), tokens.num_prompts, v.size(2)})
                   : to_packed(tokens, mixed);
}

std::optional<at::Tensor> sinks_of_heads(const Attention& attention, int64_t times) {
  return attention.sinks ? std::optional(attention.sinks->repeat({times})) : std::nullopt;
}

std::optional<at::Tensor> sinks_of_head(const Attention& attention, int64_t head) {
  return attention.sinks ? std::optional(attention.sinks->slice(0, head, head + 1)) : std::nullopt;
}

HeadWeights head_rows(const Weight& weight, const std::optional<at::Tensor>& bias, int64_t head,
                      int64_t head_dim) {
  const int64_t first = head * head_dim;
  return {weight.slice(0, first, first + head_dim),
          bias ? std::optional(bias->slice(0, first, first + head_dim)) : std::nullopt};
}

Weight head_output_weight(const Attention& attention, int64_t head, int64_t head_dim) {
  return attention.w_o.slice(1, head * head_dim, (head + 1) * head_dim);
}

}  // namespace kcircuits::engine
