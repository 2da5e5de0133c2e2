#include "engine/propagate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "engine/mix.h"
#include "engine/mlp.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

at::Tensor bool_tensor(const std::vector<uint8_t>& values, at::Device device) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kBool);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<bool>());
  return out.to(device);
}

}  // namespace

Propagation::Propagation(const State& state, std::vector<int64_t> touched)
    : state_(state),
      session_(state.session()),
      graph_(state.session().graph()),
      touched_(std::move(touched)) {
  const Receiver first = graph_.describe(touched_.at(0));
  if (first.kind == Kind::kLogits) {
    bytes_ = session_.tokens().num_prompts * session_.model().width() * 4;
    return;
  }
  for (int64_t layer = first.layer; layer < graph_.num_layers; ++layer) {
    const profile::Scope scope(profile::Op::kOther, layer);
    if (layer > first.layer || first.kind != Kind::kMlp) plan_attention(layer);
    plan_mlp(layer);
  }
  final_input_ = group_inputs({graph_.logits()});
  const int64_t width = session_.model().width() * session_.clean_delta().element_size();
  bytes_ += width * (session_.tokens().num_prompts * static_cast<int64_t>(nodes_.size()) +
                     session_.tokens().num_tokens * num_slots_all_);
}

bool Propagation::is_touched(int64_t receiver) const {
  return std::find(touched_.begin(), touched_.end(), receiver) != touched_.end();
}

bool Propagation::reached(int64_t receiver) const {
  if (state_.receiver_need(receiver) == Need::kNone) return false;
  if (reached_itself(receiver)) return true;
  const Receiver r = graph_.describe(receiver);
  // One norm spans the queries, or the keys, of all heads: what reaches one reaches all.
  if (r.kind == Kind::kLogits || !session_.model().layers[r.layer].attention.joint_norms)
    return false;
  const bool is_query = r.kind == Kind::kQuery;
  if (!is_query && r.kind != Kind::kKey) return false;
  const int64_t first = is_query ? graph_.query(r.layer, 0) : graph_.key(r.layer, 0);
  const int64_t count = is_query ? graph_.num_heads : graph_.num_kv_heads;
  for (int64_t other = first; other < first + count; ++other) {
    if (reached_itself(other)) return true;
  }
  return false;
}

bool Propagation::reached_itself(int64_t receiver) const {
  if (is_touched(receiver)) return true;
  const auto& present = state_.senders_present(receiver);
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return node.sender < static_cast<int64_t>(present.size()) && present[node.sender];
  });
}

void Propagation::add_node(int64_t sender, Step& step) {
  const bool last_only = state_.need(sender) == Need::kLast;
  node_of_[sender] = nodes_.size();
  step.nodes.push_back(nodes_.size());
  nodes_.push_back(
      {sender, last_only, static_cast<int64_t>(nodes_.size()), last_only ? -1 : num_slots_all_++});
}

void Propagation::plan_attention(int64_t layer) {
  Step step{layer, false, {}, {}};
  std::vector<int64_t> inputs;
  std::vector<int64_t> heads;
  for (int64_t j = 0; j < graph_.num_kv_heads; ++j) {
    bool group_reached = false;
    for (const int64_t receiver : {graph_.key(layer, j), graph_.value(layer, j)}) {
      if (!reached(receiver)) continue;
      group_reached = true;
      if (!is_touched(receiver)) inputs.push_back(receiver);
    }
    for (int64_t i = j * graph_.group_size(); i < (j + 1) * graph_.group_size(); ++i) {
      if (state_.need(graph_.head(layer, i)) == Need::kNone) continue;
      const bool query_reached = reached(graph_.query(layer, i));
      if (query_reached && !is_touched(graph_.query(layer, i)))
        inputs.push_back(graph_.query(layer, i));
      if (group_reached || query_reached) heads.push_back(i);
    }
  }
  if (heads.empty()) return;
  if (session_.model().layers[layer].mixes_heads()) {
    heads.resize(graph_.num_heads);
    std::iota(heads.begin(), heads.end(), 0);
  }
  step.groups = group_inputs(inputs);
  keep_unreached(layer, heads);
  for (const int64_t i : heads) add_node(graph_.head(layer, i), step);
  finish_step(std::move(step));
}

// Queries, keys and values that these heads also read, but the change does not reach.
void Propagation::keep_unreached(int64_t layer, const std::vector<int64_t>& heads) {
  std::vector<Session::HeadInput> inputs;
  std::set<int64_t> seen;
  const auto add = [&](int64_t receiver, bool last_only) {
    if (reached(receiver) || !seen.insert(receiver).second) return;
    inputs.push_back({receiver, last_only, unchanged_input(receiver, last_only)});
  };
  for (const int64_t i : heads) {
    const int64_t j = i / graph_.group_size();
    add(graph_.query(layer, i), state_.need(graph_.head(layer, i)) == Need::kLast);
    add(graph_.key(layer, j), false);
    add(graph_.value(layer, j), false);
  }
  const std::vector<at::Tensor> projected = session_.project_heads(inputs);
  for (size_t i = 0; i < inputs.size(); ++i) unchanged_[inputs[i].receiver] = projected[i];
}

void Propagation::plan_mlp(int64_t layer) {
  const int64_t receiver = graph_.mlp_input(layer);
  if (!reached(receiver)) return;
  Step step{layer, true, {}, {}};
  if (!is_touched(receiver)) step.groups = group_inputs({receiver});
  add_node(graph_.mlp(layer), step);
  finish_step(std::move(step));
}

void Propagation::finish_step(Step step) {
  const Tokens& tokens = session_.tokens();
  const int64_t element = session_.clean_delta().element_size();
  int64_t bytes = 0;
  for (const InputGroup& group : step.groups) bytes += group.base.numel() * element;
  for (const int64_t r : touched_) {
    if (graph_.describe(r).layer == step.layer)
      bytes += tokens.num_tokens * session_.model().width() * element;
  }
  if (step.is_mlp) {
    const int64_t rows = nodes_[step.nodes[0]].last_only ? tokens.num_prompts : tokens.num_tokens;
    bytes += 3 * rows * session_.model().layers[step.layer].hidden() * element;
  }
  bytes_ = std::max(bytes_, bytes);
  steps_.push_back(std::move(step));
}

// Receivers of one sub-block, split by the rows at which they are read.
std::vector<Propagation::InputGroup> Propagation::group_inputs(
    const std::vector<int64_t>& receivers) const {
  std::vector<InputGroup> groups;
  for (const bool last_only : {true, false}) {
    InputGroup group;
    group.last_only = last_only;
    std::vector<uint8_t> unchanged, changed;
    const int64_t num_slots = last_only ? static_cast<int64_t>(nodes_.size()) : num_slots_all_;
    int64_t num_senders = 0;
    for (const int64_t receiver : receivers) {
      if ((state_.receiver_need(receiver) == Need::kLast) != last_only) continue;
      group.receivers.push_back(receiver);
      std::vector<uint8_t> present = state_.senders_present(receiver);
      num_senders = static_cast<int64_t>(present.size());
      std::vector<uint8_t> slots(num_slots, 0);
      for (const Node& node : nodes_) {
        if (node.sender >= num_senders || !present[node.sender]) continue;
        present[node.sender] = 0;
        slots[last_only ? node.slot_last : node.slot_all] = 1;
      }
      unchanged.insert(unchanged.end(), present.begin(), present.end());
      changed.insert(changed.end(), slots.begin(), slots.end());
    }
    if (group.receivers.empty()) continue;
    const int64_t count = static_cast<int64_t>(group.receivers.size());
    const at::Tensor& delta = last_only ? state_.delta_last() : state_.delta();
    group.base = mix(delta.slice(0, 0, num_senders).unsqueeze(1),
                     bool_tensor(unchanged, delta.device()).view({count, num_senders}),
                     session_.constant(group.receivers[0], last_only), nullptr);
    group.mask = bool_tensor(changed, delta.device()).view({count, num_slots});
    groups.push_back(std::move(group));
  }
  return groups;
}

// Normed input of a receiver that the change does not reach, [1, rows, D].
at::Tensor Propagation::unchanged_input(int64_t receiver, bool last_only) const {
  return state_.inputs({receiver}, last_only, &session_.norm_of(receiver))[0];
}

at::Tensor Propagation::run(const at::Tensor& masks) {
  const int64_t b = masks.size(1);
  const Tokens& tokens = session_.tokens();
  const int64_t width = session_.model().width();
  const auto options = state_.delta().options();
  slots_last_ = slots_all_ = at::Tensor();  // before the next ones are made
  slots_last_ =
      at::empty({static_cast<int64_t>(nodes_.size()), b, tokens.num_prompts, width}, options);
  slots_all_ = at::empty({num_slots_all_, b, tokens.num_tokens, width}, options);
  x_.clear();
  compute_touched(masks);
  for (const Step& step : steps_) {
    const profile::Scope scope(profile::Op::kOther, step.layer);
    compute_inputs(step.groups);
    if (step.is_mlp) {
      run_mlp(step);
    } else {
      run_heads(step);
    }
    for (const size_t index : step.nodes) finish(nodes_[index]);
    x_.clear();
  }
  compute_inputs(final_input_);
  at::Tensor rows = x_.at(graph_.logits());
  x_.clear();
  return rows;
}

void Propagation::compute_touched(const at::Tensor& masks) {
  const profile::Scope scope(profile::Op::kOther, graph_.describe(touched_[0]).layer);
  const Norm& norm = session_.norm_of(touched_[0]);
  for (const bool last_only : {true, false}) {
    std::vector<int64_t> rows;
    for (size_t t = 0; t < touched_.size(); ++t) {
      if ((state_.receiver_need(touched_[t]) == Need::kLast) == last_only)
        rows.push_back(static_cast<int64_t>(t));
    }
    if (rows.empty()) continue;
    const at::Tensor& delta = last_only ? state_.delta_last() : state_.delta();
    const at::Tensor mask = masks.index_select(0, at::tensor(rows, at::kLong)).to(delta.device());
    const at::Tensor x = mix(delta.slice(0, 0, mask.size(2)).unsqueeze(1), mask,
                             session_.constant(touched_[0], last_only), &norm);
    for (size_t t = 0; t < rows.size(); ++t) x_[touched_[rows[t]]] = x[static_cast<int64_t>(t)];
  }
}

void Propagation::compute_inputs(const std::vector<InputGroup>& groups) {
  for (const InputGroup& group : groups) {
    const at::Tensor& slots = group.last_only ? slots_last_ : slots_all_;
    const at::Tensor x = mix(slots.slice(0, 0, group.mask.size(1)), group.mask, group.base,
                             &session_.norm_of(group.receivers[0]));
    for (size_t r = 0; r < group.receivers.size(); ++r)
      x_[group.receivers[r]] = x[static_cast<int64_t>(r)];
  }
}

void Propagation::run_mlp(const Step& step) {
  const Node& node = nodes_[step.nodes[0]];
  const at::Tensor out =
      apply_mlp(x_.at(graph_.mlp_input(step.layer)), session_.model().layers[step.layer]);
  slot(node).copy_(out);
}

void Propagation::run_heads(const Step& step) {
  std::vector<Session::HeadInput> inputs;
  for (const auto& [receiver, x] : x_) {
    inputs.push_back({receiver, state_.receiver_need(receiver) == Need::kLast, x});
  }
  const std::vector<at::Tensor> projected = session_.project_heads(inputs);
  std::map<int64_t, at::Tensor> of = unchanged_;
  for (size_t i = 0; i < inputs.size(); ++i) of[inputs[i].receiver] = projected[i];

  std::vector<Session::HeadCall> calls;
  std::vector<at::Tensor> out;
  for (const size_t index : step.nodes) {
    const Node& node = nodes_[index];
    const int64_t i = graph_.place(node.sender);
    calls.push_back(session_.head_call(step.layer, i, node.last_only,
                                       [&](int64_t receiver) { return of.at(receiver); }));
    out.push_back(slot(node));
  }
  session_.write_heads(step.layer, calls, out);
}

// Where a node's output goes, [B, rows, D].
at::Tensor Propagation::slot(const Node& node) const {
  return node.last_only ? slots_last_.select(0, node.slot_last)
                        : slots_all_.select(0, node.slot_all);
}

// The output becomes the difference to the ablated value, and its last rows are there for whoever
// reads only those.
void Propagation::finish(const Node& node) {
  const Tokens& tokens = session_.tokens();
  at::Tensor out = slot(node);
  if (const auto ablated = session_.ablated(node.sender)) {
    out.sub_(node.last_only ? ablated->index_select(0, tokens.last) : *ablated);
  }
  if (!node.last_only) {
    at::Tensor last = slots_last_.select(0, node.slot_last);
    at::index_select_out(last, out, 1, tokens.last);
  }
}

void Propagation::commit(State& state, int64_t b) const {
  for (const Node& node : nodes_) {
    if (node.last_only) {
      state.set_last(node.sender, slots_last_.select(0, node.slot_last).select(0, b));
    } else {
      state.set_all(node.sender, slots_all_.select(0, node.slot_all).select(0, b));
    }
  }
}

}  // namespace kcircuits::engine
