// Attention over packed prompts. Pure functions on rows, differentiable where gradients are on; the
// leading dimension B counts hypotheses, or heads.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "engine/spec.h"
#include "engine/tokens.h"

namespace kcircuits::engine {

// cos and sin of every token's angles, each float [P, rotary_dim / 2].
struct Rotation {
  at::Tensor cos, sin;
};
Rotation make_rotation(const Rotary& rotary, const at::Tensor& positions);
Rotation rotation_rows(const Rotation& rotation, const at::Tensor& rows);

// x [B, rows, d]; the first 2 * rotation.cos.size(1) dimensions are rotated.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

// q [B, P or N, d] (N rows when `last_only`), k and v [B, P, d]; any B may be 1. sinks: [B] or [1],
// where the attention has them. -> like q
at::Tensor attend(const Tokens& tokens, const Attention& attention, const at::Tensor& q,
                  const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>& sinks,
                  bool last_only);

// Whether `attend`, without gradients, makes whole patterns of B hypotheses, three at a time; the
// CPU goes through most attentions row by row instead. `like`: where and what the activations are.
bool makes_patterns(const Tokens& tokens, const Attention& attention, const at::Tensor& like);

// The two halves of it: the weights with which every query sees the keys, [B * N, rows of a prompt,
// max_length], and the values that they mix. All B are the same.
at::Tensor attention_pattern(const Tokens& tokens, const Attention& attention, const at::Tensor& q,
                             const at::Tensor& k, const std::optional<at::Tensor>& sinks,
                             bool last_only);
at::Tensor mix_values(const Tokens& tokens, const at::Tensor& pattern, const at::Tensor& v,
                      bool last_only);

// The sinks of all heads, `times` times over; of one head. Nothing where there are none.
std::optional<at::Tensor> sinks_of_heads(const Attention& attention, int64_t times);
std::optional<at::Tensor> sinks_of_head(const Attention& attention, int64_t head);

// What one head, or one key/value head, owns of the layer's weights: views, never copies.
struct HeadWeights {
  Weight weight;
  std::optional<at::Tensor> bias;
};
HeadWeights head_rows(const Weight& weight, const std::optional<at::Tensor>& bias, int64_t head,
                      int64_t head_dim);
Weight head_output_weight(const Attention& attention, int64_t head, int64_t head_dim);

}  // namespace kcircuits::engine
