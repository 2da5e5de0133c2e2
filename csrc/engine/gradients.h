// Gradients of the metric in the search's present masked run, and what they say the removal of an
// edge will do. The search drafts its decisions from that; nothing is decided by it.
//
// The estimate goes beyond EAP (arXiv 2310.10348): the receiver's norm is taken exactly with the
// sender removed, and only what follows it is linear. Where a stream is dominated by one sender,
// that is most of the effect.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "engine/state.h"

namespace kcircuits::engine {

// Estimated effects of removals on the metric.
struct Estimates {
  at::Tensor edges;  // double [receivers, senders] on the CPU: of each edge into each receiver
  at::Tensor whole;  // double [receivers]: of all edges into a receiver at once
};

class Gradients {
 public:
  explicit Gradients(const State& state);

  // Brings the gradients of the needed receivers of the sub-block of `receiver`, and of all later
  // ones, up to date. `state` is settled behind that sub-block. Within one layer only the sub-block
  // itself is done again: what a few removals have changed behind it matters less than the time.
  void refresh(int64_t receiver);

  // For receivers of the sub-block that the last refresh was for.
  Estimates estimate(const std::vector<int64_t>& receivers) const;

  // What the refresh of a later sub-block of the same layer starts from.
  void save(Snapshot& into) const;
  void restore(const Snapshot& from);

 private:
  // Gradients that arrive at the outputs of some heads of a layer, at these rows, [heads, rows, D].
  struct Arrived {
    std::vector<int64_t> heads;  // senders
    at::Tensor rows;
  };

  // A receiver of the last sub-block: the stream it reads and the gradient behind its norm, [rows,
  // D].
  struct Input {
    at::Tensor stream, at_normed;
  };

  void pull_back_logits();
  void pull_back_mlp(int64_t layer);
  void pull_back_attention(int64_t layer);
  void arrive(int64_t layer);
  Arrived arriving(int64_t layer, Need rows) const;
  // The gradient at the output of a layer's MLP, or of one of its heads, that is read at these
  // rows, [1, rows, D].
  at::Tensor at_mlp(int64_t layer, bool last_only) const;
  at::Tensor at_head(int64_t layer, int64_t head, bool last_only) const;
  // Which receivers with a gradient of these rows read a sender, from the first of them on.
  std::vector<uint8_t> readers(int64_t sender, Need rows, int64_t first) const;
  at::Tensor summed(const at::Tensor& gradients, const std::vector<uint8_t>& mask) const;
  void keep(int64_t receiver, const at::Tensor& stream, const at::Tensor& at_stream,
            const at::Tensor& at_normed);

  const State& state_;
  const Session& session_;
  const Graph& graph_;
  // At the streams of needed receivers, [R, P, D] or [R, N, D] by need; other rows are never
  // touched.
  at::Tensor all_, last_;
  std::vector<Need> kept_;  // [R]
  int64_t layer_ = -1;      // of the last refresh
  // At the heads of the last layer, from the receivers behind it: no test of the layer changes it.
  Arrived arrived_all_, arrived_last_;
  std::map<int64_t, Input> inputs_;
};

}  // namespace kcircuits::engine
