"""WebSocket as a transport: between our two sides, with strange clients and servers, and with another library's."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import struct
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator
from typing import Any, cast

import pytest
import trio
import trio.testing
import trustme
import websockets
import websockets.sync.client
import websockets.sync.server
from scripted import INT, Scripted
from support import put, take_all, until
from wsproto.connection import ConnectionType

from trionetchan import (
    BoundListener,
    ConnectionLostError,
    Exporter,
    Limits,
    ProtocolError,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_websocket_importer,
)
from trionetchan._errors import Code
from trionetchan._log import BoundedLog
from trionetchan._network import websocket_handshake
from trionetchan._network.websocket import Acceptor, WebSocketStream, connected
from trionetchan._network.websocket_handshake import Address, parse_url
from trionetchan._protocol.frames import MAGIC, VERSION, Accept, Data, Goodbye, Hello, Import, encode

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PLAIN = Address(secure=False, host="127.0.0.1", port=80, target="/")
IMPORT = Import(0, "jobs", True, 5, None, INT)
LOG = BoundedLog(10)
REACHED: list[str] = []


async def serve(nursery: trio.Nursery, exporter: Exporter, **options: Any) -> int:
    """Serves the exporter on a free port and returns the port."""
    listeners: list[BoundListener] = await nursery.start(functools.partial(exporter.serve_websocket, 0, **options))
    return listeners[0].port


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


# Between our two sides


@pytest.mark.parametrize("tls", [False, True])
async def test_values_both_ways(nursery: trio.Nursery, authority: trustme.CA, tls: bool) -> None:
    server, client = (server_context(authority), client_context(authority)) if tls else (None, None)
    values = [b"", b"x", os.urandom(10 * 2**20), *(bytes([number]) for number in range(200))]
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter, ssl_context=server)
        send, results = exporter.open_send_channel("jobs", bytes), exporter.open_receive_channel("results", bytes)
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/"
        async with open_websocket_importer(url, ssl_context=client) as importer:
            receive = await importer.open_receive_channel("jobs", bytes)
            to_results = await importer.open_send_channel("results", bytes)
            async with trio.open_nursery() as inner:
                inner.start_soon(put, send, values)
                inner.start_soon(put, to_results, values)
                inner.start_soon(expect, receive, values)
                assert await take_all(results) == values
        await until(lambda: exporter.statistics().connections == 0)


async def expect(receive: trio.abc.ReceiveChannel[bytes], values: list[bytes]) -> None:
    assert await take_all(receive) == values


async def test_many_channels(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer, trio.open_nursery() as inner:
            for number in range(100):
                inner.start_soon(put, exporter.open_send_channel(f"jobs {number}", int), range(number, number + 20))
            for number in range(100):
                receive = await importer.open_receive_channel(f"jobs {number}", int)
                assert await take_all(receive) == list(range(number, number + 20))


async def test_hundred_connections(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        send = exporter.open_send_channel("jobs", int)
        got: list[int] = []

        async def work() -> None:
            async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer:
                got.extend(await take_all(await importer.open_receive_channel("jobs", int)))

        async with trio.open_nursery() as inner:
            for _ in range(100):
                inner.start_soon(work)
            await until(lambda: exporter.statistics().channels["jobs"].peers == 100)
            await put(send, range(1000))
        assert sorted(got) == list(range(1000))
        await until(lambda: exporter.statistics().connections == 0)


async def test_hang_up_ends_one_channel_and_not_the_connection(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        first, second = (exporter.open_send_channel(name, int) for name in ("first", "second"))
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer:
            receives = [await importer.open_receive_channel(name, int) for name in ("first", "second")]
            exporter.hangup("first")
            assert await take_all(receives[0]) == []
            with pytest.raises(trio.BrokenResourceError):
                await first.send(1)
            await second.send(2)
            assert await receives[1].receive() == 2


async def test_exporter_that_leaves_is_the_end_of_finished_channels(nursery: trio.Nursery) -> None:
    """Close frames are exchanged: nobody takes the end for a broken connection, and nobody waits for a deadline."""
    limits = Limits(goodbye_timeout=86_400)
    taken, left = trio.Event(), trio.Event()

    async def consume(port: int) -> None:
        async with open_websocket_importer(f"ws://127.0.0.1:{port}", limits=limits) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == [0, 1, 2]
            taken.set()
            await left.wait()

    async with trio.open_nursery() as consuming:
        async with open_exporter(limits=limits) as exporter:
            consuming.start_soon(consume, await serve(nursery, exporter))
            await put(exporter.open_send_channel("jobs", int), range(3))
            await taken.wait()
        left.set()


async def test_values_of_an_importer_that_is_cut_off_go_to_the_next(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        with pytest.raises(ConnectionLostError):
            async with connected(plain, PLAIN, Limits()) as stream, open_importer(stream) as importer:
                await importer.open_receive_channel("jobs", int)
                for value in range(5):
                    send.send_nowait(value)
                await until(lambda: exporter.statistics().channels["jobs"].sent == 5)
                await plain.aclose()
                await trio.sleep_forever()
        send.close()
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as second:
            assert await take_all(await second.open_receive_channel("jobs", int)) == list(range(5))
    assert "expected a goodbye, got" in caplog.text


async def test_error_of_the_body_comes_out_alone(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        error = RuntimeError("mine")
        with pytest.raises(RuntimeError) as caught:
            async with open_websocket_importer(f"ws://127.0.0.1:{port}"):
                raise error
        assert caught.value is error


async def test_silence_is_broken_by_the_sessions_own_ping(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with served() as (exporter, open_stream):
        send = exporter.open_send_channel("jobs", int)
        async with open_importer(await open_stream()) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            await trio.sleep(3600)
            await send.send(1)
            assert await receive.receive() == 1


# The stream


def streams(
    make: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair,
    close_timeout: float = 1.0,
) -> tuple[WebSocketStream, WebSocketStream]:
    """The two ends of a WebSocket whose handshake is done."""
    client, server = make()
    return (
        WebSocketStream(client, ConnectionType.CLIENT, b"", Limits(goodbye_timeout=close_timeout)),
        WebSocketStream(server, ConnectionType.SERVER, b"", Limits(goodbye_timeout=close_timeout)),
    )


@pytest.mark.parametrize("narrow", [False, True])
async def test_is_a_stream_as_trio_understands_it(narrow: bool) -> None:
    async def make() -> tuple[WebSocketStream, WebSocketStream]:
        return streams(close_timeout=0.01)  # a sender that never stops is waited for so long

    async def make_narrow() -> tuple[WebSocketStream, WebSocketStream]:
        return streams(trio.testing.lockstep_stream_pair, close_timeout=0.01)

    await trio.testing.check_two_way_stream(make, make_narrow if narrow else None)


async def test_what_was_sent_before_the_end_is_received_and_then_the_end() -> None:
    client, server = streams()
    await client.send_all(b"last")
    await client.send_eof()
    assert await server.receive_some(2) == b"la"
    await server.send_all(b"answer")  # what came with it is not looked at before it is asked for
    assert await server.receive_some() == b"st"
    assert await server.receive_some() == b""
    assert await server.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"more")
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"more")
    await client.send_eof()
    await server.send_eof()
    assert await client.receive_some() == b"answer"
    assert await client.receive_some() == b""
    await client.aclose()
    await server.aclose()


async def test_bytes_that_are_there_already_are_received_with_a_checkpoint() -> None:
    client, server = streams()
    await client.send_all(b"ab")
    await client.send_all(b"c")
    for expected in b"a", b"b", b"c":
        with trio.testing.assert_checkpoints():
            assert await server.receive_some(1) == expected
    await client.send_eof()
    await server.aclose()


@pytest.mark.parametrize("fault", [False, True])
async def test_closing_waits_until_the_peer_has_the_close_frame(nursery: trio.Nursery, fault: bool) -> None:
    """A stream that is closed with bytes unread is reset, which can destroy what was said last."""
    theirs, ours = trio.testing.memory_stream_pair()
    stream = WebSocketStream(ours, ConnectionType.SERVER, b"", Limits(goodbye_timeout=86_400))
    if fault:
        await theirs.send_all(frame(TEXT, b"x"))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    closed = trio.Event()

    async def close() -> None:
        await stream.aclose()
        closed.set()

    nursery.start_soon(close)
    await trio.testing.wait_all_tasks_blocked()
    await theirs.send_all(frame(BINARY, b"on the way"))
    await trio.testing.wait_all_tasks_blocked()
    assert not closed.is_set()
    assert await heard(theirs, 4) == bytes([0x80 | CLOSE, 2]) + struct.pack("!H", 1003 if fault else 1000)
    if fault:
        await theirs.aclose()
    else:
        await theirs.send_all(frame(CLOSE))
    await closed.wait()


async def test_write_that_was_cut_off_finishes_the_stream() -> None:
    client, server = trio.testing.lockstep_stream_pair()
    stream = WebSocketStream(client, ConnectionType.CLIENT, b"", Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"never read")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for write in functools.partial(stream.send_all, b"more"), functools.partial(stream.send_all, b""), stream.send_eof:
        with pytest.raises(trio.BrokenResourceError, match="a write was cut off"):
            await write()
    await stream.aclose()  # without a close frame, which would stand in the middle of another
    assert len(await hear_to_end(server)) <= 2 + 4 + len(b"never read")


async def test_receiving_can_be_cancelled_anywhere_and_loses_nothing() -> None:
    client, server = streams()
    data = os.urandom(200_000)
    got = bytearray()

    async def receive(at: int) -> None:
        """Cancels itself at this checkpoint."""
        with trio.CancelScope() as scope:
            seen = 0

            class Cancel(trio.abc.Instrument):
                def before_task_step(self, task: trio.lowlevel.Task) -> None:
                    nonlocal seen
                    seen += 1
                    if seen == at:
                        scope.cancel()

            instrument = Cancel()
            trio.lowlevel.add_instrument(instrument)
            try:
                got.extend(await server.receive_some(1000))
            finally:
                trio.lowlevel.remove_instrument(instrument)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, data)
        at = 0
        while len(got) < len(data):
            at += 1
            await receive(at % 5)
    assert got == data


async def test_reader_never_waits_for_a_peer_that_does_not_read(nursery: trio.Nursery) -> None:
    """Its pings wait for their answer, only the last of them, and what else it says is taken."""
    theirs, ours = trio.testing.lockstep_stream_pair()
    async with WebSocketStream(ours, ConnectionType.SERVER, b"", Limits()) as stream:
        nursery.start_soon(stream.answer_pings)
        pings = [frame(PING, bytes([number])) for number in range(100)]
        nursery.start_soon(theirs.send_all, b"".join([*pings, frame(BINARY, b"value")]))
        assert await stream.receive_some() == b"value"
        await trio.testing.wait_all_tasks_blocked()
        first = await heard(theirs, 3)
        assert first[:2] == bytes([0x80 | PONG, 1])
        assert await heard(theirs, 3) == bytes([0x80 | PONG, 1, 99])
        nursery.start_soon(hear_to_end, theirs)


async def heard(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """The next bytes."""
    data = bytearray()
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        assert chunk, bytes(data)
        data += chunk
    return bytes(data)


# Frames by hand


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, size: int | None = None
) -> bytes:
    """A frame; `size` is what it claims, if that is not so."""
    size = len(payload) if size is None else size
    if size < 126:
        head = bytes([size])
    else:
        head = b"\x7e" + struct.pack("!H", size) if size < 2**16 else b"\x7f" + struct.pack("!Q", size)
    mask = b"\x01\x02\x03\x04" if masked else b""
    if masked:
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([opcode | (0x80 if fin else 0), head[0] | (0x80 if masked else 0)]) + head[1:] + mask + payload


def request(*lines: str, target: str = "/", **changes: str | None) -> bytes:
    """A request for a WebSocket; a header that is None is left out."""
    headers: dict[str, str | None] = {
        "Host": "127.0.0.1:80",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "chat, trionetchan.1",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    given = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {target} HTTP/1.1", *given, *lines, "", ""]).encode("latin-1")


HELLO = MAGIC + encode(Hello(VERSION, {}))


@contextlib.asynccontextmanager
async def served(
    limits: Limits | None = None, origins: Collection[str] | None = None
) -> AsyncGenerator[tuple[Exporter, Callable[[], Awaitable[WebSocketStream]]]]:
    """An exporter, and a function that connects to it by WebSocket, in memory."""
    async with trio.open_nursery() as nursery, open_exporter(limits=limits or Limits()) as exporter:

        async def open_stream() -> WebSocketStream:
            return WebSocketStream(await raw(nursery, exporter), ConnectionType.CLIENT, b"", Limits())

        yield exporter, open_stream
        nursery.cancel_scope.cancel()


async def raw(nursery: trio.Nursery, exporter: Exporter) -> trio.abc.Stream:
    """A stream in memory to the exporter, behind the handshake."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(Acceptor(exporter.serve_stream, None, Limits(), LOG, REACHED.append), theirs)
    await ours.send_all(request())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await heard(ours, 1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head, "as RFC 6455 has it for this key"
    assert b"Sec-WebSocket-Protocol: trionetchan.1\r\n" in head
    assert b"Sec-WebSocket-Extensions" not in head
    return ours


async def hear_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    data = bytearray()
    with contextlib.suppress(trio.BrokenResourceError):
        while chunk := await stream.receive_some():
            data += chunk
    return bytes(data)


@pytest.mark.parametrize("cut", [1, 2, 7, 100])
async def test_messages_are_arbitrary_cuts_of_the_stream(nursery: trio.Nursery, cut: int) -> None:
    """Also in fragments, with control frames and empty ones in between, and whatever chunks they arrive in."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int, max_buffer_size=1).send_nowait(7)
        stream = await raw(nursery, exporter)
        data = HELLO + encode(IMPORT)
        frames = b""
        for start in range(0, len(data), cut):
            middle = len(data[start : start + cut]) // 2
            frames += frame(BINARY, data[start : start + middle], fin=False) + frame(PING, b"?")
            frames += frame(CONTINUATION, b"", fin=False) + frame(PONG) + frame(BINARY - 2, data[start + middle :][:0])
            frames += frame(BINARY, data[start + middle : start + cut])
        for start in range(0, len(frames), 11):
            await stream.send_all(frames[start : start + 11])
        opened = WebSocketStream(stream, ConnectionType.CLIENT, b"", Limits())
        scripted = Scripted(opened)
        assert (await scripted.hear(Accept)).channel == 0
        assert (await scripted.hear(Data)).payload == b"\x81\x07"
        await trio.aclose_forcefully(opened)


@pytest.mark.parametrize(
    ("sent", "code", "logged"),
    [
        (frame(TEXT, b"hello"), 1003, "expected binary messages, got a text"),
        (frame(TEXT), 1003, "expected binary messages, got a text"),
        (frame(BINARY, HELLO, fin=False) + frame(TEXT, b"x"), 1003, "expected binary messages, got a text"),
        (frame(BINARY, b"", size=2**20 + 1), 1009, "messages of at most 1048576 bytes, got one of 1048577"),
        (frame(BINARY, b"", size=2**62), 1009, "expected messages of at most 1048576 bytes"),
        (
            frame(BINARY, HELLO, fin=False) + frame(CONTINUATION, size=2**20 + 1 - len(HELLO)),
            1009,
            "messages of at most 1048576 bytes, got one of 1048577",
        ),
        (frame(BINARY, HELLO, masked=False), 1002, "unmasked frame"),
        (frame(CONTINUATION, HELLO), 1002, "unexpected CONTINUATION"),
        (frame(3, HELLO), 1002, "Invalid opcode"),
        (frame(BINARY | 0x40, HELLO), 1002, "Reserved bit"),
        (frame(PING, bytes(126)), 1002, "Control frame"),
        (frame(PING, b"", fin=False), 1002, "fragment control frame"),
        (frame(CLOSE, b"\x03"), 1002, "CLOSE with 1 byte"),
        (b"\x82\xff" + b"\xff" * 12, 1002, "non-zero MSB"),
    ],
)
async def test_frames_that_may_not_come(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, sent: bytes, code: int, logged: str
) -> None:
    async with open_exporter() as exporter:
        stream = await raw(nursery, exporter)
        await stream.send_all(sent)
        await heard(stream, 2)  # the exporter's magic and hello, whose length does not matter
        nursery.start_soon(stream.send_all, frame(CLOSE, b"\x03\xe8"))
        assert (await hear_to_end_of_close(stream)) == struct.pack("!H", code)
        await stream.aclose()
        await until(lambda: exporter.statistics().connections == 0)
    assert logged in caplog.text


async def hear_to_end_of_close(stream: trio.testing.MemoryReceiveStream | trio.abc.Stream) -> bytes:
    """The payload of the close frame that is the last of what comes; the sender waits for the end of ours."""
    data = b""
    while len(data) < 4 or data[-4:-2] != bytes([0x80 | CLOSE, 2]):
        data += await heard(stream, 1)
    return data[-2:]


@pytest.mark.parametrize(
    ("close", "failure"),
    [
        (b"", "got the end of the stream"),
        (frame(CLOSE), "got the end of the stream"),
        (frame(CLOSE, struct.pack("!H", 1000)), "got the end of the stream"),
        (frame(CLOSE, struct.pack("!H", 1001)), "got the end of the stream"),
        (frame(CLOSE, struct.pack("!H", 1011) + b"on\nfire"), r"with code 1011 (on\nfire)"),
        (frame(CLOSE, struct.pack("!H", 4000)), "with code 4000 (no reason)"),
    ],
)
async def test_end_without_a_goodbye_is_a_broken_connection_whatever_its_code(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, close: bytes, failure: str
) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=1)
        send.send_nowait(7)
        stream = await raw(nursery, exporter)
        await stream.send_all(frame(BINARY, HELLO + encode(IMPORT)))
        await until(lambda: exporter.statistics().channels["jobs"].sent == 1)
        await stream.send_all(close)
        if close:
            end = await hear_to_end(stream)
            assert end.endswith(bytes([0x80 | CLOSE, 2]) + struct.pack("!H", 1000))
        await stream.aclose()
        await until(lambda: exporter.statistics().connections == 0)
        send.close()
        assert exporter.statistics().channels["jobs"].waiting == 1, "the value goes to the next"
    assert failure in caplog.text


async def test_goodbye_is_answered_and_then_comes_the_close_frame(nursery: trio.Nursery) -> None:
    """Also when both came in one chunk."""
    async with open_exporter() as exporter:
        stream = await raw(nursery, exporter)
        goodbye = encode(Goodbye(Code.FINISHED, ""))
        await stream.send_all(frame(BINARY, HELLO + goodbye) + frame(CLOSE, struct.pack("!H", 1000)))
        end = await hear_to_end(stream)
        assert end.endswith(goodbye + bytes([0x80 | CLOSE, 2]) + struct.pack("!H", 1000))


async def test_exporter_waits_for_the_close_frame_of_a_peer_for_a_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_exporter(limits=Limits(goodbye_timeout=5)) as exporter:
        stream = await raw(nursery, exporter)
        await stream.send_all(frame(BINARY, HELLO))
        await trio.testing.wait_all_tasks_blocked()
    before = trio.current_time()
    await hear_to_end(stream)
    assert before <= trio.current_time() <= before + 10


async def test_pings_are_answered(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        stream = await raw(nursery, exporter)
        await stream.send_all(frame(BINARY, HELLO) + frame(PING, b"are you there?"))
        said = b""
        while not said.endswith(bytes([0x80 | PONG, 14]) + b"are you there?"):
            said += await heard(stream, 1)
        await stream.aclose()


async def test_endless_empty_frames_do_not_hold_up_other_tasks(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        stream = await raw(nursery, exporter)
        await stream.send_all(frame(BINARY, HELLO) + frame(BINARY) * 5000)
        turns = 0
        while exporter.statistics().connections and turns < 100:
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns == 100
        await stream.aclose()


@pytest.mark.parametrize("opcode", [PING, PONG, BINARY], ids=["pings", "pongs", "empty frames"])
async def test_flood_of_frames_that_bring_nothing_ends_that_connection(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, opcode: int
) -> None:
    """Over a real socket, with a healthy importer beside it."""
    async with open_exporter(limits=Limits(max_useless_frames=300)) as exporter:
        port = await serve(nursery, exporter)
        send = exporter.open_send_channel("jobs", int)
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer:
            receive = await importer.open_receive_channel("jobs", int)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request() + frame(BINARY, HELLO) + frame(opcode) * 1000)
                heard = await hear_to_end(stream)
            close = heard[heard.rindex(bytes([0x80 | CLOSE])) :]
            assert struct.unpack("!H", close[2:4]) == (1008,)
            assert close[4:].startswith(b"expected at most 300 frames that bring nothing within 10 s, got more")
            assert heard.count(bytes([0x80 | PONG, 0])) <= 301  # no more answers than there were questions
            await until(lambda: exporter.statistics().connections == 1)
            assert exporter.statistics().limits == {"max_useless_frames": 1}
            assert len([line for line in caplog.messages if "max_useless_frames" in line]) == len(caplog.messages) == 1
            async with trio.open_nursery() as inner:
                inner.start_soon(send.send, 1)
                assert await receive.receive() == 1


async def test_few_frames_that_bring_nothing_are_forgiven_with_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = WebSocketStream(theirs, ConnectionType.SERVER, b"", Limits(max_useless_frames=10))
    nursery.start_soon(stream.answer_pings)
    for _ in range(50):
        await ours.send_all(frame(PING) * 9 + frame(PONG) + frame(BINARY, b"x"))
        assert await stream.receive_some() == b"x"
        await trio.sleep(10)
    await ours.send_all(frame(PING) * 11)
    with pytest.raises(trio.BrokenResourceError, match="expected at most 10 frames that bring nothing within 10 s"):
        await stream.receive_some()
    await ours.send_eof()
    await stream.aclose()


async def test_one_answer_waits_however_many_pings_come(nursery: trio.Nursery) -> None:
    """A client that reads nothing has nothing pile up."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    stream = WebSocketStream(theirs, ConnectionType.SERVER, b"", Limits())
    nursery.start_soon(stream.answer_pings)
    nursery.start_soon(ours.send_all, b"".join(frame(PING, bytes([number])) for number in range(200)) + frame(2, b"x"))
    assert await stream.receive_some() == b"x"
    assert stream._pong == bytes([199])
    said = b""
    while not said.endswith(bytes([0x80 | PONG, 1, 199])):
        said += await heard(ours, 1)
    assert len(said) <= 6  # the first, which was being written, and the last
    await trio.aclose_forcefully(stream)


async def test_flood_can_be_cancelled_in_the_middle(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = WebSocketStream(theirs, ConnectionType.SERVER, b"", Limits())
    await ours.send_all(frame(PONG) * 1000 + frame(BINARY, b"x"))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(stream.receive_some)
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert next(stream._protocol.events(), None) is not None  # it did not wait until all had been looked at
    assert await stream.receive_some() == b"x"
    await trio.aclose_forcefully(stream)


# Handshakes that do not succeed


async def answered(port: int, data: bytes) -> bytes:
    """What an exporter says to this, up to its end."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        return await hear_to_end(stream)


REFUSED = {
    "no upgrade": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "Upgrade"),
    "no upgrade header": (request(Upgrade=None), 400, "Upgrade"),
    "no connection header": (request(Connection="close"), 400, "Upgrade"),
    "no key": (request(Sec_WebSocket_Key=None), 400, "Key"),
    "no version": (request(Sec_WebSocket_Version=None), 400, "Version"),
    "another version": (request(Sec_WebSocket_Version="8"), 426, "Version"),
    "no host": (request(Host=None), 400, "fault"),
    "host in no alphabet": (request(Host="xn--\xff"), 400, "ASCII"),
    "path": (request(target="/jobs"), 404, "expected the path /, got /jobs"),
    "method": (request().replace(b"GET", b"POST"), 400, "expected HTTP that begins with"),
    "old HTTP": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 505, "expected HTTP/1.1"),
    "body": (request(Content_Length="5"), 400, "expected a request without a body"),
    "no subprotocol": (request(Sec_WebSocket_Protocol=None), 400, "expected the subprotocol trionetchan.1, got none"),
    "another subprotocol": (request(Sec_WebSocket_Protocol="trionetchan.2"), 400, "got trionetchan.2"),
    "subprotocol in no alphabet": (request(Sec_WebSocket_Protocol="\xff"), 400, "ASCII"),
    "large headers": (request(Cookie="x" * 2**15), 431, "at most 16384 bytes"),
    "endless headers": (request(Cookie="x" * 2**15)[:-4], 431, "at most 16384 bytes"),
    "not HTTP": (b"\x00\x01\x02\x03", 400, "got b'\\x00\\x01\\x02\\x03'"),
    "our own protocol": (HELLO, 400, "expected HTTP that begins with"),
    "bad header": (request("Nonsense\x00: 1"), 400, "fault"),
    "origin": (request(Origin="https://evil.example"), 403, "got https://evil.example"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_are_refused(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, case: str) -> None:
    data, status, why = REFUSED[case]
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        exporter.open_send_channel("jobs", int, max_buffer_size=1).send_nowait(1)
        answer = (await answered(port, data)).decode()
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} "), answer
        assert why in body
        assert ("Sec-WebSocket-Version: 13" in head) == (status == 426)
        await until(lambda: why in caplog.text)
        assert "the connection with ('127.0.0.1', " in caplog.text
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer:
            assert await (await importer.open_receive_channel("jobs", int)).receive() == 1


async def test_client_that_goes_away_or_is_slow_is_logged(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_exporter() as exporter:
        acceptor = Acceptor(exporter.serve_stream, None, Limits(handshake_timeout=10), LOG, REACHED.append)
        for gone in True, False:
            ours, theirs = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as inner:
                inner.start_soon(acceptor, theirs)
                before = trio.current_time()
                await ours.send_all(request()[:-1])
                if gone:
                    await ours.send_eof()
                assert await hear_to_end(ours) == b""
                assert trio.current_time() - before == (0 if gone else 10)
    assert "got the end of the stream after" in caplog.text
    assert "expected the handshake of a WebSocket within 10 s, got none" in caplog.text


async def test_refused_client_is_heard_until_it_has_the_answer(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        over = trio.Event()

        async def accept() -> None:
            await Acceptor(exporter.serve_stream, None, Limits(goodbye_timeout=86_400), LOG, REACHED.append)(theirs)
            over.set()

        nursery.start_soon(accept)
        await ours.send_all(b"nonsense")
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(b"more of it")
        await trio.testing.wait_all_tasks_blocked()
        assert not over.is_set()
        await ours.send_eof()
        assert (await hear_to_end(ours)).startswith(b"HTTP/1.1 400 ")
        await over.wait()


async def test_refused_client_that_stays_is_left(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    async with open_exporter() as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.fail_after(10):
            await ours.send_all(b"nonsense")
            await Acceptor(exporter.serve_stream, None, Limits(), LOG, REACHED.append)(theirs)


async def test_cancelled_handshake_closes_the_stream(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as inner:
            inner.start_soon(Acceptor(exporter.serve_stream, None, Limits(), LOG, REACHED.append), theirs)
            await trio.testing.wait_all_tasks_blocked()
            inner.cancel_scope.cancel()
        assert await ours.receive_some() == b""


async def test_fault_of_our_own_in_the_handshake_does_not_stop_the_exporter(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("a fault")

    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        exporter.open_send_channel("jobs", int).close()
        with monkeypatch.context() as patch:
            patch.setattr(websocket_handshake, "_check", fail)
            assert await answered(port, request()) == b""
        async with open_websocket_importer(f"ws://127.0.0.1:{port}") as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == []
    assert "a fault" in caplog.text


# Origins


@pytest.mark.parametrize(
    ("origins", "origin", "host", "allowed"),
    [
        (None, None, "example.org", True),
        (None, "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        (None, "http://LOCALHOST:8000", "localhost:8000", True),
        (None, "http://[::1]:8000", "[::1]:8000", True),
        (None, "https://127.0.0.1:8000", "127.0.0.1:8000", False),
        (None, "http://127.0.0.1:8001", "127.0.0.1:8000", False),
        (None, "http://127.0.0.1", "127.0.0.1:8000", False),
        (None, "http://rebound.example:8000", "rebound.example:8000", False),
        (None, "null", "127.0.0.1:8000", False),
        (None, "", "127.0.0.1:8000", False),
        ((), "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        (["https://example.org"], "https://example.org", "x", True),
        (["https://Example.org"], "https://example.org", "x", True),
        (["https://example.org"], None, "x", True),
        (["https://example.org"], "http://example.org", "x", False),
        (["https://example.org"], "https://example.org:444", "x", False),
        (["https://example.org"], "https://sub.example.org", "x", False),
        (["https://example.org"], "https://example.org.evil.example", "x", False),
        (["https://example.org"], "null", "x", False),
        (["https://example.org", "null"], "null", "x", True),
        ({"*"}, "https://anything.example", "x", True),
        ({"*"}, "null", "x", True),
    ],
)
async def test_origins(
    nursery: trio.Nursery, origins: Collection[str] | None, origin: str | None, host: str, allowed: bool
) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter, origins=origins)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request(Origin=origin, Host=host))
            assert await heard(stream, 13) == (b"HTTP/1.1 101 " if allowed else b"HTTP/1.1 403 ")


async def test_two_origins_are_none_that_is_allowed(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter, origins=["https://example.org"])
        two = request("Origin: https://example.org", Origin="https://example.org")
        assert (await answered(port, two)).startswith(b"HTTP/1.1 403 ")


async def test_same_origin_over_tls(nursery: trio.Nursery, authority: trustme.CA) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter, ssl_context=server_context(authority))
        for scheme, status in ("https", b"101"), ("http", b"403"):
            plain = await trio.open_tcp_stream("127.0.0.1", port)
            async with trio.SSLStream(plain, client_context(authority), server_hostname="127.0.0.1") as stream:
                host = f"127.0.0.1:{port}"
                await stream.send_all(request(Origin=f"{scheme}://{host}", Host=host))
                assert await heard(stream, 12) == b"HTTP/1.1 " + status


@pytest.mark.parametrize(
    ("origins", "error"),
    [
        ("https://example.org", TypeError),
        (["https://example.org/"], ValueError),
        (["example.org"], ValueError),
        (["https://"], ValueError),
        ([""], ValueError),
    ],
)
async def test_origins_are_checked(origins: Collection[str], error: type[Exception]) -> None:
    async with open_exporter() as exporter:
        with pytest.raises(error, match="origins: expected"):
            await exporter.serve_websocket(0, origins=origins)


# Servers that are none


@contextlib.asynccontextmanager
async def server_that_says(nursery: trio.Nursery, answer: bytes | None) -> AsyncGenerator[str]:
    """A server that answers any request with this (or accepts the key, if None), and closes when the client does."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer is not None:
                await stream.send_all(answer)
            await hear_to_end(stream)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, handle, [listener])
    yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "expected 101 Switching Protocols, got 200 OK: hello"),
        (b"HTTP/1.1 404 Nothing\r\nContent-Length: 0\r\n\r\n", "got 404 Not Found"),
        (b"HTTP/1.0 301 Moved\r\nLocation: /x\r\n\r\n", "got 301 Moved Permanently"),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Bad accept token"),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "Missing header"),
        (b"HTTP/1.1 101 Yes\r\nX: " + b"x" * 2**15, "expected headers of at most 16384 bytes"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "expected HTTP that begins with 'HTTP/1.', got b'SSH-2.0-OpenSSH_'"),
        (HELLO, "expected HTTP that begins with 'HTTP/1.'"),
    ],
)
async def test_server_that_opens_no_websocket(nursery: trio.Nursery, answer: bytes, said: str) -> None:
    async with trio.open_nursery() as inner, server_that_says(inner, answer) as url:
        with pytest.raises(ProtocolError) as caught:
            async with open_websocket_importer(url):
                pytest.fail("it opened")
        assert said in str(caught.value)
        assert url in str(caught.value)


async def test_refusal_by_an_exporter_is_told(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        with pytest.raises(ProtocolError, match="got 404 Not Found: expected the path /, got /jobs"):
            async with open_websocket_importer(f"ws://127.0.0.1:{port}/jobs?secret"):
                pytest.fail("it opened")
        async with open_websocket_importer(f"ws://127.0.0.1:{port}?token"):
            pass


async def test_server_that_chooses_no_subprotocol_is_told_why(nursery: trio.Nursery) -> None:
    codes: list[int | None] = []

    def handle(connection: websockets.sync.server.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            connection.recv()
        codes.append(connection.close_code)

    with websockets_server(handle, []) as url:
        with pytest.raises(ProtocolError, match=r"expected the subprotocol trionetchan\.1, got none"):
            async with open_websocket_importer(url):
                pytest.fail("it opened")
        await until(lambda: codes != [])
    assert codes == [1002]


async def test_server_that_says_nothing(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(ConnectionLostError, match=r"ws://127\.0\.0\.1: expected a WebSocket within 10 s, got none"):
        async with connected(ours, PLAIN, Limits()):
            pytest.fail("it opened")
    assert await hear_to_end(theirs)


async def test_server_that_goes_away(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_eof()
    with pytest.raises(ProtocolError, match="got the end of the stream after 0 bytes"):
        async with connected(ours, PLAIN, Limits()):
            pytest.fail("it opened")


async def test_nobody_listens() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(OSError, match=str(port)):
        async with open_websocket_importer(f"ws://127.0.0.1:{port}"):
            pytest.fail("it opened")


async def test_tls_of_an_authority_that_is_not_known(nursery: trio.Nursery, authority: trustme.CA) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter, ssl_context=server_context(authority))
        for context in None, client_context(trustme.CA()):
            with pytest.raises(ConnectionLostError, match="a certificate of an authority that this side does not know"):
                async with open_websocket_importer(f"wss://127.0.0.1:{port}", ssl_context=context):
                    pytest.fail("it opened")


async def test_other_transports_at_a_websocket(nursery: trio.Nursery, authority: trustme.CA) -> None:
    """Each learns what it has met."""
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        with pytest.raises(ProtocolError, match=r"got b'HTTP/1\.1"):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await importer.open_receive_channel("jobs", int)
        with pytest.raises(ConnectionLostError, match="bytes that are not TLS"):
            async with open_websocket_importer(f"wss://127.0.0.1:{port}", ssl_context=client_context(authority)):
                pytest.fail("it opened")


# Addresses


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("ws://example.org", Address(False, "example.org", 80, "/"), "example.org"),
        ("ws://example.org:8000/", Address(False, "example.org", 8000, "/"), "example.org:8000"),
        ("wss://example.org/a/b?c=d", Address(True, "example.org", 443, "/a/b?c=d"), "example.org"),
        ("wss://example.org:80?x", Address(True, "example.org", 80, "/?x"), "example.org:80"),
        ("ws://[::1]:8000", Address(False, "::1", 8000, "/"), "[::1]:8000"),
    ],
)
def test_urls(url: str, address: Address, authority: str) -> None:
    assert parse_url(url) == address
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    ["", "http://x", "127.0.0.1:8000", "ws://", "ws:///x", "ws://x:y", "ws://x:70000", "ws://u@x", "ws://x#f"],
)
async def test_bad_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        async with open_websocket_importer(url):
            pytest.fail("it opened")


@pytest.mark.parametrize("path", ["/ y", "/é", "/\r\nHost: y", "/#f"])
async def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match=r"expected a URL"):
        async with open_websocket_importer(f"ws://127.0.0.1{path}"):
            pytest.fail("it opened")


async def test_ssl_context_where_it_does_not_belong() -> None:
    with pytest.raises(ValueError, match="expected a URL with wss://"):
        async with open_websocket_importer("ws://127.0.0.1", ssl_context=ssl.create_default_context()):
            pytest.fail("it opened")
    wrong = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with pytest.raises(ValueError, match="expected an `ssl_context` for clients"):
        async with open_websocket_importer("wss://127.0.0.1", ssl_context=wrong):
            pytest.fail("it opened")
    async with open_exporter() as exporter:
        with pytest.raises(ValueError, match="expected an `ssl_context` for servers"):
            await exporter.serve_websocket(0, ssl_context=ssl.create_default_context())


async def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wsproto")]:
        monkeypatch.setitem(sys.modules, name, cast("Any", None))
    for name in "websocket", "websocket_handshake":
        monkeypatch.delitem(sys.modules, f"trionetchan._network.{name}")
    told = r'expected the package wsproto for WebSocket: pip install "trionetchan\[websocket\]"'
    with pytest.raises(ImportError, match=told):
        async with open_websocket_importer("ws://127.0.0.1"):
            pytest.fail("it opened")
    async with open_exporter() as exporter:
        with pytest.raises(ImportError, match=told):
            await exporter.serve_websocket(0)


# Another library's client and server


class Foreign(trio.abc.Stream):
    """The stream over a connection of the package websockets, which blocks."""

    def __init__(self, connection: websockets.sync.client.ClientConnection | websockets.sync.server.ServerConnection):
        self._connection = connection

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await trio.to_thread.run_sync(self._connection.send, bytes(data))
        except websockets.ConnectionClosed as error:
            raise trio.BrokenResourceError from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            message = await trio.to_thread.run_sync(self._connection.recv, abandon_on_cancel=True)
        except websockets.ConnectionClosedOK:
            return b""
        except websockets.ConnectionClosedError as error:
            raise trio.BrokenResourceError from error
        assert isinstance(message, bytes)
        return message

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._connection.close)


@contextlib.contextmanager
def websockets_server(
    handle: Callable[[websockets.sync.server.ServerConnection], None], subprotocols: list[str]
) -> Generator[str]:
    """The URL of a server that handles each connection in a thread."""

    def choose_none(connection: object, offered: object) -> None:
        """Goes on without one."""

    choose = None if subprotocols else choose_none
    offered = cast("Any", subprotocols) or None
    server = websockets.sync.server.serve(handle, "127.0.0.1", 0, subprotocols=offered, select_subprotocol=choose)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def websockets_client(url: str, compression: str | None) -> websockets.sync.client.ClientConnection:
    offered = [cast("Any", "trionetchan.1")]
    opening = websockets.sync.client.connect(url, subprotocols=offered, compression=compression, proxy=None)
    return opening.__enter__()  # left by the stream's `aclose`


async def exchange(exporter: Exporter, importer: Any) -> None:
    """Values both ways, with their ends."""
    values = [b"", os.urandom(3 * 2**20), *(bytes([number]) for number in range(100))]
    send, results = exporter.open_send_channel("jobs", bytes), exporter.open_receive_channel("results", bytes)
    receive = await importer.open_receive_channel("jobs", bytes)
    to_results = await importer.open_send_channel("results", bytes)
    async with trio.open_nursery() as inner:
        inner.start_soon(put, send, values)
        inner.start_soon(put, to_results, values)
        inner.start_soon(expect, receive, values)
        assert await take_all(results) == values


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_another_librarys_client(nursery: trio.Nursery, compression: str | None) -> None:
    async with open_exporter() as exporter:
        port = await serve(nursery, exporter)
        url = f"ws://127.0.0.1:{port}"
        connection = await trio.to_thread.run_sync(functools.partial(websockets_client, url, compression))
        assert connection.subprotocol == "trionetchan.1"
        pong = await trio.to_thread.run_sync(connection.ping)
        async with open_importer(Foreign(connection)) as importer:
            await exchange(exporter, importer)
            assert await trio.to_thread.run_sync(pong.wait, 5)
        assert connection.close_code == 1000
        await until(lambda: exporter.statistics().connections == 0)


async def test_another_librarys_server(nursery: trio.Nursery) -> None:
    opened: list[websockets.sync.server.ServerConnection] = []
    over = threading.Event()

    def handle(connection: websockets.sync.server.ServerConnection) -> None:
        opened.append(connection)
        over.wait(10)

    with websockets_server(handle, ["trionetchan.1"]) as url:
        async with open_exporter() as exporter, open_websocket_importer(url) as importer:
            await until(lambda: opened != [])
            nursery.start_soon(exporter.serve_stream, Foreign(opened[0]))
            await exchange(exporter, importer)
        over.set()
    assert opened[0].close_code == 1000
