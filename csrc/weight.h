// A model's matrix [N, K] (a linear weight, or a vocabulary), whatever it is kept in: a tensor, or
// codes of 4 or 8 bits. Slices and the transpose are views; numbers are made when a product asks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace kcircuits {

// kcircuits/model/quantised.py says what each field means.
struct Codes {
  at::Tensor codes;                  // uint8 [N, bytes] (4 bits) or int8 [N, bytes]
  at::Tensor scale;                  // [N, groups], like offset
  std::optional<at::Tensor> offset;  // or zeros
  std::optional<at::Tensor> block_scale, block_offset;  // [N, blocks]: factors of the two above
  int64_t zero, group;

  // The same fields, each of them changed.
  template <typename F>
  Codes of_each(const F& change) const {
    const auto maybe = [&](const std::optional<at::Tensor>& x) {
      return x ? std::optional<at::Tensor>(change(*x)) : std::nullopt;
    };
    return {change(codes),       change(scale), maybe(offset), maybe(block_scale),
            maybe(block_offset), zero,          group};
  }
};

class Weight {
 public:
  Weight() = default;  // none yet
  // NOLINTNEXTLINE(google-explicit-constructor): a tensor is a weight as it stands.
  Weight(at::Tensor values) : values_(std::move(values)) {}
  Weight(Codes codes, int64_t columns) : codes_(std::move(codes)), columns_(columns) {}

  int64_t size(int64_t dim) const;
  at::Device device() const;
  // The type of its numbers: that of the tensor, or float32.
  at::ScalarType dtype() const;
  // The tensor, where that is what the weight is kept in.
  const std::optional<at::Tensor>& values() const { return values_; }
  // Or the codes, the first of its columns, and whether it is seen transposed.
  const std::optional<Codes>& codes() const { return codes_; }
  int64_t first_column() const { return first_column_; }
  bool transposed() const { return transposed_; }

  Weight slice(int64_t dim, int64_t begin, int64_t end) const;
  Weight t() const;
  // Some rows; of a weight that is not transposed.
  Weight rows_at(const at::Tensor& ids) const;

  // Its numbers [N, K] in a type: the tensor itself where that is possible, else a new one.
  at::Tensor widened(at::ScalarType dtype) const;

 private:
  at::Tensor dequantised() const;

  std::optional<at::Tensor> values_;  // one of the two
  std::optional<Codes> codes_;
  int64_t first_column_ = 0, columns_ = 0;
  bool transposed_ = false;
};

}  // namespace kcircuits
