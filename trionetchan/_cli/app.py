"""The command line: arguments in, output out."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import cyclopts
import rich.console
import rich.progress
import rich.table
import trio

from .._errors import ConnectionLostError, NetchanError
from . import demo as demo_

__all__ = ["main"]

app = cyclopts.App(
    name="trionetchan",
    help="Trio memory channels with a network in the middle.",
    version=lambda: version("trionetchan"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
output = rich.console.Console(highlight=False, markup=False)
errors = rich.console.Console(highlight=False, markup=False, stderr=True)


def main() -> int:
    """Runs the command that the arguments name; returns the exit status."""
    # What the library warns of, workers that are gone and jobs left behind at an interrupt, is said here or meant.
    logging.getLogger("trionetchan").setLevel(logging.ERROR)
    status: int | None = app()
    return status or 0


@app.command
def demo(
    directory: Path | None = None,
    /,
    *,
    workers: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = os.cpu_count() or 1,
) -> int:
    """Count the words of text files with worker processes over TCP.

    One process deals pieces of the files to the workers and adds up what they send back; then it counts again by itself
    and compares. Kill a worker while it runs: the count is still right.

    Parameters
    ----------
    directory
        Where the text files are; the standard library of the running Python unless given.
    workers
        How many worker processes.
    """
    return trio.run(_until_signal, lambda: _demo_command(directory, workers))


@app.command(name="demo-worker", show=False)
def demo_worker(port: int, /) -> int:
    """Run one worker of a demo that is served at this port of the loopback interface."""
    return trio.run(_until_signal, lambda: _demo_worker_command(port))


async def _until_signal(command: Callable[[], Awaitable[int]]) -> int:
    """Runs a command until it is done or a signal asks to end; returns its exit status, or that of the signal.

    KeyboardInterrupt could come up anywhere, in the middle of the library too; a cancelled scope unwinds in order.
    """
    status = 0

    async def watch(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal status
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            number = await anext(signals)
            nursery.cancel_scope.cancel()
            status = 128 + number

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        status = await command()
        nursery.cancel_scope.cancel()
    return status


async def _demo_command(directory: Path | None, workers: int) -> int:
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TimeElapsedColumn(),
    )
    try:
        with rich.progress.Progress(*columns, console=output) as progress:
            outcome = await demo_.run(directory, workers, _Display(progress))
    except demo_.DemoError as error:
        return _failed(str(error))
    output.print(_table(outcome))
    if outcome.difference is not None:
        return _failed(outcome.difference)
    output.print(f"one process counts the same, in {outcome.seconds_alone:.1f} s", soft_wrap=True)
    return 0


async def _demo_worker_command(port: int) -> int:
    try:
        await demo_.run_worker(port)
    except ConnectionLostError:
        return 1  # the demo is over; if it is not, it says that this worker is gone
    except (NetchanError, OSError) as error:
        return _failed(str(error))
    return 0


def _failed(why: str) -> int:
    errors.print(f"trionetchan: {why}", soft_wrap=True)
    return 1


class _Display:
    """Shows what the demo does: a progress bar for each stretch of work, and lines above it."""

    def __init__(self, progress: rich.progress.Progress) -> None:
        self._progress = progress
        self._task = rich.progress.TaskID(0)

    def say(self, text: str) -> None:
        self._progress.console.print(text, soft_wrap=True)

    def begin(self, what: str, total: int) -> None:
        self._task = self._progress.add_task(what, total=total)

    def advance(self, size: int) -> None:
        self._progress.advance(self._task, size)


def _table(outcome: demo_.Outcome) -> rich.table.Table:
    count = outcome.count
    table = rich.table.Table("worker", title=f"{count.words.total():,} words in {outcome.files:,} files")
    for heading in ("files", "words", "values", "values/s"):
        table.add_column(heading, justify="right")

    def row(name: str, files: int, words: int, results: int, *, last: bool = False) -> None:
        values = 2 * results  # a job and its result
        rate = values / count.seconds if count.seconds else 0.0
        table.add_row(name, f"{files:,}", f"{words:,}", f"{values:,}", f"{rate:,.0f}", end_section=last)

    shares = sorted(count.shares.items())
    for worker, share in shares:
        row(str(worker), len(share.files), share.words, share.results, last=worker == shares[-1][0])
    results = sum(share.results for share in count.shares.values())
    row(f"all, in {count.seconds:.1f} s", outcome.files, count.words.total(), results)
    return table
