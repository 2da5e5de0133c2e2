// Products with a model's weights, whatever these are kept in.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "cpu/gemm.h"
#include "engine/spec.h"
#include "weight.h"

namespace kcircuits::engine {

// x [..., K] times w [N, K] transposed, plus b [N]. Weights of a narrower type, or of codes, are
// widened for the product, and again for its gradient, never kept.
at::Tensor project(const at::Tensor& x, const Weight& w, const std::optional<at::Tensor>& b);

// out = x · wᵀ + b of several products at once; no autograd.
using cpu::Product;
void project_into(const std::vector<Product>& products);

// The first half of a gated MLP without autograd, act(x · w_gateᵀ + b_gate) * (x · w_upᵀ + b_up),
// where one product can do it (cpu/gemm.h).
std::optional<at::Tensor> project_gated(const at::Tensor& x, const Mlp& mlp);

}  // namespace kcircuits::engine
