// What an MLP, or a block of experts, adds to the stream. Differentiable where gradients are on.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/norm.h"
#include "engine/spec.h"

namespace kcircuits::engine {

// x [..., D] normed -> [..., D], behind the layer's post-norm where it has one. Under RelP's rule
// the weights of experts are constants.
at::Tensor apply_mlp(const at::Tensor& x, const Layer& layer, Rule rule = Rule::kGradient);

}  // namespace kcircuits::engine
