"""Drives CMake; the list of sources and every compiler flag are in CMakeLists.txt."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# Dependencies of each installation. Extras of pyproject.toml have the others (kcircuits/runtime/optional.py).
DEPENDENCIES = ["transformers>=5", "tokenizers", "numpy", "safetensors", "typer>=0.29", "rich"]
TORCH = "torch>=2.11,<2.16"  # as in pyproject.toml's [build-system]


def dependencies() -> list[str]:
    """The dependencies. A wheel needs the minor version of torch that it was compiled for."""
    if "sdist" in sys.argv:
        return [TORCH, *DEPENDENCIES]
    release = version("torch").partition("+")[0].split(".")
    return [f"torch=={'.'.join(release[:2])}.*", *DEPENDENCIES]


def source_hash() -> str:
    """Hash of csrc/ and CMakeLists.txt; `kcircuits/_native.py` computes the same at import."""
    digest = hashlib.sha256()
    for path in [ROOT / "CMakeLists.txt", *sorted((ROOT / "csrc").rglob("*"))]:
        if path.is_file():
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cuda_wanted() -> bool:
    """The CUDA half is built if nvcc and a CUDA build of torch are present."""
    import torch

    return torch.version.cuda is not None and shutil.which("nvcc") is not None


def take(compiled: Path, module: Path) -> None:
    """Copy a module that was compiled elsewhere from the same sources, which it names by their hash."""
    if source_hash().encode() not in compiled.read_bytes():
        sys.exit(f"KCIRCUITS_MODULE: {compiled} was not compiled from these sources")
    module.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(compiled, module)


class CMakeBuild(build_ext):
    """Build `kcircuits/_C` with CMake and ninja."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, build and install into the package's folder."""
        module = Path(self.get_ext_fullpath(ext.name)).resolve()
        if compiled := os.environ.get("KCIRCUITS_MODULE"):
            return take(Path(compiled), module)
        target = module.parent
        # A separate folder for each set of flags: in a common folder, each change would recompile everything.
        name = os.environ.get("KCIRCUITS_BUILD_NAME", f"cmake-{sys.implementation.cache_tag}")
        build = ROOT / "build" / name
        build.mkdir(parents=True, exist_ok=True)
        flags = os.environ.get("KCIRCUITS_CMAKE_ARGS", "").split()
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DKCIRCUITS_SOURCE_HASH={source_hash()}",
            f"-DKCIRCUITS_CUDA={'ON' if cuda_wanted() else 'OFF'}",
            *flags,
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)
        subprocess.run(["cmake", "--install", str(build), "--prefix", str(target)], check=True)


setup(
    install_requires=dependencies(),
    ext_modules=[Extension("kcircuits._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
