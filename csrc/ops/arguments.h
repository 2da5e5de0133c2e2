// Checks and shapes that the ops' argument files share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "norm_kind.h"

namespace kcircuits {

NormKind parse_norm(std::string_view name);

// The dtypes that ops compute in: float32, float64, bfloat16, float16.
void check_dtype(const char* name, const at::Tensor& tensor);

// `tensor` lives where `reference` does.
void check_device(const char* name, const at::Tensor& tensor, const char* reference_name,
                  const at::Tensor& reference);

void check_same_dtype(const char* name, const at::Tensor& tensor, const char* reference_name,
                      const at::Tensor& reference);

void check_eps(double eps);

// float64 for float64, float32 for everything else.
at::ScalarType accumulate_dtype(const at::Tensor& tensor);

// A view whose last dimension is exactly `width` adjacent elements; copies only where it must.
at::Tensor as_rows(const at::Tensor& tensor, int64_t width);

}  // namespace kcircuits
