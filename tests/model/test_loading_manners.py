"""`load_model` runs nothing that a folder holds, says nothing, and imports late."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from tests.data.tiny_tokenizers import word_tokenizer
from tests.model.editing import edit_json
from tests.models import save, tiny_model


class TestNothingInAFolderIsRun:
    """Every test's model folder holds a module, or a pickle, that would leave a file behind."""

    @pytest.fixture
    def trace(self, tmp_path: Path) -> Path:
        return tmp_path / "code was run"

    @pytest.fixture
    def module(self, folder: Path, trace: Path) -> str:
        (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n")
        return "evil"

    def test_code_of_a_known_family_is_ignored(self, folder, module, trace):
        classes = {"AutoConfig": f"{module}.Config", "AutoModelForCausalLM": f"{module}.Model"}
        edit_json(folder / "config.json", auto_map=classes)
        assert load_model(folder).identity["family"] == "llama"
        assert not trace.exists()

    def test_code_of_an_unknown_family_is_refused(self, folder, module, trace):
        classes = {"AutoConfig": f"{module}.Config", "AutoModelForCausalLM": f"{module}.Model"}
        edit_json(folder / "config.json", model_type="evil", auto_map=classes)
        with pytest.raises(KCircuitsError, match="'evil' is not known"):
            load_model(folder)
        assert not trace.exists()

    @pytest.mark.parametrize("local_class", [None, "PreTrainedTokenizerFast"])
    def test_code_of_a_tokenizer(self, local_class, folder, module, trace):
        word_tokenizer("Paris is in France").save_pretrained(folder)
        classes = {"AutoTokenizer": [f"{module}.Slow", f"{module}.Fast"]}
        edit_json(folder / "tokenizer_config.json", auto_map=classes, tokenizer_class=local_class or "Evil")
        try:
            load_model(folder)
        except KCircuitsError:
            assert local_class is None
        assert not trace.exists()

    def test_pickles_beside_the_weights_are_not_read(self, folder, trace):
        class Touch:
            def __reduce__(self) -> tuple[Any, ...]:
                return trace.touch, ()

        pickle.loads(pickle.dumps(Touch()))
        assert trace.exists()  # it would work
        trace.unlink()
        for name in ("pytorch_model.bin", "training_args.bin", ".metadata", "__0_0.distcp"):
            (folder / name).write_bytes(pickle.dumps(Touch()))
        load_model(folder)
        assert not trace.exists()

    def test_a_configuration_cannot_name_other_weights(self, folder, tmp_path):
        save(tiny_model("llama_gqa"), tmp_path / "other")
        edit_json(folder / "config.json", transformers_weights="../other/model.safetensors")
        with pytest.raises(
            KCircuitsError, match=r"names other weights, '\.\./other/model\.safetensors', which"
        ):
            load_model(folder)

    def test_a_configuration_cannot_ask_for_a_kernel(self, folder):
        edit_json(
            folder / "config.json",
            attn_implementation="someone/attention",
            _attn_implementation="someone/attention",
        )
        load_model(folder)


def test_loading_is_silent(folder, capfd):
    load_model(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("statement", ["", "load_model('/no/such/model')", "load_model('.')"])
def test_transformers_is_not_imported_before_it_is_needed(statement, tmp_path):
    script = f"""
import sys
from kcircuits.model.loading import load_model
try:
    {statement or "pass"}
except ValueError as error:
    assert type(error).__name__ == "KCircuitsError", error
heavy = {{"transformers", "tokenizers", "gguf", "accelerate"}} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
