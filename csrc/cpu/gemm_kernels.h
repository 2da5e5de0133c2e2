// Tiles of float32 matrix products, compiled once per instruction set (csrc/cpu/simd_gemm.cpp).
//
// Two shapes of inner loop, neither of which packs the weights (they change from call to call and
// are the bigger operand):
//  * panel: `width` values of one operand stand side by side, k after k; the other operand's rows
//    are broadcast. A panel is either rows of x, transposed, or a strip of columns of a w that is
//    contiguous along n.
//  * dot: both operands are contiguous along k and a handful of rows make a product of few rows.
#pragma once

#include <cstdint>

namespace kcircuits::cpu {

// What the accumulators hold before the first multiplication.
struct Start {
  const float* row_bias = nullptr;   // one value per broadcast row
  const float* lane_bias = nullptr;  // one value per lane of the panel
  bool add = false;                  // the output's present content; excludes the two others
};

struct GemmKernels {
  int64_t lanes;         // floats in a vector; the width of a panel is a multiple
  int64_t max_vectors;   // vectors in the widest panel
  int64_t max_dot_rows;  // rows of x in the widest dot tile

  // panel[k * width + r] = x[r * x_stride + k]; lanes from `rows` up to width become zeros.
  void (*pack)(float* panel, int64_t width, const float* x, int64_t x_stride, int64_t rows,
               int64_t k);
  // to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < columns.
  void (*transpose)(float* to, int64_t to_stride, const float* from, int64_t from_stride,
                    int64_t rows, int64_t columns);
  // out[r * out_stride + lane] = start + sum over k of rows[r * row_stride + k] *
  // panel[k * panel_stride + lane], for r < count and lane < width. `stream` says that the rows
  // come from memory rather than from a near cache: the next ones are then fetched ahead.
  void (*panel_tile)(float* out, int64_t out_stride, const float* panel, int64_t panel_stride,
                     int64_t width, const float* rows, int64_t row_stride, int64_t count, int64_t k,
                     const Start& start, bool stream);
  // out[r * out_stride + j] = bias[j] + <x[r], w[j]> for r < rows <= max_dot_rows and j < n.
  void (*dot_tile)(float* out, int64_t out_stride, const float* x, int64_t x_stride, int64_t rows,
                   const float* w, int64_t w_stride, int64_t n, int64_t k, const float* bias,
                   bool stream);
};

// The widest set this processor and torch's own settings allow.
const GemmKernels& gemm_kernels();

}  // namespace kcircuits::cpu
