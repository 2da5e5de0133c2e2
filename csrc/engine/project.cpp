#include "engine/project.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "engine/work.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

// Matrices, anywhere.
void run(const std::vector<Product>& products) {
  const profile::Scope scope(profile::Op::kProducts);
  for (const Product& p : products) add_product(p.x, p.w);
  if (products[0].x.device().is_cpu()) return cpu::multiply(products);
  for (const Product& p : products) {
    const at::ScalarType dtype = p.x.scalar_type();
    const at::Tensor bias = p.bias ? p.bias->to(dtype) : at::Tensor();
    at::Tensor out = p.out;
    out.copy_(at::linear(p.x, p.w.widened(dtype), bias));
  }
}

// x · wᵀ + b without autograd.
at::Tensor product(const at::Tensor& x, const Weight& w, const std::optional<at::Tensor>& b) {
  auto sizes = x.sizes().vec();
  const int64_t k = sizes.back();
  sizes.back() = w.size(0);
  const at::Tensor out = at::empty(sizes, x.options());
  run({{x.reshape({-1, k}), w, b, out.view({-1, sizes.back()})}});
  return out;
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
  if (!products.empty()) run(products);
}

std::optional<at::Tensor> project_gated(const at::Tensor& x, const Mlp& mlp) {
  if (at::GradMode::is_enabled() || !x.device().is_cpu() || !mlp.w_gate || mlp.limit > 0 ||
      mlp.up_offset != 0) {
    return std::nullopt;
  }
  const profile::Scope scope(profile::Op::kProducts);
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  const auto hidden =
      cpu::gated_linear(rows, mlp.w_up, mlp.b_up, *mlp.w_gate, mlp.b_gate, mlp.activation);
  if (!hidden) return std::nullopt;
  add_product(rows, mlp.w_up);
  add_product(rows, *mlp.w_gate);
  auto sizes = x.sizes().vec();
  sizes.back() = mlp.w_up.size(0);
  return hidden->view(sizes);
}

}  // namespace kcircuits::engine
