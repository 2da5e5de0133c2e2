// Products of a panel of rows with the rows of a second matrix, in registers, and what is read off
// them while they are in the first-level cache. Compiled once per instruction set
// (csrc/cpu/simd_tiles.cpp).
//
// A panel holds up to max_vectors * lanes rows of x, transposed: element k of row i is at
// x[k * ldx + i]. Every product is a chain of fused multiply-adds over each run of kChain elements,
// and the chains' sums are added in order, whatever the panel and the tile: the same two rows give
// the same bits wherever they meet, which is what makes exact ties exact and results independent of
// the batch. Short chains keep rounding small: one over 1,536 elements loses three bits more.
#pragma once

#include <cstdint>

#include "activation.h"

namespace kcircuits::cpu {

// Elements of one chain; so much of a panel and of a tile's rows stays in the first-level cache.
inline constexpr int64_t kChain = 128;

template <typename A>
struct TileOps {
  int64_t lanes;        // rows per vector
  int64_t max_vectors;  // vectors per panel

  // to[k * ld_to + i] = from[i * ld_from + k], for i < rows and k < depth: rows become a panel.
  void (*transpose)(A* to, int64_t ld_to, const A* from, int64_t ld_from, int64_t rows,
                    int64_t depth);

  // acc[j * ld + i] = start[j] + Σ_{k < depth} x[k * ldx + i] * w[j * ldw + k], for j < columns and
  // i < vectors * lanes; ld = vectors * lanes. Where start is null, the sum is added to acc.
  void (*multiply)(A* acc, const A* start, const A* x, int64_t ldx, int64_t vectors, const A* w,
                   int64_t ldw, int64_t columns, int64_t depth);
  // The same for a w that comes from memory: rows are fetched while those before them are used.
  void (*multiply_far)(A* acc, const A* start, const A* x, int64_t ldx, int64_t vectors, const A* w,
                       int64_t ldw, int64_t columns, int64_t depth);
  // The same for one vector of pairs: acc[i] += Σ_k x[k * ldx + i] * w[k * lanes + i], the first
  // chain starting from acc.
  void (*multiply_pairs)(A* acc, const A* x, int64_t ldx, const A* w, int64_t depth);

  // values[i] *= act(gates[i]) for i < count, a multiple of lanes.
  void (*gate)(A* values, const A* gates, Activation activation, int64_t count);

  // The rest reads values[j * ld + i] for j < columns, ld = vectors * lanes.
  // Running log-sum-exp: sum[i] * exp(max[i]) grows by Σ_j exp(v), where v is the value or, for a
  // positive cap, cap * tanh(value / cap).
  void (*log_sum_exp)(A* max, A* sum, const A* values, int64_t vectors, int64_t columns, A cap);
  // counts[i] += number of j with values[j][i] > thresholds[i]
  void (*count_greater)(int64_t* counts, const A* thresholds, const A* values, int64_t vectors,
                        int64_t columns);
  // counts[i] += number of j with values[j][i] < thresholds[i]
  void (*count_less)(int64_t* counts, const A* thresholds, const A* values, int64_t vectors,
                     int64_t columns);
  // Indices j * ld + i, ascending, of the values above thresholds[i]; returns how many.
  int64_t (*find_greater)(int32_t* found, const A* thresholds, const A* values, int64_t vectors,
                          int64_t columns);
};

struct TileKernels {
  TileOps<float> f32;
  TileOps<double> f64;

  template <typename A>
  const TileOps<A>& of() const {
    if constexpr (sizeof(A) == sizeof(double)) {
      return f64;
    } else {
      return f32;
    }
  }
};

// The widest set this processor and torch's own settings allow.
const TileKernels& tiles();

}  // namespace kcircuits::cpu
