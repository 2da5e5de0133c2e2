// edge_mix as the engine calls it: a Norm instead of its parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "engine/spec.h"

namespace kcircuits::engine {

// senders, mask and constant as the op edge_mix takes them; norm nullptr: the stream itself.
at::Tensor mix(const at::Tensor& senders, const at::Tensor& mask,
               const std::optional<at::Tensor>& constant, const Norm* norm);

}  // namespace kcircuits::engine
