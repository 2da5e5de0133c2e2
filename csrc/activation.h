// The nonlinearities of the MLPs, as torch defines them.
#pragma once

#include <cstdint>

namespace kcircuits {

enum class Activation : int32_t { kSilu, kGelu, kGeluTanh, kRelu, kQuickGelu };

}  // namespace kcircuits
