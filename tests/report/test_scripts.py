"""The page's scripts: d3 as it was published, ours in pieces, and a policy for exactly these."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.report.page.data import data_block
from kcircuits.report.page.scripts import OWN, VENDORED, policy, scripts
from kcircuits.report.results import Results
from tests.report.readings.documents import heads
from tests.report.results import circuit

PACKAGE = Path(str(files("kcircuits")))
D3 = PACKAGE / "report/vendor/d3"


def test_every_file_is_used():
    scripts = {path for path in PACKAGE.rglob("*.js") if D3 not in path.parents}
    assert {path.relative_to(PACKAGE).as_posix() for path in scripts} == set(OWN)
    assert {path.name.removesuffix(".min.js") for path in D3.glob("*.js")} == set(VENDORED)


def test_d3_is_what_was_published():
    listed = {}
    for line in (D3 / "versions.txt").read_text().splitlines():
        name, version, digest = line.split()
        listed[name] = digest
        content = (D3 / f"{name}.min.js").read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert f"{name}/ v{version}".encode() in content[:100]
    assert set(listed) == set(VENDORED)
    licences = (D3 / "LICENSE").read_text()
    assert licences in scripts()[0]
    assert "Permission to use, copy, modify" in licences
    assert "Redistribution and use in source and binary forms" in licences


def test_the_policy_has_the_scripts_hashes():
    texts = scripts()
    written = policy(texts)
    for text in texts:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in written
    assert re.search(r"script-src ('sha256-[\w+/=]+' ?)+;", written)
    assert "default-src 'none'" in written


@pytest.mark.parametrize("text", scripts(), ids=["d3", "own"])
def test_no_script_ends_early_or_fetches(text):
    assert "</script" not in text.lower()
    assert "<!--" not in text
    for word in ("fetch(", "XMLHttpRequest", "import(", "WebSocket", "sendBeacon", "eval(", "new Function"):
        assert word not in text


def test_our_scripts_make_no_html_from_text():
    own = scripts()[1]
    words = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        ".html(",
        "DOMParser",
        "srcdoc",
    )
    for word in words:
        assert word not in own


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which checks syntax, is not installed")
def test_syntax(tmp_path):
    for number, text in enumerate(scripts()):
        path = tmp_path / f"{number}.js"
        path.write_text(text)
        subprocess.run(["node", "--check", path], check=True, timeout=60)


EVIL = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "a\u202eb\u2066c\x00d",
    "\ud800",
    "\u2028 & ]]>",
]


@pytest.mark.parametrize("text", EVIL)
def test_data_cannot_end_its_block(text):
    made = circuit()
    read = HeadReadings.from_json(heads(made, text=text))
    block = data_block(Results(made, None, {}, None, heads=read), None)
    inside = block.removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert not set(inside) & set("<>&")
    assert inside.isascii()
    for invisible in ("\\u202e", "\\u2066", "\\u0000", "\\ud800", "\\u2028"):
        assert invisible not in inside
