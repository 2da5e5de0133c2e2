"""Read the weights of a Hugging Face folder: safetensors only, and only from inside the folder."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.huggingface import first_line
from kcircuits.runtime.memory import is_about_memory, size_text


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder by name, as stored.

    Files are memory-mapped and nothing is copied. Pages are read on first use, and writes to a tensor never
    reach the file.

    Raises
    ------
    KCircuitsError
        If there are no weights or only pickled ones, or a file is missing, broken, or outside the folder.
    MemoryError
        If a file does not fit into the address space that this process may have (`ulimit -v`).
    """
    from safetensors import SafetensorError, safe_open

    weights: dict[str, Tensor] = {}
    for file in _files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                names = list(tensors.keys())
                if twice := sorted(weights.keys() & set(names)):
                    raise KCircuitsError(f"{file} has {twice[0]!r}, which another file also has")
                weights.update(zip(names, map(tensors.get_tensor, names), strict=True))
        except (OSError, SafetensorError) as error:
            raise KCircuitsError(f"cannot read the weights in {file}: {first_line(error)}") from error
        except RuntimeError as error:
            if not is_about_memory(str(error)):
                raise
            size = size_text(file.stat().st_size)
            raise MemoryError(f"not enough memory for the weights in {file}, {size}") from error
    return weights


def _files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards in an index; Transformers makes the same choice."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        if index.exists():
            _check_same(single, index)
        return [single]
    if index.exists():
        return [folder / name for name in sorted(set(_shards(index).values()))]
    if others := sorted(file.name for file in folder.glob("*.safetensors")):
        raise KCircuitsError(
            f"{folder} has {len(others)} safetensors files ({others[0]}), but neither model.safetensors nor "
            "model.safetensors.index.json, which lists their weights; get that file too"
        )
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickles:
        raise KCircuitsError(
            f"{folder} has only pickled weights ({pickles[0].name}), which can run code when loaded; "
            "convert them to safetensors first"
        )
    raise KCircuitsError(f"{folder} has no weights: no model.safetensors")


def _check_same(single: Path, index: Path) -> None:
    """Refuse a folder with two models; Transformers would silently read the first."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(single, framework="pt") as tensors:
            stored = set(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise KCircuitsError(f"cannot read the weights in {single}: {first_line(error)}") from error
    if different := sorted(stored ^ _shards(index).keys()):
        raise KCircuitsError(
            f"{single.parent} has both {single.name} and {index.name}, but only one of them has "
            f"{different[0]!r}; remove the wrong one"
        )


def _shards(index: Path) -> dict[str, str]:
    """Tensor -> file name from an index of shards; names that lead out of the folder are refused."""
    try:
        names = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KCircuitsError(f"{index} is not an index of weights: {first_line(error)}") from error
    if not names:
        raise KCircuitsError(f"{index} lists no files")
    for name in names.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise KCircuitsError(
                f"{index} lists {name!r}, which is not a safetensors file in the same folder"
            )
    return names
