"""Nothing of what is changed for the time of a call to Transformers stays changed."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from transformers.utils import logging

from kcircuits.model.huggingface import first_line, pause_garbage_collection, silence_transformers


@pytest.fixture(params=[True, False], ids=["with progress", "without progress"])
def progress(request: pytest.FixtureRequest) -> Iterator[bool]:
    before, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    (logging.enable_progress_bar if request.param else logging.disable_progress_bar)()
    logging.set_verbosity_info()
    yield request.param
    (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    logging.set_verbosity(verbosity)


@pytest.mark.parametrize("fails", [True, False], ids=["with an error", "without an error"])
def test_quiet_is_over_afterwards(progress, fails):
    try:
        with silence_transformers():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            warnings.warn("not heard", stacklevel=1)
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert logging.get_verbosity() == logging.INFO
    assert logging.is_progress_bar_enabled() == progress
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(RuntimeError), pause_garbage_collection():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \n"), "one"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
    ],
    ids=repr,
)
def test_first_line(error, expected):
    assert first_line(error) == expected
