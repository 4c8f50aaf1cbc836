"""Peers that do not speak the protocol: one log line each; the exporter and a healthy importer go on untouched."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from support import connect, serve_tcp, until

from trionetchan import Exporter, Limits, ProtocolError, open_exporter, open_importer, open_tcp_importer

pytestmark = pytest.mark.promise(43)


def tls_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def hello() -> bytes:
    """What an importer says first."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_importer(ours):
        return bytes(await theirs.receive_some())


BYTES = {
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
    "tls": tls_hello(),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "random": random.Random(1).randbytes(100_000),
    "text": b"EHLO example.org\r\n",
    "one byte": b"x",
}


@asynccontextmanager
async def healthy(nursery: trio.Nursery, limits: Limits | None = None) -> AsyncGenerator[tuple[Exporter, int]]:
    """An exporter and its port; at the end, an importer that was there from the start must work, in both directions."""
    async with open_exporter(limits=limits or Limits()) as exporter:
        down, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            from_down = await importer.open_receive_channel("down", int)
            to_up = await importer.open_send_channel("up", int)
            await down.send(1)
            assert await from_down.receive() == 1
            yield exporter, port
            for value in range(2, 10):
                await down.send(value)
                await to_up.send(await from_down.receive())
                assert await up.receive() == value
            await until(lambda: exporter.statistics().connections == 1)


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "trionetchan"]


async def rest(stream: trio.abc.ReceiveStream) -> bytes:
    """What the exporter still says, up to its closing."""
    text = b""
    try:
        while chunk := await stream.receive_some():
            text += chunk
    except trio.BrokenResourceError:  # it closed while bytes of ours were unread
        pass
    return text


@pytest.mark.parametrize("case", BYTES)
async def test_bytes_that_are_no_hello(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, case: str) -> None:
    caplog.set_level(logging.DEBUG, "trionetchan")

    def enough(number: int) -> bool:
        return len(lines(caplog)) >= number

    async with healthy(nursery) as (exporter, port):
        caplog.clear()
        for number in range(1, 4):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                try:
                    await stream.send_all(BYTES[case])
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    pass
                await rest(stream)
            await until(partial(enough, number))
            await until(lambda: exporter.statistics().connections == 1)
            records = lines(caplog)
            assert len(records) == number, [record.getMessage() for record in records]
            assert not records[-1].exc_info
            assert "\n" not in records[-1].getMessage()
            assert len(records[-1].getMessage()) < 1000


async def test_bad_hello_is_closed_without_waiting_for_more(nursery: trio.Nursery) -> None:
    """The peer need not close its side first."""
    async with healthy(nursery) as (_exporter, port):
        for case in ("http", "tls", "random", "ones"):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(BYTES[case])
                await rest(stream)


async def test_half_a_hello_and_the_end(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    whole = await hello()
    caplog.set_level(logging.DEBUG, "trionetchan")
    async with healthy(nursery, Limits(max_log_lines=1000)) as (exporter, port):
        for size in range(1, len(whole)):
            caplog.clear()
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(whole[:size])
                await stream.send_eof()
                await rest(stream)
            await until(lambda: len(lines(caplog)) > 0)
            await until(lambda: exporter.statistics().connections == 1)
            assert len(lines(caplog)) == 1, size


async def test_hello_with_one_wrong_byte(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing but a refused or an idle connection comes of it."""
    whole = await hello()
    async with healthy(nursery) as (exporter, port):
        for place in range(len(whole)):
            for bit in (0x01, 0x80):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
                    await stream.send_eof()
                    await rest(stream)
        await until(lambda: exporter.statistics().connections == 1)
    assert not [record for record in caplog.records if record.exc_info]


async def test_hello_and_then_noise(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    whole, noise = await hello(), random.Random(2)
    async with healthy(nursery) as (exporter, port):
        for _ in range(100):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                try:
                    await stream.send_all(whole + noise.randbytes(noise.randrange(1, 3000)))
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    pass
                await rest(stream)
        await until(lambda: exporter.statistics().connections == 1)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("how", ["silence", "half a hello", "one byte a second"])
async def test_slow_handshake_is_closed_at_its_deadline(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Within `handshake_timeout`, with one log line; an importer beside it goes on."""
    whole = await hello()
    caplog.set_level(logging.DEBUG, "trionetchan")
    async with open_exporter(limits=Limits(handshake_timeout=5)) as exporter, connect(nursery, exporter) as importer:
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        caplog.clear()
        start = trio.current_time()

        async def drip() -> None:
            try:
                for byte in whole * 100 if how == "one byte a second" else b"":
                    await ours.send_all(bytes([byte]))
                    await trio.sleep(1)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        async with trio.open_nursery() as inner:
            inner.start_soon(drip)
            if how == "half a hello":
                await ours.send_all(whole[: len(whole) // 2])
            await exporter.serve_stream(theirs)
            inner.cancel_scope.cancel()
        if how != "one byte a second" or len(whole) > 5:
            assert 4 <= trio.current_time() - start <= 7
        assert len(lines(caplog)) == 1
        await send.send(1)
        assert await receive.receive() == 1
        await ours.aclose()


@pytest.mark.parametrize("case", BYTES)
async def test_importer_of_something_else(autojump_clock: trio.testing.MockClock, case: str) -> None:
    """The importer's side of it: `ProtocolError` out of the block."""
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(ProtocolError):
        async with open_importer(ours):
            await theirs.send_all(BYTES[case])
            await trio.sleep_forever()
    await theirs.aclose()


async def test_many_silent_connections_delay_no_one(nursery: trio.Nursery) -> None:
    async with healthy(nursery) as (exporter, port):
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(100)]
        jobs = exporter.open_send_channel("jobs", int)
        with trio.fail_after(2):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                await jobs.send(1)
                assert await receive.receive() == 1
        for stream in streams:
            await stream.aclose()
