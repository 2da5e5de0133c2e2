"""A sweep's output folder: finished results by key, whole or not there, and one sweep at a time.

    OUT/jobs/KEY/      a job's result: row.json, circuit.json, evaluation.json, ..., and done.json
    OUT/parts/KEY/     what several jobs share: scores of all edges, a circuit, ranks of answers
    OUT/failed/KEY.json
    OUT/scratch/       results being made, and KEY/ of a search that goes on where it was
    OUT/summary.parquet, OUT/timings.parquet

No name in it comes from a sweep file: keys are hexadecimal digests.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import parse_json, quote, read_text
from kcircuits.files.writing import check_output_folder, write_atomically

DONE = "done.json"
TIMING = "timing.json"
"""Of a job, and of scores: how long they took."""
_MAKING = "making-"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shelf:
    """Finished results by key, each a folder whose `done.json` has the SHA-256 of every file in it."""

    folder: Path
    scratch: Path

    def get(self, key: str) -> Path | None:
        """The folder of a result that is there and whole: every byte that was written is as it was.

        Other files may be there, too, such as a report.
        """
        folder = self.folder / key
        return folder if _is_whole(folder, key) else None

    def put(self, key: str, fill: Callable[[Path], None]) -> Path:
        """Make a result: `fill` writes its files into a temporary folder, which is moved into place.

        What stands there already, which was found broken, is replaced. Whatever goes wrong, the temporary
        folder is removed and nothing half-written takes the result's place. Raises OSError, or a
        KCircuitsError that has one as its cause, if the disk is full or refuses.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=self.scratch))
        try:
            fill(making)
            hashes = {path.name: _sha256(path) for path in sorted(making.iterdir())}
            write_atomically(making / DONE, json.dumps({"key": key, "files": hashes}, indent=1) + "\n")
            _flush(making)
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / key
            if place.exists():
                broken = Path(tempfile.mkdtemp(prefix=_MAKING, dir=self.scratch))
                place.rename(broken / key)
                shutil.rmtree(broken, ignore_errors=True)
            making.rename(place)
            _flush(self.folder)
            return place
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def keys(self) -> list[str]:
        """The keys of all folders here, whole or not, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if _KEY.fullmatch(path.name))


@dataclass(frozen=True)
class Store:
    """All of a sweep's output folder."""

    out: Path

    @property
    def jobs(self) -> Shelf:
        """Results of jobs."""
        return Shelf(self.out / "jobs", self._scratch)

    @property
    def parts(self) -> Shelf:
        """What jobs share."""
        return Shelf(self.out / "parts", self._scratch)

    @property
    def _scratch(self) -> Path:
        return self.out / "scratch"

    def scratch_of(self, key: str) -> Path:
        """The folder in which a search may keep how far it has come; made by whoever writes into it."""
        return self._scratch / key

    def fail(self, key: str, report: dict[str, Any]) -> None:
        """Record why a job failed."""
        folder = self.out / "failed"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{key}.json", json.dumps(report, indent=1) + "\n")

    def forgive(self, key: str) -> None:
        """Forget that a job failed, as it is done by now."""
        (self.out / "failed" / f"{key}.json").unlink(missing_ok=True)

    def failures(self) -> dict[str, dict[str, Any]]:
        """The reports of all failed jobs by key; one that cannot be read is as if it were not there."""
        found = {}
        folder = self.out / "failed"
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            with suppress(KCircuitsError):
                report = parse_json(read_text(path, "report"), "report")
                if _KEY.fullmatch(path.stem) and isinstance(report, dict):
                    found[path.stem] = report
        return found

    def clean(self) -> None:
        """Remove what an earlier sweep was making when it ended; only with the lock."""
        if self._scratch.is_dir():
            for folder in self._scratch.glob(f"{_MAKING}*"):
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the output folder, which is made if it is missing.

        The system frees it when this process ends, however it does. Raises KCircuitsError if another sweep
        holds it, or it cannot be written.
        """
        check_output_folder(self.out)
        try:
            descriptor = os.open(self.out / "sweep.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise KCircuitsError(f"cannot write into {self.out}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                raise KCircuitsError(
                    f"another sweep is running in {self.out} (process {quote(holder)[1:-1] or 'unknown'}): "
                    "wait for its end, or give another --out"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def _is_whole(folder: Path, key: str) -> bool:
    try:
        done = parse_json(read_text(folder / DONE, "result"), "result")
        if not isinstance(done, dict) or done.get("key") != key or not isinstance(done.get("files"), dict):
            return False
        return all(_sha256(folder / name) == expected for name, expected in done["files"].items())
    except (KCircuitsError, OSError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _flush(folder: Path) -> None:
    """Have the names in a folder on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
