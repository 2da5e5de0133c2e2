"""What is kept from one run to the next: where, under which name, and by which version of the code.

Everything kept can be made again, and is, where it is missing, broken, or made by other code.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.files import write_atomically


def cache_folder() -> Path:
    """Where converted and described models are kept: $KCIRCUITS_CACHE, by default ~/.cache/kcircuits."""
    return Path(os.environ.get("KCIRCUITS_CACHE") or Path.home() / ".cache" / "kcircuits")


def digest_of(*parts: bytes) -> str:
    """SHA-256 of several contents: of the digests of each, so that where one ends matters."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@lru_cache(maxsize=1)
def made_by() -> str:
    """Names the code that reads a family: a digest of this room's sources and of the libraries' versions."""
    room = Path(__file__).parent
    sources = [
        part
        for file in sorted(room.rglob("*.py"))
        for part in (str(file.relative_to(room)).encode(), file.read_bytes())
    ]
    libraries = ",".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))
    return digest_of(*sources, libraries.encode())


def keep(name: str, content: bytes) -> None:
    """Write a file of the cache; where none can be written, the next run makes the same again."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    except (OSError, KCircuitsError):
        return
