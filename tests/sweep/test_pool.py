"""Why a job failed, told from its error."""

from __future__ import annotations

import errno

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.sweeps.pool import reason_of


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError(), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (raised(KCircuitsError("cannot write"), OSError(errno.ENOSPC, "No space")), "disk"),
        (raised(KCircuitsError("odd"), MemoryError()), "memory"),
        (KCircuitsError("bad"), "error"),
        (RuntimeError("a bug"), "error"),
        (OSError(errno.EACCES, "Permission denied"), "error"),
    ],
    ids=str,
)
def test_reasons(error, reason):
    assert reason_of(error) == reason


def test_what_torch_really_raises():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert reason_of(error.value) == "memory"


def test_a_real_full_disk():
    with pytest.raises(KCircuitsError) as error:
        try:
            with open("/dev/full", "w") as full:  # noqa: PTH123
                full.write("x")
        except OSError as cause:
            raise KCircuitsError("cannot write") from cause
    assert reason_of(error.value) == "disk"
