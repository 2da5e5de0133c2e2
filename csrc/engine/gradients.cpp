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
      pull_back_attention(layer);
    }
    if (stop.kind != Kind::kLogits) pull_back_mlp(stop.layer);
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
  const at::Tensor at_out = at_output(graph_.mlp(layer), last_only);
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
    at_outputs.push_back(at_output(graph_.head(layer, i), last_only));
  }
  const std::vector<at::Tensor> outputs = session_.head_outputs(layer, calls);
  std::vector<at::Tensor> wanted = leaves;
  wanted.insert(wanted.end(), normed_leaves.begin(), normed_leaves.end());
  const auto gradients = torch::autograd::grad(outputs, wanted, at_outputs);
  for (size_t i = 0; i < order.size(); ++i) {
    keep(order[i], leaves[i].detach(), gradients[i], gradients[order.size() + i]);
  }
}

at::Tensor Gradients::at_output(int64_t sender, bool last_only) const {
  const c10::NoGradGuard no_grad;
  // The forward mix transposed: the receivers' gradients are what is summed.
  const at::Tensor from_last =
      mix(last_.unsqueeze(1), readers(sender, Need::kLast), std::nullopt, nullptr)
          .squeeze(1);  // [1, N, D]
  if (last_only) return from_last;
  return mix(all_.unsqueeze(1), readers(sender, Need::kAll), std::nullopt, nullptr)
      .squeeze(1)
      .index_add_(1, session_.tokens().last, from_last);
}

// Which receivers with a gradient of these rows read the sender: bool [1, R].
at::Tensor Gradients::readers(int64_t sender, Need rows) const {
  at::Tensor mask = at::zeros({1, graph_.num_receivers()}, at::kBool);
  bool* out = mask.mutable_data_ptr<bool>();
  for (int64_t r = 0; r < graph_.num_receivers(); ++r) {
    out[r] = kept_[r] == rows && sender < graph_.num_senders_of(r) && state_.present(sender, r);
  }
  return mask.to(all_.device());
}

// stream, at_stream and at_normed [1, rows, D]
void Gradients::keep(int64_t receiver, const at::Tensor& stream, const at::Tensor& at_stream,
                     const at::Tensor& at_normed) {
  kept_[receiver] = state_.receiver_need(receiver);
  (kept_[receiver] == Need::kLast ? last_ : all_).select(0, receiver).copy_(at_stream[0]);
  inputs_[receiver] = {stream[0], at_normed[0]};
}

}  // namespace kcircuits::engine
