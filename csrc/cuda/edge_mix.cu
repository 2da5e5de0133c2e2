// The op edge_mix for CUDA tensors; the kernel is in edge_mix.cuh.
#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include "cuda/device.h"
#include "cuda/edge_mix.cuh"
#include "ops/edge_mix.h"

namespace kcircuits::cuda {
namespace {

template <typename T>
MixOperand<T> operand(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {elements<T>(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2),
          tensor.stride(3)};
}

template <typename T>
void launch_problem(const EdgeMixProblem& problem, const at::Tensor& out) {
  using Acc = Accumulate<T>;
  const at::Tensor mask = problem.mask.contiguous();
  const bool weighted = mask.scalar_type() != at::kBool;
  const EdgeMixCall<T> call = {
      .receivers = problem.receivers,
      .hypotheses = problem.hypotheses,
      .prompts = problem.prompts,
      .num_senders = problem.num_senders,
      .tokens = problem.tokens,
      .width = problem.width,
      .norm = problem.norm,
      .shared = problem.shared,
      .eps = static_cast<Acc>(problem.eps),
      .senders = operand<T>(problem.senders),
      .ablated = operand<T>(problem.ablated),
      .constant = operand<T>(problem.constant),
      .mask = weighted ? nullptr : elements<bool>(mask),
      .mask_weights = weighted ? elements<Acc>(mask) : nullptr,
      .weight = elements<Acc>(problem.weight),
      .bias = elements<Acc>(problem.bias),
      .weight_stride = problem.weight.defined() ? problem.weight.stride(0) : 0,
      .bias_stride = problem.bias.defined() ? problem.bias.stride(0) : 0,
      .out = mutable_elements<T>(out),
  };
  launch_edge_mix(call, current_stream(out));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor edge_mix(const at::Tensor& senders, const at::Tensor& mask,
                    const std::optional<at::Tensor>& ablated,
                    const std::optional<at::Tensor>& constant, std::string_view norm,
                    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& bias,
                    double eps, bool unit_offset) {
  const c10::cuda::CUDAGuard guard(senders.device());
  const EdgeMixProblem problem = make_edge_mix_problem(
      {senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset});
  TORCH_CHECK_VALUE(problem.num_senders < (int64_t{1} << 31), "senders has ", problem.num_senders,
                    " entries; at most 2^31 - 1 are supported");
  const at::Tensor out = problem.empty_output();
  if (out.numel() == 0) return out;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, senders.scalar_type(), "edge_mix",
                                  [&] { launch_problem<DeviceType<scalar_t>>(problem, out); });
  return out;
}

}  // namespace
}  // namespace kcircuits::cuda

TORCH_LIBRARY_IMPL(kcircuits, CUDA, library) {
  library.impl("edge_mix", &kcircuits::cuda::edge_mix);
}
