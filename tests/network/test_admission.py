"""How many connections an exporter has at a time, and who goes when there are too many."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing
import trustme
from scripted import Scripted
from support import until
from test_websocket import hear_to_end, request

from trionetchan import (
    ConnectionLostError,
    Exporter,
    Importer,
    LimitError,
    Limits,
    ProtocolError,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_unix_importer,
    open_websocket_importer,
)
from trionetchan._errors import Code
from trionetchan._network.admission import _address_of
from trionetchan._protocol.frames import MAGIC, VERSION, Goodbye, Hello, Ping, Pong, encode

pytestmark = pytest.mark.promise(73)

CYCLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))


@attrs.define
class Served:
    """An exporter, its port, and connections to it."""

    exporter: Exporter
    port: int
    form: str
    streams: list[trio.SocketStream] = attrs.field(factory=list[trio.SocketStream])

    @property
    def limits(self) -> Mapping[str, int]:
        """Which were reached, how many times."""
        return self.exporter.statistics().limits

    @property
    def admitted(self) -> int:
        return self.exporter._admission.count

    async def call(self, address: str | None = None) -> Scripted:
        """One more connection, from this address."""
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address))
        return Scripted(self.streams[-1])

    def importer(self, ssl_context: ssl.SSLContext | None = None) -> AbstractAsyncContextManager[Importer]:
        """One that is healthy."""
        if self.form == "tcp":
            return open_tcp_importer("127.0.0.1", self.port, ssl_context=ssl_context)
        url = f"{'wss' if ssl_context else 'ws'}://127.0.0.1:{self.port}"
        return open_websocket_importer(url, ssl_context=ssl_context)

    async def silent(self, address: str | None = None) -> Scripted:
        """One that is there and has said nothing."""
        peer = await self.call(address)
        magic = await peer.stream.receive_some(3)
        assert len(magic) == 3
        assert [*peer._cutter.cut(bytes(magic))] == []
        return peer

    async def greeted(self, address: str | None = None) -> Scripted:
        """One that has said hello."""
        peer = await self.silent(address)
        await peer.greet()
        await peer.hear(Hello)
        return peer


@contextlib.asynccontextmanager
async def serving(
    nursery: trio.Nursery, form: str = "tcp", ssl_context: ssl.SSLContext | None = None, **limits: Any
) -> AsyncGenerator[Served]:
    """An exporter with such limits."""
    async with open_exporter(limits=Limits(**limits)) as exporter:
        serve = exporter.serve_tcp if form == "tcp" else exporter.serve_websocket
        [listener] = await nursery.start(functools.partial(serve, 0, ssl_context=ssl_context))
        served = Served(exporter, listener.port, form)
        try:
            yield served
        finally:
            for stream in served.streams:
                await trio.aclose_forcefully(stream)


async def works(served: Served, importer: Importer) -> bool:
    """A value of its own goes to it."""
    send = served.exporter.open_send_channel("jobs", int)
    receive = await importer.open_receive_channel("jobs", int)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send.send, 1)
        value = await receive.receive()
    send.close()
    return value == 1


async def is_alive(peer: Scripted) -> bool:
    await peer.say(Ping(1))
    await peer.hear(Pong)
    return True


async def last_word(peer: Scripted) -> Goodbye:
    """What the exporter has ended the connection with."""
    goodbye = (await peer.hear_all())[-1]
    assert isinstance(goodbye, Goodbye)
    return goodbye


# The oldest that is silent goes


async def test_the_oldest_silent_connection_makes_room(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(nursery, max_connections=3) as served:
        old = await served.greeted()
        first = await served.silent()
        second = await served.silent()
        third = await served.silent()
        goodbye = await last_word(first)
        assert goodbye.code is Code.LIMIT
        assert goodbye.message.startswith("expected at most 3 connections (max_connections), got one more")
        fourth = await served.greeted()
        assert (await last_word(second)).code is Code.LIMIT
        await third.greet()
        await third.hear(Hello)
        assert [await is_alive(peer) for peer in (old, third, fourth)] == [True] * 3
        assert served.limits == {"max_connections": 2}
        assert served.admitted == served.exporter.statistics().connections == 3
        lines = [line for line in caplog.messages if "oldest without a hello" in line]
        assert len(lines) == len(caplog.messages) == 2
        assert all("127.0.0.1" in line for line in lines)


async def test_silent_connections_lock_nobody_out(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_connections=10) as served:
        for _ in range(100):
            await served.call()
        async with served.importer() as importer:
            assert await works(served, importer)
        assert served.admitted <= 10


# All have said hello: the new one is refused


async def test_where_all_have_said_hello_the_new_one_is_refused(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(nursery, max_connections=2) as served:
        peers = [await served.greeted() for _ in range(2)]
        for number in range(1, 4):
            refused = await served.call()
            goodbye = await last_word(refused)
            assert goodbye == Goodbye(Code.LIMIT, "expected at most 2 connections (max_connections), got one more")
            assert len(refused.heard) == 1
            assert served.limits == {"max_connections": number}
        assert len([line for line in caplog.messages if "was refused" in line]) == len(caplog.messages) == 3
        assert [await is_alive(peer) for peer in peers] == [True, True]
        await peers[0].stream.aclose()
        await until(lambda: served.admitted == 1)
        assert await is_alive(await served.greeted())


async def test_an_importer_that_is_refused_learns_why(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_connections=1) as served, served.importer() as first:
        served.exporter.open_send_channel("jobs", int)
        await first.open_receive_channel("jobs", int)
        with pytest.raises(LimitError, match=r"the peer ended the connection: expected at most 1 connections"):
            async with served.importer() as second:
                await second.open_receive_channel("jobs", int)


async def test_a_session_survives_that_its_new_connection_is_refused(nursery: trio.Nursery) -> None:
    """The exporter is full when it comes back; then it is not."""
    async with serving(nursery, max_connections=1, max_log_lines=1000) as served:
        send = served.exporter.open_send_channel("jobs", int)
        full = trio.Event()

        async def dial() -> trio.SocketStream:
            if served.streams:
                await full.wait()
            return cast("trio.SocketStream", (await served.call()).stream)

        async with open_importer(dial) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            served.streams[0].socket.shutdown(trio.socket.SHUT_RDWR)
            await until(lambda: served.admitted == 0)
            other = await served.greeted()
            full.set()
            await until(lambda: served.limits.get("max_connections", 0) >= 2)
            assert served.exporter.statistics().suspended == 1
            await other.stream.aclose()
            await send.send(1)
            assert await receive.receive() == 1
            await until(lambda: importer.statistics().resumed == 1)


# From one address


async def test_of_one_address_one_is_let_in(nursery: trio.Nursery) -> None:
    """Also when the one that goes was all that there was of the address."""
    async with serving(nursery, max_connections=10, max_connections_per_address=1) as served:
        for _ in range(6):
            await served.silent()
        await until(lambda: served.exporter.statistics().connections == 1)


async def test_of_one_address_fewer_are_let_in(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_connections=10, max_connections_per_address=2) as served:
        others = [await served.silent("127.0.0.2"), await served.greeted("127.0.0.2")]
        first = await served.silent()
        peers = [await served.greeted() for _ in range(2)]
        goodbye = await last_word(first)
        assert goodbye.message.startswith(
            "expected at most 2 connections from one address (max_connections_per_address), got one more"
        )
        refused = await served.call()
        assert (await last_word(refused)).code is Code.LIMIT
        assert served.limits == {"max_connections_per_address": 2}
        await others[0].greet()
        await others[0].hear(Hello)
        assert [await is_alive(peer) for peer in (*others, *peers)] == [True] * 4


async def test_who_is_refused_leaves_no_trace(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_connections=1, max_connections_per_address=2) as served:
        peer = await served.greeted()
        for address in ("127.0.0.2", "127.0.0.3"):
            refused = await served.call(address)
            assert (await last_word(refused)).code is Code.LIMIT
        assert [*served.exporter._admission._by_address] == ["127.0.0.1"]
        await peer.stream.aclose()
        await until(lambda: served.admitted == 0)
        assert not served.exporter._admission._by_address
        assert not served.exporter._admission._everybody._silent


async def test_unix_sockets_and_other_streams_count_in_all_only(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(nursery, max_connections=3, max_connections_per_address=1))
        served.exporter.open_send_channel("jobs", int)
        await nursery.start(served.exporter.serve_unix, tmp_path / "socket")
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(served.exporter.serve_stream, theirs)
        openings = [open_unix_importer(tmp_path / "socket") for _ in range(2)]
        for opening in [open_importer(ours), *openings]:
            importer = await stack.enter_async_context(opening)
            await importer.open_receive_channel("jobs", int)
        with pytest.raises(LimitError, match="expected at most 3 connections"):
            async with open_unix_importer(tmp_path / "socket") as refused:
                await refused.open_receive_channel("jobs", int)
        assert served.limits == {"max_connections": 1}


# Any stream, and any handshake


async def test_a_stream_without_a_socket_is_closed_at_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_exporter(limits=Limits(max_connections=1)) as exporter:
        pairs = [trio.testing.memory_stream_pair() for _ in range(2)]
        start = trio.current_time()
        nursery.start_soon(exporter.serve_stream, pairs[0][1])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(exporter.serve_stream, pairs[1][1])
        await Scripted(pairs[0][0]).hear_all()
        assert trio.current_time() == start
        peer = Scripted(pairs[1][0])
        await peer.greet()
        await peer.hear(Hello)
        refused, theirs = trio.testing.memory_stream_pair()
        await exporter.serve_stream(theirs)
        assert await refused.receive_some() == b""
        assert exporter.statistics().limits == {"max_connections": 2}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    return server, client


@pytest.mark.parametrize("form", ["tcp", "websocket"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_counts_before_its_handshakes(
    nursery: trio.Nursery, authority: trustme.CA, form: str, tls: bool
) -> None:
    """Each silent one drives out the one before it; a healthy importer, whose hello is there, stays."""
    server, client = contexts(authority) if tls else (None, None)
    async with serving(nursery, form, server, max_connections=2) as served, served.importer(client) as importer:
        assert await works(served, importer)

        def reached_times(number: int) -> bool:
            return served.limits.get("max_connections", 0) == number

        for number in range(5):
            await served.call()
            await until(functools.partial(reached_times, number))
            await until(lambda: served.admitted == 2)
        for stream in served.streams[:-1]:
            with contextlib.suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    """Up to its end."""
        assert await works(served, importer)
        await served.streams[-1].aclose()
        await until(lambda: served.admitted == 1)


async def test_a_websocket_that_has_said_no_hello_is_silent(nursery: trio.Nursery) -> None:
    async with serving(nursery, "websocket", max_connections=1) as served:
        peer = await served.call()
        await peer.stream.send_all(request())
        await until(lambda: served.exporter.statistics().connections == 1)
        async with served.importer() as importer:
            assert await works(served, importer)
            await hear_to_end(peer.stream)
        assert served.limits == {"max_connections": 1}


@pytest.mark.parametrize("form", ["tcp", "websocket"])
async def test_a_refusal_over_tls_is_the_end_of_the_stream(
    nursery: trio.Nursery, authority: trustme.CA, form: str
) -> None:
    server, client = contexts(authority)
    async with serving(nursery, form, server, max_connections=1) as served, served.importer(client) as importer:
        assert await works(served, importer)
        with pytest.raises((ConnectionLostError, ProtocolError)):
            async with served.importer(client) as refused:
                await refused.open_receive_channel("jobs", int)
        assert served.limits == {"max_connections": 1}
        assert await works(served, importer)


# Nothing is left


def standing(served: Served) -> tuple[int, ...]:
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    tasks = trio.lowlevel.current_statistics().tasks_living
    statistics = served.exporter.statistics()
    return files, tasks, statistics.connections, statistics.suspended, served.admitted


def living_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("how", ["silent", "greeted", "a session"])
def test_connections_that_come_and_go_leave_nothing(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """With TRIONETCHAN_EXAMPLES=10000, so many."""
    monkeypatch.setattr(logging.getLogger("trionetchan"), "disabled", True)  # pytest would keep each line

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with serving(nursery, max_suspended_per_address=5) as served:
                await cycles(served, how, 20)
                before, objects = standing(served), living_objects()
                await cycles(served, how, CYCLES)
                assert standing(served) == before
                assert living_objects() - objects < 100
                assert before[3] == (5 if how == "a session" else 0)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def cycles(served: Served, how: str, count: int) -> None:
    """So many connections that come and are cut."""
    for _ in range(count):
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            if how != "silent":
                await stream.send_all(MAGIC + encode(Hello(VERSION, new_session() if how == "a session" else {})))
                await Scripted(stream).hear(Hello)
    await until(lambda: served.admitted == 0)
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked()


def new_session() -> dict[str, int | bytes]:
    """What the hello of an importer says that can resume."""
    ids = {"session": os.urandom(16), "secret": os.urandom(32), "nonce": os.urandom(16)}
    return {"resume": 30_000, **ids}


class _Socket:
    def __init__(self, name: object) -> None:
        self.socket = self
        self._name = name

    def getpeername(self) -> object:
        return self._name


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        (("somewhere", 5), "somewhere"),
        ("", None),
        (b"", None),
        ((), None),
    ],
)
def test_connections_of_one_machine_have_one_address(name: object, address: str | None) -> None:
    assert _address_of(cast("Any", _Socket(name))) == address
