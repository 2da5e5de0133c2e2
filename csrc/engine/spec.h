// The model specification as the engine sees it; field for field kcircuits/model/spec.py, which
// says what each means. Weights are the caller's tensors, or codes. Linear weights are [out, in].
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "activation.h"
#include "engine/graph.h"
#include "norm_kind.h"
#include "weight.h"

namespace kcircuits::engine {

struct Norm {
  NormKind kind;
  double eps;
  std::optional<at::Tensor> weight;  // [D], or the size of what is normed
  std::optional<at::Tensor> bias;
};

struct Rotary {
  at::Tensor inv_freq;  // float32 [rotary_dim / 2]
  double scale;
};

struct Attention {
  Weight w_q, w_k, w_v, w_o;  // [H*d, D], [K*d, D], [K*d, D], [D, H*d]
  std::optional<at::Tensor> b_q, b_k, b_v, b_o;
  double scale;
  std::optional<Rotary> rotary;
  std::optional<Norm> q_norm, k_norm;  // over a head's d, or over all heads together
  bool joint_norms;
  std::optional<int64_t> window;
  double soft_cap;                  // 0: none
  std::optional<at::Tensor> sinks;  // [H]
};

struct Mlp {
  Activation activation;
  Weight w_up, w_down;  // [F, D], [D, F]
  std::optional<Weight> w_gate;
  std::optional<at::Tensor> b_up, b_gate, b_down;
  double limit;      // 0: none
  double up_offset;  // added to the ungated factor
};

struct Experts {
  at::Tensor router;  // [E, D]
  std::optional<at::Tensor> router_bias;
  int64_t top_k;
  bool normalise;
  std::vector<Mlp> experts;
};

struct Layer {
  Norm attention_norm;
  Attention attention;
  std::optional<Norm> attention_post_norm;
  Norm mlp_norm;
  std::optional<Mlp> mlp;  // one of the two
  std::optional<Experts> experts;
  std::optional<Norm> mlp_post_norm;

  // Whether what one head puts out depends on what others of its layer do.
  bool mixes_heads() const { return attention_post_norm || attention.joint_norms; }
  // Numbers of one token inside the MLP, or inside all experts that it is sent to.
  int64_t hidden() const {
    return mlp ? mlp->w_up.size(0) : experts->top_k * experts->experts.at(0).w_up.size(0);
  }
};

struct Model {
  Graph graph;
  int64_t head_dim;
  Weight embedding;  // [V, D]
  double embedding_scale;
  std::optional<at::Tensor> positions;
  bool ablate_positions;  // whether ablating `input` takes the position embedding away, too
  std::vector<Layer> layers;
  Norm final_norm;
  Weight unembedding;  // [V, D]
  std::optional<at::Tensor> unembedding_bias;
  double logit_soft_cap;  // 0: none

  int64_t width() const { return embedding.size(1); }
  // Where a layer's weights are. All of one layer's are in one place, those of the final norm and
  // the unembedding, and those of the embedding, positions included (kcircuits/model/devices.py).
  at::Device device(int64_t layer) const { return layers[layer].attention.w_q.device(); }
  // What activations are computed in, whatever the weights are kept in.
  at::ScalarType dtype() const {
    return embedding.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  }
};

// For who goes through the receivers from the last to the first and marks the senders that are
// needed: where heads are mixed, who reads one needs all of its layer. All readers of a layer's
// heads are behind when its MLP's receiver is.
template <typename T>
void unite_heads(const Model& model, int64_t receiver, std::vector<T>& needed) {
  const Receiver r = model.graph.describe(receiver);
  if (r.kind != Kind::kMlp || !model.layers[r.layer].mixes_heads()) return;
  const auto begin = needed.begin() + model.graph.head(r.layer, 0);
  const auto end = begin + model.graph.num_heads;
  const T most = *std::max_element(begin, end);
  std::fill(begin, end, most);
}

}  // namespace kcircuits::engine
