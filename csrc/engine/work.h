// What the engine's products do, for csrc/profile.h: floating-point operations, and the bytes of
// operands read and results written once.
#pragma once

#include <ATen/core/Tensor.h>

#include "weight.h"

namespace kcircuits::engine {

// x [M, K] times w [N, K] transposed, added to the innermost scope where one records.
void add_product(const at::Tensor& x, const Weight& w);

}  // namespace kcircuits::engine
