#include "engine/session.h"

#include <ATen/ATen.h>

namespace kcircuits::engine {

Session::Session(Model model, const SessionOptions& options)
    : model_(std::move(model)),
      tokens_(pack_tokens(options.clean, options.lengths, model_.embedding.device())) {
  const at::Device device = model_.embedding.device();
  for (const Layer& layer : model_.layers) {
    std::optional<Rotation> all, last;
    if (layer.attention.rotary) {
      all = make_rotation(*layer.attention.rotary, tokens_.positions);
      last = rotation_rows(*all, tokens_.last);
    }
    rotation_.push_back(all);
    rotation_last_.push_back(last);
  }

  auto [clean, stream] = plain_run(tokens_.ids);
  full_rows_ = apply_norm(stream.index_select(0, tokens_.last), model_.final_norm);
  if (options.corrupt) {
    TORCH_CHECK_VALUE(options.corrupt->sizes() == options.clean.sizes(), "corrupt: expected ",
                      options.clean.sizes(), ", got ", options.corrupt->sizes());
    ablated_ = plain_run(pack_tokens(*options.corrupt, options.lengths, device).ids).first;
    clean_delta_ = clean - *ablated_;
  } else {
    clean_delta_ = clean;
  }
  build_constants();

  const auto to_device = [&](const std::optional<at::Tensor>& ids) {
    return ids ? std::optional(ids->to(device)) : std::nullopt;
  };
  metric_ = make_metric(options.metric, model_, options.answers.to(device),
                        to_device(options.wrong), full_rows_);
}

std::optional<at::Tensor> Session::ablated(int64_t sender) const {
  return ablated_ ? std::optional(ablated_->select(0, sender)) : std::nullopt;
}

std::optional<at::Tensor> Session::constant(int64_t receiver, bool last_only) const {
  const Receiver r = graph().describe(receiver);
  const auto& rows = constants_[2 * r.layer + (r.kind == Kind::kMlp ? 1 : 0)];
  if (!rows) return std::nullopt;
  return (last_only ? rows->index_select(0, tokens_.last) : *rows).unsqueeze(0).unsqueeze(0);
}

const Norm& Session::norm_of(int64_t receiver) const {
  const Receiver r = graph().describe(receiver);
  if (r.kind == Kind::kLogits) return model_.final_norm;
  const Layer& layer = model_.layers[r.layer];
  return r.kind == Kind::kMlp ? layer.mlp_norm : layer.attention_norm;
}

at::Tensor Session::query(int64_t layer, int64_t head, const at::Tensor& x, bool last_only) const {
  const Attention& attention = model_.layers[layer].attention;
  const HeadWeights w = head_rows(attention.w_q, attention.b_q, head, model_.head_dim);
  const at::Tensor q = project(x, w.weight, w.bias);
  const auto& rotation = last_only ? rotation_last_[layer] : rotation_[layer];
  return rotation ? rotate(q, *rotation) : q;
}

at::Tensor Session::key(int64_t layer, int64_t kv_head, const at::Tensor& x) const {
  const Attention& attention = model_.layers[layer].attention;
  const HeadWeights w = head_rows(attention.w_k, attention.b_k, kv_head, model_.head_dim);
  const at::Tensor k = project(x, w.weight, w.bias);
  return rotation_[layer] ? rotate(k, *rotation_[layer]) : k;
}

at::Tensor Session::value(int64_t layer, int64_t kv_head, const at::Tensor& x) const {
  const Attention& attention = model_.layers[layer].attention;
  const HeadWeights w = head_rows(attention.w_v, attention.b_v, kv_head, model_.head_dim);
  return project(x, w.weight, w.bias);
}

at::Tensor Session::head_output(int64_t layer, int64_t head, const at::Tensor& q,
                                const at::Tensor& k, const at::Tensor& v, bool last_only) const {
  const Attention& attention = model_.layers[layer].attention;
  const at::Tensor mixed = attend(tokens_, q, k, v, attention.scale, last_only);
  return project(mixed, head_output_weight(attention, head, model_.head_dim), std::nullopt);
}

std::vector<at::Tensor> Session::project_heads(int64_t layer,
                                               const std::vector<HeadInput>& inputs) const {
  const Attention& attention = model_.layers[layer].attention;
  std::vector<Product> products;
  std::vector<at::Tensor> out;
  for (const HeadInput& input : inputs) {
    const Receiver r = graph().describe(input.receiver);
    const bool is_query = r.kind == Kind::kQuery;
    const bool is_key = r.kind == Kind::kKey;
    const HeadWeights w = head_rows(is_query ? attention.w_q
                                    : is_key ? attention.w_k
                                             : attention.w_v,
                                    is_query ? attention.b_q
                                    : is_key ? attention.b_k
                                             : attention.b_v,
                                    r.head, model_.head_dim);
    out.push_back(
        at::empty({input.x.size(0), input.x.size(1), model_.head_dim}, input.x.options()));
    products.push_back({input.x.flatten(0, 1), w.weight, w.bias, out.back().flatten(0, 1)});
  }
  project_into(products);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (graph().describe(inputs[i].receiver).kind == Kind::kValue) continue;
    const auto& rotation = inputs[i].last_only ? rotation_last_[layer] : rotation_[layer];
    if (rotation) out[i] = rotate(out[i], *rotation);
  }
  return out;
}

void Session::write_heads(int64_t layer, const std::vector<HeadCall>& calls) const {
  const Attention& attention = model_.layers[layer].attention;
  std::vector<Product> products;
  for (const HeadCall& call : calls) {
    const at::Tensor mixed =
        attend(tokens_, call.q, call.k, call.v, attention.scale, call.last_only);
    products.push_back({mixed.flatten(0, 1),
                        head_output_weight(attention, call.head, model_.head_dim), std::nullopt,
                        call.out.flatten(0, 1)});
  }
  project_into(products);
}

std::pair<at::Tensor, at::Tensor> Session::plain_run(const at::Tensor& ids) const {
  const Graph& g = graph();
  at::Tensor stream = model_.embedding.index_select(0, ids);
  if (model_.positions) stream = stream + model_.positions->index_select(0, tokens_.positions);
  at::Tensor senders =
      at::empty({g.num_senders(), stream.size(0), stream.size(1)}, stream.options());
  senders.select(0, 0).copy_(stream);
  for (int64_t l = 0; l < g.num_layers; ++l) {
    const Layer& layer = model_.layers[l];
    const at::Tensor x = apply_norm(stream, layer.attention_norm).unsqueeze(0);
    for (int64_t j = 0; j < g.num_kv_heads; ++j) {
      const at::Tensor k = key(l, j, x);
      const at::Tensor v = value(l, j, x);
      for (int64_t i = j * g.group_size(); i < (j + 1) * g.group_size(); ++i) {
        const at::Tensor out = head_output(l, i, query(l, i, x, false), k, v, false).squeeze(0);
        senders.select(0, g.head(l, i)).copy_(out);
      }
    }
    at::Tensor after = stream + senders.slice(0, g.head(l, 0), g.mlp(l)).sum(0);
    if (layer.attention.b_o) after = after + *layer.attention.b_o;
    const at::Tensor out =
        apply_mlp(apply_norm(g.parallel ? stream : after, layer.mlp_norm), layer.mlp);
    senders.select(0, g.mlp(l)).copy_(out);
    stream = after + out;
  }
  return {senders, stream};
}

void Session::build_constants() {
  const Graph& g = graph();
  std::optional<at::Tensor> sum;
  const auto add = [&](const std::optional<at::Tensor>& term) {
    if (term) sum = sum ? *sum + *term : term->expand({tokens_.num_tokens, model_.width()});
  };
  add(ablated(0));
  for (int64_t l = 0; l < g.num_layers; ++l) {
    const std::optional<at::Tensor> before_attention = sum;
    constants_.push_back(sum);
    for (int64_t i = 0; i < g.num_heads; ++i) add(ablated(g.head(l, i)));
    add(model_.layers[l].attention.b_o);
    constants_.push_back(g.parallel ? before_attention : sum);
    add(ablated(g.mlp(l)));
  }
  constants_.push_back(sum);
}

}  // namespace kcircuits::engine
