"""A connection in memory, which breaks, stalls and cuts bytes into pieces as a test wants."""

from __future__ import annotations

import operator
from collections.abc import Callable

import trio

from ._pipe import How, Pipe

__all__ = ["How", "Line", "Way"]

DEFAULT_CAPACITY = 64 * 2**10  # bytes, about what a socket takes


class Way:
    """One direction of a `Line`. A cut or an end also ends a stall."""

    def __init__(self, pipe: Pipe, cut_line: Callable[[How, Pipe], None]) -> None:
        self._pipe = pipe
        self._cut_line = cut_line

    @property
    def carried(self) -> int:
        """How many bytes have been sent in this direction until it was cut or ended, read or not."""
        return self._pipe.carried

    @property
    def slice_size(self) -> int | None:
        """At most so many bytes are received at once; None: all that are there. May be changed at any time."""
        return self._pipe.slice_size

    @slice_size.setter
    def slice_size(self, size: int | None) -> None:
        check_size("slice_size", 1 if size is None else size)
        self._pipe.slice_size = size

    @property
    def delay(self) -> float:
        """How many seconds bytes are on their way, those that are sent from now on. May be changed at any time."""
        return self._pipe.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        check_delay(seconds)
        self._pipe.delay = seconds

    def cut(self, how: How = "reset", *, after: int) -> None:
        """Cuts the whole line when this direction has carried so many bytes in all; at once, if it has.

        Exactly so many can be read in this direction, and then comes an error, or the end. Else as `Line.cut`.
        """
        self._pipe.plan(after, lambda: self._cut_line(how, self._pipe))

    def end(self, *, after: int = 0) -> None:
        """Ends this direction only, when it has carried so many bytes in all; at once, if it has.

        Its reader reads them, and then the end of the stream. Its writer is not told: what it sends is lost.
        """
        self._pipe.plan(after, self._pipe.end)

    def stall(self, *, after: int = 0) -> None:
        """When it has carried so many bytes in all (at once, if it has), nothing arrives any more, not even the end.

        `send_all` waits when `capacity` bytes are on their way. Nothing is lost: `go_on` lets everything through.
        """
        self._pipe.plan(after, self._pipe.stall)

    def go_on(self) -> None:
        """Ends a stall."""
        self._pipe.go_on()


class Line:
    """A connection in memory: two streams, `importer_end` and `exporter_end`, and what happens between them.

    `capacity`: so many bytes in each direction may be unread before `send_all` waits; `slice_size`: at most so many
    are received at once; `delay`: so many seconds they are on their way. Each direction can be changed by itself:

        line = Line(slice_size=1)
        line.to_exporter.stall(after=1000)  # bytes
        line.to_importer.delay = 0.1  # seconds
    """

    def __init__(self, *, capacity: float = DEFAULT_CAPACITY, slice_size: int | None = None, delay: float = 0) -> None:
        check_size("capacity", capacity)
        up, down = [Pipe(capacity, None, 0) for _ in range(2)]
        up.back, down.back = down, up
        self._pipes = (up, down)
        self._is_cut = False
        self.to_exporter = Way(up, self._break)
        """The direction from the importer to the exporter."""
        self.to_importer = Way(down, self._break)
        """The direction from the exporter to the importer."""
        for way in (self.to_exporter, self.to_importer):
            way.slice_size, way.delay = slice_size, delay
        self.importer_end: trio.abc.HalfCloseableStream = _End("importer", up, down)
        self.exporter_end: trio.abc.HalfCloseableStream = _End("exporter", down, up)

    @property
    def is_cut(self) -> bool:
        """Whether it was cut, as a whole."""
        return self._is_cut

    @property
    def is_closed(self) -> bool:
        """Whether the importer has closed its end."""
        return self._pipes[1].deaf

    def cut(self, how: How = "reset") -> None:
        """Cuts the line; at most once. It also ends a stall.

        "reset": what is on its way is lost, and both sides get `BrokenResourceError`. "end": both sides read what was
        sent, and then the end of the stream; a `send_all` that waits returns, though its rest is lost, and later ones
        raise `BrokenResourceError`.
        """
        self._break(how, None)

    def stall(self) -> None:
        """Nothing arrives in either direction, not even the news that an end was closed; see `Way.stall`."""
        for pipe in self._pipes:
            pipe.stall()

    def go_on(self) -> None:
        """Ends a stall of both directions."""
        for pipe in self._pipes:
            pipe.go_on()

    def _break(self, how: How, planned: Pipe | None) -> None:
        if self._is_cut:
            return
        self._is_cut = True
        for pipe in self._pipes:
            pipe.break_(how, keep=how == "end" or pipe is planned)


def check_size(name: str, size: float) -> None:
    """`ValueError` for less than a byte."""
    if not size >= 1:
        raise ValueError(f"{name}: expected at least 1 byte, got {size!r}")


def check_delay(seconds: float) -> None:
    """`ValueError` for less than nothing."""
    if not seconds >= 0:
        raise ValueError(f"delay: expected at least 0 seconds, got {seconds!r}")


class _OneAtATime:
    """Raises `BusyResourceError` for a second task."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(f"expected one task that {self._what}, got two")
        self._busy = True

    def __exit__(self, *_: object) -> None:
        self._busy = False


class _End(trio.abc.HalfCloseableStream):
    """One end of a line."""

    def __init__(self, whose: str, outward: Pipe, inward: Pipe) -> None:
        self._whose = whose
        self._outward = outward
        self._inward = inward
        self._sending = _OneAtATime("sends")
        self._receiving = _OneAtATime("receives")

    def __repr__(self) -> str:
        return f"<the {self._whose}'s end of a line in memory>"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self._outward.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self._outward.wait_room()

    async def send_eof(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._outward.finish()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"expected a maximum of at least 1 byte, got {max_bytes}")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            return await self._inward.receive(max_bytes)

    async def aclose(self) -> None:
        self._outward.finish()
        self._inward.deafen()
        await trio.lowlevel.checkpoint()
