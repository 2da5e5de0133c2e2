// CUDA for the host, as far as csrc/cuda/ uses it: stands in for csrc/cuda/platform.cuh's device
// half.
//
// Every thread of a block runs on its own; blocks run one after another, so that a static variable
// can be the block's shared memory. fibers.cpp runs the threads in turns and is quick; threads.cpp
// gives each of them a thread of the system, so that ThreadSanitizer sees what they share.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

using cudaStream_t = void*;

namespace kcircuits::cuda::emulation {

inline constexpr int kLanes = 32;

struct Point {
  unsigned x = 0;
};

// `expected` threads wait for each other, again and again.
struct Barrier {
  explicit Barrier(unsigned count) : expected(count) {}
  void wait();  // fibers.cpp, threads.cpp

  const unsigned expected;
  std::atomic<unsigned> arrived = 0, generation = 0;
};

struct Warp {
  Barrier barrier{kLanes};
  std::atomic<uint64_t> slots[2][kLanes];
};

struct Thread {
  Point index, block;
  Warp* warp = nullptr;
  Barrier* block_barrier = nullptr;
  unsigned exchanges = 0;
};

inline thread_local Thread* current = nullptr;
inline Point grid_size, block_size;

// Calls `kernel` in every thread of every block; fibers.cpp, threads.cpp.
void run(unsigned blocks, unsigned threads, const std::function<void()>& kernel);

// Fewer blocks than a kernel asks for, so that its loop over items is used.
inline constexpr int64_t kMostBlocks = 3;

// The barrier that is left out, to see the race reported.
inline std::string skipped_barrier;

inline void block_barrier(const char* name) {
  if (name != skipped_barrier) current->block_barrier->wait();
}
inline void warp_barrier(const char* name) {
  if (name != skipped_barrier) current->warp->barrier.wait();
}

#ifdef __SANITIZE_THREAD__
extern "C" void AnnotateIgnoreSyncBegin(const char* file, int line);
extern "C" void AnnotateIgnoreSyncEnd(const char* file, int line);
// On the device a shuffle or ballot orders no memory accesses; ThreadSanitizer is told so.
struct WithoutOrder {
  WithoutOrder() { AnnotateIgnoreSyncBegin(__FILE__, __LINE__); }
  ~WithoutOrder() { AnnotateIgnoreSyncEnd(__FILE__, __LINE__); }
};
#else
struct WithoutOrder {
  WithoutOrder() {}
};
#endif

// What every lane of the warp has. Two sets of slots in turn, so that one wait is enough.
inline void exchange(uint64_t mine, uint64_t (&all)[kLanes]) {
  const WithoutOrder without_order;
  auto& slots = current->warp->slots[current->exchanges++ % 2];
  slots[current->index.x % kLanes].store(mine, std::memory_order_relaxed);
  current->warp->barrier.wait();
  for (int i = 0; i < kLanes; ++i) all[i] = slots[i].load(std::memory_order_relaxed);
}

template <typename T>
T from_lane(T mine, unsigned lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t word = 0, all[kLanes];
  std::memcpy(&word, &mine, sizeof(T));
  exchange(word, all);
  T result;
  std::memcpy(&result, &all[lane], sizeof(T));
  return result;
}

}  // namespace kcircuits::cuda::emulation

#define KCIRCUITS_BARRIER(name) ::kcircuits::cuda::emulation::block_barrier(#name)
#define KCIRCUITS_WARP_BARRIER(name) ::kcircuits::cuda::emulation::warp_barrier(#name)
#define threadIdx (::kcircuits::cuda::emulation::current->index)
#define blockIdx (::kcircuits::cuda::emulation::current->block)
#define blockDim (::kcircuits::cuda::emulation::block_size)
#define gridDim (::kcircuits::cuda::emulation::grid_size)

inline void require_all_lanes(unsigned lanes) {
  if (lanes == 0xffffffffu) return;
  std::fprintf(stderr, "only whole warps are emulated\n");
  std::abort();
}
template <typename T>
T __shfl_sync(unsigned lanes, T value, int lane) {
  require_all_lanes(lanes);
  return kcircuits::cuda::emulation::from_lane(value, static_cast<unsigned>(lane) % 32);
}
template <typename T>
T __shfl_xor_sync(unsigned lanes, T value, int distance) {
  require_all_lanes(lanes);
  return kcircuits::cuda::emulation::from_lane(
      value, (threadIdx.x % 32) ^ static_cast<unsigned>(distance));
}
inline unsigned __ballot_sync(unsigned lanes, bool vote) {
  require_all_lanes(lanes);
  uint64_t all[32];
  kcircuits::cuda::emulation::exchange(vote, all);
  unsigned votes = 0;
  for (int i = 0; i < 32; ++i) votes |= static_cast<unsigned>(all[i]) << i;
  return votes;
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) {
  return bits == 0 ? 0 : 1 + std::countr_zero(static_cast<unsigned>(bits));
}
[[noreturn]] inline void __trap() { std::abort(); }

namespace kcircuits::cuda {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

inline float widen(Half value) { return static_cast<float>(std::bit_cast<_Float16>(value.bits)); }
inline float widen(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
inline void narrow(float value, Half& to) {
  to.bits = std::bit_cast<uint16_t>(static_cast<_Float16>(value));
}
inline void narrow(float value, BFloat16& to) {  // to nearest, ties to even
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) {
    to.bits = 0x7fff;
    return;
  }
  bits += 0x7fff + (bits >> 16 & 1);
  to.bits = static_cast<uint16_t>(bits >> 16);
}

// mma.m16n8k16: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
template <typename T>
void multiply_add(T, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const auto both = [](uint32_t low, uint32_t high) {
    return static_cast<uint64_t>(high) << 32 | low;
  };
  uint64_t a_low[32], a_high[32], b_all[32];
  emulation::exchange(both(a[0], a[1]), a_low);  // columns 0-7: rows 0-7 and rows 8-15
  emulation::exchange(both(a[2], a[3]), a_high);
  emulation::exchange(both(b[0], b[1]), b_all);
  const auto element = [](uint64_t word, bool high, int k) {
    return widen(T{static_cast<uint16_t>(word >> (32 * high + 16 * (k % 2)))});
  };
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const auto& words = k < 8 ? a_low : a_high;
      const int from = k % 8 / 2;
      c[i] +=
          element(words[row * 4 + from], i >= 2, k) * element(b_all[column * 4 + from], k >= 8, k);
    }
  }
}

template <typename Call>
void launch(void (*kernel)(Call), int64_t blocks, int threads, cudaStream_t,
            const std::type_identity_t<Call>& call) {
  if (blocks == 0 || threads == 0) return;
  const int64_t grid = std::min(blocks, emulation::kMostBlocks);
  emulation::run(static_cast<unsigned>(grid), static_cast<unsigned>(threads),
                 [&] { kernel(call); });
}

}  // namespace kcircuits::cuda
