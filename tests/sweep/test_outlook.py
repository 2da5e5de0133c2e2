"""What a dry run says, and that it leaves no trace."""

from __future__ import annotations

import json

import pytest
import torch

from kcircuits.model.loading import load_model
from kcircuits.planning.memory import weights_bytes
from kcircuits.sweeps.forecast import PROCESS, private_weights, shared_weights
from kcircuits.sweeps.outlook import outlook
from kcircuits.sweeps.run import sweep
from kcircuits.sweeps.store import Store
from tests.sweep.conftest import RELATION


def test_before_and_after(written, place):
    path, out = written(), place / "out"
    before = sorted(place.rglob("*"))
    found = outlook(path, out)
    assert sorted(place.rglob("*")) == before
    assert [job.status for job in found.jobs] == ["left"] * 4
    assert found.at_most and found.seconds > 0 and found.peak > PROCESS
    # EAP's second size is selected from the first one's scores.
    assert found.jobs[2].seconds > 0 == found.jobs[3].seconds

    sweep(path, out, workers=0)
    more = written(methods=[{"method": "acdc", "threshold": [0.3, 0.2]}])
    found = outlook(more, out)
    assert [job.status for job in found.jobs] == ["done", "left"]
    assert not found.at_most  # what was done says how long it takes
    timing = json.loads((out / "jobs" / found.jobs[0].key / "timing.json").read_text())
    assert found.seconds == pytest.approx(timing["seconds"])
    assert found.to_json()["done"] == found.to_json()["left"] == 1


def test_failed_and_refused(written, place):
    (place / "strange.json").write_text(
        json.dumps(RELATION | {"samples": [{"subject": "France", "object": "Quechua"}]})
    )
    path = written(prompts=[{"relation": ["relation.json", "strange.json"], "top_k": 0}])
    key = outlook(path, place / "out").jobs[0].key
    Store(place / "out").fail(key, {"error": "the last time"})
    found = outlook(path, place / "out")
    assert (found.jobs[0].status, found.jobs[0].reason) == ("failed", "the last time")
    assert found.count("left", "failed") == 4 == found.count("refused")


def test_which_weights_processes_share(place):
    stored = load_model(place / "model").spec
    assert private_weights(stored) < 0.01 * weights_bytes(stored)
    assert shared_weights(stored) + private_weights(stored) == weights_bytes(stored)
    converted = load_model(place / "model", dtype=torch.float64).spec
    assert shared_weights(converted) == 0
