// The effect of ablating one edge of the full model, for many edges, by masked runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "engine/session.h"

namespace kcircuits::engine {

struct ExactOptions {
  int64_t memory;       // bytes for one chunk of hypotheses
  int64_t chunk_limit;  // hypotheses in one chunk at most
  // Called with the edges done and their number; may throw to stop.
  std::function<void(int64_t done, int64_t total)> progress;
};

// wanted: bool [S, R] on the CPU. -> double [S, R] on the CPU: metric without the edge minus metric
// of the full model, averaged over prompts; 0 where it is not wanted.
at::Tensor exact_scores(const Session& session, const at::Tensor& wanted,
                        const ExactOptions& options);

}  // namespace kcircuits::engine
