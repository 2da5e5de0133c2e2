#include "engine/project.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace kcircuits::engine {
namespace {

// x · wᵀ + b without autograd.
at::Tensor product(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  const at::Tensor wide = w.to(x.scalar_type());
  const auto bias = b ? std::optional(b->to(x.scalar_type())) : std::nullopt;
  if (!x.device().is_cpu()) return at::linear(x, wide, bias.value_or(at::Tensor()));
  auto sizes = x.sizes().vec();
  const int64_t k = sizes.back();
  sizes.back() = w.size(0);
  return cpu::linear(x.reshape({-1, k}), wide, bias).view(sizes);
}

// Weights are constants here, and all that is saved is a reference to them.
class Project : public torch::autograd::Function<Project> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& w, const std::optional<at::Tensor>& b) {
    context->save_for_backward({w});
    return product(x, w, b);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor w = context->get_saved_variables()[0];
    return {product(gradients[0], w.t(), std::nullopt), {}, {}};
  }
};

}  // namespace

at::Tensor project(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& b) {
  return at::GradMode::is_enabled() ? Project::apply(x, w, b) : product(x, w, b);
}

void project_into(const std::vector<Product>& products) {
  if (products.empty()) return;
  std::vector<Product> wide = products;
  for (Product& p : wide) {
    p.w = p.w.to(p.x.scalar_type());
    if (p.bias) p.bias = p.bias->to(p.x.scalar_type());
  }
  if (products[0].x.device().is_cpu()) return cpu::multiply(wide);
  for (const Product& p : wide) {
    at::Tensor out = p.out;
    out.copy_(at::linear(p.x, p.w, p.bias.value_or(at::Tensor())));
  }
}

}  // namespace kcircuits::engine
