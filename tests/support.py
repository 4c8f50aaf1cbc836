"""Helpers of the tests: an exporter and an importer with a stream between them, in memory or over TCP."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import trio
import trio.testing

from trionetchan import BoundListener, Exporter, Importer, Limits, open_exporter, open_importer, open_tcp_importer
from trionetchan.testing import open_pair

Medium = Literal["memory", "tcp"]
T = TypeVar("T")
PEERS = Path(__file__).with_name("peers")
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a child process gets of the environment variables found here: where programs and their libraries are."""


async def serve_tcp(nursery: trio.Nursery, exporter: Exporter, **options: Any) -> int:
    """Serves the exporter on a free port and returns the port."""
    listeners: list[BoundListener] = await nursery.start(functools.partial(exporter.serve_tcp, 0, **options))
    return listeners[0].port


def connect(
    nursery: trio.Nursery, exporter: Exporter, limits: Limits | None = None
) -> AbstractAsyncContextManager[Importer]:
    """An importer of `exporter` over a stream in memory."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(exporter.serve_stream, theirs)
    return open_importer(ours, limits=limits or Limits())


@asynccontextmanager
async def connected(
    nursery: trio.Nursery, medium: Medium = "memory", limits: Limits | None = None
) -> AsyncGenerator[tuple[Exporter, Importer]]:
    """An exporter and an importer that is connected to it. What leaves either block stays as it is (no group)."""
    if medium == "memory":
        async with open_pair(limits=limits or Limits()) as pair:
            yield pair
        return
    async with open_exporter(limits=limits or Limits()) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port, limits=limits or Limits()) as importer:
            yield exporter, importer


async def take(channel: trio.abc.ReceiveChannel[T], count: int) -> list[T]:
    """The next `count` values."""
    return [await channel.receive() for _ in range(count)]


async def take_all(channel: trio.abc.ReceiveChannel[T]) -> list[T]:
    """Every value up to the end."""
    return [value async for value in channel]


async def put(channel: trio.abc.SendChannel[T], values: Sequence[T]) -> None:
    """Sends the values and closes the end."""
    async with channel:
        for value in values:
            await channel.send(value)


async def until(condition: Callable[[], bool]) -> None:
    """Lets the other tasks run until the condition holds (only for what crosses a real socket and has no event)."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.001)


@contextmanager
def child_environment(**variables: object) -> Generator[dict[str, str]]:
    """The environment variables for the processes that a test starts, the same wherever it runs, and `variables`.

    Whichever of these processes, and of those that they start, still runs at the end of the block is ended then; also
    if there is no end of the block, since the test run was killed (see `peers/child/sitecustomize.py`).
    """
    with tempfile.NamedTemporaryFile(prefix="lifeline-") as lifeline:
        fcntl.flock(lifeline, fcntl.LOCK_EX)
        yield {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "LANG": "C.UTF-8",
            "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": str(PEERS / "child"),
            "TRIONETCHAN_LIFELINE": lifeline.name,
            **{name: str(value) for name, value in variables.items()},
        }


class Peer:
    """Another Python process, which runs one of the programs in `peers/`."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._text = b""

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        while b"\n" not in self._text:
            chunk = await self.process.stdout.receive_some()
            if not chunk:
                raise AssertionError(f"the peer ended, having printed {self._text!r}")
            self._text += chunk
        first, _, self._text = self._text.partition(b"\n")
        return first.decode()

    async def tell(self, text: str = "") -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(text.encode() + b"\n")


@asynccontextmanager
async def peer(program: str, *arguments: object, within: Sequence[str] = ()) -> AsyncGenerator[Peer]:
    """Runs `peers/<program>.py` in a process of its own; it is killed, if it still runs, at the end of the block.

    `within`: the beginning of the command, which runs the rest of it somewhere.
    """
    command = [*within, sys.executable, str(PEERS / f"{program}.py"), *map(str, arguments)]
    with child_environment() as env:
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        try:
            yield Peer(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()
