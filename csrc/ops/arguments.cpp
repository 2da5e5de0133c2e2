#include "ops/arguments.h"

#include <ATen/ATen.h>

#include <cmath>

namespace kcircuits {

NormKind parse_norm(std::string_view name) {
  if (name == "none") return NormKind::kNone;
  if (name == "layernorm") return NormKind::kLayerNorm;
  if (name == "rmsnorm") return NormKind::kRmsNorm;
  TORCH_CHECK_VALUE(false, "norm must be 'none', 'layernorm' or 'rmsnorm', got '", name, "'");
}

void check_dtype(const char* name, const at::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  TORCH_CHECK_VALUE(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || dtype == at::kHalf,
      name, " must be float32, float64, bfloat16 or float16, got ", dtype);
}

void check_device(const char* name, const at::Tensor& tensor, const char* reference_name,
                  const at::Tensor& reference) {
  TORCH_CHECK_VALUE(tensor.device() == reference.device(), name, " is on ", tensor.device(),
                    " but ", reference_name, " is on ", reference.device());
}

void check_same_dtype(const char* name, const at::Tensor& tensor, const char* reference_name,
                      const at::Tensor& reference) {
  TORCH_CHECK_VALUE(tensor.scalar_type() == reference.scalar_type(), name, " is ",
                    tensor.scalar_type(), " but ", reference_name, " is ", reference.scalar_type());
}

void check_eps(double eps) {
  TORCH_CHECK_VALUE(std::isfinite(eps) && eps >= 0, "eps must be finite and >= 0, got ", eps);
}

at::ScalarType accumulate_dtype(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor as_rows(const at::Tensor& tensor, int64_t width) {
  if (tensor.size(-1) == width && (width <= 1 || tensor.stride(-1) == 1)) return tensor;
  auto sizes = tensor.sizes().vec();
  sizes.back() = width;
  return tensor.expand(sizes).contiguous();
}

}  // namespace kcircuits
