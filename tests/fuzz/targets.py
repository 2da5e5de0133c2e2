"""What is fuzzed: every reader with good files of its format, and what happens to what it has read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hypothesis import strategies as st

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import batch, read_prompts
from kcircuits.data.relations import load_relation, relation_prompts
from kcircuits.editing.delta import Delta
from kcircuits.editing.records.reading import read_requests
from kcircuits.interop.reading import format_of, read_any
from kcircuits.model.devices import place_on_devices, read_device_map
from kcircuits.model.loading import Model, load_model
from kcircuits.report.page import write_report
from kcircuits.scores import Scores
from tests.data.tiny_tokenizers import word_tokenizer
from tests.fuzz import missing, mutations, seeds

Strategy = Callable[[bytes], st.SearchStrategy[bytes]]
VOCABULARY, POSITIONS = 64, 32


@dataclass(frozen=True)
class Target:
    """A reader.

    name
        Of the target.
    file, content
        The file that is changed, and what is in it when it is good.
    strategies
        How it is changed, besides bytes.
    read
        Reads it, and uses what it read; called with its path.
    beside
        The other files of its folder.
    writes
        What it may write there.
    any_bytes
        Whether bytes are changed, too: not where what is read is compared.
    """

    name: str
    file: str
    content: bytes
    strategies: tuple[Strategy, ...]
    read: Callable[[Path], object]
    beside: dict[str, bytes] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    any_bytes: bool = True

    def examples(self) -> st.SearchStrategy[bytes]:
        """Changed files: by their structure, by their bytes, and bytes of any kind."""
        by_structure = [strategy(self.content) for strategy in self.strategies]
        if not self.any_bytes:
            return st.one_of(*by_structure)
        noise = st.binary(max_size=100).map(lambda tail: self.content[:4] + tail)
        changed = mutations.changed_bytes(self.content)
        return st.one_of(*by_structure, *by_structure, changed, st.one_of(noise, st.binary(max_size=100)))


def light() -> Iterator[Target]:
    """Readers that need no model."""
    text, json_file = mutations.words, mutations.json_file
    lines = (mutations.json_lines, text)
    yield Target("prompts", "prompts.jsonl", seeds.prompts(), lines, _prompts)
    yield Target("prompts-csv", "prompts.csv", seeds.PAIRS, (text,), _prompts)
    yield Target("relation", "relation.json", seeds.relation(), (json_file, text), _relation)
    yield Target("edits", "edits.jsonl", seeds.edits(), lines, read_requests)
    listed = b"[" + b",".join(seeds.edits().splitlines()) + b"]"
    yield Target("edits-list", "edits.json", listed, (json_file,), read_requests)
    files = seeds.result_files()
    for name in sorted(files):
        beside = {other: files[other] for other in files if other != name}
        yield Target(
            name.partition(".")[0], name, files[name], (json_file, text), _report, beside, ("report.html",)
        )
    yield Target("eap-ig", "graph.json", seeds.eap_ig(), (json_file, text), _circuit)
    yield Target("edge-list", "edges.json", seeds.edge_list(), (json_file, text), _circuit)
    yield Target("edges", "edges.txt", seeds.EDGES, (text,), _circuit)
    yield Target("edge-table", "edges.csv", seeds.EDGE_TABLE, (text,), _circuit)
    yield Target("acdc-edges", "acdc.txt", seeds.ACDC_EDGES, (text,), _circuit)
    yield Target("eap-ig-pt", "graph.pt", seeds.eap_ig_pt(), (), _circuit)
    both = (mutations.safetensors_file, mutations.safetensors_metadata)
    yield Target("scores", "scores.safetensors", seeds.scores(), both, _scores)


def models() -> Iterator[Target]:
    """Readers of a model's files."""
    json_file, text, tensors = mutations.json_file, mutations.words, mutations.safetensors_file
    for name in ("llama_gqa", "gpt2", "mixtral"):
        files = seeds.model_files(name)
        for file, strategies in (
            ("config.json", (json_file, json_file, text)),
            ("model.safetensors", (tensors,)),
        ):
            beside = {other: files[other] for other in files if other != file}
            yield Target(f"{name}-{file.partition('.')[0]}", file, files[file], strategies, _model, beside)
    files = seeds.model_files("llama_gqa")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        beside = {other: files[other] for other in files if other != file}
        yield Target(file.partition(".")[0], file, files[file], (json_file,), _model, beside)
    files, index = seeds.shards(), "model.safetensors.index.json"
    beside = {other: files[other] for other in files if other != index}
    yield Target("shards", index, files[index], (json_file, text), _model, beside)
    tiny = _tiny()
    edit = seeds.delta(tiny.identity)
    yield Target(
        "delta", "edit.safetensors", edit, (mutations.safetensors_file,), partial(_delta, model=tiny)
    )
    devices = b'{"0": "cpu", "1": "cpu", "2": "cpu", "embedding": "cpu"}'
    yield Target("device-map", "map.json", devices, (json_file, text), partial(_device_map, model=tiny))


def gguf_files() -> Iterator[Target]:
    """GGUF files, dequantised and as stored."""
    content = seeds.gguf_model()
    numbers = seeds.gguf_numbers(content)
    strategies = (partial(mutations.gguf_file, numbers=numbers),)
    yield Target("gguf", "tiny.gguf", content, strategies, _gguf)
    yield Target("gguf-stored", "tiny.gguf", content, strategies, partial(_gguf, dtype="stored"))
    for name in ("llama_biases", "gemma3_rope_linear", "phi3_long_rope", "falcon_new", "gpt_oss"):
        whole = missing.Whole(name)
        yield Target(
            f"gguf-without-{name}",
            "tiny.gguf",
            whole.content,
            (whole.incomplete,),
            whole.compare,
            any_bytes=False,
        )


GROUPS: dict[str, Callable[[], Iterator[Target]]] = {"light": light, "models": models, "gguf": gguf_files}


def _prompts(path: Path) -> None:
    tokenizer = word_tokenizer(seeds.WORDS)
    batch(read_prompts(path, tokenizer, VOCABULARY, POSITIONS))


def _relation(path: Path) -> None:
    tokenizer = word_tokenizer(seeds.WORDS)
    relation_prompts(load_relation(path), tokenizer, VOCABULARY, POSITIONS, corrupt=True)


def _report(path: Path) -> None:
    write_report(path.parent)


def _circuit(path: Path) -> None:
    """What is read in any format is the same behind a circuit.json of ours."""
    circuit = read_any(path, format_of(path), lambda: seeds.IDENTITY).circuit
    saved = path.parent / "saved.json"
    circuit.save(saved)
    assert Circuit.load(saved).edges == circuit.edges
    saved.unlink()


def _scores(path: Path) -> None:
    Scores.load(path).table()


def _model(path: Path) -> None:
    _drop_cache()
    load_model(path.parent)


def _tiny() -> Model:
    from tests.models import tiny_model

    folder = Path(os.environ["KCIRCUITS_CACHE"]).parent / "tiny"
    tiny_model("llama").save_pretrained(folder)
    return load_model(folder)


def _delta(path: Path, model: Model) -> None:
    Delta.load(path, model).apply(model)


def _device_map(path: Path, model: Model) -> None:
    place_on_devices(model.spec, read_device_map(path))


def _gguf(path: Path, **options: str) -> None:
    _drop_cache()
    load_model(path, **options)  # type: ignore[arg-type]


def _drop_cache() -> None:
    """Forget what was kept of the last example."""
    shutil.rmtree(os.environ["KCIRCUITS_CACHE"], ignore_errors=True)
