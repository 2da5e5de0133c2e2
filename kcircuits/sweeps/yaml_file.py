"""YAML that a person wrote, read with distrust: plain values of bounded size, and errors with the line.

`yaml.safe_load` makes the values. Before it does, the document's nodes are looked at, which are what an alias
(`*name`) or a merge (`<<`) would multiply, and which say where in the file a value is.
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
"""Of a document, counted as often as aliases repeat them."""

Place = Sequence[str | int]
"""Where a value is: keys and indices from the document's root on."""


@dataclass(frozen=True)
class Document:
    """A document's values, and the text that they come from, for errors; a dict has no text.

    `name` is what errors call it.
    """

    value: Any
    name: str
    lines: tuple[str, ...] = ()
    root: yaml.Node | None = None

    def error(self, place: Place, message: str) -> KCircuitsError:
        """An error about the value at a place: the document's name, the key, what is wrong, and the line."""
        dotted = _place_text(place)
        text = f"{self.name}: {dotted}: {message}" if dotted else f"{self.name}: {message}"
        return KCircuitsError(text + _where(self.lines, self._mark(place)))

    def _mark(self, place: Place) -> yaml.Mark | None:
        """Where in the file the deepest node on the way to a place begins."""
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
        If it cannot be read, is not UTF-8 YAML with plain values, says a key twice, is larger than
        `MOST_BYTES`, or has more than `MOST_VALUES` values once aliases are followed.
    """
    name = str(path)
    try:
        path = check_regular(path, "YAML file")
        if path.exists() and path.stat().st_size > MOST_BYTES:
            raise KCircuitsError(f"more than {MOST_BYTES:,} bytes, which no sweep needs")
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
    except ValueError as error:  # a number or a date that is none
        raise KCircuitsError(f"{name}: not YAML: {error}") from error


def _where(lines: Sequence[str], mark: yaml.Mark | None) -> str:
    """The line of a mark, for an error's end."""
    if mark is None or mark.line >= len(lines):
        return ""
    return f" (line {mark.line + 1}: {quote(lines[mark.line].strip())})"


def _place_text(place: Place) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def _check(document: Document, root: yaml.Node) -> None:
    """Refuse keys that are said twice, and what aliases make endless or huge."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size_of(node: yaml.Node) -> int:
        key = id(node)
        if key in open_nodes:
            raise KCircuitsError(f"{document.name}: an alias stands inside of what it stands for")
        if key not in sizes:
            open_nodes.add(key)
            sizes[key] = 1 + sum(map(size_of, _children(document, node)))
            open_nodes.remove(key)
            if sizes[key] > MOST_VALUES:
                raise KCircuitsError(
                    f"{document.name}: more than {MOST_VALUES:,} values with aliases followed, too many"
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
                    f"{document.name}: the key {quote(key.value)} stands twice in one mapping{where}"
                )
            seen.add(key.value)
    return [part for pair in node.value for part in pair]
