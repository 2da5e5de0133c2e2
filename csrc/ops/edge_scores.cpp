#include "ops/edge_scores.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include "ops/arguments.h"

namespace kcircuits {
namespace {

// Only on the CPU: elsewhere it would synchronise, and no limit makes the CUDA kernels read
// outside.
void check_limit_values(const at::Tensor& limits, int64_t senders) {
  if (limits.numel() == 0 || !limits.is_cpu()) return;
  const at::Tensor bad = limits.lt(0).logical_or_(limits.gt(senders));
  if (!bad.any().item<bool>()) return;
  const int64_t receiver = bad.nonzero()[0].item<int64_t>();
  TORCH_CHECK_VALUE(false, "limits must be numbers of senders in [0, ", senders, "], got ",
                    limits[receiver].item<int64_t>(), " for receiver ", receiver);
}

at::Tensor edge_scores_meta(const at::Tensor& delta, const at::Tensor& grad,
                            const at::Tensor& limits, const std::optional<at::Tensor>& positions,
                            bool per_position) {
  const auto sizes = check_edge_scores({delta, grad, limits, positions, per_position});
  return at::empty_symint(sizes, delta.options().dtype(accumulate_dtype(delta)));
}

void edge_scores_inplace_meta(const at::Tensor& scores, const at::Tensor& delta,
                              const at::Tensor& grad, const at::Tensor& limits,
                              const std::optional<at::Tensor>& positions, bool per_position) {
  check_edge_scores_inplace(scores, {delta, grad, limits, positions, per_position});
}

}  // namespace

std::vector<c10::SymInt> check_edge_scores(const EdgeScoresArguments& arguments) {
  const auto& [delta, grad, limits, positions, per_position] = arguments;
  check_dtype("delta", delta);
  TORCH_CHECK_VALUE(delta.dim() == 4, "delta must be [S, N, T, D], got ", delta.sym_sizes());
  check_device("grad", grad, "delta", delta);
  check_same_dtype("grad", grad, "delta", delta);
  TORCH_CHECK_VALUE(grad.dim() == 4 && grad.sym_size(1) == delta.sym_size(1) &&
                        grad.sym_size(2) == delta.sym_size(2) &&
                        grad.sym_size(3) == delta.sym_size(3),
                    "grad must be [R, N, T, D] with the N, T, D of delta ", delta.sym_sizes(),
                    ", got ", grad.sym_sizes());
  check_device("limits", limits, "delta", delta);
  TORCH_CHECK_VALUE(limits.scalar_type() == at::kLong, "limits must be int64, got ",
                    limits.scalar_type());
  TORCH_CHECK_VALUE(limits.dim() == 1 && limits.sym_size(0) == grad.sym_size(0),
                    "limits must be [R] = [", grad.sym_size(0), "], got ", limits.sym_sizes());
  if (positions.has_value()) {
    check_device("positions", *positions, "delta", delta);
    TORCH_CHECK_VALUE(positions->scalar_type() == at::kBool || positions->is_floating_point(),
                      "positions must be bool or floating, got ", positions->scalar_type());
    TORCH_CHECK_VALUE(positions->dim() == 2 && positions->sym_size(0) == delta.sym_size(1) &&
                          positions->sym_size(1) == delta.sym_size(2),
                      "positions must be [N, T] = [", delta.sym_size(1), ", ", delta.sym_size(2),
                      "], got ", positions->sym_sizes());
  }
  std::vector<c10::SymInt> sizes = {delta.sym_size(0), grad.sym_size(0)};
  if (per_position) sizes.push_back(delta.sym_size(2));
  return sizes;
}

void check_edge_scores_inplace(const at::Tensor& scores, const EdgeScoresArguments& arguments) {
  const auto sizes = check_edge_scores(arguments);
  check_device("scores", scores, "delta", arguments.delta);
  const auto dtype = accumulate_dtype(arguments.delta);
  TORCH_CHECK_VALUE(scores.scalar_type() == dtype, "scores must be ", dtype, " for delta of ",
                    arguments.delta.scalar_type(), ", got ", scores.scalar_type());
  TORCH_CHECK_VALUE(scores.sym_sizes() == c10::SymIntArrayRef(sizes), "scores must be ",
                    arguments.per_position ? "[S, R, T] = " : "[S, R] = ",
                    c10::SymIntArrayRef(sizes), ", got ", scores.sym_sizes());
}

EdgeScoresProblem make_edge_scores_problem(const EdgeScoresArguments& arguments) {
  check_edge_scores(arguments);
  const int64_t width = arguments.delta.size(3);
  EdgeScoresProblem problem = {
      .senders = arguments.delta.size(0),
      .receivers = arguments.grad.size(0),
      .prompts = arguments.delta.size(1),
      .tokens = arguments.delta.size(2),
      .width = width,
      .per_position = arguments.per_position,
      .delta = as_rows(arguments.delta, width),
      .grad = as_rows(arguments.grad, width),
      .limits = arguments.limits.contiguous(),
      .positions = {},
  };
  if (arguments.positions.has_value()) {
    problem.positions = arguments.positions->to(accumulate_dtype(arguments.delta)).contiguous();
  }
  check_limit_values(problem.limits, problem.senders);
  return problem;
}

at::Tensor zero_edge_scores(const EdgeScoresArguments& arguments) {
  return at::zeros_symint(check_edge_scores(arguments),
                          arguments.delta.options().dtype(accumulate_dtype(arguments.delta)));
}

}  // namespace kcircuits

TORCH_LIBRARY_IMPL(kcircuits, Meta, library) {
  library.impl("edge_scores", &kcircuits::edge_scores_meta);
  library.impl("edge_scores_", &kcircuits::edge_scores_inplace_meta);
}

// Scores are measured, not trained through: asking for their gradient is an error, not a zero.
TORCH_LIBRARY_IMPL(kcircuits, Autograd, library) {
  library.impl("edge_scores", torch::autograd::autogradNotImplementedFallback());
  library.impl("edge_scores_", torch::autograd::autogradNotImplementedFallback());
}
TORCH_LIBRARY_IMPL(kcircuits, ADInplaceOrView, library) {
  library.impl("edge_scores_", torch::autograd::autogradNotImplementedInplaceOrViewFallback());
}
