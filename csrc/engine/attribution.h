// First-order scores of every edge, (ã − a) · ∂metric/∂stream summed over tokens and prompts: EAP
// (arXiv 2310.10348), EAP-IG (arXiv 2403.17806) and RelP (arXiv 2508.21258).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/norm.h"
#include "engine/session.h"
#include "engine/sweep.h"

namespace kcircuits::engine {

struct AttributionOptions {
  Rule rule = Rule::kGradient;
  bool fix_attention = false;  // engine/attention_fix.h
  int64_t memory = 0;          // bytes for runs that are kept at a time
  // Called with the runs done and their number; may throw to stop.
  std::function<void(int64_t done, int64_t total)> progress;
};

// How `count` runs of prompts (so many tokens, prompts, and tokens of the longest) are cut into
// chunks, as many at a time as the memory allows and products gain from; how many layers' gradients
// wait for senders that are not all in memory (engine/contributions.h); whether what is inside the
// layers is kept, which it is where one run fits; and what all takes, with one more run that stays
// meanwhile if `beside_another`.
struct RunPlan {
  int64_t at_a_time, layers_together;
  Insides insides;
  int64_t bytes;
};
RunPlan plan_runs(const Model& model, Layout layout, int64_t tokens, int64_t prompts,
                  int64_t longest, int64_t count, int64_t memory, bool beside_another = false);

// Mean over runs whose `input` is ã + point (a − ã): point 1 is the plain run. -> [S, R], float32
// (float64 in a float64 model), summed over prompts.
at::Tensor path_scores(const Session& session, const std::vector<double>& points,
                       const AttributionOptions& options);

// Mean over runs in which one node, or all heads of one layer, is held at ã + k/steps (a − ã), for
// k = 1 … steps: EAP-IG on activations. The same result. As in EAP-IG's own library, runs that hold
// `input` say nothing of receivers that read nothing else, unless learned positions are added
// behind it: its autograd graph begins with what those compute.
at::Tensor activation_scores(const Session& session, int64_t steps,
                             const AttributionOptions& options);

}  // namespace kcircuits::engine
