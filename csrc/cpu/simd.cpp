#include "cpu/simd.h"

#include <ATen/Version.h>

#include <string>

#include "cpu/codes.h"
#include "cpu/tiles.h"

namespace kcircuits::cpu {

#ifdef KCIRCUITS_SIMD_AVX2
extern const RowKernels row_kernels_AVX2;
extern const TileKernels tile_kernels_AVX2;
extern const CodeKernels code_kernels_AVX2;
#endif
#ifdef KCIRCUITS_SIMD_AVX512
extern const RowKernels row_kernels_AVX512;
extern const TileKernels tile_kernels_AVX512;
extern const CodeKernels code_kernels_AVX512;
#endif
extern const RowKernels row_kernels_DEFAULT;
extern const TileKernels tile_kernels_DEFAULT;
extern const CodeKernels code_kernels_DEFAULT;

namespace {

struct Level {
  const RowKernels& rows;
  const TileKernels& tiles;
  const CodeKernels& codes;
};

const Level& level() {
  static const Level chosen = []() -> Level {
    // Follow torch's choice, so that ATEN_CPU_CAPABILITY governs both.
    const std::string capability = at::get_cpu_capability();
#ifdef KCIRCUITS_SIMD_AVX512
    if (capability == "AVX512")
      return {row_kernels_AVX512, tile_kernels_AVX512, code_kernels_AVX512};
#endif
#ifdef KCIRCUITS_SIMD_AVX2
    if (capability == "AVX512" || capability == "AVX2")
      return {row_kernels_AVX2, tile_kernels_AVX2, code_kernels_AVX2};
#endif
    return {row_kernels_DEFAULT, tile_kernels_DEFAULT, code_kernels_DEFAULT};
  }();
  return chosen;
}

}  // namespace

const RowKernels& rows() { return level().rows; }
const TileKernels& tiles() { return level().tiles; }
const CodeKernels& codes() { return level().codes; }

}  // namespace kcircuits::cpu
