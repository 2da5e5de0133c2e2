"""Load the compiled module, or say in one line how to build it."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import ModuleType

import torch

_BUILD = "run `pip install --no-build-isolation -e .` (or `make build`) in the kcircuits checkout"


def _checkout_hash(root: Path) -> str | None:
    """Hash of the sources beside an editable install, as `setup.py` computes it; None for a wheel."""
    if not (root / "csrc").is_dir():
        return None
    digest = hashlib.sha256()
    for path in [root / "CMakeLists.txt", *sorted((root / "csrc").rglob("*"))]:
        if path.is_file():
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _load() -> ModuleType:
    try:
        module = importlib.import_module("kcircuits._C")
    except ImportError as error:
        raise ImportError(f"kcircuits' compiled module cannot be loaded ({error}); {_BUILD}") from error
    running = torch.__version__.split("+")[0]
    built = module.torch_version.split("+")[0]
    if running != built:
        raise ImportError(f"kcircuits was compiled for torch {built}, but torch {running} runs; {_BUILD}")
    expected = _checkout_hash(Path(__file__).resolve().parent.parent)
    if expected is not None and expected != module.source_hash:
        raise ImportError(f"kcircuits' compiled module is older than its sources in csrc/; {_BUILD}")
    return module


C = _load()
