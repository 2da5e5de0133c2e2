#include "cpu/stored.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "cpu/codes.h"
#include "cpu/panels.h"
#include "cpu/scratch.h"

namespace kcircuits::cpu {
namespace {

thread_local Scratch group_scratch, scale_scratch, offset_scratch, block_scratch;

bool adjacent(const at::Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1; }

// Elements [begin, begin + count) of row r of a matrix of any narrow type.
void widen_row(float* to, const at::Tensor& x, int64_t r, int64_t begin, int64_t count) {
  if (count == 0) return;  // a matrix without columns has no memory that could be named
  const int64_t at = r * x.stride(0) + begin;
  const auto each = [&](const auto* from) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
  };
  switch (x.scalar_type()) {
    case at::kFloat:
      std::memcpy(to, x.const_data_ptr<float>() + at, count * sizeof(float));
      return;
    case at::kHalf:
      return cpu::widen(to, x.const_data_ptr<c10::Half>() + at, count);
    case at::kBFloat16:
      return cpu::widen(to, x.const_data_ptr<c10::BFloat16>() + at, count);
    case at::kByte:
      return each(x.const_data_ptr<uint8_t>() + at);
    case at::kChar:
      return each(x.const_data_ptr<int8_t>() + at);
    default:
      TORCH_CHECK_VALUE(false, "a weight's scales cannot be ", x.scalar_type());
  }
}

// Scales or offsets of groups [begin, end) of a row: as they are kept, or times those of blocks.
const float* of_groups(Scratch& scratch, const at::Tensor& kept,
                       const std::optional<at::Tensor>& of_blocks, int64_t r, int64_t begin,
                       int64_t end) {
  float* out = scratch.at_least(end - begin);
  widen_row(out, kept, r, begin, end - begin);
  if (of_blocks) {
    const int64_t per_block = kept.size(1) / of_blocks->size(1);
    const int64_t first = begin / per_block;
    float* blocks = block_scratch.at_least(of_blocks->size(1));
    widen_row(blocks, *of_blocks, r, first, (end + per_block - 1) / per_block - first);
    for (int64_t g = begin; g < end; ++g) out[g - begin] *= blocks[g / per_block - first];
  }
  return out;
}

}  // namespace

Stored::Stored(const Weight& weight) : codes_(weight.codes()) {
  if (codes_) {
    *codes_ = codes_->of_each([](const at::Tensor& x) { return adjacent(x) ? x : x.contiguous(); });
    by_columns_ = weight.transposed();
    first_column_ = weight.first_column();
    runs_ = codes_->codes.size(0);
    length_ = weight.size(by_columns_ ? 0 : 1);
    return;
  }
  values_ = *weight.values();
  by_columns_ = !adjacent(values_) && values_.stride(0) == 1;
  if (by_columns_) values_ = values_.t();
  if (!adjacent(values_)) values_ = values_.contiguous();
  runs_ = values_.size(0);
  length_ = values_.size(1);
  ld_ = values_.stride(0);
  if (values_.scalar_type() == at::kFloat) floats_ = values_.const_data_ptr<float>();
}

void Stored::widen(float* to, int64_t ld_to, int64_t first, int64_t count, int64_t begin,
                   int64_t length) const {
  for (int64_t r = 0; r < count; ++r) {
    if (codes_) {
      widen_codes(to + r * ld_to, first + r, begin, length);
    } else {
      widen_row(to + r * ld_to, values_, first + r, begin, length);
    }
  }
}

// Whole groups are made: where the elements begin or end inside one, beside their place first.
void Stored::widen_codes(float* to, int64_t run, int64_t begin, int64_t length) const {
  const Codes& c = *codes_;
  const int64_t at = first_column_ + begin;
  const int64_t first = at / c.group;
  const int64_t end = (at + length + c.group - 1) / c.group;
  const float* scale = of_groups(scale_scratch, c.scale, c.block_scale, run, first, end);
  const float* offset =
      c.offset ? of_groups(offset_scratch, *c.offset, c.block_offset, run, first, end) : nullptr;
  const bool whole = (end - first) * c.group == length;
  float* out = whole ? to : group_scratch.at_least((end - first) * c.group);
  if (c.codes.scalar_type() == at::kByte) {
    const uint8_t* row = c.codes.const_data_ptr<uint8_t>() + run * c.codes.stride(0);
    codes().nibbles(out, row + first * c.group / 2, scale, offset, static_cast<float>(c.zero),
                    c.group, end - first);
  } else {
    const int8_t* row = c.codes.const_data_ptr<int8_t>() + run * c.codes.stride(0);
    codes().bytes(out, row + first * c.group, scale, offset, c.group, end - first);
  }
  if (!whole) std::copy_n(out + at - first * c.group, length, to);
}

}  // namespace kcircuits::cpu
