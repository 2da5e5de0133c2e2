#include "cpu/gemm_block.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <memory>

#include "cpu/gemm_kernels.h"

namespace kcircuits::cpu {
namespace {

// Weights above this many bytes are fetched ahead: they come from memory, or from a far cache.
constexpr int64_t kStreamBytes = 1 << 20;
// A panel's piece of this many k stays in the second-level cache (64 lanes: 384 KiB).
constexpr int64_t kPieceDepth = 1536;
// Columns of the output tile between two transpositions; the tile stays in the first-level cache.
constexpr int64_t kTileColumns = 96;
// Panels packed at once, in bytes: more rows than this are taken block by block.
constexpr int64_t kPackedBytes = 4 << 20;
// From this many rows on, a strip of w's columns is copied together before it is multiplied.
constexpr int64_t kCopyRows = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A thread's buffers: grown to the largest product seen, at most about kPackedBytes.
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

bool streams(const Product& p) { return p.n * p.k * int64_t{sizeof(float)} > kStreamBytes; }

const float* offset(const float* bias, int64_t n) { return bias == nullptr ? nullptr : bias + n; }

// Calls body(first, count) for [begin, end) in `pieces` nearly equal pieces that are multiples of
// unit, except for the last.
template <typename Body>
void for_pieces(int64_t begin, int64_t end, int64_t pieces, int64_t unit, Body body) {
  const int64_t units = ceil_div(end - begin, unit);
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t first = begin + units * i / pieces * unit;
    const int64_t last = std::min(end, begin + units * (i + 1) / pieces * unit);
    if (first < last) body(first, last - first);
  }
}

// Few rows: vectors run along k.
void multiply_dot(const GemmKernels& kernels, const Product& p, const Block& b) {
  // The tile of w is read once for every piece of rows, so it should stay in a near cache.
  const int64_t pieces = ceil_div(b.m1 - b.m0, kernels.max_dot_rows);
  const int64_t columns = pieces == 1 ? b.n1 - b.n0 : kTileColumns;
  for (int64_t n = b.n0; n < b.n1; n += columns) {
    const int64_t count = std::min(columns, b.n1 - n);
    for_pieces(b.m0, b.m1, pieces, 1, [&](int64_t m, int64_t rows) {
      kernels.dot_tile(p.out + m * p.out_stride + n, p.out_stride, p.x + m * p.x_stride, p.x_stride,
                       rows, p.w + n * p.w_stride, p.w_stride, count, p.k, offset(p.bias, n),
                       streams(p));
    });
  }
}

// Panels of transposed rows of x against broadcast rows of w; the tile comes out transposed.
void multiply_panels(const GemmKernels& kernels, const Product& p, const Block& b) {
  const int64_t lanes = kernels.lanes;
  const int64_t widest = lanes * kernels.max_vectors;
  const int64_t pieces = ceil_div(p.k, kPieceDepth);
  const int64_t rows_at_once =
      std::max<int64_t>(1, kPackedBytes / (p.k * widest * int64_t{sizeof(float)})) * widest;
  float* tile = tile_scratch.at_least(kTileColumns * widest);
  for (int64_t m0 = b.m0; m0 < b.m1; m0 += rows_at_once) {
    const int64_t m1 = std::min(b.m1, m0 + rows_at_once);
    const int64_t panels = ceil_div(m1 - m0, widest);
    const auto for_panels = [&](auto body) { for_pieces(m0, m1, panels, lanes, body); };
    const auto width_of = [&](int64_t rows) { return ceil_div(rows, lanes) * lanes; };
    float* packed = packed_scratch.at_least(width_of(m1 - m0) * p.k);
    for_panels([&](int64_t m, int64_t rows) {
      kernels.pack(packed + (m - m0) * p.k, width_of(rows), p.x + m * p.x_stride, p.x_stride, rows, p.k);
    });
    for (int64_t n = b.n0; n < b.n1; n += kTileColumns) {
      const int64_t count = std::min(kTileColumns, b.n1 - n);
      for_panels([&](int64_t m, int64_t rows) {
        const int64_t width = width_of(rows);
        for_pieces(0, p.k, pieces, 1, [&](int64_t k, int64_t depth) {
          kernels.panel_tile(tile, width, packed + (m - m0) * p.k + k * width, width, width,
                             p.w + n * p.w_stride + k, p.w_stride, count, depth,
                             {.row_bias = offset(p.bias, n), .add = k > 0}, streams(p) && m == m0);
        });
        kernels.transpose(p.out + m * p.out_stride + n, p.out_stride, tile, width, count, rows);
      });
    }
  }
}

// Strips of columns of w against broadcast rows of x.
void multiply_columns(const GemmKernels& kernels, const Product& p, const Block& b) {
  const int64_t lanes = kernels.lanes;
  const int64_t widest = lanes * kernels.max_vectors;
  const int64_t pieces = ceil_div(p.k, kPieceDepth);
  const int64_t rows = b.m1 - b.m0;
  for (int64_t n = b.n0; n < b.n1; n += widest) {
    const int64_t columns = std::min(widest, b.n1 - n);
    const int64_t width = ceil_div(columns, lanes) * lanes;
    const bool whole = columns == width;
    float* out = p.out + b.m0 * p.out_stride + n;
    int64_t out_stride = p.out_stride;
    const float* bias = offset(p.bias, n);
    if (!whole) {  // no room for whole vectors in the output, nor in the bias
      float* tile = tile_scratch.at_least((rows + 1) * width);
      if (bias != nullptr) {
        std::memcpy(tile + rows * width, bias, columns * sizeof(float));
        bias = tile + rows * width;
      }
      out = tile;
      out_stride = width;
    }
    for_pieces(0, p.k, pieces, 1, [&](int64_t k, int64_t depth) {
      const float* strip = p.w + k * p.w_stride + n;
      int64_t strip_stride = p.w_stride;
      if (!whole || rows >= kCopyRows) {
        float* packed = packed_scratch.at_least(depth * width);
        for (int64_t i = 0; i < depth; ++i) {
          std::memcpy(packed + i * width, strip + i * strip_stride, columns * sizeof(float));
          std::fill(packed + i * width + columns, packed + (i + 1) * width, 0.f);
        }
        strip = packed;
        strip_stride = width;
      }
      kernels.panel_tile(out, out_stride, strip, strip_stride, width, p.x + b.m0 * p.x_stride + k,
                         p.x_stride, rows, depth, {.lane_bias = bias, .add = k > 0}, false);
    });
    if (!whole) {
      for (int64_t m = b.m0; m < b.m1; ++m) {
        std::memcpy(p.out + m * p.out_stride + n, out + (m - b.m0) * out_stride, columns * sizeof(float));
      }
    }
  }
}

// Measured: the dot tiles use all lanes but pay for a sum over lanes at the end of each.
bool prefers_dot(const GemmKernels& kernels, int64_t rows, int64_t k) {
  return rows <= 4 || (rows <= kernels.lanes / 2 && k >= 256);
}

}  // namespace

void multiply_block(const Product& product, const Block& block) {
  const GemmKernels& kernels = gemm_kernels();
  if (product.w_by_columns) return multiply_columns(kernels, product, block);
  if (prefers_dot(kernels, block.m1 - block.m0, product.k)) {
    return multiply_dot(kernels, product, block);
  }
  return multiply_panels(kernels, product, block);
}

double block_cost(const Product& product, int64_t rows, int64_t columns) {
  const GemmKernels& kernels = gemm_kernels();
  constexpr double kPerMultiplyAdd = 1. / 128;  // 32 a cycle at 4 GHz
  const double k = static_cast<double>(product.k);
  if (product.w_by_columns) {
    const double lanes = ceil_div(columns, kernels.lanes) * kernels.lanes;
    return 200 + kPerMultiplyAdd * k * lanes * std::max<int64_t>(rows, 2);
  }
  if (prefers_dot(kernels, rows, product.k)) {
    return 100 + kPerMultiplyAdd * (k + 200) * columns * std::max<int64_t>(rows, 4);
  }
  const int64_t vectors = ceil_div(rows, kernels.lanes);
  const double lanes = vectors * kernels.lanes * (vectors == 1 ? 1.25 : 1.);
  const double pack = 0.12 * k * rows;
  return 200 + pack + kPerMultiplyAdd * lanes * columns * (k + 24);
}

}  // namespace kcircuits::cpu
