// A plain run of several variants of the prompts, kept for one backward sweep: gradients are pulled
// back one sub-block at a time, and those of a sub-block's receivers exist only until they are
// used. What is inside the layers is kept, or made again layer by layer from the stream before
// each, by the same operations and so with the same bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <vector>

#include "engine/norm.h"
#include "engine/session.h"

namespace kcircuits::engine {

// What one layer's attention did, for B variants; heads of a variant side by side.
struct Attended {
  int64_t layer;
  at::Tensor stream;      // [B, P, D], what its receivers read
  at::Tensor q, k;        // [B * H, P, d], rotated; k repeated for every head of its group
  at::Tensor pattern;     // [B * H * N, T, T]
  at::Tensor at_pattern;  // the gradient there
};

// What a sweep does with what is inside the layers, and the gradients go back through.
enum class Insides { kKept, kMadeAgain };

// What is done with the gradients of a sweep.
struct GradientUse {
  // Gradients at the streams of a sub-block's receivers, [receivers, B, P, D]; the first receiver's
  // index. The tensor is reused.
  std::function<void(int64_t first, const at::Tensor& gradients)> receivers;
  std::function<void(const Attended&)> attention;  // may be empty
};

class Sweep {
 public:
  // The first layer's attention or MLP, held at a constant output.
  struct Cut {
    bool is_mlp;
    at::Tensor output;  // [B, P, D]; of attention, the sum of the heads
  };

  // Runs the layers from `first_layer` on. stream [B, P, D]: what the first of them reads.
  Sweep(const Session& session, Rule rule, Insides insides, int64_t first_layer, at::Tensor stream,
        std::optional<Cut> cut = std::nullopt);

  // Final-normed rows, [B, N, D].
  const at::Tensor& rows() const { return rows_; }
  // What a layer reads, [B, P, D].
  const at::Tensor& stream_before(int64_t layer) const;

  // From the gradient at the rows, [B, N, D], to that at the first layer's stream, [B, P, D]. Only
  // once. `joining`: by layer, what comes on top at the stream before it, [P, D]; may be empty.
  at::Tensor pull_back(const at::Tensor& at_rows, const GradientUse& use,
                       const std::vector<at::Tensor>& joining = {});

  // Bytes that a variant of prompts needs: so many tokens, prompts, and tokens of the longest one.
  static int64_t bytes_per_variant(const Model& model, Insides insides, int64_t tokens,
                                   int64_t prompts, int64_t longest);

 private:
  struct Block {
    at::Tensor before, middle;  // streams before the attention and before the MLP, [B, P, D]
    at::Tensor q, k, v;         // leaves [B, P, heads * d], before rotation
    at::Tensor q_turned, k_turned, pattern, mixed;  // mixed [B, P, H * d]
    at::Tensor written;                             // by all heads, before a post-norm
    at::Tensor mlp_input, mlp_output;               // a leaf and its image
  };

  // One layer: from what it reads to what the next one reads.
  at::Tensor run_layer(int64_t layer, const at::Tensor& stream, Block& block) const;
  at::Tensor attend(int64_t layer, Block& block) const;
  at::Tensor pull_mlp(int64_t layer, const at::Tensor& at_output, const GradientUse& use);
  at::Tensor pull_attention(int64_t layer, const at::Tensor& at_output, const GradientUse& use);
  bool is_cut(int64_t layer, bool is_mlp) const;

  const Session& session_;
  Rule rule_;
  Insides insides_;
  int64_t first_layer_;
  std::optional<Cut> cut_;
  std::vector<Block> blocks_;
  at::Tensor final_stream_, rows_;
  at::Tensor scratch_;  // gradients at an attention's normed inputs
};

}  // namespace kcircuits::engine
