"""One connection of a hostile peer, which comes again when it is dropped; and the tally of all of them."""

from __future__ import annotations

import itertools
import struct
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import cbor2
import trio

from .words import GOODBYE, MAGIC

__all__ = ["Dropped", "Line", "NoConnectionError", "Tally", "Target", "cut"]

HOST = "127.0.0.1"
READ_SIZE = 2**18
MOST_WORDS = 100  # different goodbyes that are kept
PAUSE = 0.02  # seconds, when a connection cannot be had


class NoConnectionError(Exception):
    """The exporter, or the system, gives no connection now."""


class Dropped(Exception):
    """The exporter has ended the connection."""


@attrs.define
class Tally:
    """What became of the connections of an attack."""

    connections: int = 0
    failed: int = 0
    """How many connections could not be had."""
    drops: int = 0
    first_drop: float | None = None
    """How long, in seconds, the connection lasted that was dropped first."""
    longest: float = 0.0
    """How long the connection lasted that lasted longest, dropped or not."""
    sent: int = 0
    """Bytes."""
    words: Counter[str] = attrs.field(factory=Counter[str])
    """What goodbyes said."""
    began: dict[int, float] = attrs.field(factory=dict[int, float])
    """Those that are open."""

    def begin(self) -> int:
        self.connections += 1
        self.began[self.connections] = trio.current_time()
        return self.connections

    def end(self, number: int, *, dropped: bool) -> None:
        lasted = trio.current_time() - self.began.pop(number)
        self.longest = max(self.longest, lasted)
        if dropped:
            self.drops += 1
            self.first_drop = lasted if self.first_drop is None else self.first_drop

    def hear(self, tail: bytes) -> None:
        """Looks for a goodbye at the end of what the exporter has said."""
        place = tail.rfind(bytes([0x83, GOODBYE]))
        if place < 0:
            return
        try:
            words = str(cbor2.loads(tail[place:])[2])
        except (ValueError, IndexError, cbor2.CBORError):
            return
        if words in self.words or len(self.words) < MOST_WORDS:
            self.words[words] += 1


class Line:
    """A connection. What is sent raises `BrokenResourceError`, and what waits for the exporter `Dropped`, when it has
    ended."""

    def __init__(self, stream: trio.abc.Stream, tally: Tally) -> None:
        self.stream = stream
        self.tally = tally
        self._frames: deque[list[Any]] = deque()
        self._rest = b""
        self._tail = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)
        self.tally.sent += len(data)

    async def read(self, size: int = READ_SIZE) -> bytes:
        """What comes next; `Dropped` at the end."""
        chunk = bytes(await self.stream.receive_some(size))
        if not chunk:
            self.tally.hear(self._tail)
            raise Dropped
        self._tail = (self._tail + chunk[-4096:])[-4096:]
        return chunk

    async def hear(self, *kinds: int) -> list[Any]:
        """The next frame of one of these kinds."""
        while True:
            while not self._frames:
                self._cut(self._rest + await self.read())
            found = self._frames.popleft()
            if found[0] in kinds:
                return found

    async def hold(self) -> None:
        """Reads until the connection is dropped."""
        while True:
            await self.read()

    async def flood(self, block: bytes) -> None:
        """Says the same until the connection breaks, whatever the exporter says to it; this is read, and let go."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.drain)
            while True:
                await self.say(block)

    async def drain(self) -> None:
        """Reads what there is; its end changes nothing."""
        with suppress(Dropped, trio.BrokenResourceError):
            await self.hold()

    async def shout(self, block: bytes, pause: float = 0.2) -> None:
        """Reads nothing, and says something now and then, until the connection breaks."""
        while True:
            await self.say(block)
            await trio.sleep(pause)

    def _cut(self, data: bytes) -> None:
        position = len(MAGIC) if data.startswith(MAGIC) else 0
        while len(data) > position:
            information = data[position] & 31
            more = 0 if information < 24 else 1 << (information - 24)
            start = position + 1 + more
            size = int.from_bytes(data[position + 1 : start], "big") if more else information
            if len(data) < start + size:
                break
            self._frames.append(cbor2.loads(data[start : start + size]))
            position = start + size
        self._rest = data[position:]


@attrs.define
class Target:
    """Where the exporter is, and what the attack has found out about it."""

    tcp: int
    tls: int
    websocket: int
    tally: Tally = attrs.field(factory=Tally)
    learned: int | None = None
    """A number that one connection found out for the next."""
    numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    @asynccontextmanager
    async def connect(self, port: int | None = None) -> AsyncGenerator[Line]:
        """A connection. Its end by the exporter ends the block."""
        try:
            stream = await trio.open_tcp_stream(HOST, port or self.tcp)
        except OSError:
            self.tally.failed += 1
            await trio.sleep(PAUSE)
            raise NoConnectionError from None
        number, dropped = self.tally.begin(), False
        try:
            yield Line(stream, self.tally)
        except* (Dropped, trio.BrokenResourceError):
            dropped = True
        finally:
            self.tally.end(number, dropped=dropped)
            await trio.aclose_forcefully(stream)


def cut(stream: trio.SocketStream) -> None:
    """Ends a connection with a reset."""
    linger = struct.pack("ii", 1, 0)
    stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
    stream.socket.close()
