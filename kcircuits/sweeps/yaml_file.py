"""Strict reading of YAML files: plain values of bounded size, and errors with line numbers.

`yaml.safe_load` creates the values. Before that, the nodes of the document are checked, because aliases
(`*name`) and merges (`<<`) can multiply them. The nodes also give the line numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import check_regular, quote, read_text
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    import yaml
else:
    yaml = DeferredModule("yaml", "sweep files")

MOST_BYTES = 2**20
MOST_VALUES = 100_000
"""Maximum number of values of a document, counting repetitions by aliases."""

Place = Sequence[str | int]
"""Path of a value: keys and indices from the document's root."""


@dataclass(frozen=True)
class Document:
    """A document's values, and its text for error messages (a dict has none).

    `name` is its name in error messages.
    """

    value: Any
    name: str
    lines: tuple[str, ...] = ()
    root: yaml.Node | None = None

    def error(self, place: Place, message: str) -> KCircuitsError:
        """An error about a value, with the document's name, the key, the message and the line."""
        dotted = _place_text(place)
        text = f"{self.name}: {dotted}: {message}" if dotted else f"{self.name}: {message}"
        return KCircuitsError(text + _where(self.lines, self._mark(place)))

    def _mark(self, place: Place) -> yaml.Mark | None:
        """The start of the deepest existing node on the path to a place."""
        node, mark = self.root, None
        for step in place:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == str(step)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = (node.value[step], node.value[step])
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        return mark


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    KCircuitsError
        If it cannot be read, is not UTF-8 YAML with plain values, has a key twice, is larger than
        `MOST_BYTES`, or has more than `MOST_VALUES` values including aliases.
    """
    name = str(path)
    try:
        path = check_regular(path, "YAML file")
        if path.exists() and path.stat().st_size > MOST_BYTES:
            raise KCircuitsError(f"more than {MOST_BYTES:,} bytes, which is too large for a sweep file")
        text = read_text(path, "YAML file")
    except KCircuitsError as error:
        raise KCircuitsError(f"{name}: {error}") from error
    lines = tuple(text.splitlines())
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _check(Document(None, name, lines, root), root)
        return Document(yaml.safe_load(text), name, lines, root)
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise KCircuitsError(f"{name}: not YAML: {problem}{_where(lines, error.problem_mark)}") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise KCircuitsError(f"{name}: not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise KCircuitsError(f"{name}: the YAML is nested too deeply") from error
    except KCircuitsError:
        raise
    except ValueError as error:  # an invalid number or date
        raise KCircuitsError(f"{name}: not YAML: {error}") from error


def _where(lines: Sequence[str], mark: yaml.Mark | None) -> str:
    """The line of a mark, for the end of an error message."""
    if mark is None or mark.line >= len(lines):
        return ""
    return f" (line {mark.line + 1}: {quote(lines[mark.line].strip())})"


def _place_text(place: Place) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def _check(document: Document, root: yaml.Node) -> None:
    """Refuse duplicate keys, and documents that aliases make endless or huge."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size_of(node: yaml.Node) -> int:
        key = id(node)
        if key in open_nodes:
            raise KCircuitsError(f"{document.name}: an alias refers to a value that contains the alias")
        if key not in sizes:
            open_nodes.add(key)
            sizes[key] = 1 + sum(map(size_of, _children(document, node)))
            open_nodes.remove(key)
            if sizes[key] > MOST_VALUES:
                raise KCircuitsError(
                    f"{document.name}: more than {MOST_VALUES:,} values including aliases, which is too many"
                )
        return sizes[key]

    size_of(root)


def _children(document: Document, node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                where = _where(document.lines, key.start_mark)
                raise KCircuitsError(
                    f"{document.name}: the key {quote(key.value)} is given twice in one mapping{where}"
                )
            seen.add(key.value)
    return [part for pair in node.value for part in pair]
