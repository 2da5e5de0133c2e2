// What the plain run on the clean prompts is read off from, where all its senders are in memory.
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/session.h"

namespace kcircuits::engine {

// The outputs of all senders, [S, P, D]; not a copy where ablated values are zero.
at::Tensor sender_outputs(const Session& session);

// Who looks where in one layer, and what is there: the weights of every head's queries for the keys
// of their prompt, [H, N, T, T], prompts from their first token on and T the longest one's; values
// of all key/value heads, [K, P, d].
struct AttentionReading {
  at::Tensor pattern, values;
};
AttentionReading attention_reading(const Session& session, int64_t layer);

}  // namespace kcircuits::engine
