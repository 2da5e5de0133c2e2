// Masked runs from scratch: many circuits at once, every live node computed.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"

namespace kcircuits::engine {

// masks: bool [M, S, R] on the CPU, true where the edge is present. -> final-normed rows [M, N, D].
// Circuits are taken in chunks that keep the senders' memory under `memory` bytes.
at::Tensor masked_run(const Session& session, const at::Tensor& masks, int64_t memory);

}  // namespace kcircuits::engine
