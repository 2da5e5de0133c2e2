#include "engine/graph.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace kcircuits::engine {
namespace {

// Goes through a table and says where runs of rows begin.
template <typename Row>
class Reader {
 public:
  Reader(const std::vector<Row>& rows, const char* what) : rows_(rows), what_(what) {}

  // `count` rows of one kind and layer, numbered from 0.
  template <typename K>
  int64_t take(K kind, int64_t layer, int64_t count) {
    const int64_t first = next_;
    for (int64_t i = 0; i < count; ++i, ++next_) {
      TORCH_CHECK_VALUE(next_ < size() && rows_[next_][0] == static_cast<int64_t>(kind) &&
                            rows_[next_][1] == layer && rows_[next_][2] == i,
                        "the engine needs an MLP and as many heads in every layer, in the order of "
                        "computation: ",
                        what_, " ", next_, " is another");
    }
    return first;
  }
  void end() const {
    TORCH_CHECK_VALUE(next_ == size(), "the graph has ", size(), " ", what_, "s, expected ", next_);
  }
  template <typename K>
  int64_t count(K kind, int64_t layer) const {
    return std::count_if(rows_.begin(), rows_.end(), [&](const Row& row) {
      return row[0] == static_cast<int64_t>(kind) && row[1] == layer;
    });
  }

 private:
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }

  const std::vector<Row>& rows_;
  const char* what_;
  int64_t next_ = 0;
};

}  // namespace

Graph::Graph(const std::vector<NodeRow>& nodes, const std::vector<ReceiverRow>& receivers,
             bool parallel)
    : num_layers(0), num_heads(0), num_kv_heads(0), parallel(parallel) {
  Reader<NodeRow> node(nodes, "node");
  Reader<ReceiverRow> receiver(receivers, "receiver");
  num_heads = node.count(NodeKind::kHead, 0);
  num_kv_heads = receiver.count(Kind::kKey, 0);
  TORCH_CHECK_VALUE(num_kv_heads > 0 && num_heads % num_kv_heads == 0,
                    "the engine needs heads: ", num_heads, " query heads, ", num_kv_heads,
                    " key/value heads");
  for (const NodeRow& row : nodes) {
    layer_of_sender_.push_back(row[1]);
    num_layers = std::max(num_layers, row[1] + 1);
  }
  node.take(NodeKind::kInput, -1, 1);
  for (int64_t l = 0; l < num_layers; ++l) {
    first_sender_.push_back(node.take(NodeKind::kHead, l, num_heads));
    mlp_.push_back(node.take(NodeKind::kMlp, l, 1));
    query_.push_back(receiver.take(Kind::kQuery, l, num_heads));
    key_.push_back(receiver.take(Kind::kKey, l, num_kv_heads));
    value_.push_back(receiver.take(Kind::kValue, l, num_kv_heads));
    mlp_input_.push_back(receiver.take(Kind::kMlp, l, 1));
  }
  receiver.take(Kind::kLogits, -1, 1);
  node.end();
  receiver.end();
  first_sender_.push_back(static_cast<int64_t>(nodes.size()));
  for (const auto& [kind, layer, index, count] : receivers) {
    TORCH_CHECK_VALUE(count > 0 && count <= num_senders(), "a receiver cannot have ", count,
                      " senders of ", num_senders());
    const auto what = static_cast<Kind>(kind);
    receivers_.push_back({what, what == Kind::kLogits ? num_layers : layer, index, count});
  }
}

}  // namespace kcircuits::engine
