"""What can be said of a block of Python that is not run: whether the names and arguments in it exist."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import kcircuits

_UNKNOWN = object()


@dataclass(frozen=True)
class _Made:
    """Something of a class, which is not there."""

    kind: type


def problems(code: str, known: dict[str, Any] | None = None) -> list[str]:
    """Names that do not resolve, and calls that do not fit a signature of the package.

    Parameters
    ----------
    code
        Python, which is parsed and not run.
    known
        What is defined before.
    """
    walk = _Walk({name: _made(value) for name, value in (known or {}).items()})
    walk.visit(ast.parse(code))
    return walk.found


def _made(value: Any) -> Any:
    return value if inspect.ismodule(value) or callable(value) else _Made(type(value))


class _Walk(ast.NodeVisitor):
    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.found: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            module = self.imported(node, alias.name)
            first = alias.name.partition(".")[0]
            self.names[alias.asname or first] = module if alias.asname else self.imported(node, first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self.imported(node, node.module or "")
        for alias in node.names:
            value = getattr(module, alias.name, _UNKNOWN)
            if value is _UNKNOWN and module is not _UNKNOWN:
                value = self.imported(node, f"{node.module}.{alias.name}")
            self.names[alias.asname or alias.name] = value

    def imported(self, node: ast.AST, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            return self.wrong(node, f"no module {name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.names[target.id] = self.value_of(node.value)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if isinstance(item.optional_vars, ast.Name):
                made = self.value_of(item.context_expr)
                enter = getattr(made.kind, "__enter__", None) if isinstance(made, _Made) else None
                self.names[item.optional_vars.id] = _returned(enter) if enter else _UNKNOWN
        for statement in node.body:
            self.visit(statement)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self.value_of(node.value)
        if owner is not _UNKNOWN and _attribute(owner, node.attr) is None:
            name = owner.kind.__name__ if isinstance(owner, _Made) else getattr(owner, "__name__", owner)
            self.wrong(node, f"{name} has no {node.attr}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self.value_of(node.func)
        if not callable(called) or not str(getattr(called, "__module__", "")).startswith("kcircuits"):
            return
        if any(isinstance(each, ast.Starred) for each in node.args):
            return
        given = {each.arg: None for each in node.keywords if each.arg is not None}
        bind = _signature(called, isinstance(node.func, ast.Attribute)).bind
        try:
            bind(*node.args, **given)
        except TypeError as error:
            if len(given) == len(node.keywords):  # a ** may bring what is missing
                self.wrong(node, f"{ast.unparse(node)}: {error}")

    def value_of(self, node: ast.expr) -> Any:
        """What an expression is, as far as it can be told: a module, a function, or `_Made`."""
        match node:
            case ast.Name():
                return self.names.get(node.id, _UNKNOWN)
            case ast.Attribute():
                owner = self.value_of(node.value)
                found = None if owner is _UNKNOWN else _attribute(owner, node.attr)
                return _UNKNOWN if found is None else found
            case ast.Call():
                called = self.value_of(node.func)
                return _UNKNOWN if called is _UNKNOWN else _returned(called)
        return _UNKNOWN

    def wrong(self, node: ast.AST, what: str) -> Any:
        self.found.append(f"line {getattr(node, 'lineno', 0)}: {what}")
        return _UNKNOWN


def _attribute(owner: Any, name: str) -> Any:
    """An attribute; `_UNKNOWN` where it exists and its value does not, None where there is none."""
    if not isinstance(owner, _Made):
        return getattr(owner, name, None)
    kind = owner.kind
    if isinstance(vars(kind).get(name), property):
        return _returned(vars(kind)[name].fget)
    if is_dataclass(kind) and name in {each.name for each in fields(kind)}:
        return _UNKNOWN
    if (found := getattr(kind, name, None)) is not None:
        return found if callable(found) else _UNKNOWN
    return _UNKNOWN if name in inspect.get_annotations(kind) else None


def _returned(called: Callable[..., Any]) -> Any:
    """What a call gives: something of a public class of the package, or unknown."""
    if isinstance(called, type):
        return _Made(called)
    annotation = str(inspect.get_annotations(called).get("return", "")) if callable(called) else ""
    kind = getattr(kcircuits, annotation, None) if annotation in kcircuits.__all__ else None
    return _Made(kind) if isinstance(kind, type) else _UNKNOWN


def _signature(called: Any, is_attribute: bool) -> inspect.Signature:
    """The signature as it is called: a plain method of `_Made` has its first parameter already."""
    signature = inspect.signature(called)
    parameters = list(signature.parameters.values())
    if is_attribute and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)
