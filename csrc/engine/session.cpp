#include "engine/session.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "engine/mlp.h"
#include "engine/norm.h"
#include "engine/project.h"
#include "profile.h"

namespace kcircuits::engine {

Session::Session(Model model, const SessionOptions& options)
    : model_(std::move(model)),
      tokens_(pack_tokens(options.clean, options.lengths, model_.embedding.device())) {
  for (int64_t l = 0; l < graph().num_layers; ++l) {
    const bool same = l > 0 && model_.device(l) == model_.device(l - 1);
    tokens_of_layer_.push_back(same ? tokens_of_layer_.back()
                                    : tokens_on(tokens_, model_.device(l)));
    std::optional<Rotation> all, last;
    if (const auto& rotary = model_.layers[l].attention.rotary) {
      all = make_rotation(*rotary, tokens(l).positions);
      last = rotation_rows(*all, tokens(l).last);
    }
    rotation_.push_back(all);
    rotation_last_.push_back(last);
  }

  senders_.emplace(*this, options.layout, ablation_of(options));
  const at::Device device = model_.unembedding.device();
  full_rows_ = apply_norm(senders_->last_stream().to(device), model_.final_norm);
  // Only masked runs read them, which are the rule only where all senders are there.
  if (options.layout == Layout::kMemory) constants();

  const auto to_device = [&](const std::optional<at::Tensor>& ids) {
    return ids ? std::optional(ids->to(device)) : std::nullopt;
  };
  metric_ = make_metric(options.metric, model_, options.answers.to(device),
                        to_device(options.wrong), full_rows_);
  bytes_ = count_bytes();
}

Ablation Session::ablation_of(const SessionOptions& options) const {
  if (options.corrupt) {
    TORCH_CHECK_VALUE(options.corrupt->sizes() == options.clean.sizes(), "corrupt: expected ",
                      options.clean.sizes(), ", got ", options.corrupt->sizes());
    return {pack_tokens(*options.corrupt, options.lengths, model_.embedding.device()).ids, {}};
  }
  if (options.mean) {
    const at::Tensor& mean = *options.mean;
    TORCH_CHECK_VALUE(mean.dim() == 3 && mean.size(0) == graph().num_senders() &&
                          (mean.size(1) == 1 || mean.size(1) >= tokens_.max_length) &&
                          mean.size(2) == model_.width(),
                      "mean: expected [", graph().num_senders(), ", 1 or >= ", tokens_.max_length,
                      ", ", model_.width(), "], got ", mean.sizes());
  }
  return {{}, options.mean};
}

// Only for the constructor: later on another thread may be making the constants.
int64_t Session::count_bytes() const {
  int64_t numbers = 0;
  for (const auto& rows : constants_) numbers += rows ? rows->numel() : 0;
  const int64_t weights = metric_.weights ? metric_.weights->numel() * 8 : 0;
  const int64_t masks = tokens_.causal.nbytes() + tokens_.causal_last.nbytes();
  return senders_->bytes() + numbers * full_rows_.element_size() + weights + masks;
}

// The learned positions' part of `input`, [P, D].
at::Tensor Session::position_rows() const {
  return model_.positions->index_select(0, tokens_.positions).to(model_.dtype());
}

std::optional<at::Tensor> Session::kept_positions() const {
  if (!model_.positions || model_.ablate_positions) return std::nullopt;
  return position_rows();
}

at::Tensor Session::sender_sums(bool by_position) const {
  TORCH_CHECK(!senders_->ablates(), "sender_sums: the session ablates");
  const int64_t positions = by_position ? tokens_.max_length : 1;
  at::Tensor sums = at::zeros({graph().num_senders(), positions, model_.width()},
                              senders_->input_delta().options());
  // Where positions are kept, the senders are without them already.
  senders_->each_block(graph().num_senders(), [&](int64_t first, const at::Tensor& delta) {
    at::Tensor block = sums.slice(0, first, first + delta.size(0));
    if (by_position) {
      block.index_add_(1, tokens_.positions, delta);
    } else {
      block.copy_(delta.sum(1, /*keepdim=*/true));
    }
  });
  return sums;
}

std::optional<at::Tensor> Session::constant(int64_t receiver, bool last_only) const {
  const Receiver r = graph().describe(receiver);
  const auto& rows = constants()[2 * r.layer + (r.kind == Kind::kMlp ? 1 : 0)];
  if (!rows) return std::nullopt;
  return (last_only ? rows->index_select(0, tokens_.last) : *rows).unsqueeze(0).unsqueeze(0);
}

at::Device Session::device_of(int64_t receiver) const {
  const Receiver r = graph().describe(receiver);
  return r.kind == Kind::kLogits ? model_.unembedding.device() : model_.device(r.layer);
}

const Norm& Session::norm_of(int64_t receiver) const {
  const Receiver r = graph().describe(receiver);
  if (r.kind == Kind::kLogits) return model_.final_norm;
  const Layer& layer = model_.layers[r.layer];
  return r.kind == Kind::kMlp ? layer.mlp_norm : layer.attention_norm;
}

HeadWeights Session::weights_of(int64_t receiver) const {
  const Receiver r = graph().describe(receiver);
  const Attention& a = model_.layers[r.layer].attention;
  switch (r.kind) {
    case Kind::kQuery:
      return head_rows(a.w_q, a.b_q, r.head, model_.head_dim);
    case Kind::kKey:
      return head_rows(a.w_k, a.b_k, r.head, model_.head_dim);
    default:
      return head_rows(a.w_v, a.b_v, r.head, model_.head_dim);
  }
}

std::vector<at::Tensor> Session::project_heads(const std::vector<HeadInput>& inputs) const {
  const profile::Scope scope(profile::Op::kAttention);
  std::vector<Product> products;
  std::vector<at::Tensor> out;
  const bool grad = at::GradMode::is_enabled();
  for (const HeadInput& input : inputs) {
    const HeadWeights w = weights_of(input.receiver);
    if (grad) {
      out.push_back(project(input.x, w.weight, w.bias));
      continue;
    }
    out.push_back(
        at::empty({input.x.size(0), input.x.size(1), model_.head_dim}, input.x.options()));
    products.push_back({input.x.flatten(0, 1), w.weight, w.bias, out.back().flatten(0, 1)});
  }
  project_into(products);
  for (const Kind kind : {Kind::kQuery, Kind::kKey}) norm_heads(inputs, kind, out);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Receiver r = graph().describe(inputs[i].receiver);
    const auto& angles = rotation(r.layer, inputs[i].last_only);
    if (r.kind != Kind::kValue && angles) out[i] = rotate(out[i], *angles);
  }
  return out;
}

// The norm of queries or keys: each by itself, or all of a layer together.
void Session::norm_heads(const std::vector<HeadInput>& inputs, Kind kind,
                         std::vector<at::Tensor>& projected) const {
  std::vector<size_t> those;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (graph().describe(inputs[i].receiver).kind == kind) those.push_back(i);
  }
  if (those.empty()) return;
  const Receiver first = graph().describe(inputs[those[0]].receiver);
  const Attention& a = model_.layers[first.layer].attention;
  const auto& norm = kind == Kind::kQuery ? a.q_norm : a.k_norm;
  if (!norm) return;
  if (!a.joint_norms) {
    for (const size_t i : those) projected[i] = apply_norm(projected[i], *norm);
    return;
  }
  const int64_t count = kind == Kind::kQuery ? graph().num_heads : graph().num_kv_heads;
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(those.size()) == count);
  int64_t batch = 1;
  for (const size_t i : those) batch = std::max(batch, projected[i].size(0));
  std::vector<at::Tensor> parts;  // in the order of heads, which inputs may not be
  parts.resize(count);
  for (const size_t i : those) {
    parts[graph().describe(inputs[i].receiver).head] = projected[i].expand({batch, -1, -1});
  }
  const at::Tensor normed = apply_norm(at::cat(parts, -1), *norm);
  for (const size_t i : those) {
    const int64_t head = graph().describe(inputs[i].receiver).head;
    projected[i] = normed.slice(-1, head * model_.head_dim, (head + 1) * model_.head_dim);
  }
}

at::Tensor Session::mix_values_of(int64_t layer, const HeadCall& call) const {
  const Attention& a = model_.layers[layer].attention;
  return attend(tokens(layer), a, call.q, call.k, call.v, sinks_of_head(a, call.head),
                call.last_only);
}

std::vector<at::Tensor> Session::head_outputs(int64_t layer,
                                              const std::vector<HeadCall>& calls) const {
  const profile::Scope scope(profile::Op::kAttention, layer);
  const Layer& weights = model_.layers[layer];
  std::vector<at::Tensor> out;
  for (const HeadCall& call : calls) {
    out.push_back(project(mix_values_of(layer, call),
                          head_output_weight(weights.attention, call.head, model_.head_dim),
                          std::nullopt));
  }
  return weights.attention_post_norm ? normed_shares(out, *weights.attention_post_norm) : out;
}

void Session::write_heads(int64_t layer, const std::vector<HeadCall>& calls,
                          const std::vector<at::Tensor>& out) const {
  const profile::Scope scope(profile::Op::kAttention, layer);
  const Layer& weights = model_.layers[layer];
  std::vector<Product> products;
  for (size_t i = 0; i < calls.size(); ++i) {
    const HeadCall& call = calls[i];
    products.push_back({mix_values_of(layer, call).expand({out[i].size(0), -1, -1}).flatten(0, 1),
                        head_output_weight(weights.attention, call.head, model_.head_dim),
                        std::nullopt, out[i].flatten(0, 1)});
  }
  project_into(products);
  if (!weights.attention_post_norm || calls.empty()) return;
  const auto shares = normed_shares(out, *weights.attention_post_norm);
  for (size_t i = 0; i < out.size(); ++i) at::Tensor(out[i]).copy_(shares[i]);
}

at::Tensor Session::embed(const at::Tensor& ids) const {
  at::Tensor stream =
      model_.embedding.rows_at(ids).widened(model_.dtype()) * model_.embedding_scale;
  return model_.positions ? stream + position_rows() : stream;
}

at::Tensor Session::rows_of_last(const at::Tensor& stream) const {
  return stream.to(tokens_.last.device()).index_select(0, tokens_.last);
}

at::Tensor Session::run_layer(int64_t l, const at::Tensor& before, const at::Tensor& out) const {
  const profile::Scope scope(profile::Op::kOther, l);
  const Graph& g = graph();
  const Layer& layer = model_.layers[l];
  const at::Device device = model_.device(l);
  const at::Tensor stream = before.to(device);
  const at::Tensor written =
      out.device() == device ? out : at::empty_like(out, out.options().device(device));
  const at::Tensor heads = written.slice(0, 0, g.num_heads);
  plain_attention(l, apply_norm(stream, layer.attention_norm), heads);
  at::Tensor after = stream + heads.sum(0);
  if (layer.attention.b_o) after = after + *layer.attention.b_o;
  const at::Tensor mlp = apply_mlp(apply_norm(g.parallel ? stream : after, layer.mlp_norm), layer);
  written.select(0, g.place(g.mlp(l))).copy_(mlp);
  if (!written.is_same(out)) out.copy_(written);
  return after + mlp;
}

at::Tensor Session::split_heads(int64_t layer, Kind kind, const at::Tensor& projected) const {
  const Attention& a = model_.layers[layer].attention;
  const std::optional<Norm> norm = kind == Kind::kQuery ? a.q_norm
                                   : kind == Kind::kKey ? a.k_norm
                                                        : std::nullopt;
  at::Tensor y = norm && a.joint_norms ? apply_norm(projected, *norm) : projected;
  y = y.unflatten(-1, {-1, model_.head_dim});
  if (norm && !a.joint_norms) y = apply_norm(y, *norm);
  y = y.transpose(1, 2).flatten(0, 1);
  const auto& angles = rotation_[layer];
  return kind != Kind::kValue && angles ? rotate(y, *angles) : y;
}

Session::PlainHeads Session::project_all(int64_t layer, const at::Tensor& x) const {
  const Attention& a = model_.layers[layer].attention;
  const auto projected = [&](Kind kind, const Weight& w, const std::optional<at::Tensor>& b) {
    return split_heads(layer, kind, project(x, w, b).unsqueeze(0));
  };
  return {projected(Kind::kQuery, a.w_q, a.b_q), projected(Kind::kKey, a.w_k, a.b_k),
          projected(Kind::kValue, a.w_v, a.b_v)};
}

void Session::plain_attention(int64_t layer, const at::Tensor& x, const at::Tensor& out) const {
  const profile::Scope scope(profile::Op::kAttention);
  const Graph& g = graph();
  const auto [q, k, v] = project_all(layer, x);
  std::vector<HeadCall> calls;
  std::vector<at::Tensor> outputs;
  for (int64_t i = 0; i < g.num_heads; ++i) {
    const auto of = [](const at::Tensor& heads, int64_t head) {
      return heads.slice(0, head, head + 1);
    };
    const int64_t j = i / g.group_size();
    calls.push_back({i, /*last_only=*/false, of(q, i), of(k, j), of(v, j)});
    outputs.push_back(out.slice(0, i, i + 1));
  }
  write_heads(layer, calls, outputs);
}

const std::vector<std::optional<at::Tensor>>& Session::constants() const {
  std::call_once(constants_made_, [this] { constants_ = build_constants(); });
  return constants_;
}

std::vector<std::optional<at::Tensor>> Session::build_constants() const {
  const Graph& g = graph();
  std::vector<std::optional<at::Tensor>> built;
  std::optional<at::Tensor> sum;
  const auto add = [&](const std::optional<at::Tensor>& term) {
    if (!term) return;
    const at::Tensor rows = term->to(tokens_.last.device(), model_.dtype());
    sum = sum ? *sum + rows : rows.expand({tokens_.num_tokens, model_.width()});
  };
  add(senders_->ablated_input());
  for (int64_t l = 0; l < g.num_layers; ++l) {
    const std::optional<at::Tensor> before_attention = sum;
    const auto ablated = senders_->ablated_of_layer(l);
    built.push_back(sum);
    for (int64_t i = 0; ablated && i < g.num_heads; ++i) add((*ablated)[i]);
    add(model_.layers[l].attention.b_o);
    built.push_back(g.parallel ? before_attention : sum);
    if (ablated) add((*ablated)[g.place(g.mlp(l))]);
  }
  built.push_back(sum);
  return built;
}

}  // namespace kcircuits::engine
