// One thread's share of a float32 matrix product, tile by tile.
#pragma once

#include <cstdint>

namespace kcircuits::cpu {

// out[m, n] = x [m, k] · w [n, k]ᵀ + bias [n], k > 0. Rows of x and of out are contiguous. So are
// rows of w, or, where w_by_columns, its columns: element (j, i) is then w[i * ldw + j].
struct Operands {
  const float* x;
  int64_t ldx;
  const float* w;
  int64_t ldw;
  bool w_by_columns;
  const float* bias;  // may be null
  float* out;
  int64_t ld_out;
  int64_t m, n, k;
};

// Rows [m0, m1) and columns [n0, n1) of a product.
struct Block {
  int64_t m0, m1, n0, n1;
};

// Every element is one chain of multiply-adds over k, whatever the block (cpu/tiles.h).
void multiply_block(const Operands& operands, const Block& block);

// An estimate of a block's time in nanoseconds, for a current core with AVX-512: good enough to
// choose between two ways to cut a product, or to call one too small for two threads.
double block_cost(const Operands& operands, int64_t rows, int64_t columns);

}  // namespace kcircuits::cpu
