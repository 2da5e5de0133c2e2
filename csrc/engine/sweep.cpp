#include "engine/sweep.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "engine/mlp.h"
#include "engine/project.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// Larger blocks the C library gives back to the system when they are freed.
constexpr int64_t kKeptBlock = 32 << 20;

}  // namespace

Sweep::Sweep(const Session& session, Rule rule, Insides insides, int64_t first_layer,
             at::Tensor stream, std::optional<Cut> cut)
    : session_(session),
      rule_(rule),
      insides_(insides),
      first_layer_(first_layer),
      cut_(std::move(cut)) {
  const c10::NoGradGuard no_grad;
  const Model& model = session.model();
  for (int64_t l = first_layer; l < session.graph().num_layers; ++l) {
    Block block;
    stream = run_layer(l, stream, block);
    if (insides == Insides::kMadeAgain) {
      Block bare;
      bare.before = block.before;
      block = std::move(bare);
    }
    blocks_.push_back(std::move(block));
  }
  const Tokens& tokens = session.tokens(session.graph().num_layers - 1);
  final_stream_ = stream.index_select(1, tokens.last).to(model.unembedding.device());
  rows_ = apply_norm(final_stream_, model.final_norm);
}

at::Tensor Sweep::run_layer(int64_t l, const at::Tensor& stream, Block& block) const {
  const profile::Scope scope(profile::Op::kOther, l);
  const Model& model = session_.model();
  const Layer& layer = model.layers[l];
  block.before = stream.to(model.device(l));
  const auto held = [&] { return cut_->output.to(model.device(l)); };
  at::Tensor after = block.before + (is_cut(l, false) ? held() : attend(l, block));
  if (layer.attention.b_o) after = after + *layer.attention.b_o;
  block.middle = session_.graph().parallel ? block.before : after;
  if (is_cut(l, true)) return after + held();
  block.mlp_input = apply_norm(block.middle, layer.mlp_norm).requires_grad_();
  {
    const at::AutoGradMode grad(true);
    block.mlp_output = apply_mlp(block.mlp_input, layer, rule_);
  }
  return after + block.mlp_output.detach();
}

const at::Tensor& Sweep::stream_before(int64_t layer) const {
  return blocks_.at(layer - first_layer_).before;
}

bool Sweep::is_cut(int64_t layer, bool is_mlp) const {
  return cut_ && layer == first_layer_ && cut_->is_mlp == is_mlp;
}

// What the attention adds to the stream, without b_O.
at::Tensor Sweep::attend(int64_t layer, Block& block) const {
  const profile::Scope scope(profile::Op::kAttention);
  const Graph& g = session_.graph();
  const Attention& a = session_.model().layers[layer].attention;
  const at::Tensor x = apply_norm(block.before, session_.model().layers[layer].attention_norm);
  block.q = project(x, a.w_q, a.b_q).requires_grad_();
  block.k = project(x, a.w_k, a.b_k).requires_grad_();
  block.v = project(x, a.w_v, a.b_v).requires_grad_();
  {
    const at::AutoGradMode grad(true);
    const auto repeated = [&](const at::Tensor& y) {
      return y.repeat_interleave(g.group_size(), 0);
    };
    block.q_turned = session_.split_heads(layer, Kind::kQuery, block.q);
    block.k_turned = repeated(session_.split_heads(layer, Kind::kKey, block.k));
    block.pattern = attention_pattern(session_.tokens(layer), a, block.q_turned, block.k_turned,
                                      sinks_of_heads(a, block.before.size(0)), false);
    if (rule_ == Rule::kRelevance) block.pattern = block.pattern.detach().requires_grad_();
    const at::Tensor mixed =
        mix_values(session_.tokens(layer), block.pattern,
                   repeated(session_.split_heads(layer, Kind::kValue, block.v)), false);
    block.mixed = mixed.unflatten(0, {-1, g.num_heads}).transpose(1, 2).flatten(2);
  }
  block.written = project(block.mixed.detach(), a.w_o, std::nullopt);
  const auto& post_norm = session_.model().layers[layer].attention_post_norm;
  return post_norm ? apply_norm(block.written, *post_norm) : block.written;
}

at::Tensor Sweep::pull_back(const at::Tensor& at_rows, const GradientUse& use,
                            const std::vector<at::Tensor>& joining) {
  const c10::NoGradGuard no_grad;
  const Model& model = session_.model();
  const Graph& g = session_.graph();
  const at::Tensor& last = blocks_.back().before;
  at::Tensor gradient = at::zeros_like(last);
  const at::Tensor at_last =
      norm_gradient(at_rows.unsqueeze(0), final_stream_, model.final_norm, rule_)[0];
  gradient.index_copy_(1, session_.tokens(g.num_layers - 1).last, at_last.to(last.device()));
  use.receivers(g.logits(), gradient.unsqueeze(0));
  for (int64_t l = g.num_layers - 1; l >= first_layer_; --l) {
    gradient = gradient.to(model.device(l));
    if (insides_ == Insides::kMadeAgain) {
      Block& block = blocks_[l - first_layer_];
      run_layer(l, at::Tensor(block.before), block);
    }
    at::Tensor at_before = gradient;  // what the layer's stream receives
    if (!is_cut(l, true)) at_before = at_before + pull_mlp(l, gradient, use);
    if (!is_cut(l, false)) {
      at_before = at_before + pull_attention(l, g.parallel ? gradient : at_before, use);
    }
    if (!joining.empty() && joining[l].defined()) at_before = at_before + joining[l];
    gradient = at_before;
    blocks_[l - first_layer_] = {};
  }
  return gradient;
}

// The gradient at the stream that the MLP reads.
at::Tensor Sweep::pull_mlp(int64_t layer, const at::Tensor& at_output, const GradientUse& use) {
  const profile::Scope scope(profile::Op::kGradients, layer);
  const Block& block = blocks_[layer - first_layer_];
  const at::Tensor at_normed =
      torch::autograd::grad({block.mlp_output}, {block.mlp_input}, {at_output})[0];
  const at::Tensor at_stream = norm_gradient(at_normed.unsqueeze(0), block.middle,
                                             session_.model().layers[layer].mlp_norm, rule_);
  use.receivers(session_.graph().mlp_input(layer), at_stream);
  return at_stream[0];
}

at::Tensor Sweep::pull_attention(int64_t layer, const at::Tensor& at_output,
                                 const GradientUse& use) {
  const profile::Scope scope(profile::Op::kGradients, layer);
  const Block& block = blocks_[layer - first_layer_];
  const Layer& weights = session_.model().layers[layer];
  const Attention& a = weights.attention;
  const at::Tensor at_written = weights.attention_post_norm
                                    ? norm_gradient(at_output.unsqueeze(0), block.written,
                                                    *weights.attention_post_norm, rule_)[0]
                                    : at_output;
  const at::Tensor at_mixed = project(at_written, a.w_o.t(), std::nullopt);
  const bool relevance = rule_ == Rule::kRelevance;
  std::vector<at::Tensor> wanted = {block.v};
  if (!relevance) wanted.insert(wanted.end(), {block.q, block.k});
  if (use.attention) wanted.push_back(block.pattern);
  const auto gradients = torch::autograd::grad({block.mixed}, wanted, {at_mixed});
  if (use.attention) {
    use.attention({layer, block.before, block.q_turned.detach(), block.k_turned.detach(),
                   block.pattern.detach(), gradients.back()});
  }

  // Each receiver's share at the normed input, then through the norm.
  const Graph& g = session_.graph();
  const int64_t d = session_.model().head_dim;
  const auto sizes = block.before.sizes();
  const int64_t rows = sizes[0] * sizes[1];
  if (!scratch_.defined() || scratch_.device() != block.before.device()) {
    scratch_ = at::empty({g.attention_receivers(), rows, sizes[2]}, block.before.options());
  }
  std::vector<Product> products;
  int64_t receiver = 0;
  const auto add = [&](const at::Tensor& at_heads, const Weight& w, int64_t count) {
    for (int64_t i = 0; i < count; ++i, ++receiver) {
      products.push_back({at_heads.reshape({rows, -1}).slice(1, i * d, (i + 1) * d),
                          w.slice(0, i * d, (i + 1) * d).t(), std::nullopt, scratch_[receiver]});
    }
  };
  if (relevance) {
    scratch_.slice(0, 0, receiver = g.value(layer, 0) - g.query(layer, 0)).zero_();
  } else {
    add(gradients[1], a.w_q, g.num_heads);
    add(gradients[2], a.w_k, g.num_kv_heads);
  }
  add(gradients[0], a.w_v, g.num_kv_heads);
  project_into(products);
  const at::Tensor at_streams = norm_gradient(scratch_.view({-1, sizes[0], sizes[1], sizes[2]}),
                                              block.before, weights.attention_norm, rule_);
  use.receivers(g.query(layer, 0), at_streams);
  return at_streams.sum(0);
}

int64_t Sweep::bytes_per_variant(const Model& model, Insides insides, int64_t tokens,
                                 int64_t prompts, int64_t longest) {
  const Graph& g = model.graph;
  const int64_t width = model.width();
  const int64_t heads = g.num_heads * model.head_dim;
  const int64_t pattern = g.num_heads * prompts * longest * longest;
  int64_t numbers = 0, largest = 0;
  for (const Layer& layer : model.layers) {
    // Streams, what attention and MLP write and what the MLP reads; queries, keys and values, as
    // they are, rotated and repeated, and what they mix to; the MLP's insides; the attention's
    // pattern, and what a soft cap or a sink needs to go back through.
    const bool twice = layer.attention.soft_cap > 0 || layer.attention.sinks;
    const int64_t inside =
        tokens * (6 * width + 7 * heads + 3 * layer.hidden()) + (twice ? 2 : 1) * pattern;
    numbers += insides == Insides::kKept ? inside : tokens * width;
    largest = std::max(largest, inside);
  }
  if (insides == Insides::kMadeAgain) numbers += largest;
  // Gradients of one attention's receivers, before and behind the norm, and one temporary; and
  // three temporaries like the pattern while only the first of these is there, whose memory the C
  // library keeps for blocks like them if they are small.
  const int64_t receivers = g.attention_receivers() * tokens * width;
  const auto element = static_cast<int64_t>(c10::elementSize(model.dtype()));
  const bool stays = pattern * element < kKeptBlock;
  numbers +=
      receivers + (stays ? 2 * receivers + 3 * pattern : std::max(2 * receivers, 3 * pattern));
  // Temporaries, and what the allocator cannot use again: measured, up to three tenths.
  numbers += numbers * 3 / 10;
  return numbers * element;
}

}  // namespace kcircuits::engine
