// The gradient of edge_mix, for every backend: mixing is linear, so its gradient is again a mix,
// with the mask transposed.
#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/arguments.h"
#include "ops/calls.h"

namespace kcircuits {
namespace {

using at::Tensor;
using MaybeTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Saved {
  Tensor senders, mask, ablated, constant, weight, bias;  // undefined where not given
  std::string norm;
  double eps;
  bool unit_offset;

  at::ScalarType dtype() const { return accumulate_dtype(senders); }
  bool shared() const { return senders.dim() == 4; }
  Tensor masks() const { return mask.dim() == 3 ? mask : mask.unsqueeze(1); }  // [R, M, S]
};

MaybeTensor maybe(const Tensor& tensor) {
  return tensor.defined() ? MaybeTensor(tensor) : std::nullopt;
}

// [D] or [R, D] -> broadcasts against [R, N, T, D].
Tensor per_receiver(const Tensor& parameter) {
  return parameter.dim() == 2 ? parameter.unsqueeze(1).unsqueeze(1) : parameter;
}

// Sums a gradient [R, N, T, D] to a parameter's shape.
Tensor to_parameter(const Tensor& grad, const Tensor& parameter) {
  const Tensor sums = grad.sum(at::IntArrayRef{1, 2});  // [R, D]
  return (parameter.dim() == 2 ? sums : sums.sum(0)).to(parameter.scalar_type());
}

struct NormGradients {
  Tensor input, weight, bias;
};

// Through y = x̂ · weight + bias, x̂ = (x - mean) / deviation. grad and input: [R, N, T, D].
NormGradients norm_backward(const Saved& saved, const Tensor& grad) {
  if (saved.norm == "none") return {grad, {}, {}};
  const Tensor x = edge_mix(saved.senders, saved.mask, maybe(saved.ablated), maybe(saved.constant),
                            "none", {}, {}, saved.eps)
                       .to(saved.dtype());
  const bool centred = saved.norm == "layernorm";
  const Tensor centre = centred ? x - x.mean(-1, /*keepdim=*/true) : x;
  const Tensor scale = at::rsqrt(centre.square().mean(-1, /*keepdim=*/true) + saved.eps);
  const Tensor normed = centre * scale;
  NormGradients out;
  Tensor inner = grad;
  if (saved.weight.defined()) {
    out.weight = to_parameter(grad * normed, saved.weight);
    const Tensor weight = per_receiver(saved.weight.to(saved.dtype()));
    inner = grad * (saved.unit_offset ? weight + 1 : weight);
  }
  if (saved.bias.defined()) out.bias = to_parameter(grad, saved.bias);
  const Tensor along = (inner * normed).mean(-1, /*keepdim=*/true);
  out.input = inner - normed * along;
  if (centred) out.input = out.input - inner.mean(-1, /*keepdim=*/true);
  out.input = out.input * scale;
  return out;
}

// Gradient of the terms Σ_s weights[r, m, s] · source[s], in the shape of the senders.
Tensor source_gradient(const Saved& saved, const Tensor& weights, const Tensor& grad) {
  const Tensor by_hypothesis = grad.unflatten_symint(
      1, {weights.sym_size(1), saved.senders.sym_size(-3)});  // [R, M, P, T, D]
  if (saved.shared()) {
    return edge_mix(by_hypothesis.flatten(0, 1), weights.flatten(0, 1).t(), {}, {}, "none", {}, {},
                    0.0);
  }
  return edge_mix(by_hypothesis, weights.permute({2, 1, 0}), {}, {}, "none", {}, {}, 0.0)
      .unflatten_symint(1, {weights.sym_size(1), saved.senders.sym_size(-3)});
}

Tensor ablated_gradient(const Saved& saved, const Tensor& grad) {
  const Tensor masks = saved.masks();
  const Tensor absent = masks.scalar_type() == at::kBool ? masks.logical_not() : 1 - masks;
  Tensor full = source_gradient(saved, absent, grad);
  if (saved.ablated.dim() < full.dim()) full = full.sum(1);
  return at::sum_to(full, saved.ablated.sym_sizes());
}

// [R, M, S] in the mask's shape: every receiver's gradient along every sender's difference.
Tensor mask_gradient(const Saved& saved, const Tensor& grad) {
  const auto dtype = saved.dtype();
  Tensor difference = saved.senders.to(dtype);
  if (saved.ablated.defined()) {
    const Tensor ablated = saved.ablated.to(dtype);
    difference = difference - (ablated.dim() < difference.dim() ? ablated.unsqueeze(1) : ablated);
  }
  const Tensor by_hypothesis =
      grad.to(dtype).unflatten_symint(1, {saved.masks().sym_size(1), saved.senders.sym_size(-3)});
  Tensor out;
  if (saved.shared()) {
    out = at::matmul(by_hypothesis.flatten(2), difference.flatten(1).t());  // [R, M, S]
  } else {
    out = at::matmul(by_hypothesis.flatten(2).transpose(0, 1),
                     difference.flatten(2).permute({1, 2, 0}))
              .transpose(0, 1);  // [M, R, S] before
  }
  return (saved.mask.dim() == 3 ? out : out.squeeze(1)).to(saved.mask.scalar_type());
}

class EdgeMixFunction : public torch::autograd::Function<EdgeMixFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& senders, const Tensor& mask,
                        const MaybeTensor& ablated, const MaybeTensor& constant,
                        const std::string& norm, const MaybeTensor& weight, const MaybeTensor& bias,
                        double eps, bool unit_offset) {
    context->save_for_backward({senders, mask, ablated.value_or(Tensor()),
                                constant.value_or(Tensor()), weight.value_or(Tensor()),
                                bias.value_or(Tensor())});
    context->saved_data["norm"] = norm;
    context->saved_data["eps"] = eps;
    context->saved_data["unit_offset"] = unit_offset;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    return edge_mix(senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list tensors = context->get_saved_variables();
    const Saved saved = {tensors[0],
                         tensors[1],
                         tensors[2],
                         tensors[3],
                         tensors[4],
                         tensors[5],
                         context->saved_data["norm"].toStringRef(),
                         context->saved_data["eps"].toDouble(),
                         context->saved_data["unit_offset"].toBool()};
    const auto [input, weight, bias] = norm_backward(saved, grads[0].to(saved.dtype()));
    const Tensor narrow = input.to(saved.senders.scalar_type());
    variable_list out(9);
    if (context->needs_input_grad(0)) out[0] = source_gradient(saved, saved.masks(), narrow);
    if (saved.mask.is_floating_point() && context->needs_input_grad(1)) {
      out[1] = mask_gradient(saved, input);
    }
    if (saved.ablated.defined()) out[2] = ablated_gradient(saved, narrow);
    if (saved.constant.defined()) out[3] = at::sum_to(narrow, saved.constant.sym_sizes());
    out[5] = weight;
    out[6] = bias;
    return out;
  }
};

bool needs_grad(const MaybeTensor& tensor) { return tensor.has_value() && tensor->requires_grad(); }

Tensor edge_mix_autograd(const Tensor& senders, const Tensor& mask, const MaybeTensor& ablated,
                         const MaybeTensor& constant, std::string_view norm,
                         const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                         bool unit_offset) {
  if (at::GradMode::is_enabled() &&
      (senders.requires_grad() || mask.requires_grad() || needs_grad(ablated) ||
       needs_grad(constant) || needs_grad(weight) || needs_grad(bias))) {
    return EdgeMixFunction::apply(senders, mask, ablated, constant, std::string(norm), weight, bias,
                                  eps, unit_offset);
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return edge_mix(senders, mask, ablated, constant, norm, weight, bias, eps, unit_offset);
}

}  // namespace
}  // namespace kcircuits

TORCH_LIBRARY_IMPL(kcircuits, Autograd, library) {
  library.impl("edge_mix", &kcircuits::edge_mix_autograd);
}
