"""The editor of `kcircuits edit`, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kcircuits.cli.edit import Name, Rule
    from kcircuits.editing.methods import Method
    from kcircuits.model.loading import Model


def method_of(
    name: Name,
    layers: str | None,
    nodes: str | None,
    steps: int | None,
    learning_rate: float | None,
    limit: float | None,
) -> Method:
    """The editor that the options ask for."""
    from kcircuits.editing.fine_tuning import TuningOptions
    from kcircuits.editing.methods import FineTuning, Memit, Rome
    from kcircuits.editing.values import ValueOptions

    given = {"steps": steps, "learning_rate": learning_rate}
    chosen = {key: value for key, value in given.items() if value is not None}
    if name in ("ft-l", "ft-m"):
        if layers is not None:
            raise KCircuitsError(f"{name} tunes nodes: give --nodes, such as m9, rather than --layers")
        tuning = TuningOptions(**chosen, limit=limit)  # type: ignore[arg-type]
        of_nodes = None if nodes is None else tuple(node.strip() for node in nodes.split(","))
        return FineTuning("last" if name == "ft-l" else "masked", of_nodes, tuning)
    if nodes is not None or limit is not None:
        raise KCircuitsError(f"--nodes and --limit are for ft-l and ft-m, got {name}")
    value = ValueOptions(**chosen)  # type: ignore[arg-type]
    try:
        numbers = None if layers is None else tuple(int(layer) for layer in layers.split(","))
    except ValueError:
        raise KCircuitsError(f"--layers must be whole numbers with commas between, got {layers!r}") from None
    if name == "memit":
        return Memit(numbers, value=value)
    if numbers is not None and len(numbers) != 1:
        raise KCircuitsError(f"rome edits one layer, got {layers!r}")
    return Rome(None if numbers is None else numbers[0], value)


def guided_by(
    path: str | None, rule: Rule | None, strongest: int | None, method: Method, place: str | None
) -> Callable[[Model], Method]:
    """The method, at the place in a model that a circuit tells; without a circuit as it is."""
    from dataclasses import replace

    from kcircuits.circuit import Circuit
    from kcircuits.editing.guided import circuit_layer, strongest_nodes
    from kcircuits.editing.methods import FineTuning, Memit, layers_up_to

    if path is None:
        if rule is not None or strongest is not None:
            raise KCircuitsError("--rule and --strongest choose from a --circuit: give one")
        return lambda model: method
    if place is not None:
        raise KCircuitsError("the place is given by --circuit already: leave out --layers and --nodes")
    if isinstance(method, FineTuning) and rule is not None:
        raise KCircuitsError(f"{method.name} tunes the --strongest nodes of a circuit: leave out --rule")
    if not isinstance(method, FineTuning) and strongest is not None:
        raise KCircuitsError(f"{method.name} edits the layer that a --rule chooses: leave out --strongest")
    circuit = Circuit.load(path)

    def guided(model: Model) -> Method:
        circuit.check_model(model.identity)
        if isinstance(method, FineTuning):
            return replace(method, nodes=strongest_nodes(circuit, strongest or 4))
        layer = circuit_layer(circuit, rule or "writes")
        if isinstance(method, Memit):
            return replace(method, over=layers_up_to(layer))
        return replace(method, layer=layer)

    return guided
