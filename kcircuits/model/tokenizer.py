"""The tokenizer of a model folder, as Transformers reads it, with a cache.

Transformers resolves many details when it reads a tokenizer (special tokens, BOS, old formats). The result is
nearly always a tokenizer of the `tokenizers` library. It is cached in that form and then read without
Transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import parse_json
from kcircuits.model.cache import cache_folder, code_version, digest_of, write_cache
from kcircuits.model.huggingface import first_line, pause_garbage_collection, silence_transformers
from kcircuits.model.tokenizer_ids import check_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")

KEPT_TOKENIZER = "kcircuits_tokenizer.json"
"""File in a folder converted from GGUF: the tokenizer as written by `FastTokenizer.to_json`."""

# Suffixes of all files from which Transformers may read a tokenizer.
_SUFFIXES = (".json", ".jinja", ".model", ".txt")

# A class that inherits all of these from the base class of fast tokenizers adds no processing of its own.
_METHODS = (
    "__call__",
    "_encode_plus",
    "_convert_encoding",
    "set_truncation_and_padding",
    "decode",
    "_decode",
)


class FastTokenizer:
    """Ids, characters and text of tokens: the part of a fast Hugging Face tokenizer's interface used here.

    Parameters
    ----------
    backend
        The wrapped tokenizer; its truncation and padding are turned off.
    unk_token_id
        The id for unknown words, or None.
    split_special_tokens
        Whether a special token in a text is tokenised as text.
    """

    is_fast = True

    def __init__(self, backend: Tokenizer, unk_token_id: int | None, split_special_tokens: bool) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = split_special_tokens
        self._backend = backend
        self.unk_token_id = unk_token_id
        self.split_special_tokens = split_special_tokens

    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool = True,
        return_offsets_mapping: bool = False,
        verbose: bool = False,
    ) -> dict[str, Any]:
        """Ids of a text.

        Parameters
        ----------
        text
            One text.
        add_special_tokens
            Whether to add the special tokens that the model expects (BOS, EOS).
        return_offsets_mapping
            Whether to return the character range of each token, too.
        verbose
            Part of Hugging Face's interface; this tokenizer never warns.

        Returns
        -------
        dict
            "input_ids": list of int; "offset_mapping": list of (first, end) in characters of the text.
        """
        encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
        ids = {"input_ids": encoding.ids}
        return ids | {"offset_mapping": encoding.offsets} if return_offsets_mapping else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special ones included."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text

    @property
    def unk_token(self) -> str | None:
        """The token for unknown words, or None."""
        token = None if self.unk_token_id is None else self._backend.id_to_token(self.unk_token_id)
        return None if token is None else str(token)

    def backend_json(self) -> str:
        """The backend in the format of the `tokenizers` library, without the fields of this class."""
        text: str = self._backend.to_str()
        return text

    def to_json(self) -> str:
        """The whole tokenizer as one line of JSON, for `from_json`."""
        return json.dumps(
            {
                "unk_token_id": self.unk_token_id,
                "split_special_tokens": self.split_special_tokens,
                "tokenizer": self.backend_json(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FastTokenizer:
        """Read the output of `to_json`; raises KCircuitsError for anything else."""
        from tokenizers import Tokenizer

        document = parse_json(text, "tokenizer")
        try:
            assert isinstance(document, dict)
            backend = Tokenizer.from_str(document["tokenizer"])
            return cls(backend, document["unk_token_id"], document["split_special_tokens"])
        except Exception as error:  # the library raises plain Exceptions
            raise KCircuitsError(f"not a tokenizer: {first_line(error)}") from error


def read_tokenizer(folder: Path) -> Any | None:
    """The tokenizer of a Hugging Face folder, or None if it has none.

    It is a `FastTokenizer` if that gives the same results as Transformers' own, else the latter. The cache is
    tried first; its key is the content of every file from which a tokenizer may be read.

    Raises KCircuitsError for a SentencePiece model that cannot be converted here and for impossibly large ids
    (`kcircuits.model.tokenizer_ids`), and whatever Transformers and tokenizers raise for other invalid files.
    """
    if (own := folder / KEPT_TOKENIZER).is_file():
        return FastTokenizer.from_json(own.read_text(encoding="utf-8"))
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        return None
    files = [file for file in sorted(folder.iterdir()) if file.suffix in _SUFFIXES and file.is_file()]
    content = [part for file in files for part in (file.name.encode(), file.read_bytes())]
    name = f"tokenizer-{digest_of(*content)}.json"
    kept = _read_cached(cache_folder() / name)
    if kept is not None:
        return kept
    check_ids(folder)
    from transformers import AutoTokenizer

    with pause_garbage_collection(), silence_transformers():
        try:
            theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # of many types, about libraries that are not installed
            if (folder / "tokenizer.json").exists() or not (folder / "tokenizer.model").exists():
                raise
            raise KCircuitsError(
                f"the tokenizer in {folder} is a SentencePiece model (tokenizer.model) without the "
                "tokenizer.json that is read here; where sentencepiece is installed, Transformers makes one: "
                f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder) ({first_line(error)})"
            ) from error
    if not _is_plain(theirs):
        return theirs
    ours = FastTokenizer(theirs.backend_tokenizer, theirs.unk_token_id, theirs.split_special_tokens)
    body = ours.to_json()
    write_cache(name, f"{_seal(body)}\n{body}".encode())
    return ours


def _read_cached(path: Path) -> FastTokenizer | None:
    try:
        seal, _, body = path.read_text(encoding="utf-8").partition("\n")
        return FastTokenizer.from_json(body) if seal == _seal(body) else None
    except (OSError, ValueError):  # includes KCircuitsError: whatever is wrong, the entry is recreated
        return None


def _seal(body: str) -> str:
    """First line of a cached tokenizer; shows that it is complete and written by this code."""
    return digest_of(body.encode(), code_version().encode())


def _is_plain(tokenizer: Any) -> bool:
    """Whether a Transformers tokenizer delegates everything to its backend."""
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return False
    changes_text = tokenizer.clean_up_tokenization_spaces and (
        type(tokenizer.backend_tokenizer.model).__name__ != "BPE"
        or tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
    )
    of_all = all(
        getattr(type(tokenizer), name) is getattr(PreTrainedTokenizerFast, name) for name in _METHODS
    )
    return of_all and not changes_text
