"""Identity at odd moments: peers that go, programs that are slow or raise, exporters that leave or stop meanwhile."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from authority import Authority
from raw_peer import BEGINS, ID, NONCE, RESUMES, RawPeer, goodbye, hello, import_, ping, proof
from second_frames import DATA, GOODBYE, HELLO, PONG, POSITION, REJECT, RESUME, RESUMED, Parameters
from second_session import frame
from support import serve_tcp, until

from trionetchan import (
    Authenticate,
    AuthenticationError,
    Credentials,
    Direction,
    Exporter,
    Limits,
    NetchanError,
    PermissionDeniedError,
    allow_certificates,
    any_of,
    open_exporter,
    open_importer,
    open_tcp_importer,
)

HOST = "127.0.0.1"
LIMIT, SESSION_LOST, UNAUTHENTICATED, PERMISSION_DENIED = 6, 12, 14, 15
Connect = Callable[[], Awaitable[RawPeer]]
NOT_ACCEPTED = "expected an importer that this exporter knows, got one that it does not accept"


# Programs that refuse without a word


async def refuses_by_none(credentials: Credentials) -> str | None:
    return None


async def refuses_without_a_word(credentials: Credentials) -> str | None:
    raise AuthenticationError("")


@pytest.mark.parametrize(
    "authenticate",
    [refuses_without_a_word, any_of(refuses_by_none), any_of(refuses_without_a_word, refuses_by_none), any_of()],
)
async def test_who_is_refused_without_a_word_is_refused(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, authenticate: Authenticate
) -> None:
    async with open_exporter(authenticate=authenticate) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError, match=NOT_ACCEPTED):
            async with open_tcp_importer(HOST, port) as importer:
                await importer.open_receive_channel("numbers", int)
        assert exporter.statistics().refused == 1
        assert exporter.statistics().principals == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trionetchan.audit"]
    assert line.startswith("refused ")
    assert not line.endswith(": ")


# Programs that raise while they are cancelled


async def fails_to_clean_up() -> None:
    """As with a database that does not answer, and whose connection cannot be closed then."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("from the program")


async def test_authorize_that_raises_when_its_time_is_over(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        await fails_to_clean_up()
        return True

    async with open_exporter(authorize=authorize, limits=Limits(handshake_timeout=0.4)) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer(HOST, port) as importer:
            for _ in range(2):
                with pytest.raises(PermissionDeniedError):
                    await importer.open_receive_channel("numbers", int)
    assert any("`authorize` raised" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("asks", ["authenticate", "authorize"])
async def test_the_block_is_left_while_a_program_that_raises_is_asked(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, asks: str
) -> None:
    """Whatever it raises when it is cancelled: nothing of it leaves the exporter's block."""
    asked = trio.Event()

    async def ask(*_: object) -> Any:
        asked.set()
        await fails_to_clean_up()

    answers: dict[str, Any] = {asks: ask}
    async with open_exporter(limits=Limits(goodbye_timeout=0.1), **answers) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)

        async def imports() -> None:
            with pytest.raises(Exception):  # noqa: B017, PT011 how it hears of it is not the point
                async with open_tcp_importer(HOST, port) as importer:
                    await importer.open_receive_channel("numbers", int)

        nursery.start_soon(imports)
        await asked.wait()
    assert any(f"`{asks}` raised" in record.getMessage() for record in caplog.records)


# Many at once


@pytest.mark.parametrize("count", [9, 10, 20])
async def test_more_imports_at_once_than_are_asked_about_at_once(nursery: trio.Nursery, count: int) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        return False

    async with open_exporter(authorize=authorize, limits=Limits(max_refusals=100)) as exporter:
        port = await serve_tcp(nursery, exporter)
        denied: list[str] = []

        async def imports(name: str) -> None:
            with pytest.raises(PermissionDeniedError):
                await importer.open_receive_channel(name, int)
            denied.append(name)

        async with open_tcp_importer(HOST, port) as importer, trio.open_nursery() as imports_all:
            for number in range(count):
                imports_all.start_soon(imports, str(number))
        assert len(denied) == count == exporter.statistics().denied


# Peers that go, and streams that cross


class Door:
    """An `authenticate` whose every answer the test gives: the next in line is asked when `asked` says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Credentials, trio.Event]] = []
        self.answers: dict[Credentials, str | None] = {}

    async def __call__(self, credentials: Credentials) -> str | None:
        answered = trio.Event()
        self.waiting.append((credentials, answered))
        await answered.wait()
        return self.answers[credentials]

    async def asked(self, count: int = 1) -> None:
        await until(lambda: len(self.waiting) == count)

    def answer(self, principal: str | None, place: int = 0) -> None:
        credentials, answered = self.waiting.pop(place)
        self.answers[credentials] = principal
        answered.set()


@asynccontextmanager
async def behind_a_door(nursery: trio.Nursery, **options: Any) -> AsyncGenerator[tuple[Exporter, Door, Connect]]:
    """An exporter with ten numbers, and a function that connects a raw peer to it."""
    door = Door()
    async with open_exporter(authenticate=door, **options) as exporter:
        numbers = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(10):
            numbers.send_nowait(number)
        port = await serve_tcp(nursery, exporter)
        peers: list[RawPeer] = []

        async def connect() -> RawPeer:
            peer = RawPeer(functools.partial(trio.open_tcp_stream, HOST, port), exporter)
            peers.append(peer)
            await peer.connect()
            return peer

        try:
            yield exporter, door, connect
        finally:
            for peer in peers:
                await peer.close_all()
            exporter.hangup("numbers")  # nobody waits for what sessions without a stream hold of it


async def begins(connect: Connect, door: Door) -> RawPeer:
    """A session that can be resumed, of "first"."""
    peer = await connect()
    await peer.say(hello(1, BEGINS))
    await door.asked()
    door.answer("first")
    await peer.say(import_(0, "numbers"))
    await peer.hear(DATA)
    return peer


async def wants_to_resume(connect: Connect, received: int = 5) -> RawPeer:
    """With the right proof. The answer to its import has been seen, if values have been received."""
    peer = await connect()
    await peer.say(hello(1, RESUMES))
    await peer.hear(HELLO)
    made = proof(b"importer", NONCE, peer.nonce)
    await peer.say(frame(RESUME, ID, 0, made, int(received > 0), 1), frame(POSITION, 0, received))
    return peer


async def still_goes_on(peer: RawPeer) -> None:
    await peer.say(ping(7))
    assert await peer.hear(PONG) == (7,)


@pytest.mark.promise(77)
@pytest.mark.parametrize("parameters", [Parameters(), BEGINS])
async def test_nothing_behind_a_hello_is_looked_at(nursery: trio.Nursery, parameters: Parameters) -> None:
    """Where the importer is not accepted; not before the answer, and not after it."""

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        raise AssertionError(principal)

    async with behind_a_door(nursery, authorize=authorize) as (exporter, door, connect):
        peer = await connect()
        await peer.say(hello(1, parameters), import_(0, "numbers"), import_(1, "unknown"), ping(1), b"no frame")
        await door.asked()
        await trio.sleep(0.01)
        door.answer(None)
        await peer.hear_all()
        assert [kind for kind, _ in peer.heard] == [HELLO, GOODBYE]
        assert peer.heard[-1][1] == (UNAUTHENTICATED, NOT_ACCEPTED)
        statistics = exporter.statistics()
        assert (statistics.refused, statistics.denied, statistics.suspended) == (1, 0, 0)


@pytest.mark.promise(80)
async def test_a_session_is_untouched_while_it_is_asked_who_would_resume_it(nursery: trio.Nursery) -> None:
    async with behind_a_door(nursery) as (exporter, door, connect):
        first = await begins(connect, door)
        second = await wants_to_resume(connect)
        await door.asked()
        await still_goes_on(first)
        door.answer("first")
        await second.hear(RESUMED)
        await first.hear_all()
        assert GOODBYE not in {kind for kind, _ in first.heard}
        await still_goes_on(second)
        assert exporter.statistics().resumed == 1


@pytest.mark.promise(80)
@pytest.mark.parametrize("answer", [None, "second"])
async def test_a_session_is_untouched_by_who_is_not_accepted(nursery: trio.Nursery, answer: str | None) -> None:
    """Neither while it is on a stream, nor while it waits for one."""
    async with behind_a_door(nursery) as (exporter, door, connect):
        first = await begins(connect, door)
        for _ in range(2):
            second = await wants_to_resume(connect)
            await door.asked()
            door.answer(answer)
            await second.hear_all()
            code = UNAUTHENTICATED if answer is None else SESSION_LOST
            assert second.heard[-1][1][0] == code
            if not exporter.statistics().suspended:
                await still_goes_on(first)
                await first.end()
                await until(lambda: exporter.statistics().suspended == 1)
        assert exporter.statistics().suspended == 1
        second = await wants_to_resume(connect)
        await door.asked()
        door.answer("first")
        await second.hear(RESUMED)
        await still_goes_on(second)


async def test_two_resume_at_once_and_the_earlier_is_known_later(nursery: trio.Nursery) -> None:
    """The later stream has the session, as ever."""
    async with behind_a_door(nursery) as (_, door, connect):
        first = await begins(connect, door)
        await first.end()
        earlier = await wants_to_resume(connect)
        await door.asked()
        later = await wants_to_resume(connect)
        await door.asked(2)
        door.answer("first", 1)
        await later.hear(RESUMED)
        door.answer("first")
        await earlier.hear_all()
        assert earlier.heard[-1][1][0] == SESSION_LOST
        await still_goes_on(later)


async def test_the_session_is_over_when_it_is_known_who_would_resume_it(nursery: trio.Nursery) -> None:
    async with behind_a_door(nursery, limits=Limits(resume_timeout=0.05)) as (exporter, door, connect):
        first = await begins(connect, door)
        await first.end()
        second = await wants_to_resume(connect)
        await door.asked()
        await until(lambda: exporter.statistics().suspended == 0 and exporter.statistics().connections == 1)
        door.answer("first")
        await second.hear_all()
        assert second.heard[-1][1][0] == SESSION_LOST


@pytest.mark.parametrize("parameters", [Parameters(), BEGINS])
@pytest.mark.parametrize("answer", ["principal", None])
async def test_the_peer_is_gone_when_it_is_known(
    nursery: trio.Nursery, answer: str | None, parameters: Parameters
) -> None:
    async with behind_a_door(nursery, limits=Limits(resume_timeout=0.05)) as (exporter, door, connect):
        peer = await connect()
        await peer.say(hello(1, parameters), import_(0, "numbers"))
        await door.asked()
        peer.reset()
        await trio.sleep(0.01)
        door.answer(answer)
        await until(lambda: exporter.statistics().connections == exporter.statistics().suspended == 0)
        assert exporter.statistics().principals == {}
        assert exporter.statistics().channels["numbers"].peers == 0
        other = await begins(connect, door)
        await still_goes_on(other)


async def test_authenticate_answers_when_the_time_is_over(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not asked any longer; so the audit log does not say that who was turned away was accepted."""
    caplog.set_level(logging.INFO, "trionetchan.audit")
    limits = Limits(handshake_timeout=0.5, goodbye_timeout=5)
    async with behind_a_door(nursery, limits=limits) as (exporter, door, connect):
        peer = await connect()
        await peer.say(hello(), import_(0, "numbers"))
        await peer.hear(GOODBYE)
        door.answer("too late")
        await peer.hear_all()
        assert peer.heard[-1][1][0] == UNAUTHENTICATED
        await peer.end()
        await until(lambda: exporter.statistics().connections == 0)
        assert exporter.statistics().refused == 1
    [line] = [record.getMessage() for record in caplog.records if record.name == "trionetchan.audit"]
    assert line.endswith("`authenticate` has not answered in time")


async def test_a_goodbye_of_an_importer_does_not_pass_for_the_exporters_word(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_a_door(nursery) as (exporter, door, connect):
        peer = await begins(connect, door)
        await peer.say(goodbye(UNAUTHENTICATED, NOT_ACCEPTED))
        await peer.hear_all()
        await until(lambda: exporter.statistics().connections == 0)
    [line] = [record.getMessage() for record in caplog.records if "ended:" in record.getMessage()]
    assert line.endswith(f"ended: the peer ended the connection: {NOT_ACCEPTED}")


async def test_two_hundred_at_once(nursery: trio.Nursery) -> None:
    """Each is asked about; they do not wait for each other."""
    door = Door()
    async with open_exporter(authenticate=door) as exporter:
        numbers = exporter.open_send_channel("numbers", int, max_buffer_size=200)
        for number in range(200):
            numbers.send_nowait(number)
        port = await serve_tcp(nursery, exporter)
        got: list[int] = []
        leave = trio.Event()

        async def imports() -> None:
            async with open_tcp_importer(HOST, port) as importer:
                channel = await importer.open_receive_channel("numbers", int, count=1)
                got.append(await channel.receive())
                await leave.wait()

        for _ in range(200):
            nursery.start_soon(imports)
        await door.asked(200)
        for number in range(200):
            door.answer(f"number {number % 2}")
        await until(lambda: len(got) == 200)
        assert sorted(got) == [*range(200)]
        assert exporter.statistics().principals == {"number 0": 100, "number 1": 100}
        leave.set()


async def test_there_are_too_many_while_it_is_asked(nursery: trio.Nursery) -> None:
    """The oldest of which it is not known who it is goes, and is not asked about any longer."""
    async with behind_a_door(nursery, limits=Limits(max_connections=2)) as (exporter, door, connect):
        peers: list[RawPeer] = []
        for count in range(1, 4):
            peers.append(await connect())
            await peers[-1].say(hello())
            await door.asked(count)
        await peers[0].hear_all()
        assert peers[0].heard[-1][1][0] == LIMIT
        await until(lambda: exporter.statistics().refused == 1)
        for _ in range(3):
            door.answer("somebody")
        for peer in peers[1:]:
            await still_goes_on(peer)
        assert exporter.statistics().principals == {"somebody": 2}


# An exporter that leaves or stops


@pytest.mark.parametrize("how", ["stops", "hears that the importer leaves"])
async def test_authenticate_is_asked_meanwhile(nursery: trio.Nursery, how: str) -> None:
    door = Door()
    async with open_exporter(authenticate=door, limits=Limits(goodbye_timeout=0.1)) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        errors: list[Exception] = []
        leaving = trio.CancelScope()

        async def imports() -> None:
            try:
                with leaving:
                    async with open_tcp_importer(HOST, port, limits=Limits(goodbye_timeout=0.1)) as importer:
                        await importer.open_receive_channel("numbers", int)
            except NetchanError as error:
                errors.append(error)

        async with trio.open_nursery() as inner:
            inner.start_soon(imports)
            await door.asked()
            if how == "stops":
                await exporter.stop()
            else:
                leaving.cancel()
        assert len(errors) == (how != "hears that the importer leaves")
        if how == "hears that the importer leaves":
            door.answer("gone")
        await until(lambda: exporter.statistics().connections == 0)


@pytest.mark.parametrize("allowed", [True, False])
async def test_authorize_is_asked_while_the_exporter_stops(nursery: trio.Nursery, allowed: bool) -> None:
    """Nothing waits for it, and what it says then is for nothing."""
    asked, answer, raised = trio.Event(), trio.Event(), trio.Event()

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        asked.set()
        await answer.wait()
        return allowed

    async with open_exporter(authorize=authorize) as exporter:
        numbers = exporter.open_send_channel("numbers", int, max_buffer_size=1)
        numbers.send_nowait(1)
        port = await serve_tcp(nursery, exporter)

        async def imports() -> None:
            with pytest.raises(NetchanError):
                async with open_tcp_importer(HOST, port) as importer:
                    await importer.open_receive_channel("numbers", int)
            raised.set()

        nursery.start_soon(imports)
        await asked.wait()
        await exporter.stop()
        await raised.wait()
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().connections == 0
        numbers.close()


async def test_authorize_is_asked_when_the_block_is_left(nursery: trio.Nursery) -> None:
    asked = trio.Event()

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        asked.set()
        await trio.sleep_forever()
        return True

    start = trio.current_time()
    async with open_exporter(authorize=authorize, limits=Limits(goodbye_timeout=0.1)) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)

        async def imports() -> None:
            with pytest.raises(NetchanError):
                async with open_tcp_importer(HOST, port) as importer:
                    await importer.open_receive_channel("numbers", int)

        nursery.start_soon(imports)
        await asked.wait()
    assert trio.current_time() - start < 5  # of the 10 s that the answer might take


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_session_is_suspended_while_authorize_is_asked(nursery: trio.Nursery, allowed: bool) -> None:
    """The answer waits for the next stream."""
    asked, answer = trio.Event(), trio.Event()

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        asked.set()
        await answer.wait()
        return allowed

    async with behind_a_door(nursery, authorize=authorize) as (exporter, door, connect):
        first = await connect()
        await first.say(hello(1, BEGINS), import_(0, "numbers"))
        await door.asked()
        door.answer("first")
        await asked.wait()
        await first.end()
        await until(lambda: exporter.statistics().suspended == 1)
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        second = await wants_to_resume(connect, 0)
        await door.asked()
        door.answer("first")
        await second.hear(RESUMED)
        if allowed:
            assert (await second.hear(DATA))[:2] == (0, 0)
        else:
            assert (await second.hear(REJECT))[1] == PERMISSION_DENIED
        assert exporter.statistics().denied == (not allowed)


# Names


@pytest.mark.parametrize(
    "principal", ["a\nrefused b: forged", "\x1b[2J", "\ud800", "größe ☃", "x" * 100_000, " ", "%s %d", "None"]
)
async def test_a_principal_may_be_any_text(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, principal: str
) -> None:
    """It comes to `authorize` as it is, and to the log as one line that can be shown."""
    caplog.set_level(logging.INFO, "trionetchan.audit")
    asked: list[str] = []

    async def authenticate(credentials: Credentials) -> str | None:
        return principal

    async def authorize(who: str, name: str, direction: Direction) -> bool:
        asked.append(who)
        return name == "numbers"

    async with open_exporter(authenticate=authenticate, authorize=authorize) as exporter:
        numbers = exporter.open_send_channel("numbers", int, max_buffer_size=1)
        numbers.send_nowait(1)
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer(HOST, port) as importer:
            assert await (await importer.open_receive_channel("numbers", int, count=1)).receive() == 1
            with pytest.raises(PermissionDeniedError):
                await importer.open_receive_channel("others", int)
            assert exporter.statistics().principals == {principal: 1}
    assert asked == [principal, principal]
    lines = [record.getMessage() for record in caplog.records if record.name == "trionetchan.audit"]
    assert len(lines) == 3
    assert all(line.isprintable() and len(line) < 2000 for line in lines)


# Certificates


@pytest.mark.promise(80)
async def test_a_session_goes_on_with_a_new_certificate(nursery: trio.Nursery, tmp_path: Path) -> None:
    """As when it is renewed while the program runs; not with one of another name."""
    authority = Authority(tmp_path)
    contexts = [authority.client("worker.example"), authority.client("worker.example")]
    streams: list[trio.SSLStream[trio.SocketStream]] = []
    async with open_exporter(authenticate=allow_certificates("*.example")) as exporter:
        numbers = exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())

        async def dial() -> trio.abc.Stream:
            context = contexts[min(len(streams), 1)]
            below = await trio.open_tcp_stream(HOST, port)
            streams.append(trio.SSLStream(below, context, server_hostname="localhost"))
            return streams[-1]

        async with open_importer(dial) as importer:
            channel = await importer.open_receive_channel("numbers", int)
            await numbers.send(1)
            assert await channel.receive() == 1
            await streams[0].transport_stream.aclose()
            await numbers.send(2)
            assert await channel.receive() == 2
            assert exporter.statistics().resumed == 1
            assert exporter.statistics().principals == {"worker.example": 1}


# The next exporter


async def refuses_all(credentials: Credentials) -> str | None:
    raise AuthenticationError("not here")


async def denies_all(principal: str, name: str, direction: Direction) -> bool:
    return False


@pytest.mark.parametrize(
    ("options", "error"),
    [({"authenticate": refuses_all}, AuthenticationError), ({"authorize": denies_all}, PermissionDeniedError)],
)
async def test_the_exporter_restarts_and_knows_the_importer_no_more(
    nursery: trio.Nursery, options: dict[str, Any], error: type[NetchanError]
) -> None:
    """It says why, at once; and the channel does not end as if it were complete."""
    bound, stopped = trio.Event(), trio.Event()
    ends: list[trio.MemoryReceiveChannel[int]] = []

    async def imports(port: int) -> None:
        with pytest.raises(error) as raised:
            async with open_tcp_importer(HOST, port, limits=Limits(restart_timeout=8)) as importer:
                ends.append(await importer.open_receive_channel("numbers", int))
                bound.set()
                await ends[0].receive()
        assert type(raised.value) is error
        stopped.set()

    async with open_exporter() as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        nursery.start_soon(imports, port)
        await bound.wait()
        await exporter.stop()
        async with open_exporter(**options) as second:
            second.open_send_channel("numbers", int)
            await nursery.start(second.serve_tcp, port)
            await stopped.wait()
    with pytest.raises(trio.ClosedResourceError):
        ends[0].receive_nowait()
