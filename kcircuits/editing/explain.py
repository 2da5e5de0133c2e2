"""Explain an edit: the layers where the new object emerges, and the nodes that change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.curves.results import RunCurves
from kcircuits.analysis.direct_logit_attribution import direct_logits
from kcircuits.analysis.hallucination.results import AnswerCurve
from kcircuits.analysis.heads.reading import read_heads
from kcircuits.analysis.prompt_texts import text_of, texts_of
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.discovery import Eap, Method
from kcircuits.discovery.run import check_experiment, discover
from kcircuits.editing.changes import BeforeAfter, HeadChange, Kind, NamesChange, NodeChange, ObjectCurves
from kcircuits.editing.edit import EditedModel
from kcircuits.editing.edited_nodes import downstream, edited_nodes
from kcircuits.editing.explanation import Explanation
from kcircuits.editing.facts import fact_prompt, old_prompt, subject_end
from kcircuits.editing.flows import Flows, node_flows
from kcircuits.editing.request import EditRequest
from kcircuits.engine.needs import for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, head_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.scores.selection import Selection
from kcircuits.task import Task

LEAST_EDGES, SHARE_OF_EDGES = 200, 0.01
MOST_HEADS, TOP = 8, 5
"""How many heads are read, and how many tokens that they write."""
METHOD = Eap()


def explain_edit(
    edit: EditedModel,
    request: EditRequest | None = None,
    method: Method = METHOD,
    *,
    selection: Selection | None = None,
    memory: int | str | None = None,
) -> Explanation:
    """Compare a model before and after an edit on the edited prompt.

    Objects are represented by their first tokens. The old object is the request's `target_true`, or else the
    original model's prediction. Curves are the logit lens of arXiv 2405.17969, figure 6. The change of
    logit(new) − logit(old) is split over nodes by direct logit attribution in both models
    (`kcircuits.analysis.direct_logit_attribution`) without a remainder: the change not due to the edited
    nodes themselves comes from later nodes that read them. How much of the change depends on each node is
    measured, too (`kcircuits.editing.flows`).

    Parameters
    ----------
    edit
        The edit, of any method.
    request
        One of its requests; by default the first that did not fail.
    method, selection
        As in `kcircuits.discover`, for the circuits of the old object in the original model and of the new
        object in the edited model, with zero ablation. By default a method that scores all edges selects 1 %
        of them greedily, at least 200 (`default_selection`).
    memory
        Bytes, or a size such as "8GiB", as in `kcircuits.evaluate`.

    Raises
    ------
    KCircuitsError
        If the objects begin with the same token, the request failed or does not belong to the edit, or the
        circuits cannot be found.
    """
    request = _choose_request(edit, request)
    original, edited = edit.original, edit.model
    old, new = _objects(original, request)
    before, after = (_curves(model, new, old, memory) for model in (original, edited))
    tasks = [Task((prompt,), "zero") for prompt in (old, new)]
    check_experiment(original, tasks[0], method)
    if selection is None and method.scores_all_edges:
        selection = default_selection(original.spec.graph)
    circuits = [
        discover(model, task, method, selection, memory=memory)
        for model, task in zip((original, edited), tasks, strict=True)
    ]
    nodes_edited = edited_nodes(edit.delta, original.spec)
    flows = node_flows(edit, Task((new,), "zero", "logit-diff"), memory=memory)
    budget = budget_for(memory, [for_readings(original.spec, (new, old))])
    logits, changes = _changes(original.spec, edited.spec, new, nodes_edited, flows, budget)
    return Explanation(
        model=original.identity,
        edited=edited.identity,
        settings={
            "method": method.name,
            **method.settings,
            **({} if selection is None else asdict(selection)),
        },
        prompt=texts_of(original, [new])[0],
        edited_nodes=nodes_edited,
        new=BeforeAfter(before[0], after[0]),
        old=BeforeAfter(before[1], after[1]),
        logits=logits,
        changes=changes,
        heads=_heads(original, edited, new, changes, memory),
        nodes=NamesChange.compare(*(circuit.nodes for circuit in circuits)),
        edges=NamesChange.compare(*(_edge_names(circuit) for circuit in circuits)),
    )


def default_selection(graph: Graph) -> Selection:
    """The default selection of edges."""
    return Selection(top_n=max(LEAST_EDGES, round(SHARE_OF_EDGES * graph.num_edges)), greedy=True)


def _choose_request(edit: EditedModel, request: EditRequest | None) -> EditRequest:
    done = [each for number, each in enumerate(edit.requests) if number not in edit.failed]
    if request is None:
        return done[0]
    if request not in done:
        raise KCircuitsError(f"the edit does not contain {request.prompt!r} → {request.target!r}")
    return request


def _objects(original: Model, request: EditRequest) -> tuple[Prompt, Prompt]:
    """The prompt with the old object as answer and the new one as wrong answer, and the reverse."""
    old, new = old_prompt(original, request), fact_prompt(original, request, request.target)
    if old.answer_id == new.answer_id:
        raise KCircuitsError(
            f"both the old and the new object of {request.prompt!r} begin with "
            f"{text_of(original, new.answer_id)!r}, so they cannot be distinguished"
        )
    return replace(old, wrong_id=new.answer_id), replace(new, wrong_id=old.answer_id)


def _curves(
    model: Model, new: Prompt, old: Prompt, memory: int | str | None
) -> tuple[ObjectCurves, ObjectCurves]:
    """Curves of the new and of the old object."""
    # A decoder does not look ahead: a prompt cut after the subject has the same values there as the whole.
    cut = [
        replace(prompt, clean_ids=prompt.clean_ids[: subject_end(prompt) + 1], text=None)
        for prompt in (new, old)
    ]
    run = layer_curves(model, Task((new, old, *cut), "zero"), memory=memory).runs["full"]
    return ObjectCurves(_curve(run, 0), _curve(run, 2)), ObjectCurves(_curve(run, 1), _curve(run, 3))


def _curve(run: RunCurves, prompt: int) -> AnswerCurve:
    return AnswerCurve(tuple(run.rank[prompt].tolist()), tuple(run.probability[prompt].tolist()))


def _changes(
    original: ModelSpec,
    edited: ModelSpec,
    new: Prompt,
    nodes: tuple[str, ...],
    flows: Flows,
    memory: int,
) -> tuple[tuple[float, float], tuple[NodeChange, ...]]:
    """logit(new) − logit(old) before and after, and its changes by each node and the constants."""
    assert new.wrong_id is not None
    written, constants = [], []
    for spec in (original, edited):
        found = direct_logits(spec, [new, new], [new.answer_id, new.wrong_id], memory)
        written.append(found.logit[:, 0] - found.logit[:, 1])
        constants.append(float(found.constant[0] - found.constant[1]))
    before, after = (float(each.sum() + constant) for each, constant in zip(written, constants, strict=True))
    kinds = _kinds(original.graph, nodes)
    changes = [
        # The metric is old − new.
        NodeChange(node, kinds[node], float(change), 0.0 - flows.through.get(node, 0.0))
        for node, change in zip(original.graph.senders, written[1] - written[0], strict=True)
    ]
    changes.append(NodeChange("constants", "constants", constants[1] - constants[0], 0.0))
    return (before, after), tuple(changes)


def _heads(
    original: Model,
    edited: Model,
    new: Prompt,
    changes: Sequence[NodeChange],
    memory: int | str | None,
) -> tuple[HeadChange, ...]:
    """The heads that change most, read at the last position of both models."""
    largest = sorted(changes, key=lambda each: -abs(each.change))
    nodes = [each.node for each in largest if each.kind != "constants"]
    names = [node for node in nodes if head_of(node)][:MOST_HEADS]
    last = len(new.clean_ids) - 1
    task = Task((new,), "zero")
    before, after = (
        {
            reading.node: reading
            for reading in read_heads(model, task, nodes=names, top=TOP, memory=memory).readings[0]
            if reading.position == last
        }
        for model in (original, edited)
    )
    return tuple(HeadChange(before[name], after[name]) for name in names)


def _kinds(graph: Graph, edited: tuple[str, ...]) -> dict[str, Kind]:
    def kind(node: str, reads: bool) -> Kind:
        if node in edited:
            return "edited"
        if not reads:
            return "untouched"
        return "later heads" if head_of(node) else "later MLPs"

    reading = downstream(graph, edited).tolist()
    return {node: kind(node, reads) for node, reads in zip(graph.senders, reading, strict=True)}


def _edge_names(circuit: Circuit) -> list[str]:
    return [f"{edge.sender}->{edge.receiver}" for edge in circuit.edges]
