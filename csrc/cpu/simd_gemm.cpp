// No standard containers or algorithms here, see csrc/cpu/simd_rows.cpp.
//
// Registers hold the accumulators of one tile, 24 of 32 with AVX-512: 6 rows by 4 vectors need 10
// loads for 24 multiply-adds, so that the two multiply-add units stay busy (two loads a cycle).
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include "cpu/gemm_kernels.h"

#define KC_CONCAT_(a, b) a##b
#define KC_CONCAT(a, b) KC_CONCAT_(a, b)

namespace kcircuits::cpu {
namespace {

using Vec = at::vec::Vectorized<float>;
constexpr int64_t kLanes = Vec::size();
constexpr int64_t kLine = 16;  // floats in a cache line

#if defined(CPU_CAPABILITY_AVX512) || defined(__aarch64__)
constexpr int kMaxVectors = 4;
constexpr int kMaxDotRows = 8;
constexpr int kPanelSums = 24;
constexpr int kDotSums = 16;
#elif defined(CPU_CAPABILITY_AVX2)
constexpr int kMaxVectors = 2;
constexpr int kMaxDotRows = 4;
constexpr int kPanelSums = 12;
constexpr int kDotSums = 8;
#else
constexpr int kMaxVectors = 1;
constexpr int kMaxDotRows = 4;
constexpr int kPanelSums = 6;
constexpr int kDotSums = 4;
#endif
// More than eight row pointers do not fit the general registers.
constexpr int at_most_eight(int count) { return count < 8 ? count : 8; }

void transpose(float* to, int64_t to_stride, const float* from, int64_t from_stride, int64_t rows,
               int64_t columns) {
  int64_t r = 0;
  for (; r + kLanes <= rows; r += kLanes) {
    int64_t c = 0;
    for (; c + kLanes <= columns; c += kLanes) {
      at::vec::transpose_mxn<float, kLanes, kLanes>(from + r * from_stride + c, from_stride,
                                                    to + c * to_stride + r, to_stride);
    }
    if (c < columns) {
      at::vec::transpose_mxn<float>(from + r * from_stride + c, from_stride, to + c * to_stride + r,
                                    to_stride, static_cast<int>(kLanes),
                                    static_cast<int>(columns - c));
    }
  }
  if (r == rows) return;
  for (int64_t c = 0; c < columns; c += kLanes) {
    const int64_t count = columns - c < kLanes ? columns - c : kLanes;
    at::vec::transpose_mxn<float>(from + r * from_stride + c, from_stride, to + c * to_stride + r,
                                  to_stride, static_cast<int>(rows - r), static_cast<int>(count));
  }
}

void pack(float* panel, int64_t width, const float* x, int64_t x_stride, int64_t rows, int64_t k) {
  if (rows < width) {
    const Vec zeros(0.f);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t lane = rows / kLanes * kLanes; lane < width; lane += kLanes) {
        zeros.store(panel + i * width + lane);
      }
    }
  }
  transpose(panel, width, x, x_stride, rows, k);
}

template <int kVectors, int kRows>
inline void multiply_add(Vec (&sums)[kRows][kVectors], const float* panel,
                         const float* const (&rows)[kRows], int64_t k) {
  Vec values[kVectors];
  for (int v = 0; v < kVectors; ++v) values[v] = Vec::loadu(panel + v * kLanes);
  for (int r = 0; r < kRows; ++r) {
    const Vec factor(rows[r][k]);
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = at::vec::fmadd(values[v], factor, sums[r][v]);
    }
  }
}

template <int kVectors, int kRows, bool kStream>
void panel_rows(float* out, int64_t out_stride, const float* panel, int64_t panel_stride,
                const float* row, int64_t row_stride, int64_t k, const Start& start) {
  Vec sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      if (start.add) {
        sums[r][v] = Vec::loadu(out + r * out_stride + v * kLanes);
      } else if (start.lane_bias != nullptr) {
        sums[r][v] = Vec::loadu(start.lane_bias + v * kLanes);
      } else {
        sums[r][v] = Vec(start.row_bias == nullptr ? 0.f : start.row_bias[r]);
      }
    }
  }
  const float* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = row + r * row_stride;
  int64_t i = 0;
  if constexpr (kStream) {
    for (; i + kLine <= k; i += kLine) {
      for (int r = 0; r < kRows; ++r) __builtin_prefetch(rows[r] + kRows * row_stride + i, 0, 2);
      for (int64_t j = i; j < i + kLine; ++j, panel += panel_stride) {
        multiply_add<kVectors, kRows>(sums, panel, rows, j);
      }
    }
  }
  for (; i < k; ++i, panel += panel_stride) multiply_add<kVectors, kRows>(sums, panel, rows, i);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v].store(out + r * out_stride + v * kLanes);
  }
}

template <int kVectors>
void panel_tile_of(float* out, int64_t out_stride, const float* panel, int64_t panel_stride,
                   const float* rows, int64_t row_stride, int64_t count, int64_t k, Start start,
                   bool stream) {
  constexpr int kRows = at_most_eight(kPanelSums / kVectors);
  const auto advance = [&](int64_t done) {
    out += done * out_stride;
    rows += done * row_stride;
    count -= done;
    if (start.row_bias != nullptr) start.row_bias += done;
  };
  while (count >= kRows) {
    (stream ? panel_rows<kVectors, kRows, true> : panel_rows<kVectors, kRows, false>)(
        out, out_stride, panel, panel_stride, rows, row_stride, k, start);
    advance(kRows);
  }
  if constexpr (kRows > 4) {
    if (count >= 4) {
      panel_rows<kVectors, 4, false>(out, out_stride, panel, panel_stride, rows, row_stride, k, start);
      advance(4);
    }
  }
  if (count >= 2) {
    panel_rows<kVectors, 2, false>(out, out_stride, panel, panel_stride, rows, row_stride, k, start);
    advance(2);
  }
  for (; count > 0; advance(1)) {
    panel_rows<kVectors, 1, false>(out, out_stride, panel, panel_stride, rows, row_stride, k, start);
  }
}

void panel_tile(float* out, int64_t out_stride, const float* panel, int64_t panel_stride,
                int64_t width, const float* rows, int64_t row_stride, int64_t count, int64_t k,
                const Start& start, bool stream) {
  const auto call = [&](auto tile) {
    tile(out, out_stride, panel, panel_stride, rows, row_stride, count, k, start, stream);
  };
  const int64_t vectors = width / kLanes;
  if (vectors == 1) return call(panel_tile_of<1>);
  if constexpr (kMaxVectors >= 2) {
    if (vectors == 2) return call(panel_tile_of<2>);
  }
  if constexpr (kMaxVectors >= 4) {
    if (vectors == 3) return call(panel_tile_of<3>);
    return call(panel_tile_of<4>);
  }
}

// totals[i] = sum over the lanes of sums[i], for all i at once: the sums of a transposed block.
template <int kCount>
inline void sum_lanes(float* totals, const Vec (&sums)[kCount]) {
  if constexpr (kCount <= 2) {
    for (int i = 0; i < kCount; ++i) {
      totals[i] = at::vec::vec_reduce_all<float>([](Vec a, Vec b) { return a + b; }, sums[i]);
    }
    return;
  }
  for (int first = 0; first < kCount; first += kLanes) {
    float block[kLanes * kLanes];
    float turned[kLanes * kLanes];
    const int64_t count = kCount - first < kLanes ? kCount - first : kLanes;
    for (int64_t i = 0; i < kLanes; ++i) {
      (i < count ? sums[first + i] : Vec(0.f)).store(block + i * kLanes);
    }
    at::vec::transpose_mxn<float, kLanes, kLanes>(block, kLanes, turned, kLanes);
    Vec total = Vec::loadu(turned);
    for (int64_t i = 1; i < kLanes; ++i) total = total + Vec::loadu(turned + i * kLanes);
    total.store(totals + first);
  }
}

template <int kRows, int kColumns, bool kStream>
void dot_columns(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* w,
                 int64_t w_stride, int64_t k, const float* bias) {
  Vec sums[kRows * kColumns];
  for (Vec& sum : sums) sum = Vec(0.f);
  const auto step = [&](auto load) {
    Vec columns[kColumns];
    for (int c = 0; c < kColumns; ++c) columns[c] = load(w + c * w_stride);
    for (int r = 0; r < kRows; ++r) {
      const Vec value = load(x + r * x_stride);
      for (int c = 0; c < kColumns; ++c) {
        Vec& sum = sums[r * kColumns + c];
        sum = at::vec::fmadd(value, columns[c], sum);
      }
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    if constexpr (kStream) {
      for (int c = 0; c < kColumns; ++c) __builtin_prefetch(w + (kColumns + c) * w_stride + i, 0, 2);
    }
    step([&](const float* from) { return Vec::loadu(from + i); });
  }
  if (i < k) step([&](const float* from) { return Vec::loadu(from + i, k - i); });
  float totals[(kRows * kColumns + kLanes - 1) / kLanes * kLanes];
  sum_lanes(totals, sums);
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      out[r * out_stride + c] = totals[r * kColumns + c] + (bias == nullptr ? 0.f : bias[c]);
    }
  }
}

template <int kRows>
void dot_tile_of(float* out, int64_t out_stride, const float* x, int64_t x_stride, const float* w,
                 int64_t w_stride, int64_t n, int64_t k, const float* bias, bool stream) {
  constexpr int kColumns = at_most_eight(kDotSums / kRows);
  const auto at = [&](int64_t j) { return bias == nullptr ? nullptr : bias + j; };
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns) {
    (stream ? dot_columns<kRows, kColumns, true> : dot_columns<kRows, kColumns, false>)(
        out + j, out_stride, x, x_stride, w + j * w_stride, w_stride, k, at(j));
  }
  if constexpr (kColumns > 2) {
    for (; j + 2 <= n; j += 2) {
      dot_columns<kRows, 2, false>(out + j, out_stride, x, x_stride, w + j * w_stride, w_stride, k,
                                   at(j));
    }
  }
  for (; j < n; ++j) {
    dot_columns<kRows, 1, false>(out + j, out_stride, x, x_stride, w + j * w_stride, w_stride, k,
                                 at(j));
  }
}

void dot_tile(float* out, int64_t out_stride, const float* x, int64_t x_stride, int64_t rows,
              const float* w, int64_t w_stride, int64_t n, int64_t k, const float* bias,
              bool stream) {
  using Tile = void(float*, int64_t, const float*, int64_t, const float*, int64_t, int64_t, int64_t,
                    const float*, bool);
#if defined(CPU_CAPABILITY_AVX512) || defined(__aarch64__)
  static constexpr Tile* kTiles[] = {dot_tile_of<1>, dot_tile_of<2>, dot_tile_of<3>,
                                     dot_tile_of<4>, dot_tile_of<5>, dot_tile_of<6>,
                                     dot_tile_of<7>, dot_tile_of<8>};
#else
  static constexpr Tile* kTiles[] = {dot_tile_of<1>, dot_tile_of<2>, dot_tile_of<3>,
                                     dot_tile_of<4>};
#endif
  kTiles[rows - 1](out, out_stride, x, x_stride, w, w_stride, n, k, bias, stream);
}

}  // namespace

extern const GemmKernels KC_CONCAT(gemm_kernels_, CPU_CAPABILITY);
const GemmKernels KC_CONCAT(gemm_kernels_, CPU_CAPABILITY) = {
    kLanes, kMaxVectors, kMaxDotRows, pack, transpose, panel_tile, dot_tile};

}  // namespace kcircuits::cpu
