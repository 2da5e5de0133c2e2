"""Sanitizers watch the CUDA kernels on the host: no barrier missing or superfluous, no access outside."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess

import pytest

from tests.cuda import host_kernels

CASES = (
    "edge_mix",
    "edge_mix_wide",
    "edge_scores",
    "edge_scores_bfloat16",
    "vocab_readout",
    "vocab_readout_bfloat16",
)
# A case in which each barrier matters.
BARRIERS = {
    "counts_known": "edge_mix",
    "terms_known": "edge_mix",
    "terms_used": "edge_mix",
    "sums_known": "edge_mix",
    "sums_used": "edge_mix",
    "measured": "edge_mix",
    "statistics_used": "edge_mix",
    "buffers_free": "vocab_readout",
    "buffer_filled": "edge_scores",
    "operands_used": "vocab_readout",
    "logits_known": "vocab_readout",
    "norm_partial_free": "vocab_readout",
    "norm_partial_known": "vocab_readout",
    "list_cleared": "vocab_readout",
    "entries_read": "vocab_readout",
    "entries_moved": "vocab_readout",
    "list_compared": "vocab_readout",
}
RACE_FOUND = 66

pytestmark = pytest.mark.skipif(host_kernels.compiler_missing(), reason="no C++ compiler")


def run(sanitizer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    sources = ["kernels.cpp", "threads.cpp", "races.cpp"]
    flags = (f"-fsanitize={sanitizer}", "-DKCIRCUITS_FLOAT_AND_BFLOAT16")
    binary = host_kernels.compile_host(f"races-{sanitizer.split(',')[0]}", sources, *flags)
    options = f"halt_on_error=1 exitcode={RACE_FOUND}"
    environment = {**os.environ, "TSAN_OPTIONS": options, "ASAN_OPTIONS": options}
    command = [str(binary), *arguments]
    # ThreadSanitizer of older compilers cannot work with a highly randomised address space.
    if sanitizer == "thread" and shutil.which("setarch"):
        command = ["setarch", platform.machine(), "-R", *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("case", CASES)
def test_no_race(case):
    result = run("thread", case)
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.mark.parametrize("case", CASES)
def test_no_access_outside(case):
    result = run("address,undefined", case)
    assert result.returncode == 0, result.stderr[-4000:]


@pytest.mark.parametrize("barrier", BARRIERS)
def test_a_missing_barrier_is_reported(barrier):
    result = run("thread", BARRIERS[barrier], barrier)
    assert result.returncode == RACE_FOUND, f"{barrier} may be superfluous\n{result.stderr[-2000:]}"
    assert "ThreadSanitizer: data race" in result.stderr


def test_every_barrier_is_covered():
    sources = "".join(path.read_text() for path in (host_kernels.ROOT / "csrc" / "cuda").glob("*.cuh"))
    assert set(re.findall(r"KCIRCUITS_(?:WARP_)?BARRIER\((\w+)\);", sources)) == set(BARRIERS)
