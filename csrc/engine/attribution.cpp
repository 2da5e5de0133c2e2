#include "engine/attribution.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "engine/contributions.h"
#include "engine/sweep.h"

namespace kcircuits::engine {
namespace {

// Products of more rows are hardly faster, and take memory.
constexpr int64_t kEnoughRows = 192;

RunPlan plan_of(const Session& session, const AttributionOptions& options, int64_t count,
                bool beside_another = false) {
  const Tokens& tokens = session.tokens();
  return plan_runs(session.model(), session.senders().layout(), tokens.num_tokens,
                   tokens.num_prompts, tokens.max_length, count, options.memory, beside_another);
}

Contributions contributions_of(const Session& session, const AttributionOptions& options,
                               const RunPlan& plan) {
  return {session, plan.layers_together, options.fix_attention, options.memory - plan.bytes};
}

// ã + points · (a − ã), [B, P, D].
at::Tensor between(const Senders::Node& node, const std::vector<double>& points) {
  const at::Tensor out = node.delta * at::tensor(points, node.delta.options()).view({-1, 1, 1});
  return node.ablated ? out + *node.ablated : out;
}

class Report {
 public:
  Report(const AttributionOptions& options, int64_t total) : options_(options), total_(total) {}
  void add(int64_t runs) {
    done_ += runs;
    if (options_.progress) options_.progress(done_, total_);
  }

 private:
  const AttributionOptions& options_;
  int64_t total_, done_ = 0;
};

// Points in chunks that fit into memory.
template <typename F>
void by_chunks(const std::vector<double>& points, int64_t chunk, const F& f) {
  for (auto begin = points.begin(); begin != points.end();) {
    const auto end = begin + std::min<int64_t>(chunk, points.end() - begin);
    f(std::vector<double>(begin, end));
    begin = end;
  }
}

}  // namespace

// Senders that are not all in memory are brought or computed once for every few layers of receivers
// whose gradients wait (engine/contributions.h). The other way round, a few layers of senders would
// wait and the sweeps be done again for each of these: three times the work of a layer or more, for
// each run, where this is once or twice a layer, for all runs of a chunk together.
RunPlan plan_runs(const Model& model, Layout layout, int64_t tokens, int64_t prompts,
                  int64_t longest, int64_t count, int64_t memory, bool beside_another) {
  const Graph& g = model.graph;
  const int64_t row =
      tokens * model.width() * static_cast<int64_t>(c10::elementSize(model.dtype()));
  const int64_t layer = layout == Layout::kMemory ? 0 : Senders::layer_bytes(model, layout, tokens);
  const int64_t fewest_waiting =
      layout == Layout::kMemory ? 0 : (g.receivers_per_layer() + 1) * row;
  const auto bytes_of = [&](Insides insides) {
    return Sweep::bytes_per_variant(model, insides, tokens, prompts, longest);
  };
  const int64_t fewest_runs = beside_another ? 2 : 1;
  const bool keeps = fewest_runs * bytes_of(Insides::kKept) + layer + fewest_waiting <= memory;
  const Insides insides = keeps ? Insides::kKept : Insides::kMadeAgain;
  const int64_t one_run = bytes_of(insides);
  const int64_t another = beside_another ? one_run : 0;
  memory -= another;
  const int64_t useful = std::min(count, (kEnoughRows + tokens - 1) / tokens);
  const auto chunks = [&](int64_t at_a_time) { return (count + at_a_time - 1) / at_a_time; };
  if (layout == Layout::kMemory) {
    const int64_t most = std::max<int64_t>(1, std::min(memory / one_run, useful));
    const int64_t at_a_time = (count + chunks(most) - 1) / chunks(most);
    return {at_a_time, 0, insides, at_a_time * one_run + another};
  }
  RunPlan best;
  int64_t least = 0;
  for (int64_t runs = 1; runs <= std::max<int64_t>(1, useful); ++runs) {
    const int64_t left = memory - layer - runs * one_run;
    if (left < 0 && runs > 1) break;
    const int64_t together =
        std::clamp<int64_t>(left / (g.receivers_per_layer() * row), 1, g.num_layers);
    const int64_t passes =
        together == g.num_layers ? 1 : chunks(runs) * ((g.num_layers + together - 1) / together);
    // With as many passes, products of more rows are faster.
    if (runs > 1 && passes > least) continue;
    least = passes;
    best = {runs, together, insides,
            runs * one_run + another + layer + (together * g.receivers_per_layer() + 1) * row};
  }
  return best;
}

at::Tensor path_scores(const Session& session, const std::vector<double>& points,
                       const AttributionOptions& options) {
  const c10::NoGradGuard no_grad;
  const auto runs = static_cast<int64_t>(points.size());
  const RunPlan plan = plan_of(session, options, runs);
  Contributions contributions = contributions_of(session, options, plan);
  Report report(options, runs);
  const Senders::Node input = session.senders().node(0, 1);
  by_chunks(points, plan.at_a_time, [&](const std::vector<double>& some) {
    Sweep sweep(session, options.rule, plan.insides, 0, between(input, some));
    sweep.pull_back(session.metric().gradient(sweep.rows()), contributions.use());
    report.add(static_cast<int64_t>(some.size()));
  });
  return contributions.scores(runs);
}

// Before the node that is held, every run of a group is the plain run. So the gradients of all runs
// are summed where they arrive there, and go the rest of the way together, once.
at::Tensor activation_scores(const Session& session, int64_t steps,
                             const AttributionOptions& options) {
  const c10::NoGradGuard no_grad;
  const Graph& g = session.graph();
  std::vector<double> points;
  for (int64_t k = 1; k <= steps; ++k) points.push_back(static_cast<double>(k) / steps);
  const int64_t runs = steps * (2 * g.num_layers + 1);
  Report report(options, runs);
  const RunPlan plan = plan_of(session, options, steps, /*beside_another=*/true);
  Contributions contributions = contributions_of(session, options, plan);
  const Senders& senders = session.senders();
  const Senders::Node input = senders.node(0, 1);

  Sweep plain(session, options.rule, plan.insides, 0, between(input, {1.0}));
  std::vector<at::Tensor> joining(g.num_layers);
  for (int64_t l = g.num_layers - 1; l >= 0; --l) {
    for (const bool is_mlp : {true, false}) {
      const Senders::Node node =
          is_mlp ? senders.node(g.mlp(l), 1) : senders.node(g.head(l, 0), g.num_heads);
      by_chunks(points, plan.at_a_time, [&](const std::vector<double>& some) {
        const auto count = static_cast<int64_t>(some.size());
        Sweep sweep(session, options.rule, plan.insides, l,
                    plain.stream_before(l).expand({count, -1, -1}),
                    Sweep::Cut{is_mlp, between(node, some)});
        const at::Tensor arrived =
            sweep.pull_back(session.metric().gradient(sweep.rows()), contributions.use()).sum(0);
        joining[l] = joining[l].defined() ? joining[l] + arrived : arrived;
        report.add(count);
      });
    }
  }
  plain.pull_back(at::zeros_like(plain.rows()), contributions.use(), joining);
  const GradientUse use = contributions.use(/*whole=*/session.model().positions.has_value());
  by_chunks(points, plan.at_a_time, [&](const std::vector<double>& some) {
    Sweep sweep(session, options.rule, plan.insides, 0, between(input, some));
    sweep.pull_back(session.metric().gradient(sweep.rows()), use);
    report.add(static_cast<int64_t>(some.size()));
  });
  return contributions.scores(runs);
}

}  // namespace kcircuits::engine
