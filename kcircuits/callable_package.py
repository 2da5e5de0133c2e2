"""Packages that share their name with the one function that they are there for.

`kcircuits.discover` is a package, and importing anything from it binds it under that name. As it can be
called, `kcircuits.discover(model, prompts, ...)` works whatever was imported before.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(package: str, function: Callable[..., Any]) -> None:
    """Let a call of the package be a call of the function."""
    module: Any = sys.modules[package]
    module.__class__ = type("CallablePackage", (ModuleType,), {"__call__": staticmethod(function)})
    module.__signature__ = inspect.signature(function)
