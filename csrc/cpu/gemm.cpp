#include "cpu/gemm.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "cpu/gemm_block.h"

namespace kcircuits::cpu {
namespace {

using at::Tensor;

// Waking the other threads costs a few microseconds; below this a product runs on its caller.
constexpr double kWorthThreads = 6'000;  // nanoseconds, see block_cost

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Contiguous along K where neither dimension is.
Tensor along_k(const Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1 ? x : x.contiguous(); }

// A product cut into row_parts by column_parts blocks.
struct Cut {
  int64_t row_parts, column_parts;
};

// Cutting rows saves packing them twice, cutting columns keeps the panels wide and reads the
// weights once: take what is estimated to end first.
Cut best_cut(const Product& p, int64_t parts) {
  Cut best{1, 1};
  double least = block_cost(p, p.m, p.n);
  if (parts <= 1 || least < kWorthThreads) return best;
  for (int64_t rows = 1; rows <= std::min(parts, p.m); ++rows) {
    const int64_t columns = std::min(parts / rows, p.n);
    const double cost = block_cost(p, ceil_div(p.m, rows), ceil_div(p.n, columns));
    if (cost < least) {
      least = cost;
      best = {rows, columns};
    }
  }
  return best;
}

// Piece `index` of [0, size) in `parts` pieces whose borders are multiples of unit.
std::pair<int64_t, int64_t> piece(int64_t size, int64_t parts, int64_t index, int64_t unit) {
  const int64_t units = ceil_div(size, unit);
  return {std::min(size, units * index / parts * unit),
          std::min(size, units * (index + 1) / parts * unit)};
}

Block block_of(const Product& p, const Cut& cut, int64_t index) {
  constexpr int64_t kRowUnit = 16;
  constexpr int64_t kColumnUnit = 16;
  const auto [m0, m1] = piece(p.m, cut.row_parts, index / cut.column_parts,
                              p.m >= 2 * kRowUnit * cut.row_parts ? kRowUnit : 1);
  const auto [n0, n1] = piece(p.n, cut.column_parts, index % cut.column_parts,
                              p.n >= 2 * kColumnUnit * cut.column_parts ? kColumnUnit : 1);
  return {m0, m1, n0, n1};
}

void multiply(const Product& p) {
  if (p.m == 0 || p.n == 0) return;
  const Cut cut = best_cut(p, at::in_parallel_region() ? 1 : at::get_num_threads());
  const int64_t parts = cut.row_parts * cut.column_parts;
  if (parts == 1) return multiply_block(p, {0, p.m, 0, p.n});
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) multiply_block(p, block_of(p, cut, i));
  });
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (x.scalar_type() != at::kFloat || x.size(1) == 0) {
    return bias ? at::addmm(*bias, x, w.t()) : at::mm(x, w.t());
  }
  const bool by_columns = w.stride(0) == 1 && w.stride(1) != 1;
  const Tensor rows = along_k(x);
  const Tensor weight = by_columns ? w : along_k(w);
  const std::optional<Tensor> shift = bias ? std::optional(bias->contiguous()) : std::nullopt;
  Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  multiply({.x = rows.const_data_ptr<float>(),
            .x_stride = rows.stride(0),
            .w = weight.const_data_ptr<float>(),
            .w_stride = weight.stride(by_columns ? 1 : 0),
            .w_by_columns = by_columns,
            .bias = shift ? shift->const_data_ptr<float>() : nullptr,
            .out = out.mutable_data_ptr<float>(),
            .out_stride = out.size(1),
            .m = x.size(0),
            .n = w.size(0),
            .k = x.size(1)});
  return out;
}

}  // namespace kcircuits::cpu
