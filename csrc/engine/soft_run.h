// One masked run whose edges have weights between 0 and 1, and the slope of the metric in each of
// them: what edge pruning (arXiv 2406.16778) trains its masks with.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"

namespace kcircuits::engine {

struct SoftRun {
  at::Tensor metric;    // double [N]
  at::Tensor gradient;  // [S, R]: of the metric's mean over prompts, at the weights
};

// weights: [S, R], floating. Receiver r reads Σ_s w a_s + (1 − w) ã_s + Σ b_O. What is no edge of
// the graph is neither read nor given a gradient.
SoftRun soft_run(const Session& session, const at::Tensor& weights);

}  // namespace kcircuits::engine
