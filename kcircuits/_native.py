"""Load the compiled module, or raise an error that says what to install or how to build it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import torch

_BUILD = "run `pip install --no-build-isolation -e .` (or `make build`) in the kcircuits checkout"
_COMPILED_FOR = re.compile(rb"kcircuits compiled for torch ([0-9A-Za-z.+]+)\0")  # csrc/module.cpp


def _checkout_hash(root: Path) -> str | None:
    """Hash of the sources beside an editable install, as `setup.py` computes it; None for a wheel.

    Other packages may install a folder csrc/ next to this one, so its first file is searched for by name.
    """
    if not (root / "CMakeLists.txt").is_file() or not (root / "csrc" / "register.cpp").is_file():
        return None
    digest = hashlib.sha256()
    for path in [root / "CMakeLists.txt", *sorted((root / "csrc").rglob("*"))]:
        if path.is_file():
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compiled_for() -> str | None:
    """The torch version recorded in the compiled module's file; None if there is no such file."""
    found = importlib.util.find_spec("kcircuits._C")
    if found is None or found.origin is None:
        return None
    match = _COMPILED_FOR.search(Path(found.origin).read_bytes())
    return None if match is None else match[1].decode()


def _binary_version(version: str) -> str:
    """The part of a torch version that must agree for a compiled module to work.

    Releases of one minor version share their binary interface: 2.13.0 and 2.13.1+cpu give "2.13".
    Pre-releases and development builds promise nothing, so they are told apart.

    Examples
    --------
    >>> _binary_version("2.13.1+cpu"), _binary_version("2.14.0rc1"), _binary_version("2.16.0a0+git1f2e")
    ('2.13', '2.14.0rc1', '2.16.0a0+git1f2e')
    """
    release = re.fullmatch(r"(\d+\.\d+)(\.\d+)*(\+.*)?", version)
    return version if release is None else release[1]


def _check_torch(built: str, running: str) -> None:
    """Raise ImportError if a module compiled for one torch version is not compatible with another."""
    wanted, found = _binary_version(built), _binary_version(running)
    if wanted != found:
        pin = f"{wanted}.*" if wanted != built else wanted
        raise ImportError(
            f"kcircuits was compiled for torch {wanted}, but torch {running} is installed: install the one "
            f"(pip install 'torch=={pin}'), or build kcircuits for the other (docs/installing.md)"
        )


def _load() -> ModuleType:
    try:
        module = importlib.import_module("kcircuits._C")
    except ImportError as error:
        built = _compiled_for()
        if built is not None:
            _check_torch(built, torch.__version__)
        raise ImportError(f"kcircuits' compiled module cannot be loaded ({error}); {_BUILD}") from error
    _check_torch(module.torch_version, torch.__version__)
    expected = _checkout_hash(Path(__file__).resolve().parent.parent)
    if expected is not None and expected != module.source_hash:
        raise ImportError(f"kcircuits' compiled module is older than its sources in csrc/; {_BUILD}")
    return module


C = _load()
