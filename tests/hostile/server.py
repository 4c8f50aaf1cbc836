"""A real exporter, a healthy importer beside it, and what must be true of them after a hostile peer has been there."""

from __future__ import annotations

import functools
import logging
import ssl
import tracemalloc
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import attrs
import pytest
import trio
import trustme
from cases import Case
from support import until

from trionetchan import (
    BoundListener,
    Direction,
    Exporter,
    Importer,
    open_exporter,
    open_tcp_importer,
    open_unix_importer,
)

__all__ = ["HOST", "Server", "client_context", "jobs_given_back", "log_lines", "serving"]

HOST = "127.0.0.1"
NAME = "exporter.example"
AUTHORITY = trustme.CA()
SERVER_CERTIFICATE = AUTHORITY.issue_cert(NAME)
CLIENT_CERTIFICATES = {name: AUTHORITY.issue_cert(f"{name}.example") for name in ("healthy", "first", "second")}
JOBS = [*range(10)]
LARGE = bytes(10**6)


@attrs.frozen
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Raises:
    """A type whose constructor raises what a value asks for."""

    error: str

    def __attrs_post_init__(self) -> None:
        if self.error:
            raise {"value": ValueError, "zero": ZeroDivisionError, "exit": SystemExit}[self.error]("from the program")


def server_context(*, requires: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    SERVER_CERTIFICATE.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    if requires:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def client_context(
    certificate: str | trustme.LeafCert | None = None, authority: trustme.CA | None = None
) -> ssl.SSLContext:
    """`authority`: another one than the exporter knows, which has issued the certificate."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    if authority is not None:
        authority.issue_cert("other.example").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    elif certificate is not None:
        found = CLIENT_CERTIFICATES[certificate] if isinstance(certificate, str) else certificate
        found.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


@attrs.frozen
class Server:
    """An exporter that a hostile peer connects to."""

    exporter: Exporter
    case: Case
    address: tuple[str, int] | str
    healthy: Importer
    down: trio.MemorySendChannel[int]
    up: trio.MemoryReceiveChannel[int]
    from_down: trio.MemoryReceiveChannel[int]
    to_up: trio.MemorySendChannel[int]
    asked: list[str]
    """For which principals `authorize` was asked, where the case has an `authenticate` or `authorize`."""

    async def dial(self, context: ssl.SSLContext | None = None) -> trio.abc.Stream:
        """A connection to it: over TLS if there is a context, or if the case says so."""
        if isinstance(self.address, str):
            return await trio.open_unix_socket(self.address)
        stream = await trio.open_tcp_stream(*self.address)
        if self.case.transport in ("tls", "mutual tls") and context is None:
            context = client_context("first" if self.case.transport == "mutual tls" else None)
        if context is None:
            return stream
        return trio.SSLStream(stream, context, server_hostname=NAME)

    async def dial_plain(self) -> trio.SocketStream:
        """A connection to it without TLS, whatever it expects."""
        assert not isinstance(self.address, str)
        return await trio.open_tcp_stream(*self.address)

    async def exchange(self, count: int = 3) -> None:
        """The healthy importer gets its next values, in both directions."""
        for value in range(count):
            await self.down.send(value)
            await self.to_up.send(await self.from_down.receive())
            assert await self.up.receive() == value

    async def check_at_rest(self, tasks: int) -> None:
        """Only the healthy importer is there, as if nothing had been."""
        await until(lambda: self.exporter.statistics().connections == 1)
        await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
        assert self.exporter.statistics().suspended == 0
        await self.exchange()


async def jobs_given_back(server: Server) -> list[int]:
    """The values of "jobs" that the peer has not acknowledged."""
    left = len(JOBS) - server.case.acknowledged
    receive: trio.MemoryReceiveChannel[int] = await server.healthy.open_receive_channel("jobs", int, window=100)
    return [await receive.receive() for _ in range(left)]


@asynccontextmanager
async def serving(nursery: trio.Nursery, case: Case, directory: Path) -> AsyncGenerator[Server]:
    """An exporter with a few channels, and its healthy importer, that is connected when this begins."""
    asked: list[str] = []

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        asked.append(principal)
        return case.authorize is None or await case.authorize(principal, name, direction)

    asks = case.authenticate is not None or case.authorize is not None
    options: dict[str, Any] = {"authenticate": case.authenticate, "authorize": authorize} if asks else {}
    async with open_exporter(limits=case.limits, **options) as exporter:
        down, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        offer(exporter)
        address = await listen(nursery, exporter, case, directory)
        async with connect(address, case) as healthy:
            from_down = await healthy.open_receive_channel("down", int)
            to_up = await healthy.open_send_channel("up", int)
            server = Server(exporter, case, address, healthy, down, up, from_down, to_up, asked)
            await server.exchange()
            yield server
        nursery.cancel_scope.cancel()


def offer(exporter: Exporter) -> None:
    """The channels that hostile peers ask for. Nobody receives from those where values arrive."""
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=len(JOBS))
    for value in JOBS:
        jobs.send_nowait(value)
    large = exporter.open_send_channel("large", bytes, max_buffer_size=100)
    for _ in range(100):
        large.send_nowait(LARGE)
    exporter.open_send_channel("empty", int)
    exporter.open_send_channel("described", cast("Any", Literal)["x" * 7000])
    types: list[tuple[str, Any]] = [("ints", int), ("points", Point), ("raises", Raises), ("anything", Any)]
    for name, value_type in types:
        exporter.open_receive_channel(name, value_type, max_buffer_size=1000, window=8, importers=None)
    exporter.open_receive_channel("full", bytes, window=8, importers=None)


async def listen(nursery: trio.Nursery, exporter: Exporter, case: Case, directory: Path) -> tuple[str, int] | str:
    listeners: list[BoundListener]
    if case.transport == "unix":
        path = str(directory / "socket")
        await nursery.start(exporter.serve_unix, path)
        return path
    context = None if case.transport == "tcp" else server_context(requires=case.transport == "mutual tls")
    listeners = await nursery.start(functools.partial(exporter.serve_tcp, 0, ssl_context=context))
    return HOST, listeners[0].port


def connect(address: tuple[str, int] | str, case: Case) -> Any:
    if isinstance(address, str):
        return open_unix_importer(address, token=case.token)
    if case.transport == "tcp":
        return open_tcp_importer(*address, token=case.token, allow_plain_token=True)
    context = client_context("healthy" if case.transport == "mutual tls" else None)
    return open_tcp_importer(*address, ssl_context=context, server_hostname=NAME, token=case.token)


def log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library has logged, without the trace."""
    records = [record for record in caplog.records if record.name == "trionetchan" and record.levelno >= logging.INFO]
    assert not [record for record in records if record.exc_info]
    lines = [record.getMessage() for record in records]
    assert not [line for line in lines if "\n" in line or len(line) > 1500]
    return lines


@contextmanager
def bounded_memory(most: int | None) -> Generator[None]:
    """Fails if at any time so many more bytes are held. For None it does not look."""
    if most is None:
        yield
        return
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[1] - before <= most
    finally:
        tracemalloc.stop()
