// Arguments of the op vocab_readout, checked and brought to one shape for every backend.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "norm_kind.h"
#include "weight.h"

namespace kcircuits {

// The op's arguments as the dispatcher hands them over.
struct VocabReadoutArguments {
  const at::Tensor& rows;
  const at::Tensor& unembedding;
  const std::optional<at::Tensor>& targets;
  const std::optional<at::Tensor>& bias;
  int64_t topk;
  double soft_cap;
  std::string_view norm;
  const std::optional<at::Tensor>& weight;
  const std::optional<at::Tensor>& norm_bias;
  double eps;
  bool unit_offset;
  const std::optional<at::Tensor>& scale;
  bool rank_range;
};

// Target logits, ranks, log-sum-exp, top-k values, top-k ids.
using VocabReadout = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

struct VocabReadoutShape {
  c10::SymInt rows, vocabulary, width;
  std::vector<c10::SymInt>
      targets;  // shape of the target logits and, but for a range's [.., 2], ranks
  NormKind norm;
};

// Raises a ValueError that names the argument where the arguments do not fit together.
VocabReadoutShape check_vocab_readout(const VocabReadoutArguments& arguments);

VocabReadout empty_vocab_readout(const VocabReadoutShape& shape,
                                 const VocabReadoutArguments& arguments);

// The same call with dense parameters; undefined tensors were not given.
struct VocabReadoutProblem {
  int64_t rows, vocabulary, width, targets_per_row, topk;
  bool rank_range;  // ranks are [.., 2]: first and last of the places that equal logits share
  double soft_cap;  // 0: none
  NormKind norm;
  double eps;
  at::ScalarType accumulate;  // float64 for float64, else float32
  at::Tensor hidden;          // [N, D], elements of a row adjacent
  Weight unembedding;         // [V, D]; of a tensor, elements of a row adjacent
  at::Tensor targets;         // [N, targets_per_row] int64, contiguous, or undefined
  at::Tensor bias;            // [V] contiguous, in the accumulation dtype, or undefined
  at::Tensor weight;          // [D] contiguous, in the accumulation dtype, unit offset added
  at::Tensor norm_bias;       // [D] contiguous, in the accumulation dtype
  at::Tensor scale;           // [N] contiguous, in the accumulation dtype: replaces 1 / deviation
};

// Also checks the targets' values where they are on the CPU.
VocabReadoutProblem make_vocab_readout_problem(const VocabReadoutArguments& arguments);

}  // namespace kcircuits
