"""A connection alone: one peer over a stream in memory, whose other side says what the test has it say."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from scripted import INT, Scripted, data

from trionetchan import ConnectionLostError, LimitError, Limits, ProtocolError
from trionetchan._batch import Batch, array_of
from trionetchan._errors import Code
from trionetchan._network.connection import Connection
from trionetchan._network.links import Link, ReceiveLink, SendLink
from trionetchan._network.peer import Peer
from trionetchan._ports import ReceivingLink
from trionetchan._protocol.events import ImportRequested
from trionetchan._protocol.frames import Accept, Ack, Close, Data, Goodbye, Hello, Import, Ping, Pong
from trionetchan._protocol.session import Role

settle = trio.testing.wait_all_tasks_blocked
VALUE = array_of([b"\x05"])


class Owner:
    """Accepts every import and writes values down; `answers`: sends one value for each that comes."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.arrived_payloads: list[bytes] = []
        self.left: list[Code | None] = []
        self.ticks = 0
        self.limits: list[str] = []
        self.growths = 0
        self.answers = False

    def import_requested(self, peer: Peer, request: ImportRequested) -> None:
        link = peer.accept(request, window=64, schema=INT)
        self.links.append(link)
        if isinstance(link, ReceiveLink):
            link.attach(self, unbuffered=False)

    def tick(self) -> None:
        self.ticks += 1

    def reached(self, limit: str) -> None:
        self.limits.append(limit)

    def grew(self) -> None:
        self.growths += 1

    def peer_changed(self, peer: Peer, address: str | None, /) -> None: ...

    def arrived(self, link: ReceivingLink, payload: bytes, *, redelivered: bool = False) -> None:
        self.arrived_payloads.append(payload)
        if self.answers:
            for sends in self.links:
                if isinstance(sends, SendLink):
                    sends.send(Batch(VALUE, 1))

    def lease_renewed(self, link: ReceivingLink) -> None:
        raise AssertionError("there is no lease on a stream that does not resume")

    def sender_left(self, link: ReceivingLink, code: Code | None, message: str) -> None:
        self.left.append(code)


class Counting(trio.abc.Stream):
    """Counts the writes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.writes = 0
        self.gate: trio.Event | None = None
        self.broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        if self.broken:
            raise trio.BrokenResourceError
        if self.gate is not None:
            await self.gate.wait()
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


class Case:
    def __init__(self, limits: Limits) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        self.stream = Counting(ours)
        self.owner = Owner()
        self.peer = Peer(Role.EXPORTER, limits, self.owner)
        self.connection = Connection(self.stream, self.peer, limits)
        self.other = Scripted(theirs)


@asynccontextmanager
async def case(limits: Limits | None = None, *, greet: bool = True) -> AsyncGenerator[Case]:
    async with trio.open_nursery() as nursery:
        one = Case(limits or Limits())
        nursery.start_soon(one.connection.run)
        if greet:
            await one.other.greet()
            await one.other.hear(Hello)
        await settle()
        yield one
        await one.other.stream.aclose()
        nursery.cancel_scope.cancel()


async def test_what_one_chunk_brings_is_answered_in_one_write() -> None:
    async with case() as one:
        await one.other.bind(0, "jobs", receives=True)
        await one.other.bind(1, "words", receives=False)
        await settle()
        one.owner.answers = True
        writes = one.stream.writes
        await one.other.say(*(data(1, number, [number]) for number in range(10)))
        await settle()
        assert len(one.owner.arrived_payloads) == 10
        assert one.stream.writes == writes + 1
        for _ in range(10):
            await one.other.hear(Data)


async def test_a_blocked_writer_holds_up_neither_the_reader_nor_who_sends() -> None:
    async with case() as one:
        await one.other.bind(0, "jobs", receives=True)
        await one.other.bind(1, "words", receives=False)
        await settle()
        one.stream.gate = trio.Event()
        (link,) = (link for link in one.owner.links if isinstance(link, SendLink))
        for _ in range(5):
            link.send(Batch(VALUE, 1))
            await settle()
        await one.other.say(data(1, 0, [1]))
        await settle()
        assert len(one.owner.arrived_payloads) == 1
        writes = one.stream.writes
        one.stream.gate.set()
        for _ in range(5):
            await one.other.hear(Data)
        assert one.stream.writes <= writes + 1


async def test_a_goodbye_goes_behind_confirmations() -> None:
    """A value is in the hands of a task that has not run yet; its acknowledgement goes, then the goodbye."""
    async with case() as one:
        await one.other.bind(0, "words", receives=False)
        await one.other.say(data(0, 0, [1]))
        await settle()
        (link,) = one.owner.links
        assert isinstance(link, ReceiveLink)
        one.peer.session.receiver(0).unbuffered = True
        link.delivered(1, last=True, waited=False)
        one.connection.leave(Code.FINISHED, "bye")
        await one.other.hear(Goodbye)
        heard = one.other.heard
        assert heard[-2:] == [Ack(0, 1, 65, heard[-2].byte_limit), Goodbye(Code.FINISHED, "bye")]  # type: ignore[attr-defined]


async def test_a_goodbye_does_not_wait_until_acknowledgements_are_gathered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case() as one:
        await one.other.bind(0, "words", receives=False)
        await one.other.say(data(0, 0, [1, 2]))
        await settle()
        (link,) = one.owner.links
        assert isinstance(link, ReceiveLink)
        one.peer.session.receiver(0).unbuffered = True
        link.delivered(1, last=False, waited=False)
        one.connection.leave()
        await one.other.hear(Goodbye)
        assert isinstance(one.other.heard[-2], Ack)
        assert trio.current_time() == 0


async def test_a_goodbye_goes_behind_a_last_word_that_waits() -> None:
    async with case() as one:
        await one.other.bind(0, "words", receives=False)
        await one.other.say(data(0, 0, [1]))
        await settle()
        (link,) = one.owner.links
        assert isinstance(link, ReceiveLink)
        one.peer.session.receiver(0).unbuffered = True
        link.delivered(1, last=True, waited=False)
        link.close(Code.HUNG_UP)
        one.connection.leave()
        await one.other.hear(Goodbye)
        assert one.other.heard[-2:] == [Close(0, 1, Code.HUNG_UP, ""), Goodbye(Code.FINISHED, "")]


@pytest.mark.parametrize("code", [Code.FINISHED, Code.LIMIT])
async def test_the_peer_says_goodbye(code: Code) -> None:
    async with case() as one:
        await one.other.bind(0, "words", receives=False)
        await one.other.say(data(0, 0, [1]), Goodbye(code, "enough"))
        await one.other.hear(Goodbye)
        await one.other.stream.aclose()
        await one.connection.wait_over()
        assert one.owner.left == [None]
        assert len(one.owner.arrived_payloads) == 1
        failure = one.peer.failure
        assert failure is None if code is Code.FINISHED else isinstance(failure, LimitError)
        assert failure is None or str(failure) == "the peer ended the connection: enough"


async def test_the_peer_breaks_the_protocol_and_is_told() -> None:
    async with case() as one:
        await one.other.say(Accept(0, 64, INT))
        goodbye = await one.other.hear(Goodbye)
        assert goodbye.code is Code.PROTOCOL_ERROR
        assert isinstance(one.peer.failure, ProtocolError)
        await one.other.stream.aclose()
        await one.connection.wait_over()


async def test_a_stream_that_ends_without_a_goodbye() -> None:
    async with case() as one:
        await one.other.bind(0, "words", receives=False)
        await one.other.stream.aclose()
        await one.connection.wait_over()
        assert isinstance(one.peer.failure, ConnectionLostError)
        assert one.owner.left == [None]


async def test_cancelling_says_goodbye() -> None:
    async with trio.open_nursery() as nursery:
        one = Case(Limits())
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await one.connection.run()

        nursery.start_soon(run)
        await one.other.greet()
        await settle()
        scope.cancel()
        await one.other.hear(Goodbye)
        await one.other.stream.aclose()


async def test_leaving_takes_bounded_time(autojump_clock: trio.testing.MockClock) -> None:
    async with case(Limits(goodbye_timeout=3)) as one:
        one.stream.gate = trio.Event()
        before = trio.current_time()
        one.connection.leave()
        one.connection.leave()
        await one.connection.wait_over()
        assert trio.current_time() - before <= 6


async def test_no_hello_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with case(Limits(handshake_timeout=4), greet=False) as one:
        await one.connection.wait_over()
        assert str(one.peer.failure) == "expected a hello within 4 s, got none"
        assert trio.current_time() == pytest.approx(4)


async def test_a_silent_peer_is_asked_and_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with case(Limits(keepalive=2, keepalive_timeout=7)) as one:
        await one.other.hear(Ping)
        await one.connection.wait_over()
        assert "expected a sign of life, got none for" in str(one.peer.failure)
        assert 7 <= trio.current_time() <= 10
        assert one.owner.ticks >= 3


async def test_a_peer_that_answers_lives_on(autojump_clock: trio.testing.MockClock) -> None:
    async with case(Limits(keepalive=2, keepalive_timeout=3)) as one:
        for _ in range(10):
            await one.other.hear(Ping)
            await one.other.say(Pong(0))
        assert not one.peer.lost


async def test_a_stream_on_which_nothing_can_be_written_is_lost() -> None:
    async with case() as one:
        await one.other.bind(0, "jobs", receives=True)
        (link,) = one.owner.links
        assert isinstance(link, SendLink)
        one.stream.broken = True
        link.send(Batch(VALUE, 1))
        await one.connection.wait_over()
        assert "expected a stream to write to, got: " in str(one.peer.failure)
        assert repr(one.connection).startswith("<exporter's connection over ")


async def test_a_request_that_comes_with_the_hello() -> None:
    async with case(greet=False) as one:
        await one.other.greet(Import(0, "jobs", True, 64, None, INT))
        assert (await one.other.hear(Accept)).channel == 0
