#include "engine/flow.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "engine/state.h"

namespace kcircuits::engine {
namespace {

// senders [S, P, D], stream [P, D], weight [P] -> [S]
at::Tensor shares(const at::Tensor& senders, const at::Tensor& stream, const at::Tensor& weight) {
  const at::Tensor length = stream.abs().sum(-1);  // [P]
  std::vector<at::Tensor> proximities;
  for (int64_t s = 0; s < senders.size(0); ++s) {
    proximities.push_back((length - (stream - senders[s]).abs().sum(-1)).clamp_min(0));
  }
  const at::Tensor proximity = at::stack(proximities);  // [S, P]
  const at::Tensor sum = proximity.sum(0);
  // Where nothing is close to the stream, nothing has a share.
  return (proximity / at::where(sum > 0, sum, 1)).matmul(weight);
}

}  // namespace

at::Tensor flow_scores(const Session& session) {
  const c10::NoGradGuard no_grad;
  const Graph& g = session.graph();
  const Tokens& tokens = session.tokens();
  const State state(session);
  const at::Tensor& senders = session.clean_delta();
  at::Tensor scores = at::zeros({g.num_senders(), g.num_receivers()}, senders.options());
  at::Tensor weight =
      at::empty({tokens.num_tokens}, senders.options());  // 1 / tokens of its prompt
  for (int64_t n = 0; n < tokens.num_prompts; ++n) {
    const int64_t count = tokens.starts[n + 1] - tokens.starts[n];
    weight.slice(0, tokens.starts[n], tokens.starts[n + 1]).fill_(1.0 / static_cast<double>(count));
  }
  const auto add = [&](int64_t first, int64_t count) {
    const int64_t num_senders = g.num_senders_of(first);
    const at::Tensor stream = state.inputs({first}, /*last_only=*/false, nullptr)[0][0];
    const at::Tensor columns = scores.slice(0, 0, num_senders).slice(1, first, first + count);
    columns.copy_(shares(senders.slice(0, 0, num_senders), stream, weight).unsqueeze(1));
    if (count > 1) columns.slice(1, g.num_heads).mul_(g.group_size());  // keys and values
  };
  for (int64_t l = 0; l < g.num_layers; ++l) {
    add(g.query(l, 0), g.attention_receivers());
    add(g.mlp_input(l), 1);
  }
  add(g.logits(), 1);
  return scores;
}

}  // namespace kcircuits::engine
