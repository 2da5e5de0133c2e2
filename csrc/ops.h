// Op entry points shared by the registration and the engine.
#pragma once

#include <ATen/core/Tensor.h>

namespace kcircuits {}  // namespace kcircuits
