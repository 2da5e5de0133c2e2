"""What llama.cpp itself makes of a GGUF file: token ids and log-probabilities, the truth to compare with.

The wheel `xllamacpp` (a CPU build of llama.cpp) exports llama.cpp's C functions, which are called here. A
test that needs it says so with `llama_cpp.needed`, or asks `llama_cpp.is_installed()`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

VERSION = "2026.10.11549"
"""Of xllamacpp: the places of the settings below are those of this version."""

_LARGE = 1024
"""Bytes, more than any settings have: structures of that size are passed in memory, so more does no harm."""
_VOCAB_ONLY = 0x48  # bool in llama_model_params
_N_CTX, _N_BATCH, _N_UBATCH, _N_THREADS, _N_THREADS_BATCH = 0x00, 0x04, 0x08, 0x1C, 0x20  # 32 bits each
_FLASH_ATTENTION, _TYPE_K, _TYPE_V = 0x34, 0x68, 0x6C  # 0 is "off", and float32
_CONTROL, _USER_DEFINED, _UNKNOWN = 8, 16, 1  # bits of a token's attributes


def is_installed() -> bool:
    """Whether the version of xllamacpp that this file knows is there."""
    try:
        return version("xllamacpp") == VERSION
    except PackageNotFoundError:
        return False


needed = pytest.mark.skipif(not is_installed(), reason=f"xllamacpp {VERSION} is not installed")


class Settings(ctypes.Structure):
    """Settings of a model or a context, whose fields are written by their places."""

    _fields_ = [("bytes", ctypes.c_uint8 * _LARGE)]

    def write(self, place: int, value: int) -> None:
        ctypes.c_int32.from_buffer(self, place).value = value


class Batch(ctypes.Structure):
    """Tokens to run; made and read by llama.cpp alone."""

    _fields_ = [("bytes", ctypes.c_uint8 * 56)]


@cache
def _library() -> ctypes.CDLL:
    package = find_spec("xllamacpp")
    assert package is not None and package.submodule_search_locations is not None
    (file,) = Path(package.submodule_search_locations[0]).glob("xllamacpp*.so")
    library = ctypes.CDLL(str(file))
    pointer = ctypes.c_void_p
    for name, result, arguments in [
        ("llama_model_default_params", Settings, []),
        ("llama_context_default_params", Settings, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Settings]),
        ("llama_model_free", None, [pointer]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", ctypes.c_int32, [pointer]),
        ("llama_vocab_get_attr", ctypes.c_int32, [pointer, ctypes.c_int32]),
        (
            "llama_tokenize",
            ctypes.c_int32,
            [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool],
        ),
        ("llama_init_from_model", pointer, [pointer, Settings]),
        ("llama_free", None, [pointer]),
        ("llama_batch_get_one", Batch, [pointer, ctypes.c_int32]),
        ("llama_decode", ctypes.c_int32, [pointer, Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, ctypes.c_int32]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_log_set.argtypes = [pointer, pointer]
    global _silence
    _silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, pointer)(lambda *_: None)
    library.llama_log_set(_silence, None)
    library.llama_backend_init()
    return library


@contextmanager
def _model(file: Path, vocab_only: bool) -> Iterator[int]:
    library = _library()
    settings = library.llama_model_default_params()
    settings.bytes[_VOCAB_ONLY] = vocab_only
    model = library.llama_model_load_from_file(str(file).encode(), settings)
    if not model:
        raise ValueError(f"llama.cpp refuses {file}")
    try:
        yield model
    finally:
        library.llama_model_free(model)


class Vocabulary:
    """A file's tokenizer in llama.cpp; the file may have no weights. Close it, or use it in a `with`.

    Raises ValueError if llama.cpp refuses the file.
    """

    def __init__(self, file: Path) -> None:
        self._held = _model(file, vocab_only=True)
        self._vocab = _library().llama_model_get_vocab(self._held.__enter__())

    def __enter__(self) -> Vocabulary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._held.__exit__(None, None, None)

    def __len__(self) -> int:
        return int(_library().llama_vocab_n_tokens(self._vocab))

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """Ids of a text.

        add_special: whether to add BOS and EOS as the file asks. parse_special: whether the text of a special
        token is that token.
        """
        content = text.encode()
        count, ids = len(content) + 8, None
        while ids is None or count < 0:  # then it wants room for as many
            ids = (ctypes.c_int32 * abs(count))()
            count = _library().llama_tokenize(
                self._vocab, content, len(content), ids, len(ids), add_special, parse_special
            )
        return list(ids[:count])

    def special_ids(self) -> set[int]:
        """Ids of the tokens that are found in texts before anything else."""
        wanted = _CONTROL | _USER_DEFINED | _UNKNOWN
        attributes = _library().llama_vocab_get_attr
        return {token for token in range(len(self)) if attributes(self._vocab, token) & wanted}


def tokenize(file: Path, text: str, *, add_special: bool = False, parse_special: bool = True) -> list[int]:
    """Ids of one text; see `Vocabulary`, which reads the file once for many."""
    with Vocabulary(file) as vocabulary:
        return vocabulary.tokenize(text, add_special=add_special, parse_special=parse_special)


def log_probabilities(file: Path, ids: Sequence[int], *, num_threads: int = 1) -> Tensor:
    """Log-probabilities of the token that follows `ids`, float64 [V].

    llama.cpp computes in float32, with a float32 cache, only where the file's matrices are float32: it rounds
    activations to 8 bits before products with quantised matrices, and to float16 before those with float16.

    Raises
    ------
    ValueError
        If llama.cpp refuses the file or the ids.
    """
    library = _library()
    with _model(file, vocab_only=False) as model:
        size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        settings = library.llama_context_default_params()
        for place in (_N_CTX, _N_BATCH, _N_UBATCH):
            settings.write(place, max(64, len(ids)))
        for place in (_N_THREADS, _N_THREADS_BATCH):
            settings.write(place, num_threads)
        for place in (_FLASH_ATTENTION, _TYPE_K, _TYPE_V):
            settings.write(place, 0)
        context = library.llama_init_from_model(model, settings)
        if not context:
            raise ValueError(f"llama.cpp cannot run {file}")
        try:
            tokens = (ctypes.c_int32 * len(ids))(*ids)
            if library.llama_decode(context, library.llama_batch_get_one(tokens, len(ids))):
                raise ValueError(f"llama.cpp refuses the ids {list(ids)}")
            logits = np.ctypeslib.as_array(library.llama_get_logits_ith(context, -1), (size,)).copy()
        finally:
            library.llama_free(context)
    return torch.from_numpy(logits).double().log_softmax(0)
