#include "cpu/gemm_block.h"

#include <algorithm>
#include <cstring>

#include "cpu/scratch.h"
#include "cpu/tiles.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kTileColumns = 96;     // of the output, for each panel; a multiple of all tiles'
constexpr int64_t kTileRows = 48;        // the same where strips of w are the panels
constexpr int64_t kDepth = 12 * kChain;  // of a panel that stays in the second-level cache
constexpr int64_t kPacked = 1 << 20;     // elements of x packed at once, unless one panel has more
constexpr int64_t kMade = 1 << 16;       // elements of w made at once, unless a few rows have more
constexpr int64_t kNear = 1 << 18;       // elements of w that may still be in a near cache
constexpr int64_t kRowsToCopyFor = 32;   // from here on scattered columns of w are copied together
constexpr int64_t kRowsToTransposeFor = 8;  // up to here w is transposed instead of x,
constexpr int64_t kTransposed = 1 << 14;    // unless it has more elements and comes from memory

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

thread_local Scratch packed_scratch, tile_scratch;
thread_local Scratch made_scratch[2];  // of a factor and of its gate

// Calls body(first, count) for [begin, end) in `parts` nearly equal pieces, multiples of unit.
template <typename Body>
void for_pieces(int64_t begin, int64_t end, int64_t parts, int64_t unit, const Body& body) {
  const int64_t units = ceil_div(end - begin, unit);
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t first = begin + units * i / parts * unit;
    const int64_t last = std::min(end, begin + units * (i + 1) / parts * unit);
    if (first < last) body(first, last - first);
  }
}

class BlockProduct {
 public:
  BlockProduct(const Operands& operands, const Block& block)
      : ops_(tiles().of<float>()), p_(operands), b_(block) {}

  // Panels are rows of x, transposed; the rows of w are read where they lie, or where they were
  // made. The tile comes out transposed.
  void by_rows_of_x() const {
    const int64_t at_once = std::max<int64_t>(1, kPacked / (p_.k * widest())) * widest();
    const int64_t width = tile_columns();
    for (int64_t m0 = b_.m0; m0 < b_.m1; m0 += at_once) {
      const int64_t m1 = std::min(b_.m1, m0 + at_once);
      const int64_t panels = ceil_div(m1 - m0, widest());
      const auto for_panels = [&](const auto& body) {
        for_pieces(m0, m1, panels, ops_.lanes, [&](int64_t m, int64_t rows) {
          body(m, rows, packed_scratch.at_least(padded(m1 - m0) * p_.k) + (m - m0) * p_.k);
        });
      };
      for_panels([&](int64_t m, int64_t rows, float* panel) {
        pack(panel, p_.x + m * p_.ldx, p_.ldx, rows, p_.k);
      });
      for (int64_t n = b_.n0; n < b_.n1; n += width) {
        const int64_t columns = std::min(width, b_.n1 - n);
        const Rows rows_of_w = rows_of(p_.factor, n, columns, made_scratch[0]);
        const Rows rows_of_gate =
            p_.gate ? rows_of(p_.gate->factor, n, columns, made_scratch[1]) : Rows{};
        for_panels([&](int64_t m, int64_t rows, const float* panel) {
          multiply_rows(m, rows, panel, n, columns, rows_of_w, rows_of_gate,
                        /*first=*/m == b_.m0);
        });
      }
    }
  }

  // Panels are strips of w's columns, against the rows of x. With few rows this is worth a
  // transposition of w: it fills the vectors, which x could not.
  void by_columns_of_w() const {
    for (int64_t n = b_.n0; n < b_.n1; n += widest()) {
      const int64_t columns = std::min(widest(), b_.n1 - n);
      float* packed = packed_scratch.at_least(2 * padded(columns) * p_.k);
      const Strip strip = make_strip(p_.factor, n, columns, packed);
      if (p_.gate) {
        const Strip gate = make_strip(p_.gate->factor, n, columns, packed + padded(columns) * p_.k);
        multiply_strips(strip, &gate, n, columns);
      } else {
        multiply_strips(strip, nullptr, n, columns);
      }
    }
  }

 private:
  // Some rows of a factor: element (j, k) at data[j * ld + k].
  struct Rows {
    const float* data;
    int64_t ld;
    bool far;  // in memory, not in a cache
  };
  // Some columns of a factor: element (k, j) at data[k * ld + j].
  struct Strip {
    const Factor* factor;
    const float* data;
    int64_t ld;
  };

  int64_t widest() const { return ops_.lanes * ops_.max_vectors; }
  int64_t padded(int64_t rows) const { return ceil_div(rows, ops_.lanes) * ops_.lanes; }

  int64_t tile_columns() const {
    if (p_.factor.w->floats() != nullptr && (!p_.gate || p_.gate->factor.w->floats() != nullptr))
      return kTileColumns;
    return std::clamp(kMade / p_.k / kLeastColumns * kLeastColumns, kLeastColumns, kTileColumns);
  }

  Rows rows_of(const Factor& factor, int64_t n, int64_t columns, Scratch& scratch) const {
    const Stored& w = *factor.w;
    if (w.floats() != nullptr) return {w.floats() + n * w.ld(), w.ld(), p_.n * p_.k > kNear};
    float* made = scratch.at_least(columns * p_.k);
    w.widen(made, p_.k, n, columns, 0, p_.k);
    return {made, p_.k, false};
  }

  // panel[k * padded(rows) + r] = from[r * ld_from + k], and zeros in the lanes that are left.
  void pack(float* panel, const float* from, int64_t ld_from, int64_t rows, int64_t depth) const {
    const int64_t ld = padded(rows);
    if (rows < ld) {
      for (int64_t k = 0; k < depth; ++k) {
        std::memset(panel + k * ld + ld - ops_.lanes, 0, ops_.lanes * sizeof(float));
      }
    }
    for (int64_t r = 0; r < rows; r += ops_.lanes) {  // as few streams at a time as fill a vector
      ops_.transpose(panel + r, ld, from + r * ld_from, ld_from, std::min(ops_.lanes, rows - r),
                     depth);
    }
  }

  void copy_padded(float* to, const float* from, int64_t count) const {
    std::memcpy(to, from, count * sizeof(float));
    std::fill(to + count, to + padded(count), 0.0f);
  }

  void multiply_rows(int64_t m, int64_t rows, const float* panel, int64_t n, int64_t columns,
                     const Rows& w, const Rows& gate, bool first) const {
    const int64_t ld = padded(rows);
    float* tile = tile_scratch.at_least(2 * kTileColumns * widest());
    multiply_panel(tile, p_.factor, w, panel, ld, n, columns, first);
    if (p_.gate) {
      float* gates = tile + kTileColumns * widest();
      multiply_panel(gates, p_.gate->factor, gate, panel, ld, n, columns, first);
      ops_.gate(tile, gates, p_.gate->activation, columns * ld);
    }
    ops_.transpose(p_.out + m * p_.ld_out + n, p_.ld_out, tile, ld, columns, rows);
  }

  // The first panel to meet w finds it in memory.
  void multiply_panel(float* tile, const Factor& factor, const Rows& w, const float* panel,
                      int64_t ld, int64_t n, int64_t columns, bool first) const {
    const auto kernel = first && w.far ? ops_.multiply_far : ops_.multiply;
    for (int64_t j = 0; j < columns; ++j) {
      std::fill_n(tile + j * ld, ld, factor.bias == nullptr ? 0.0f : factor.bias[n + j]);
    }
    for_pieces(0, p_.k, ceil_div(p_.k, kDepth), kChain, [&](int64_t k, int64_t depth) {
      kernel(tile, nullptr, panel + k * ld, ld, ld / ops_.lanes, w.data + k, w.ld, columns, depth);
    });
  }

  Strip make_strip(const Factor& factor, int64_t n, int64_t columns, float* packed) const {
    const int64_t ld = padded(columns);
    const Stored& w = *factor.w;
    if (!w.by_columns()) {
      const Rows rows = rows_of(factor, n, columns, made_scratch[0]);
      pack(packed, rows.data, rows.ld, columns, p_.k);
      return {&factor, packed, ld};
    }
    if (w.floats() == nullptr) {
      w.widen(packed, ld, 0, p_.k, n, columns);
      for (int64_t k = 0; k < p_.k; ++k)
        std::fill(packed + k * ld + columns, packed + (k + 1) * ld, 0.0f);
      return {&factor, packed, ld};
    }
    const float* strip = w.floats() + n;
    if (columns == ld && b_.m1 - b_.m0 < kRowsToCopyFor) return {&factor, strip, w.ld()};
    for (int64_t k = 0; k < p_.k; ++k) copy_padded(packed + k * ld, strip + k * w.ld(), columns);
    return {&factor, packed, ld};
  }

  void multiply_strips(const Strip& strip, const Strip* gate, int64_t n, int64_t columns) const {
    const int64_t ld = padded(columns);
    const int64_t size = kTileRows * widest();
    float* tile = tile_scratch.at_least(2 * size);
    for (int64_t m = b_.m0; m < b_.m1; m += kTileRows) {
      const int64_t rows = std::min(kTileRows, b_.m1 - m);
      multiply_strip(tile, strip, m, rows, n, columns);
      if (gate != nullptr) {
        multiply_strip(tile + size, *gate, m, rows, n, columns);
        ops_.gate(tile, tile + size, p_.gate->activation, rows * ld);
      }
      for (int64_t i = 0; i < rows; ++i) {
        std::copy_n(tile + i * ld, columns, p_.out + (m + i) * p_.ld_out + n);
      }
    }
  }

  void multiply_strip(float* tile, const Strip& strip, int64_t m, int64_t rows, int64_t n,
                      int64_t columns) const {
    const int64_t ld = padded(columns);
    std::fill(tile, tile + rows * ld, 0.0f);
    if (const float* bias = strip.factor->bias_at(n); bias != nullptr) {
      for (int64_t i = 0; i < rows; ++i) std::copy_n(bias, columns, tile + i * ld);
    }
    for_pieces(0, p_.k, ceil_div(p_.k, kDepth), kChain, [&](int64_t k, int64_t depth) {
      ops_.multiply(tile, nullptr, strip.data + k * strip.ld, strip.ld, ld / ops_.lanes,
                    p_.x + m * p_.ldx + k, p_.ldx, rows, depth);
    });
  }

  static constexpr int64_t kLeastColumns = 24;  // a multiple of all tiles'

  const TileOps<float>& ops_;
  const Operands& p_;
  const Block& b_;
};

bool takes_columns(const Operands& operands, int64_t rows) {
  const Stored& w = *operands.factor.w;
  if (w.by_columns()) return true;
  return w.floats() != nullptr && rows <= kRowsToTransposeFor &&
         operands.n * operands.k <= kTransposed;
}

}  // namespace

void multiply_block(const Operands& operands, const Block& block) {
  const BlockProduct product(operands, block);
  if (takes_columns(operands, block.m1 - block.m0)) {
    product.by_columns_of_w();
  } else {
    product.by_rows_of_x();
  }
}

double block_cost(const Operands& operands, int64_t rows, int64_t columns) {
  constexpr double kMultiplyAdd = 1.0 / 128;  // 32 a cycle at 4 GHz
  constexpr double kTransposition = 0.06;     // of an element
  constexpr double kReading = 0.05;           // of an element of w, where rows of x are panels
  constexpr double kMaking = 0.04;            // of an element that is not float32
  const int64_t lanes = tiles().of<float>().lanes;
  const auto padded = [&](int64_t count) {
    return static_cast<double>(ceil_div(count, lanes) * lanes);
  };
  const Stored& w = *operands.factor.w;
  const double depth = static_cast<double>(operands.k) + 24;  // a tile has a beginning and an end
  if (operands.gate) columns *= 2;
  const double made = w.floats() == nullptr ? kMaking * depth * padded(columns) : 0;
  if (takes_columns(operands, rows)) {
    const double copied = w.by_columns() ? 0 : kTransposition * depth * padded(columns);
    return 200 + made + copied + kMultiplyAdd * depth * padded(columns) * std::max<double>(rows, 3);
  }
  return 200 + made + kTransposition * depth * padded(rows) + kReading * depth * columns +
         kMultiplyAdd * depth * padded(rows) * columns;
}

}  // namespace kcircuits::cpu
