"""`kcircuits edit`: change what a model says about a subject, and measure what that did."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kcircuits.cli import options
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
            help="Edits: JSON lines (subject, prompt, target, target_true …), or records of CounterFact, "
            "MQuAKE, zsRE, KnowEdit or RippleEdits.",
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
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="DIR",
            help="Write the edited model there as a Hugging Face folder, with the weights that are measured.",
        ),
    ] = None,
    as_json: options.JSON = False,
    quiet: options.QUIET = False,
) -> None:
    """Edit facts with ROME, MEMIT or fine-tuning, and measure them."""
    from kcircuits.cli.edit_explained import explained, save_explanation, show_explanation
    from kcircuits.cli.edit_measured import measured, show_report
    from kcircuits.cli.edit_method import guided_by, method_of
    from kcircuits.cli.readings import no_empty_folder
    from kcircuits.cli.results import warn
    from kcircuits.cli.setup import load
    from kcircuits.editing.edit import EditedModel, edit, edit_each
    from kcircuits.editing.export import check_export
    from kcircuits.editing.records.reading import ReadRequests, read_requests
    from kcircuits.editing.request import EditRequest
    from kcircuits.files.documents import prefix_errors, read_text
    from kcircuits.files.writing import check_output_folder, write_together

    if (requests is None) == (subject is None and prompt is None and target is None):
        raise KCircuitsError("give edits by --requests, or one by --subject, --prompt and --target")
    if requests is not None:
        wanted = read_requests(requests)
    else:
        given = subject or ""
        single = EditRequest(given, (prompt or "").replace("{}", given), target or "", target_true)
        wanted = ReadRequests([single])
    chosen = method_of(method, layers, nodes, steps, learning_rate, limit)
    guide = guided_by(circuit, rule, strongest, chosen, layers or nodes)
    if identity and text is not None:
        raise KCircuitsError("--identity takes no keys from a --text: give one of them")
    if top_n is not None and not explain:
        raise KCircuitsError("--top-n is of the circuits of --explain: give both")
    if export is not None and each:
        raise KCircuitsError("--export writes one model, and --each makes several: give one of them")
    if explain and out is not None:
        need("matplotlib", "pictures")
    if text is not None:
        with prefix_errors(text):
            read_text(text, "text")
    for line in wanted.left_out_lines():
        warn(f"{requests}: {line}")
    asked = tuple(_alone(request) for request in wanted) if each else tuple(wanted)
    if asked != tuple(wanted):
        warn("questions that follow from several edits together are not asked with --each")
    loaded = load(model, memory=None, threads=threads)
    if export is not None:
        check_export(loaded, export)
    chosen = guide(loaded)
    show = not (quiet or as_json)
    moments = _moments(loaded, text, identity, seed, show)
    how: dict[str, Any] = {"moments": moments, "num_prefixes": prefixes, "seed": seed}
    with no_empty_folder(out):
        folder = None if out is None else check_output_folder(out)
        with _bar("steps of the edits", show) as progress:
            if each:
                made = edit_each(loaded, asked, chosen, progress=progress, **how)
            else:
                together = edit(loaded, asked, chosen, progress=progress, **how)
                made = [together.failed.get(number, together) for number in range(len(asked))]
        first = next((one for one in made if isinstance(one, EditedModel)), None)
        explanation = explained(first, top_n) if explain and first is not None else None
    report = measured(loaded, asked, made, text, seed, chosen, moments, wanted.left_out)
    written: list[Path] = []
    if folder is not None:
        with write_together():
            written.append(folder / "edits.json")
            report.save(written[0])
            edits = {id(one): one for one in made if isinstance(one, EditedModel)}
            for number, one in enumerate(edits.values(), start=1):
                written.append(folder / (f"edit-{number:04d}.safetensors" if each else "edit.safetensors"))
                one.save(written[-1])
            if explanation is not None:
                written += save_explanation(explanation, folder)
    if export is not None and first is not None:
        written.append(first.export(export))
    if as_json:
        added = {} if explanation is None else {"explanation": explanation.to_json()}
        print(json.dumps(report.to_json() | added, indent=1, allow_nan=False))
    elif not quiet:
        show_report(report)
        if explanation is not None:
            show_explanation(explanation)
        if written:
            shown = written if len(written) < 4 else [*written[:2], f"… {len(written) - 2} more"]
            print(f"written: {', '.join(map(str, shown))}")


def _alone(request: EditRequest) -> EditRequest:
    """The request without the questions that need other edits in the same model."""
    from dataclasses import replace

    return replace(request, portability=(), together=False) if request.together else request


def _moments(
    model: Model, text: str | None, identity: bool, seed: int, show: bool
) -> Callable[[int], SecondMoment]:
    """The second moment at a layer; one is made, or read from the cache, when it is first asked for."""
    from kcircuits.editing.delta import get_matrix, matrix_name
    from kcircuits.editing.second_moment import identity_moment, second_moment

    known: dict[int, SecondMoment] = {}

    def at(layer: int) -> SecondMoment:
        if layer not in known:
            if identity:
                known[layer] = identity_moment(get_matrix(model.spec, matrix_name(layer)).shape[1], layer)
            else:
                with _bar("tokens of sampled texts", show) as progress:
                    known[layer] = second_moment(model, layer, text=text, seed=seed, progress=progress)
        return known[layer]

    return at


@contextmanager
def _bar(unit: str, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for steps done and steps in all, as editors have it."""
    from kcircuits.cli.progress import shown_progress
    from kcircuits.discovery.progress import Steps

    with shown_progress(show) as callback:
        yield callback and (lambda done, of: callback(Steps(done, of, unit)))
