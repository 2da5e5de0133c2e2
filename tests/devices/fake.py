"""A second and a third device beside the CPU, compiled when it is first asked for: fake:0 and fake:1."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import torch

SOURCE = Path(__file__).with_name("fake_device.cpp")
BUILD = Path(__file__).parents[2] / "build" / "fake_device"


@cache
def load_fake_device() -> ModuleType:
    """Make the devices known to torch; once in a process, and for good."""
    from torch.utils.cpp_extension import load

    BUILD.mkdir(parents=True, exist_ok=True)
    torch.utils.rename_privateuse1_backend("fake")
    module: ModuleType = load(
        "kcircuits_fake_device", [str(SOURCE)], build_directory=str(BUILD), extra_cflags=["-O0"]
    )
    module.register_hooks()
    torch._register_device_module("fake", _Module("torch.fake"))
    return module


class _Module(ModuleType):
    """What torch asks of a device's Python module."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Nothing is drawn on the device."""

    @staticmethod
    def device_count() -> int:
        return 2

    @staticmethod
    def current_device() -> int:
        return 0
