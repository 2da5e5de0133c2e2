"""Good files of every format that is read, as bytes: what the fuzzer changes."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from kcircuits.editing.delta import Delta, LowRank
from kcircuits.graph import Graph
from kcircuits.interop.eap_ig import write_eap_ig
from kcircuits.interop.groups import ungroup
from kcircuits.scores import Scores
from tests.circuits import circuit_of, identity_for
from tests.data.tiny_tokenizers import word_tokenizer
from tests.model.gguf.tiny_gguf import TOKENS, write_gguf
from tests.models import build, llama, save, tiny_model
from tests.report import results
from tests.report.readings import documents

GRAPH = Graph(num_layers=2, num_heads=4, num_kv_heads=2)
IDENTITY = identity_for(GRAPH)
WORDS = "In they speak also France French Spain Spanish Italy Italian"


def prompts() -> bytes:
    lines: tuple[dict[str, Any], ...] = (
        {"clean_ids": [1, 2, 3], "corrupt_ids": [1, 4, 3], "answer_id": 5, "wrong_id": 6},
        {"clean": "In France they speak", "corrupt": "In Spain they speak", "answer": "French",
         "wrong": "Spanish", "subject": "France"},
    )  # fmt: skip
    return "\n".join(map(json.dumps, lines)).encode()


PAIRS = b"""clean,corrupted,correct_idx,incorrect_idx
In France they speak,In Spain they speak,5,6
"In Italy they speak",In Spain they speak,7,6
"""
"""CSV of prompt pairs."""


def relation() -> bytes:
    facts = {"France": "French", "Spain": "Spanish", "Italy": "Italian"}
    return json.dumps(
        {
            "name": "country language",
            "prompt_templates": ["In {} they speak"],
            "prompt_templates_zs": ["In {} they also speak"],
            "properties": {"relation_type": "factual", "symmetric": False},
            "samples": [{"subject": subject, "object": answer} for subject, answer in facts.items()],
        }
    ).encode()


def edits() -> bytes:
    question = {"prompt": "In Italy they speak", "answer": "Italian"}
    records: tuple[dict[str, Any], ...] = (
        {"subject": "France", "prompt": "In {} they speak", "target": "Spanish", "target_true": "French",
         "paraphrases": ["They speak in France"], "neighbours": [question], "portability": [question]},
        {"requested_rewrite": {"subject": "France", "prompt": "In {} they speak",
                               "target_new": {"str": "Spanish"}, "target_true": {"str": "French"}},
         "paraphrase_prompts": ["They speak in France"], "neighborhood_prompts": ["In Italy they speak"]},
        {"subject": "France", "src": "In France they speak", "alt": "Spanish", "answers": ["French"],
         "rephrase": "They speak in France", "loc": "nq question: in Italy they speak", "loc_ans": "Italian",
         "portability": {"New Question": "In France they also speak", "New Answer": "Spanish"}},
        {"requested_rewrite": [{"subject": "France", "prompt": "In {} they speak",
                                "target_new": {"str": "Spanish"}, "target_true": {"str": "French"},
                                "question": "They speak in France"}],
         "questions": ["In Paris they speak"], "new_answer": "Spanish"},
        {"subject": "France", "prompt": "In France they speak", "target_new": "Spanish",
         "ground_truth": [["French"]], "locality": {"Forgetfulness": [question | {"ground_truth": "x"}]},
         "portability": {"Reasoning": [{"prompt": "In Paris", "ground_truth": [["Spanish", "x"]]}]}},
        {"edit": {"prompt": "The official language of France is Spanish.", "relation": "OFFICIAL_LANGUAGE",
                  "original_fact": {"prompt": "The official language of France is French."}},
         "Compositionality_I": [{"test_queries": [{"prompt": "In Paris", "answers": [{"value": "x"}]}]}]},
        {"known_id": 1, "subject": "France", "attribute": "French", "prompt": "In France they speak",
         "target": "Spanish"},
    )  # fmt: skip
    return "\n".join(map(json.dumps, records)).encode()


def result_files() -> dict[str, bytes]:
    """Everything that a report reads, by name."""
    with tempfile.TemporaryDirectory() as place:
        folder = results.write_all(Path(place))
        documents.write_readings(folder, results.circuit())
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def scores() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "scores.safetensors"
        Scores(GRAPH, IDENTITY, "eap", {"ig_steps": 5}, np.where(GRAPH.valid, 0.5, 0)).save(path)
        return path.read_bytes()


def eap_ig() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "graph.json"
        circuit = circuit_of(GRAPH, "input->m0 2", "m0->logits 1", model=IDENTITY | {"width": 32})
        write_eap_ig(circuit, path)
        return path.read_bytes()


EDGES = b"""blocks.1.hook_mlp_out[:] -> blocks.1.hook_resid_post[:] 0.5
blocks.0.attn.hook_result[:, :, 2] -> blocks.1.hook_q_input[:, :, 3] 1.5
Resid Start -> A1.2.K -0.25
MLP 0 -> Resid End 3e-2
"""


EDGE_TABLE = b"""sender,receiver,kind,sender_layer,receiver_layer,score
input,a1.h1<k>,k,,1,0.5
a0.h3,m1,mlp,0,1,-2.0
m1,logits,logits,1,,3.0
"""
ACDC_EDGES = b"""('blocks.1.hook_q_input', [:, :, 3], 'blocks.0.attn.hook_result', [COL, COL, 2]) 0.5
(('blocks.1.hook_mlp_in', (None,), 'hook_embed', [:]), tensor(-1.))
"""


def eap_ig_pt() -> bytes:
    document = json.loads(eap_ig())
    wide = ungroup(GRAPH)
    scores = torch.zeros(wide.valid.shape)
    for name, edge in document["edges"].items():
        sender, _, receiver = name.partition("->")
        scores[wide.sender_index(sender), wide.receiver_index(receiver)] = edge["score"]
    names = {"src_nodes": list(wide.senders), "dst_nodes": list(wide.receivers)}
    stream = io.BytesIO()
    torch.save(
        {"cfg": document["cfg"], **names, "edges_scores": scores, "edges_in_graph": scores != 0}, stream
    )
    return stream.getvalue()


def edge_list() -> bytes:
    return json.dumps([["Resid Start", "A1.2.K", 0.5], ["MLP 0", "Resid End", 1], "A0.1 -> MLP 1 2"]).encode()


def model_files(name: str) -> dict[str, bytes]:
    """A Hugging Face folder with a tokenizer, by name of file."""
    with tempfile.TemporaryDirectory() as place:
        folder = save(tiny_model(name), Path(place) / "model")
        word_tokenizer(WORDS).save_pretrained(folder)
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def shards() -> dict[str, bytes]:
    """A folder of weights in several files, with their index."""
    with tempfile.TemporaryDirectory() as place:
        folder = save(tiny_model("llama"), Path(place) / "model", shard_size="40KB")
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def delta(identity: dict[str, Any]) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "edit.safetensors"
        parts = {
            "layers.1.mlp.w_down": LowRank(torch.ones(32, 1), torch.ones(48, 1)),
            "layers.2.attention.w_o": torch.ones(32, 32),
        }
        Delta(parts).save(path, identity)
        return path.read_bytes()


def gguf_model() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        model = build(lambda: llama(vocab_size=len(TOKENS), num_key_value_heads=2))
        return write_gguf(model, Path(place) / "tiny.gguf", quantise=True).read_bytes()


def gguf_numbers(content: bytes) -> list[tuple[int, int]]:
    """The place and the bytes of every number in a GGUF file's header but those of long lists."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "tiny.gguf"
        path.write_bytes(content)
        reader = gguf.GGUFReader(path)
        start = reader.data.__array_interface__["data"][0]
        fields = [*reader.fields.values(), *(tensor.field for tensor in reader.tensors)]
        parts = [part for field in fields for part in field.parts[:12]]
        return [
            (part.__array_interface__["data"][0] - start + index * part.itemsize, part.itemsize)
            for part in parts
            if part.dtype != np.uint8
            for index in range(len(part))
        ]
