"""`kcircuits sweep`: many jobs, each done once."""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import typer

from kcircuits.cli.options import FolderOutput
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.sweeps import SweepResult
    from kcircuits.sweeps.outlook import Outlook

_MOST_ROWS = 40


@dataclass(frozen=True)
class SweepFile(Options):
    """The sweep's file."""

    title: ClassVar[str] = "Sweep"

    sweep: str = option(
        help="File with the grid of jobs (docs/sweeps.md).", metavar="SWEEP.yaml", positional=True
    )


@dataclass(frozen=True)
class Workers(Options):
    """Where the jobs run."""

    title: ClassVar[str] = "Run"

    workers: int = option(
        1, help="Number of parallel processes; 0 runs the jobs in this process.", metavar="N", least=0
    )
    threads: int | None = option(
        None,
        help="Number of CPU threads of each process.",
        metavar="N",
        least=1,
        default_text="cores / workers",
    )
    ray: str | None = option(
        None,
        help="Run on a Ray cluster: HOST:PORT of its head, auto, or local to start one.",
        metavar="ADDRESS",
    )
    dry_run: bool = option(
        False, help="List the jobs with estimates of memory and run time, and write nothing."
    )


def command(file: SweepFile, run: Workers, output: FolderOutput) -> None:
    """Run a grid of models, prompts, methods and thresholds; an interrupted sweep continues where it was.

    Writes DIR/jobs/KEY/ for every job, summary.parquet and timings.parquet. Exit status 1: some jobs failed,
    or the disk is full.
    """
    from kcircuits.cli.sweep_progress import shown_sweep
    from kcircuits.sweeps import DiskFullError
    from kcircuits.sweeps import sweep as run_sweep
    from kcircuits.sweeps.outlook import outlook

    # What was imported by now stays to the end; the collector, off until here, is needed by a sweep of days.
    gc.freeze()
    gc.enable()
    if run.dry_run:
        _show_outlook(outlook(file.sweep, output.out), max(1, run.workers), as_json=output.as_json)
        return
    try:
        with shown_sweep(output.shows_progress) as progress:
            result = run_sweep(
                file.sweep,
                output.out,
                workers=run.workers,
                threads=run.threads,
                ray=run.ray,
                progress=progress,
            )
    except DiskFullError as error:
        _say(f"{error}: what is finished is kept; make space, and start the sweep again")
        raise typer.Exit(1) from error
    if output.as_json:
        json.dump(result.to_json(), sys.stdout, indent=1)
        print()
    elif not output.quiet:
        _show(result)
    if result.failed:
        _say(_failures(result))
        raise typer.Exit(1)


def _show(result: SweepResult) -> None:
    jobs = "job" if result.done == 1 else "jobs"
    print(
        f"{result.done:,} {jobs} done, {result.reused:,} of them before; {result.failed:,} failed\n"
        f"written: {result.out / 'summary.parquet'}, {result.out / 'timings.parquet'}"
    )


def _failures(result: SweepResult) -> str:
    failed = [row for row in result.rows if row["status"] == "failed"]
    first = failed[0]
    return (
        f"{len(failed):,} of {len(result.rows):,} jobs failed, such as {first['model']}, "
        f"{first['relation']}, {first['method']}: {first['error']} (all are in {result.out / 'failed'}; the "
        "next run tries them again)"
    )


def _show_outlook(found: Outlook, workers: int, *, as_json: bool) -> None:
    if as_json:
        json.dump(found.to_json(), sys.stdout, indent=1)
        print()
        return
    from kcircuits.cli.console import print_rows
    from kcircuits.cli.plan import duration
    from kcircuits.runtime.memory import size_text

    rows = [
        (
            job.title,
            job.key[:10],
            f"{job.status}: {job.reason}" if job.reason else job.status,
            size_text(job.peak) if job.peak else "",
            duration(job.seconds) if job.peak else "",
        )
        for job in found.jobs[:_MOST_ROWS]
    ]
    more = len(found.jobs) - len(rows)
    title = f"{len(found.jobs):,} jobs" + (f", of which the first {len(rows)}" if more else "")
    print_rows(title, ("job", "key", "status", "memory", "time"), rows)
    bound = "at most " if found.at_most else "about "
    print(
        f"{found.count('done'):,} done, {found.count('left', 'failed'):,} left, "
        f"{found.count('refused'):,} refused; "
        f"{bound}{duration(found.seconds / min(workers, found.at_once))} with {workers} workers of up to "
        f"{size_text(found.peak)}, of which {found.at_once:,} fit into memory"
    )


def _say(message: str) -> None:
    print("kcircuits: " + " ".join(message.split("\n")), file=sys.stderr)
