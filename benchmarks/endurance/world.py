"""Where the churn happens: the exporter that lives as long as the run, and the ways to connect to it."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

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
    "SocketRoute",
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


class SocketRoute:
    """Connects over a socket, with TLS if there is a context; what it has connected can be cut."""

    def __init__(
        self, open_stream: Callable[[], Awaitable[trio.SocketStream]], context: ssl.SSLContext | None = None
    ) -> None:
        self._open_stream = open_stream
        self._context = context
        self._last: trio.SocketStream | None = None

    async def connect(self) -> trio.abc.Stream:
        self._last = stream = await self._open_stream()
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


Route = SocketRoute | MemoryRoute


@attrs.define
class World:
    """The exporter, the ways to it, and what happened."""

    exporter: Exporter
    port: int
    tls_port: int
    unix_path: str
    websocket_port: int
    """Or 0, where that extra is not installed."""
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
    async def route(self, *, in_memory: bool = False, slices: bool = True) -> AsyncGenerator[Route]:
        """A way to the exporter. `slices`: it may carry a few bytes at a time, which takes long for large values."""
        kind = "memory" if in_memory else self.chance.choice(["TCP", "TLS", "unix", "memory", "memory"])
        if kind == "TCP":
            yield SocketRoute(functools.partial(trio.open_tcp_stream, HOST, self.port))
        elif kind == "TLS":
            yield SocketRoute(functools.partial(trio.open_tcp_stream, HOST, self.tls_port), self.tls_context)
        elif kind == "unix":
            yield SocketRoute(functools.partial(trio.open_unix_socket, self.unix_path))
        else:
            slice_size = self.chance.choice([None, None, 500, 5] if slices else [None, 2000])
            capacity = self.chance.choice([500 if slices else 5000, 2**16])
            async with open_network(self.exporter, slice_size=slice_size, capacity=capacity) as network:
                yield MemoryRoute(network, self.chance)


@asynccontextmanager
async def open_world(nursery: trio.Nursery, seed: int) -> AsyncGenerator[World]:
    """Serves an exporter over sockets of all kinds until the block is left."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    with tempfile.TemporaryDirectory() as directory:
        async with open_exporter(limits=LIMITS) as exporter:

            async def serve(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
                listeners: list[BoundListener] = await nursery.start(functools.partial(method, *arguments, **options))
                return listeners[0].address

            _, port = await serve(exporter.serve_tcp, 0)
            _, tls_port = await serve(exporter.serve_tcp, 0, ssl_context=server)
            path = await serve(exporter.serve_unix, os.path.join(directory, "exporter"))
            has_websocket = importlib.util.find_spec("wsproto") is not None
            _, websocket_port = await serve(exporter.serve_websocket, 0) if has_websocket else ("", 0)
            yield World(exporter, port, tls_port, path, websocket_port, client, random.Random(seed))
