// What a change at some receivers of one layer does to the metric: only nodes that the change
// reaches and that somebody reads are computed, only at the rows where they are read, for many
// hypotheses at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <vector>

#include "engine/state.h"

namespace kcircuits::engine {

// The structure of such a change: fixed as long as the same receivers are touched and no other edge
// of the circuit changes; values of unchanged senders are summed here, once.
class Propagation {
 public:
  // `touched`: receivers of one sub-block whose masks differ between the hypotheses; they are read.
  Propagation(const State& state, std::vector<int64_t> touched);

  const std::vector<int64_t>& touched() const { return touched_; }
  // Bytes that each hypothesis needs.
  int64_t bytes_per_hypothesis() const { return bytes_; }

  // masks: bool [touched, B, senders], each touched receiver's present senders in each hypothesis.
  // -> final-normed rows [B, N, D].
  at::Tensor run(const at::Tensor& masks);

  // Make hypothesis b of the last run the state's present one.
  void commit(State& state, int64_t b) const;

 private:
  struct Node {  // a sender that the change reaches
    int64_t sender;
    bool last_only;
    int64_t slot_last;
    int64_t slot_all;  // -1 when last_only
  };
  struct InputGroup {  // reached receivers of one sub-block that are read at the same rows
    std::vector<int64_t> receivers;
    bool last_only;
    at::Tensor base;  // [receivers, 1, rows, D]: constant and unchanged senders
    at::Tensor mask;  // bool [receivers, slots]: the changed senders that each reads
  };
  struct Step {  // one sub-block, in order of computation
    int64_t layer;
    bool is_mlp;
    std::vector<InputGroup> groups;
    std::vector<size_t> nodes;
  };

  void plan_attention(int64_t layer);
  void plan_mlp(int64_t layer);
  bool is_touched(int64_t receiver) const;
  bool reached(int64_t receiver) const;
  bool reached_itself(int64_t receiver) const;
  void keep_unreached(int64_t layer, const std::vector<int64_t>& heads);
  std::vector<InputGroup> group_inputs(const std::vector<int64_t>& receivers) const;
  void add_node(int64_t sender, Step& step);
  at::Tensor unchanged_input(int64_t receiver, bool last_only) const;
  void finish_step(Step step);

  void compute_touched(const at::Tensor& masks);
  void compute_inputs(const std::vector<InputGroup>& groups);
  void run_mlp(const Step& step);
  void run_heads(const Step& step);
  at::Tensor slot(const Node& node) const;
  void finish(const Node& node);

  const State& state_;
  const Session& session_;
  const Graph& graph_;
  std::vector<int64_t> touched_;
  std::vector<Node> nodes_;
  std::map<int64_t, size_t> node_of_;  // sender -> index into nodes_
  std::vector<Step> steps_;
  std::vector<InputGroup> final_input_;      // of the logits, unless they are touched
  std::map<int64_t, at::Tensor> unchanged_;  // q, k or v, [1, rows, d], of unreached receivers
  int64_t num_slots_all_ = 0;
  int64_t bytes_ = 0;

  // Of the run in progress.
  at::Tensor slots_last_, slots_all_;  // [slots, B, N, D], [slots, B, P, D]
  std::map<int64_t, at::Tensor> x_;    // normed inputs [B, rows, D]
};

}  // namespace kcircuits::engine
