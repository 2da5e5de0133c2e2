// Indices of senders and receivers; the same order as kcircuits/graph.py.
#pragma once

#include <cstdint>

namespace kcircuits::engine {

enum class Kind { kQuery, kKey, kValue, kMlp, kLogits };

struct Receiver {
  Kind kind;
  int64_t layer;  // num_layers for logits
  int64_t head;   // query head for kQuery, key/value head for kKey and kValue, else 0
};

struct Graph {
  int64_t num_layers;
  int64_t num_heads;
  int64_t num_kv_heads;
  bool parallel;

  int64_t group_size() const { return num_heads / num_kv_heads; }
  int64_t num_senders() const { return 1 + num_layers * (num_heads + 1); }
  int64_t receivers_per_layer() const { return num_heads + 2 * num_kv_heads + 1; }
  int64_t num_receivers() const { return num_layers * receivers_per_layer() + 1; }

  int64_t head(int64_t layer, int64_t i) const { return 1 + layer * (num_heads + 1) + i; }
  int64_t mlp(int64_t layer) const { return head(layer, num_heads); }

  int64_t query(int64_t layer, int64_t i) const { return layer * receivers_per_layer() + i; }
  int64_t key(int64_t layer, int64_t j) const { return query(layer, num_heads) + j; }
  int64_t value(int64_t layer, int64_t j) const { return key(layer, num_kv_heads) + j; }
  int64_t mlp_input(int64_t layer) const { return value(layer, num_kv_heads); }
  int64_t logits() const { return num_receivers() - 1; }

  Receiver describe(int64_t receiver) const {
    if (receiver == logits()) return {Kind::kLogits, num_layers, 0};
    const int64_t layer = receiver / receivers_per_layer();
    const int64_t slot = receiver % receivers_per_layer();
    if (slot < num_heads) return {Kind::kQuery, layer, slot};
    if (slot < num_heads + num_kv_heads) return {Kind::kKey, layer, slot - num_heads};
    if (slot < num_heads + 2 * num_kv_heads) {
      return {Kind::kValue, layer, slot - num_heads - num_kv_heads};
    }
    return {Kind::kMlp, layer, 0};
  }

  // The senders of a receiver are always the first ones.
  int64_t num_senders_of(int64_t receiver) const {
    const Receiver r = describe(receiver);
    if (r.kind == Kind::kLogits) return num_senders();
    if (r.kind == Kind::kMlp && !parallel) return head(r.layer, num_heads);
    return head(r.layer, 0);
  }
};

}  // namespace kcircuits::engine
