// The op vocab_readout for CUDA tensors; the kernels are in vocab_readout.cuh.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "cuda/device.h"
#include "cuda/vocab_readout.cuh"
#include "ops/arguments.h"
#include "ops/vocab_readout.h"

namespace kcircuits::cuda {
namespace {

template <typename T>
void launch_problem(const VocabReadoutProblem& problem, const VocabReadout& out) {
  using Acc = Accumulate<T>;
  const auto& [target_logits, ranks, log_sum_exp, top_values, top_ids] = out;
  VocabReadoutCall<T> call = {
      .rows = problem.rows,
      .vocabulary = problem.vocabulary,
      .width = problem.width,
      .targets_per_row = problem.targets_per_row,
      .topk = problem.topk,
      .rank_range = problem.rank_range,
      .soft_cap = static_cast<Acc>(problem.soft_cap),
      .norm = problem.norm,
      .eps = static_cast<Acc>(problem.eps),
      .hidden = elements<T>(problem.hidden),
      .hidden_stride = problem.hidden.stride(0),
      .unembedding = elements<T>(*problem.unembedding.values()),
      .unembedding_stride = problem.unembedding.values()->stride(0),
      .targets = elements<int64_t>(problem.targets),
      .bias = elements<Acc>(problem.bias),
      .weight = elements<Acc>(problem.weight),
      .norm_bias = elements<Acc>(problem.norm_bias),
      .scale = elements<Acc>(problem.scale),
      .target_logits = mutable_elements<Acc>(target_logits),
      .ranks = mutable_elements<int64_t>(ranks),
      .log_sum_exp = mutable_elements<double>(log_sum_exp),
      .top_values = mutable_elements<Acc>(top_values),
      .top_ids = mutable_elements<int64_t>(top_ids),
  };
  call.shares = vocab_readout_shares(call, multiprocessors(log_sum_exp));

  const auto values = top_values.options();
  const auto ids = ranks.options();
  const int64_t slots = call.shares * call.rows;
  at::Tensor normed;
  if (call.norm != NormKind::kNone) {
    normed = at::empty({call.rows, kNormParts<T>, call.width}, problem.hidden.options());
    call.normed = mutable_elements<T>(normed);
  }
  static_assert(sizeof(RunningExp<double>) == 2 * sizeof(double));
  const at::Tensor share_exp = at::empty({slots, 2}, log_sum_exp.options());
  const at::Tensor share_greater = at::empty({slots, call.targets_per_row}, ids);
  const at::Tensor share_less = at::empty({slots, call.rank_range ? call.targets_per_row : 0}, ids);
  const at::Tensor share_values = at::empty({slots, call.topk}, values);
  const at::Tensor share_ids = at::empty({slots, call.topk}, ids);
  call.share_exp = mutable_elements<RunningExp<double>>(share_exp);
  call.share_greater = mutable_elements<int64_t>(share_greater);
  call.share_less = mutable_elements<int64_t>(share_less);
  call.share_values = mutable_elements<Acc>(share_values);
  call.share_ids = mutable_elements<int64_t>(share_ids);
  launch_vocab_readout(call, current_stream(log_sum_exp));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

VocabReadout vocab_readout(const at::Tensor& rows, const at::Tensor& unembedding,
                           const std::optional<at::Tensor>& targets,
                           const std::optional<at::Tensor>& bias, int64_t topk, double soft_cap,
                           std::string_view norm, const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& norm_bias, double eps, bool unit_offset,
                           const std::optional<at::Tensor>& scale, bool rank_range) {
  const c10::cuda::CUDAGuard guard(rows.device());
  // The tensor cores multiply one dtype with itself.
  check_same_dtype("unembedding", unembedding, "rows", rows);
  const VocabReadoutArguments arguments = {rows,        unembedding, targets,   bias,      topk,
                                           soft_cap,    norm,        weight,    norm_bias, eps,
                                           unit_offset, scale,       rank_range};
  const VocabReadoutProblem problem = make_vocab_readout_problem(arguments);
  VocabReadout out = empty_vocab_readout(check_vocab_readout(arguments), arguments);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, rows.scalar_type(), "vocab_readout",
                                  [&] { launch_problem<DeviceType<scalar_t>>(problem, out); });
  return out;
}

}  // namespace
}  // namespace kcircuits::cuda

TORCH_LIBRARY_IMPL(kcircuits, CUDA, library) {
  library.impl("vocab_readout", &kcircuits::cuda::vocab_readout);
}
