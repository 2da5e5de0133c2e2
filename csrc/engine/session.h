// One batch of prompts on one model, ready for masked runs: the plain run's sender outputs, the
// ablated values, the part of every stream that no mask changes, and the metric.
#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/attention.h"
#include "engine/metric.h"
#include "engine/senders.h"
#include "engine/spec.h"
#include "engine/tokens.h"

namespace kcircuits::engine {

struct SessionOptions {
  at::Tensor clean;                 // int64 [N, T], left-padded
  at::Tensor lengths;               // int64 [N]
  at::Tensor answers;               // int64 [N]
  std::optional<at::Tensor> wrong;  // int64 [N]
  // What an absent edge carries: the sender's output in a plain run on these ids, int64 [N, T]; or
  // these values, [S, 1, D], or [S, longest, D] by position; or, if neither is given, nothing.
  std::optional<at::Tensor> corrupt, mean;
  std::string metric;  // "nll", "kl", "logit-diff"
  Layout layout = Layout::kMemory;
};

class Session {
 public:
  Session(Model model, const SessionOptions& options);
  Session(const Session&) = delete;  // its senders point to it
  Session& operator=(const Session&) = delete;

  const Model& model() const { return model_; }
  const Graph& graph() const { return model_.graph; }
  // Where the embedding is; activations that outlive a layer are there, too.
  const Tokens& tokens() const { return tokens_; }
  // Where a layer's weights are.
  const Tokens& tokens(int64_t layer) const { return tokens_of_layer_[layer]; }
  // Where the weights behind a receiver are.
  at::Device device_of(int64_t receiver) const;
  const Metric& metric() const { return metric_; }

  const Senders& senders() const { return *senders_; }
  // What the senders of the plain run add above their ablated values, [S, P, D]: a − ã. A present
  // edge carries this difference; `constant` holds the ablated values of all its senders already.
  // Like `ablated`, only where all senders are in memory.
  const at::Tensor& clean_delta() const { return senders_->all(); }
  // The ablated value of a sender, [P, D]; nothing when it is zero.
  const std::optional<at::Tensor>& ablated(int64_t sender) const {
    return senders_->ablated(sender);
  }
  // Sums of the plain run's sender outputs over prompts: [S, longest, D] by position, or over all
  // positions, too, [S, 1, D]. A mean divides them by the number of terms. Without ablation alone.
  at::Tensor sender_sums(bool by_position) const;
  // Σ ã + Σ b_O before a receiver, [1, 1, P, D], or [1, 1, N, D] for last rows; nothing when it is
  // zero.
  std::optional<at::Tensor> constant(int64_t receiver, bool last_only) const;
  // Bytes of the activations that the session keeps from its construction on. What `constant` makes
  // later, where not all senders are in memory, is counted by who runs circuits then
  // (recomputed_bytes_per_token in kcircuits/layouts.py).
  int64_t bytes() const { return bytes_; }
  // Final-normed rows of the plain run, [N, D].
  const at::Tensor& full_rows() const { return full_rows_; }

  const Norm& norm_of(int64_t receiver) const;
  // The angles of a layer's queries and keys; nothing where it does not rotate.
  const std::optional<Rotation>& rotation(int64_t layer, bool last_only) const {
    return (last_only ? rotation_last_ : rotation_)[layer];
  }

  // What a plain run on some ids, int64 [P], begins with, [P, D], and one layer of it: the stream
  // before [P, D] to the stream behind; the outputs of the layer's senders go to out [H + 1, P, D].
  at::Tensor embed(const at::Tensor& ids) const;
  at::Tensor run_layer(int64_t layer, const at::Tensor& stream, const at::Tensor& out) const;
  // Rows of a stream [P, D] at the prompts' last tokens, [N, D].
  at::Tensor rows_of_last(const at::Tensor& stream) const;
  // Learned positions' part of the stream, [P, D], where ablating `input` leaves it there.
  std::optional<at::Tensor> kept_positions() const;

  // What one receiver of an attention reads, normed, [B, rows, D]; rows = P, or N when last_only.
  struct HeadInput {
    int64_t receiver;
    bool last_only;
    at::Tensor x;
  };
  // Queries, keys and values of one layer, each [B, rows, d]. Where queries or keys have one norm
  // for all heads, all of them are there or none is. Differentiable where gradients are on.
  std::vector<at::Tensor> project_heads(const std::vector<HeadInput>& inputs) const;

  // One head's queries, keys and values; any B may be 1.
  struct HeadCall {
    int64_t head;
    bool last_only;
    at::Tensor q, k, v;
  };
  // The call of a head; `of` gives what was projected for a receiver.
  template <typename F>
  HeadCall head_call(int64_t layer, int64_t head, bool last_only, const F& of) const {
    const Graph& g = graph();
    const int64_t j = head / g.group_size();
    return {head, last_only, of(g.query(layer, head)), of(g.key(layer, j)), of(g.value(layer, j))};
  }
  // Queries, keys or values of all heads, [B, P, heads * d], as the attention takes them: normed,
  // head by head and rotated, [B * heads, P, d]. Differentiable where gradients are on.
  at::Tensor split_heads(int64_t layer, Kind kind, const at::Tensor& projected) const;
  // Queries, keys and values of all heads of a plain run, as `split_heads` gives them, from normed
  // x [P, D].
  struct PlainHeads {
    at::Tensor q, k, v;
  };
  PlainHeads project_all(int64_t layer, const at::Tensor& x) const;
  // What several heads of one layer add to the stream, without b_O, each [B, rows, D]:
  // differentiable, or written where it goes. Behind a post-norm all heads of the layer are there,
  // and each one's output is its own share: what it writes times the scale of the sum.
  std::vector<at::Tensor> head_outputs(int64_t layer, const std::vector<HeadCall>& calls) const;
  void write_heads(int64_t layer, const std::vector<HeadCall>& calls,
                   const std::vector<at::Tensor>& out) const;

 private:
  // What the heads of a layer add to the stream: normed x [P, D] -> out [H, P, D].
  void plain_attention(int64_t layer, const at::Tensor& x, const at::Tensor& out) const;
  HeadWeights weights_of(int64_t receiver) const;
  void norm_heads(const std::vector<HeadInput>& inputs, Kind kind,
                  std::vector<at::Tensor>& projected) const;
  at::Tensor mix_values_of(int64_t layer, const HeadCall& call) const;
  Ablation ablation_of(const SessionOptions& options) const;
  const std::vector<std::optional<at::Tensor>>& constants() const;
  std::vector<std::optional<at::Tensor>> build_constants() const;
  int64_t count_bytes() const;
  at::Tensor position_rows() const;

  Model model_;
  Tokens tokens_;
  std::vector<Tokens> tokens_of_layer_;
  std::vector<std::optional<Rotation>> rotation_, rotation_last_;  // per layer
  std::optional<Senders> senders_;
  // 2 L + 1, per sub-block input; made when they are first asked for.
  mutable std::vector<std::optional<at::Tensor>> constants_;
  mutable std::once_flag constants_made_;
  at::Tensor full_rows_;
  Metric metric_;
  int64_t bytes_ = 0;
};

}  // namespace kcircuits::engine
