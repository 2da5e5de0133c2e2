"""A circuit's format is told by its content, without reading more of a large file than that takes."""

from __future__ import annotations

import json

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.interop.reading import format_of

CIRCUIT = {"format": "kcircuits/1", "edges": []}
EAP_IG = {"cfg": {}, "nodes": {}, "edges": {}}
LONG = {"note": "x" * 2**21}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (json.dumps(CIRCUIT), "circuit"),
        (json.dumps({"model": {}}), "circuit"),
        (json.dumps(EAP_IG), "eap-ig"),
        (json.dumps(LONG | EAP_IG), "eap-ig"),
        (json.dumps(EAP_IG | LONG), "eap-ig"),
        (json.dumps(LONG | CIRCUIT), "circuit"),
        ('{"src": "m0", "dst": "m1"}\n{"src": "m0", "dst": "m2"}', "edge-list"),
        ('{"src": "m0", "dst": "m1"}\n' * 10**5, "edge-list"),
        ("[]", "edge-list"),
        ("src,dst\nm0,m1", "edge-list"),
        ("m0->m1\n" * 2 * 10**5, "edge-list"),
        ("graph -> m1", "edge-list"),
        ("", "edge-list"),
    ],
    ids=range(13),
)
def test_formats(tmp_path, content, expected):
    (tmp_path / "file").write_text("\ufeff" + content, encoding="utf-8")
    assert format_of(tmp_path / "file") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1', "not JSON"),
        (json.dumps(LONG)[:-1] + ", 1", "not JSON"),
        ('{"a": 1} 3', "not JSON: Extra data"),
        ('<?xml version="1.0"?>', "the file is XML or HTML"),
        ("digraph circuit {\n}", "a picture in graphviz' language"),
    ],
    ids=range(5),
)
def test_what_is_none(tmp_path, content, message):
    (tmp_path / "file").write_text(content)
    with pytest.raises(KCircuitsError, match=message):
        format_of(tmp_path / "file")


def test_a_torch_file_of_something_else(tmp_path):
    import torch

    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(KCircuitsError, match=r"ACDC's save_subgraph, but this one has \['weight'\]"):
        format_of(tmp_path / "model.pt")
