"""Export of an edited model as a Hugging Face folder."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.editing.delta import Delta, get_matrix
from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import check_output_folder, flush
from kcircuits.model.checkpoint import is_buffer
from kcircuits.model.folder import read_config
from kcircuits.model.identity import weights_hash
from kcircuits.model.loading import Model, outline_of
from kcircuits.model.places import View
from kcircuits.model.weights import read_weights

SHARD_BYTES = 5 * 10**9
_COPIED = (".json", ".model", ".txt", ".jinja")
_DTYPES = ("dtype", "torch_dtype")


def check_export(model: Model, folder: str | Path) -> Path:
    """Check, before any work, that an edit of a model can be exported to a folder.

    Raises
    ------
    KCircuitsError
        If the folder exists and is not empty, or cannot be created; if the model was not loaded from files,
        or its matrices are quantised.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise KCircuitsError(f"cannot export to {target}: it exists and is not an empty folder; give another")
    if model.folder is None:
        raise KCircuitsError(
            "only a model that load_model read from files can be exported, because the export needs its "
            "configuration and tokenizer files"
        )
    if not all(isinstance(layer.attention.w_o, Tensor) for layer in model.spec.layers):
        raise KCircuitsError("a quantised model (q8, q4, stored) cannot be exported: load it in float32")
    check_output_folder(target.resolve().parent)
    return target


def export(original: Model, edited: Model, delta: Delta, folder: str | Path) -> Path:
    """Write an edited model as a Hugging Face folder, atomically.

    Parameters
    ----------
    original, edited, delta
        The model as loaded, the edited model, and the edit.
    folder
        A new or empty folder.

    Returns
    -------
    Path
        The folder: config.json, the weights as safetensors in the data type in which the model was loaded,
        and the tokenizer's files.

    Raises
    ------
    KCircuitsError
        If `check_export` refuses, the model's files have changed since it was loaded, or an edited matrix is
        not part of a stored one.
    """
    target = check_export(original, folder)
    assert original.folder is not None
    config = read_config(original.folder)
    stored = read_weights(original.folder)
    family = config["model_type"]
    digest = weights_hash(stored, partial(is_buffer, family=family))
    if digest != original.identity["weights_hash"]:
        raise KCircuitsError(
            f"the weights in {original.folder} are not those of the edited model: load the model again and "
            "repeat the edit"
        )
    outline = outline_of(original.folder, config, stored, digest)
    changed: dict[str, dict[View, Tensor]] = {}
    for name in delta.parts:
        place: Any = get_matrix(outline.spec, name)
        if not isinstance(place, View):
            raise KCircuitsError(
                f"{name} is computed from other weights in {original.folder} and not stored: its edit cannot "
                "be exported"
            )
        changed.setdefault(place.name, {})[place] = get_matrix(edited.spec, name)
    kept = original.spec.embedding.dtype
    assert isinstance(kept, torch.dtype)

    def tensor(name: str) -> Tensor:
        whole = stored[name]
        if whole.is_floating_point() and not is_buffer(name, family):
            whole = whole.to(kept)
        parts = changed.get(name)
        return whole.contiguous() if parts is None else _replace_parts(whole, parts)

    try:
        _write(target, original.folder, config | _dtype_settings(config, kept), stored, tensor)
    except OSError as error:
        raise KCircuitsError(f"cannot export to {target}: {error.strerror or error}") from error
    return target


def _replace_parts(whole: Tensor, parts: Mapping[View, Tensor]) -> Tensor:
    own = whole.clone(memory_format=torch.contiguous_format)
    for place, part in parts.items():
        own.as_strided(place.shape, place.stride, place.offset).copy_(part.cpu())
    return own


def _dtype_settings(config: dict[str, Any], dtype: torch.dtype) -> dict[str, str]:
    """The data type of the weights, under the keys that the configuration uses."""
    text = str(dtype).removeprefix("torch.")
    return {name: text for name in _DTYPES if name in config} or {"dtype": text}


def _write(
    target: Path, source: Path, config: dict[str, Any], stored: Mapping[str, Tensor], tensor: Any
) -> None:
    temporary = target.resolve().parent / f".kcircuits-{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        _write_weights(temporary, stored, tensor)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in sorted(source.iterdir()):
            if _is_beside_weights(file):
                shutil.copyfile(file, temporary / file.name)
        for file in temporary.iterdir():
            flush(file)
        flush(temporary)
        temporary.rename(target.resolve())  # also onto an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _is_beside_weights(file: Path) -> bool:
    """Whether a file belongs to the tokenizer, chat templates, generation settings or the licence."""
    if file.name == "config.json" or file.name.endswith(".index.json") or not file.is_file():
        return False
    return file.suffix in _COPIED or file.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))


def _write_weights(folder: Path, stored: Mapping[str, Tensor], tensor: Any) -> None:
    """Write one file, or shards with an index. At most one shard is in memory."""
    from safetensors.torch import save_file

    shards = list(_shards({name: _most_bytes(each) for name, each in sorted(stored.items())}))
    files = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    )
    total, places = 0, dict[str, str]()
    for file, names in zip(files, shards, strict=True):
        tensors = {name: tensor(name) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        total += sum(each.nbytes for each in tensors.values())
        places |= dict.fromkeys(names, file)
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _most_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in the widest data type of an export."""
    return tensor.numel() * 8 if tensor.is_floating_point() else tensor.nbytes


def _shards(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, own in sizes.items():
        if names and size + own > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += own
    yield names
