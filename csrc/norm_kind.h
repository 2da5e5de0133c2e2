// The norms that ops fuse, by the names their schemas use.
#pragma once

#include <cstdint>

namespace kcircuits {

enum class NormKind : int32_t { kNone = 0, kLayerNorm = 1, kRmsNorm = 2 };

}  // namespace kcircuits
