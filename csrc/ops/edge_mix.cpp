#include "ops/edge_mix.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "ops/arguments.h"

namespace kcircuits {
namespace {

void check_broadcasts(const char* name, const at::Tensor& tensor, c10::SymIntArrayRef full) {
  for (size_t dim = 0; dim < full.size(); ++dim) {
    const auto size = tensor.sym_size(static_cast<int64_t>(dim));
    TORCH_CHECK_VALUE(size == full[dim] || size == 1, name, " of shape ", tensor.sym_sizes(),
                      " does not broadcast to ", full);
  }
}

void check_norm_parameter(const char* name, const at::Tensor& parameter, const EdgeMixShape& shape,
                          const at::Tensor& senders) {
  check_device(name, parameter, "senders", senders);
  TORCH_CHECK_VALUE(shape.norm != NormKind::kNone, name, " is given but norm is 'none'");
  TORCH_CHECK_VALUE(parameter.is_floating_point(), name, " must be floating, got ",
                    parameter.scalar_type());
  const int64_t dims = parameter.dim();
  TORCH_CHECK_VALUE((dims == 1 && parameter.sym_size(0) == shape.width) ||
                        (dims == 2 && parameter.sym_size(0) == shape.receivers &&
                         parameter.sym_size(1) == shape.width),
                    name, " must be [", shape.width, "] or [", shape.receivers, ", ", shape.width,
                    "], got ", parameter.sym_sizes());
}

void check_senders_and_mask(const at::Tensor& senders, const at::Tensor& mask) {
  check_dtype("senders", senders);
  TORCH_CHECK_VALUE(senders.dim() == 4 || senders.dim() == 5,
                    "senders must be [S, P, T, D] or [S, M, P, T, D], got ", senders.sym_sizes());
  TORCH_CHECK_VALUE(mask.scalar_type() == at::kBool || mask.is_floating_point(),
                    "mask must be bool or floating, got ", mask.scalar_type());
  TORCH_CHECK_VALUE(mask.dim() == 2 || mask.dim() == 3, "mask must be [R, S] or [R, M, S], got ",
                    mask.sym_sizes());
  check_device("mask", mask, "senders", senders);
  TORCH_CHECK_VALUE(mask.sym_size(-1) == senders.sym_size(0), "mask has ", mask.sym_size(-1),
                    " senders in its last dimension but senders has ", senders.sym_size(0));
  if (senders.dim() == 5) {
    TORCH_CHECK_VALUE(mask.dim() == 3, "mask must be [R, M, S] where senders are [S, M, P, T, D], ",
                      "got ", mask.sym_sizes());
    TORCH_CHECK_VALUE(mask.sym_size(1) == senders.sym_size(1), "mask has ", mask.sym_size(1),
                      " hypotheses but senders has ", senders.sym_size(1));
  }
}

at::Tensor norm_parameter(const std::optional<at::Tensor>& parameter, int64_t receivers,
                          at::ScalarType dtype, bool add_one) {
  if (!parameter.has_value()) return {};
  const at::Tensor values = parameter->to(dtype);
  return as_rows(add_one ? values + 1 : values, values.size(-1)).expand({receivers, -1});
}

at::Tensor edge_mix_meta(const at::Tensor& senders, const at::Tensor& mask,
                         const std::optional<at::Tensor>& ablated,
                         const std::optional<at::Tensor>& constant, std::string_view norm,
                         const std::optional<at::Tensor>& weight,
                         const std::optional<at::Tensor>& bias, double eps, bool unit_offset) {
  const EdgeMixShape shape =
      check_edge_mix({senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset});
  return at::empty_symint(
      {shape.receivers, shape.hypotheses * shape.prompts, shape.tokens, shape.width},
      senders.options());
}

}  // namespace

EdgeMixShape check_edge_mix(const EdgeMixArguments& arguments) {
  const auto& [senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset] = arguments;
  check_senders_and_mask(senders, mask);
  const EdgeMixShape shape = {
      .receivers = mask.sym_size(0),
      .hypotheses = mask.dim() == 3 ? mask.sym_size(1) : c10::SymInt(1),
      .prompts = senders.sym_size(-3),
      .senders = senders.sym_size(0),
      .tokens = senders.sym_size(-2),
      .width = senders.sym_size(-1),
      .norm = parse_norm(norm),
      .shared = senders.dim() == 4,
  };
  if (ablated.has_value()) {
    check_device("ablated", *ablated, "senders", senders);
    check_same_dtype("ablated", *ablated, "senders", senders);
    TORCH_CHECK_VALUE(ablated->dim() == 4 || (ablated->dim() == 5 && !shape.shared),
                      "ablated must be [S, P, T, D]", shape.shared ? "" : " or [S, M, P, T, D]",
                      " (sizes of 1 broadcast), got ", ablated->sym_sizes());
    auto full = senders.sym_sizes().vec();
    if (ablated->dim() < senders.dim()) full.erase(full.begin() + 1);
    check_broadcasts("ablated", *ablated, full);
  }
  if (constant.has_value()) {
    check_device("constant", *constant, "senders", senders);
    check_same_dtype("constant", *constant, "senders", senders);
    TORCH_CHECK_VALUE(constant->dim() == 4,
                      "constant must be [R, N, T, D] (sizes of 1 broadcast), got ",
                      constant->sym_sizes());
    check_broadcasts(
        "constant", *constant,
        {shape.receivers, shape.hypotheses * shape.prompts, shape.tokens, shape.width});
  }
  if (weight.has_value()) check_norm_parameter("weight", *weight, shape, senders);
  if (bias.has_value()) check_norm_parameter("bias", *bias, shape, senders);
  TORCH_CHECK_VALUE(!unit_offset || weight.has_value(), "unit_offset is True but weight is None");
  check_eps(eps);
  return shape;
}

EdgeMixProblem make_edge_mix_problem(const EdgeMixArguments& arguments) {
  const EdgeMixShape shape = check_edge_mix(arguments);
  EdgeMixProblem problem = {
      .receivers = shape.receivers.expect_int(),
      .hypotheses = shape.hypotheses.expect_int(),
      .prompts = shape.prompts.expect_int(),
      .num_senders = shape.senders.expect_int(),
      .tokens = shape.tokens.expect_int(),
      .width = shape.width.expect_int(),
      .norm = shape.norm,
      .shared = shape.shared,
      .eps = arguments.eps,
      .senders = as_rows(arguments.senders, shape.width.expect_int()),
      .mask = arguments.mask,
      .ablated = {},
      .constant = {},
      .weight = {},
      .bias = {},
  };
  const auto dtype = accumulate_dtype(arguments.senders);
  const int64_t hypotheses = problem.hypotheses;
  const std::vector<int64_t> full = {problem.num_senders, hypotheses, problem.prompts,
                                     problem.tokens, problem.width};
  const auto with_hypotheses = [&](const at::Tensor& tensor) {
    return (tensor.dim() == 4 ? tensor.unsqueeze(1) : tensor).expand(full);
  };
  problem.senders = with_hypotheses(problem.senders);
  if (problem.mask.dim() == 2) problem.mask = problem.mask.unsqueeze(1);
  if (problem.mask.scalar_type() != at::kBool) problem.mask = problem.mask.to(dtype);
  if (arguments.ablated.has_value()) {
    problem.ablated = with_hypotheses(as_rows(*arguments.ablated, problem.width));
  }
  if (arguments.constant.has_value()) {
    const at::Tensor rows = as_rows(*arguments.constant, problem.width);
    const bool one = rows.size(1) == 1;
    problem.constant = rows.unflatten(1, {one ? 1 : hypotheses, one ? 1 : problem.prompts})
                           .expand({problem.receivers, hypotheses, problem.prompts, problem.tokens,
                                    problem.width});
  }
  problem.weight =
      norm_parameter(arguments.weight, problem.receivers, dtype, arguments.unit_offset);
  problem.bias = norm_parameter(arguments.bias, problem.receivers, dtype, false);
  return problem;
}

at::Tensor EdgeMixProblem::empty_output() const {
  return at::empty({receivers, hypotheses * prompts, tokens, width}, senders.options());
}

}  // namespace kcircuits

TORCH_LIBRARY_IMPL(kcircuits, Meta, library) {
  library.impl("edge_mix", &kcircuits::edge_mix_meta);
}
