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

// The receivers whose tests come together.
enum class Part : int64_t {
  kBlock,  // edges into the MLP; into the logits, as the "layer" behind the last one
  kWhole,  // attention: all edges into a receiver at once
  kEdges,  // attention: edges into the receivers that are left
};

struct Stage {
  int64_t layer;
  Part part;

  bool is_last() const { return layer == 0 && part == Part::kEdges; }
  Stage next(int64_t num_layers) const {
    if (layer == num_layers || part == Part::kEdges) return {layer - 1, Part::kBlock};
    return {layer, part == Part::kBlock ? Part::kWhole : Part::kEdges};
  }
};

class Search {
 public:
  Search(const Session& session, const AcdcOptions& options, const AcdcWatch& watch)
      : session_(session),
        graph_(session.graph()),
        options_(options),
        watch_(watch),
        state_(session),
        gradients_(state_),
        risk_(options.threshold) {
    effects_.assign(graph_.num_receivers() * graph_.num_senders(), kUnknown);
  }

  AcdcResult run(const std::optional<Snapshot>& from);

 private:
  void begin(Stage stage);
  void settle();
  std::vector<int64_t> receivers_of_attention(int64_t layer) const;
  std::vector<Candidate> candidates_of_stage();

  std::vector<Candidate> edges_into(int64_t receiver) const;
  void predict();
  int64_t horizon() const;
  void test();
  int64_t test_chunk(int64_t count);
  at::Tensor draft(int64_t count) const;
  void plan(int64_t count);
  std::vector<double> metrics(const at::Tensor& rows) const;

  bool removable(double effect) const {
    return (options_.absolute ? std::abs(effect) : effect) < options_.threshold;
  }
  bool drafted_removed(const Candidate& candidate) const { return removable(candidate.predicted); }
  void decide(const Candidate& candidate, double effect);
  void drop(int64_t receiver);

  Snapshot snapshot() const;
  void restore(const Snapshot& from);

  const Session& session_;
  const Graph& graph_;
  const AcdcOptions& options_;
  const AcdcWatch& watch_;
  State state_;
  Gradients gradients_;
  Risk risk_;
  Stage stage_{};
  std::vector<Candidate> candidates_;  // of the stage
  int64_t first_ = 0;                  // of them that is not decided
  std::unique_ptr<Propagation> propagation_;
  std::vector<double> effects_;  // [R * S], of the edges that were kept
  double metric_ = 0;
  AcdcProgress done_{};
  AcdcResult result_;
};

AcdcResult Search::run(const std::optional<Snapshot>& from) {
  if (from) {
    restore(*from);
  } else {
    metric_ = metrics(session_.full_rows().unsqueeze(0))[0];
    result_.full_metric = metric_;
    begin({graph_.num_layers, Part::kBlock});
  }
  test();
  while (!stage_.is_last()) {
    begin(stage_.next(graph_.num_layers));
    test();
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

void Search::begin(Stage stage) {
  stage_ = stage;
  done_.layer = stage.layer;
  settle();
  candidates_ = candidates_of_stage();
  first_ = 0;
  propagation_.reset();
  if (!candidates_.empty()) predict();
}

void Search::settle() {
  if (stage_.layer == graph_.num_layers) {
    state_.settle_from(graph_.num_receivers());
  } else {
    state_.settle_from(graph_.mlp_input(stage_.layer) + (stage_.part == Part::kBlock ? 1 : 0));
  }
}

// Values, keys, queries, each from the last head.
std::vector<int64_t> Search::receivers_of_attention(int64_t layer) const {
  std::vector<int64_t> receivers;
  for (int64_t j = graph_.num_kv_heads - 1; j >= 0; --j)
    receivers.push_back(graph_.value(layer, j));
  for (int64_t j = graph_.num_kv_heads - 1; j >= 0; --j) receivers.push_back(graph_.key(layer, j));
  for (int64_t i = graph_.num_heads - 1; i >= 0; --i) receivers.push_back(graph_.query(layer, i));
  return receivers;
}

// Drops the edges that nobody needs, without a test, on the way.
std::vector<Candidate> Search::candidates_of_stage() {
  if (stage_.layer == graph_.num_layers) return edges_into(graph_.logits());
  std::vector<Candidate> candidates;
  const auto add_edges = [&](int64_t receiver) {
    const auto into = edges_into(receiver);
    candidates.insert(candidates.end(), into.begin(), into.end());
  };
  const auto is_read = [&](int64_t receiver) {
    const bool read = state_.receiver_need(receiver) != Need::kNone;
    if (!read) drop(receiver);
    return read;
  };
  if (stage_.part == Part::kBlock) {
    const int64_t receiver = graph_.mlp_input(stage_.layer);
    if (is_read(receiver)) add_edges(receiver);
    return candidates;
  }
  for (const int64_t receiver : receivers_of_attention(stage_.layer)) {
    if (stage_.part == Part::kWhole) {
      if (is_read(receiver)) candidates.push_back({receiver, kWholeReceiver});
    } else {
      const auto& present = state_.senders_present(receiver);
      if (std::find(present.begin(), present.end(), 1) != present.end()) add_edges(receiver);
    }
  }
  return candidates;
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

// Predicts the effects of the candidates from the present masked run.
void Search::predict() {
  std::vector<int64_t> receivers, row_of;
  for (const Candidate& candidate : candidates_) {
    if (receivers.empty() || receivers.back() != candidate.receiver)
      receivers.push_back(candidate.receiver);
    row_of.push_back(static_cast<int64_t>(receivers.size()) - 1);
  }
  const profile::Scope scope(profile::Op::kGradients, done_.layer);
  gradients_.refresh(receivers[0]);
  const Estimates estimates = gradients_.estimate(receivers);
  const auto edges = estimates.edges.accessor<double, 2>();
  const auto whole = estimates.whole.accessor<double, 1>();
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const int64_t sender = candidates_[i].sender;
    candidates_[i].predicted =
        sender == kWholeReceiver ? whole[row_of[i]] : edges[row_of[i]][sender];
  }
}

// How many candidates make the next chunk.
int64_t Search::horizon() const {
  const auto left = static_cast<int64_t>(candidates_.size()) - first_;
  const int64_t most = std::min(left, options_.chunk_limit);
  double risk = 0;
  for (int64_t count = 0; count < most; ++count) {
    risk += risk_.of(candidates_[first_ + count].predicted);
    if (risk >= kRiskLimit) return count + 1;
  }
  return most;
}

void Search::test() {
  while (first_ < static_cast<int64_t>(candidates_.size())) {
    first_ += test_chunk(horizon());
    done_.tests = result_.tests;
    try {
      watch_.progress(done_);
    } catch (...) {
      if (watch_.due) watch_.keep(snapshot());
      throw;
    }
    if (watch_.due && watch_.due()) watch_.keep(snapshot());
  }
}

// Evaluates `count` hypotheses along one drafted sequence of decisions and makes the decisions up
// to the first that the draft got wrong. Returns how many were made; at least one.
int64_t Search::test_chunk(int64_t count) {
  plan(count);
  const int64_t fits = std::max<int64_t>(
      1, options_.memory / std::max<int64_t>(1, propagation_->bytes_per_hypothesis()));
  if (fits < count) {
    count = fits;
    plan(count);
  }
  const std::vector<double> metric = metrics(propagation_->run(draft(count)));
  result_.evaluations += count;
  result_.chunks += 1;

  int64_t decided = 0;
  int64_t last_removed = -1;
  bool draft_holds = true;
  double before = metric_;
  for (int64_t i = 0; i < count; ++i) {
    Candidate& candidate = candidates_[first_ + i];
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

void Search::plan(int64_t count) {
  std::vector<int64_t> touched;
  for (int64_t i = first_; i < first_ + count; ++i) {
    if (touched.empty() || touched.back() != candidates_[i].receiver)
      touched.push_back(candidates_[i].receiver);
  }
  if (!propagation_ || propagation_->touched() != touched) {
    propagation_ = std::make_unique<Propagation>(state_, std::move(touched));
  }
}

// Row i of the draft: the decisions before candidate i as drafted, and candidate i removed.
at::Tensor Search::draft(int64_t count) const {
  const std::vector<int64_t>& touched = propagation_->touched();
  std::vector<std::vector<uint8_t>> present;
  for (const int64_t receiver : touched) present.push_back(state_.senders_present(receiver));
  const int64_t num_senders = static_cast<int64_t>(present[0].size());
  at::Tensor masks =
      at::empty({static_cast<int64_t>(touched.size()), count, num_senders}, at::kBool);
  bool* out = masks.mutable_data_ptr<bool>();
  size_t current = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates_[first_ + i];
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

// What is there after a chunk; the propagation is made anew from it, with the same values.
Snapshot Search::snapshot() const {
  Snapshot out;
  state_.save(out);
  gradients_.save(out);
  std::vector<int64_t> receivers, senders, kept;
  std::vector<double> predicted, effects;
  for (auto i = static_cast<size_t>(first_); i < candidates_.size(); ++i) {
    receivers.push_back(candidates_[i].receiver);
    senders.push_back(candidates_[i].sender - kWholeReceiver);
    predicted.push_back(candidates_[i].predicted);
  }
  for (size_t i = 0; i < effects_.size(); ++i) {
    if (std::isnan(effects_[i])) continue;
    kept.push_back(static_cast<int64_t>(i));
    effects.push_back(effects_[i]);
  }
  out["candidate_receivers"] = at::tensor(receivers, at::kLong);
  out["candidate_senders"] = at::tensor(senders, at::kLong);  // 0: all, else one more than its id
  out["candidate_predictions"] = at::tensor(predicted, at::kDouble);
  out["kept_edges"] = at::tensor(kept, at::kLong);
  out["kept_effects"] = at::tensor(effects, at::kDouble);
  out["counts"] = at::tensor(
      std::vector<int64_t>{stage_.layer, static_cast<int64_t>(stage_.part), done_.edges_settled,
                           done_.edges_removed, result_.tests, result_.evaluations, result_.chunks},
      at::kLong);
  const auto [seen, expected] = risk_.learnt();
  out["numbers"] =
      at::tensor(std::vector<double>{metric_, result_.full_metric, seen, expected}, at::kDouble);
  return out;
}

void Search::restore(const Snapshot& from) {
  const int64_t* counts = entry(from, "counts", at::kLong, {7}).const_data_ptr<int64_t>();
  const double* numbers = entry(from, "numbers", at::kDouble, {4}).const_data_ptr<double>();
  TORCH_CHECK_VALUE(0 <= counts[0] && counts[0] <= graph_.num_layers && 0 <= counts[1] &&
                        counts[1] <= static_cast<int64_t>(Part::kEdges),
                    "snapshot: there is no stage ", counts[0], ", ", counts[1]);
  stage_ = {counts[0], static_cast<Part>(counts[1])};
  done_ = {counts[0], counts[2], counts[3], counts[4]};
  result_.tests = counts[4];
  result_.evaluations = counts[5];
  result_.chunks = counts[6];
  metric_ = numbers[0];
  result_.full_metric = numbers[1];
  risk_.restore(numbers[2], numbers[3]);
  state_.restore(from);
  gradients_.restore(from);
  settle();

  const auto receivers = ids(from, "candidate_receivers", graph_.num_receivers());
  const auto senders = ids(from, "candidate_senders", graph_.num_senders() + 1);
  const auto count = static_cast<int64_t>(receivers.size());
  TORCH_CHECK_VALUE(receivers.size() == senders.size(), "snapshot: ", receivers.size(),
                    " candidates' receivers and ", senders.size(), " senders");
  const double* predicted =
      entry(from, "candidate_predictions", at::kDouble, {count}).const_data_ptr<double>();
  for (size_t i = 0; i < receivers.size(); ++i) {
    const int64_t sender = senders[i] + kWholeReceiver;
    TORCH_CHECK_VALUE(sender < graph_.num_senders_of(receivers[i]), "snapshot: no edge ", sender,
                      ", ", receivers[i]);
    candidates_.push_back({receivers[i], sender, predicted[i]});
  }
  const auto kept = ids(from, "kept_edges", static_cast<int64_t>(effects_.size()));
  const double* effects =
      entry(from, "kept_effects", at::kDouble, {static_cast<int64_t>(kept.size())})
          .const_data_ptr<double>();
  for (size_t i = 0; i < kept.size(); ++i) effects_[kept[i]] = effects[i];
}

}  // namespace

AcdcResult acdc(const Session& session, const AcdcOptions& options, const AcdcWatch& watch,
                const std::optional<Snapshot>& from) {
  TORCH_CHECK_VALUE(options.threshold >= 0, "threshold: expected ≥ 0, got ", options.threshold);
  TORCH_CHECK_VALUE(options.chunk_limit >= 1, "chunk_limit: expected ≥ 1, got ",
                    options.chunk_limit);
  const c10::NoGradGuard no_grad;
  return Search(session, options, watch).run(from);
}

}  // namespace kcircuits::engine
