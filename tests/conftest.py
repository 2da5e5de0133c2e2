"""What every test relies on: few threads, fixed seeds, no network, and saved tiny models."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import settings

from kcircuits.model.cache import cache_folder
from tests.models import save, tiny_model

# One thread, also in processes that tests start: several wait for each other where tests run side by side.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# An example may take any time, as other programs may run beside it.
settings.register_profile("kcircuits", deadline=None)
settings.load_profile("kcircuits")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that tries to reach another machine, also when the attempt is caught and forgotten."""
    attempts: list[Any] = []

    def refuse(*arguments: Any) -> NoReturn:
        attempts.append(arguments[-1])
        raise OSError(f"a test tried to reach {arguments[-1]}")

    def refuse_look_up(host: Any, *rest: Any, **options: Any) -> NoReturn:
        refuse(host)

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            refuse(address)
        original(self, address)

    original = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_look_up)
    yield
    assert not attempts, f"the test tried to reach {attempts}"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, in which large models are those that were converted before."""
    theirs, ours = cache_folder(), tmp_path_factory.mktemp("cache")
    for converted in theirs.glob("gguf-*"):
        (ours / converted.name).symlink_to(converted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KCIRCUITS_CACHE", str(ours))
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a tiny model -> its Hugging Face folder, saved once; read it, never write to it."""
    root = tmp_path_factory.mktemp("models")

    def folder_of(name: str) -> Path:
        folder = root / name
        return folder if folder.exists() else save(tiny_model(name), folder)

    return folder_of
