#include "engine/masked_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "engine/attention.h"
#include "engine/mix.h"
#include "engine/mlp.h"
#include "engine/norm.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// The C library gives blocks of more than 32 MiB back to the system and fetches them anew: circuits
// run together as long as the inputs of one attention's receivers are less, or as long as products
// have few rows.
constexpr int64_t kBlockBytes = 31 << 20;
constexpr int64_t kEnoughRows = 192;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One chunk of circuits. Senders are kept as differences to their ablated values, delta
// [S, M, 1, P, D].
class Run {
 public:
  Run(const Session& session, const at::Tensor& masks, at::Tensor delta)
      : session_(session),
        graph_(session.graph()),
        num_circuits_(masks.size(0)),
        by_receiver_(masks.permute({2, 0, 1}).contiguous()),  // [R, M, S]
        used_(masks.any(0)),
        delta_(std::move(delta)) {
    find_live();
    const at::Tensor& input = session.senders().input_delta();
    delta_.select(0, 0).copy_(input.expand({num_circuits_, 1, -1, -1}));
  }

  at::Tensor final_rows() {
    run_layers();
    const at::Tensor rows = inputs({graph_.logits()})[0];
    return rows.index_select(1, session_.tokens().last.to(rows.device()));
  }

  // What the logits would read at some rows if there were only the senders of the first 0 … L
  // layers, [M, L + 1, rows, D].
  at::Tensor streams(const at::Tensor& rows) {
    run_layers();
    const at::Device device = delta_.device();
    const at::Tensor present = by_receiver_.slice(0, graph_.logits()).to(device);  // [1, M, S]
    std::vector<at::Tensor> out;
    at::Tensor sum;
    for (int64_t l = 0; l <= graph_.num_layers; ++l) {
      const int64_t first = l == 0 ? 0 : graph_.first_sender(l - 1);
      const int64_t end = graph_.first_sender(l);
      const at::Tensor part = mix(delta_.slice(0, first, end).index_select(3, rows.to(device)),
                                  present.slice(2, first, end), std::nullopt, nullptr)[0];
      sum = l == 0 ? part : sum + part;
      const int64_t receiver = l < graph_.num_layers ? graph_.query(l, 0) : graph_.logits();
      const auto constant = session_.constant(receiver, /*last_only=*/false);
      out.push_back(constant ? sum + (*constant)[0].index_select(1, rows.to(device)) : sum);
    }
    return at::stack(out, 1);
  }

 private:
  void run_layers() {
    for (int64_t l = 0; l < graph_.num_layers; ++l) {
      if (!any_live(l)) continue;
      const profile::Scope scope(profile::Op::kOther, l);
      ablated_ = session_.senders().ablated_of_layer(l);
      run_attention(l);
      if (live_[graph_.mlp(l)]) {
        slot(graph_.mlp(l))
            .copy_(apply_mlp(inputs({graph_.mlp_input(l)})[0], session_.model().layers[l]));
        finish(graph_.mlp(l));
      }
    }
  }

  // A node is live when some circuit has an edge from it to a live node's receiver, or to the
  // logits.
  void find_live() {
    const auto used = used_.accessor<bool, 2>();
    live_.assign(graph_.num_senders(), false);
    for (int64_t r = graph_.num_receivers() - 1; r >= 0; --r) {
      const bool is_live = receiver_is_live(r);
      for (int64_t s = 0; is_live && s < graph_.num_senders_of(r); ++s)
        live_[s] = live_[s] || used[s][r];
      unite_heads(session_.model(), r, live_);
    }
  }

  bool any_live(int64_t layer) const {
    return std::any_of(live_.begin() + graph_.first_sender(layer),
                       live_.begin() + graph_.first_sender(layer + 1), [](bool x) { return x; });
  }

  bool receiver_is_live(int64_t receiver) const {
    const Receiver r = graph_.describe(receiver);
    if (r.kind == Kind::kLogits) return true;
    if (r.kind == Kind::kMlp) return live_[graph_.mlp(r.layer)];
    if (r.kind == Kind::kQuery) return live_[graph_.head(r.layer, r.head)];
    const int64_t first = graph_.head(r.layer, r.head * graph_.group_size());
    return std::any_of(live_.begin() + first, live_.begin() + first + graph_.group_size(),
                       [](bool x) { return x; });
  }

  // Normed inputs of receivers of one sub-block, [receivers, M, P, D].
  at::Tensor inputs(const std::vector<int64_t>& receivers) const {
    const int64_t num_senders = graph_.num_senders_of(receivers[0]);
    const at::Tensor mask =
        by_receiver_.index_select(0, at::tensor(receivers, at::kLong)).slice(2, 0, num_senders);
    const auto constant = session_.constant(receivers[0], /*last_only=*/false);
    const Norm& norm = session_.norm_of(receivers[0]);
    const at::Device device = session_.device_of(receivers[0]);
    const auto streams = [&](const Norm* fused) {
      return mix(delta_.slice(0, 0, num_senders), mask.to(delta_.device()), constant, fused);
    };
    // The norm's weights may be elsewhere.
    return device == delta_.device() ? streams(&norm)
                                     : apply_norm(streams(nullptr).to(device), norm);
  }

  void run_attention(int64_t l) {
    std::vector<int64_t> receivers;
    const auto add = [&](int64_t receiver) {
      if (receiver_is_live(receiver)) receivers.push_back(receiver);
    };
    for (int64_t i = 0; i < graph_.num_heads; ++i) add(graph_.query(l, i));
    for (int64_t j = 0; j < graph_.num_kv_heads; ++j) add(graph_.key(l, j));
    for (int64_t j = 0; j < graph_.num_kv_heads; ++j) add(graph_.value(l, j));
    if (receivers.empty()) return;
    const at::Tensor inputs_of = inputs(receivers);
    std::vector<Session::HeadInput> x;
    for (size_t r = 0; r < receivers.size(); ++r) {
      x.push_back({receivers[r], /*last_only=*/false, inputs_of[static_cast<int64_t>(r)]});
    }
    const std::vector<at::Tensor> projected = session_.project_heads(x);
    const auto of = [&](int64_t receiver) {
      return projected[std::find(receivers.begin(), receivers.end(), receiver) - receivers.begin()];
    };
    const bool here = inputs_of.device() == delta_.device();
    std::vector<Session::HeadCall> calls;
    std::vector<at::Tensor> out;
    for (int64_t i = 0; i < graph_.num_heads; ++i) {
      if (!live_[graph_.head(l, i)]) continue;
      calls.push_back(session_.head_call(l, i, /*last_only=*/false, of));
      const at::Tensor slot_of = slot(graph_.head(l, i));
      out.push_back(here ? slot_of : at::empty_like(slot_of, inputs_of.options()));
    }
    session_.write_heads(l, calls, out);
    for (size_t i = 0; i < calls.size(); ++i) {
      if (!here) slot(graph_.head(l, calls[i].head)).copy_(out[i]);
      finish(graph_.head(l, calls[i].head));
    }
  }

  // Where a sender's output goes, [M, P, D].
  at::Tensor slot(int64_t sender) const { return delta_.select(0, sender).squeeze(1); }

  // The output of one of the present layer's senders becomes the difference to the ablated value.
  void finish(int64_t sender) const {
    if (ablated_) slot(sender).sub_((*ablated_)[graph_.place(sender)]);
  }

  const Session& session_;
  const Graph& graph_;
  int64_t num_circuits_;
  at::Tensor by_receiver_;
  at::Tensor used_;
  std::vector<bool> live_;
  at::Tensor delta_;
  std::optional<at::Tensor> ablated_;  // of the present layer's senders
};

// The results of all chunks one behind the other; `read` takes a Run.
template <typename F>
std::vector<at::Tensor> each_chunk(const Session& session, const at::Tensor& masks, int64_t memory,
                                   const F& read) {
  const Graph& g = session.graph();
  TORCH_CHECK_VALUE(masks.dim() == 3 && masks.scalar_type() == at::kBool &&
                        masks.device().is_cpu() && masks.size(1) == g.num_senders() &&
                        masks.size(2) == g.num_receivers(),
                    "masks: expected bool [M, ", g.num_senders(), ", ", g.num_receivers(),
                    "] on the CPU, got ", masks.scalar_type(), " ", masks.sizes());
  const at::Tensor& input = session.senders().input_delta();
  // Senders, plus about as much again for the inputs of one sub-block's receivers and the MLP; and
  // one head's pattern.
  int64_t pattern = 0;
  for (int64_t l = 0; l < g.num_layers; ++l) {
    const Tokens& tokens = session.tokens(l);
    if (makes_patterns(tokens, session.model().layers[l].attention, input))
      pattern = 3 * tokens.num_prompts * tokens.max_length * tokens.max_length;
  }
  const int64_t bytes =
      ((g.num_senders() + 4 * g.receivers_per_layer()) * input.numel() + pattern) *
      input.element_size();
  const int64_t inputs = (g.receivers_per_layer() - 1) * input.numel() * input.element_size();
  const int64_t useful =
      std::max(kBlockBytes / inputs, ceil_div(kEnoughRows, std::max<int64_t>(1, input.size(0))));
  const int64_t chunk = std::max<int64_t>(1, std::min({memory / bytes, useful, masks.size(0)}));
  // One for all chunks: fetching it from the system takes longer than filling it.
  const at::Tensor delta =
      at::empty({g.num_senders(), chunk, 1, input.size(0), input.size(1)}, input.options());
  std::vector<at::Tensor> results;
  for (int64_t first = 0; first < masks.size(0); first += chunk) {
    const int64_t count = std::min(chunk, masks.size(0) - first);
    Run run(session, masks.slice(0, first, first + count), delta.slice(1, 0, count));
    results.push_back(read(run));
  }
  return results;
}

}  // namespace

at::Tensor masked_run(const Session& session, const at::Tensor& masks, int64_t memory) {
  const auto rows = each_chunk(session, masks, memory, [](Run& run) { return run.final_rows(); });
  const at::Tensor& input = session.senders().input_delta();
  return rows.empty() ? at::empty({0, session.tokens().num_prompts, input.size(1)}, input.options())
                      : at::cat(rows, 0);
}

at::Tensor masked_streams(const Session& session, const at::Tensor& masks, const at::Tensor& rows,
                          int64_t memory) {
  const auto streams =
      each_chunk(session, masks, memory, [&](Run& run) { return run.streams(rows); });
  TORCH_CHECK_VALUE(!streams.empty(), "masks: there are none");
  return at::cat(streams, 0);
}

}  // namespace kcircuits::engine
