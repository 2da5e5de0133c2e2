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

  // Copies `depth` elements of a row in.
  void set_row(int64_t row, const A* values) {
    const int64_t panel = row / rows_per_panel();
    const int64_t stride = ld(panel);
    A* to = data_.data() + first_row(panel) * depth_ + row % rows_per_panel();
    for (int64_t k = 0; k < depth_; ++k) to[k * stride] = values[k];
  }

 private:
  const TileOps<A>& ops_;
  int64_t depth_, vectors_;
  std::vector<A> data_;
};

}  // namespace kcircuits::cpu
