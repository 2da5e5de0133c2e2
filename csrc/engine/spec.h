// The model specification as the engine sees it; field for field kcircuits/model/spec.py.
// Weights are the caller's tensors. Linear weights are [out, in].
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "engine/graph.h"

namespace kcircuits::engine {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

struct Norm {
  bool rms;
  double eps;
  std::optional<at::Tensor> weight;  // [D]
  std::optional<at::Tensor> bias;    // [D]
};

struct Rotary {
  at::Tensor inv_freq;  // float32 [rotary_dim / 2]
  double scale;
};

struct Attention {
  at::Tensor w_q, w_k, w_v, w_o;  // [H*d, D], [K*d, D], [K*d, D], [D, H*d]
  std::optional<at::Tensor> b_q, b_k, b_v, b_o;
  double scale;
  std::optional<Rotary> rotary;
};

struct Mlp {
  Activation activation;
  at::Tensor w_up, w_down;  // [F, D], [D, F]
  std::optional<at::Tensor> w_gate, b_up, b_gate, b_down;
};

struct Layer {
  Norm attention_norm;
  Attention attention;
  Norm mlp_norm;
  Mlp mlp;
};

struct Model {
  Graph graph;
  int64_t head_dim;
  at::Tensor embedding;  // [V, D]
  std::optional<at::Tensor> positions;
  bool ablate_positions;  // whether ablating `input` takes the position embedding away, too
  std::vector<Layer> layers;
  Norm final_norm;
  at::Tensor unembedding;  // [V, D]
  std::optional<at::Tensor> unembedding_bias;

  int64_t width() const { return embedding.size(1); }
  // What activations are computed in, whatever the weights are kept in.
  at::ScalarType dtype() const {
    return embedding.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  }
};

}  // namespace kcircuits::engine
