#include "engine/plain_run.h"

#include <ATen/ATen.h>

#include "engine/norm.h"

namespace kcircuits::engine {

at::Tensor sender_outputs(const Session& session) {
  const Senders& senders = session.senders();
  if (!senders.ablates() && !senders.ablated_input()) return senders.all();
  const at::Tensor outputs = senders.all().clone();
  for (int64_t s = 0; s < outputs.size(0); ++s) {
    if (const auto& ablated = senders.ablated(s)) outputs.select(0, s).add_(*ablated);
  }
  return outputs;
}

AttentionReading attention_reading(const Session& session, int64_t layer) {
  const Graph& g = session.graph();
  TORCH_CHECK_VALUE(layer >= 0 && layer < g.num_layers, "layer: expected 0 to ", g.num_layers - 1,
                    ", got ", layer);
  const Layer& weights = session.model().layers[layer];
  const Tokens& tokens = session.tokens(layer);
  at::Tensor stream = session.senders().all().slice(0, 0, g.first_sender(layer)).sum(0);
  if (const auto constant = session.constant(g.query(layer, 0), /*last_only=*/false))
    stream = stream + (*constant)[0][0];
  const at::Tensor x = apply_norm(stream.to(session.model().device(layer)), weights.attention_norm);
  const Session::PlainHeads heads = session.project_all(layer, x);
  const at::Tensor keys = heads.k.repeat_interleave(g.group_size(), 0);
  const at::Tensor pattern = attention_pattern(tokens, weights.attention, heads.q, keys,
                                               sinks_of_heads(weights.attention, 1),
                                               /*last_only=*/false);
  return {pattern.unflatten(0, {g.num_heads, tokens.num_prompts}), heads.v};
}

}  // namespace kcircuits::engine
