// No standard containers or algorithms here: an inline function compiled for AVX-512 could be the
// copy that the linker keeps for every caller, also on a processor without it.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <cmath>

#include "cpu/simd.h"

#define KC_CONCAT_(a, b) a##b
#define KC_CONCAT(a, b) KC_CONCAT_(a, b)

namespace kcircuits::cpu {
namespace {

template <typename A>
struct Pair {
  at::vec::Vectorized<A> lo, hi;
};

// Elements are moved in pairs of accumulator vectors: a vector of bf16 widens to exactly one pair.
template <typename T>
struct Pairs {
  using Acc = Accumulate<T>;
  using Vec = at::vec::Vectorized<Acc>;
  static constexpr bool kWidens = !std::is_same_v<T, Acc>;
  static constexpr int64_t kSize = 2 * Vec::size();

  static Pair<Acc> load(const T* from) {
    if constexpr (kWidens) {
      const auto [lo, hi] =
          at::vec::convert_to_float<T>(at::vec::Vectorized<T>::loadu(from, kSize));
      return {lo, hi};
    } else {
      return {Vec::loadu(from), Vec::loadu(from + Vec::size())};
    }
  }

  // The first count < kSize elements; the rest are zeros.
  static Pair<Acc> load(const T* from, int64_t count) {
    T padded[kSize] = {};
    for (int64_t i = 0; i < count; ++i) padded[i] = from[i];
    return load(padded);
  }

  static void store(T* to, const Pair<Acc>& values) {
    if constexpr (kWidens) {
      at::vec::convert_from_float<T>(values.lo, values.hi).store(to);
    } else {
      values.lo.store(to);
      values.hi.store(to + Vec::size());
    }
  }

  static void store(T* to, const Pair<Acc>& values, int64_t count) {
    T padded[kSize];
    store(padded, values);
    for (int64_t i = 0; i < count; ++i) to[i] = padded[i];
  }
};

// Columns [i, i + kPairs * kSize) of weighted_sum, or the last `tail` ones: the sums stay in
// registers while every input is read once.
template <typename T, int kPairs, bool kTail>
void weighted_sum_columns(Accumulate<T>* out, const Accumulate<T>* init, const T* const* inputs,
                          const Accumulate<T>* weights, int64_t count, int64_t i, int64_t tail) {
  using Acc = Accumulate<T>;
  using Vec = at::vec::Vectorized<Acc>;
  Pair<Acc> sums[kPairs];
  for (int j = 0; j < kPairs; ++j) {
    if (init == nullptr) {
      sums[j] = {Vec(0), Vec(0)};
    } else if constexpr (kTail) {
      sums[j] = Pairs<Acc>::load(init + i, tail);
    } else {
      sums[j] = Pairs<Acc>::load(init + i + j * Pairs<T>::kSize);
    }
  }
  for (int64_t k = 0; k < count; ++k) {
    const Vec weight(weights[k]);
    for (int j = 0; j < kPairs; ++j) {
      Pair<Acc> value;
      if constexpr (kTail) {
        value = Pairs<T>::load(inputs[k] + i, tail);
      } else {
        value = Pairs<T>::load(inputs[k] + i + j * Pairs<T>::kSize);
      }
      sums[j].lo = at::vec::fmadd(value.lo, weight, sums[j].lo);
      sums[j].hi = at::vec::fmadd(value.hi, weight, sums[j].hi);
    }
  }
  for (int j = 0; j < kPairs; ++j) {
    if constexpr (kTail) {
      Pairs<Acc>::store(out + i, sums[j], tail);
    } else {
      Pairs<Acc>::store(out + i + j * Pairs<T>::kSize, sums[j]);
    }
  }
}

template <typename T>
void weighted_sum(Accumulate<T>* out, const Accumulate<T>* init, const T* const* inputs,
                  const Accumulate<T>* weights, int64_t count, int64_t n) {
  constexpr int64_t kSize = Pairs<T>::kSize;
  int64_t i = 0;
  for (; i + 4 * kSize <= n; i += 4 * kSize) {
    weighted_sum_columns<T, 4, false>(out, init, inputs, weights, count, i, 0);
  }
  for (; i + 2 * kSize <= n; i += 2 * kSize) {
    weighted_sum_columns<T, 2, false>(out, init, inputs, weights, count, i, 0);
  }
  for (; i + kSize <= n; i += kSize) {
    weighted_sum_columns<T, 1, false>(out, init, inputs, weights, count, i, 0);
  }
  if (i < n) weighted_sum_columns<T, 1, true>(out, init, inputs, weights, count, i, n - i);
}

template <typename A>
A sum_of(const at::vec::Vectorized<A>& v) {
  A lanes[at::vec::Vectorized<A>::size()];
  v.store(lanes);
  A total = 0;
  for (const A lane : lanes) total += lane;
  return total;
}

// Sum over i of x[i].
template <typename A>
A row_sum(const A* x, int64_t n) {
  using Vec = at::vec::Vectorized<A>;
  Pair<A> sums = {Vec(0), Vec(0)};
  int64_t i = 0;
  for (; i + Pairs<A>::kSize <= n; i += Pairs<A>::kSize) {
    const Pair<A> v = Pairs<A>::load(x + i);
    sums.lo = sums.lo + v.lo;
    sums.hi = sums.hi + v.hi;
  }
  A total = sum_of<A>(sums.lo + sums.hi);
  for (; i < n; ++i) total += x[i];
  return total;
}

// Sum over i of (x[i] - center)^2.
template <typename A>
A row_sum_of_squares(const A* x, A center, int64_t n) {
  using Vec = at::vec::Vectorized<A>;
  const Vec middle(center);
  Pair<A> sums = {Vec(0), Vec(0)};
  int64_t i = 0;
  for (; i + Pairs<A>::kSize <= n; i += Pairs<A>::kSize) {
    const Pair<A> v = Pairs<A>::load(x + i);
    sums.lo = at::vec::fmadd(v.lo - middle, v.lo - middle, sums.lo);
    sums.hi = at::vec::fmadd(v.hi - middle, v.hi - middle, sums.hi);
  }
  A total = sum_of<A>(sums.lo + sums.hi);
  for (; i < n; ++i) total += (x[i] - center) * (x[i] - center);
  return total;
}

// out = (x - center) * scale * weight + bias
template <typename T>
void affine(T* out, const Accumulate<T>* x, Accumulate<T> center, Accumulate<T> scale,
            const Accumulate<T>* weight, const Accumulate<T>* bias, int64_t n) {
  using Acc = Accumulate<T>;
  using Vec = at::vec::Vectorized<Acc>;
  const Vec middle(center);
  const Vec factor(scale);
  const auto apply = [&](const Pair<Acc>& v, const Pair<Acc>& w, const Pair<Acc>& b) {
    return Pair<Acc>{at::vec::fmadd((v.lo - middle) * factor, w.lo, b.lo),
                     at::vec::fmadd((v.hi - middle) * factor, w.hi, b.hi)};
  };
  const Pair<Acc> ones = {Vec(1), Vec(1)};
  const Pair<Acc> zeros = {Vec(0), Vec(0)};
  int64_t i = 0;
  for (; i + Pairs<T>::kSize <= n; i += Pairs<T>::kSize) {
    const Pair<Acc> w = weight == nullptr ? ones : Pairs<Acc>::load(weight + i);
    const Pair<Acc> b = bias == nullptr ? zeros : Pairs<Acc>::load(bias + i);
    Pairs<T>::store(out + i, apply(Pairs<Acc>::load(x + i), w, b));
  }
  if (i < n) {
    const int64_t tail = n - i;
    const Pair<Acc> w = weight == nullptr ? ones : Pairs<Acc>::load(weight + i, tail);
    const Pair<Acc> b = bias == nullptr ? zeros : Pairs<Acc>::load(bias + i, tail);
    Pairs<T>::store(out + i, apply(Pairs<Acc>::load(x + i, tail), w, b), tail);
  }
}

template <typename T>
void normalize(T* out, const Accumulate<T>* x, NormKind kind, const Accumulate<T>* weight,
               const Accumulate<T>* bias, Accumulate<T> eps, int64_t n) {
  using Acc = Accumulate<T>;
  const Acc size = static_cast<Acc>(n);
  switch (kind) {
    case NormKind::kNone:
      return affine<T>(out, x, 0, 1, weight, bias, n);
    case NormKind::kLayerNorm: {
      const Acc mean = row_sum<Acc>(x, n) / size;
      const Acc variance = row_sum_of_squares<Acc>(x, mean, n) / size;
      return affine<T>(out, x, mean, 1 / std::sqrt(variance + eps), weight, bias, n);
    }
    case NormKind::kRmsNorm: {
      const Acc mean_square = row_sum_of_squares<Acc>(x, 0, n) / size;
      return affine<T>(out, x, 0, 1 / std::sqrt(mean_square + eps), weight, bias, n);
    }
  }
}

void rotate(float* x, const float* cos, const float* sin, int64_t half) {
  using Vec = at::vec::Vectorized<float>;
  float* y = x + half;
  int64_t i = 0;
  for (; i + Vec::size() <= half; i += Vec::size()) {
    const Vec a = Vec::loadu(x + i), b = Vec::loadu(y + i);
    const Vec c = Vec::loadu(cos + i), s = Vec::loadu(sin + i);
    (a * c - b * s).store(x + i);
    (b * c + a * s).store(y + i);
  }
  for (; i < half; ++i) {
    const float a = x[i], b = y[i];
    x[i] = a * cos[i] - b * sin[i];
    y[i] = b * cos[i] + a * sin[i];
  }
}

// dots[t] = scale * q·k_t for kRows rows at once: their sums hide each other's latency.
template <int kRows>
void dot_rows(float* dots, const float* q, const float* keys, int64_t d, float scale) {
  using Vec = at::vec::Vectorized<float>;
  Vec sums[kRows];
  for (int t = 0; t < kRows; ++t) sums[t] = Vec(0);
  int64_t i = 0;
  for (; i + Vec::size() <= d; i += Vec::size()) {
    const Vec x = Vec::loadu(q + i);
    for (int t = 0; t < kRows; ++t)
      sums[t] = at::vec::fmadd(x, Vec::loadu(keys + t * d + i), sums[t]);
  }
  for (int t = 0; t < kRows; ++t) {
    float total = sum_of<float>(sums[t]);
    for (int64_t j = i; j < d; ++j) total += q[j] * keys[t * d + j];
    dots[t] = total * scale;
  }
}

// x becomes softmax(x).
void softmax(float* x, int64_t n) {
  using Vec = at::vec::Vectorized<float>;
  float max = x[0];
  for (int64_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
  float total = 0;
  int64_t i = 0;
  for (; i + Vec::size() <= n; i += Vec::size()) (Vec::loadu(x + i) - Vec(max)).exp().store(x + i);
  if (i < n) {
    const int64_t tail = n - i;
    (Vec::loadu(x + i, tail) - Vec(max)).exp().store(x + i, static_cast<int>(tail));
  }
  for (i = 0; i < n; ++i) total += x[i];
  for (i = 0; i < n; ++i) x[i] /= total;
}

void attend(float* out, const float* q, const float* keys, const float* values, int64_t count,
            int64_t d, float scale, float* scores) {
  using Vec = at::vec::Vectorized<float>;
  int64_t t = 0;
  for (; t + 4 <= count; t += 4) dot_rows<4>(scores + t, q, keys + t * d, d, scale);
  for (; t < count; ++t) dot_rows<1>(scores + t, q, keys + t * d, d, scale);
  softmax(scores, count);
  int64_t i = 0;
  for (; i + Vec::size() <= d; i += Vec::size()) {
    Vec sum(0);
    for (t = 0; t < count; ++t)
      sum = at::vec::fmadd(Vec(scores[t]), Vec::loadu(values + t * d + i), sum);
    sum.store(out + i);
  }
  for (; i < d; ++i) {
    float sum = 0;
    for (t = 0; t < count; ++t) sum += scores[t] * values[t * d + i];
    out[i] = sum;
  }
}

template <typename T>
constexpr RowOps<T> kRowOps = {weighted_sum<T>, normalize<T>};

}  // namespace

extern const RowKernels KC_CONCAT(row_kernels_, CPU_CAPABILITY);
const RowKernels KC_CONCAT(row_kernels_, CPU_CAPABILITY) = {"rows",
                                                            rotate,
                                                            attend,
                                                            kRowOps<float>,
                                                            kRowOps<double>,
                                                            kRowOps<c10::BFloat16>,
                                                            kRowOps<c10::Half>};

}  // namespace kcircuits::cpu
