// The Python module kcircuits._C: loading it registers the ops; the engine's classes are bound here.
#include <torch/extension.h>
#include <torch/version.h>

#include "cpu/gemm.h"
#include "engine/bindings.h"

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.doc() = "Compiled core of kcircuits; use it through the Python package.";
  m.attr("source_hash") = KCIRCUITS_SOURCE_HASH;
  m.attr("torch_version") = TORCH_VERSION;
  kcircuits::engine::bind(m);
  m.def("cpu_linear", &kcircuits::cpu::linear, pybind11::arg("x"), pybind11::arg("w"),
        pybind11::arg("bias") = pybind11::none(), pybind11::call_guard<pybind11::gil_scoped_release>());
}
