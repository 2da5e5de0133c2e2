// A tile of A·Bᵀ by one block of threads, for matrices whose rows lie in memory one after the
// other.
//
// FmaTile multiplies float32 and float64 in their own precision on the CUDA cores; MmaTile
// multiplies float16 and bfloat16 on the tensor cores and adds in float32. Both add an element's
// products up in the order of k whatever its place in the tile is, so equal rows give equal sums.
//
// run() adds k = 0 … length-1 to the sums. It takes two functions that map a row of the tile to the
// row's first element, or to null for a row of zeros, and whether every row (and the length) is
// aligned to 16 bytes. Two buffers: the next elements are fetched while the present ones are
// multiplied, with one barrier per step.
#pragma once

#include "cuda/block.cuh"

namespace kcircuits::cuda {

inline constexpr int kProductThreads = 256;
// Blocks that share a multiprocessor: 128 registers for each thread.
inline constexpr int kProductBlocks = 2;
inline constexpr int kProductWarps = kProductThreads / kWarp;

// kStep elements of kRows rows on their way from global to shared memory.
template <typename T, int kRows, int kStep>
class TileFetch {
 public:
  template <typename Row>
  __device__ void fetch(Row row, bool aligned, int64_t first, int64_t length) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      staged_[i] = {};
      const T* from = owns(i) ? row(row_of(i)) : nullptr;
      const int64_t k = first + column_of(i);
      if (from == nullptr || k >= length) continue;
      if (aligned) {
        staged_[i] = *reinterpret_cast<const Pack<T, kVector>*>(from + k);
      } else {
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
          if (k + v < length) staged_[i].values[v] = from[k + v];
        }
      }
    }
  }

  // place(row, column, pack)
  template <typename Place>
  __device__ void unload(Place place) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (owns(i)) place(row_of(i), column_of(i), staged_[i]);
    }
  }

 private:
  static constexpr int kVector = kVectorOf<T>;
  static constexpr int kPerRow = kStep / kVector;
  static constexpr int kVectors = kRows * kPerRow;
  static constexpr int kCount = (kVectors + kProductThreads - 1) / kProductThreads;

  __device__ static int index(int i) { return i * kProductThreads + static_cast<int>(threadIdx.x); }
  __device__ static bool owns(int i) {
    return kVectors % kProductThreads == 0 || index(i) < kVectors;
  }
  __device__ static int row_of(int i) { return index(i) / kPerRow; }
  __device__ static int column_of(int i) { return index(i) % kPerRow * kVector; }

  Pack<T, kVector> staged_[kCount];
};

// 128 (float64: 64) rows of A times kCols rows of B.
template <typename T, int kCols>
class FmaTile {
 public:
  using Element = T;
  static constexpr int kRows = sizeof(T) == 8 ? 64 : 128;
  static constexpr int kColumns = kCols;
  static constexpr int kParts = 1;

  struct Shared {
    alignas(16) T a[2][sizeof(T) == 8 ? 8 : 16][kRows + 4];
    alignas(16) T b[2][sizeof(T) == 8 ? 8 : 16][kCols + 4];
  };

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
      for (int j = 0; j < kThreadCols; ++j) sums_[i][j] = 0;
    }
  }

  template <typename RowA, typename RowB>
  __device__ void run(Shared& shared, RowA row_a, RowB row_b, bool aligned, int64_t length) {
    TileFetch<T, kRows, kStep> a;
    TileFetch<T, kCols, kStep> b;
    a.fetch(row_a, aligned, 0, length);
    b.fetch(row_b, aligned, 0, length);
    KCIRCUITS_BARRIER(buffers_free);
    int buffer = 0;
    for (int64_t k = 0; k < length; k += kStep, buffer ^= 1) {
      transpose(a, shared.a[buffer]);
      transpose(b, shared.b[buffer]);
      KCIRCUITS_BARRIER(buffer_filled);
      if (k + kStep < length) {
        a.fetch(row_a, aligned, k + kStep, length);
        b.fetch(row_b, aligned, k + kStep, length);
      }
      multiply(shared.a[buffer], shared.b[buffer]);
    }
  }

  // visit(row, column, sum) for this thread's sums.
  template <typename Visit>
  __device__ void each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
      for (int j = 0; j < kThreadCols; ++j) visit(row_of(i), first_col() + j, sums_[i][j]);
    }
  }

  // this += factor * other
  __device__ void add(const FmaTile& other, T factor) {
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
      for (int j = 0; j < kThreadCols; ++j) sums_[i][j] += factor * other.sums_[i][j];
    }
  }

 private:
  static constexpr int kStep = sizeof(T) == 8 ? 8 : 16;
  static constexpr int kPerThread = kRows * kCols / kProductThreads;
  static constexpr int kThreadRows = kPerThread >= 32 ? 8 : 4;
  static constexpr int kThreadCols = kPerThread / kThreadRows;
  static constexpr int kAcross = kRows / kThreadRows;  // threads along A's rows

  __device__ static int row_of(int i) {
    return i / 4 * kAcross * 4 + static_cast<int>(threadIdx.x) % kAcross * 4 + i % 4;
  }
  __device__ static int first_col() {
    return static_cast<int>(threadIdx.x) / kAcross * kThreadCols;
  }

  template <typename Fetch, int kPitch>
  __device__ static void transpose(const Fetch& fetch, T (&to)[kStep][kPitch]) {
    fetch.unload([&](int row, int column, const auto& pack) {
#pragma unroll
      for (int v = 0; v < kVectorOf<T>; ++v) to[column + v][row] = pack.values[v];
    });
  }

  __device__ void multiply(const T (&a)[kStep][kRows + 4], const T (&b)[kStep][kCols + 4]) {
#pragma unroll 4
    for (int k = 0; k < kStep; ++k) {
      T left[kThreadRows], right[kThreadCols];
#pragma unroll
      for (int i = 0; i < kThreadRows; i += 4) {
        const Pack<T, 4> pack = *reinterpret_cast<const Pack<T, 4>*>(&a[k][row_of(i)]);
#pragma unroll
        for (int v = 0; v < 4; ++v) left[i + v] = pack.values[v];
      }
      const auto pack = *reinterpret_cast<const Pack<T, kThreadCols>*>(&b[k][first_col()]);
#pragma unroll
      for (int j = 0; j < kThreadCols; ++j) right[j] = pack.values[j];
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
        for (int j = 0; j < kThreadCols; ++j) sums_[i][j] += left[i] * right[j];
      }
    }
  }

  T sums_[kThreadRows][kThreadCols];
};

// 128 rows of A times kCols rows of B. With two parts, a row of B is the sum of two rows of T (its
// value rounded, and what the rounding lost): B's rows are then 2·kCols, the second parts last.
template <typename T, int kCols, int kPartCount>
class MmaTile {
 public:
  using Element = T;
  static constexpr int kRows = 128;
  static constexpr int kColumns = kCols;
  static constexpr int kParts = kPartCount;

 private:
  static constexpr int kStep = 32;
  // Rows 80 bytes apart: the eight rows of a fragment lie in different banks, and 16-byte aligned.
  static constexpr int kPitch = kStep + 8;
  static constexpr int kWarpsAcross = kCols >= 64 ? 2 : 1;
  static constexpr int kWarpRows = kRows / (kProductWarps / kWarpsAcross);
  static constexpr int kWarpCols = kCols / kWarpsAcross;
  static constexpr int kTileRows = kWarpRows / 16;
  static constexpr int kTileCols = kWarpCols / 8;

 public:
  struct Shared {
    alignas(16) T a[2][kRows][kPitch];
    alignas(16) T b[2][kCols * kParts][kPitch];
  };

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
#pragma unroll
      for (int j = 0; j < kTileCols; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums_[i][j][c] = 0;
      }
    }
  }

  template <typename RowA, typename RowB>
  __device__ void run(Shared& shared, RowA row_a, RowB row_b, bool aligned, int64_t length) {
    TileFetch<T, kRows, kStep> a;
    TileFetch<T, kCols * kParts, kStep> b;
    a.fetch(row_a, aligned, 0, length);
    b.fetch(row_b, aligned, 0, length);
    KCIRCUITS_BARRIER(buffers_free);
    int buffer = 0;
    for (int64_t k = 0; k < length; k += kStep, buffer ^= 1) {
      copy(a, shared.a[buffer]);
      copy(b, shared.b[buffer]);
      KCIRCUITS_BARRIER(buffer_filled);
      if (k + kStep < length) {
        a.fetch(row_a, aligned, k + kStep, length);
        b.fetch(row_b, aligned, k + kStep, length);
      }
#pragma unroll
      for (int column = 0; column < kStep; column += 16) multiply(shared, buffer, column);
    }
  }

  template <typename Visit>
  __device__ void each(Visit visit) const {
    const int row = first_row() + lane() / 4;
    const int col = first_col() + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
#pragma unroll
      for (int j = 0; j < kTileCols; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          visit(row + i * 16 + c / 2 * 8, col + j * 8 + c % 2, sums_[i][j][c]);
        }
      }
    }
  }

  __device__ void add(const MmaTile& other, float factor) {
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
#pragma unroll
      for (int j = 0; j < kTileCols; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums_[i][j][c] += factor * other.sums_[i][j][c];
      }
    }
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  __device__ static int first_row() {
    return static_cast<int>(threadIdx.x) / kWarp / kWarpsAcross * kWarpRows;
  }
  __device__ static int first_col() {
    return static_cast<int>(threadIdx.x) / kWarp % kWarpsAcross * kWarpCols;
  }

  template <typename Fetch, int kCount>
  __device__ static void copy(const Fetch& fetch, T (&to)[kCount][kPitch]) {
    fetch.unload([&](int row, int column, const auto& pack) {
      *reinterpret_cast<Pack<T, kVectorOf<T>>*>(&to[row][column]) = pack;
    });
  }

  __device__ static uint32_t pair(const T& first) {
    return *reinterpret_cast<const uint32_t*>(&first);
  }

  __device__ void multiply(const Shared& shared, int buffer, int column) {
    const int at = column + lane() % 4 * 2;
    uint32_t a[kTileRows][4];
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
      const int row = first_row() + i * 16 + lane() / 4;
      a[i][0] = pair(shared.a[buffer][row][at]);
      a[i][1] = pair(shared.a[buffer][row + 8][at]);
      a[i][2] = pair(shared.a[buffer][row][at + 8]);
      a[i][3] = pair(shared.a[buffer][row + 8][at + 8]);
    }
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int j = 0; j < kTileCols; ++j) {
        const int row = part * kCols + first_col() + j * 8 + lane() / 4;
        const uint32_t b[2] = {pair(shared.b[buffer][row][at]),
                               pair(shared.b[buffer][row][at + 8])};
#pragma unroll
        for (int i = 0; i < kTileRows; ++i) multiply_add(T{}, sums_[i][j], a[i], b);
      }
    }
  }

  float sums_[kTileRows][kTileCols][4];
};

template <typename T, int kCols, int kParts>
struct ProductTileOf {
  using type = MmaTile<T, kCols, kParts>;
};
template <int kCols, int kParts>
struct ProductTileOf<float, kCols, kParts> {
  using type = FmaTile<float, kCols>;
};
template <int kCols, int kParts>
struct ProductTileOf<double, kCols, kParts> {
  using type = FmaTile<double, kCols>;
};
// The tile that multiplies T. kParts is for rows of B that T alone cannot hold.
template <typename T, int kCols, int kParts = 1>
using ProductTile = typename ProductTileOf<T, kCols, kParts>::type;

}  // namespace kcircuits::cuda
