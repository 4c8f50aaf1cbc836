"""The command line: arguments in, output out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
import rich.progress
import rich.table
import rich.text
import trio

from .._errors import ConnectionLostError, NetchanError
from . import demo as demo_
from . import moving, watching
from .certificates import Certificates
from .connecting import Options
from .console import (
    OUTPUT_CLOSED,
    WRONG_INPUT,
    Failure,
    OutputClosedError,
    errors,
    failed,
    output,
    print_line,
    until_signal,
)

__all__ = ["main"]

REFRESH = 0.1  # seconds
HELP = """Trio memory channels with a network in the middle.

An ADDRESS is HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/. What list, top and inspect show, an exporter
tells if its program has opened it with `open_exporter(observable=True)`; tail and put need that to know the types of
values.

Exit status: 0, done. 1, the exporter cannot be reached, was lost, or refused a value. 2, wrong arguments, or a line of
input that does not fit. 3, the exporter has no such channel, or not in this direction, or does not let itself be
observed. 130 and 143, interrupted. 141, nobody reads the output. Errors are one line on the standard error.
"""

Seconds = Annotated[float, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=0.1))]

app = cyclopts.App(
    name="trionetchan",
    help=HELP,
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
        status = app(sys.argv[1:], exit_on_error=False, print_error=False)
    except* OutputClosedError:
        status = OUTPUT_CLOSED
    except* cyclopts.CycloptsError as group:
        status = failed(f"{group.exceptions[0]} See --help.", WRONG_INPUT)
    return status or 0


def _run(command: Callable[[], Awaitable[int]]) -> int:
    """Runs a command; what keeps it from going on is said in one line."""

    async def guarded() -> int:
        try:
            return await command()
        except Failure as failure:
            return failed(str(failure), failure.status)

    return trio.run(until_signal, guarded)


@app.command(name="list")
def list_(
    address: str,
    /,
    *,
    watch: Annotated[bool, cyclopts.Parameter(negative="", show_default=False)] = False,
    interval: Seconds = 1.0,
    options: Options = Options(),  # noqa: B008
) -> int:
    """List the channels of an exporter: what it exports, of which type, who has it, and what waits.

    Of each channel: whether the exporter sends or receives; how many importers have it; how many values went over it,
    wait at the exporter, are unacknowledged with importers, came back, and were dropped; its type. It takes no values.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    watch
        Go on, with what happens in a second, until interrupted.
    interval
        Seconds between two looks.
    """
    return _run(lambda: watching.list_channels(address, options, watch, interval))


@app.command
def top(address: str, /, *, interval: Seconds = 1.0, options: Options = Options()) -> int:  # noqa: B008
    """Watch an exporter: the whole of it, and its busiest channels first, until Ctrl-C. It takes no values.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    interval
        Seconds between two looks.
    """
    return _run(lambda: watching.top(address, options, interval))


@app.command
def inspect(address: str, name: str, /, *, options: Options = Options()) -> int:  # noqa: B008
    """Show one channel: its type as a tree, windows, counts, what waits and for whom. It takes no values.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    name
        The channel's name.
    """
    return _run(lambda: watching.inspect_channel(address, name, options))


@app.command
def tail(
    address: str,
    name: str,
    /,
    *,
    count: Annotated[int | None, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=0))] = None,
    take: Annotated[bool, cyclopts.Parameter(negative="", show_default=False)] = False,
    options: Options = Options(),  # noqa: B008
) -> int:
    """Take values out of a channel and write each as a line of JSON.

    A value has one receiver: what is taken here, nobody else gets. So say how many, with --count, or --take for all
    that come. A value is acknowledged when its line is written; what was not written when this ends goes to others. It
    ends when the exporter's program closes the channel.

    Bytes are base64, dates ISO 8601, timedeltas "PT1.5S", Decimals and UUIDs text, sets and tuples arrays. Where that
    is not clear the kind is written with the value: {"$bytes": "AAE="}. `put` reads what `tail` writes.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    name
        The channel's name.
    count
        Take so many values, then end.
    take
        Take all values that come.
    """
    if count is None and not take:
        why = "tail takes values, which nobody else gets then: say how many with --count N, or --take for all"
        return failed(why, WRONG_INPUT)
    return _run(lambda: moving.tail(address, name, options, count))


@app.command
def put(
    address: str,
    name: str,
    /,
    *,
    finish: Annotated[bool, cyclopts.Parameter(negative="", show_default=False)] = False,
    options: Options = Options(),  # noqa: B008
) -> int:
    """Send each line of the standard input, a value in JSON, into a channel; end when all is acknowledged.

    Lines are as `tail` writes them, and checked against the channel's type; one that does not fit ends it, and those
    before it are sent. Empty lines are left out.

    A channel ends when as many importers have finished as its program expects (one, unless told otherwise). So this
    finishes it only if others are sending into it, too, or it is told to; else the exporter takes it for one that was
    lost, and waits for the next.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    name
        The channel's name.
    finish
        Tell the exporter that this was all, as a program does that closes its end.
    """
    return _run(lambda: moving.put(address, name, options, finish=finish))


@app.command
def ping(
    address: str,
    /,
    *,
    count: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = 3,
    interval: Seconds = 1.0,
    options: Options = Options(),  # noqa: B008
) -> int:
    """Connect to an exporter, and measure how long its answers take.

    Parameters
    ----------
    address
        HOST:PORT, unix:PATH, ws://HOST:PORT/ or wss://HOST:PORT/.
    count
        How many times.
    interval
        Seconds between them.
    """
    return _run(lambda: watching.ping(address, options, count, interval))


@app.command
def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Write a script that completes commands and options in a shell.

    bash: `trionetchan completion bash > ~/.local/share/bash-completion/completions/trionetchan`.
    zsh: to a file `_trionetchan` in a directory of `$fpath`.
    fish: `trionetchan completion fish > ~/.config/fish/completions/trionetchan.fish`.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    print_line(app.generate_completion(shell=shell).rstrip("\n"))
    return 0


@app.command
def demo(
    directory: Path | None = None,
    /,
    *,
    workers: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = os.cpu_count() or 1,
    tls: bool = False,
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
    tls
        Over mutual TLS: both sides show certificates, which are made for this run.
    engine
        The URL of a Redis server, such as redis://localhost, where jobs and results wait; without it they go over TCP.
    """
    if tls and engine is not None:
        return failed("--tls is for the demo over TCP; an engine has TLS by its URL, rediss://…", WRONG_INPUT)
    return trio.run(until_signal, lambda: _demo_command(directory, workers, tls, engine))


@app.command(name="demo-worker", show=False)
def demo_worker(place: str, namespace: str = "", /, *, tls: Path | None = None) -> int:
    """Run one worker of a demo that is served at this port of the loopback interface, or on this engine."""
    certificates = None if tls is None else Certificates(tls)
    return trio.run(until_signal, lambda: _demo_worker_command(place, namespace, certificates))


async def _demo_command(directory: Path | None, workers: int, tls: bool, engine: str | None) -> int:
    outcome = await _run_and_show(directory, workers, tls, engine)
    if isinstance(outcome, demo_.DemoError):
        return failed(str(outcome))
    output.print(_table(outcome))
    if outcome.difference is not None:
        return failed(outcome.difference)
    output.print(f"one process counts the same, in {outcome.seconds_alone:.1f} s", soft_wrap=True)
    return 0


async def _run_and_show(
    directory: Path | None, workers: int, tls: bool, engine: str | None
) -> demo_.Outcome | demo_.DemoError:
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
                outcome = await demo_.run(directory, workers, _Display(progress), tls=tls, engine=engine)
            except demo_.DemoError as error:
                outcome = error
            nursery.cancel_scope.cancel()
    return outcome


async def _refresh(progress: rich.progress.Progress) -> None:
    while True:
        progress.refresh()
        await trio.sleep(REFRESH)


async def _demo_worker_command(place: str, namespace: str, certificates: Certificates | None) -> int:
    try:
        await demo_.run_worker(place, namespace, certificates)
    except ConnectionLostError:
        return 1  # the demo is over; if it is not, it says that this worker is gone
    except (NetchanError, OSError) as error:
        return failed(str(error))
    return 0


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
