#include "engine/exact.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "engine/propagate.h"

namespace kcircuits::engine {
namespace {

// All senders of a receiver present in every hypothesis, but one: bool [1, B, senders].
at::Tensor one_absent(const std::vector<int64_t>& absent, int64_t num_senders) {
  const auto count = static_cast<int64_t>(absent.size());
  at::Tensor masks = at::ones({1, count, num_senders}, at::kBool);
  auto present = masks.accessor<bool, 3>();
  for (int64_t b = 0; b < count; ++b) present[0][b][absent[b]] = false;
  return masks;
}

}  // namespace

at::Tensor exact_scores(const Session& session, const at::Tensor& wanted,
                        const ExactOptions& options) {
  const c10::NoGradGuard no_grad;
  const Graph& g = session.graph();
  TORCH_CHECK_VALUE(wanted.dim() == 2 && wanted.scalar_type() == at::kBool &&
                        wanted.device().is_cpu() && wanted.size(0) == g.num_senders() &&
                        wanted.size(1) == g.num_receivers(),
                    "wanted: expected bool [", g.num_senders(), ", ", g.num_receivers(),
                    "] on the CPU, got ", wanted.scalar_type(), " ", wanted.sizes());
  const auto is_wanted = wanted.accessor<bool, 2>();
  const auto metric = [&](const at::Tensor& rows) {
    return session.metric()(rows).mean(1).cpu().contiguous();
  };
  const double full = metric(session.full_rows().unsqueeze(0)).item<double>();

  State state(session);
  state.settle_from(0);
  at::Tensor scores = at::zeros({g.num_senders(), g.num_receivers()}, at::kDouble);
  auto out = scores.accessor<double, 2>();
  const auto total = wanted.sum().item<int64_t>();
  int64_t done = 0;
  for (int64_t r = g.num_receivers() - 1; r >= 0; --r) {
    std::vector<int64_t> senders;
    for (int64_t s = 0; s < g.num_senders_of(r); ++s) {
      if (is_wanted[s][r]) senders.push_back(s);
    }
    if (senders.empty() || state.receiver_need(r) == Need::kNone) continue;
    Propagation propagation(state, {r});
    const int64_t chunk = std::clamp<int64_t>(
        options.memory / std::max<int64_t>(1, propagation.bytes_per_hypothesis()), 1,
        options.chunk_limit);
    for (auto begin = senders.begin(); begin != senders.end();) {
      const auto end = begin + std::min<int64_t>(chunk, senders.end() - begin);
      const std::vector<int64_t> some(begin, end);
      const at::Tensor values = metric(propagation.run(one_absent(some, g.num_senders_of(r))));
      const double* value = values.const_data_ptr<double>();
      for (const int64_t s : some) out[s][r] = *value++ - full;
      begin = end;
      done += static_cast<int64_t>(some.size());
      if (options.progress) options.progress(done, total);
    }
  }
  return scores;
}

}  // namespace kcircuits::engine
