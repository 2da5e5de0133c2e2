// What every sender of the plain run adds to the stream above its ablated value, a − ã, in one of
// four layouts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/spec.h"

namespace kcircuits::engine {

class Session;

// All but kMemory keep the streams before every layer, too, of the clean and of the corrupt run,
// from which one layer at a time is run again.
enum class Layout {
  kMemory,      // all of them, as they are
  kBfloat16,    // all of them, rounded
  kHost,        // all of them, in the CPU's memory, while the model is on another device
  kRecomputed,  // none
};

// What an absent edge carries: nothing; the sender's output in a plain run on these ids, int64 [P];
// or a mean, [S, 1, D], or [S, longest, D] by position.
struct Ablation {
  std::optional<at::Tensor> corrupt, mean;
};

class Senders {
 public:
  // Runs the session's clean tokens, and the corrupt ones.
  Senders(const Session& session, Layout layout, Ablation ablation);

  Layout layout() const { return layout_; }
  bool ablates() const { return ablation_.corrupt || ablation_.mean; }
  // Bytes that are kept where the model is.
  int64_t bytes() const;
  // What one layer's senders take while they are there, of a run and of the corrupt one.
  static int64_t layer_bytes(const Model& model, Layout layout, int64_t tokens);
  // The plain run's stream at the last tokens, before the final norm, [N, D].
  const at::Tensor& last_stream() const { return last_stream_; }

  // a − ã of `input`, [P, D], and its ã; nothing where that is zero.
  const at::Tensor& input_delta() const { return input_delta_; }
  const std::optional<at::Tensor>& ablated_input() const { return ablated_input_; }
  // ã of a layer's heads and MLP, [H + 1, P or 1, D]; nothing where it is zero.
  std::optional<at::Tensor> ablated_of_layer(int64_t layer) const;

  // f(first, a − ã [n, P, D]) for consecutive blocks of the first `count` senders.
  using Block = std::function<void(int64_t first, const at::Tensor& delta)>;
  void each_block(int64_t count, const Block& f) const;

  // Sums over some senders of one node: `input`, the heads of a layer, or its MLP. [P, D]
  struct Node {
    at::Tensor delta;
    std::optional<at::Tensor> ablated;
  };
  Node node(int64_t first, int64_t count) const;

  // kMemory only. Every sender's a − ã, [S, P, D]; the ablated value of one, [P, D].
  const at::Tensor& all() const;
  const std::optional<at::Tensor>& ablated(int64_t sender) const;

 private:
  void keep_all(const at::Tensor& clean_ids);
  void keep_streams(const at::Tensor& clean_ids);
  at::Tensor streams_of(const at::Tensor& ids, std::vector<at::Tensor>& before) const;
  at::Tensor outputs_of(const at::Tensor& ids, const at::Tensor& senders) const;
  at::Tensor run_again(int64_t layer, const at::Tensor& before) const;
  at::Tensor delta_of_layer(int64_t layer) const;
  at::Tensor mean_rows(int64_t first, int64_t count) const;

  const Session& session_;
  Layout layout_;
  Ablation ablation_;
  at::Tensor last_stream_, input_delta_;
  std::optional<at::Tensor> ablated_input_;
  at::Tensor kept_;            // [S, P, D] in kMemory; of all but `input` in kBfloat16 and kHost
  at::Tensor ablated_values_;  // kMemory: [S, P, D], where there are any
  std::vector<std::optional<at::Tensor>> ablated_;  // kMemory: the same, one by one
  std::vector<at::Tensor> clean_, corrupt_;         // else: streams before every layer, [P, D]
};

}  // namespace kcircuits::engine
