// Products with a model's weights, whatever these are kept in.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "engine/weight.h"

namespace kcircuits::engine {

// x [..., K] times w [N, K] transposed, plus b [N]. Weights of a narrower type, or of codes, are
// widened for the product, and again for its gradient, never kept.
at::Tensor project(const at::Tensor& x, const Weight& w, const std::optional<at::Tensor>& b);

// out = x · wᵀ + b of matrices; no autograd.
struct Product {
  at::Tensor x;
  Weight w;
  std::optional<at::Tensor> bias;
  at::Tensor out;
};
// Several at once.
void project_into(const std::vector<Product>& products);

}  // namespace kcircuits::engine
