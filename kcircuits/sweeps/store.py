"""A sweep's output folder: complete results by key, and a lock for one sweep at a time.

    OUT/jobs/KEY/      a job's result: row.json, circuit.json, evaluation.json, ..., and done.json
    OUT/parts/KEY/     results that several jobs share: scores of all edges, a circuit, ranks of answers
    OUT/failed/KEY.json
    OUT/scratch/       unfinished results, and KEY/ of a search that can be resumed
    OUT/summary.parquet, OUT/timings.parquet

No file name comes from a sweep file: keys are hexadecimal digests.
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
"""File with the run time of a job or of scores."""
_MAKING = "making-"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shelf:
    """Complete results by key. Each is a folder whose `done.json` has the SHA-256 of all its files."""

    folder: Path
    scratch: Path

    def get(self, key: str) -> Path | None:
        """The folder of a complete result, with all files unchanged; None if there is none.

        The folder may have other files, such as a report.
        """
        folder = self.folder / key
        return folder if _is_whole(folder, key) else None

    def put(self, key: str, fill: Callable[[Path], None]) -> Path:
        """Make a result: `fill` writes its files into a temporary folder, which is then moved into place.

        A damaged result with this key is replaced. If anything fails, the temporary folder is removed, and no
        partial result is stored. Raises OSError, or a KCircuitsError caused by one, if the disk is full or
        not writable.
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
        """The keys of all folders, complete or not, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if _KEY.fullmatch(path.name))


@dataclass(frozen=True)
class Store:
    """The output folder of a sweep."""

    out: Path

    @property
    def jobs(self) -> Shelf:
        """Results of jobs."""
        return Shelf(self.out / "jobs", self._scratch)

    @property
    def parts(self) -> Shelf:
        """Results that jobs share."""
        return Shelf(self.out / "parts", self._scratch)

    @property
    def _scratch(self) -> Path:
        return self.out / "scratch"

    def scratch_of(self, key: str) -> Path:
        """The folder for a search's checkpoint. The search creates it."""
        return self._scratch / key

    def fail(self, key: str, report: dict[str, Any]) -> None:
        """Record why a job failed."""
        folder = self.out / "failed"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{key}.json", json.dumps(report, indent=1) + "\n")

    def forgive(self, key: str) -> None:
        """Remove the record of a failure after the job has succeeded."""
        (self.out / "failed" / f"{key}.json").unlink(missing_ok=True)

    def failures(self) -> dict[str, dict[str, Any]]:
        """The reports of all failed jobs by key. Unreadable reports are ignored."""
        found = {}
        folder = self.out / "failed"
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            with suppress(KCircuitsError):
                report = parse_json(read_text(path, "report"), "report")
                if _KEY.fullmatch(path.stem) and isinstance(report, dict):
                    found[path.stem] = report
        return found

    def clean(self) -> None:
        """Remove unfinished results of an earlier sweep. Call it only with the lock."""
        if self._scratch.is_dir():
            for folder in self._scratch.glob(f"{_MAKING}*"):
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the output folder, and create it if it is missing.

        The system releases the lock when this process ends. Raises KCircuitsError if another sweep has the
        lock, or the folder cannot be written.
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
                    "wait until it ends, or choose another --out"
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
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
