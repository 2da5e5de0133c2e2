// Indices of senders and receivers, from the tables that kcircuits/graph.py makes once of a model.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace kcircuits::engine {

// In the order of NODE_KINDS and RECEIVER_KINDS in kcircuits/nodes.py.
enum class NodeKind : int64_t { kInput, kHead, kMlp };
enum class Kind : int64_t { kQuery, kKey, kValue, kMlp, kLogits };

struct Receiver {
  Kind kind;
  int64_t layer;  // num_layers for logits
  int64_t head;   // query head for kQuery, key/value head for kKey and kValue, else 0
  int64_t num_senders;
};

class Graph {
 public:
  using NodeRow = std::array<int64_t, 3>;      // kind, layer or -1, index
  using ReceiverRow = std::array<int64_t, 4>;  // kind, layer or -1, index, senders before

  // Raises a ValueError where the layers have not all the same heads and an MLP, in the order in
  // which the engine computes them: heads before the MLP; queries, keys, values before its input.
  Graph(const std::vector<NodeRow>& nodes, const std::vector<ReceiverRow>& receivers,
        bool parallel);

  int64_t num_layers, num_heads, num_kv_heads;
  bool parallel;  // attention and MLP read the same stream

  int64_t group_size() const { return num_heads / num_kv_heads; }
  int64_t num_senders() const { return first_sender_.back(); }
  int64_t num_receivers() const { return static_cast<int64_t>(receivers_.size()); }
  // Senders and receivers of one layer.
  int64_t senders_per_layer() const { return first_sender_[1] - first_sender_[0]; }
  int64_t receivers_per_layer() const { return attention_receivers() + 1; }
  // Queries, keys and values of one layer.
  int64_t attention_receivers() const { return num_heads + 2 * num_kv_heads; }

  // Of a layer, or behind the last one.
  int64_t first_sender(int64_t layer) const { return first_sender_[layer]; }
  int64_t head(int64_t layer, int64_t i) const { return first_sender_[layer] + i; }
  int64_t mlp(int64_t layer) const { return mlp_[layer]; }
  // Which of its layer's senders one is: a head's number, and num_heads for the MLP.
  int64_t place(int64_t sender) const { return sender - first_sender_[layer_of_sender(sender)]; }
  // Not of `input`.
  int64_t layer_of_sender(int64_t sender) const { return layer_of_sender_[sender]; }

  int64_t query(int64_t layer, int64_t i) const { return query_[layer] + i; }
  int64_t key(int64_t layer, int64_t j) const { return key_[layer] + j; }
  int64_t value(int64_t layer, int64_t j) const { return value_[layer] + j; }
  int64_t mlp_input(int64_t layer) const { return mlp_input_[layer]; }
  int64_t logits() const { return num_receivers() - 1; }

  const Receiver& describe(int64_t receiver) const { return receivers_[receiver]; }
  // The senders of a receiver are always the first ones.
  int64_t num_senders_of(int64_t receiver) const { return receivers_[receiver].num_senders; }

 private:
  std::vector<Receiver> receivers_;
  std::vector<int64_t> layer_of_sender_;
  std::vector<int64_t> first_sender_;  // [L + 1]
  std::vector<int64_t> mlp_, query_, key_, value_, mlp_input_;
};

}  // namespace kcircuits::engine
