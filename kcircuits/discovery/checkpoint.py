"""What a long search keeps on disk, so that one that was killed goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from kcircuits.discovery.search_identity import difference_of
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import check_format, check_regular, dump_json, parse_json
from kcircuits.files.writing import check_output_file, write_atomically
from kcircuits.model.huggingface import first_line

FORMAT = "kcircuits-checkpoint/1"
SECONDS_BETWEEN = 1.0
SHARE = 0.005
"""Of the time, what checkpoints may take: a large one is written more rarely."""

_WHAT = "checkpoint"
_KEYS = ("format", "search", "seconds", "digest")


@dataclass(frozen=True)
class _Kept:
    """What a file holds."""

    search: dict[str, Any]
    seconds: float
    snapshot: dict[str, Tensor]


class CheckpointError(KCircuitsError):
    """A checkpoint is damaged, or one of another search: without it the search could begin anew."""


class Checkpoint:
    """The file of one search.

    Parameters
    ----------
    path
        Where it is or will be; the folder must exist. If there is a file, the search goes on from it.

    Raises
    ------
    KCircuitsError
        If the place cannot be written.
    CheckpointError
        If what is there is no whole checkpoint.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_output_file(path)
        self._kept = _read(self.path) if self.path.exists() else None
        self._search: dict[str, Any] | None = None
        self._begun = self._next = 0.0
        self._asked = 0.0

    @property
    def memory(self) -> int | None:
        """The budget of the search that the file is of, in bytes; None where there is no file."""
        memory = self._kept and self._kept.search.get("memory")
        return memory if type(memory) is int and memory > 0 else None

    @property
    def seconds(self) -> float:
        """How long the search had run when the file was written; 0 where there is none."""
        return self._kept.seconds if self._kept else 0.0

    def begin(self, search: dict[str, Any]) -> None:
        """Say which search this is (`search_identity.search_of`), before any work.

        Raises CheckpointError that names the difference if the file is of another one.
        """
        if self._kept:
            difference = difference_of(self._kept.search, search)
            if difference is not None:
                key, theirs, ours = difference
                raise CheckpointError(
                    f"{self.path} is the checkpoint of another search: {key} is {theirs} there and {ours} "
                    "here; give another file, or remove this one"
                )
        self._search = search

    @property
    def snapshot(self) -> dict[str, Tensor] | None:
        """What the engine goes on from; None at the beginning."""
        return self._kept.snapshot if self._kept else None

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Around the search itself: its time counts from here.

        Raises CheckpointError if the engine refuses the snapshot.
        """
        self._begun = monotonic()
        self._next = self._begun + SECONDS_BETWEEN
        try:
            yield
        except ValueError as error:
            if not str(error).startswith("snapshot: "):
                raise
            raise CheckpointError(f"{self.path}: {first_line(error)}; remove it to start anew") from error

    def due(self) -> bool:
        """Whether it is time to write."""
        self._asked = monotonic()
        return self._asked >= self._next

    def keep(self, snapshot: Mapping[str, Tensor]) -> None:
        """Write what the search goes on from; raises KCircuitsError if the file cannot be written."""
        assert self._search is not None
        start = monotonic()
        seconds = self.seconds + start - self._begun
        write_atomically(self.path, _to_bytes(_Kept(self._search, seconds, dict(snapshot))), at_once=True)
        # Taking the snapshot counts, too, where `due` was asked for it.
        took = monotonic() - min(start, max(self._asked, self._begun))
        self._next = monotonic() + max(SECONDS_BETWEEN, took / SHARE)


def _to_bytes(kept: _Kept) -> bytes:
    header = {
        "format": FORMAT,
        "search": dump_json(kept.search, "search", _WHAT),
        "seconds": repr(kept.seconds),
    }
    content: bytes = save(kept.snapshot, metadata=header | {"digest": _digest_of(header, kept.snapshot)})
    return content


def _digest_of(header: Mapping[str, str], snapshot: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(repr([header[key] for key in _KEYS[:-1]]).encode())
    for name in sorted(snapshot):
        tensor = snapshot[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> _Kept:
    try:
        content = check_regular(path, _WHAT).read_bytes()
        snapshot = load(content)
        # Its first bytes say how long the header is, which has been parsed by now.
        described = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")].decode(), _WHAT)
        header = described.get("__metadata__", {}) if isinstance(described, dict) else {}
        check_format(header.get("format"), FORMAT, _WHAT)
        if sorted(header) != sorted(_KEYS) or header["digest"] != _digest_of(header, snapshot):
            raise KCircuitsError("the checkpoint is damaged")
        search = parse_json(header["search"], _WHAT)
        if not isinstance(search, dict):
            raise KCircuitsError("the checkpoint is damaged")
        return _Kept(search, float(header["seconds"]), snapshot)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint, or a damaged one ({first_line(error)}): remove it to start anew"
        ) from error
    except (OSError, ValueError) as error:
        if not isinstance(error, KCircuitsError):
            raise KCircuitsError(f"{path}: cannot read the checkpoint: {error}") from error
        raise CheckpointError(f"{path}: {error}; remove it to start anew") from error
