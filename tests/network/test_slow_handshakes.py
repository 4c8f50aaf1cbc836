"""Handshakes that come to a halt, or never end, below the protocol: TLS, and the HTTP of a WebSocket."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
import trustme
from support import connect
from test_websocket import request

from trionetchan import Exporter, Limits, open_exporter
from trionetchan._log import BoundedLog
from trionetchan._network.websocket import Acceptor

LIMITS = Limits(handshake_timeout=5, goodbye_timeout=2)
LOG = BoundedLog(10)
REACHED: list[str] = []


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def tls_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def serving(exporter: Exporter, form: str) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    return (
        exporter.serve_stream if form == "tcp" else Acceptor(exporter.serve_stream, None, LIMITS, LOG, REACHED.append)
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("form", ["tcp", "websocket"])
@pytest.mark.parametrize("how", ["silence", "half a hello", "a hello and no more", "one byte a second"])
async def test_stalled_tls_handshake_is_closed_at_its_deadline(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    server_context: ssl.SSLContext,
    form: str,
    how: str,
) -> None:
    """Whichever task does it; and nobody waits for a goodbye of TLS that cannot come."""
    hello = tls_hello()
    async with open_exporter(limits=LIMITS) as exporter, connect(nursery, exporter) as importer:
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        said = {"silence": b"", "half a hello": hello[: len(hello) // 2], "a hello and no more": hello}.get(how, b"")
        caplog.clear()
        start = trio.current_time()

        async def drip() -> None:
            await ours.send_all(said)
            with contextlib.suppress(trio.BrokenResourceError):  # it is closed meanwhile
                for byte in hello if how == "one byte a second" else b"":
                    await trio.sleep(1)
                    await ours.send_all(bytes([byte]))

        async with trio.open_nursery() as inner:
            inner.start_soon(drip)
            await serving(exporter, form)(trio.SSLStream(theirs, server_context, server_side=True))
            assert trio.current_time() - start == LIMITS.handshake_timeout
            inner.cancel_scope.cancel()
        assert len(lines(caplog)) == 1
        await send.send(1)
        assert await receive.receive() == 1
        await ours.aclose()


@pytest.mark.parametrize("how", ["silence", "half a request", "one byte a second"])
async def test_stalled_request_is_closed_at_its_deadline(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    whole = request()
    async with open_exporter(limits=LIMITS) as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        start = trio.current_time()

        async def drip() -> None:
            if how == "half a request":
                await ours.send_all(whole[: len(whole) // 2])
            with contextlib.suppress(trio.BrokenResourceError):  # it is closed meanwhile
                for byte in whole if how == "one byte a second" else b"":
                    await trio.sleep(1)
                    await ours.send_all(bytes([byte]))

        async with trio.open_nursery() as inner:
            inner.start_soon(drip)
            await serving(exporter, "websocket")(theirs)
            assert trio.current_time() - start == LIMITS.handshake_timeout
            inner.cancel_scope.cancel()
        assert len(lines(caplog)) == 1
        await ours.aclose()


class Endless(trio.abc.HalfCloseableStream):
    """A peer that writes without end, so that a read finds data each time; it notices no cancellation by itself."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self._next = first
        self._then = then
        self.written = b""
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.written += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.cancel_shielded_checkpoint()
        data, self._next = self._next, self._then
        return data

    async def send_eof(self) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()


REFUSED = {
    "no request": b"NO REQUEST AT ALL",
    "wrong path": request(target="/elsewhere"),
    "endless head": request()[:-2] + b"x: y\r\n" * 10_000,
}


@pytest.mark.parametrize("case", REFUSED)
async def test_client_that_writes_on_after_its_refusal_is_left(mock_clock: trio.testing.MockClock, case: str) -> None:
    """And so that other tasks have their turns."""
    async with open_exporter(limits=LIMITS) as exporter, trio.open_nursery() as nursery:
        stream = Endless(REFUSED[case], bytes(100_000))
        done = trio.Event()

        async def serve() -> None:
            await serving(exporter, "websocket")(stream)
            done.set()

        nursery.start_soon(serve)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert stream.written.startswith(b"HTTP/1.1 4")
        assert not done.is_set()
        mock_clock.jump(LIMITS.goodbye_timeout)
        await done.wait()
        assert stream.closed
