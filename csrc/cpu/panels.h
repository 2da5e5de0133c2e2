// Rows of a matrix as the panels that cpu/tiles.h multiplies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/simd.h"
#include "cpu/tiles.h"

namespace kcircuits::cpu {

// n elements of a row of T in the accumulation type.
template <typename T>
void widen(Accumulate<T>* to, const T* from, int64_t n) {
  const Accumulate<T> one = 1;
  rows().of<T>().weighted_sum(to, nullptr, &from, &one, 1, n);
}

// Panel p holds rows [p * rows_per_panel, …), all full but the last, which is as narrow as whole
// vectors allow; the lanes that are left over hold zeros.
template <typename A>
class Panels {
 public:
  Panels(int64_t rows, int64_t depth)
      : ops_(tiles().of<A>()),
        rows_(rows),
        depth_(depth),
        vectors_((rows + ops_.lanes - 1) / ops_.lanes),
        data_(vectors_ * ops_.lanes * depth, A(0)) {}

  int64_t rows_per_panel() const { return ops_.max_vectors * ops_.lanes; }
  int64_t padded_rows() const { return vectors_ * ops_.lanes; }
  int64_t count() const { return (vectors_ + ops_.max_vectors - 1) / ops_.max_vectors; }
  int64_t first_row(int64_t panel) const { return panel * rows_per_panel(); }
  int64_t vectors(int64_t panel) const {
    return std::min(ops_.max_vectors, vectors_ - panel * ops_.max_vectors);
  }
  int64_t ld(int64_t panel) const { return vectors(panel) * ops_.lanes; }
  const A* data(int64_t panel) const { return data_.data() + first_row(panel) * depth_; }

  // For another matrix of as many rows: what the panels hold is undefined until it is set.
  void set_depth(int64_t depth) {
    depth_ = depth;
    data_.resize(std::max(static_cast<int64_t>(data_.size()), padded_rows() * depth), A(0));
  }

  // Copies a panel's rows in: `depth` elements each, row i of the panel at from + i * ld_from.
  void set_panel(int64_t panel, const A* from, int64_t ld_from) {
    const int64_t rows = std::min(rows_per_panel(), rows_ - first_row(panel));
    ops_.transpose(data_.data() + first_row(panel) * depth_, ld(panel), from, ld_from, rows,
                   depth_);
  }

 private:
  const TileOps<A>& ops_;
  int64_t rows_, depth_, vectors_;
  std::vector<A> data_;
};

}  // namespace kcircuits::cpu
