// AtP*'s correction for queries and keys (arXiv 2403.00745): a saturated softmax has no gradient
// although another query or key would change the pattern. So the pattern is computed anew with the
// edge ablated, through the norm and the softmax, and its change meets the gradient at the pattern.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"
#include "engine/sweep.h"

namespace kcircuits::engine {

// Adds to sums [S, R], for every edge into a query or key of the layer, Σ (pattern − pattern with
// the edge ablated) · at_pattern over variants, prompts and positions: the edge is ablated at all
// positions at once. A key that several heads share counts in each of them.
void add_attention_contributions(const Session& session, const Attended& attended, int64_t memory,
                                 const at::Tensor& sums);

}  // namespace kcircuits::engine
