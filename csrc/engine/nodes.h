// What a node computes, from the normed inputs of its receivers to what it adds to the stream.
// Pure functions on rows; leading dimension B counts hypotheses. Differentiable where gradients are
// on.
#pragma once

#include <ATen/core/Tensor.h>

#include "cpu/gemm.h"
#include "engine/spec.h"
#include "engine/tokens.h"

namespace kcircuits::engine {

// How gradients pass what is not linear: by its derivative, or by RelP's rules (arXiv 2508.21258),
// which keep a product's relevance in its factors: a norm's scale and the attention pattern are
// constants, f(x) is x times the constant f(x) / x, and each factor of a gated product gets half.
enum class Rule { kGradient, kRelevance };

// x [..., D] -> [..., D]
at::Tensor apply_norm(const at::Tensor& x, const Norm& norm);

// The gradient at the stream x [..., D], from those at its norm's output, [receivers, ..., D].
at::Tensor norm_gradient(const at::Tensor& at_normed, const at::Tensor& x, const Norm& norm,
                         Rule rule);

// x [..., K] times w [N, K] transposed, plus b [N]. Weights of a narrower type are widened for the
// product, and again for its gradient, never kept.
at::Tensor project(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b);

// out = x · wᵀ + b of several products at once; weights may be narrower than x. No autograd.
using cpu::Product;
void project_into(const std::vector<Product>& products);

// cos and sin of every token's angles, each float [P, rotary_dim / 2].
struct Rotation {
  at::Tensor cos, sin;
};
Rotation make_rotation(const Rotary& rotary, const at::Tensor& positions);
Rotation rotation_rows(const Rotation& rotation, const at::Tensor& rows);

// x [B, rows, d]; the first 2 * rotation.cos.size(1) dimensions are rotated.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

// One head. q [B, P or N, d] (N rows when `last_only`), k and v [B, P, d]; any B may be 1. -> like
// q
at::Tensor attend(const Tokens& tokens, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, double scale, bool last_only);

// The two halves of it, differentiable where gradients are on: the weights with which every query
// sees the keys, [B * N, rows of a prompt, max_length], and the values that they mix.
at::Tensor attention_pattern(const Tokens& tokens, const at::Tensor& q, const at::Tensor& k,
                             double scale, bool last_only);
at::Tensor mix_values(const Tokens& tokens, const at::Tensor& pattern, const at::Tensor& v,
                      bool last_only);

// x [..., D] normed -> [..., D]
at::Tensor apply_mlp(const at::Tensor& x, const Mlp& mlp, Rule rule = Rule::kGradient);

// What one head, or one key/value head, owns of the layer's weights: views, never copies.
struct HeadWeights {
  at::Tensor weight;
  std::optional<at::Tensor> bias;
};
HeadWeights head_rows(const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t head,
                      int64_t head_dim);
at::Tensor head_output_weight(const Attention& attention, int64_t head, int64_t head_dim);

}  // namespace kcircuits::engine
