// Matrix products of the CPU kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "activation.h"
#include "weight.h"

namespace kcircuits::cpu {

// out = x · wᵀ (+ bias): x [M, K], w [N, K], bias [N], out [M, N]; x and out dense CPU matrices of
// one floating type whose rows may lie apart, w and the bias of any type.
struct Product {
  at::Tensor x;
  Weight w;
  std::optional<at::Tensor> bias;
  at::Tensor out;
};

// Several products at once, in float32 by the kernel of cpu/tiles.h: w is read as it is stored
// (cpu/stored.h), by rows or by columns (GPT-2's Conv1D weights, seen transposed), and every
// element of the result is summed in one order, so that it does not depend on the rows beside it.
// No autograd. Safe inside at::parallel_for, where it runs on the calling thread alone.
void multiply(const std::vector<Product>& products);

// One product into a new tensor [M, N].
at::Tensor linear(const at::Tensor& x, const Weight& w,
                  const std::optional<at::Tensor>& bias = std::nullopt);

// The first half of a gated MLP, act(x · w_gateᵀ + bias_gate) * (x · wᵀ + bias), tile by tile: one
// matrix is written. Nothing where that is not possible: for float32, and both weights stored by
// rows or both by columns, it is.
std::optional<at::Tensor> gated_linear(const at::Tensor& x, const Weight& w,
                                       const std::optional<at::Tensor>& bias, const Weight& w_gate,
                                       const std::optional<at::Tensor>& bias_gate,
                                       Activation activation);

}  // namespace kcircuits::cpu
