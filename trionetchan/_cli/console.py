"""Where the command line writes, how it ends, and how an interrupt ends it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import rich.console
import trio

from .show import escaped

__all__ = [
    "FAILED",
    "NOT_THERE",
    "OUTPUT_CLOSED",
    "WRONG_INPUT",
    "Console",
    "Failure",
    "OutputClosedError",
    "errors",
    "failed",
    "json_line",
    "output",
    "print_json",
    "print_line",
    "until_signal",
    "write_line",
]

FAILED = 1
WRONG_INPUT = 2
NOT_THERE = 3
OUTPUT_CLOSED = 128 + 13  # the status of a program that SIGPIPE has ended


class OutputClosedError(Exception):
    """Nobody reads what is written, such as `head` that has seen enough: time to end, and nobody to tell why."""


class Failure(Exception):
    """A command cannot go on: one line for the user, and the exit status."""

    def __init__(self, why: str, status: int = FAILED) -> None:
        super().__init__(why)
        self.status = status


class Console(rich.console.Console):
    """A console that tells when its output is closed, instead of ending the process wherever it is."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        _throw_away(self.file.fileno())
        raise OutputClosedError


output = Console(highlight=False, markup=False, emoji=False)
errors = Console(highlight=False, markup=False, emoji=False, stderr=True)


def _throw_away(descriptor: int) -> None:
    """Sends what is still in the file's buffer, and goes out when Python ends, nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def print_line(line: str) -> None:
    """Writes a line as it is, and at once: who reads it may wait for it."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _throw_away(sys.stdout.fileno())
        raise OutputClosedError from None


async def write_line(line: str) -> None:
    """The same for what may have to wait until somebody reads it: meanwhile the program goes on.

    A thread that writes cannot be interrupted, and must not hold Python's lock on the standard output.
    """
    data = f"{line}\n".encode()
    try:
        while data:
            written = await trio.to_thread.run_sync(os.write, sys.stdout.fileno(), data, abandon_on_cancel=True)
            data = data[written:]
    except BrokenPipeError:
        raise OutputClosedError from None


def print_json(data: Any) -> None:
    """Writes one line of JSON."""
    print_line(json_line(data))


def json_line(data: Any) -> str:
    """JSON in which all that is not printable is escaped."""
    return escaped(json.dumps(data, ensure_ascii=False))


def failed(why: str, status: int = FAILED) -> int:
    """Says in one line why it cannot go on; returns the exit status."""
    errors.print(f"trionetchan: {' '.join(escaped(line) for line in why.splitlines())}", soft_wrap=True)
    return status


async def until_signal(command: Callable[[], Awaitable[int]]) -> int:
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
