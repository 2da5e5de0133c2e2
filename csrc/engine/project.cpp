#include "engine/project.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "cpu/gemm.h"

namespace kcircuits::engine {
namespace {

std::optional<at::Tensor> widened(const std::optional<at::Tensor>& bias, at::ScalarType dtype) {
  return bias ? std::optional(bias->to(dtype)) : std::nullopt;
}

// x · wᵀ + b without autograd.
at::Tensor product(const at::Tensor& x, const Weight& w, const std::optional<at::Tensor>& b) {
  const at::Tensor wide = w.widened(x.scalar_type());
  const auto bias = widened(b, x.scalar_type());
  if (!x.device().is_cpu()) return at::linear(x, wide, bias.value_or(at::Tensor()));
  auto sizes = x.sizes().vec();
  const int64_t k = sizes.back();
  sizes.back() = wide.size(0);
  return cpu::linear(x.reshape({-1, k}), wide, bias).view(sizes);
}

struct SavedWeight : torch::CustomClassHolder {
  explicit SavedWeight(Weight weight) : w(std::move(weight)) {}
  Weight w;
};

// Weights are constants here, and all that is saved is a reference to them.
class Project : public torch::autograd::Function<Project> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const Weight& w, const std::optional<at::Tensor>& b) {
    context->saved_data["w"] = c10::IValue::make_capsule(c10::make_intrusive<SavedWeight>(w));
    return product(x, w, b);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->saved_data.at("w").toCapsule();
    const Weight& w = static_cast<const SavedWeight&>(*saved).w;
    return {product(gradients[0], w.t(), std::nullopt), {}, {}};
  }
};

}  // namespace

at::Tensor project(const at::Tensor& x, const Weight& w, const std::optional<at::Tensor>& b) {
  return at::GradMode::is_enabled() ? Project::apply(x, w, b) : product(x, w, b);
}

void project_into(const std::vector<Product>& products) {
  if (products.empty()) return;
  std::vector<cpu::Product> wide;
  wide.reserve(products.size());
  for (const Product& p : products) {
    const at::ScalarType dtype = p.x.scalar_type();
    wide.push_back({p.x, p.w.widened(dtype), widened(p.bias, dtype), p.out});
  }
  if (products[0].x.device().is_cpu()) return cpu::multiply(wide);
  for (const cpu::Product& p : wide) {
    at::Tensor out = p.out;
    out.copy_(at::linear(p.x, p.w, p.bias.value_or(at::Tensor())));
  }
}

}  // namespace kcircuits::engine
