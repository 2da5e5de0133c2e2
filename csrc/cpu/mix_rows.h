// Tensors of an EdgeMixProblem as the kernels read them.
#pragma once

#include <ATen/core/Tensor.h>

#include "cpu/simd.h"
#include "ops/edge_mix.h"

namespace kcircuits::cpu {

// A tensor of rows: a pointer and strides in elements. Null where the tensor is undefined.
template <typename T>
struct MixRows {
  const T* data = nullptr;
  int64_t outer = 0, hypothesis = 0, prompt = 0, token = 0;

  explicit MixRows(const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    data = tensor.const_data_ptr<T>();
    outer = tensor.stride(0);
    hypothesis = tensor.stride(1);
    prompt = tensor.stride(2);
    token = tensor.stride(3);
  }
  const T* at(int64_t o, int64_t m, int64_t p, int64_t t) const {
    return data + o * outer + m * hypothesis + p * prompt + t * token;
  }
};

// The norm that finishes a receiver's row.
template <typename T>
class MixNorm {
 public:
  using Acc = Accumulate<T>;

  explicit MixNorm(const EdgeMixProblem& problem)
      : ops_(rows().of<T>()),
        kind_(problem.norm),
        eps_(static_cast<Acc>(problem.eps)),
        width_(problem.width),
        weight_(problem.weight.defined() ? problem.weight.const_data_ptr<Acc>() : nullptr),
        bias_(problem.bias.defined() ? problem.bias.const_data_ptr<Acc>() : nullptr),
        weight_stride_(problem.weight.defined() ? problem.weight.stride(0) : 0),
        bias_stride_(problem.bias.defined() ? problem.bias.stride(0) : 0) {}

  void operator()(T* out, const Acc* sum, int64_t receiver) const {
    ops_.normalize(out, sum, kind_,
                   weight_ == nullptr ? nullptr : weight_ + receiver * weight_stride_,
                   bias_ == nullptr ? nullptr : bias_ + receiver * bias_stride_, eps_, width_);
  }

 private:
  const RowOps<T>& ops_;
  NormKind kind_;
  Acc eps_;
  int64_t width_;
  const Acc* weight_;
  const Acc* bias_;
  int64_t weight_stride_, bias_stride_;
};

}  // namespace kcircuits::cpu
