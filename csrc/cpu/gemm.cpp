#include "cpu/gemm.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <memory>

#include "cpu/tiles.h"

namespace kcircuits::cpu {
namespace {

using at::Tensor;

constexpr int64_t kColumns = 48;  // rows of w per tile buffer: a multiple of every register tile's
constexpr int64_t kChain =
    128;  // elements of them, for which panel and tile stay in the first-level cache
constexpr int64_t kPackedPass = 160
                                << 10;  // packed elements of x that stay in the second-level cache
constexpr int64_t kThreadedWork = 4 << 20;  // multiply-adds that are worth a second thread
constexpr int64_t kTaskWork = 1 << 20;      // multiply-adds of one task

bool takes_tiles(const Tensor& x, const Tensor& w) {
  return x.scalar_type() == at::kFloat && w.stride(1) == 1 && w.size(1) > 0;
}

// Some rows of one product's x, transposed into panels.
struct Packed {
  const Product* product;
  int64_t first, rows;  // of x
  float* panels;
};

// Work on one range of columns of one Packed.
struct Task {
  const Packed* packed;
  int64_t first, columns;
};

class Multiplication {
 public:
  explicit Multiplication(const std::vector<Product>& products) : ops_(tiles().of<float>()) {
    int64_t work = 0;
    for (const Product& product : products) {
      const int64_t rows = product.x.size(0);
      const int64_t panels = std::max<int64_t>(1, kPackedPass / (product.x.size(1) * panel_rows()));
      for (int64_t first = 0; first < rows; first += panels * panel_rows()) {
        packed_.push_back(
            {&product, first, std::min(panels * panel_rows(), rows - first), nullptr});
      }
      work += rows * product.x.size(1) * product.w.size(0);
    }
    threaded_ = work > kThreadedWork && at::get_num_threads() > 1 && !at::in_parallel_region();
  }

  void run() {
    pack();
    std::vector<Task> tasks = split();
    for_each(static_cast<int64_t>(tasks.size()), [&](int64_t i) { execute(tasks[i]); });
  }

 private:
  int64_t panel_rows() const { return ops_.max_vectors * ops_.lanes; }
  int64_t padded(int64_t rows) const { return (rows + ops_.lanes - 1) / ops_.lanes * ops_.lanes; }

  template <typename Body>
  void for_each(int64_t count, const Body& body) const {
    at::parallel_for(0, count, threaded_ ? 1 : count, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
  }

  void pack() {
    // Kept from call to call: fresh pages would cost more than the copy into them.
    static thread_local std::vector<float> buffer;
    int64_t size = 0;
    for (const Packed& p : packed_) size += padded(p.rows) * p.product->x.size(1);
    if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(size);
    std::vector<std::pair<const Packed*, int64_t>> panels;
    float* next = buffer.data();
    for (Packed& p : packed_) {
      p.panels = next;
      next += padded(p.rows) * p.product->x.size(1);
      for (int64_t row = 0; row < p.rows; row += panel_rows()) panels.push_back({&p, row});
    }
    for_each(static_cast<int64_t>(panels.size()),
             [&](int64_t i) { pack_panel(*panels[i].first, panels[i].second); });
  }

  void pack_panel(const Packed& p, int64_t row) const {
    const Tensor& x = p.product->x;
    const int64_t depth = x.size(1);
    const int64_t rows = std::min(panel_rows(), p.rows - row);
    float* panel = p.panels + row * depth;
    const int64_t ld = padded(rows);
    for (int64_t k = 0; rows < ld && k < depth; ++k)
      std::fill(panel + k * ld + rows, panel + (k + 1) * ld, 0.0f);
    ops_.transpose(panel, ld, x.const_data_ptr<float>() + (p.first + row) * x.stride(0),
                   x.stride(0), rows, depth);
  }

  // Tasks of about the same size, several for each thread, in the order of the columns.
  std::vector<Task> split() const {
    std::vector<Task> tasks;
    for (const Packed& p : packed_) {
      const int64_t n = p.product->w.size(0);
      const int64_t per_column = padded(p.rows) * p.product->w.size(1);
      int64_t columns = n;
      if (threaded_) {
        const int64_t unit = 8;
        columns = std::clamp((kTaskWork + per_column - 1) / per_column, unit, n);
        columns = (columns + unit - 1) / unit * unit;
      }
      for (int64_t first = 0; first < n; first += columns)
        tasks.push_back({&p, first, std::min(columns, n - first)});
    }
    return tasks;
  }

  void execute(const Task& task) const {
    constexpr int64_t kMostLanes = 64;  // rows of a panel: 48 with AVX-512
    alignas(64) float values[kColumns * kMostLanes];
    float zeros[kColumns] = {};
    const Packed& p = *task.packed;
    const Product& product = *p.product;
    const float* w = product.w.const_data_ptr<float>();
    const int64_t ldw = product.w.stride(0);
    const int64_t depth = product.w.size(1);
    const float* bias = product.bias ? product.bias->const_data_ptr<float>() : nullptr;
    float* out = product.out.mutable_data_ptr<float>();
    const int64_t ld_out = product.out.stride(0);
    for (int64_t j = task.first; j < task.first + task.columns; j += kColumns) {
      const int64_t columns = std::min(kColumns, task.first + task.columns - j);
      for (int64_t row = 0; row < p.rows; row += panel_rows()) {
        const int64_t rows = std::min(panel_rows(), p.rows - row);
        const int64_t ld = padded(rows);
        const float* panel = p.panels + row * depth;
        for (int64_t k = 0; k < depth; k += kChain) {
          const float* start = k > 0 ? nullptr : bias ? bias + j : zeros;
          ops_.multiply(values, start, panel + k * ld, ld, ld / ops_.lanes, w + j * ldw + k, ldw,
                        columns, std::min(kChain, depth - k));
        }
        ops_.transpose(out + (p.first + row) * ld_out + j, ld_out, values, ld, columns, rows);
      }
    }
  }

  const TileOps<float>& ops_;
  std::vector<Packed> packed_;
  bool threaded_;
};

void multiply_by_library(const Product& p) {
  if (p.bias) {
    at::addmm_out(const_cast<Tensor&>(p.out), *p.bias, p.x, p.w.t());
  } else {
    at::mm_out(const_cast<Tensor&>(p.out), p.x, p.w.t());
  }
}

}  // namespace

void multiply(const std::vector<Product>& products) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  std::vector<Product> tiled;
  for (const Product& product : products) {
    if (product.x.size(0) == 0 || product.w.size(0) == 0) continue;
    if (takes_tiles(product.x, product.w)) {
      tiled.push_back(product);
    } else {
      multiply_by_library(product);
    }
  }
  if (!tiled.empty()) Multiplication(tiled).run();
}

Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias) {
  const Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  const Tensor rows = x.stride(1) == 1 || x.size(1) == 1 ? x : x.contiguous();
  multiply({{rows, w, bias ? std::optional(bias->contiguous()) : std::nullopt, out}});
  return out;
}

}  // namespace kcircuits::cpu
