"""A worker process for one tool, which answers calls in JSON: one line in, one line out.

This file runs in both environments, so it uses only the standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SPIN_LIMIT = "2000"  # with the default, one other busy program makes each tool ten times slower


class WorkerError(RuntimeError):
    """A tool's process ended or failed. The message has the last lines of its output."""


class Worker:
    """A process that loads one model with one tool and answers calls.

    Parameters
    ----------
    python
        The interpreter of the tool's environment.
    module
        Name of a file in this folder, without suffix.
    threads
        Number of threads of the process.
    """

    def __init__(self, python: Path, module: str, threads: int, **setup: Any) -> None:
        self.name = module
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "GOMP_SPINCOUNT": SPIN_LIMIT,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "TQDM_DISABLE": "1",
        }
        self._process = subprocess.Popen(
            [str(python), "-m", f"peers.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self.about: dict[str, Any] = self.call("setup", threads=threads, **setup)

    def call(self, what: str, **arguments: Any) -> Any:
        """Call a function of the process and wait for its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"call": what, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            raise WorkerError(f"{self.name} failed in {what!r}:\n{self._last_lines()}")
        return json.loads(line)

    def close(self) -> int:
        """End the process; returns its peak resident memory in bytes, including loading."""
        peak = int(self.call("peak"))
        self._process.communicate()
        self._log.close()
        return peak

    def _last_lines(self) -> str:
        self._log.seek(0)
        return "".join(self._log.readlines()[-15:])


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls until the other side closes. Output of libraries goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if request["call"] == "peak":
            result: Any = peak_memory()
        else:
            result = functions[request["call"]](**request["arguments"])
        answers.write(json.dumps(result) + "\n")
        answers.flush()


def peak_memory() -> int:
    """Peak resident bytes of this process (Linux); getrusage would include its parent's memory."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
