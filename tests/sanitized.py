"""A plugin for pytest, `-p tests.sanitized`: the module with the sanitizers in place of the usual one.

It is loaded by path under the module's name, so that whatever imports it later gets this one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "sanitize" / "kcircuits"
NAME = "kcircuits._C"


def _load() -> None:
    assert "asan" in os.environ.get("LD_PRELOAD", ""), "run `make sanitize`: AddressSanitizer must come first"
    import torch  # noqa: F401  the libraries that the module is linked to

    path = FOLDER / f"_C{EXTENSION_SUFFIXES[0]}"
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    import kcircuits

    kcircuits.__dict__["_C"] = module


_load()


def pytest_report_header() -> str:
    """The module under test, in pytest's first lines."""
    from kcircuits._native import C

    assert Path(str(C.__file__)).parent == FOLDER
    return f"compiled module: {C.__file__}"
