"""The editor of `kcircuits edit`, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kcircuits.cli.edit import EditorOptions, PlaceOptions
    from kcircuits.editing.methods import Method
    from kcircuits.model.loading import Model


def method_of(options: EditorOptions) -> Method:
    """The editor that the options ask for."""
    from kcircuits.editing.fine_tuning import TuningOptions
    from kcircuits.editing.methods import FineTuning, Memit, Rome
    from kcircuits.editing.values import ValueOptions

    name, layers = options.method, options.layers
    given = {"steps": options.steps, "learning_rate": options.learning_rate}
    chosen = {key: value for key, value in given.items() if value is not None}
    if name in ("ft-l", "ft-m"):
        if layers is not None:
            raise KCircuitsError(f"{name} tunes nodes: give --nodes, such as m9, rather than --layers")
        tuning = TuningOptions(**chosen, limit=options.limit)  # type: ignore[arg-type]
        return FineTuning("last" if name == "ft-l" else "masked", options.nodes, tuning)
    if options.nodes is not None or options.limit is not None:
        raise KCircuitsError(f"--nodes and --limit are for ft-l and ft-m, got {name}")
    value = ValueOptions(**chosen)  # type: ignore[arg-type]
    if name == "memit":
        return Memit(layers, value=value)
    if layers is not None and len(layers) != 1:
        raise KCircuitsError(f"rome edits one layer, got {','.join(map(str, layers))!r}")
    return Rome(None if layers is None else layers[0], value)


def guided_by(place: PlaceOptions, editor: EditorOptions, method: Method) -> Callable[[Model], Method]:
    """The method, at the place in a model that a circuit tells; without a circuit as it is."""
    from dataclasses import replace

    from kcircuits.circuit import Circuit
    from kcircuits.editing.guided import circuit_layer, strongest_nodes
    from kcircuits.editing.methods import FineTuning, Memit, layers_up_to

    if place.circuit is None:
        if place.rule is not None or place.strongest is not None:
            raise KCircuitsError("--rule and --strongest choose from a --circuit: give one")
        return lambda model: method
    if editor.layers is not None or editor.nodes is not None:
        raise KCircuitsError("the place is given by --circuit already: leave out --layers and --nodes")
    if isinstance(method, FineTuning) and place.rule is not None:
        raise KCircuitsError(f"{method.name} tunes the --strongest nodes of a circuit: leave out --rule")
    if not isinstance(method, FineTuning) and place.strongest is not None:
        raise KCircuitsError(f"{method.name} edits the layer that a --rule chooses: leave out --strongest")
    circuit = Circuit.load(place.circuit)

    def guided(model: Model) -> Method:
        circuit.check_model(model.identity)
        if isinstance(method, FineTuning):
            return replace(method, nodes=strongest_nodes(circuit, place.strongest or 4))
        layer = circuit_layer(circuit, place.rule or "writes")
        if isinstance(method, Memit):
            return replace(method, over=layers_up_to(layer))
        return replace(method, layer=layer)

    return guided
