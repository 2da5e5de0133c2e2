// The k best (value, id) pairs of a stream, best first; equal values in the order they came, NaN
// last.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace kcircuits::cpu {

// One list per row.
template <typename A>
class TopLists {
 public:
  TopLists(int64_t rows, int64_t k) : k_(k), size_(rows, 0), values_(rows * k), ids_(rows * k) {}

  void insert(int64_t row, A value, int64_t id) {
    A* values = values_.data() + row * k_;
    int64_t* ids = ids_.data() + row * k_;
    int64_t at = size_[row];
    if (at == k_) {
      if (k_ == 0 || !better(value, values[k_ - 1])) return;
      --at;
    } else {
      ++size_[row];
    }
    for (; at > 0 && better(value, values[at - 1]); --at) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = value;
    ids[at] = id;
  }

  // Values that are not above this one leave a full list as it is.
  A threshold(int64_t row) const {
    const A worst = values_[row * k_ + k_ - 1];
    return std::isnan(worst) ? -std::numeric_limits<A>::infinity() : worst;
  }

  int64_t size(int64_t row) const { return size_[row]; }
  A value(int64_t row, int64_t i) const { return values_[row * k_ + i]; }
  int64_t id(int64_t row, int64_t i) const { return ids_[row * k_ + i]; }

 private:
  static bool better(A a, A b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

  int64_t k_;
  std::vector<int64_t> size_;
  std::vector<A> values_;
  std::vector<int64_t> ids_;
};

}  // namespace kcircuits::cpu
