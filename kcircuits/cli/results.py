"""The files that a found circuit is written to."""

from __future__ import annotations

import sys
from pathlib import Path

from kcircuits.circuit import Circuit
from kcircuits.circuit.drawing import dot_available, draw, to_dot
from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import write_atomically, write_together
from kcircuits.runtime.optional import is_installed


def drawable() -> bool:
    """Whether pictures can be drawn; says on stderr if not, before somebody waits for one."""
    if dot_available():
        return True
    if not is_installed("graphviz"):
        warn(
            "no circuit.dot and circuit.svg: pictures of circuits need graphviz: pip install 'kcircuits[viz]'"
        )
        return False
    warn("no circuit.svg, as graphviz' program 'dot' is not installed (apt install graphviz)")
    return False


def write_circuit(circuit: Circuit, folder: Path, with_picture: bool) -> list[Path]:
    """Write circuit.json, circuit.dot and perhaps circuit.svg, together or not at all; returns the paths.

    Without the package graphviz there is no circuit.dot; `drawable` says so.

    The picture comes last: if it fails, that is a warning, and what was found is not lost.
    """
    written = [folder / "circuit.json"]
    with write_together():
        circuit.save(written[0])
        if is_installed("graphviz"):
            written.append(folder / "circuit.dot")
            write_atomically(written[1], to_dot(circuit))
        if with_picture:
            picture = folder / "circuit.svg"
            try:
                draw(circuit, picture)
            except KCircuitsError as error:
                warn(str(error))
            else:
                written.append(picture)
    return written


def warn(message: str) -> None:
    """Print a warning, which --quiet prints, too."""
    print(f"kcircuits: warning: {message}", file=sys.stderr)
