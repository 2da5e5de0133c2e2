"""Fuzz a group of readers in this process, which a reader may take with it: `python -m tests.fuzz.run GROUP`.

A reader keeps its promise if it reads the file or raises a KCircuitsError of one short line, within a bound
of memory and time; and if it leaves every other file as it was. Where one breaks it, the last file tried,
the smallest that fails, stays in the folder of examples.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from kcircuits.errors import KCircuitsError
from tests.fuzz.targets import GROUPS, Target

MEMORY = 2**30
"""Bytes of address space that a reader may take beyond what the process has when it starts."""
SECONDS = 60
"""After so many seconds, a reader hangs."""
LONGEST_MESSAGE = 12_000
_OUT_OF_MEMORY = ("not enough memory", "Unable to allocate", "MemoryError", "out of memory")


def main() -> None:
    """Read the command line and fuzz; exits with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", help="light, models or gguf; or a module with `targets`")
    parser.add_argument("--examples", type=int, default=100, help="files for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the reader of this name alone")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="the folder of examples")
    given_options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["KCIRCUITS_CACHE"] = str(Path(place) / "cache")
        sys.exit(not _run(Path(place), given_options))


def _run(place: Path, options: argparse.Namespace) -> bool:
    group = GROUPS.get(options.group) or import_module(options.group).targets
    targets = [target for target in group() if options.only in (None, target.name)]
    for target in targets:
        # What is imported for a good file is no reader's memory.
        assert _read(place, target, target.content), f"{target.name}: the good file is refused"
    limit = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    kept = [_fuzz(place, target, options) for target in targets]
    return all(kept)


def _fuzz(place: Path, target: Target, options: argparse.Namespace) -> bool:
    """Whether the reader keeps its promise."""
    kept = options.keep / target.name / target.file
    kept.parent.mkdir(parents=True, exist_ok=True)
    read_well = refused = 0

    @seed(options.seed)
    @settings(
        max_examples=options.examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.examples())
    def one(content: bytes) -> None:
        nonlocal read_well, refused
        kept.write_bytes(content)
        if _read(place, target, content):
            read_well += 1
        else:
            refused += 1

    print(f"{target.name}: {kept}", flush=True)
    start = time.perf_counter()
    try:
        one()
    except Exception as error:
        error.__notes__ = []  # they have the whole file, which is kept
        lines = "".join(traceback.format_exception(error)).splitlines()
        print("\n".join(line[:500] for line in lines), f"  {kept} breaks the promise", sep="\n", flush=True)
        return False
    print(f"  {read_well} read, {refused} refused, {time.perf_counter() - start:.1f} s", flush=True)
    kept.unlink()
    return True


def _read(place: Path, target: Target, content: bytes) -> bool:
    """Whether the reader takes the file; an error where it breaks its promise."""
    folder = place / "input"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # New files each time: what the last reader mapped into memory stays as it was.
    for name, data in {**target.beside, target.file: content}.items():
        (folder / name).write_bytes(data)
    before = _contents(place)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        target.read(folder / target.file)
    except KCircuitsError as error:
        _check_message(str(error))
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
        changed = {file for file, data in _contents(place).items() if before.get(file) != data}
        assert changed <= {folder / name for name in target.writes}, f"it wrote {changed}"
    return True


def _check_message(message: str) -> None:
    assert message.strip(), "an empty message"
    assert len(message.splitlines()) == 1, f"more than a line: {message[:500]!r}"
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters: {message[:500]!r}"
    assert not any(words in message for words in _OUT_OF_MEMORY), f"memory ran out: {message[:500]!r}"


def _contents(place: Path) -> dict[Path, bytes]:
    """Every file of the sandbox but those of the cache, which readers fill."""
    cache = place / "cache"
    files = (file for file in place.rglob("*") if file.is_file() and cache not in file.parents)
    return {file: file.read_bytes() for file in files}


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
