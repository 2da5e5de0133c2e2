#include "cpu/gemm.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "cpu/gemm_block.h"

namespace kcircuits::cpu {
namespace {

using at::Tensor;

constexpr double kWorthThreads = 6'000;  // nanoseconds of work for which other threads are woken
constexpr double kTasksPerThread = 8;    // of several products, so that the last ends with the rest

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A product cut into rows * columns blocks.
struct Cut {
  int64_t rows = 1, columns = 1;
};

// Cutting rows saves packing them twice; cutting columns keeps the panels wide and reads w once:
// what is estimated to end first.
Cut best_cut(const Operands& p, int64_t parts) {
  Cut best;
  double least = block_cost(p, p.m, p.n);
  for (int64_t rows = 1; parts > 1 && rows <= std::min(parts, p.m); ++rows) {
    const Cut cut = {rows, std::min(parts / rows, p.n)};
    const double cost = block_cost(p, ceil_div(p.m, cut.rows), ceil_div(p.n, cut.columns));
    if (cost < least) {
      least = cost;
      best = cut;
    }
  }
  return best;
}

struct Task {
  const Operands* operands;
  Block block;
};

void append_tasks(std::vector<Task>& tasks, const Operands& p, const Cut& cut) {
  constexpr int64_t kUnit =
      16;  // rows and columns of whole vectors, where there are enough of them
  const auto border = [](int64_t size, int64_t parts, int64_t i) {
    const int64_t unit = size >= 2 * kUnit * parts ? kUnit : 1;
    return std::min(size, ceil_div(size, unit) * i / parts * unit);
  };
  for (int64_t i = 0; i < cut.rows; ++i) {
    for (int64_t j = 0; j < cut.columns; ++j) {
      tasks.push_back({&p,
                       {border(p.m, cut.rows, i), border(p.m, cut.rows, i + 1),
                        border(p.n, cut.columns, j), border(p.n, cut.columns, j + 1)}});
    }
  }
}

void run(const std::vector<Operands>& products) {
  double work = 0;
  for (const Operands& p : products) work += block_cost(p, p.m, p.n);
  const int64_t threads =
      work < kWorthThreads || at::in_parallel_region() ? 1 : at::get_num_threads();
  if (threads == 1) {
    for (const Operands& p : products) multiply_block(p, {0, p.m, 0, p.n});
    return;
  }
  std::vector<Task> tasks;
  for (const Operands& p : products) {
    const double share = block_cost(p, p.m, p.n) / work;
    const auto parts = static_cast<int64_t>(std::ceil(share * kTasksPerThread * threads));
    append_tasks(tasks, p, best_cut(p, std::min(parts, threads)));
  }
  std::atomic<size_t> next = 0;
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (size_t i; (i = next++) < tasks.size();) multiply_block(*tasks[i].operands, tasks[i].block);
  });
}

// A factor, and what its pointers point to.
struct OwnedFactor {
  Stored w;
  std::optional<Tensor> bias;

  OwnedFactor(const Weight& weight, const std::optional<Tensor>& b)
      : w(weight), bias(b ? std::optional(b->to(at::kFloat).contiguous()) : std::nullopt) {}

  Factor factor() const { return {&w, bias ? bias->const_data_ptr<float>() : nullptr}; }
};

bool along_rows(const Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1; }

Tensor with_dense_rows(const Tensor& x) { return along_rows(x) ? x : x.contiguous(); }

Operands operands_of(const Tensor& x, const OwnedFactor& w, const Tensor& out) {
  TORCH_INTERNAL_ASSERT(along_rows(x) && along_rows(out));
  return {.x = x.const_data_ptr<float>(),
          .ldx = x.stride(0),
          .factor = w.factor(),
          .gate = std::nullopt,
          .out = out.mutable_data_ptr<float>(),
          .ld_out = out.stride(0),
          .m = x.size(0),
          .n = w.w.rows(),
          .k = x.size(1)};
}

void multiply_by_library(const Product& p) {
  Tensor out = p.out;
  const at::ScalarType dtype = p.x.scalar_type();
  const Tensor w = p.w.widened(dtype);
  if (p.bias) {
    at::addmm_out(out, p.bias->to(dtype), p.x, w.t());
  } else {
    at::mm_out(out, p.x, w.t());
  }
}

}  // namespace

void multiply(const std::vector<Product>& products) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  std::vector<std::pair<Tensor, OwnedFactor>> owners;  // of what the operands point to
  std::vector<Operands> operands;
  owners.reserve(products.size());
  operands.reserve(products.size());
  for (const Product& product : products) {
    if (product.out.numel() == 0) continue;
    if (product.x.scalar_type() != at::kFloat || product.x.size(1) == 0 ||
        !Stored::takes(product.w)) {
      multiply_by_library(product);
      continue;
    }
    const auto& [x, w] =
        owners.emplace_back(with_dense_rows(product.x), OwnedFactor(product.w, product.bias));
    operands.push_back(operands_of(x, w, product.out));
  }
  run(operands);
}

Tensor linear(const Tensor& x, const Weight& w, const std::optional<Tensor>& bias) {
  const Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  multiply({{x, w, bias, out}});
  return out;
}

std::optional<Tensor> gated_linear(const Tensor& x, const Weight& w,
                                   const std::optional<Tensor>& bias, const Weight& w_gate,
                                   const std::optional<Tensor>& bias_gate, Activation activation) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (x.scalar_type() != at::kFloat || x.size(1) == 0 || !Stored::takes(w) ||
      !Stored::takes(w_gate)) {
    return std::nullopt;
  }
  const OwnedFactor factor(w, bias), gate(w_gate, bias_gate);
  if (factor.w.by_columns() != gate.w.by_columns()) return std::nullopt;
  const Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  if (out.numel() == 0) return out;
  const Tensor rows = with_dense_rows(x);
  Operands operands = operands_of(rows, factor, out);
  operands.gate = {gate.factor(), activation};
  run({operands});
  return out;
}

}  // namespace kcircuits::cpu
