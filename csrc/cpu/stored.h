// A weight as it is stored, for products in float32. What is float32 is read where it lies; numbers
// of 16 bits, and codes, are made piece by piece in a cache: memory is then read at their own size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "weight.h"

namespace kcircuits::cpu {

// [N, K]. Its runs are what lies together in memory: its rows, or its columns.
class Stored {
 public:
  explicit Stored(const Weight& weight);
  // Whether there is a float32 product of it: for all but float64.
  static bool takes(const Weight& weight) { return weight.dtype() != at::kDouble; }

  int64_t rows() const { return by_columns_ ? length_ : runs_; }
  int64_t columns() const { return by_columns_ ? runs_ : length_; }
  bool by_columns() const { return by_columns_; }

  // Element i of run r at floats()[r * ld() + i]; null where numbers have to be made.
  const float* floats() const { return floats_; }
  int64_t ld() const { return ld_; }
  // to[r * ld_to + i]: elements [begin, begin + length) of `count` runs from `first` on.
  void widen(float* to, int64_t ld_to, int64_t first, int64_t count, int64_t begin,
             int64_t length) const;

 private:
  void widen_codes(float* to, int64_t run, int64_t begin, int64_t length) const;

  at::Tensor values_;  // or codes
  std::optional<Codes> codes_;
  const float* floats_ = nullptr;
  bool by_columns_ = false;
  int64_t runs_ = 0, length_ = 0, ld_ = 0;
  int64_t first_column_ = 0;  // of codes: where a run begins in their row
};

}  // namespace kcircuits::cpu
