"""Which job comes when, and what becomes of failures: on a pool that does what the test says."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace

import pytest

from kcircuits.sweeps import loop
from kcircuits.sweeps.loop import DiskFullError, Loop
from kcircuits.sweeps.pool import Event, Failed, Finished, Order, Started
from kcircuits.sweeps.store import Store
from tests.sweep.test_expand import expanded


class Scripted:
    """Takes `size` orders at once and ends the oldest one whenever it waits, as `outcome` says."""

    memory: int | None = None

    def __init__(self, size, outcome=lambda order: Finished(order.key, 1.0)):
        self.size, self.outcome = size, outcome
        self.orders: deque[Order] = deque()
        self.taken: list[Order] = []
        self.together: list[set[str]] = []

    @property
    def free(self) -> int:
        return self.size - len(self.orders)

    def submit(self, order: Order) -> None:
        assert self.free
        self.orders.append(order)
        self.taken.append(order)
        self.together.append({each.key for each in self.orders})

    def wait(self, listener) -> None:
        order = self.orders.popleft()
        listener(Started(order.key, "a worker"))
        event: Event = self.outcome(order)
        if isinstance(event, Finished):
            for key in order.makes:
                (self.store.parts.folder / key).mkdir(parents=True, exist_ok=True)
        listener(event)

    def close(self) -> None:
        pass


def run(pool: Scripted, path, **changes):
    store = pool.store = Store(path.parent / "out")
    found = expanded(path)
    for key, job in found.jobs.items():
        found.jobs[key] = replace(job, **changes)
    updates = []
    Loop(pool, store, found, done=0, failed=0, listening=updates.append).run(found.jobs.values())
    return list(found.jobs.values()), updates, store


def test_all_jobs_in_order(written):
    pool = Scripted(1)
    jobs, updates, store = run(pool, written())
    assert [order.job for order in pool.taken] == jobs
    assert [(update.status, update.done) for update in updates] == [
        (status, n + (status == "done")) for n in range(4) for status in ("running", "done")
    ]
    assert store.failures() == {} and updates[-1].total == 4


def test_what_shares_a_part_waits_for_it(written):
    """Two of EAP's sizes and two seeds of each: one scores, and one of each size selects."""
    pool = Scripted(4)
    methods = [{"method": "eap", "top_n": [20, 60]}, {"method": "acdc", "threshold": 0.1}]
    jobs, _, _ = run(pool, written(methods=methods, seeds=[0, 1]))
    parts = {job.key: set(job.search.shared_keys) for job in jobs}
    assert len(pool.taken) == 6
    assert pool.together[0] == {jobs[0].key} and pool.together[1] == {jobs[0].key, jobs[4].key}
    made: set[str] = set()
    for first, second in zip(pool.taken, pool.taken[1:], strict=False):
        made |= parts[first.job.key]
        assert parts[second.job.key] - made or parts[second.job.key] <= made
    assert max(map(len, pool.together)) > 2  # and once it is there, they go together


LONG = {"prompts": [{"prompts": "long.jsonl"}], "methods": [{"method": "eap", "top_n": [20, 60]}]}
"""Prompts in three parts."""


def test_several_workers_score_the_parts_of_a_job(written, long_prompts):
    pool = Scripted(2)
    jobs, updates, _ = run(pool, written(**LONG))
    assert [order.part for order in pool.taken] == [0, 1, 2, None, None]
    assert [order.job for order in pool.taken] == [jobs[0]] * 4 + [jobs[1]]
    # Two at once, but no job before all parts are there, nor the second before the first has added them up.
    assert [len(keys) for keys in pool.together] == [1, 2, 2, 1, 1]
    scored = [update for update in updates if update.status == "scored"]
    assert [update.title for update in scored] == [f"{jobs[0].title}, part {n} of 3" for n in (1, 2, 3)]
    assert (updates[-1].done, updates[-1].total) == (2, 2)


def test_one_worker_leaves_the_parts_to_the_job(written, long_prompts):
    pool = Scripted(1)
    run(pool, written(**LONG))
    assert [order.part for order in pool.taken] == [None, None]


def test_parts_that_are_there_are_not_scored_again(written, long_prompts):
    path = written(**LONG)
    job = next(iter(expanded(path).jobs.values()))
    (path.parent / "out/parts" / job.search.part_key(1, job.memory)).mkdir(parents=True)
    pool = Scripted(2)
    run(pool, path)
    assert [order.part for order in pool.taken] == [0, 2, None, None]


@pytest.mark.parametrize("why", ["died", "memory", "error"])
def test_a_part_that_fails_is_left_to_the_job(written, long_prompts, why):
    def outcome(order: Order) -> Event:
        return Failed(order.key, why, "no luck") if order.part == 1 else Finished(order.key, 1)

    pool = Scripted(2, outcome)
    _, updates, store = run(pool, written(**LONG))
    assert [order.part for order in pool.taken] == [0, 1, 2, None, None]
    assert [update.message for update in updates if update.status == "retried"] == ["no luck"]
    assert updates[-1].done == 2 and store.failures() == {}


def test_no_more_at_once_than_fit_into_memory(written, monkeypatch):
    monkeypatch.setattr(loop, "PROCESS", 10**9)
    methods = [{"method": "acdc", "threshold": [0.1, 0.2, 0.3, 0.4]}]
    for needs, most in ((10**9, 2), (3 * 10**9, 1), (10**12, 1), (1, 4)):
        pool = Scripted(4)
        pool.memory = 5 * 10**9
        run(pool, written(methods=methods), needs=needs)
        assert len(pool.taken) == 4 and max(map(len, pool.together)) == most


@pytest.mark.parametrize("why", ["died", "memory"])
def test_three_retries_and_then_a_report(written, why):
    def outcome(order: Order) -> Event:
        return (
            Failed(order.job.key, why, "no luck", "a trace")
            if order.job.key == bad
            else Finished(order.job.key, 1)
        )

    path = written()
    bad = list(expanded(path).jobs)[1]
    pool = Scripted(1, outcome)
    jobs, updates, store = run(pool, path, memory=1000)
    tries = [order for order in pool.taken if order.job.key == bad]
    assert [order.attempt for order in tries] == [1, 2, 3, 4]
    # Once a process may die for any reason; after that, and where memory ran out, less is taken.
    expected = {"memory": [1000, 500, 250, 125], "died": [1000, 1000, 500, 250]}
    assert [order.memory for order in tries] == expected[why]
    assert store.failures()[bad]["error"] == "no luck, 4 times"
    assert store.failures()[bad]["labels"] == jobs[1].labels
    assert [update.status for update in updates].count("retried") == 3
    assert (updates[-1].done, updates[-1].failed) == (3, 1)


def test_a_retry_that_succeeds_leaves_no_report(written):
    tried: list[str] = []

    def outcome(order: Order) -> Event:
        tried.append(order.job.key)
        return (
            Failed(order.job.key, "died", "killed")
            if tried.count(order.job.key) < 3
            else Finished(order.job.key, 1)
        )

    _, updates, store = run(Scripted(2, outcome), written())
    assert store.failures() == {} and updates[-1].done == 4


def test_an_error_is_not_tried_again(written):
    pool = Scripted(2, lambda order: Failed(order.job.key, "error", "it is wrong", "line 1\nline 2"))
    jobs, updates, store = run(pool, written())
    assert len(pool.taken) == 4 and updates[-1].failed == 4
    report = json.loads((store.out / "failed" / f"{jobs[0].key}.json").read_text())
    assert report["error"] == "it is wrong" and report["trace"] == ["line 1", "line 2"]


@pytest.mark.parametrize("changes", [{}, LONG], ids=["a job", "a part"])
def test_a_full_disk_ends_the_sweep(written, long_prompts, changes):
    pool = Scripted(2, lambda order: Failed(order.key, "disk", "no space"))
    with pytest.raises(DiskFullError, match="no space"):
        run(pool, written(**changes))
    assert len(pool.taken) == 2
