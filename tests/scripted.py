"""Peers that say exactly what a test has them say, frame by frame; and a scheduler whose order of tasks is chosen."""

from __future__ import annotations

import logging
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import cbor2
import pytest
import trio

from trionetchan._protocol.frames import MAGIC, VERSION, Accept, Data, Frame, FrameCutter, Hello, Import, encode

__all__ = ["INT", "Scripted", "Through", "data", "dropped_in_log", "seeded"]

F = TypeVar("F", bound=Frame)

INT = b"\x81\x81\x03"  # the schema of int


def data(channel: int, first: int, values: Sequence[object], *, more: bool = False) -> Data:
    """A batch of values in one frame."""
    return Data(channel, first, more, cbor2.dumps(list(values)))


def dropped_in_log(caplog: pytest.LogCaptureFixture) -> int:
    """How many values the log says are dropped."""
    count = 0
    for record in caplog.records:
        found = re.search(r"(\d+) values?\b", record.getMessage())
        if record.levelno >= logging.WARNING and "dropped" in record.getMessage() and found:
            count += int(found[1])
    return count


def seeded(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Makes trio's order of the tasks of one turn, which is random, the same in each run."""
    monkeypatch.setattr("trio._core._run._r", random.Random(seed))


class Scripted:
    """One side of a stream, which speaks the protocol as far as it is told to."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.heard: list[Frame] = []
        self._cutter = FrameCutter(2**30)
        self._next: deque[Frame] = deque()

    async def say(self, *frames: Frame) -> None:
        """Writes the frames, in one chunk."""
        await self.stream.send_all(b"".join(map(encode, frames)))

    async def greet(self, *frames: Frame, **parameters: int) -> None:
        """Says hello, and what follows it, in one chunk."""
        await self.stream.send_all(MAGIC + b"".join(map(encode, (Hello(VERSION, {**parameters}), *frames))))

    async def hear(self, kind: type[F]) -> F:
        """The next frame of this kind; all others before it are only kept in `heard`."""
        while True:
            while not self._next:
                chunk = await self.stream.receive_some()
                assert chunk, f"expected {kind.__name__}, got the end of the stream after {self.heard}"
                self._next += self._cutter.cut(bytes(chunk))
            frame = self._next.popleft()
            self.heard.append(frame)
            if isinstance(frame, kind):
                return frame

    async def hear_all(self) -> list[Frame]:
        """Reads to the end of the stream; returns all frames that were ever heard."""
        self.heard += self._next
        self._next.clear()
        try:
            while chunk := await self.stream.receive_some():
                self.heard += self._cutter.cut(bytes(chunk))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        return self.heard

    async def accept(self, *frames: Frame, window: int = 64, schema: bytes = INT) -> Import:
        """Waits for a request, as an exporter, and accepts it; `frames` follow in the same chunk."""
        request = await self.hear(Import)
        await self.say(Accept(request.channel, window, schema), *frames)
        return request

    async def bind(
        self, channel: int, name: str, *, receives: bool, window: int = 64, count: int | None = None
    ) -> None:
        """Asks, as an importer, for a name whose values are integers, and waits for the agreement."""
        await self.say(Import(channel, name, receives, window, count, INT))
        answer = await self.hear(Accept)
        assert answer.channel == channel


class Through(trio.abc.Stream):
    """A stream through another one. Each chunk that arrives is shown to `arriving` before it is handed on, and each
    that is to be sent to `leaving` before it is sent."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.arriving: Callable[[bytes], Awaitable[None]] | None = None
        self.leaving: Callable[[bytes], None] | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.leaving is not None:
            self.leaving(bytes(data))
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        chunk = await self.stream.receive_some(max_bytes)
        if self.arriving is not None:
            await self.arriving(bytes(chunk))
        return chunk

    async def aclose(self) -> None:
        await self.stream.aclose()
