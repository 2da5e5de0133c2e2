"""`kcircuits edit`: change what a model says about a subject, and measure what that did."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kcircuits.cli import options
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kcircuits.editing.edit import EditedModel
    from kcircuits.editing.methods import Method
    from kcircuits.editing.report import EditReport
    from kcircuits.editing.request import EditRequest
    from kcircuits.editing.second_moment import SecondMoment
    from kcircuits.model.loading import Model

Name = Literal["rome", "memit", "ft-l", "ft-m"]
Rule = Literal["writes", "moved", "first"]


def command(
    *,
    model: options.MODEL,
    requests: Annotated[
        str | None,
        typer.Option(
            "--requests",
            metavar="F.jsonl",
            help="Edits: JSON lines (subject, prompt, target, target_true …), or CounterFact's or zsRE's.",
        ),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", metavar="TEXT", help="Of one edit.")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="Its prompt, which has the subject or {}.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="TEXT", help="What shall follow it.")
    ] = None,
    target_true: Annotated[
        str | None, typer.Option("--true", metavar="TEXT", help="What follows it now.")
    ] = None,
    method: Annotated[Name, typer.Option("--method", help="The editor.")] = "rome",
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="L,…",
            help="Whose MLP is edited: one for ROME, some for MEMIT. [default: at 1/10 of the depth]",
        ),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            "--nodes", metavar="A,…", help="MLPs and heads that FT-L and FT-M tune, such as m9,a3.h1."
        ),
    ] = None,
    circuit: Annotated[
        str | None,
        typer.Option(
            "--circuit",
            metavar="FILE",
            help="The fact's circuit, which says where to edit: a --rule for ROME and MEMIT, the --strongest "
            "nodes for FT-L and FT-M.",
        ),
    ] = None,
    rule: Annotated[
        Rule | None,
        typer.Option(
            "--rule",
            help="The layer of ROME and MEMIT is that of the circuit's MLP that writes most, of which heads "
            "move most, or of the first strong one. [default: writes]",
        ),
    ] = None,
    strongest: Annotated[
        int | None,
        typer.Option("--strongest", min=1, metavar="N", help="MLPs and heads of the circuit. [default: 4]"),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="A text whose keys an edit leaves alone, and whose perplexity is measured. "
            "[default: text that the model writes, and no perplexity]",
        ),
    ] = None,
    identity: Annotated[
        bool, typer.Option("--identity", help="Hold all keys to be as common instead; edits spread further.")
    ] = False,
    prefixes: Annotated[
        int, typer.Option("--prefixes", min=0, metavar="N", help="Texts before which a prompt is seen, too.")
    ] = 5,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="N", help="Of the optimisation.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="R", help="Of the optimisation.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="X", help="By how much FT-L and FT-M move a number.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Every edit into a model of its own, rather than all into one.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="S", help="Of the texts that are sampled.")
    ] = 0,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what the first edit changed inside: where its objects come up, through which nodes, "
            "and its circuit.",
        ),
    ] = False,
    top_n: Annotated[
        int | None,
        typer.Option(
            "--top-n",
            min=1,
            metavar="N",
            help="Edges of the circuits of --explain. [default: 1 % of the graph's, at least 200]",
        ),
    ] = None,
    threads: options.THREADS = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write edits.json and the edit there, and explain.json with a picture.",
        ),
    ] = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Edit facts with ROME, MEMIT or fine-tuning, and measure them."""
    from kcircuits.cli.edit_explained import explained, save_explanation, show_explanation
    from kcircuits.cli.readings import no_empty_folder
    from kcircuits.cli.setup import load
    from kcircuits.editing.edit import EditedModel, edit, edit_each
    from kcircuits.editing.request import EditRequest, read_requests
    from kcircuits.files import check_output_folder, written_together

    if (requests is None) == (subject is None and prompt is None and target is None):
        raise KCircuitsError("give edits by --requests, or one by --subject, --prompt and --target")
    if requests is not None:
        wanted = read_requests(requests)
    else:
        given = subject or ""
        wanted = (EditRequest(given, (prompt or "").replace("{}", given), target or "", target_true),)
    chosen = _method(method, layers, nodes, steps, learning_rate, limit)
    guide = _guide(circuit, rule, strongest, chosen, layers or nodes)
    if identity and text is not None:
        raise KCircuitsError("--identity takes no keys from a --text: give one of them")
    if top_n is not None and not explain:
        raise KCircuitsError("--top-n is of the circuits of --explain: give both")
    loaded = load(model, memory=None, threads=threads)
    chosen = guide(loaded)
    show = not (quiet or as_json)
    moments = _moments(loaded, text, identity, seed, show)
    how: dict[str, Any] = {"moments": moments, "num_prefixes": prefixes, "seed": seed}
    with no_empty_folder(out):
        folder = None if out is None else check_output_folder(out)
        with _bar("steps of the edits", show) as progress:
            if each:
                made = edit_each(loaded, wanted, chosen, progress=progress, **how)
            else:
                together = edit(loaded, wanted, chosen, progress=progress, **how)
                made = [together.failed.get(number, together) for number in range(len(wanted))]
        first = next((one for one in made if isinstance(one, EditedModel)), None)
        explanation = explained(first, top_n) if explain and first is not None else None
    report = _measured(loaded, wanted, made, text, seed, chosen, moments)
    written: list[Path] = []
    if folder is not None:
        with written_together():
            written.append(folder / "edits.json")
            report.save(written[0])
            edits = {id(one): one for one in made if isinstance(one, EditedModel)}
            for number, one in enumerate(edits.values(), start=1):
                written.append(folder / (f"edit-{number:04d}.safetensors" if each else "edit.safetensors"))
                one.save(written[-1])
            if explanation is not None:
                written += save_explanation(explanation, folder)
    if as_json:
        added = {} if explanation is None else {"explanation": explanation.to_json()}
        print(json.dumps(report.to_json() | added, indent=1, allow_nan=False))
    elif not quiet:
        _show(report)
        if explanation is not None:
            show_explanation(explanation)
        if written:
            shown = written if len(written) < 4 else [*written[:2], f"… {len(written) - 2} more"]
            print(f"written: {', '.join(map(str, shown))}")


def _method(
    name: Name,
    layers: str | None,
    nodes: str | None,
    steps: int | None,
    learning_rate: float | None,
    limit: float | None,
) -> Method:
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


def _guide(
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


def _moments(
    model: Model, text: str | None, identity: bool, seed: int, show: bool
) -> Callable[[int], SecondMoment]:
    """The second moment at a layer; one is made, or read from the cache, when it is first asked for."""
    from kcircuits.editing.delta import matrix_name, matrix_of
    from kcircuits.editing.second_moment import identity_moment, second_moment

    known: dict[int, SecondMoment] = {}

    def at(layer: int) -> SecondMoment:
        if layer not in known:
            if identity:
                known[layer] = identity_moment(matrix_of(model.spec, matrix_name(layer)).shape[1], layer)
            else:
                with _bar("tokens of sampled texts", show) as progress:
                    known[layer] = second_moment(model, layer, text=text, seed=seed, progress=progress)
        return known[layer]

    return at


def _measured(
    model: Model,
    requests: tuple[EditRequest, ...],
    made: list[EditedModel | str],
    text: str | None,
    seed: int,
    method: Method,
    moments: Callable[[int], SecondMoment],
) -> EditReport:
    from dataclasses import asdict

    from kcircuits.documents import read_text
    from kcircuits.editing.measures import measure_edit, perplexity
    from kcircuits.editing.methods import FineTuning
    from kcircuits.editing.report import EditReport

    measures = [
        None if isinstance(one, str) else measure_edit(one.model, model, request, seed)
        for request, one in zip(requests, made, strict=True)
    ]
    settings: dict[str, Any] = {"method": method.name, **asdict(method), "seed": seed}
    if isinstance(method, FineTuning):
        settings["nodes"] = list(method.tuned_nodes(len(model.spec.layers)))
    else:
        layers = method.layers(len(model.spec.layers))
        settings["layers"] = list(layers)
        settings["keys"] = [moments(layer).source for layer in layers]
    edited = {id(one): one for one in made if not isinstance(one, str)}
    both = None
    if text is not None and len(edited) == 1:
        content = read_text(text, "text")
        (one,) = edited.values()
        both = perplexity(model, content), perplexity(one.model, content)
    failed = {number: one for number, one in enumerate(made) if isinstance(one, str)}
    return EditReport(model.identity, settings, requests, tuple(measures), failed, both)


def _show(report: EditReport) -> None:
    from kcircuits.cli.console import print_rows
    from kcircuits.editing.report import summary

    done = len(report.requests) - len(report.failed)
    print_rows(
        f"{report.settings['method']}: {done} of {len(report.requests)} edits",
        ("measure", "mean"),
        summary(report.means),
    )
    if report.settings.get("keys", [None])[0] == "identity":
        print("keys were all held to be as common (--identity)")
    if report.perplexity is not None:
        print(f"perplexity of the text: {report.perplexity[0]:.2f} before, {report.perplexity[1]:.2f} after")
    for number, reason in report.failed.items():
        print(f"edit {number + 1} ({report.requests[number].subject}): {reason}")


@contextmanager
def _bar(unit: str, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for steps done and steps in all, as editors have it."""
    from kcircuits.cli.progress import shown_progress
    from kcircuits.discover.progress import Steps

    with shown_progress(show) as callback:
        yield callback and (lambda done, of: callback(Steps(done, of, unit)))
