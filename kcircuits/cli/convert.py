"""`kcircuits convert`: a circuit from one format into another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kcircuits.cli.options import ModelSource, Printing
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.circuit import Circuit
    from kcircuits.interop.reading import ImportedCircuit

From = Literal["circuit", "eap-ig", "edge-list"]
KeyHeads = Literal["shared", "query"]
To = Literal["circuit", "eap-ig", "graphml", "dot", "svg", "csv"]

_BY_SUFFIX: dict[str, To] = {
    ".json": "circuit",
    ".graphml": "graphml",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".csv": "csv",
}


@dataclass(frozen=True)
class Files(Options):
    """What is read and what is written."""

    title: ClassVar[str] = "Formats"

    source: str = option(help="A circuit in any supported format.", metavar="INPUT", positional=True)
    target: str = option(help="File to write.", metavar="OUTPUT", positional=True)
    model: str | None = option(
        None, like=(ModelSource, "model"), group="Model", default_text="the model that INPUT names"
    )
    from_format: From | None = option(
        None, help="File format of INPUT.", flag="--from", default_text="recognised by its content"
    )
    to_format: To | None = option(
        None, help="File format of OUTPUT.", flag="--to", default_text="chosen by its suffix"
    )
    key_heads: KeyHeads | None = option(
        None,
        help="Meaning of a1.h2<k> in a list of edges where heads share keys: the model's third key, or the "
        "key of its third query head.",
        default_text="shared, unless the list names more keys",
    )


def command(files: Files, output: Printing) -> None:
    """Convert a circuit.json, a graph of EAP-IG (JSON or .pt) or a list of edges into another format."""
    source, target, model = files.source, files.target, files.model
    to = files.to_format or _format_by_suffix(target)
    if not Path(target).parent.is_dir():
        raise KCircuitsError(f"cannot write {target}: the folder {Path(target).parent} does not exist")
    from kcircuits.interop.reading import format_of, read_any

    read_as = files.from_format or format_of(source)
    if files.key_heads is not None and read_as != "edge-list":
        raise KCircuitsError(f"--key-heads is for lists of edges, and {source} is none")
    found = read_any(source, read_as, None if model is None else lambda: _identity(model), files.key_heads)
    _write(found, target, to)
    notes = _notes(found.circuit, read_as, to)
    if output.as_json:
        print(json.dumps(_summary(found.circuit, target, read_as, to, notes), indent=2))
    elif not output.quiet:
        print("\n".join([f"{len(found.circuit.edges):,} edges: {target}", *notes]))


def _format_by_suffix(target: str) -> To:
    suffix = Path(target).suffix.lower()
    if suffix not in _BY_SUFFIX:
        known = ", ".join(_BY_SUFFIX)
        raise KCircuitsError(f"the format of {target!r} is not clear: end it in {known}, or give --to")
    return _BY_SUFFIX[suffix]


def _identity(model: str) -> dict[str, Any]:
    from kcircuits.model.loading import load_model

    return load_model(model).identity


def _write(found: ImportedCircuit, target: str, to: To) -> None:
    from kcircuits.circuit.drawing import draw, to_dot
    from kcircuits.files.writing import write_atomically
    from kcircuits.interop.eap_ig import write_eap_ig
    from kcircuits.interop.graphml import write_graphml
    from kcircuits.interop.table import write_csv

    if to == "circuit":
        found.circuit.save(target)
    elif to == "eap-ig":
        write_eap_ig(found.circuit, target, found.scores)
    elif to == "graphml":
        write_graphml(found.circuit, target)
    elif to == "dot":
        write_atomically(target, to_dot(found.circuit))
    elif to == "svg":
        draw(found.circuit, target)
    else:
        write_csv(found.circuit, target)


def _notes(circuit: Circuit, read_as: From, to: To) -> list[str]:
    """What the change of format did to shared keys and values, and to scores that are not there."""
    graph, settings = circuit.graph, circuit.settings
    notes = []
    if graph.shares_keys:
        sizes = sorted({shape.group_size for shape in graph.layers if shape.num_heads})
        group = f"each key and value is shared by {' or '.join(map(str, sizes))} heads"
        if read_as == "edge-list" and settings.get("key_heads") == "shared":
            notes.append(
                f"{group}: the list's keys and values were read as these (--key-heads query: by query head)"
            )
        elif read_as != "circuit":
            notes.append(f"{group}: the scores of a group were summed")
        if to == "eap-ig":
            notes.append(f"{group}: scores were spread evenly over the group")
    if read_as != "circuit" and settings.get("scored") is False:
        notes.append(
            f"no scores in the {'list' if read_as == 'edge-list' else 'graph'}: every edge has the score 1"
        )
    if read_as == "eap-ig" and "unscored_edges" in settings:
        notes.append(f"{settings['unscored_edges']:,} edges have no score: theirs is 0")
    return notes


def _summary(circuit: Circuit, target: str, read_as: From, to: To, notes: list[str]) -> dict[str, Any]:
    return {
        "file": target,
        "from": read_as,
        "to": to,
        "num_edges": len(circuit.edges),
        "num_nodes": len(circuit.nodes),
        "notes": notes,
    }
