"""What may carry a connection: TLS, unix sockets, any `trio.abc.Stream`; and how a peer that fell silent is noticed."""

from __future__ import annotations

import functools
import math
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from support import connect, connected, put, serve_tcp, take_all, until

from trionetchan import (
    ConnectionLostError,
    Exporter,
    Limits,
    NetchanError,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_unix_importer,
)

VALUES = [bytes([number]) * 3000 for number in range(200)]


async def exchange(stream: trio.abc.Stream, exporter: Exporter) -> None:
    """Sends values both ways over the stream, with nothing lost; the exporter serves its other end."""
    async with open_importer(stream) as importer:
        down, up = exporter.open_send_channel("down", bytes), exporter.open_receive_channel("up", bytes)
        from_down = await importer.open_receive_channel("down", bytes)
        to_up = await importer.open_send_channel("up", bytes)
        async with trio.open_nursery() as inner:
            inner.start_soon(put, down, VALUES)

            async def echo() -> None:
                async with to_up:
                    async for value in from_down:
                        await to_up.send(value)

            inner.start_soon(echo)
            assert await take_all(up) == VALUES
    exporter.hangup("down")


class Through(trio.abc.Stream):
    """A stream through another one; the tests' streams are made of it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


class ByteByByte(Through):
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(1)


class Freezing(Through):
    """From `freeze()` on, what is sent disappears and nothing arrives, as when a cable was pulled."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.frozen = trio.CancelScope()

    def freeze(self) -> None:
        self.frozen.cancel()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.frozen.cancel_called:
            await trio.lowlevel.checkpoint()
        else:
            await super().send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with trio.CancelScope() as scope:
            self.frozen = scope if not self.frozen.cancel_called else self.frozen
            if not self.frozen.cancel_called:
                return await super().receive_some(max_bytes)
        await trio.sleep_forever()
        raise AssertionError


class Stuck(Freezing):
    """From `freeze()` on a send does not return: the peer's window is full."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.frozen.cancel_called:
            await trio.sleep_forever()
        await super().send_all(data)


# Any stream


@pytest.mark.parametrize("kind", ["memory", "lockstep", "socket pair", "byte by byte"])
@pytest.mark.promise(2)
async def test_any_stream(nursery: trio.Nursery, kind: str) -> None:
    async with open_exporter() as exporter:
        ours: trio.abc.Stream
        theirs: trio.abc.Stream
        if kind == "memory":
            ours, theirs = trio.testing.memory_stream_pair()
        elif kind == "lockstep":
            ours, theirs = trio.testing.lockstep_stream_pair()
        elif kind == "socket pair":
            ours, theirs = map(trio.SocketStream, map(trio.socket.from_stdlib_socket, socket.socketpair()))
        else:
            ours, theirs = map(ByteByByte, trio.testing.memory_stream_pair())
        nursery.start_soon(exporter.serve_stream, theirs)
        values = VALUES[:5] if kind == "byte by byte" else VALUES
        down = exporter.open_send_channel("first", bytes)
        async with open_importer(ours) as importer:
            nursery.start_soon(put, down, values)
            assert await take_all(await importer.open_receive_channel("first", bytes)) == values
        if kind != "byte by byte":
            # Each connection has its own streams: the first pair was closed with its block.
            again_ours, again_theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, again_theirs)
            await exchange(again_ours, exporter)


async def test_serve_stream_returns_when_the_connection_has_ended() -> None:
    """And the stream, which it was given, is closed."""
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        ours, theirs = trio.testing.memory_stream_pair()
        serving.start_soon(exporter.serve_stream, theirs)
        async with open_importer(ours):
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().connections == 1
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().connections == 0
        for stream in (ours, theirs):
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"x")


@pytest.mark.promise(43)
async def test_several_listeners_and_streams_at_once(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        ports = [await serve_tcp(serving, exporter) for _ in range(2)]
        await serving.start(exporter.serve_unix, tmp_path / "socket")
        send = exporter.open_send_channel("jobs", int)
        async with (
            open_tcp_importer("127.0.0.1", ports[0]) as a,
            open_tcp_importer("localhost", ports[1]) as b,
            open_unix_importer(tmp_path / "socket") as c,
            connect(nursery, exporter) as d,
        ):
            receives = [await importer.open_receive_channel("jobs", int, count=1) for importer in (a, b, c, d)]
            assert exporter.statistics().connections == 4
            for value in range(4):
                await send.send(value)
            assert sorted([await receive.receive() for receive in receives]) == [0, 1, 2, 3]
        serving.cancel_scope.cancel()


async def test_tcp_is_on_the_loopback_unless_told(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        cases: list[tuple[dict[str, Any], set[str]]] = [
            ({}, {"127.0.0.1"}),
            ({"host": "127.0.0.1"}, {"127.0.0.1"}),
            ({"host": None}, {"0.0.0.0", "::"}),
        ]
        for options, expected in cases:
            serve = functools.partial(exporter.serve_tcp, 0, **options)
            listeners: list[trio.SocketListener] = await serving.start(serve)
            assert {listener.socket.getsockname()[0] for listener in listeners} <= expected
        serving.cancel_scope.cancel()


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("exporter.example").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


async def test_tls(nursery: trio.Nursery, authority: trustme.CA) -> None:
    client = client_context(authority)
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server_context(authority))
        send, results = exporter.open_send_channel("jobs", bytes), exporter.open_receive_channel("results", bytes)
        opening = open_tcp_importer("127.0.0.1", port, ssl_context=client, server_hostname="exporter.example")
        async with opening as importer:
            receive = await importer.open_receive_channel("jobs", bytes)
            to_results = await importer.open_send_channel("results", bytes)
            async with trio.open_nursery() as inner:
                inner.start_soon(put, send, VALUES)
                inner.start_soon(put, to_results, VALUES)
                assert await take_all(receive) == VALUES
                assert await take_all(results) == VALUES
        await until(lambda: exporter.statistics().connections == 0)


async def test_tls_with_the_wrong_name_or_authority(nursery: trio.Nursery, authority: trustme.CA) -> None:
    """No importer gets through; the exporter, and an importer that is right, do not notice."""
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server_context(authority))
        send = exporter.open_send_channel("jobs", int)
        right = client_context(authority)
        async with open_tcp_importer(
            "127.0.0.1", port, ssl_context=right, server_hostname="exporter.example"
        ) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            for context, name in (
                (right, "other.example"),
                (right, None),  # the name is the host's, 127.0.0.1
                (client_context(trustme.CA()), "exporter.example"),
            ):
                with pytest.raises((OSError, NetchanError)):
                    async with open_tcp_importer("127.0.0.1", port, ssl_context=context, server_hostname=name) as wrong:
                        await wrong.open_receive_channel("jobs", int)
            with pytest.raises(NetchanError):
                async with open_tcp_importer("127.0.0.1", port) as plain:
                    await plain.open_receive_channel("jobs", int)
            await send.send(1)
            assert await receive.receive() == 1


async def test_tls_importer_at_a_plain_port(nursery: trio.Nursery, authority: trustme.CA) -> None:
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises((OSError, NetchanError)):
            async with open_tcp_importer("127.0.0.1", port, ssl_context=client_context(authority)) as importer:
                await importer.open_receive_channel("jobs", int)


@pytest.mark.promise(31)
async def test_tls_that_is_cut_is_no_clean_end(nursery: trio.Nursery, authority: trustme.CA) -> None:
    """Truncation, without TLS's own goodbye nor ours."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        port = await serve_tcp(nursery, exporter, ssl_context=server_context(authority))
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(plain, client_context(authority), server_hostname="exporter.example")
        with pytest.raises(ConnectionLostError):
            async with open_importer(stream) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                plain.socket.shutdown(socket.SHUT_RDWR)
                await receive.receive()
        await until(lambda: exporter.statistics().connections == 0)


# Unix sockets


async def test_unix_socket(nursery: trio.Nursery, tmp_path: Path) -> None:
    """The socket file is there while it is served, and not after; the path may be a string."""
    for path in (tmp_path / "a socket", str(tmp_path / "other")):
        async with open_exporter() as exporter, trio.open_nursery() as serving:
            listeners: list[trio.SocketListener] = await serving.start(exporter.serve_unix, path)
            assert len(listeners) == 1
            assert await trio.Path(path).is_socket()
            send = exporter.open_send_channel("jobs", bytes)
            async with open_unix_importer(path) as importer:
                serving.start_soon(put, send, VALUES)
                assert await take_all(await importer.open_receive_channel("jobs", bytes)) == VALUES
            serving.cancel_scope.cancel()
        assert not await trio.Path(path).exists()


async def test_stale_unix_socket_is_replaced(nursery: trio.Nursery, tmp_path: Path) -> None:
    """A socket file that no one listens at is what a killed exporter leaves."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.is_socket()
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        await serving.start(exporter.serve_unix, path)
        exporter.open_send_channel("jobs", int).close()
        async with open_unix_importer(path) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == []
        serving.cancel_scope.cancel()
    assert not path.exists()


async def test_live_unix_socket_is_refused(nursery: trio.Nursery, tmp_path: Path) -> None:
    """`OSError`; the one that lives there goes on, and its file stays."""
    path = tmp_path / "socket"
    async with open_exporter() as first, open_exporter() as second, trio.open_nursery() as serving:
        await serving.start(first.serve_unix, path)
        with pytest.raises(OSError, match=r".+"):
            await second.serve_unix(path)
        with pytest.raises(OSError, match=r".+"):
            await first.serve_unix(path)
        first.open_send_channel("jobs", int).close()
        async with open_unix_importer(path) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == []
        serving.cancel_scope.cancel()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file"])
async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "path", tmp_path / "target"
    target.write_text("mine")
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
    async with open_exporter() as exporter:
        with pytest.raises(OSError, match=r".+"):
            await exporter.serve_unix(path)
    assert path.is_dir() if kind == "directory" else path.read_text() == "mine"
    assert path.is_symlink() == (kind == "link to a file")


async def test_socket_file_of_another_is_not_unlinked(tmp_path: Path) -> None:
    """A file that was put in the place of ours meanwhile is not ours to remove."""
    path = tmp_path / "socket"
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        await serving.start(exporter.serve_unix, path)
        path.unlink()
        path.write_text("mine")
        serving.cancel_scope.cancel()
    assert path.read_text() == "mine"


async def test_unix_socket_in_a_missing_directory(tmp_path: Path) -> None:
    async with open_exporter() as exporter:
        with pytest.raises(OSError, match=r".+"):
            await exporter.serve_unix(tmp_path / "nothing" / "socket")


# Keepalive


@pytest.mark.parametrize("kind", [Freezing, Stuck])
@pytest.mark.promise(46)
async def test_silent_peer_is_dropped(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, kind: type[Freezing]
) -> None:
    """By both sides after `keepalive_timeout`: the importer's block raises, and its values go to another importer."""
    limits = Limits(keepalive=15, keepalive_timeout=30)
    async with open_exporter(limits=limits) as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        ours, theirs = map(kind, trio.testing.memory_stream_pair())
        nursery.start_soon(exporter.serve_stream, theirs)
        start = math.inf
        with pytest.raises(ConnectionLostError):
            async with open_importer(ours, limits=limits) as importer:
                await importer.open_receive_channel("jobs", int)
                for value in range(5):
                    send.send_nowait(value)
                await trio.testing.wait_all_tasks_blocked()
                start = trio.current_time()
                ours.freeze()
                theirs.freeze()
                await trio.sleep_forever()
        assert 14 <= trio.current_time() - start <= 50
        with trio.fail_after(30):
            await until(lambda: exporter.statistics().connections == 0)
        send.close()
        async with connect(nursery, exporter) as second:
            assert await take_all(await second.open_receive_channel("jobs", int)) == list(range(5))


@pytest.mark.promise(46)
async def test_half_open_connection_is_noticed(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """One direction only is dead: what the importer says still arrives, but it hears nothing."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        deaf = Freezing(ours)
        nursery.start_soon(exporter.serve_stream, theirs)
        start = math.inf
        with pytest.raises(ConnectionLostError):
            async with open_importer(deaf) as importer:
                await importer.open_receive_channel("jobs", int)
                start = trio.current_time()
                deaf.frozen.cancel()
                await trio.sleep_forever()
        assert trio.current_time() - start <= 60


@pytest.mark.promise(46)
async def test_idle_connection_lives(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        for value in range(3):
            await trio.sleep(3600)
            await send.send(value)
            assert await receive.receive() == value


@pytest.mark.promise(46)
async def test_stall_of_ones_own_loop_is_not_a_dead_peer(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    """The clock jumps, as after a long computation or a suspended machine: the peer gets its chance to answer."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        for value, seconds in enumerate((31, 100, 10_000, 29, 16, 46)):
            mock_clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()
            await send.send(value)
            assert await receive.receive() == value


@pytest.mark.promise(46)
async def test_stall_over_tcp(nursery: trio.Nursery) -> None:
    """The loop stands still for longer than the timeout, which is real time here."""
    limits = Limits(keepalive=0.1, keepalive_timeout=0.3)
    async with connected(nursery, "tcp", limits) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        for value in range(3):
            await trio.testing.wait_all_tasks_blocked()
            time.sleep(0.5)  # noqa: ASYNC251  a computation that does not yield
            await send.send(value)
            assert await receive.receive() == value


@pytest.mark.parametrize("side", ["exporter", "importer"])
@pytest.mark.promise(20)
async def test_receiver_that_is_gone_is_noticed_at_the_next_tick(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, side: str
) -> None:
    """Without any value that could tell: the values that wait for it go to another, or its sender is told."""
    async with connected(nursery) as (exporter, importer):
        if side == "importer":
            send = exporter.open_send_channel("jobs", int)
            (await importer.open_receive_channel("jobs", int)).close()
            await trio.sleep(60)
            assert exporter.statistics().channels["jobs"].peers == 0
            async with connect(nursery, exporter) as second:
                receive = await second.open_receive_channel("jobs", int)
                await send.send(1)
                assert await receive.receive() == 1
        else:
            exporter.open_receive_channel("results", int).close()
            to_results = await importer.open_send_channel("results", int)
            assert (await importer.errors.receive()).channel == "results"
            with pytest.raises(trio.BrokenResourceError):
                await to_results.send(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"keepalive": 0},
        {"keepalive": -1},
        {"keepalive": math.nan},
        {"keepalive_timeout": 0},
        {"goodbye_timeout": -1},
        {"max_value_size": 0},
        {"max_value_size": -1},
        {"max_buffered_bytes": 0},
        {"max_window": 0},
        {"max_channels": -1},
        {"max_unread_errors": -1},
        {"max_frame_size": 0},
    ],
)
def test_limits_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
