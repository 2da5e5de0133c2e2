"""What phases need at least, and budgets that are less."""

from __future__ import annotations

import pytest

from kcircuits.discovery import Acdc, Eap, EapIgActivations, method_of
from kcircuits.engine import Engine
from kcircuits.engine.needs import for_circuits, for_method
from kcircuits.engine.portions import means_bytes
from kcircuits.errors import KCircuitsError
from kcircuits.runtime import memory
from kcircuits.runtime.memory import MOST, SMALL, Need, budget_for, memory_bytes, size_text
from kcircuits.task import Task
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 3, 40])
GIB = 2**30
SMALLER = Need("eap", "the prompt (9 tokens)", GIB)
LARGER = Need("acdc", "the prompt (9 tokens)", 5 * GIB)


def test_a_budget_that_is_given_is_kept_or_refused():
    assert budget_for("5GiB", [LARGER, SMALLER]) == 5 * GIB
    message = r"acdc needs at least 5.00 GiB for the prompt \(9 tokens\), and --memory is 4.99 GiB: give more"
    with pytest.raises(KCircuitsError, match=message):
        budget_for(5 * GIB - 1, [SMALLER, LARGER])
    assert budget_for(1, [Need("eap", "the prompt (9 tokens)", SMALL)]) == 1


def test_the_default_gives_way_unless_the_machine_is_too_small(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 20 * GIB)
    assert budget_for(None, [SMALLER]) == MOST
    assert budget_for(None, [LARGER]) == 5 * GIB
    monkeypatch.setattr(memory, "available_memory", lambda: 3 * GIB)
    message = r"acdc needs at least 5.00 GiB .* this machine has 3.00 GiB left"
    with pytest.raises(KCircuitsError, match=message):
        budget_for(None, [LARGER])


@pytest.mark.parametrize("count", [2**20, 2**20 + 1, 123_456_789, GIB - 1, GIB + 1, 987 * GIB + 5])
def test_the_named_size_is_enough(count):
    assert count <= memory_bytes(size_text(count)) <= 1.02 * count + 2**17
    assert memory_bytes(size_text(count, up=False)) <= count


@pytest.mark.parametrize("method", ["eap", "eap-ig-activations", "exact", "ifr"])
def test_prompts_one_at_a_time_need_what_the_longest_does(method):
    spec = tiny_spec("llama_gqa")
    made = method_of(method, {})
    least = [for_method(made, spec, Task(some, "corrupt")).least for some in (PROMPTS, PROMPTS[2:])]
    assert least[0] == least[1] > for_method(made, spec, Task(PROMPTS[:2], "corrupt")).least
    assert "the longest prompt (40 tokens)" in for_method(made, spec, Task(PROMPTS, "zero")).text


def test_all_prompts_together_need_more():
    spec = tiny_spec("llama_gqa")
    one, all_of_them = (for_method(Acdc(), spec, Task(some, "zero")) for some in (PROMPTS[2:], PROMPTS))
    assert all_of_them.least > 1.1 * one.least
    assert all_of_them.text.endswith("for all 3 prompts (48 tokens), which it takes together")


def test_the_query_key_correction_and_a_run_that_stays_count():
    spec, task = tiny_spec("llama_gqa"), Task(PROMPTS, "zero")
    plain = for_method(Eap(), spec, task).least
    assert for_method(Eap(qk_fix=True), spec, task).least > plain
    assert for_method(EapIgActivations(), spec, task).least > plain


def test_means_count_by_position():
    spec = tiny_spec("llama_gqa")
    row = 2 * len(spec.graph.senders) * spec.width * 4
    assert means_bytes(spec, Task(PROMPTS, "zero")) == 0
    assert means_bytes(spec, Task(PROMPTS, "mean")) == row
    assert means_bytes(spec, Task(PROMPTS[:2], "mean-positional", reference=PROMPTS)) == 40 * row
    by_position, by_sender = (
        for_circuits(spec, Task(PROMPTS, name)).least for name in ("mean-positional", "mean")
    )
    assert by_position - by_sender == 39 * row


def test_ragged_prompts_have_one_mask():
    """The shorter prompt adds its own rows to the engine, and no mask of the longest one's size."""
    spec = tiny_spec("llama_gqa")
    both, long = (Engine(spec, Task(random_prompts_of(lengths), "zero")).bytes for lengths in ([60, 2], [60]))
    assert both - long < 60 * 60 * 4
