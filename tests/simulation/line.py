"""Connections that are bad in all the ways that connections are, as the seed says."""

from __future__ import annotations

import enum
import math
import operator
import random
from collections.abc import Callable

import attrs
import trio

__all__ = ["Fault", "Line", "Quality", "Way"]


class Fault(enum.Enum):
    """How a connection breaks."""

    RESET = "reset"
    """Both sides get an error; what was sent may have arrived, also where `send_all` has raised."""
    END = "end"
    """Both sides read what was sent, then an end; what they write from then on is lost."""
    STALL = "stall"
    """Nothing moves any more; writers wait once the line is full."""
    SWALLOW = "swallow"
    """What is written is thrown away; nothing arrives any more."""
    HALF = "half"
    """The exporter gets an error, the importer hears nothing more."""
    ONE_WAY = "one way"
    """What is written in one direction is thrown away; the other works."""


HEARD = (Fault.RESET, Fault.END)
"""Who is at an end that breaks so notices."""


class Way(enum.Enum):
    UP = "up"
    """From the importer to the exporter."""
    DOWN = "down"


@attrs.frozen(kw_only=True)
class Quality:
    """What a line does while it is whole."""

    capacity: float = math.inf
    """So many bytes may be unread before `send_all` waits."""
    slice_size: float = math.inf
    """At most so many bytes are read at a time."""
    delay: float = 0
    """Seconds that each read takes at most."""


class Line:
    """Two streams that are connected, `importer_end` and `exporter_end`."""

    def __init__(self, chance: random.Random, quality: Quality, on_bytes: Callable[[], None]) -> None:
        self.fault: Fault | None = None
        self.paused = False
        """Nothing moves, for a while."""
        self.chance = chance
        self.quality = quality
        self.on_bytes = on_bytes
        """Called when bytes can be read: the reader runs in the next turn, with whom this wakes."""
        self.on_break: Callable[[Fault], None] = lambda fault: None
        self._cut: tuple[Way, Fault] | None = None
        self._left = math.inf
        self._pipes = {way: _Pipe(self, way) for way in Way}
        self.importer_end = End(self._pipes[Way.UP], self._pipes[Way.DOWN])
        self.exporter_end = End(self._pipes[Way.DOWN], self._pipes[Way.UP])

    def cut_after(self, way: Way, count: int, fault: Fault) -> None:
        """It will break when so many more bytes have gone this way."""
        self._cut, self._left = (way, fault), count

    def left(self, way: Way) -> float:
        """How many bytes may still go this way. A line that is broken otherwise is not cut any more."""
        return self._left if self.fault is None and self._cut is not None and self._cut[0] is way else math.inf

    def went(self, way: Way, count: int) -> None:
        if self.fault is None and self._cut is not None and self._cut[0] is way:
            self._left -= count
            if self._left <= 0:
                self.harm(self._cut[1], way)

    def harm(self, fault: Fault, way: Way = Way.UP) -> None:
        """Breaks it, now. `way`: the direction that is broken, if only one is."""
        if self.fault in HEARD or (self.fault is not None and fault is not Fault.RESET):
            return
        self.fault = fault
        up, down = self._pipes[Way.UP], self._pipes[Way.DOWN]
        match fault:
            case Fault.HALF:
                up.writer, up.reader = Fault.SWALLOW, Fault.RESET
                down.writer, down.reader = Fault.RESET, Fault.STALL
            case Fault.ONE_WAY:
                self._pipes[way].writer, self._pipes[way].reader = Fault.SWALLOW, Fault.STALL
            case _:
                for pipe in (up, down):
                    pipe.writer = pipe.reader = fault
                    if fault is Fault.RESET and self.chance.random() < 0.5:
                        pipe.lose()
        for pipe in (up, down):
            pipe.changed()
        self.on_break(fault)

    def pause(self, paused: bool) -> None:
        self.paused = paused
        for pipe in self._pipes.values():
            pipe.changed()


class _Pipe:
    """One direction of a line."""

    def __init__(self, line: Line, way: Way) -> None:
        self._line = line
        self._way = way
        self.writer: Fault | None = None
        """How it broke for who writes."""
        self.reader: Fault | None = None
        self._unread = bytearray()
        self._ended = False  # the writer will say no more
        self._deaf = False  # the reader has closed
        self._change = trio.lowlevel.ParkingLot()

    def changed(self) -> None:
        self._change.unpark_all()

    def lose(self) -> None:
        self._unread.clear()

    def _check(self) -> None:
        if self._ended:
            raise trio.ClosedResourceError("the stream is closed")
        if self.writer in HEARD or (self._deaf and self.writer is None):
            raise trio.BrokenResourceError("the line is broken")

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        line, rest = self._line, memoryview(data)
        self._check()
        while rest:
            if self.writer is Fault.SWALLOW:
                return
            room = 0
            if not line.paused and self.writer is None:
                room = int(min(line.quality.capacity - len(self._unread), line.left(self._way), len(rest)))
            if room > 0:
                self._unread += rest[:room]
                rest = rest[room:]
                self.changed()
                line.on_bytes()
                line.went(self._way, room)
                if self.writer is Fault.END:
                    return  # the rest is lost, and nobody says so
            elif line.left(self._way) <= 0 and self.writer is None:
                line.went(self._way, 0)
            else:
                await self._change.park()
            self._check()

    async def wait_room(self) -> None:
        line = self._line
        while not (self._ended or (self._deaf and self.writer is None)) and len(self._unread) >= line.quality.capacity:
            if self.writer in (*HEARD, Fault.SWALLOW):
                break
            await self._change.park()
        if self._ended:
            raise trio.ClosedResourceError("the stream is closed")

    async def receive(self, max_bytes: int | None) -> bytes:
        line = self._line
        if line.quality.delay:
            await trio.sleep(line.chance.uniform(0, line.quality.delay))
        while not self._deaf:
            if self._unread and self.reader in (None, *HEARD) and (self.reader or not line.paused):
                size = min(max_bytes or math.inf, line.quality.slice_size, len(self._unread))
                size = line.chance.randint(1, int(size)) if size > 1 and line.quality.slice_size < math.inf else size
                chunk = bytes(self._unread[: int(size)])
                del self._unread[: len(chunk)]
                self.changed()
                return chunk
            if self.reader is Fault.RESET:
                raise trio.BrokenResourceError("the line is broken")
            if self.reader is Fault.END or (self._ended and self.reader is None and not line.paused):
                return b""
            await self._change.park()
        raise trio.ClosedResourceError("the stream is closed")

    def end(self) -> None:
        self._ended = True
        self.changed()

    def deafen(self) -> None:
        self._deaf = True
        self.changed()


class End(trio.abc.HalfCloseableStream):
    """One end of a `Line`. One task at a time may send, and one may receive."""

    def __init__(self, outward: _Pipe, inward: _Pipe) -> None:
        self._outward = outward
        self._inward = inward
        self._busy = trio.Lock(), trio.Lock()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        with _Alone(self._busy[0]):
            await self._outward.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        with _Alone(self._busy[0]):
            await self._outward.wait_room()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        with _Alone(self._busy[0]):
            self._outward.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"expected a maximum of at least 1 byte, got {max_bytes}")
        await trio.lowlevel.checkpoint()
        with _Alone(self._busy[1]):
            return await self._inward.receive(max_bytes)

    async def aclose(self) -> None:
        self._outward.end()
        self._inward.deafen()
        await trio.lowlevel.checkpoint()


class _Alone:
    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except (trio.WouldBlock, RuntimeError):
            raise trio.BusyResourceError("another task is at it") from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()
