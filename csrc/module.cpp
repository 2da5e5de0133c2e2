// The Python module kcircuits._C: loading it registers the ops; the engine's classes are bound
// here.
#include <torch/extension.h>
#include <torch/version.h>

#include "engine/bindings.h"

namespace {

// kcircuits/_native.py looks for this text in the file when another torch cannot load the module.
[[gnu::used]] const char COMPILED_FOR[] = "kcircuits compiled for torch " TORCH_VERSION;

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.doc() = "Compiled core of kcircuits; use it through the Python package.";
  m.attr("source_hash") = KCIRCUITS_SOURCE_HASH;
  m.attr("torch_version") = TORCH_VERSION;
  kcircuits::engine::bind(m);
}
