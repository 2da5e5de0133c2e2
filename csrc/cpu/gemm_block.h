// One thread's share of a float32 matrix product, tile by tile.
#pragma once

#include <cstdint>

namespace kcircuits::cpu {

// out[m, n] = x [m, k] · w [n, k]ᵀ + bias [n]. Rows of x are contiguous. So are rows of w, or, where
// w_by_columns, its columns: element (j, i) is then w[i * w_stride + j].
struct Product {
  const float* x;
  int64_t x_stride;
  const float* w;
  int64_t w_stride;
  bool w_by_columns;
  const float* bias;  // may be null
  float* out;
  int64_t out_stride;
  int64_t m, n, k;
};

// Rows [m0, m1) and columns [n0, n1) of a product.
struct Block {
  int64_t m0, m1, n0, n1;
};

void multiply_block(const Product& product, const Block& block);

// An estimate of a block's time, in nanoseconds on a current core with AVX-512: good enough to
// choose between two ways of cutting a product, or to call a product too small for two threads.
double block_cost(const Product& product, int64_t rows, int64_t columns);

}  // namespace kcircuits::cpu
