"""Check a model folder before anything in it is used, and read its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.families import check_family
from kcircuits.model.huggingface import first_line

# Keys of config.json that make Transformers run code other than its own for the family.
FOREIGN_CODE = ("auto_map", "fusion_config")

# Keys of quantised checkpoints in config.json.
QUANTISED = ("quantization_config", "compression_config")

# The families' keys for the number of layers there.
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

# Files that this package, Transformers or its tokenizers may open.
_READ = (".json", ".safetensors", ".model", ".txt", ".jinja")


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's configuration, without keys that name code and with old spellings replaced.

    Raises KCircuitsError with the reason if this package cannot load the folder: no folder, no
    configuration, an unknown family, quantised weights, an adapter, or a pipe or device in place of a file.
    """
    if not folder.is_dir():
        what = "is neither a folder nor a .gguf file" if folder.exists() else "does not exist"
        raise KCircuitsError(
            f"model {str(folder)!r} {what}; give a Hugging Face folder, a .gguf file, or demo "
            "(nothing is downloaded)"
        )
    _check_files(folder)
    config = _read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise KCircuitsError(f"{folder / 'config.json'} does not name a model_type")
    check_family(config["model_type"])
    _check_adapter(folder)
    if config.get("transformers_weights"):
        raise KCircuitsError(
            f"config.json in {folder} names other weights, {quote(config['transformers_weights'])}, which "
            "are not read; remove transformers_weights from it to use those in the folder"
        )
    if any(config.get(key) for key in QUANTISED):
        raise KCircuitsError(
            f"the weights in {folder} are quantised; dequantise them first, or give a .gguf file"
        )
    return {key: _current(value) for key, value in config.items() if key not in FOREIGN_CODE}


def check_layers(folder: Path, config: dict[str, Any], num_weights: int) -> None:
    """Refuse more layers than there are weights; Transformers would try to build all of them."""
    for key in LAYERS:
        asked = config.get(key)
        if isinstance(asked, int | float) and asked > num_weights:
            raise KCircuitsError(
                f"{folder} has {num_weights} weights, but its config.json needs {quote(asked)} layers"
            )


def _check_files(folder: Path) -> None:
    """Refuse pipes and devices, which may never end, in place of files that are read."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise KCircuitsError(f"cannot read {folder}: {error.strerror}") from error
    for file in files:
        if file.suffix in _READ and file.exists() and not file.is_file() and not file.is_dir():
            raise KCircuitsError(f"{file} is not a regular file; put a copy of its content there")


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda name: _refuse(file, name))
    except FileNotFoundError:
        _check_adapter(file.parent, whole=True)
        raise KCircuitsError(f"{file.parent} is not a Hugging Face model: it has no config.json") from None
    except KCircuitsError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise KCircuitsError(f"cannot read {file}: {first_line(error)}") from error


def _refuse(file: Path, name: str) -> NoReturn:
    raise KCircuitsError(f"{file} has the value {name}, which is not a finite number")


def _check_adapter(folder: Path, *, whole: bool = False) -> None:
    """Refuse a PEFT adapter, which Transformers would apply; `whole`: there are no other weights."""
    file = folder / "adapter_config.json"
    if not file.exists():
        return
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        settings = None
    settings = settings if isinstance(settings, dict) else {}
    kind, base = settings.get("peft_type", "PEFT"), settings.get("base_model_name_or_path", "another model")
    if whole:
        raise KCircuitsError(
            f"{folder} is a {quote(kind)} adapter of {quote(base)}, not a model: merge it into that model "
            "first (peft: merge_and_unload(), then save_pretrained())"
        )
    raise KCircuitsError(
        f"{folder} has a {quote(kind)} adapter of {quote(base)} beside its weights ({file.name}): merge it "
        "first (peft: merge_and_unload()), or remove that file to use the weights without the adapter"
    )


def _current(value: Any) -> Any:
    """Replace old spellings in a value: the first Phi-3 models have "su" for the rotary type "longrope"."""
    if not isinstance(value, dict):
        return value
    return {
        key: "longrope" if key in ("type", "rope_type") and inner == "su" else inner
        for key, inner in value.items()
    }
