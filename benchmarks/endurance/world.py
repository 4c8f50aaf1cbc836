"""Where the churn happens: the exporter that lives as long as the run, and the ways to connect to it."""

from __future__ import annotations

import functools
import random
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
import trio
import trustme

from trionetchan import BoundListener, Exporter, Limits, NoSuchChannelError, open_exporter
from trionetchan.testing import Network, open_network

__all__ = [
    "HOST",
    "LIMITS",
    "BrokenPromiseError",
    "MemoryRoute",
    "Route",
    "TcpRoute",
    "World",
    "limits_of",
    "open_world",
]

HOST = "127.0.0.1"
NAMES = 24
LIMITS = Limits(keepalive=1, keepalive_timeout=2, handshake_timeout=2, resume_timeout=8, restart_timeout=10)


class BrokenPromiseError(Exception):
    """The library has not done what it promises."""


def limits_of(resume_timeout: float) -> Limits:
    """Limits of an importer whose session is kept for so many seconds."""
    return attrs.evolve(LIMITS, resume_timeout=resume_timeout)


class TcpRoute:
    """Connects over TCP, with TLS if there is a context; what it has connected can be cut."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._port = port
        self._context = context
        self._last: trio.SocketStream | None = None

    async def connect(self) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(HOST, self._port)
        self._last = stream
        return stream if self._context is None else trio.SSLStream(stream, self._context, server_hostname=HOST)

    def cut(self) -> None:
        """Both sides see the end of the stream."""
        if self._last is not None and self._last.socket.fileno() >= 0:
            with suppress(OSError):  # it has been cut already
                self._last.socket.shutdown(socket.SHUT_RDWR)


class MemoryRoute:
    """Connects by a network in memory; what it has connected is reset, ended, or stalls until it is given up."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self.network = network
        self._chance = chance
        self.connect = network.connect

    def cut(self) -> None:
        match self._chance.randrange(8):
            case 0:
                for line in self.network.lines[-1:]:
                    line.stall()
            case 1 | 2 | 3:
                self.network.cut("end")
            case _:
                self.network.cut("reset")


Route = TcpRoute | MemoryRoute


@attrs.define
class World:
    """The exporter, the ways to it, and what happened."""

    exporter: Exporter
    port: int
    tls_port: int
    tls_context: ssl.SSLContext
    chance: random.Random
    tally: Counter[str] = attrs.field(factory=Counter[str])
    _names: list[str] = attrs.field(factory=lambda: [f"channel {number}" for number in range(NAMES)])

    @asynccontextmanager
    async def name(self) -> AsyncGenerator[str]:
        """A name of the exporter that nobody else uses; it is taken away at the end, and used again."""
        name = self._names.pop(0)  # all are used soon
        try:
            yield name
        finally:
            with suppress(NoSuchChannelError):  # it has ended by itself
                self.exporter.hangup(name)
            self._names.append(name)

    @asynccontextmanager
    async def route(self, exporter: Exporter | None = None) -> AsyncGenerator[Route]:
        """A way to the exporter, or in memory to another one."""
        kind = 3 if exporter is not None else self.chance.randrange(4)
        if kind == 0:
            yield TcpRoute(self.tls_port, self.tls_context)
        elif kind == 1:
            yield TcpRoute(self.port, None)
        else:
            slice_size = self.chance.choice([None, None, 5, 500])
            capacity = self.chance.choice([500, 2**16])
            async with open_network(exporter or self.exporter, slice_size=slice_size, capacity=capacity) as network:
                yield MemoryRoute(network, self.chance)


@asynccontextmanager
async def open_world(nursery: trio.Nursery, seed: int) -> AsyncGenerator[World]:
    """Serves an exporter over TCP and TLS until the block is left."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    async with open_exporter(limits=LIMITS) as exporter:

        async def serve(context: ssl.SSLContext | None) -> int:
            listeners: list[BoundListener] = await nursery.start(
                functools.partial(exporter.serve_tcp, 0, ssl_context=context)
            )
            return listeners[0].port

        yield World(exporter, await serve(None), await serve(server), client, random.Random(seed))
