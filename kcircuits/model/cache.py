"""The cache between runs: its folder, the names of entries, and the version of the code that wrote them.

An entry that is missing, broken or written by other code is recreated.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import write_atomically


def cache_folder() -> Path:
    """Folder of converted models and their descriptions: $KCIRCUITS_CACHE, by default ~/.cache/kcircuits."""
    return Path(os.environ.get("KCIRCUITS_CACHE") or Path.home() / ".cache" / "kcircuits")


def digest_of(*parts: bytes) -> str:
    """SHA-256 of the SHA-256 digests of several contents."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """Version of the code that reads families: a digest of this package's sources and library versions."""
    package = Path(__file__).parent
    sources = [
        part
        for file in sorted(package.rglob("*.py"))
        for part in (str(file.relative_to(package)).encode(), file.read_bytes())
    ]
    libraries = ",".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))
    return digest_of(*sources, libraries.encode())


def write_cache(name: str, content: bytes) -> None:
    """Write a cache file. If that fails, nothing is raised and the next run recreates it."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    except (OSError, KCircuitsError):
        return
