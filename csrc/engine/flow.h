// Information-flow routes (arXiv 2403.00824): what share of a receiver's stream comes from each
// sender.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"

namespace kcircuits::engine {

// The proximity of sender s to the stream x that r reads is max(0, ‖x‖₁ − ‖x − a_s‖₁); its share is
// that over the sum of all senders' proximities, averaged over a prompt's positions. A key or value
// that heads share counts once for each of them, as all scores do. -> [S, R], summed over prompts.
// The session must not ablate: its senders' differences are their outputs (of `input` that of the
// tokens alone, where positions are kept: then they are no part of the sender).
at::Tensor flow_scores(const Session& session);

}  // namespace kcircuits::engine
