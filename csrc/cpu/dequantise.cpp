#include "cpu/dequantise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "cpu/codes.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kNumbersPerTask = 1 << 16;  // fewer are not worth another thread

}  // namespace

at::Tensor dequantise(const at::Tensor& codes, const at::Tensor& scale,
                      const std::optional<at::Tensor>& offset, double zero, int64_t group) {
  const int64_t rows = codes.size(0);
  const int64_t groups = scale.size(1);
  const int64_t width = groups * group;
  TORCH_INTERNAL_ASSERT(scale.is_contiguous() && (!offset || offset->is_contiguous()) &&
                        (codes.stride(1) == 1 || codes.size(1) <= 1));
  at::Tensor out = at::empty({rows, width}, scale.options());
  auto* to = out.mutable_data_ptr<float>();
  const auto* by = scale.const_data_ptr<float>();
  const auto* add = offset ? offset->const_data_ptr<float>() : nullptr;
  const auto convert = [&](const auto* from, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto* row = from + i * codes.stride(0);
      const float* row_offset = add == nullptr ? nullptr : add + i * groups;
      if constexpr (std::is_same_v<decltype(row), const uint8_t*>) {
        cpu::codes().nibbles(to + i * width, row, by + i * groups, row_offset,
                             static_cast<float>(zero), group, groups);
      } else {
        cpu::codes().bytes(to + i * width, row, by + i * groups, row_offset, group, groups);
      }
    }
  };
  const int64_t grain = std::max<int64_t>(1, kNumbersPerTask / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    if (codes.scalar_type() == at::kByte) {
      convert(codes.const_data_ptr<uint8_t>(), begin, end);
    } else {
      convert(codes.const_data_ptr<int8_t>(), begin, end);
    }
  });
  return out;
}

}  // namespace kcircuits::cpu
