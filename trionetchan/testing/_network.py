"""A network in memory, between importers and one exporter at a time, that fails as a test wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from trionetchan import Exporter

from ._line import DEFAULT_CAPACITY, How, Line

__all__ = ["Network", "open_network", "quiet_tasks"]


@asynccontextmanager
async def quiet_tasks() -> AsyncGenerator[trio.Nursery]:
    """A nursery of tasks that raise nothing: what leaves the block stays as it is, and is not put into a group."""
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                failure = error
    finally:
        if failure is not None:
            raise failure


def open_network(
    exporter: Exporter | None = None,
    *,
    capacity: float = DEFAULT_CAPACITY,
    slice_size: int | None = None,
    delay: float = 0,
) -> AbstractAsyncContextManager[Network]:
    """A network whose lines lead to `exporter`; use it with `async with`.

    Give its `connect` to `open_importer`. `capacity`, `slice_size` and `delay` are those of its lines (see `Line`):
    bytes, bytes and seconds. Leaving the block cuts the lines that importers still use; so the importers' blocks go
    into it, and so does best the exporter's::

        async with open_network() as network, open_exporter() as exporter:
            network.exporter = exporter
            exporter.open_send_channel("numbers", int)
            async with open_importer(network.connect) as importer:
                numbers = await importer.open_receive_channel("numbers", int)
                network.cut()  # the importer connects again, and all goes on
    """

    def new_line() -> Line:
        return Line(capacity=capacity, slice_size=slice_size, delay=delay)

    @asynccontextmanager
    async def block() -> AsyncGenerator[Network]:
        new_line()  # for its checks
        async with quiet_tasks() as nursery:
            network = Network(nursery, exporter, new_line)
            try:
                yield network
            finally:
                network.go_down(None)
                for line in network.lines:
                    if line.is_closed:
                        line.go_on()  # what was said last arrives
                    else:
                        line.cut()

    return block()


class Network:
    """Opens lines to one exporter at a time. Made by `open_network`."""

    def __init__(self, nursery: trio.Nursery, exporter: Exporter | None, new_line: Callable[[], Line]) -> None:
        self.exporter = exporter
        """Who is at the other end of the lines to come. With None, or one whose block is left, nobody listens."""
        self.lines: list[Line] = []
        """Those there have been, in the order in which they were opened."""
        self.on_connect: Callable[[Line], None] | None = None
        """Called with each new line before a byte goes over it: here a test says where it will be cut."""
        self.attempts = 0
        """How often an importer has tried to connect."""
        self._nursery = nursery
        self._new_line = new_line
        self._down = False
        self._stalled = False
        self._going_on = trio.Event()

    async def connect(self) -> trio.abc.Stream:
        """Opens a line, and returns the importer's end: for `open_importer(network.connect)`.

        `ConnectionRefusedError` while the network is down or nobody listens; while it is stalled, it waits.
        """
        self.attempts += 1
        await trio.lowlevel.checkpoint()
        while self._stalled:
            await self._going_on.wait()
        if self._down or self.exporter is None:
            raise ConnectionRefusedError("the network is down" if self._down else "no exporter listens here")
        line = self._new_line()
        self.lines.append(line)
        self._nursery.start_soon(self._serve, self.exporter, line)
        if self.on_connect is not None:
            self.on_connect(line)
        return line.importer_end

    async def _serve(self, exporter: Exporter, line: Line) -> None:
        try:
            await exporter.serve_stream(line.exporter_end)
        except trio.ClosedResourceError:  # its block is left
            await line.exporter_end.aclose()

    def cut(self, how: How = "reset") -> None:
        """Cuts the lines there are, as `Line.cut` does. New ones can be opened at once."""
        for line in self.lines:
            line.cut(how)

    def stall(self) -> None:
        """Nothing arrives any more, on no line, as `Line.stall` says; new connections wait to be opened."""
        if not self._stalled:
            self._stalled = True
            self._going_on = trio.Event()
        for line in self.lines:
            line.stall()

    def go_on(self) -> None:
        """Ends a stall."""
        self._stalled = False
        self._going_on.set()
        for line in self.lines:
            line.go_on()

    def go_down(self, how: How | None = "reset") -> None:
        """Refuses new connections, and cuts the lines there are, unless `how` is None."""
        self._down = True
        if how is not None:
            self.cut(how)

    def come_up(self) -> None:
        """Accepts new connections again."""
        self._down = False
