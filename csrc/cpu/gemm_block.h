// One thread's share of a float32 matrix product, tile by tile.
#pragma once

#include <cstdint>
#include <optional>

#include "activation.h"
#include "cpu/stored.h"

namespace kcircuits::cpu {

struct Factor {
  const Stored* w;    // [n, k]
  const float* bias;  // [n]; may be null

  const float* bias_at(int64_t j) const { return bias == nullptr ? nullptr : bias + j; }
};

struct Gate {
  Factor factor;  // whose runs are what the other factor's are: rows, or columns
  Activation activation;
};

// out[m, n] = x [m, k] · wᵀ + bias, k > 0; with a gate, act(x · w_gateᵀ + bias_gate) times that.
// Rows of x and of out are contiguous.
struct Operands {
  const float* x;
  int64_t ldx;
  Factor factor;
  std::optional<Gate> gate;
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
