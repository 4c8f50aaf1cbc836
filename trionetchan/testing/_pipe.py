"""One direction of a line, and what can happen to it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import attrs
import trio

__all__ = ["How", "Pipe"]

How = Literal["reset", "end"]
"""How a line is cut; see `Line.cut`."""


@attrs.frozen
class _Planned:
    """What happens when so many bytes have been carried."""

    after: int
    act: Callable[[], None]


@attrs.define(eq=False)
class Pipe:
    """Bytes on their way from a writer to a reader. A cut or an end also ends a stall."""

    capacity: float
    slice_size: int | None
    delay: float
    carried: int = 0
    """How many bytes it has taken from its writer."""
    back: Pipe | None = None
    """The other direction: by it a writer learns that its reader has closed."""
    stalled: bool = False
    broken: How | None = None
    _ended: bool = False  # for the reader; the writer is not told
    _finished: bool = False  # its writer will say no more
    _deaf: bool = False  # its reader has closed
    _unread: deque[tuple[float, memoryview]] = attrs.field(factory=deque[tuple[float, memoryview]])  # when it arrives
    _unread_bytes: int = 0
    _planned: list[_Planned] = attrs.field(factory=list[_Planned])
    _change: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    # What happens to it

    def plan(self, after: int, act: Callable[[], None]) -> None:
        """Has `act` called when so many bytes have been carried: now, or in the middle of a `send`."""
        if after < 0:
            raise ValueError(f"expected a number of bytes, got {after}")
        self._planned.append(_Planned(after, act))
        self._act()

    def _act(self) -> None:
        due = [planned for planned in self._planned if planned.after <= self.carried]
        self._planned = [planned for planned in self._planned if planned.after > self.carried]
        for planned in due:
            planned.act()

    def stall(self) -> None:
        self.stalled = self.broken is None and not self._ended
        self.changed()

    def go_on(self) -> None:
        self.stalled = False
        self.changed()
        if self.back is not None:
            self.back.changed()  # the news that its reader has closed comes through now

    def end(self) -> None:
        self._ended = True
        self.go_on()

    def break_(self, how: How, *, keep: bool) -> None:
        """Of a line that was cut. What is on its way can still be read if it is to be kept."""
        self.broken = how
        if not keep:
            self._forget()
        self.go_on()

    def _forget(self) -> None:
        self._unread_bytes = 0
        self._unread.clear()

    def changed(self) -> None:
        """Wakes who waits."""
        self._change.unpark_all()

    # Its writer

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data).cast("B")
        self._check_writer()
        if self.broken is not None:
            raise trio.BrokenResourceError("the line was cut")
        while rest and not self._ended and self.broken is None:
            room = self._room(len(rest))
            if room > 0:
                self._put(bytes(rest[:room]))
                rest = rest[room:]
            else:
                await self._change.park()
                self._check_writer()
        self._check_reset()

    def _check_reset(self) -> None:
        if self.broken == "reset":
            raise trio.BrokenResourceError("the line was cut")

    def _room(self, wanted: int) -> int:
        planned = min((planned.after for planned in self._planned), default=math.inf)
        return int(min(self.capacity - self._unread_bytes, planned - self.carried, wanted))

    def _put(self, data: bytes) -> None:
        self._unread.append((trio.current_time() + self.delay, memoryview(data)))
        self._unread_bytes += len(data)
        self.carried += len(data)
        self.changed()
        self._act()

    def _check_writer(self) -> None:
        if self._finished:
            raise trio.ClosedResourceError("the stream is closed")
        if self._deaf and not (self.back is not None and self.back.stalled):
            raise trio.BrokenResourceError("the other side has closed the line")

    async def wait_room(self) -> None:
        while not (self._finished or self._deaf or self._ended or self.broken) and self._room(1) < 1:
            await self._change.park()
        if self._finished:
            raise trio.ClosedResourceError("the stream is closed")

    def finish(self) -> None:
        """The writer will say no more."""
        self._finished = True
        self.changed()

    # Its reader

    async def receive(self, max_bytes: int | None) -> bytes:
        while not self._deaf:
            arrives = self._unread[0][0] if self._unread else math.inf
            if not self.stalled and arrives <= trio.current_time():
                return self._take(max_bytes)
            if not self.stalled and not self._unread:
                self._check_reset()
                if self.broken == "end" or self._ended or self._finished:
                    return b""
            with trio.move_on_at(math.inf if self.stalled else arrives):
                await self._change.park()
        raise trio.ClosedResourceError("the stream is closed")

    def _take(self, max_bytes: int | None) -> bytes:
        """What has arrived, as much as may be taken at once."""
        size = min(max_bytes or self._unread_bytes, self.slice_size or self._unread_bytes)
        taken = bytearray()
        while len(taken) < size and self._unread and self._unread[0][0] <= trio.current_time():
            arrived, data = self._unread.popleft()
            wanted = size - len(taken)
            taken += data[:wanted]
            if len(data) > wanted:
                self._unread.appendleft((arrived, data[wanted:]))
        self._unread_bytes -= len(taken)
        self.changed()
        return bytes(taken)

    def deafen(self) -> None:
        """The reader has closed."""
        self._deaf = True
        self._forget()
        self.changed()

    @property
    def deaf(self) -> bool:
        return self._deaf
