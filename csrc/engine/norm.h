// The norms of a model, as the engine applies them to rows, and their gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/spec.h"

namespace kcircuits::engine {

// How gradients pass what is not linear: by its derivative, or by RelP's rules (arXiv 2508.21258),
// which keep a product's relevance in its factors: a norm's scale and the attention pattern are
// constants, f(x) is x times the constant f(x) / x, and each factor of a gated product gets half.
enum class Rule { kGradient, kRelevance };

// x [..., D] -> [..., D]
at::Tensor apply_norm(const at::Tensor& x, const Norm& norm, Rule rule = Rule::kGradient);

// The gradient at x [..., D], from those at its norm's output, [receivers, ..., D].
at::Tensor norm_gradient(const at::Tensor& at_normed, const at::Tensor& x, const Norm& norm,
                         Rule rule);

// What each part of a sum adds to the norm of the sum: its own term times the common scale. Parts
// [..., D] of one shape; an RMSNorm without bias.
std::vector<at::Tensor> normed_shares(const std::vector<at::Tensor>& parts, const Norm& norm);

}  // namespace kcircuits::engine
