"""What a peer costs before it is known: at most 64 KiB of what it says are read, and nothing is done for it.

A peer here writes as much as the other side takes. What waits in the kernel is not this process's.
"""

from __future__ import annotations

import functools
import gc
import ssl
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from support import until

from trionetchan import Credentials, Exporter, Limits, open_exporter
from trionetchan._cbor import BYTES, head
from trionetchan._log import BoundedLog
from trionetchan._network.websocket import Acceptor, WebSocketStream, connected
from trionetchan._network.websocket_handshake import Address
from trionetchan._protocol.frames import MAGIC, VERSION, Hello, Import, Ping, encode

pytestmark = pytest.mark.promise(77)

HOST = "127.0.0.1"
KIB = 2**10
FORMS = ["tcp", "tls", "websocket", "wss"]
HELLO = MAGIC + encode(Hello(VERSION, {"token": b"unknown"}))
RESUMES = MAGIC + encode(Hello(VERSION, {"resume": 1000, "nonce": bytes(16), "session": bytes(16)}))
PADDED_PING = head(BYTES, 10_008) + b"\x83\x08\x01" + head(BYTES, 10_002) + bytes(10_002)
UNFINISHED = MAGIC + head(BYTES, 100_000) + b"\x83\x00\x01\xa1\x61x" + head(BYTES, 99_000)
IMPORTS = b"".join(encode(Import(number, "jobs", True, 5, None, b"")) for number in range(1000))
AUTHORITY = trustme.CA()
SERVER_CERTIFICATE = AUTHORITY.issue_cert(HOST)


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of both sides."""
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    SERVER_CERTIFICATE.configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    AUTHORITY.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    return server, client


class Asked:
    """An `authenticate` that never answers."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, credentials: Credentials) -> str | None:
        self.times += 1
        await trio.sleep_forever()
        return "nobody"


class Counting(trio.abc.HalfCloseableStream):
    """Counts what is read of a stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.read = 0
        self.most = 64 * KIB  # at a time, where nothing else is said: as of a socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data: bytes = await self.stream.receive_some(max_bytes or self.most)
        self.read += len(data)
        return data

    async def send_all(self, data: Any) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()


def served_as(form: str, exporter: Exporter, stream: trio.abc.Stream) -> Callable[[], Awaitable[None]]:
    """Has it served, over TLS and WebSocket if it is to be."""
    if form in ("tls", "wss"):
        stream = trio.SSLStream(stream, contexts()[0], server_side=True)
    if form in ("tcp", "tls"):
        return functools.partial(exporter.serve_stream, stream)
    return functools.partial(Acceptor(exporter.serve_stream, None, Limits(), BoundedLog(10), lambda _: None), stream)


@asynccontextmanager
async def opened(form: str, stream: trio.abc.Stream) -> AsyncGenerator[trio.abc.Stream]:
    """The other side of that."""
    if form in ("tls", "wss"):
        stream = trio.SSLStream(stream, contexts()[1], server_hostname=HOST)
        await stream.do_handshake()
    if form in ("tcp", "tls"):
        yield stream
    else:
        address = Address(secure=form == "wss", host=HOST, port=80, target="/")
        async with connected(stream, address, Limits()) as websocket:
            assert isinstance(websocket, WebSocketStream)
            yield websocket


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("says", [HELLO + IMPORTS, HELLO, HELLO + 100 * PADDED_PING])
async def test_nothing_more_is_read_while_it_is_asked_who_is_there(
    nursery: trio.Nursery, form: str, says: bytes
) -> None:
    asked = Asked()
    async with open_exporter(authenticate=asked, limits=Limits(goodbye_timeout=0.1)) as exporter:
        jobs = exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        counting = Counting(theirs)
        nursery.start_soon(served_as(form, exporter, counting))
        async with opened(form, ours) as stream:
            for start in range(0, 2**20, 64 * KIB):
                await stream.send_all((says + bytes(2**20))[start : start + 64 * KIB])
            await until(lambda: asked.times == 1)
            await trio.testing.wait_all_tasks_blocked()
            below = 64 * KIB if form in ("tls", "wss") else 0  # that trio reads for TLS at a time
            assert counting.read <= 64 * KIB + below
            assert exporter.statistics().channels["jobs"].peers == 0
            jobs.close()
            nursery.cancel_scope.cancel()


UPGRADE = (
    f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: trionetchan.1\r\n\r\n"
).encode()


async def test_what_comes_at_once_with_the_request_for_a_websocket(nursery: trio.Nursery) -> None:
    asked = Asked()
    async with open_exporter(authenticate=asked, limits=Limits(goodbye_timeout=0.1)) as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        counting = Counting(theirs)
        counting.most = 2**20
        nursery.start_soon(served_as("websocket", exporter, counting))
        says = HELLO + bytes(1_000_000)
        await ours.send_all(UPGRADE + b"\x82\xff" + len(says).to_bytes(8, "big") + bytes(4) + says)
        await until(lambda: asked.times == 1)
        await trio.testing.wait_all_tasks_blocked()
        assert counting.read <= 64 * KIB
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("says", [UNFINISHED, RESUMES + 8 * PADDED_PING], ids=["no hello", "no resume"])
@pytest.mark.parametrize("form", FORMS)
async def test_more_than_64_kib_without_a_hello(nursery: trio.Nursery, form: str, says: bytes) -> None:
    """As many as are allowed are taken; then the peer is told, and its connection ends."""
    asked = Asked()
    async with open_exporter(authenticate=asked, limits=Limits(goodbye_timeout=0.1)) as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(served_as(form, exporter, theirs))
        async with opened(form, ours) as stream:
            heard = b""
            rest = (says + bytes(100 * KIB))[: 64 * KIB]
            for start in range(0, 60 * KIB, KIB):
                await stream.send_all(rest[start : start + KIB])
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().connections == 1
            with suppress(trio.BrokenResourceError):
                await stream.send_all(rest[60 * KIB :])
            with suppress(trio.BrokenResourceError):
                while chunk := await stream.receive_some():
                    heard += chunk
            assert b"expected a hello within 65536 bytes, got more without one" in heard
        await until(lambda: exporter.statistics().connections == 0)
        assert asked.times == 0


async def test_64_kib_with_a_hello_are_taken(nursery: trio.Nursery) -> None:
    """What comes with the last byte of the hello is not too much."""
    padding = 64 * KIB - len(MAGIC) - 3 - 6 - 3
    hello = MAGIC + head(BYTES, padding + 9) + b"\x83\x00\x01\xa1\x61x" + head(BYTES, padding) + bytes(padding)
    assert len(hello) == 64 * KIB
    async with open_exporter(limits=Limits(goodbye_timeout=0.1)) as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        await ours.send_all(hello + encode(Ping(4711)))
        heard = b""
        while encode(Ping(4711))[2:] not in heard and b"\x19\x12\x67" not in heard:
            heard += await ours.receive_some()
        nursery.cancel_scope.cancel()


async def turns() -> None:
    """Other tasks run on for a while, on a clock that stands still."""
    for _ in range(300):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("then", [b"", HELLO], ids=["silent", "asked"])
async def test_the_request_for_a_websocket_is_within_the_time_for_the_hello(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock, then: bytes
) -> None:
    """A stranger has 10 s in all, and not 10 s for each part."""
    asked = Asked()
    async with open_exporter(authenticate=asked) as exporter:
        listeners = await nursery.start(exporter.serve_websocket, 0)
        async with await trio.open_tcp_stream(HOST, listeners[0].port) as stream:
            await turns()
            mock_clock.jump(6)
            await stream.send_all(UPGRADE + b"\x82" + bytes([0x80 | len(then)]) + bytes(4) + then)
            while exporter.statistics().connections == 0 or asked.times < bool(then):
                await trio.lowlevel.checkpoint()
            mock_clock.jump(3.9)
            await turns()
            assert exporter.statistics().connections == 1
            for seconds in (0.2, 1, 1):  # the end, and two times for saying goodbye
                mock_clock.jump(seconds)
                await turns()
            assert exporter.statistics().connections == 0
        nursery.cancel_scope.cancel()


async def writes_without_end(stream: trio.abc.Stream, says: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(says)
        while True:
            await stream.send_all(bytes(64 * KIB))


PEERS = 100
BOOKKEEPING = 24 * KIB  # of what grows with what is held: a bytearray has some room to spare, tasks have frames


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("says", [HELLO, (UNFINISHED + bytes(64 * KIB))[: 64 * KIB - 1]], ids=["asked", "no hello"])
async def test_a_hundred_strangers(nursery: trio.Nursery, form: str, says: bytes) -> None:
    """What is held for them: 64 KiB of what each says, at most, beside what a connection takes that says nothing."""
    asked = Asked()
    async with open_exporter(authenticate=asked, limits=Limits(goodbye_timeout=0.1)) as exporter:
        serve = exporter.serve_tcp if form in ("tcp", "tls") else exporter.serve_websocket
        context = contexts()[0] if form in ("tls", "wss") else None
        listeners = await nursery.start(functools.partial(serve, 0, ssl_context=context))
        streams: list[trio.abc.Stream] = []
        closed = trio.Event()

        async def connect(task_status: trio.TaskStatus[None]) -> None:
            tcp = await trio.open_tcp_stream(HOST, listeners[0].port)
            try:
                async with opened(form, tcp) as stream:
                    streams.append(stream)
                    task_status.started()
                    await closed.wait()
            finally:
                tcp.socket.close()

        for _ in range(PEERS):
            await nursery.start(connect)
        await until(lambda: exporter.statistics().connections == PEERS)
        tracemalloc.start()
        try:
            if says is HELLO:
                async with trio.open_nursery() as writers:
                    for stream in streams:
                        writers.start_soon(writes_without_end, stream, says)
                    await until(lambda: asked.times == PEERS)
                    await trio.sleep(0.1)
                    writers.cancel_scope.cancel()
            else:
                for stream in streams:
                    await stream.send_all(says)
                await trio.sleep(0.2)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            assert exporter.statistics().connections == PEERS
        finally:
            tracemalloc.stop()
        assert held <= PEERS * (64 * KIB + BOOKKEEPING)
        closed.set()
        nursery.cancel_scope.cancel()
