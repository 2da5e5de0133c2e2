#pragma once

#include <pybind11/pybind11.h>

namespace kcircuits::engine {

void bind(pybind11::module_& m);

}  // namespace kcircuits::engine
