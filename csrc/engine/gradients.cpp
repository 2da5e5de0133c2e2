#include "engine/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "engine/mix.h"
#include "engine/mlp.h"
#include "engine/norm.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// Removing sender a from stream x changes norm(x)·g by this much, summed over rows.
// a [senders, rows, D], x and g [receivers, rows, D] -> edges [receivers, senders], whole
// [receivers].
std::pair<at::Tensor, at::Tensor> removal_effects(const at::Tensor& senders,
                                                  const at::Tensor& streams,
                                                  const at::Tensor& gradients, const Norm& norm) {
  const auto centred = [&norm](const at::Tensor& x) {
    return norm.kind == NormKind::kLayerNorm ? x - x.mean(-1, /*keepdim=*/true) : x;
  };
  const at::Tensor a = centred(senders).to(at::kFloat).transpose(0, 1);  // [rows, senders, D]
  const at::Tensor x = centred(streams).to(at::kFloat).transpose(0, 1);  // [rows, receivers, D]
  const at::Tensor g =
      (norm.weight ? gradients * *norm.weight : gradients).to(at::kFloat).transpose(0, 1);
  const auto width = static_cast<double>(x.size(2));
  const at::Tensor a_g = at::bmm(g, a.transpose(1, 2));  // [rows, receivers, senders]
  const at::Tensor a_x = at::bmm(x, a.transpose(1, 2));
  const at::Tensor a_a = a.square().sum(-1).unsqueeze(1);    // [rows, 1, senders]
  const at::Tensor x_g = (x * g).sum(-1, /*keepdim=*/true);  // [rows, receivers, 1]
  const at::Tensor x_x = x.square().sum(-1, /*keepdim=*/true);
  if (norm.kind == NormKind::kNone) return {a_g.neg().sum(0), x_g.neg().sum(0).squeeze(-1)};
  const at::Tensor before = x_g * at::rsqrt(x_x / width + norm.eps);
  const at::Tensor left = (x_x - 2 * a_x + a_a).clamp_min(0);  // squared length without the sender
  const at::Tensor after = (x_g - a_g) * at::rsqrt(left / width + norm.eps);
  return {(after - before).sum(0), before.neg().sum(0).squeeze(-1)};
}

}  // namespace

Gradients::Gradients(const State& state)
    : state_(state),
      session_(state.session()),
      graph_(state.session().graph()),
      kept_(graph_.num_receivers(), Need::kNone) {
  const at::Tensor& delta = state.delta();
  all_ = at::empty({graph_.num_receivers(), delta.size(1), delta.size(2)}, delta.options());
  last_ = at::empty({graph_.num_receivers(), session_.tokens().num_prompts, delta.size(2)},
                    delta.options());
}

void Gradients::refresh(int64_t receiver) {
  const Receiver stop = graph_.describe(receiver);
  if (stop.layer != layer_) {
    std::fill(kept_.begin(), kept_.end(), Need::kNone);
    pull_back_logits();
    for (int64_t layer = graph_.num_layers - 1; layer > stop.layer; --layer) {
      pull_back_mlp(layer);
      arrive(layer);
      pull_back_attention(layer);
    }
    if (stop.kind != Kind::kLogits) {
      pull_back_mlp(stop.layer);
      arrive(stop.layer);
    }
    layer_ = stop.layer;
  }
  if (stop.kind != Kind::kLogits && stop.kind != Kind::kMlp) pull_back_attention(stop.layer);
}

Estimates Gradients::estimate(const std::vector<int64_t>& receivers) const {
  const int64_t num_senders = graph_.num_senders_of(receivers.at(0));
  const auto count = static_cast<int64_t>(receivers.size());
  Estimates out = {at::zeros({count, num_senders}, at::kDouble), at::zeros({count}, at::kDouble)};
  for (const bool last_only : {true, false}) {
    std::vector<int64_t> rows;
    std::vector<at::Tensor> streams, gradients;
    for (int64_t i = 0; i < count; ++i) {
      if (kept_[receivers[i]] != (last_only ? Need::kLast : Need::kAll)) continue;
      const Input& input = inputs_.at(receivers[i]);
      rows.push_back(i);
      streams.push_back(input.stream);
      gradients.push_back(input.at_normed);
    }
    if (rows.empty()) continue;
    const at::Tensor& delta = last_only ? state_.delta_last() : state_.delta();
    const auto [edges, whole] =
        removal_effects(delta.slice(0, 0, num_senders), at::stack(streams), at::stack(gradients),
                        session_.norm_of(receivers[0]));
    const at::Tensor index = at::tensor(rows, at::kLong);
    out.edges.index_copy_(0, index, edges.to(at::kCPU, at::kDouble));
    out.whole.index_copy_(0, index, whole.to(at::kCPU, at::kDouble));
  }
  return out;
}

void Gradients::pull_back_logits() {
  const int64_t r = graph_.logits();
  const at::Tensor stream = state_.inputs({r}, /*last_only=*/true, nullptr)[0];  // [1, N, D]
  const at::AutoGradMode grad(true);
  const at::Tensor leaf = stream.detach().requires_grad_();
  const at::Tensor normed = apply_norm(leaf, session_.norm_of(r));
  const at::Tensor at_normed = session_.metric().gradient(normed.detach()) /
                               static_cast<double>(session_.tokens().num_prompts);
  inputs_.clear();
  keep(r, stream, torch::autograd::grad({normed}, {leaf}, {at_normed})[0], at_normed);
}

void Gradients::pull_back_mlp(int64_t layer) {
  const profile::Scope scope(profile::Op::kGradients, layer);
  const int64_t r = graph_.mlp_input(layer);
  const Need need = state_.receiver_need(r);
  inputs_.clear();
  if (need == Need::kNone) return;
  const bool last_only = need == Need::kLast;
  const at::Tensor at_out = at_mlp(layer, last_only);
  const at::Tensor stream = state_.inputs({r}, last_only, nullptr)[0];
  const at::AutoGradMode grad(true);
  const at::Tensor leaf = stream.detach().requires_grad_();
  const at::Tensor normed = apply_norm(leaf, session_.norm_of(r)).view_as(leaf);
  const at::Tensor out = apply_mlp(normed, session_.model().layers[layer]);
  const auto gradients = torch::autograd::grad({out}, {leaf, normed}, {at_out});
  keep(r, stream, gradients[0], gradients[1]);
}

void Gradients::pull_back_attention(int64_t layer) {
  const profile::Scope scope(profile::Op::kGradients, layer);
  std::vector<int64_t> heads;
  std::vector<int64_t> receivers[2];  // read at all rows; at the last ones
  for (int64_t i = 0; i < graph_.num_heads; ++i) {
    const Need need = state_.need(graph_.head(layer, i));
    if (need == Need::kNone) continue;
    heads.push_back(i);
    receivers[need == Need::kLast].push_back(graph_.query(layer, i));
  }
  inputs_.clear();
  if (heads.empty()) return;
  for (int64_t j = 0; j < graph_.num_kv_heads; ++j) {
    if (state_.receiver_need(graph_.key(layer, j)) == Need::kNone) continue;
    receivers[0].push_back(graph_.key(layer, j));
    receivers[0].push_back(graph_.value(layer, j));
  }

  std::vector<int64_t> order;
  std::vector<at::Tensor> leaves, normed_leaves;
  std::vector<Session::HeadInput> inputs;
  const at::AutoGradMode grad(true);
  for (const bool last_only : {false, true}) {
    if (receivers[last_only].empty()) continue;
    const at::Tensor streams = state_.inputs(receivers[last_only], last_only, nullptr).detach();
    for (size_t i = 0; i < receivers[last_only].size(); ++i) {
      const int64_t r = receivers[last_only][i];
      order.push_back(r);
      leaves.push_back(streams[static_cast<int64_t>(i)].requires_grad_());
      // Where there is no norm, what is behind it is another tensor all the same.
      normed_leaves.push_back(
          apply_norm(leaves.back(), session_.norm_of(r)).view_as(leaves.back()));
      inputs.push_back({r, last_only, normed_leaves.back()});
    }
  }
  std::map<int64_t, at::Tensor> projected;
  const std::vector<at::Tensor> of_inputs = session_.project_heads(inputs);
  for (size_t i = 0; i < order.size(); ++i) projected[order[i]] = of_inputs[i];
  std::vector<Session::HeadCall> calls;
  std::vector<at::Tensor> at_outputs;
  for (const int64_t i : heads) {
    const bool last_only = state_.need(graph_.head(layer, i)) == Need::kLast;
    calls.push_back(session_.head_call(layer, i, last_only,
                                       [&](int64_t receiver) { return projected.at(receiver); }));
    at_outputs.push_back(at_head(layer, i, last_only));
  }
  const std::vector<at::Tensor> outputs = session_.head_outputs(layer, calls);
  std::vector<at::Tensor> wanted = leaves;
  wanted.insert(wanted.end(), normed_leaves.begin(), normed_leaves.end());
  const auto gradients = torch::autograd::grad(outputs, wanted, at_outputs);
  for (size_t i = 0; i < order.size(); ++i) {
    keep(order[i], leaves[i].detach(), gradients[i], gradients[order.size() + i]);
  }
}

void Gradients::arrive(int64_t layer) {
  const c10::NoGradGuard no_grad;
  arrived_last_ = arriving(layer, Need::kLast);
  arrived_all_ = arriving(layer, Need::kAll);
}

Gradients::Arrived Gradients::arriving(int64_t layer, Need rows) const {
  Arrived out;
  std::vector<uint8_t> mask;
  for (int64_t i = 0; i < graph_.num_heads; ++i) {
    const int64_t sender = graph_.head(layer, i);
    const std::vector<uint8_t> of = readers(sender, rows, graph_.mlp_input(layer) + 1);
    if (std::find(of.begin(), of.end(), 1) == of.end()) continue;
    out.heads.push_back(sender);
    mask.insert(mask.end(), of.begin(), of.end());
  }
  if (!out.heads.empty()) out.rows = summed(rows == Need::kLast ? last_ : all_, mask);
  return out;
}

at::Tensor Gradients::at_mlp(int64_t layer, bool last_only) const {
  const c10::NoGradGuard no_grad;
  const int64_t sender = graph_.mlp(layer);
  const int64_t first = graph_.mlp_input(layer) + 1;
  const at::Tensor from_last = summed(last_, readers(sender, Need::kLast, first));
  if (last_only) return from_last;
  return summed(all_, readers(sender, Need::kAll, first))
      .index_add_(1, session_.tokens().last, from_last);
}

// What has arrived from behind the layer, and the layer's MLP where it reads the head.
at::Tensor Gradients::at_head(int64_t layer, int64_t head, bool last_only) const {
  const c10::NoGradGuard no_grad;
  const int64_t sender = graph_.head(layer, head);
  const int64_t mlp = graph_.mlp_input(layer);
  const bool mlp_reads = sender < graph_.num_senders_of(mlp) && state_.present(sender, mlp);
  const auto sum = [&](const Arrived& arrived, const at::Tensor& gradients, Need rows) {
    const auto found = std::find(arrived.heads.begin(), arrived.heads.end(), sender);
    at::Tensor out = at::zeros({1, gradients.size(1), gradients.size(2)}, gradients.options());
    if (found != arrived.heads.end()) out.add_(arrived.rows[found - arrived.heads.begin()]);
    if (mlp_reads && kept_[mlp] == rows) out.add_(gradients[mlp]);
    return out;
  };
  const at::Tensor from_last = sum(arrived_last_, last_, Need::kLast);
  if (last_only) return from_last;
  return sum(arrived_all_, all_, Need::kAll).index_add_(1, session_.tokens().last, from_last);
}

std::vector<uint8_t> Gradients::readers(int64_t sender, Need rows, int64_t first) const {
  std::vector<uint8_t> out(graph_.num_receivers(), 0);
  for (int64_t r = first; r < graph_.num_receivers(); ++r) {
    out[r] = kept_[r] == rows && sender < graph_.num_senders_of(r) && state_.present(sender, r);
  }
  return out;
}

// The forward mix transposed: the receivers' gradients [R, rows, D] are what is summed, for each
// row of the mask [outputs, R].
at::Tensor Gradients::summed(const at::Tensor& gradients, const std::vector<uint8_t>& mask) const {
  at::Tensor which = at::empty(
      {static_cast<int64_t>(mask.size()) / graph_.num_receivers(), graph_.num_receivers()},
      at::kBool);
  std::copy(mask.begin(), mask.end(), which.mutable_data_ptr<bool>());
  return mix(gradients.unsqueeze(1), which.to(gradients.device()), std::nullopt, nullptr)
      .squeeze(1);
}

void Gradients::save(Snapshot& into) const {
  into["gradients_of"] = at::tensor(std::vector<int64_t>{layer_}, at::kLong);
  if (layer_ < 0 || layer_ == graph_.num_layers) return;
  const auto add = [&](const std::string& name, const Arrived& arrived, const at::Tensor& like) {
    into[name + "_heads"] = at::tensor(arrived.heads, at::kLong);
    into[name + "_arrived"] = arrived.heads.empty()
                                  ? at::empty({0, like.size(1), like.size(2)}, like.options()).cpu()
                                  : arrived.rows.cpu();
  };
  add("all", arrived_all_, all_);
  add("last", arrived_last_, last_);
  const int64_t mlp = graph_.mlp_input(layer_);
  into["mlp_need"] = at::tensor(std::vector<int64_t>{static_cast<int64_t>(kept_[mlp])}, at::kLong);
  if (kept_[mlp] != Need::kNone)
    into["mlp_gradient"] = (kept_[mlp] == Need::kLast ? last_ : all_)[mlp].cpu();
}

void Gradients::restore(const Snapshot& from) {
  layer_ = entry(from, "gradients_of", at::kLong, {1}).item<int64_t>();
  if (layer_ == -1 || layer_ == graph_.num_layers) return;
  TORCH_CHECK_VALUE(0 <= layer_ && layer_ < graph_.num_layers, "snapshot: no layer ", layer_);
  const auto read = [&](const std::string& name, const at::Tensor& like) {
    Arrived out{ids(from, name + "_heads", graph_.num_senders()), {}};
    out.rows = entry(from, name + "_arrived", like.scalar_type(),
                     {static_cast<int64_t>(out.heads.size()), like.size(1), like.size(2)})
                   .to(like.device());
    return out;
  };
  arrived_all_ = read("all", all_);
  arrived_last_ = read("last", last_);
  const int64_t mlp = graph_.mlp_input(layer_);
  kept_[mlp] = static_cast<Need>(ids(from, "mlp_need", 3).at(0));
  if (kept_[mlp] == Need::kNone) return;
  const at::Tensor& kept = kept_[mlp] == Need::kLast ? last_ : all_;
  kept[mlp].copy_(entry(from, "mlp_gradient", kept.scalar_type(), {kept.size(1), kept.size(2)}));
}

// stream, at_stream and at_normed [1, rows, D]
void Gradients::keep(int64_t receiver, const at::Tensor& stream, const at::Tensor& at_stream,
                     const at::Tensor& at_normed) {
  kept_[receiver] = state_.receiver_need(receiver);
  (kept_[receiver] == Need::kLast ? last_ : all_).select(0, receiver).copy_(at_stream[0]);
  inputs_[receiver] = {stream[0], at_normed[0]};
}

}  // namespace kcircuits::engine
