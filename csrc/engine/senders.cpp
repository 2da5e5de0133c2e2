#include "engine/senders.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "engine/session.h"

namespace kcircuits::engine {
namespace {

at::Tensor of_layer(const Graph& g, const at::Tensor& senders, int64_t layer) {
  return senders.slice(0, g.first_sender(layer), g.first_sender(layer + 1));
}

}  // namespace

Senders::Senders(const Session& session, Layout layout, Ablation ablation)
    : session_(session), layout_(layout), ablation_(std::move(ablation)) {
  const at::Tensor& ids = session.tokens().ids;
  if (layout == Layout::kMemory) {
    keep_all(ids);
  } else {
    keep_streams(ids);
  }
}

void Senders::keep_all(const at::Tensor& clean_ids) {
  const Graph& g = session_.graph();
  const at::Tensor stream = session_.embed(clean_ids);
  kept_ = at::empty({g.num_senders(), stream.size(0), stream.size(1)}, stream.options());
  last_stream_ = session_.rows_of_last(outputs_of(clean_ids, kept_));
  if (ablation_.corrupt) {
    ablated_values_ = at::empty_like(kept_);
    outputs_of(*ablation_.corrupt, ablated_values_);
  } else if (ablation_.mean) {
    ablated_values_ = mean_rows(0, g.num_senders());
    if (ablation_.mean->size(1) == 1) ablated_values_ = ablated_values_.expand_as(kept_).clone();
  }
  const auto positions = session_.kept_positions();
  if (ablation_.mean && positions) ablated_values_.select(0, 0).add_(*positions);
  ablated_.resize(g.num_senders());
  for (int64_t s = 0; ablates() && s < g.num_senders(); ++s) ablated_[s] = ablated_values_[s];
  if (!ablates()) ablated_[0] = positions;
  for (int64_t s = 0; s < g.num_senders(); ++s) {
    if (ablated_[s]) kept_.select(0, s).sub_(*ablated_[s]);
  }
  input_delta_ = kept_[0];
  ablated_input_ = ablated_[0];
}

void Senders::keep_streams(const at::Tensor& clean_ids) {
  const Graph& g = session_.graph();
  last_stream_ = session_.rows_of_last(streams_of(clean_ids, clean_));
  ablated_input_ = session_.kept_positions();
  if (ablation_.corrupt) {
    streams_of(*ablation_.corrupt, corrupt_);
    ablated_input_ = session_.embed(*ablation_.corrupt);
  } else if (ablation_.mean) {
    const at::Tensor mean =
        mean_rows(0, 1)[0].expand({session_.tokens().num_tokens, session_.model().width()});
    ablated_input_ = ablated_input_ ? *ablated_input_ + mean : mean;
  }
  input_delta_ = session_.embed(clean_ids);
  if (ablated_input_) input_delta_ = input_delta_ - *ablated_input_;
  if (layout_ == Layout::kRecomputed) return;

  const at::Device home = input_delta_.device();
  TORCH_CHECK_VALUE(layout_ != Layout::kHost || !home.is_cpu(),
                    "senders on the host: the model is on the CPU, whose memory it is already");
  const at::TensorOptions options =
      layout_ == Layout::kBfloat16
          ? input_delta_.options().dtype(at::kBFloat16)
          : input_delta_.options().device(at::kCPU).pinned_memory(home.is_cuda());
  kept_ = at::empty({g.num_senders() - 1, input_delta_.size(0), input_delta_.size(1)}, options);
  for (int64_t l = 0; l < g.num_layers; ++l) {
    kept_.slice(0, g.first_sender(l) - 1, g.first_sender(l + 1) - 1).copy_(delta_of_layer(l));
  }
}

int64_t Senders::layer_bytes(const Model& model, Layout layout, int64_t tokens) {
  const int64_t heads = model.graph.num_heads;
  int64_t numbers = model.graph.senders_per_layer() * model.width();
  if (layout == Layout::kRecomputed) {
    int64_t hidden = 0;
    for (const Layer& layer : model.layers) hidden = std::max(hidden, layer.hidden());
    // Outputs of two runs, and what is inside the attention or the MLP meanwhile.
    numbers = 2 * numbers + std::max(5 * heads * model.head_dim, 3 * hidden) + 2 * model.width();
  }
  return numbers * tokens * static_cast<int64_t>(c10::elementSize(model.dtype()));
}

int64_t Senders::bytes() const {
  int64_t bytes = 0;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined()) bytes += tensor.numel() * tensor.element_size();
  };
  if (layout_ != Layout::kHost) add(kept_);
  add(ablated_values_);
  for (const at::Tensor& stream : clean_) add(stream);
  for (const at::Tensor& stream : corrupt_) add(stream);
  if (layout_ != Layout::kMemory) add(input_delta_);
  if (!ablated_values_.defined()) add(ablated_input_.value_or(at::Tensor()));
  return bytes;
}

// The plain run on some ids: what is left of it in the end, [P, D]. Senders go to [S, P, D].
at::Tensor Senders::outputs_of(const at::Tensor& ids, const at::Tensor& senders) const {
  at::Tensor stream = session_.embed(ids);
  senders.select(0, 0).copy_(stream);
  for (int64_t l = 0; l < session_.graph().num_layers; ++l) {
    stream = session_.run_layer(l, stream, of_layer(session_.graph(), senders, l));
  }
  return stream;
}

// The same; keeps the streams before every layer, and no senders.
at::Tensor Senders::streams_of(const at::Tensor& ids, std::vector<at::Tensor>& before) const {
  at::Tensor stream = session_.embed(ids);
  const at::Tensor senders = at::empty(
      {session_.graph().senders_per_layer(), stream.size(0), stream.size(1)}, stream.options());
  for (int64_t l = 0; l < session_.graph().num_layers; ++l) {
    before.push_back(stream);
    stream = session_.run_layer(l, stream, senders);
  }
  return stream;
}

at::Tensor Senders::run_again(int64_t layer, const at::Tensor& before) const {
  const at::Tensor out =
      at::empty({session_.graph().senders_per_layer(), before.size(0), before.size(1)},
                input_delta_.options());
  session_.run_layer(layer, before, out);
  return out;
}

at::Tensor Senders::delta_of_layer(int64_t layer) const {
  const at::Tensor delta = run_again(layer, clean_[layer]);
  if (const auto ablated = ablated_of_layer(layer)) delta.sub_(*ablated);
  return delta;
}

std::optional<at::Tensor> Senders::ablated_of_layer(int64_t layer) const {
  const Graph& g = session_.graph();
  if (ablated_values_.defined()) return of_layer(g, ablated_values_, layer);
  if (ablation_.corrupt) return run_again(layer, corrupt_[layer]);
  if (ablation_.mean) return mean_rows(g.first_sender(layer), g.senders_per_layer());
  return std::nullopt;
}

// Means of some senders at the prompts' tokens, [senders, P or 1, D].
at::Tensor Senders::mean_rows(int64_t first, int64_t count) const {
  const at::Tensor mean = ablation_.mean->slice(0, first, first + count);
  return mean.size(1) == 1 ? mean : mean.index_select(1, session_.tokens().positions);
}

void Senders::each_block(int64_t count, const Block& f) const {
  if (layout_ == Layout::kMemory) return f(0, kept_.slice(0, 0, count));
  f(0, input_delta_.unsqueeze(0));
  const Graph& g = session_.graph();
  for (int64_t l = 0; l < g.num_layers && g.first_sender(l) < count; ++l) {
    const int64_t end = std::min(count, g.first_sender(l + 1));
    const at::Tensor delta =
        layout_ == Layout::kRecomputed
            ? delta_of_layer(l)
            : kept_.slice(0, g.first_sender(l) - 1, end - 1).to(input_delta_.options());
    f(g.first_sender(l), delta.slice(0, 0, end - g.first_sender(l)));
  }
}

Senders::Node Senders::node(int64_t first, int64_t count) const {
  if (first == 0) return {input_delta_, ablated_input_};
  const int64_t layer = session_.graph().layer_of_sender(first);
  const int64_t begin = session_.graph().place(first);
  const auto sum = [&](const at::Tensor& senders) {
    return senders.slice(0, begin, begin + count).sum(0);
  };
  const auto ablated = ablated_of_layer(layer);
  at::Tensor delta;
  if (layout_ == Layout::kMemory) {
    delta = sum(of_layer(session_.graph(), kept_, layer));
  } else {
    delta = sum(run_again(layer, clean_[layer]));
    if (ablated) delta = delta - sum(*ablated);
  }
  return {delta, ablated ? std::optional(sum(*ablated).expand_as(delta)) : std::nullopt};
}

const at::Tensor& Senders::all() const {
  TORCH_CHECK(layout_ == Layout::kMemory, "this needs all senders in memory");
  return kept_;
}

const std::optional<at::Tensor>& Senders::ablated(int64_t sender) const {
  TORCH_CHECK(layout_ == Layout::kMemory, "this needs all ablated values in memory");
  return ablated_[sender];
}

}  // namespace kcircuits::engine
