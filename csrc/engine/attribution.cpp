#include "engine/attribution.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "engine/attention_fix.h"
#include "engine/sweep.h"
#include "ops/calls.h"

namespace kcircuits::engine {
namespace {

// Adds up what the present edges contribute, (a − ã) · gradient, over sweeps.
class Contributions {
 public:
  Contributions(const Session& session, const AttributionOptions& options)
      : session_(session),
        fix_attention_(options.fix_attention),
        memory_(options.memory),
        sums_(at::zeros({session.graph().num_senders(), session.graph().num_receivers()},
                        session.clean_delta().options())) {}

  // whole: whether what reads nothing but `input` counts: the first layer's queries, keys and
  // values, and its MLP where that is beside the attention.
  GradientUse use(bool whole = true) {
    GradientUse use;
    use.receivers = [this, whole](int64_t first, const at::Tensor& gradients) {
      if (whole || session_.graph().num_senders_of(first) > 1) add(first, gradients);
    };
    if (!fix_attention_) return use;
    use.attention = [this, whole](const Attended& attended) {
      if (whole || attended.layer > 0) {
        add_attention_contributions(session_, attended, memory_, sums_);
      }
    };
    return use;
  }

  // What ablating them does, averaged over `runs`.
  at::Tensor scores(int64_t runs) const { return sums_ / -static_cast<double>(runs); }

 private:
  void add(int64_t first, at::Tensor gradients) {
    const Graph& g = session_.graph();
    if (fix_attention_ && g.describe(first).kind == Kind::kQuery) {
      const int64_t attention = g.num_heads + g.num_kv_heads;  // queries and keys
      gradients = gradients.slice(0, attention);
      first += attention;
    }
    const int64_t senders = g.num_senders_of(first);
    add_edge_scores(sums_.slice(0, 0, senders).slice(1, first, first + gradients.size(0)),
                    session_.clean_delta().slice(0, 0, senders),
                    gradients.size(1) == 1 ? gradients.squeeze(1) : gradients.sum(1));
  }

  const Session& session_;
  bool fix_attention_;
  int64_t memory_;
  at::Tensor sums_;
};

// Products of more rows are hardly faster, and take memory.
constexpr int64_t kEnoughRows = 192;

int64_t variants_at_a_time(const Session& session, const AttributionOptions& options,
                           int64_t count) {
  const Tokens& tokens = session.tokens();
  return plan_runs(session.model(), tokens.num_tokens, tokens.num_prompts, tokens.max_length, count,
                   options.memory)
      .at_a_time;
}

// ã + points · (a − ã) for one or several senders together: [B, P, D].
at::Tensor between(const Session& session, int64_t first, int64_t count,
                   const std::vector<double>& points) {
  const at::Tensor& delta = session.clean_delta();
  const at::Tensor weights = at::tensor(points, delta.options()).view({-1, 1, 1});
  at::Tensor out = delta.slice(0, first, first + count).sum(0) * weights;
  for (int64_t s = first; s < first + count; ++s) {
    if (const auto& ablated = session.ablated(s)) out = out + *ablated;
  }
  return out;
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

RunPlan plan_runs(const Model& model, int64_t tokens, int64_t prompts, int64_t longest,
                  int64_t count, int64_t memory) {
  const int64_t bytes = Sweep::bytes_per_variant(model, tokens, prompts, longest);
  const int64_t useful = (kEnoughRows + tokens - 1) / tokens;
  const int64_t most = std::max<int64_t>(1, std::min(memory / bytes, useful));
  const int64_t chunks = (count + most - 1) / most;
  const int64_t at_a_time = (count + chunks - 1) / chunks;
  return {at_a_time, at_a_time * bytes};
}

at::Tensor path_scores(const Session& session, const std::vector<double>& points,
                       const AttributionOptions& options) {
  const c10::NoGradGuard no_grad;
  Contributions contributions(session, options);
  Report report(options, static_cast<int64_t>(points.size()));
  const int64_t chunk = variants_at_a_time(session, options, static_cast<int64_t>(points.size()));
  by_chunks(points, chunk, [&](const std::vector<double>& some) {
    Sweep sweep(session, options.rule, 0, between(session, 0, 1, some));
    sweep.pull_back(session.metric().gradient(sweep.rows()), contributions.use());
    report.add(static_cast<int64_t>(some.size()));
  });
  return contributions.scores(static_cast<int64_t>(points.size()));
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
  Contributions contributions(session, options);
  Report report(options, runs);
  const Tokens& tokens = session.tokens();
  AttributionOptions beside = options;  // the plain run, which is kept all the time
  beside.memory -= Sweep::bytes_per_variant(session.model(), tokens.num_tokens, tokens.num_prompts,
                                            tokens.max_length);
  const int64_t chunk = variants_at_a_time(session, beside, steps);

  Sweep plain(session, options.rule, 0, between(session, 0, 1, {1.0}));
  std::vector<at::Tensor> joining(g.num_layers);
  for (int64_t l = g.num_layers - 1; l >= 0; --l) {
    for (const bool is_mlp : {true, false}) {
      by_chunks(points, chunk, [&](const std::vector<double>& some) {
        const auto count = static_cast<int64_t>(some.size());
        const at::Tensor held = is_mlp ? between(session, g.mlp(l), 1, some)
                                       : between(session, g.head(l, 0), g.num_heads, some);
        Sweep sweep(session, options.rule, l, plain.stream_before(l).expand({count, -1, -1}),
                    Sweep::Cut{is_mlp, held});
        const at::Tensor arrived =
            sweep.pull_back(session.metric().gradient(sweep.rows()), contributions.use()).sum(0);
        joining[l] = joining[l].defined() ? joining[l] + arrived : arrived;
        report.add(count);
      });
    }
  }
  plain.pull_back(at::zeros_like(plain.rows()), contributions.use(), joining);
  const GradientUse use = contributions.use(/*whole=*/session.model().positions.has_value());
  by_chunks(points, chunk, [&](const std::vector<double>& some) {
    Sweep sweep(session, options.rule, 0, between(session, 0, 1, some));
    sweep.pull_back(session.metric().gradient(sweep.rows()), use);
    report.add(static_cast<int64_t>(some.size()));
  });
  return contributions.scores(runs);
}

}  // namespace kcircuits::engine
