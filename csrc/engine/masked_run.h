// Masked runs from scratch: many circuits at once, every live node computed.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"

namespace kcircuits::engine {

// masks: bool [M, S, R] on the CPU, true where the edge is present. -> final-normed rows [M, N, D].
// Circuits are taken in chunks that keep the senders' memory under `memory` bytes.
at::Tensor masked_run(const Session& session, const at::Tensor& masks, int64_t memory);

// The same runs, layer by layer: the stream that the logits would read if there were only the
// senders of the first l layers, l = 0 … L, present edges into the logits with their output, absent
// ones with their ablated value. At some rows of the packed tokens, int64 [n]; M at least 1.
// -> [M, L + 1, n, D], before the final norm.
at::Tensor masked_streams(const Session& session, const at::Tensor& masks, const at::Tensor& rows,
                          int64_t memory);

}  // namespace kcircuits::engine
