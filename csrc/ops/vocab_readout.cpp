#include "ops/vocab_readout.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <cmath>

#include "ops/arguments.h"

namespace kcircuits {
namespace {

void check_vector(const char* name, const std::optional<at::Tensor>& vector, const char* size_name,
                  const c10::SymInt& size, const at::Tensor& rows) {
  if (!vector.has_value()) return;
  check_device(name, *vector, "rows", rows);
  TORCH_CHECK_VALUE(vector->is_floating_point(), name, " must be floating, got ",
                    vector->scalar_type());
  TORCH_CHECK_VALUE(vector->dim() == 1 && vector->sym_size(0) == size, name, " must be [",
                    size_name, "] = [", size, "], got ", vector->sym_sizes());
}

void check_targets(const at::Tensor& targets, const at::Tensor& rows) {
  check_device("targets", targets, "rows", rows);
  TORCH_CHECK_VALUE(targets.scalar_type() == at::kLong, "targets must be int64, got ",
                    targets.scalar_type());
  TORCH_CHECK_VALUE(
      (targets.dim() == 1 || targets.dim() == 2) && targets.sym_size(0) == rows.sym_size(0),
      "targets must be [N] or [N, K] with N = ", rows.sym_size(0), ", got ", targets.sym_sizes());
}

// Only on the CPU: elsewhere it would synchronise; the CUDA kernel reports a bad id itself.
void check_target_values(const at::Tensor& targets, int64_t vocabulary) {
  if (targets.numel() == 0 || !targets.is_cpu()) return;
  const at::Tensor bad = targets.lt(0).logical_or_(targets.ge(vocabulary));
  if (!bad.any().item<bool>()) return;
  const int64_t first = bad.flatten().nonzero()[0].item<int64_t>();
  TORCH_CHECK_VALUE(false, "targets must be ids in [0, ", vocabulary, "), got ",
                    targets.flatten()[first].item<int64_t>(), " for row ", first / targets.size(1));
}

VocabReadout vocab_readout_meta(
    const at::Tensor& rows, const at::Tensor& unembedding, const std::optional<at::Tensor>& targets,
    const std::optional<at::Tensor>& bias, int64_t topk, double soft_cap, std::string_view norm,
    const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& norm_bias, double eps,
    bool unit_offset, const std::optional<at::Tensor>& scale, bool rank_range) {
  const VocabReadoutArguments arguments = {rows,        unembedding, targets,   bias,      topk,
                                           soft_cap,    norm,        weight,    norm_bias, eps,
                                           unit_offset, scale,       rank_range};
  return empty_vocab_readout(check_vocab_readout(arguments), arguments);
}

}  // namespace

VocabReadoutShape check_vocab_readout(const VocabReadoutArguments& arguments) {
  const at::Tensor& rows = arguments.rows;
  const at::Tensor& unembedding = arguments.unembedding;
  check_dtype("rows", rows);
  TORCH_CHECK_VALUE(rows.dim() == 2, "rows must be [N, D], got ", rows.sym_sizes());
  check_device("unembedding", unembedding, "rows", rows);
  check_dtype("unembedding", unembedding);
  if (unembedding.scalar_type() == at::kDouble || rows.scalar_type() != at::kFloat) {
    check_same_dtype("unembedding", unembedding, "rows", rows);
  }
  TORCH_CHECK_VALUE(unembedding.dim() == 2 && unembedding.sym_size(1) == rows.sym_size(1),
                    "unembedding must be [V, D] with D = ", rows.sym_size(1), ", got ",
                    unembedding.sym_sizes());
  VocabReadoutShape shape = {
      .rows = rows.sym_size(0),
      .vocabulary = unembedding.sym_size(0),
      .width = rows.sym_size(1),
      .targets = {rows.sym_size(0), 0},
      .norm = parse_norm(arguments.norm),
  };
  if (arguments.targets.has_value()) {
    check_targets(*arguments.targets, rows);
    shape.targets = arguments.targets->sym_sizes().vec();
  }
  TORCH_CHECK_VALUE(arguments.topk >= 0 && shape.vocabulary >= arguments.topk,
                    "topk must be between 0 and the vocabulary's size ", shape.vocabulary, ", got ",
                    arguments.topk);
  TORCH_CHECK_VALUE(std::isfinite(arguments.soft_cap) && arguments.soft_cap >= 0,
                    "soft_cap must be finite and >= 0 (0 is off), got ", arguments.soft_cap);
  check_vector("bias", arguments.bias, "V", shape.vocabulary, rows);
  check_vector("weight", arguments.weight, "D", shape.width, rows);
  check_vector("norm_bias", arguments.norm_bias, "D", shape.width, rows);
  check_vector("scale", arguments.scale, "N", shape.rows, rows);
  if (shape.norm == NormKind::kNone) {
    const char* given = arguments.weight.has_value()      ? "weight"
                        : arguments.norm_bias.has_value() ? "norm_bias"
                        : arguments.scale.has_value()     ? "scale"
                                                          : nullptr;
    TORCH_CHECK_VALUE(given == nullptr, given, " is given but norm is 'none'");
  }
  TORCH_CHECK_VALUE(!arguments.unit_offset || arguments.weight.has_value(),
                    "unit_offset is True but weight is None");
  check_eps(arguments.eps);
  return shape;
}

VocabReadout empty_vocab_readout(const VocabReadoutShape& shape,
                                 const VocabReadoutArguments& arguments) {
  const auto values = arguments.rows.options().dtype(accumulate_dtype(arguments.rows));
  const auto ids = values.dtype(at::kLong);
  auto ranks = shape.targets;
  if (arguments.rank_range) ranks.emplace_back(2);
  return {at::empty_symint(shape.targets, values), at::empty_symint(ranks, ids),
          at::empty_symint({shape.rows}, values.dtype(at::kDouble)),
          at::empty_symint({shape.rows, arguments.topk}, values),
          at::empty_symint({shape.rows, arguments.topk}, ids)};
}

VocabReadoutProblem make_vocab_readout_problem(const VocabReadoutArguments& arguments) {
  const VocabReadoutShape shape = check_vocab_readout(arguments);
  const auto dtype = accumulate_dtype(arguments.rows);
  const auto dense = [dtype](const std::optional<at::Tensor>& tensor) {
    return tensor.has_value() ? tensor->to(dtype).contiguous() : at::Tensor();
  };
  VocabReadoutProblem problem = {
      .rows = shape.rows.expect_int(),
      .vocabulary = shape.vocabulary.expect_int(),
      .width = shape.width.expect_int(),
      .targets_per_row = 0,
      .topk = arguments.topk,
      .rank_range = arguments.rank_range,
      .soft_cap = arguments.soft_cap,
      .norm = shape.norm,
      .eps = arguments.eps,
      .accumulate = dtype,
      .hidden = as_rows(arguments.rows, shape.width.expect_int()),
      .unembedding = as_rows(arguments.unembedding, shape.width.expect_int()),
      .targets = {},
      .bias = dense(arguments.bias),
      .weight = dense(arguments.weight),
      .norm_bias = dense(arguments.norm_bias),
      .scale = dense(arguments.scale),
  };
  if (arguments.unit_offset) problem.weight = problem.weight + 1;
  if (arguments.targets.has_value()) {
    const at::Tensor& targets = *arguments.targets;
    problem.targets = (targets.dim() == 1 ? targets.unsqueeze(1) : targets).contiguous();
    problem.targets_per_row = problem.targets.size(1);
    check_target_values(problem.targets, problem.vocabulary);
  }
  return problem;
}

}  // namespace kcircuits

TORCH_LIBRARY_IMPL(kcircuits, Meta, library) {
  library.impl("vocab_readout", &kcircuits::vocab_readout_meta);
}

// A readout is measured, not trained through: asking for its gradient is an error, not a zero.
TORCH_LIBRARY_IMPL(kcircuits, Autograd, library) {
  library.impl("vocab_readout", torch::autograd::autogradNotImplementedFallback());
}
