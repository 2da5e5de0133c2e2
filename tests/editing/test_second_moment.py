"""The second moment of keys, against a sum over tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.editing.sampling import STARTS
from kcircuits.editing.second_moment import accumulate_moment, identity_moment, second_moment
from kcircuits.editing.stream import pad_right, run_to_mlp
from kcircuits.errors import KCircuitsError
from kcircuits.model.quantised import quantise
from kcircuits.model.spec import map_leaves
from tests.data.tiny_tokenizers import word_tokenizer
from tests.editing.conftest import WORDS

TEXT = " ".join(WORDS.split()[5:25] * 20)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_it_is_the_mean_of_outer_products(model):
    prompts = [(3, 4, 5), (6, 7, 8, 9, 10), (11,)]
    moment, count = accumulate_moment(model.spec, 1, prompts)
    expected = torch.zeros(48, 48, dtype=torch.float64)
    for prompt in prompts:
        for key in run_to_mlp(model.spec, pad_right([prompt]), 1).hidden[0].double():
            expected += torch.outer(key, key)
    assert count == 9
    torch.testing.assert_close(moment.double(), expected / 9, atol=1e-5, rtol=1e-5)


def test_shrinkage_keeps_the_trace_and_makes_it_invertible(model, text):
    little, much = (second_moment(model, 1, text=text, shrinkage=alpha) for alpha in (0.001, 0.5))
    torch.testing.assert_close(little.matrix.trace(), much.matrix.trace(), rtol=1e-4, atol=0)
    assert torch.linalg.cond(much.matrix) < torch.linalg.cond(little.matrix)
    assert little.source == "text.txt"
    assert little.num_tokens == 400


def test_the_cache_is_used_and_a_broken_one_is_made_anew(model, text, tmp_path, monkeypatch):
    first = second_moment(model, 1, text=text).matrix
    (kept,) = (tmp_path / "cache").glob("moment-*")
    with monkeypatch.context() as patch:
        patch.setattr("kcircuits.editing.second_moment.accumulate_moment", None)  # would be called
        assert torch.equal(second_moment(model, 1, text=text).matrix, first)
    kept.write_bytes(b"broken")
    assert torch.equal(second_moment(model, 1, text=text).matrix, first)
    assert not torch.equal(second_moment(model, 2, text=text).matrix, first)


def test_text_that_the_model_writes(model):
    steps = []
    moment = second_moment(model, 1, progress=lambda done, of: steps.append((done, of)))
    assert moment.source == "text sampled from the model"
    assert steps[-1][0] == steps[-1][1]
    assert torch.equal(moment.matrix, second_moment(model, 1).matrix)


def with_bos(model):
    return replace(model, tokenizer=word_tokenizer(WORDS, bos=True, eos=True))


def test_every_window_begins_with_bos(model, text):
    """Against the windows themselves, cut by hand."""
    bos = with_bos(model)
    ids = model.tokenizer(TEXT)["input_ids"]
    size = min(64, model.spec.max_positions - 1)
    windows = [(1, *ids[start : start + size]) for start in range(0, len(ids), size)]
    expected, count = accumulate_moment(model.spec, 1, windows)
    alpha = 1e-9
    moment = second_moment(bos, 1, text=text, shrinkage=alpha)
    assert moment.num_tokens == count == len(ids) + len(windows)
    torch.testing.assert_close(moment.matrix, expected, rtol=1e-4, atol=1e-6)
    plain = second_moment(model, 1, text=text, shrinkage=alpha)  # of another name in the cache
    assert plain.num_tokens == len(ids)
    assert not torch.allclose(plain.matrix, expected, rtol=1e-2)


def test_sampled_texts_begin_with_bos_and_have_no_eos(model, monkeypatch):
    seen = []

    def look(spec, layer, prompts):
        seen.extend(prompts)
        return accumulate_moment(spec, layer, prompts)

    monkeypatch.setattr("kcircuits.editing.second_moment.accumulate_moment", look)
    second_moment(with_bos(model), 1)
    starts = {prompt[:2] for prompt in seen}
    assert starts == {(1, model.tokenizer(word)["input_ids"][0]) for word in STARTS}


def test_weights_that_are_kept_otherwise_have_a_moment_of_their_own(model, text, tmp_path):
    second_moment(model, 1, text=text)
    down = quantise(model.spec.layers[1].mlp.w_down, 8)
    layer = replace(model.spec.layers[1], mlp=replace(model.spec.layers[1].mlp, w_down=down))
    layers = (model.spec.layers[0], layer, *model.spec.layers[2:])
    packed = replace(model, spec=replace(model.spec, layers=layers))
    narrow = replace(
        model, spec=map_leaves(model.spec, torch.Tensor, lambda weight, field: weight.bfloat16())
    )
    for number, other in enumerate((packed, narrow), start=2):
        second_moment(other, 1, text=text)
        assert len(list((tmp_path / "cache").glob("moment-*"))) == number


def test_another_configuration_has_a_moment_of_its_own(model, text, tmp_path):
    """The weights and their hash are the same; what is computed with them is not."""
    first = second_moment(model, 1, text=text).matrix
    spec = model.spec
    norms = [replace(layer.mlp_norm, eps=1.0) for layer in spec.layers]
    layers = tuple(replace(layer, mlp_norm=norm) for layer, norm in zip(spec.layers, norms, strict=True))
    other = second_moment(replace(model, spec=replace(spec, layers=layers)), 1, text=text).matrix
    assert not torch.allclose(first, other)


def test_a_cache_that_cannot_be_written(model, text, tmp_path, monkeypatch):
    expected = second_moment(model, 1, text=text).matrix
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "file"))
    assert torch.equal(second_moment(model, 1, text=text).matrix, expected)
    assert (tmp_path / "file").read_text() == "no folder"


def test_bad_input(model, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Paris is big")
    with pytest.raises(KCircuitsError, match="at least 256"):
        second_moment(model, 1, text=short)
    with pytest.raises(KCircuitsError, match="shrinkage"):
        second_moment(model, 1, shrinkage=0.0)


def test_the_identity_says_so():
    assert identity_moment(4, 2).source == "identity"
