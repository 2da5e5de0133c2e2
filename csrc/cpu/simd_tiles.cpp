// No standard containers or algorithms here; simd_rows.cpp says why.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <cmath>
#include <limits>

#include "cpu/tiles.h"

#define KC_CONCAT_(a, b) a##b
#define KC_CONCAT(a, b) KC_CONCAT_(a, b)

namespace kcircuits::cpu {
namespace {

template <typename A>
using Vec = at::vec::Vectorized<A>;

// The sums of a tile fill the registers: with AVX-512 24 of 32, where three loads and eight
// broadcasts feed 24 multiply-adds; 12 of 16 with AVX2. Narrow panels take more columns, for enough
// independent sums.
#if defined(CPU_CAPABILITY_AVX2)
constexpr int kMaxVectors = 2;
template <int kVectors>
constexpr int kColumns = kVectors == 1 ? 12 : 6;
#else
constexpr int kMaxVectors = 3;
template <int kVectors>
constexpr int kColumns = kVectors == 3 ? 8 : 12;
#endif

template <typename A>
void transpose(A* to, int64_t ld_to, const A* from, int64_t ld_from, int64_t rows, int64_t depth) {
  constexpr int64_t kSize = Vec<A>::size();
  for (int64_t k = 0; k < depth; k += kSize) {
    const int64_t ks = depth - k < kSize ? depth - k : kSize;
    for (int64_t i = 0; i < rows; i += kSize) {
      const int64_t is = rows - i < kSize ? rows - i : kSize;
      A* block = to + k * ld_to + i;
      const A* source = from + i * ld_from + k;
      if (is == kSize && ks == kSize) {
        at::vec::transpose_mxn<A, kSize, kSize>(source, ld_from, block, ld_to);
        continue;
      }
#if defined(CPU_CAPABILITY_AVX512)
      if constexpr (sizeof(A) == sizeof(float)) {  // by masked loads and stores
        at::vec::transpose_mxn<A>(source, ld_from, block, ld_to, static_cast<int>(is),
                                  static_cast<int>(ks));
        continue;
      }
#endif
      for (int64_t b = 0; b < is; ++b) {
        for (int64_t a = 0; a < ks; ++a) block[a * ld_to + b] = source[b * ld_from + a];
      }
    }
  }
}

template <typename A, int kVectors, int kCount, bool kAhead>
void multiply_tile(A* acc, const A* start, const A* x, int64_t ldx, const A* w, int64_t ldw,
                   int64_t depth) {
  constexpr int64_t kSize = Vec<A>::size();
  Vec<A> sums[kCount][kVectors];
  const auto step = [&](int64_t k) {
    Vec<A> xs[kVectors];
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v) xs[v] = Vec<A>::loadu(x + k * ldx + v * kSize);
#pragma GCC unroll 12
    for (int j = 0; j < kCount; ++j) {
      const Vec<A> ws(w[j * ldw + k]);
#pragma GCC unroll 12
      for (int v = 0; v < kVectors; ++v) sums[j][v] = at::vec::fmadd(xs[v], ws, sums[j][v]);
    }
  };
  int64_t k = 0;
  do {  // one chain; once also where the depth is 0
#pragma GCC unroll 12
    for (int j = 0; j < kCount; ++j) {
#pragma GCC unroll 12
      for (int v = 0; v < kVectors; ++v) sums[j][v] = Vec<A>(start == nullptr ? A(0) : start[j]);
    }
    const int64_t end = depth - k < kChain ? depth : k + kChain;
    if constexpr (kAhead) {
      constexpr int64_t kLine = 64 / sizeof(A);
      for (; k + kLine <= end; k += kLine) {
#pragma GCC unroll 12
        for (int j = 0; j < kCount; ++j) __builtin_prefetch(w + (kCount + j) * ldw + k, 0, 2);
        for (int64_t i = k; i < k + kLine; ++i) step(i);
      }
    }
    for (; k < end; ++k) step(k);
#pragma GCC unroll 12
    for (int j = 0; j < kCount; ++j) {
#pragma GCC unroll 12
      for (int v = 0; v < kVectors; ++v) {
        A* to = acc + (j * kVectors + v) * kSize;
        (start == nullptr ? Vec<A>::loadu(to) + sums[j][v] : sums[j][v]).store(to);
      }
    }
    start = nullptr;
  } while (k < depth);
}

template <typename A, int kVectors, bool kAhead>
void multiply_panel(A* acc, const A* start, const A* x, int64_t ldx, const A* w, int64_t ldw,
                    int64_t columns, int64_t depth) {
  constexpr int64_t kLd = kVectors * Vec<A>::size();
  const auto from = [start](int64_t j) { return start == nullptr ? nullptr : start + j; };
  int64_t j = 0;
  for (; j + kColumns<kVectors> <= columns; j += kColumns<kVectors>) {
    multiply_tile<A, kVectors, kColumns<kVectors>, kAhead>(acc + j * kLd, from(j), x, ldx,
                                                           w + j * ldw, ldw, depth);
  }
  const auto rest = [&]<int kCount>() {
    multiply_tile<A, kVectors, kCount, false>(acc + j * kLd, from(j), x, ldx, w + j * ldw, ldw,
                                              depth);
    j += kCount;
  };
  if (columns - j >= 8) rest.template operator()<8>();
  switch (columns - j) {
    case 7:
      return rest.template operator()<7>();
    case 6:
      return rest.template operator()<6>();
    case 5:
      return rest.template operator()<5>();
    case 4:
      return rest.template operator()<4>();
    case 3:
      return rest.template operator()<3>();
    case 2:
      return rest.template operator()<2>();
    case 1:
      return rest.template operator()<1>();
    default:
      return;
  }
}

template <typename A, bool kAhead>
void multiply(A* acc, const A* start, const A* x, int64_t ldx, int64_t vectors, const A* w,
              int64_t ldw, int64_t columns, int64_t depth) {
  static_assert(kMaxVectors <= 3);
  if (vectors == 1) return multiply_panel<A, 1, kAhead>(acc, start, x, ldx, w, ldw, columns, depth);
  if (vectors == 2) return multiply_panel<A, 2, kAhead>(acc, start, x, ldx, w, ldw, columns, depth);
  if constexpr (kMaxVectors == 3) {
    return multiply_panel<A, 3, kAhead>(acc, start, x, ldx, w, ldw, columns, depth);
  }
}

template <typename A>
void multiply_pairs(A* acc, const A* x, int64_t ldx, const A* w, int64_t depth) {
  for (int64_t first = 0; first < depth; first += kChain) {
    const int64_t end = depth - first < kChain ? depth : first + kChain;
    Vec<A> sum = first == 0 ? Vec<A>::loadu(acc) : Vec<A>(0);
    for (int64_t k = first; k < end; ++k) {
      sum = at::vec::fmadd(Vec<A>::loadu(x + k * ldx), Vec<A>::loadu(w + k * Vec<A>::size()), sum);
    }
    (first == 0 ? sum : Vec<A>::loadu(acc) + sum).store(acc);
  }
}

template <typename A, typename Act>
void gate_by(A* values, const A* gates, int64_t count, const Act& act) {
  for (int64_t i = 0; i < count; i += Vec<A>::size()) {
    (act(Vec<A>::loadu(gates + i)) * Vec<A>::loadu(values + i)).store(values + i);
  }
}

template <typename A>
void gate(A* values, const A* gates, Activation activation, int64_t count) {
  using V = Vec<A>;
  const V one(1), half(A(0.5));
  switch (activation) {
    case Activation::kSilu:
      return gate_by(values, gates, count, [&](const V& x) { return x / (one + x.neg().exp()); });
    case Activation::kGelu:
      return gate_by(values, gates, count,
                     [&](const V& x) { return half * x * (one + (x * V(A(M_SQRT1_2))).erf()); });
    case Activation::kGeluTanh:
      return gate_by(values, gates, count, [&](const V& x) {
        const V inner = V(A(M_SQRT2 * M_2_SQRTPI * 0.5)) * (x + V(A(0.044715)) * x * x * x);
        return half * x * (one + inner.tanh());
      });
    case Activation::kRelu:
      return gate_by(values, gates, count, [&](const V& x) { return at::vec::maximum(x, V(0)); });
    case Activation::kQuickGelu:
      return gate_by(values, gates, count,
                     [&](const V& x) { return x / (one + (x * V(A(-1.702))).exp()); });
  }
}

// An infinite maximum is no shift: exp(inf - inf) would be NaN where torch.logsumexp says inf.
template <typename A>
Vec<A> finite_or_zero(const Vec<A>& v) {
  const Vec<A> infinity(std::numeric_limits<A>::infinity());
  return Vec<A>::blendv(v, Vec<A>(0), v.abs() == infinity);
}

template <typename A, bool kCapped>
void log_sum_exp_with(A* max, A* sum, const A* values, int64_t vectors, int64_t columns, A cap) {
  constexpr int64_t kSize = Vec<A>::size();
  const Vec<A> scale(cap);
  const Vec<A> inverse(kCapped ? 1 / cap : 0);
  const auto capped = [&](const Vec<A>& value) {
    if constexpr (kCapped) {
      return scale * (value * inverse).tanh();
    } else {
      return value;
    }
  };
  for (int64_t v = 0; v < vectors; ++v) {
    const auto load = [&](int64_t j) { return Vec<A>::loadu(values + (j * vectors + v) * kSize); };
    Vec<A> top = load(0);
    for (int64_t j = 1; j < columns; ++j) top = at::vec::maximum(top, load(j));
    const Vec<A> old = Vec<A>::loadu(max + v * kSize);
    top = at::vec::maximum(old, capped(top));
    const Vec<A> shift = finite_or_zero<A>(top);
    Vec<A> total = Vec<A>::loadu(sum + v * kSize) * (old - shift).exp();
    for (int64_t j = 0; j < columns; ++j) total = total + (capped(load(j)) - shift).exp();
    top.store(max + v * kSize);
    total.store(sum + v * kSize);
  }
}

template <typename A>
void log_sum_exp(A* max, A* sum, const A* values, int64_t vectors, int64_t columns, A cap) {
  if (cap > 0) return log_sum_exp_with<A, true>(max, sum, values, vectors, columns, cap);
  return log_sum_exp_with<A, false>(max, sum, values, vectors, columns, cap);
}

template <typename A, bool kLess>
void count_beyond(int64_t* counts, const A* thresholds, const A* values, int64_t vectors,
                  int64_t columns) {
  constexpr int64_t kSize = Vec<A>::size();
  for (int64_t v = 0; v < vectors; ++v) {
    const Vec<A> threshold = Vec<A>::loadu(thresholds + v * kSize);
    Vec<A> count(0);
    for (int64_t j = 0; j < columns; ++j) {
      const Vec<A> value = Vec<A>::loadu(values + (j * vectors + v) * kSize);
      count = count + (kLess ? value.lt(threshold) : value.gt(threshold));
    }
    A lanes[Vec<A>::size()];
    count.store(lanes);
    for (int64_t i = 0; i < kSize; ++i) counts[v * kSize + i] += static_cast<int64_t>(lanes[i]);
  }
}

template <typename A>
int64_t find_greater(int32_t* found, const A* thresholds, const A* values, int64_t vectors,
                     int64_t columns) {
  constexpr int64_t kSize = Vec<A>::size();
  constexpr uint32_t kAll = static_cast<uint32_t>((uint64_t{1} << kSize) - 1);
  int64_t count = 0;
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t at = (j * vectors + v) * kSize;
      const Vec<A> greater = Vec<A>::loadu(values + at).gt(Vec<A>::loadu(thresholds + v * kSize));
      uint32_t bits = ~static_cast<uint32_t>(greater.zero_mask()) & kAll;
      for (; bits != 0; bits &= bits - 1) {
        found[count++] = static_cast<int32_t>(at + __builtin_ctz(bits));
      }
    }
  }
  return count;
}

template <typename A>
constexpr TileOps<A> kTileOps = {
    .lanes = Vec<A>::size(),
    .max_vectors = kMaxVectors,
    .transpose = transpose<A>,
    .multiply = multiply<A, false>,
    .multiply_far = multiply<A, true>,
    .multiply_pairs = multiply_pairs<A>,
    .gate = gate<A>,
    .log_sum_exp = log_sum_exp<A>,
    .count_greater = count_beyond<A, false>,
    .count_less = count_beyond<A, true>,
    .find_greater = find_greater<A>,
};

}  // namespace

extern const TileKernels KC_CONCAT(tile_kernels_, CPU_CAPABILITY);
const TileKernels KC_CONCAT(tile_kernels_, CPU_CAPABILITY) = {kTileOps<float>, kTileOps<double>};

}  // namespace kcircuits::cpu
