"""The compiled module: which versions of torch it works with, and what is said where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kcircuits import _native

ROOT = Path(__file__).resolve().parents[1]


def test_the_module_names_its_torch_in_its_bytes():
    assert _native._compiled_for() == _native.C.torch_version == torch.__version__.partition("+")[0]


@pytest.mark.parametrize(
    ("built", "running"),
    [
        ("2.13.0", "2.13.0"),
        ("2.13.0", "2.13.1"),
        ("2.13.1", "2.13.0+cpu"),
        ("2.13.0", "2.13.0+cu130"),
        ("2.16.0a0+git1f2e", "2.16.0a0+git1f2e"),
    ],
)
def test_releases_of_one_minor_version_fit(built, running):
    _native._check_torch(built, running)


@pytest.mark.parametrize(
    ("built", "running", "pin"),
    [
        ("2.13.0", "2.14.0", "torch==2.13.*"),
        ("2.1.0", "2.13.0", "torch==2.1.*"),  # not a prefix of the text
        ("2.13.0", "2.13.0rc1", "torch==2.13.*"),
        ("2.13.0rc1", "2.13.0", "torch==2.13.0rc1"),
        ("2.16.0a0+git1f2e", "2.16.0a0+git77aa", "torch==2.16.0a0+git1f2e"),
    ],
)
def test_others_do_not(built, running, pin):
    with pytest.raises(ImportError, match="kcircuits was compiled for torch") as caught:
        _native._check_torch(built, running)
    message = str(caught.value)
    assert f"'{pin}'" in message and f"torch {running} is installed" in message
    assert "docs/installing.md" in message and "\n" not in message


def imported_with(torch_version: str, extra: str = "") -> str:
    """What importing says in a process where torch claims another version."""
    code = f"import torch; torch.__version__ = {torch_version!r}\n{extra}\nimport kcircuits._native"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_another_patch_release_loads():
    minor = torch.__version__.rpartition(".")[0]
    assert imported_with(f"{minor}.77") == ""


def test_another_minor_release_is_refused():
    minor = torch.__version__.rpartition(".")[0]
    line = imported_with("9.9.0")
    assert f"kcircuits was compiled for torch {minor}, but torch 9.9.0 is installed" in line


def test_a_module_that_cannot_be_loaded_is_explained_by_its_torch():
    """Symbols are missing in another torch: the loader's own words would not help."""
    broken = (
        "import importlib\nreal = importlib.import_module\n"
        "def fails(name, *rest):\n"
        "    if name == 'kcircuits._C': raise ImportError('undefined symbol: _ZN3c104impl')\n"
        "    return real(name, *rest)\n"
        "importlib.import_module = fails"
    )
    assert "undefined symbol" in imported_with(torch.__version__, broken)
    line = imported_with("9.9.0", broken)
    assert "but torch 9.9.0 is installed" in line and "undefined symbol" not in line


def test_a_folder_csrc_of_another_package_is_not_a_checkout(tmp_path):
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "other.cpp").write_text("int x;")
    assert _native._checkout_hash(tmp_path) is None
    assert _native._checkout_hash(ROOT) == _native.C.source_hash
