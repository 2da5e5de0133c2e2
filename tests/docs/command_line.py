"""A command of the documentation, parsed by the real command line without being run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from kcircuits.cli.app import app

ROOT: Any = typer.main.get_command(app)


def parse(words: Sequence[str]) -> Any:
    """The context of `kcircuits` with these arguments; raises as the command line does if they are wrong."""
    return _parsed(ROOT, "kcircuits", words, None)


def command_of(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that words begin with, and the rest of them; None if there is no such command."""
    found, rest = ROOT, list(words)
    while rest and hasattr(found, "commands"):
        found, rest = found.commands.get(rest[0]), rest[1:]
    return found, rest


def options_of(command: Any) -> set[str]:
    """Every spelling of a command's options."""
    return {"--help"} | {
        spelling
        for parameter in command.params
        for spelling in (*parameter.opts, *parameter.secondary_opts)
        if spelling.startswith("-")
    }


def _parsed(command: Any, name: str, words: Sequence[str], parent: Any) -> Any:
    context = command.make_context(name, list(words), parent=parent)
    rest = [*context._protected_args, *context.args]
    if not hasattr(command, "commands") or not rest:
        return context
    found, chosen, rest = command.resolve_command(context, rest)
    return _parsed(chosen, found, rest, context)
