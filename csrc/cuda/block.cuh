// Rows of elements in registers, and sums over the threads of a warp or block.
#pragma once

#include "cuda/platform.cuh"

namespace kcircuits::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
struct AccumulateOf {
  using type = float;
};
template <>
struct AccumulateOf<double> {
  using type = double;
};
// The type that sums are taken in.
template <typename T>
using Accumulate = typename AccumulateOf<T>::type;

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline void narrow(float value, float& to) { to = value; }
__device__ inline void narrow(double value, double& to) { to = value; }

// Elements of one 16-byte access.
template <typename T>
inline constexpr int kVectorOf = 16 / static_cast<int>(sizeof(T));

// N adjacent elements, moved in accesses of up to 16 bytes: the address must be a multiple of that.
template <typename T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T values[N];
};

template <int N, typename T>
__device__ inline void load(const T* from, Accumulate<T> (&to)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = widen(pack.values[i]);
}

template <int N, typename T>
__device__ inline void store(const Accumulate<T> (&from)[N], T* to) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) narrow(from[i], pack.values[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

template <typename T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// Whether rows starting at `data`, `strides` elements apart, can be moved in 16-byte accesses.
template <typename T, typename... Strides>
bool aligned_rows(const T* data, Strides... strides) {
  constexpr int64_t kBytes = 16;
  [[maybe_unused]] const auto fits = [](int64_t stride) {
    return stride * static_cast<int64_t>(sizeof(T)) % kBytes == 0;
  };
  return reinterpret_cast<uintptr_t>(data) % kBytes == 0 && (fits(strides) && ...);
}

inline int64_t ceil_div(int64_t value, int64_t by) { return (value + by - 1) / by; }

}  // namespace kcircuits::cuda
