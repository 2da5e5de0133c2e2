#include "cpu/gemm.h"

#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

namespace kcircuits::cpu {
namespace {

using at::Tensor;

// torch's own fused linear of oneDNN; at::linear and at::mm go to the BLAS for float32 instead.
using OneDnnLinear = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&,
                            std::string_view, c10::List<std::optional<at::Scalar>>,
                            std::optional<std::string_view>);

std::optional<c10::TypedOperatorHandle<OneDnnLinear>> find_onednn() {
  auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  if (!schema || !schema->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  return schema->typed<OneDnnLinear>();
}

// The call into oneDNN costs several microseconds more than the one into the BLAS, and then runs
// twice as fast (AVX-512; 245 against 110 GFLOP/s per core). Measured over K = 64, 576,
// N = 16 … 4096, M = 1 … 512, the lines cross at this many multiply-adds; up to six rows cost the
// BLAS the same, and one row is a matrix-vector product, which it does better.
constexpr int64_t kOneDnnWork = 1'250'000;

bool prefers_onednn(const Tensor& x, const Tensor& w) {
  const int64_t rows = x.size(0);
  const bool transposed = w.stride(1) != 1;
  if (rows == 1 && transposed) return false;
  const int64_t charged = rows == 1 ? 2 : std::max<int64_t>(rows, 6);
  return charged * w.size(0) >= (kOneDnnWork + w.size(1) - 1) / w.size(1);
}

// oneDNN's fast kernels want w without gaps between its rows; for others it falls back to a
// reference loop that is a hundred times slower.
bool is_dense(const Tensor& w) { return w.is_contiguous() || w.t().is_contiguous(); }

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias) {
  static const auto onednn = find_onednn();
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (onednn && x.scalar_type() == at::kFloat && x.numel() > 0 && w.numel() > 0 &&
      at::globalContext().userEnabledMkldnn() && is_dense(w) && prefers_onednn(x, w)) {
    return onednn->call(x, w, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
  }
  return bias ? at::addmm(*bias, x, w.t()) : at::mm(x, w.t());
}

}  // namespace kcircuits::cpu
