#include "weight.h"

#include <ATen/ATen.h>

#include "cpu/dequantise.h"

namespace kcircuits {
namespace {

// Scales or offsets of groups, float32 [N, groups]: as they are kept, or times those of blocks.
at::Tensor of_groups(const at::Tensor& kept, const std::optional<at::Tensor>& of_blocks) {
  const at::Tensor wide = kept.to(at::kFloat);
  if (!of_blocks) return wide.contiguous();
  const int64_t blocks = of_blocks->size(1);
  return (wide.unflatten(1, {blocks, -1}) * of_blocks->to(at::kFloat).unsqueeze(2)).flatten(1);
}

// What cpu/dequantise.h does, on any device.
at::Tensor dequantise_anywhere(const at::Tensor& codes, const at::Tensor& scale,
                               const std::optional<at::Tensor>& offset, int64_t zero,
                               int64_t group) {
  at::Tensor numbers = codes;
  if (codes.scalar_type() == at::kByte) {
    const at::Tensor bytes = codes.unflatten(1, {-1, group / 2});
    numbers = at::cat({at::bitwise_and(bytes, 15), at::bitwise_right_shift(bytes, 4)}, -1);
  } else {
    numbers = codes.unflatten(1, {-1, group});
  }
  numbers = (numbers.to(at::kFloat) - zero) * scale.unsqueeze(2);
  return (offset ? numbers + offset->unsqueeze(2) : numbers).flatten(1);
}

}  // namespace

int64_t Weight::size(int64_t dim) const {
  if (values_) return values_->size(dim);
  return (dim == 0) == transposed_ ? columns_ : codes_->codes.size(0);
}

at::Device Weight::device() const { return values_ ? values_->device() : codes_->codes.device(); }

at::ScalarType Weight::dtype() const { return values_ ? values_->scalar_type() : at::kFloat; }

Weight Weight::slice(int64_t dim, int64_t begin, int64_t end) const {
  if (values_) return values_->slice(dim, begin, end);
  Weight part = *this;
  if ((dim == 0) == transposed_) {
    part.first_column_ += begin;
    part.columns_ = end - begin;
  } else {
    part.codes_ = codes_->of_each([&](const at::Tensor& x) { return x.slice(0, begin, end); });
  }
  return part;
}

Weight Weight::t() const {
  if (values_) return values_->t();
  Weight turned = *this;
  turned.transposed_ = !transposed_;
  return turned;
}

Weight Weight::rows_at(const at::Tensor& ids) const {
  if (values_) return values_->index_select(0, ids);
  TORCH_INTERNAL_ASSERT(!transposed_);
  Weight rows = *this;
  rows.codes_ = codes_->of_each([&](const at::Tensor& x) { return x.index_select(0, ids); });
  return rows;
}

at::Tensor Weight::widened(at::ScalarType dtype) const {
  return (values_ ? *values_ : dequantised()).to(dtype);
}

// Whole blocks, or whole groups where there are no blocks, are made: those that hold the columns.
at::Tensor Weight::dequantised() const {
  const Codes& c = *codes_;
  const int64_t groups_per_block = c.block_scale ? c.scale.size(1) / c.block_scale->size(1) : 1;
  const int64_t unit = c.group * groups_per_block;
  const int64_t first = first_column_ / unit;
  const int64_t end = (first_column_ + columns_ + unit - 1) / unit;
  const auto part = [&](const at::Tensor& x, int64_t per_unit) {
    return x.slice(1, first * per_unit, end * per_unit);
  };
  const auto maybe_part = [&](const std::optional<at::Tensor>& x, int64_t per_unit) {
    return x ? std::optional(part(*x, per_unit)) : std::nullopt;
  };
  const at::Tensor codes = part(c.codes, c.codes.scalar_type() == at::kByte ? unit / 2 : unit);
  const at::Tensor scale = of_groups(part(c.scale, groups_per_block), maybe_part(c.block_scale, 1));
  std::optional<at::Tensor> offset;
  if (c.offset)
    offset = of_groups(part(*c.offset, groups_per_block), maybe_part(c.block_offset, 1));
  const at::Tensor numbers =
      codes.device().is_cpu()
          ? cpu::dequantise(codes, scale, offset, static_cast<double>(c.zero), c.group)
          : dequantise_anywhere(codes, scale, offset, c.zero, c.group);
  const int64_t begin = first_column_ - first * unit;
  const at::Tensor wanted = numbers.slice(1, begin, begin + columns_);
  return transposed_ ? wanted.t() : wanted;
}

}  // namespace kcircuits
