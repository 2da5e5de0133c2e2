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

bool along_rows(const Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1; }

// A product's tensors in layouts that the kernel takes, and their pointers.
struct Prepared {
  Tensor x, w;
  std::optional<Tensor> bias;

  explicit Prepared(const Product& p)
      : x(along_rows(p.x) ? p.x : p.x.contiguous()),
        w(along_rows(p.w) || p.w.stride(0) == 1 ? p.w : p.w.contiguous()),
        bias(p.bias ? std::optional(p.bias->contiguous()) : std::nullopt) {}

  Operands operands(const Tensor& out) const {
    const bool by_columns = !along_rows(w);
    TORCH_INTERNAL_ASSERT(along_rows(out));
    return {.x = x.const_data_ptr<float>(),
            .ldx = x.stride(0),
            .w = w.const_data_ptr<float>(),
            .ldw = w.stride(by_columns ? 1 : 0),
            .w_by_columns = by_columns,
            .bias = bias ? bias->const_data_ptr<float>() : nullptr,
            .out = out.mutable_data_ptr<float>(),
            .ld_out = out.stride(0),
            .m = x.size(0),
            .n = w.size(0),
            .k = x.size(1)};
  }
};

void multiply_by_library(const Product& p) {
  Tensor out = p.out;
  if (p.bias) {
    at::addmm_out(out, *p.bias, p.x, p.w.t());
  } else {
    at::mm_out(out, p.x, p.w.t());
  }
}

}  // namespace

void multiply(const std::vector<Product>& products) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  std::vector<Prepared> prepared;
  std::vector<Operands> operands;
  prepared.reserve(products.size());
  operands.reserve(products.size());
  for (const Product& product : products) {
    if (product.out.numel() == 0) continue;
    if (product.x.scalar_type() != at::kFloat || product.x.size(1) == 0) {
      multiply_by_library(product);
      continue;
    }
    prepared.emplace_back(product);
    operands.push_back(prepared.back().operands(product.out));
  }
  run(operands);
}

Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias) {
  const Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  multiply({{x, w, bias, out}});
  return out;
}

}  // namespace kcircuits::cpu
