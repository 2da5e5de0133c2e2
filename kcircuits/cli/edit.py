"""`kcircuits edit`: change what a model says about a subject, and measure what that did."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kcircuits.cli.options import ModelSource, Output, Threads
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import OptionError, Options, option
from kcircuits.runtime.optional import need
from kcircuits.scores.selection_options import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kcircuits.editing.records.reading import ReadRequests
    from kcircuits.editing.request import EditRequest
    from kcircuits.editing.second_moment import SecondMoment
    from kcircuits.model.loading import Model

Name = Literal["rome", "memit", "ft-l", "ft-m"]
Rule = Literal["writes", "moved", "first"]


@dataclass(frozen=True)
class Requests(Options):
    """What is edited."""

    title: ClassVar[str] = "Edits"

    requests: str | None = option(
        None,
        help="Edits: JSON lines (subject, prompt, target, target_true …), or records of CounterFact, MQuAKE, "
        "zsRE, KnowEdit or RippleEdits.",
        metavar="F.jsonl",
    )
    subject: str | None = option(None, help="Subject of a single edit.", metavar="TEXT")
    prompt: str | None = option(
        None, help="Prompt of a single edit, with the subject or {} in it.", metavar="TEXT"
    )
    target: str | None = option(None, help="New continuation of the prompt.", metavar="TEXT")
    target_true: str | None = option(
        None, help="Present continuation of the prompt.", metavar="TEXT", flag="--true"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.requests is None) == (self.subject is None and self.prompt is None and self.target is None):
            raise OptionError("give edits by `requests`, or one by `subject`, `prompt` and `target`")


@dataclass(frozen=True)
class EditorOptions(Options):
    """The editor."""

    title: ClassVar[str] = "Editor"

    method: Name = option("rome", help="Method of editing.")
    layers: tuple[int, ...] | None = option(
        None,
        help="Layers whose MLP is edited: one for ROME, several for MEMIT.",
        metavar="L,…",
        default_text="at 1/10 of the depth",
    )
    nodes: tuple[str, ...] | None = option(
        None, help="MLPs and heads that FT-L and FT-M tune, such as m9,a3.h1.", metavar="A,…"
    )
    steps: int | None = option(None, help="Number of optimisation steps.", metavar="N", least=1)
    learning_rate: float | None = option(None, like=(EdgePruning, "learning_rate"))
    limit: float | None = option(
        None, help="Largest change of a single weight by FT-L and FT-M.", metavar="X"
    )


@dataclass(frozen=True)
class PlaceOptions(Options):
    """A circuit that tells where to edit."""

    title: ClassVar[str] = "Circuit"

    circuit: str | None = option(
        None,
        help="Circuit of the fact, which tells where to edit: by --rule for ROME and MEMIT, its --strongest "
        "nodes for FT-L and FT-M.",
        metavar="FILE",
    )
    rule: Rule | None = option(
        None,
        help="Layer of ROME and MEMIT: of the MLP that writes most, of the MLP whose output heads move most, "
        "or of the first strong MLP.",
        default_text="writes",
    )
    strongest: int | None = option(
        None, help="Number of the circuit's nodes to tune.", metavar="N", least=1, default_text="4"
    )


@dataclass(frozen=True)
class EditOptions(Options):
    """How it is edited."""

    title: ClassVar[str] = "Editing"

    text: str | None = option(
        None,
        help="A text whose keys an edit leaves unchanged, and whose perplexity is measured.",
        metavar="FILE",
        default_text="text that the model writes, and no perplexity",
    )
    identity: bool = option(
        False, help="Treat all keys as equally common instead; edits then affect more of the model."
    )
    prefixes: int = option(
        5, help="Number of texts that precede the prompt during optimisation.", metavar="N", least=0
    )
    each: bool = option(False, help="Make every edit in a model of its own, rather than all in one model.")
    seed: int = option(0, like=(EdgePruning, "seed"), least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.identity and self.text is not None:
            raise OptionError("`identity` takes no keys from a `text`: give one of them", "identity")


@dataclass(frozen=True)
class ExplanationOptions(Options):
    """Whether and how the first edit is explained."""

    title: ClassVar[str] = "Explanation"

    explain: bool = option(
        False,
        help="Show what the first edit changed: the layers where its objects emerge, the nodes that matter, "
        "and the circuit.",
    )
    top_n: int | None = option(
        None,
        like=(Selection, "top_n"),
        least=1,
        default_text="1 % of the graph's, at least 200",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_n is not None and not self.explain:
            raise OptionError("`top_n` is of the circuits of `explain`: give both", "top_n")


@dataclass(frozen=True)
class EditOutput(Output):
    """What is written and printed."""

    export: str | None = option(
        None,
        help="Folder for the edited model in Hugging Face format, with the weights that are measured.",
        metavar="DIR",
    )


def command(
    model: ModelSource,
    requests: Requests,
    editor: EditorOptions,
    place: PlaceOptions,
    options: EditOptions,
    explanations: ExplanationOptions,
    run: Threads,
    output: EditOutput,
) -> None:
    """Edit facts with ROME, MEMIT or fine-tuning, and measure them.

    Writes edits.json, the edit and, with --explain, explain.json and its picture into DIR.
    """
    from kcircuits.cli.edit_explained import explained, save_explanation, show_explanation
    from kcircuits.cli.edit_measured import measured, show_report
    from kcircuits.cli.edit_method import guided_by, method_of
    from kcircuits.cli.results import warn
    from kcircuits.cli.setup import load
    from kcircuits.editing.edit import EditedModel, edit, edit_each
    from kcircuits.editing.export import check_export
    from kcircuits.files.documents import prefix_errors, read_text
    from kcircuits.files.writing import check_output_folder, write_together

    wanted = _read(requests)
    guide = guided_by(place, editor, method_of(editor))
    if output.export is not None and options.each:
        raise KCircuitsError("--export writes one model, and --each makes several: give one of them")
    if explanations.explain and output.out is not None:
        need("matplotlib", "pictures")
    if options.text is not None:
        with prefix_errors(options.text):
            read_text(options.text, "text")
    for line in wanted.left_out_lines():
        warn(f"{requests.requests}: {line}")
    asked = tuple(_alone(request) for request in wanted) if options.each else tuple(wanted)
    if asked != tuple(wanted):
        warn("questions that follow from several edits together are not asked with --each")
    loaded = load(model, run)
    if output.export is not None:
        check_export(loaded, output.export)
    chosen = guide(loaded)
    moments = _moments(loaded, options, output.shows_progress)
    how: dict[str, Any] = {"moments": moments, "num_prefixes": options.prefixes, "seed": options.seed}
    folder = None if output.out is None else check_output_folder(output.out)
    with _bar("steps of the edits", output.shows_progress) as progress:
        if options.each:
            made = edit_each(loaded, asked, chosen, progress=progress, **how)
        else:
            together = edit(loaded, asked, chosen, progress=progress, **how)
            made = [together.failed.get(number, together) for number in range(len(asked))]
    first = next((one for one in made if isinstance(one, EditedModel)), None)
    explanation = None
    if explanations.explain and first is not None:
        explanation = explained(first, explanations.top_n)
    report = measured(loaded, asked, made, options.text, options.seed, chosen, moments, wanted.left_out)
    written: list[Path] = []
    if folder is not None:
        with write_together():
            written.append(folder / "edits.json")
            report.save(written[0])
            edits = {id(one): one for one in made if isinstance(one, EditedModel)}
            for number, one in enumerate(edits.values(), start=1):
                name = f"edit-{number:04d}.safetensors" if options.each else "edit.safetensors"
                written.append(folder / name)
                one.save(written[-1])
            if explanation is not None:
                written += save_explanation(explanation, folder)
    if output.export is not None and first is not None:
        written.append(first.export(output.export))
    if output.as_json:
        added = {} if explanation is None else {"explanation": explanation.to_json()}
        print(json.dumps(report.to_json() | added, indent=1, allow_nan=False))
    elif not output.quiet:
        show_report(report)
        if explanation is not None:
            show_explanation(explanation)
        if written:
            shown = written if len(written) < 4 else [*written[:2], f"… {len(written) - 2} more"]
            print(f"written: {', '.join(map(str, shown))}")


def _read(requests: Requests) -> ReadRequests:
    """The requests of the file, or the single one."""
    from kcircuits.editing.records.reading import ReadRequests, read_requests
    from kcircuits.editing.request import EditRequest

    if requests.requests is not None:
        return read_requests(requests.requests)
    subject = requests.subject or ""
    prompt = (requests.prompt or "").replace("{}", subject)
    return ReadRequests([EditRequest(subject, prompt, requests.target or "", requests.target_true)])


def _alone(request: EditRequest) -> EditRequest:
    """The request without the questions that need other edits in the same model."""
    from dataclasses import replace

    return replace(request, portability=(), together=False) if request.together else request


def _moments(model: Model, options: EditOptions, show: bool) -> Callable[[int], SecondMoment]:
    """The second moment at a layer; one is made, or read from the cache, when it is first asked for."""
    from kcircuits.editing.delta import get_matrix, matrix_name
    from kcircuits.editing.second_moment import identity_moment, second_moment

    known: dict[int, SecondMoment] = {}

    def at(layer: int) -> SecondMoment:
        if layer not in known:
            if options.identity:
                known[layer] = identity_moment(get_matrix(model.spec, matrix_name(layer)).shape[1], layer)
            else:
                with _bar("tokens of sampled texts", show) as progress:
                    known[layer] = second_moment(
                        model, layer, text=options.text, seed=options.seed, progress=progress
                    )
        return known[layer]

    return at


@contextmanager
def _bar(unit: str, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for steps done and steps in all, as editors have it."""
    from kcircuits.discovery.progress import Steps
    from kcircuits.display.progress import show_progress

    with show_progress(show) as callback:
        yield callback and (lambda done, of: callback(Steps(done, of, unit)))
