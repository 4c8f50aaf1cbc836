"""The command line: arguments in, output out."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import cyclopts
import rich.console
import rich.progress
import rich.table
import rich.text
import trio

from .._errors import ConnectionLostError, NetchanError
from . import demo as demo_

__all__ = ["main"]

OUTPUT_CLOSED = 128 + 13  # the status of a program that SIGPIPE has ended
REFRESH = 0.1  # seconds


class OutputClosedError(Exception):
    """Nobody reads what is written, such as `head` that has seen enough: time to end, and nobody to tell why."""


class Console(rich.console.Console):
    """A console that tells when its output is closed, instead of ending the process wherever it is."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.file.fileno())  # for what is still in the file's buffer and goes out when Python ends
        os.close(null)
        raise OutputClosedError


output = Console(highlight=False, markup=False)
errors = Console(highlight=False, markup=False, stderr=True)
app = cyclopts.App(
    name="trionetchan",
    help="Trio memory channels with a network in the middle.",
    version=lambda: version("trionetchan"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    console=output,
    error_console=errors,
)


def main() -> int:
    """Runs the command that the arguments name; returns the exit status."""
    # What the library warns of, workers that are gone and jobs left behind at an interrupt, is said here or meant.
    logging.getLogger("trionetchan").setLevel(logging.ERROR)
    status: int | None
    try:
        status = app()
    except* OutputClosedError:
        status = OUTPUT_CLOSED
    return status or 0


@app.command
def demo(
    directory: Path | None = None,
    /,
    *,
    workers: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = os.cpu_count() or 1,
    engine: str | None = None,
) -> int:
    """Count the words of text files with worker processes, over TCP or on an engine.

    One process deals pieces of the files to the workers and adds up what they send back; then it counts again by itself
    and compares. Kill a worker while it runs: the count is still right.

    Parameters
    ----------
    directory
        Where the text files are; the standard library of the running Python unless given.
    workers
        How many worker processes.
    engine
        The URL of a Redis server, such as redis://localhost, where jobs and results wait; without it they go over TCP.
    """
    return trio.run(_until_signal, lambda: _demo_command(directory, workers, engine))


@app.command(name="demo-worker", show=False)
def demo_worker(place: str, namespace: str = "", /) -> int:
    """Run one worker of a demo that is served at this port of the loopback interface, or on this engine."""
    return trio.run(_until_signal, lambda: _demo_worker_command(place, namespace))


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


async def _demo_command(directory: Path | None, workers: int, engine: str | None) -> int:
    outcome = await _run_and_show(directory, workers, engine)
    if isinstance(outcome, demo_.DemoError):
        return _failed(str(outcome))
    output.print(_table(outcome))
    if outcome.difference is not None:
        return _failed(outcome.difference)
    output.print(f"one process counts the same, in {outcome.seconds_alone:.1f} s", soft_wrap=True)
    return 0


async def _run_and_show(directory: Path | None, workers: int, engine: str | None) -> demo_.Outcome | demo_.DemoError:
    outcome: demo_.Outcome | demo_.DemoError
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        _Done(),
        rich.progress.TimeElapsedColumn(),
    )
    # Refreshed by a task, not by a thread: an error in a thread, such as closed output, would not reach us.
    with rich.progress.Progress(*columns, console=output, auto_refresh=False) as progress:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refresh, progress)
            try:
                outcome = await demo_.run(directory, workers, _Display(progress), engine)
            except demo_.DemoError as error:
                outcome = error
            nursery.cancel_scope.cancel()
    return outcome


async def _refresh(progress: rich.progress.Progress) -> None:
    while True:
        progress.refresh()
        await trio.sleep(REFRESH)


async def _demo_worker_command(place: str, namespace: str) -> int:
    try:
        await demo_.run_worker(place, namespace)
    except ConnectionLostError:
        return 1  # the demo is over; if it is not, it says that this worker is gone
    except (NetchanError, OSError) as error:
        return _failed(str(error))
    return 0


def _failed(why: str) -> int:
    errors.print(f"trionetchan: {why}", soft_wrap=True)
    return 1


class _Done(rich.progress.ProgressColumn):
    """How much is done: bytes of text, or files where nobody knows how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = rich.progress.DownloadColumn()

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        if task.total is None:
            return rich.text.Text(f"{int(task.completed):,} files")
        return self._bytes.render(task)


class _Display:
    """Shows what the demo does: a progress bar for each stretch of work, and lines above it."""

    def __init__(self, progress: rich.progress.Progress) -> None:
        self._progress = progress
        self._task: rich.progress.TaskID | None = None

    def say(self, text: str) -> None:
        self._progress.console.print(text, soft_wrap=True)

    def begin(self, what: str, total: int | None) -> None:
        if self._task is not None and self._progress.tasks[self._task].total is None:
            self._progress.update(self._task, visible=False)  # its line says what it found
        self._task = self._progress.add_task(what, total=total)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)


def _table(outcome: demo_.Outcome) -> rich.table.Table:
    count = outcome.count
    table = rich.table.Table("worker", title=f"{count.words.total():,} words in {outcome.files:,} files")
    for heading in ("files", "words", "jobs", "MB/s"):
        table.add_column(heading, justify="right")

    def row(name: str, files: int, words: int, jobs: int, size: int, *, last: bool = False) -> None:
        rate = size / count.seconds / 1e6 if count.seconds else 0.0
        table.add_row(name, f"{files:,}", f"{words:,}", f"{jobs:,}", f"{rate:,.0f}", end_section=last)

    shares = sorted(count.shares.items())
    for worker, share in shares:
        row(str(worker), len(share.files), share.words, share.jobs, share.size, last=worker == shares[-1][0])
    jobs = sum(share.jobs for share in count.shares.values())
    size = sum(share.size for share in count.shares.values())
    row(f"all, in {count.seconds:.1f} s", outcome.files, count.words.total(), jobs, size)
    return table
