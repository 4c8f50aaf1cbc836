"""Connections that break when a test wants them to: a TCP proxy, and streams in memory for trio's autojump clock.

Both carry bytes between an importer and an exporter, and both do to a connection what its `Plan` says: cut it, after a
number of bytes or when told to, slice what it carries, delay it, limit its rate. A seed decides where the plan leaves a
choice.
"""

from __future__ import annotations

import enum
import math
import operator
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from trionetchan import Exporter

__all__ = ["Fault", "Line", "Network", "Plan", "Proxy", "Way", "open_proxy"]

READ_SIZE = 64 * 2**10  # bytes
RATE_STEP = 0.02  # seconds for which one piece lasts where the rate is limited
STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


class Fault(enum.Enum):
    """How a connection breaks."""

    RESET = "reset"
    """Both sides get an error."""
    END = "end"
    """Both sides see an end of the stream; what they write from then on is lost."""
    STALL = "stall"
    """Nothing is read or forwarded any more, in either direction, and both connections stay open: writers block."""
    SWALLOW = "swallow"
    """The same, but what is written is read and thrown away: writers do not notice."""


class Way(enum.Enum):
    """The direction of bytes."""

    UP = "up"
    """From the importer to the exporter."""
    DOWN = "down"
    """From the exporter to the importer."""


@attrs.frozen(kw_only=True)
class Plan:
    """What happens to one connection. Without arguments: nothing."""

    fault: Fault | None = None
    """How it breaks, if it does: as soon as `after` bytes have been carried in the direction `way`."""
    way: Way = Way.UP
    after: int = 0
    """In bytes."""
    slice_size: int | None = None
    """Bytes are carried in pieces of 1 to `slice_size`; None carries them as they come."""
    delay: float = 0
    """Each piece is held for up to so many seconds."""
    rate: float = math.inf
    """At most so many bytes a second are carried in each direction. (A `Line` takes no notice of it.)"""

    def carries(self, way: Way) -> float:
        """After how many bytes of this direction the connection breaks."""
        return self.after if self.fault is not None and way is self.way else math.inf


def undisturbed(_number: int) -> Plan:
    """The plan of connections for which there is none."""
    return Plan()


# TCP


@asynccontextmanager
async def open_proxy(target: int, plan: Callable[[int], Plan] = undisturbed, *, seed: int = 0) -> AsyncGenerator[Proxy]:
    """A proxy on a free port of this machine, for the port `target`, until the block is left.

    `plan` is asked for each connection, with its number: 0, 1, …
    """
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = Proxy(listeners[0].socket.getsockname()[1], target, plan, random.Random(seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.carry, listeners)
        yield proxy
        nursery.cancel_scope.cancel()


class Proxy:
    """Carries each TCP connection to `port` on to another port. Made by `open_proxy`."""

    def __init__(self, port: int, target: int, plan: Callable[[int], Plan], chance: random.Random) -> None:
        self.port = port
        """Where it listens."""
        self.target = target
        """Where it connects to; may be changed, for the connections to come."""
        self.accepted = 0
        """How many connections there have been."""
        self._plan = plan
        self._chance = chance
        self._open: set[_Carried] = set()

    # Commands to the connections there are; those to come are asked for by their plan

    def harm(self, fault: Fault) -> None:
        """Breaks every connection."""
        for connection in self._open:
            connection.harm(fault)

    def carry_as(self, plan: Plan) -> None:
        """Carries on with the `slice_size`, the `delay` and the `rate` of this plan."""
        for connection in self._open:
            connection.carry_as(plan)

    def hold(self, *ways: Way) -> None:
        """Nothing goes on in these directions (none named: in both), and nothing is lost, until it is let go."""
        for connection in self._open:
            connection.hold(ways or tuple(Way))

    def let_go(self) -> None:
        """Everything goes on."""
        for connection in self._open:
            connection.let_go()

    async def carry(self, client: trio.SocketStream) -> None:
        """Carries one connection, as planned, until it has ended."""
        plan = self._plan(self.accepted)
        self.accepted += 1
        async with client:
            try:
                target = await trio.open_tcp_stream("127.0.0.1", self.target)
            except OSError:
                reset(client)
                return
            async with target:
                connection = _Carried(client, target, plan, random.Random(self._chance.random()))
                self._open.add(connection)
                try:
                    await connection.run()
                finally:
                    self._open.discard(connection)


class _Carried:
    """One connection through a `Proxy`: a client, and the target it is connected to."""

    def __init__(self, client: trio.SocketStream, target: trio.SocketStream, plan: Plan, chance: random.Random) -> None:
        self._client = client
        self._target = target
        self._plan = plan
        self._chance = chance
        self._fault: Fault | None = None
        self._forwarding = trio.CancelScope()
        self._held: tuple[Way, ...] = ()
        self._going_on = trio.Event()

    def harm(self, fault: Fault) -> None:
        if self._fault is None:
            self._fault = fault
            self._forwarding.cancel()

    def carry_as(self, plan: Plan) -> None:
        self._plan = attrs.evolve(self._plan, slice_size=plan.slice_size, delay=plan.delay, rate=plan.rate)

    def hold(self, ways: tuple[Way, ...]) -> None:
        self._held = ways

    def let_go(self) -> None:
        self._held = ()
        self._going_on.set()
        self._going_on = trio.Event()

    async def run(self) -> None:
        with self._forwarding:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forward, Way.UP, self._client, self._target)
                nursery.start_soon(self._forward, Way.DOWN, self._target, self._client)
        match self._fault:
            case Fault.RESET:
                reset(self._client)
                reset(self._target)
            case Fault.STALL:
                await trio.sleep_forever()
            case Fault.END | Fault.SWALLOW:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._swallow, self._client)
                    nursery.start_soon(self._swallow, self._target)
            case None:
                pass

    async def _forward(self, way: Way, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        left = self._plan.carries(way)
        try:
            while left:
                chunk = await source.receive_some(int(min(left, READ_SIZE)))
                if not chunk:
                    await sink.send_eof()
                    return
                await self._carry(way, chunk, sink)
                left -= len(chunk)
        except STREAM_ERRORS:  # what one side does to its connection happens to the other's
            self.harm(Fault.RESET)
        else:
            assert self._plan.fault is not None
            self.harm(self._plan.fault)

    async def _carry(self, way: Way, chunk: bytes | bytearray, sink: trio.SocketStream) -> None:
        start = 0
        while start < len(chunk):
            while way in self._held:
                await self._going_on.wait()
            plan = self._plan
            size = READ_SIZE if plan.slice_size is None else self._chance.randint(1, plan.slice_size)
            piece = chunk[start : start + int(max(1, min(size, plan.rate * RATE_STEP)))]
            if plan.delay:
                await trio.sleep(self._chance.uniform(0, plan.delay))
            await sink.send_all(piece)
            start += len(piece)
            if plan.rate < math.inf:  # else a fault that is due now comes before anything else happens
                await trio.sleep(len(piece) / plan.rate)

    async def _swallow(self, stream: trio.SocketStream) -> None:
        """Reads to the end: closing a socket while there is something to read would reset the connection."""
        with suppress(*STREAM_ERRORS):
            if self._fault is Fault.END:
                await stream.send_eof()
            async for _chunk in stream:
                pass


def reset(stream: trio.SocketStream) -> None:
    """Closes a TCP connection so that the other side gets an error, not an end."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


# In memory


class Line:
    """Two streams that are connected in memory, `importer_end` and `exporter_end`, and break as planned.

    Exactly `after` bytes can be read where a break was planned, and then an end, an error or nothing more. A reset
    breaks the `send_all` that is under way, though what it sent up to there, which may be all of it, is received; in
    the other direction, and in both where it was not planned, the seed decides whether what was sent and not yet read
    is lost. At an end the `send_all` that is under way returns, though the rest of its bytes is lost; later ones
    raise. `capacity`: so many bytes may be unread before `send_all` waits.
    """

    def __init__(self, plan: Plan | None = None, *, seed: int = 0, capacity: float = math.inf) -> None:
        self.fault: Fault | None = None
        """How it broke, if it did."""
        self.plan = plan or Plan()
        self._chance = random.Random(seed)
        self._pipes = {way: _Pipe(self, way, random.Random(self._chance.random()), capacity) for way in Way}
        self.importer_end = LineEnd(self._pipes[Way.UP], self._pipes[Way.DOWN])
        self.exporter_end = LineEnd(self._pipes[Way.DOWN], self._pipes[Way.UP])
        if self.plan.fault is not None and self.plan.after == 0:
            self.harm(self.plan.fault)

    def carried(self, way: Way) -> int:
        """How many bytes have been sent in this direction, and not been lost on the way."""
        return self._pipes[way].carried

    def harm(self, fault: Fault, planned: Way | None = None) -> None:
        """Breaks the line, now. What can be read of the direction `planned` stays as it is."""
        if self.fault is not None:
            return
        self.fault = fault
        for way, pipe in self._pipes.items():
            if fault is Fault.RESET and way is not planned and self._chance.random() < 0.5:
                pipe.lose()
            pipe.changed()


class _Pipe:
    """One direction of a line."""

    def __init__(self, line: Line, way: Way, chance: random.Random, capacity: float) -> None:
        self.carried = 0
        self._line = line
        self._way = way
        self._chance = chance
        self._capacity = capacity
        self._unread = bytearray()
        self._ended = False  # the writer will say no more
        self._deaf = False  # the reader has closed
        self._change = trio.lowlevel.ParkingLot()

    def changed(self) -> None:
        self._change.unpark_all()

    def lose(self) -> None:
        self.carried -= len(self._unread)
        self._unread.clear()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        plan = self._line.plan
        rest = memoryview(data)
        self._check_whole()
        while rest and self._line.fault is None:
            self._check_open()
            room = int(min(self._capacity - len(self._unread), plan.carries(self._way) - self.carried, len(rest)))
            if room > 0:
                self._unread += rest[:room]
                self.carried += room
                rest = rest[room:]
                self.changed()
            if self.carried >= plan.carries(self._way):
                assert plan.fault is not None
                self._line.harm(plan.fault, self._way)
            elif rest:
                await self._change.park()
        if self._line.fault is Fault.STALL:
            while not self._ended:
                await self._change.park()
            raise trio.ClosedResourceError("the stream was closed while it was written to")
        if self._line.fault is Fault.RESET:
            raise trio.BrokenResourceError("the line was reset")

    def _check_whole(self) -> None:
        if self._ended:
            raise trio.ClosedResourceError("the stream is closed")
        if self._line.fault is Fault.END:
            raise trio.BrokenResourceError("the line has ended")

    def _check_open(self) -> None:
        if self._ended:
            raise trio.ClosedResourceError("the stream was closed while it was written to")
        if self._deaf:
            raise trio.BrokenResourceError("the other side has closed the line")

    async def wait_room(self) -> None:
        while self._line.fault is None and not self._ended | self._deaf and len(self._unread) >= self._capacity:
            await self._change.park()
        if self._ended:
            raise trio.ClosedResourceError("the stream is closed")

    async def receive(self, max_bytes: int | None) -> bytes:
        plan = self._line.plan
        if plan.delay:
            await trio.sleep(self._chance.uniform(0, plan.delay))
        while not self._deaf:
            if self._unread:
                size = max_bytes or len(self._unread)
                if plan.slice_size is not None:
                    size = min(size, self._chance.randint(1, plan.slice_size))
                chunk = bytes(self._unread[:size])
                del self._unread[:size]
                self.changed()
                return chunk
            if self._line.fault is Fault.RESET:
                raise trio.BrokenResourceError("the line was reset")
            if self._line.fault is Fault.END or (self._line.fault is None and self._ended):
                return b""
            await self._change.park()
        raise trio.ClosedResourceError("the stream is closed")

    def end(self) -> None:
        self._ended = True
        self.changed()

    def deafen(self) -> None:
        self._deaf = True
        self.changed()


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


class LineEnd(trio.abc.HalfCloseableStream):
    """One end of a `Line`."""

    def __init__(self, outward: _Pipe, inward: _Pipe) -> None:
        self._outward = outward
        self._inward = inward
        self._sending = _OneAtATime("sends")
        self._receiving = _OneAtATime("receives")

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
            self._outward.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"expected a maximum of at least 1 byte, got {max_bytes}")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            return await self._inward.receive(max_bytes)

    async def aclose(self) -> None:
        self._outward.end()
        self._inward.deafen()
        await trio.lowlevel.checkpoint()


class Network:
    """Opens lines to one exporter: `connect` is for `open_importer`.

    While it is down, connecting waits; or raises `OSError`, if `refuses`.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        exporter: Exporter,
        plans: Iterable[Plan] = (),
        *,
        seed: int = 0,
        capacity: float = math.inf,
        refuses: bool = False,
    ) -> None:
        self.exporter = exporter
        """Who is at the other end of the lines to come."""
        self.lines: list[Line] = []
        """Those there were, and the one there is."""
        self.attempts = 0
        """How often it was asked to connect."""
        self.refuses = refuses
        self._nursery = nursery
        self._plans = iter(plans)
        self._chance = random.Random(seed)
        self._capacity = capacity
        self._up = trio.Event()
        self._up.set()

    async def connect(self) -> trio.abc.Stream:
        """A new line, planned by the next of the plans."""
        self.attempts += 1
        await trio.lowlevel.checkpoint()
        if self.refuses and not self._up.is_set():
            raise ConnectionRefusedError("the network is down")
        await self._up.wait()
        line = Line(next(self._plans, None), seed=self._chance.getrandbits(32), capacity=self._capacity)
        self.lines.append(line)
        self._nursery.start_soon(self.exporter.serve_stream, line.exporter_end)
        return line.importer_end

    def cut(self, fault: Fault = Fault.RESET) -> None:
        """Breaks the line there is."""
        self.lines[-1].harm(fault)

    def go_down(self, fault: Fault | None = Fault.RESET) -> None:
        """Lets nobody connect, and breaks the line there is, unless `fault` is None."""
        if self._up.is_set():
            self._up = trio.Event()
        if fault is not None:
            self.cut(fault)

    def come_up(self) -> None:
        """Lets everybody connect."""
        self._up.set()
