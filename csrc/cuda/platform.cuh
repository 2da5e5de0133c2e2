// What the kernels use of CUDA beyond the language. tests/cuda/host/emulation.h is the same on the
// host.
#pragma once

#ifdef KCIRCUITS_HOST_EMULATION
#include "emulation.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

// Barriers of the block and of the warp. The name lets the host emulation leave one out and see the
// race reported.
#define KCIRCUITS_BARRIER(name) __syncthreads()
#define KCIRCUITS_WARP_BARRIER(name) __syncwarp()

namespace kcircuits::cuda {

using Half = __half;
using BFloat16 = __nv_bfloat16;

__device__ inline float widen(Half value) { return __half2float(value); }
__device__ inline float widen(BFloat16 value) { return __bfloat162float(value); }
__device__ inline void narrow(float value, Half& to) { to = __float2half_rn(value); }
__device__ inline void narrow(float value, BFloat16& to) { to = __float2bfloat16_rn(value); }

// c += a·bᵀ on the tensor cores for one 16×8 tile and 16 elements; PTX names the fragments' layout.
__device__ inline void multiply_add(Half, float (&c)[4], const uint32_t (&a)[4],
                                    const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_add(BFloat16, float (&c)[4], const uint32_t (&a)[4],
                                    const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Starts at most 2^31 - 1 blocks; kernels stride over their items, so any number of them is served.
// An error is left for cudaGetLastError.
template <typename Call>
void launch(void (*kernel)(Call), int64_t blocks, int threads, cudaStream_t stream,
            const std::type_identity_t<Call>& call) {
  if (blocks == 0 || threads == 0) return;
  const auto grid = static_cast<unsigned>(std::min<int64_t>(blocks, 0x7fffffff));
  void* arguments[] = {const_cast<Call*>(&call)};
  cudaLaunchKernel(kernel, grid, threads, arguments, 0, stream);
}

}  // namespace kcircuits::cuda
#endif
