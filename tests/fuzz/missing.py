"""GGUF files that lack one key or tensor, or have it under another name: the same numbers, or an error."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import strategies as st

from kcircuits.model.forward import forward
from kcircuits.model.loading import load_model
from tests.model.gguf.cases import CASES
from tests.model.gguf.hf_to_gguf import keys_of, tensors_of, write_file
from tests.models import build, random_prompts

OPTIONAL = {
    "output.weight": "the model reads out with its embedding",
    "rope_freqs.weight": "frequencies are not scaled",
    "gemma3.final_logit_softcapping": "logits are not capped",
    "llama.attention.sliding_window": "all tokens are seen, which converters of Mistral never contradict",
    "llama.rope.scaling.yarn_beta_fast": "32",
    "llama.rope.scaling.yarn_beta_slow": "1",
    "llama.rope.scaling.yarn_attn_factor": "0.1 log(factor) + 1",
}
"""What a file says that lacks one of these: files of other models do, and no reader can tell them apart."""


class Whole:
    """A whole file of a case, and what becomes of files that lack something of it."""

    def __init__(self, case: str) -> None:
        model = build(CASES[case].build)
        self.keys, self.tensors = keys_of(model), tensors_of(model)
        self.content = self._written(self.keys, self.tensors)
        self.prompts = random_prompts([12], seed=5)
        with torch.no_grad():
            self.logits = model(self.prompts[0]).logits

    def changes(self) -> list[tuple[str, str]]:
        """What may be dropped ("") or renamed ("x"): the rest of its name, and the name."""
        names = [name for name in (*self.keys, *self.tensors) if name != "general.architecture"]
        dropped = [("", name) for name in names if name not in OPTIONAL]
        return dropped + [("x", name) for name in names]

    def incomplete(self, _: bytes) -> st.SearchStrategy[bytes]:
        """Files that lack one key or tensor."""
        return st.sampled_from(self.changes()).map(lambda change: self.without(*change))

    def without(self, rest: str, name: str) -> bytes:
        """The file without a key or tensor, which is kept under a longer name where there is a rest."""
        keys, tensors = dict(self.keys), dict(self.tensors)
        table: dict[str, object] = keys if name in keys else tensors
        value = table.pop(name)
        if rest:
            table[name + rest] = value
        return self._written(keys, tensors)

    def compare(self, file: Path) -> None:
        """Load a file, which must give the whole one's logits if it is not refused."""
        spec = load_model(file).spec
        found = forward(spec, *self.prompts)
        assert found.shape == self.logits.shape, "a model of another size"
        assert (found - self.logits).abs().max() < 1e-4, "other numbers"

    @staticmethod
    def _written(keys: dict[str, object], tensors: dict[str, object]) -> bytes:
        with tempfile.TemporaryDirectory() as place:
            return write_file(keys, tensors, Path(place) / "tiny.gguf").read_bytes()  # type: ignore[arg-type]
