// Arguments of the ops edge_scores and edge_scores_, checked and brought to one shape.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace kcircuits {

// The ops' arguments as the dispatcher hands them over.
struct EdgeScoresArguments {
  const at::Tensor& delta;
  const at::Tensor& grad;
  const at::Tensor& limits;
  const std::optional<at::Tensor>& positions;
  bool per_position;
};

// Raise a ValueError that names the argument where the arguments do not fit together.
std::vector<c10::SymInt> check_edge_scores(const EdgeScoresArguments& arguments);  // result's shape
void check_edge_scores_inplace(const at::Tensor& scores, const EdgeScoresArguments& arguments);

// The same call with elements of a row adjacent.
struct EdgeScoresProblem {
  int64_t senders, receivers, prompts, tokens, width;
  bool per_position;
  at::Tensor delta;      // [S, N, T, D]
  at::Tensor grad;       // [R, N, T, D]
  at::Tensor limits;     // [R] int64, contiguous
  at::Tensor positions;  // [N, T] contiguous, in the accumulation dtype, or undefined
};

// Also checks the values of limits where they are on the CPU.
EdgeScoresProblem make_edge_scores_problem(const EdgeScoresArguments& arguments);

at::Tensor zero_edge_scores(const EdgeScoresArguments& arguments);

}  // namespace kcircuits
