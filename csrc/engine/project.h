// Products with a model's weights, whatever these are kept in.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "cpu/gemm.h"

namespace kcircuits::engine {

// x [..., K] times w [N, K] transposed, plus b [N]. Weights of a narrower type are widened for the
// product, and again for its gradient, never kept.
at::Tensor project(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b);

// out = x · wᵀ + b of several products at once; weights may be narrower than x. No autograd.
using cpu::Product;
void project_into(const std::vector<Product>& products);

}  // namespace kcircuits::engine
