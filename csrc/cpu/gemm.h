// Matrix products of the CPU kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace kcircuits::cpu {

// out = x · wᵀ (+ bias): x [M, K], w [N, K], bias [N], out [M, N]; dense CPU tensors of one
// floating dtype whose rows may lie apart.
struct Product {
  at::Tensor x, w;
  std::optional<at::Tensor> bias;
  at::Tensor out;
};

// Several products at once, in float32 by the kernel of cpu/tiles.h: w is read where it lies, by
// rows or by columns (GPT-2's Conv1D weights, seen transposed), and every element of the result is
// summed in one order, so that it does not depend on the rows beside it. No autograd. Safe inside
// at::parallel_for, where it runs on the calling thread alone.
void multiply(const std::vector<Product>& products);

// One product into a new tensor [M, N].
at::Tensor linear(const at::Tensor& x, const at::Tensor& w,
                  const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace kcircuits::cpu
