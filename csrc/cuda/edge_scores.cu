// The ops edge_scores and edge_scores_ for CUDA tensors; the kernels are in edge_scores.cuh.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "cuda/device.h"
#include "cuda/edge_scores.cuh"
#include "ops/arguments.h"
#include "ops/edge_scores.h"

namespace kcircuits::cuda {
namespace {

template <typename T>
ScoreOperand<T> operand(const at::Tensor& tensor) {
  return {elements<T>(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

template <typename T>
void launch_problem(const EdgeScoresProblem& problem, const at::Tensor& scores, bool accumulate) {
  using Acc = Accumulate<T>;
  EdgeScoresCall<T> call = {
      .senders = problem.senders,
      .receivers = problem.receivers,
      .prompts = problem.prompts,
      .tokens = problem.tokens,
      .width = problem.width,
      .delta = operand<T>(problem.delta),
      .grad = operand<T>(problem.grad),
      .limits = elements<int64_t>(problem.limits),
      .positions = elements<Acc>(problem.positions),
      .per_position = problem.per_position,
      .accumulate = accumulate,
      .scores = mutable_elements<Acc>(scores),
      .score_sender = scores.stride(0),
      .score_receiver = scores.stride(1),
      .score_token = problem.per_position ? scores.stride(2) : 0,
  };
  call.shares = edge_scores_shares(call, multiprocessors(scores));
  at::Tensor partial;
  if (call.shares > 1) {
    partial = at::empty({call.shares, call.outputs()}, scores.options());
    call.partial = mutable_elements<Acc>(partial);
  }
  launch_edge_scores(call, current_stream(scores));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void launch_arguments(const EdgeScoresArguments& arguments, const at::Tensor& scores,
                      bool accumulate) {
  const EdgeScoresProblem problem = make_edge_scores_problem(arguments);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, arguments.delta.scalar_type(), "edge_scores",
      [&] { launch_problem<DeviceType<scalar_t>>(problem, scores, accumulate); });
}

void edge_scores_inplace(const at::Tensor& scores, const at::Tensor& delta, const at::Tensor& grad,
                         const at::Tensor& limits, const std::optional<at::Tensor>& positions,
                         bool per_position) {
  const c10::cuda::CUDAGuard guard(delta.device());
  const EdgeScoresArguments arguments = {delta, grad, limits, positions, per_position};
  check_edge_scores_inplace(scores, arguments);
  launch_arguments(arguments, scores, /*accumulate=*/true);
}

at::Tensor edge_scores(const at::Tensor& delta, const at::Tensor& grad, const at::Tensor& limits,
                       const std::optional<at::Tensor>& positions, bool per_position) {
  const c10::cuda::CUDAGuard guard(delta.device());
  const EdgeScoresArguments arguments = {delta, grad, limits, positions, per_position};
  const at::Tensor scores = at::empty(C10_AS_INTARRAYREF_SLOW(check_edge_scores(arguments)),
                                      delta.options().dtype(accumulate_dtype(delta)));
  launch_arguments(arguments, scores, /*accumulate=*/false);
  return scores;
}

}  // namespace
}  // namespace kcircuits::cuda

TORCH_LIBRARY_IMPL(kcircuits, CUDA, library) {
  library.impl("edge_scores", &kcircuits::cuda::edge_scores);
  library.impl("edge_scores_", &kcircuits::cuda::edge_scores_inplace);
}
