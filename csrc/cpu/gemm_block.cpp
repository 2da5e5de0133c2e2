#include "cpu/gemm_block.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "cpu/tiles.h"

namespace kcircuits::cpu {
namespace {

constexpr int64_t kTileColumns = 96;     // of the output, for each panel; a multiple of all tiles'
constexpr int64_t kTileRows = 48;        // the same where strips of w are the panels
constexpr int64_t kDepth = 12 * kChain;  // of a panel that stays in the second-level cache
constexpr int64_t kPacked = 1 << 20;     // elements of x packed at once, unless one panel has more
constexpr int64_t kNear = 1 << 18;       // elements of w that may still be in a near cache
constexpr int64_t kRowsToCopyFor = 32;   // from here on scattered columns of w are copied together
constexpr int64_t kRowsToTransposeFor = 8;  // up to here w is transposed instead of x,
constexpr int64_t kTransposed = 1 << 22;    // unless it has more elements and comes from memory

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A thread's buffer, kept from call to call: fresh pages would cost more than the copy into them.
class Scratch {
 public:
  float* at_least(int64_t count) {
    if (count > size_) {
      data_.reset(static_cast<float*>(::operator new(count * sizeof(float), kAlignment)));
      size_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t size_ = 0;
};

thread_local Scratch packed_scratch, tile_scratch;

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

  // Panels are rows of x, transposed; the rows of w are read where they lie. The tile comes out
  // transposed.
  void by_rows_of_x() const {
    const int64_t at_once = std::max<int64_t>(1, kPacked / (p_.k * widest())) * widest();
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
      for (int64_t n = b_.n0; n < b_.n1; n += kTileColumns) {
        const int64_t columns = std::min(kTileColumns, b_.n1 - n);
        for_panels([&](int64_t m, int64_t rows, const float* panel) {
          multiply_rows(m, rows, panel, n, columns, /*first=*/m == b_.m0);
        });
      }
    }
  }

  // Panels are strips of w's columns, against the rows of x. With few rows this is worth a
  // transposition of w: it fills the vectors, which x could not.
  void by_columns_of_w() const {
    const int64_t rows = b_.m1 - b_.m0;
    for (int64_t n = b_.n0; n < b_.n1; n += widest()) {
      const int64_t columns = std::min(widest(), b_.n1 - n);
      const int64_t ld = padded(columns);
      const float* strip = p_.w + n;
      int64_t ld_strip = p_.ldw;
      if (!p_.w_by_columns) {
        float* packed = packed_scratch.at_least(ld * p_.k);
        pack(packed, p_.w + n * p_.ldw, p_.ldw, columns, p_.k);
        strip = packed;
        ld_strip = ld;
      } else if (columns < ld || rows >= kRowsToCopyFor) {
        float* packed = packed_scratch.at_least(ld * p_.k);
        for (int64_t k = 0; k < p_.k; ++k)
          copy_padded(packed + k * ld, strip + k * p_.ldw, columns);
        strip = packed;
        ld_strip = ld;
      }
      multiply_strip(strip, ld_strip, n, columns);
    }
  }

 private:
  int64_t widest() const { return ops_.lanes * ops_.max_vectors; }
  int64_t padded(int64_t rows) const { return ceil_div(rows, ops_.lanes) * ops_.lanes; }

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
                     bool first) const {
    const int64_t ld = padded(rows);
    float* tile = tile_scratch.at_least(kTileColumns * widest());
    const auto kernel = first && p_.n * p_.k > kNear ? ops_.multiply_far : ops_.multiply;
    for (int64_t j = 0; j < columns; ++j) {
      std::fill_n(tile + j * ld, ld, p_.bias == nullptr ? 0.0f : p_.bias[n + j]);
    }
    for_pieces(0, p_.k, ceil_div(p_.k, kDepth), kChain, [&](int64_t k, int64_t depth) {
      kernel(tile, nullptr, panel + k * ld, ld, ld / ops_.lanes, p_.w + n * p_.ldw + k, p_.ldw,
             columns, depth);
    });
    ops_.transpose(p_.out + m * p_.ld_out + n, p_.ld_out, tile, ld, columns, rows);
  }

  void multiply_strip(const float* strip, int64_t ld_strip, int64_t n, int64_t columns) const {
    const int64_t ld = padded(columns);
    float* start = tile_scratch.at_least((kTileRows + 1) * widest());
    float* tile = start + widest();
    std::fill(start, start + ld, 0.0f);
    if (p_.bias != nullptr) std::copy_n(p_.bias + n, columns, start);
    for (int64_t m = b_.m0; m < b_.m1; m += kTileRows) {
      const int64_t rows = std::min(kTileRows, b_.m1 - m);
      for (int64_t i = 0; i < rows; ++i) std::copy_n(start, ld, tile + i * ld);
      for_pieces(0, p_.k, ceil_div(p_.k, kDepth), kChain, [&](int64_t k, int64_t depth) {
        ops_.multiply(tile, nullptr, strip + k * ld_strip, ld_strip, ld / ops_.lanes,
                      p_.x + m * p_.ldx + k, p_.ldx, rows, depth);
      });
      for (int64_t i = 0; i < rows; ++i) {
        std::copy_n(tile + i * ld, columns, p_.out + (m + i) * p_.ld_out + n);
      }
    }
  }

  const TileOps<float>& ops_;
  const Operands& p_;
  const Block& b_;
};

bool takes_columns(const Operands& operands, int64_t rows) {
  if (operands.w_by_columns || rows == 1) return true;
  return rows <= kRowsToTransposeFor && operands.n * operands.k <= kTransposed;
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
  const int64_t lanes = tiles().of<float>().lanes;
  const auto padded = [&](int64_t count) {
    return static_cast<double>(ceil_div(count, lanes) * lanes);
  };
  const double depth = static_cast<double>(operands.k) + 24;  // a tile has a beginning and an end
  if (takes_columns(operands, rows)) {
    const double copied = operands.w_by_columns ? 0 : kTransposition * depth * padded(columns);
    return 200 + copied + kMultiplyAdd * depth * padded(columns) * std::max<double>(rows, 3);
  }
  return 200 + kTransposition * depth * padded(rows) +
         kMultiplyAdd * depth * padded(rows) * columns;
}

}  // namespace kcircuits::cpu
