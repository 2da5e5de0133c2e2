// Arguments of the op edge_mix, checked and brought to one shape for every backend.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "norm_kind.h"

namespace kcircuits {

// The op's arguments as the dispatcher hands them over.
struct EdgeMixArguments {
  const at::Tensor& senders;
  const at::Tensor& mask;
  const std::optional<at::Tensor>& ablated;
  const std::optional<at::Tensor>& constant;
  std::string_view norm;
  const std::optional<at::Tensor>& weight;
  const std::optional<at::Tensor>& bias;
  double eps;
  bool unit_offset;
};

// Sizes; hypotheses is 1 for a mask [R, S]. The output is [R, hypotheses * prompts, T, D].
struct EdgeMixShape {
  c10::SymInt receivers, hypotheses, prompts, senders, tokens, width;
  NormKind norm;
  bool shared;  // one set of senders serves all hypotheses
};

// Raises a ValueError that names the argument where the arguments do not fit together.
EdgeMixShape check_edge_mix(const EdgeMixArguments& arguments);

// The same call with every broadcast written as a stride of 0, and elements of a row adjacent.
struct EdgeMixProblem {
  int64_t receivers, hypotheses, prompts, num_senders, tokens, width;
  NormKind norm;
  bool shared;
  double eps;
  at::Tensor senders;   // [S, M, P, T, D]
  at::Tensor mask;      // [R, M, S], bool or the accumulation dtype
  at::Tensor ablated;   // [S, M, P, T, D] or undefined
  at::Tensor constant;  // [R, M, P, T, D] or undefined
  at::Tensor weight;    // [R, D] in the accumulation dtype, unit offset added, or undefined
  at::Tensor bias;      // [R, D] in the accumulation dtype, or undefined

  at::Tensor empty_output() const;  // [R, M * P, T, D], contiguous
};

EdgeMixProblem make_edge_mix_problem(const EdgeMixArguments& arguments);

}  // namespace kcircuits
