#include "engine/acdc.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "engine/gradients.h"
#include "engine/propagate.h"
#include "engine/risk.h"
#include "engine/state.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

constexpr int64_t kWholeReceiver = -1;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
// A chunk may expect this many wrong drafts: more waste evaluations, fewer leave the processor
// idle.
constexpr double kRiskLimit = 1.0;

struct Candidate {
  int64_t receiver;
  int64_t sender;  // kWholeReceiver: all edges into the receiver at once
  double predicted =
      0;  // its effect, by the gradient or as an earlier, discarded hypothesis has shown it
};

class Search {
 public:
  Search(const Session& session, const AcdcOptions& options,
         const std::function<void(const AcdcProgress&)>& progress)
      : session_(session),
        graph_(session.graph()),
        options_(options),
        progress_(progress),
        state_(session),
        gradients_(state_),
        risk_(options.threshold) {
    effects_.assign(graph_.num_receivers() * graph_.num_senders(), kUnknown);
  }

  AcdcResult run();

 private:
  void settle_mlp(int64_t layer);
  void settle_attention(int64_t layer);

  std::vector<Candidate> edges_into(int64_t receiver) const;
  void predict(std::vector<Candidate>& candidates);
  int64_t horizon(const std::vector<Candidate>& candidates, int64_t first) const;
  void test(std::vector<Candidate> candidates);
  int64_t test_chunk(std::vector<Candidate>& candidates, int64_t first, int64_t count);
  at::Tensor draft(const std::vector<Candidate>& candidates, int64_t first, int64_t count) const;
  void plan(const std::vector<Candidate>& candidates, int64_t first, int64_t count);
  std::vector<double> metrics(const at::Tensor& rows) const;

  bool removable(double effect) const {
    return (options_.absolute ? std::abs(effect) : effect) < options_.threshold;
  }
  bool drafted_removed(const Candidate& candidate) const { return removable(candidate.predicted); }
  void decide(const Candidate& candidate, double effect);
  void drop(int64_t receiver);

  const Session& session_;
  const Graph& graph_;
  const AcdcOptions& options_;
  const std::function<void(const AcdcProgress&)>& progress_;
  State state_;
  Gradients gradients_;
  Risk risk_;
  std::unique_ptr<Propagation> propagation_;
  std::vector<double> effects_;  // [R * S], of the edges that were kept
  double metric_ = 0;
  AcdcProgress done_{};
  AcdcResult result_;
};

AcdcResult Search::run() {
  metric_ = metrics(session_.full_rows().unsqueeze(0))[0];
  result_.full_metric = metric_;
  done_.layer = graph_.num_layers;
  state_.settle_from(graph_.num_receivers());
  test(edges_into(graph_.logits()));
  for (int64_t layer = graph_.num_layers - 1; layer >= 0; --layer) {
    done_.layer = layer;
    settle_mlp(layer);
    settle_attention(layer);
  }
  result_.circuit_metric = metric_;
  for (int64_t r = 0; r < graph_.num_receivers(); ++r) {
    for (int64_t s = 0; s < graph_.num_senders_of(r); ++s) {
      if (state_.present(s, r))
        result_.edges.push_back({s, r, effects_[r * graph_.num_senders() + s]});
    }
  }
  return result_;
}

void Search::settle_mlp(int64_t layer) {
  const int64_t receiver = graph_.mlp_input(layer);
  state_.settle_from(receiver + 1);
  if (state_.receiver_need(receiver) == Need::kNone) {
    drop(receiver);
  } else {
    test(edges_into(receiver));
  }
}

void Search::settle_attention(int64_t layer) {
  state_.settle_from(graph_.mlp_input(layer));
  std::vector<int64_t> receivers;  // values, keys, queries, each from the last head
  for (int64_t j = graph_.num_kv_heads - 1; j >= 0; --j)
    receivers.push_back(graph_.value(layer, j));
  for (int64_t j = graph_.num_kv_heads - 1; j >= 0; --j) receivers.push_back(graph_.key(layer, j));
  for (int64_t i = graph_.num_heads - 1; i >= 0; --i) receivers.push_back(graph_.query(layer, i));

  std::vector<Candidate> whole;
  for (const int64_t receiver : receivers) {
    if (state_.receiver_need(receiver) == Need::kNone) {
      drop(receiver);
    } else {
      whole.push_back({receiver, kWholeReceiver});
    }
  }
  test(whole);
  std::vector<Candidate> edges;
  for (const Candidate& candidate : whole) {
    const auto& present = state_.senders_present(candidate.receiver);
    if (std::find(present.begin(), present.end(), 1) == present.end()) continue;
    const auto into = edges_into(candidate.receiver);
    edges.insert(edges.end(), into.begin(), into.end());
  }
  test(edges);
}

// Latest layer first: m{l}, then the heads of layer l from 0 up; `input` last.
std::vector<Candidate> Search::edges_into(int64_t receiver) const {
  const int64_t num_senders = graph_.num_senders_of(receiver);
  std::vector<Candidate> candidates;
  for (int64_t layer = graph_.num_layers - 1; layer >= 0; --layer) {
    if (graph_.mlp(layer) < num_senders) candidates.push_back({receiver, graph_.mlp(layer)});
    for (int64_t i = 0; i < graph_.num_heads && graph_.head(layer, i) < num_senders; ++i) {
      candidates.push_back({receiver, graph_.head(layer, i)});
    }
  }
  candidates.push_back({receiver, 0});
  return candidates;
}

// Predicts the effects of candidates of one sub-block from the present masked run.
void Search::predict(std::vector<Candidate>& candidates) {
  std::vector<int64_t> receivers, row_of;
  for (const Candidate& candidate : candidates) {
    if (receivers.empty() || receivers.back() != candidate.receiver)
      receivers.push_back(candidate.receiver);
    row_of.push_back(static_cast<int64_t>(receivers.size()) - 1);
  }
  const profile::Scope scope(profile::Op::kGradients, done_.layer);
  gradients_.refresh(receivers[0]);
  const Estimates estimates = gradients_.estimate(receivers);
  const auto edges = estimates.edges.accessor<double, 2>();
  const auto whole = estimates.whole.accessor<double, 1>();
  for (size_t i = 0; i < candidates.size(); ++i) {
    const int64_t sender = candidates[i].sender;
    candidates[i].predicted =
        sender == kWholeReceiver ? whole[row_of[i]] : edges[row_of[i]][sender];
  }
}

// How many candidates from `first` on make the next chunk.
int64_t Search::horizon(const std::vector<Candidate>& candidates, int64_t first) const {
  const auto left = static_cast<int64_t>(candidates.size()) - first;
  const int64_t most = std::min(left, options_.chunk_limit);
  double risk = 0;
  for (int64_t count = 0; count < most; ++count) {
    risk += risk_.of(candidates[first + count].predicted);
    if (risk >= kRiskLimit) return count + 1;
  }
  return most;
}

void Search::test(std::vector<Candidate> candidates) {
  if (candidates.empty()) return;
  propagation_.reset();
  predict(candidates);
  int64_t first = 0;
  while (first < static_cast<int64_t>(candidates.size())) {
    first += test_chunk(candidates, first, horizon(candidates, first));
    done_.tests = result_.tests;
    progress_(done_);
  }
}

// Evaluates `count` hypotheses along one drafted sequence of decisions and makes the decisions up
// to the first that the draft got wrong. Returns how many were made; at least one.
int64_t Search::test_chunk(std::vector<Candidate>& candidates, int64_t first, int64_t count) {
  plan(candidates, first, count);
  const int64_t fits = std::max<int64_t>(
      1, options_.memory / std::max<int64_t>(1, propagation_->bytes_per_hypothesis()));
  if (fits < count) {
    count = fits;
    plan(candidates, first, count);
  }
  const std::vector<double> metric = metrics(propagation_->run(draft(candidates, first, count)));
  result_.evaluations += count;
  result_.chunks += 1;

  int64_t decided = 0;
  int64_t last_removed = -1;
  bool draft_holds = true;
  double before = metric_;
  for (int64_t i = 0; i < count; ++i) {
    Candidate& candidate = candidates[first + i];
    const double effect = metric[i] - before;
    const bool drafted = drafted_removed(candidate);
    if (draft_holds) {
      decide(candidate, effect);
      ++decided;
      if (removable(effect)) last_removed = i;
      draft_holds = removable(effect) == drafted;
      risk_.learn(candidate.predicted, !draft_holds);
    } else {
      candidate.predicted = effect;
    }
    if (drafted) before = metric[i];
  }
  if (last_removed >= 0) {
    metric_ = metric[last_removed];
    propagation_->commit(state_, last_removed);
  }
  return decided;
}

void Search::plan(const std::vector<Candidate>& candidates, int64_t first, int64_t count) {
  std::vector<int64_t> touched;
  for (int64_t i = first; i < first + count; ++i) {
    if (touched.empty() || touched.back() != candidates[i].receiver)
      touched.push_back(candidates[i].receiver);
  }
  if (!propagation_ || propagation_->touched() != touched) {
    propagation_ = std::make_unique<Propagation>(state_, std::move(touched));
  }
}

// Row i of the draft: the decisions before candidate i as drafted, and candidate i removed.
at::Tensor Search::draft(const std::vector<Candidate>& candidates, int64_t first,
                         int64_t count) const {
  const std::vector<int64_t>& touched = propagation_->touched();
  std::vector<std::vector<uint8_t>> present;
  for (const int64_t receiver : touched) present.push_back(state_.senders_present(receiver));
  const int64_t num_senders = static_cast<int64_t>(present[0].size());
  at::Tensor masks =
      at::empty({static_cast<int64_t>(touched.size()), count, num_senders}, at::kBool);
  bool* out = masks.mutable_data_ptr<bool>();
  size_t current = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates[first + i];
    while (touched[current] != candidate.receiver) ++current;
    const std::vector<uint8_t> kept = present[current];
    if (candidate.sender == kWholeReceiver) {
      std::fill(present[current].begin(), present[current].end(), uint8_t{0});
    } else {
      present[current][candidate.sender] = 0;
    }
    for (size_t t = 0; t < touched.size(); ++t) {
      std::copy(present[t].begin(), present[t].end(),
                out + (static_cast<int64_t>(t) * count + i) * num_senders);
    }
    if (!drafted_removed(candidate)) present[current] = kept;
  }
  return masks;
}

void Search::decide(const Candidate& candidate, double effect) {
  result_.tests += 1;
  if (candidate.sender == kWholeReceiver) {
    if (removable(effect)) drop(candidate.receiver);
    return;
  }
  done_.edges_settled += 1;
  if (removable(effect)) {
    state_.remove(candidate.sender, candidate.receiver);
    done_.edges_removed += 1;
  } else {
    effects_[candidate.receiver * graph_.num_senders() + candidate.sender] = effect;
  }
}

void Search::drop(int64_t receiver) {
  state_.remove_all(receiver);
  done_.edges_settled += graph_.num_senders_of(receiver);
  done_.edges_removed += graph_.num_senders_of(receiver);
}

// rows [B, N, D] -> mean over prompts of each hypothesis
std::vector<double> Search::metrics(const at::Tensor& rows) const {
  const at::Tensor mean = session_.metric()(rows).to(at::kDouble).mean(1).cpu().contiguous();
  const double* begin = mean.const_data_ptr<double>();
  return {begin, begin + mean.size(0)};
}

}  // namespace

AcdcResult acdc(const Session& session, const AcdcOptions& options,
                const std::function<void(const AcdcProgress&)>& progress) {
  TORCH_CHECK_VALUE(options.threshold >= 0, "threshold: expected ≥ 0, got ", options.threshold);
  TORCH_CHECK_VALUE(options.chunk_limit >= 1, "chunk_limit: expected ≥ 1, got ",
                    options.chunk_limit);
  const c10::NoGradGuard no_grad;
  return Search(session, options, progress).run();
}

}  // namespace kcircuits::engine
