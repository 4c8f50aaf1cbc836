"""Rules of a resume that need more than the core: several streams to one exporter, and what an importer makes up."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from scripted import Scripted

from trionetchan import Exporter, Limits, open_exporter, open_importer
from trionetchan._errors import Code
from trionetchan._identity import Identity
from trionetchan._log import BoundedLog
from trionetchan._network.peer import Peer, new_key
from trionetchan._network.sessions import Sessions
from trionetchan._protocol.events import ImportRequested, ResumeRequested
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Goodbye,
    Hello,
    Parameters,
    Ping,
    Pong,
    Resume,
    Resumed,
    encode,
)
from trionetchan._protocol.resuming import Nonces, SessionKey
from trionetchan._protocol.session import Role

ID, SECRET, NONCE = bytes(range(16)), bytes(range(32)), bytes(range(1, 17))
RESUMES: Parameters = {"resume": 30_000, "nonce": NONCE, "session": ID}
BEGINS: Parameters = RESUMES | {"secret": SECRET}


@attrs.frozen
class Served:
    """An exporter, to which scripted importers connect."""

    exporter: Exporter
    nursery: trio.Nursery

    async def connect(self, hello: Parameters) -> tuple[Scripted, bytes]:
        """A stream on which both sides have said hello; and the exporter's nonce."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await ours.send_all(MAGIC + encode(Hello(VERSION, hello)))
        nonce = (await peer.hear(Hello)).parameters["nonce"]
        assert isinstance(nonce, bytes)
        return peer, nonce


@asynccontextmanager
async def serving() -> AsyncGenerator[Served]:
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            yield Served(exporter, nursery)
        nursery.cancel_scope.cancel()


async def answers(peer: Scripted) -> bool:
    """Whether the exporter reads this stream."""
    await peer.say(Ping(77))
    return await peer.hear(Pong) == Pong(77)


def proof(nonce: bytes, key: SessionKey | None = None) -> bytes:
    return (key or SessionKey(ID, SECRET)).importer_proof(Nonces(NONCE, nonce))


async def test_a_session_does_not_begin_with_an_id_that_is_in_use(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        first, _ = await served.connect(BEGINS)
        second, _ = await served.connect(BEGINS | {"nonce": bytes(16)})
        goodbye = (await second.hear_all())[-1]
        assert isinstance(goodbye, Goodbye)
        assert goodbye.code is Code.PROTOCOL_ERROR
        assert await answers(first)


@pytest.mark.parametrize("suspended", [False, True], ids=["a live session", "a suspended session"])
async def test_whatever_is_wrong_the_refusal_is_the_same_and_a_live_session_goes_on(
    autojump_clock: trio.testing.MockClock, suspended: bool
) -> None:
    async with serving() as served:
        first, _ = await served.connect(BEGINS)
        if suspended:
            await first.stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
        refusals: set[bytes] = set()
        for wrong in range(4):
            session = bytes(16) if wrong == 0 else ID
            peer, nonce = await served.connect(RESUMES | {"session": session})
            right = Resume(session, 0, proof(nonce), 0, 0)
            request = [
                right,  # whose id is unknown
                attrs.evolve(right, proof=bytes(32)),
                attrs.evolve(right, epoch=1),
                attrs.evolve(right, proof=SessionKey(ID, SECRET).exporter_proof(Nonces(NONCE, nonce))),
            ][wrong]
            await peer.say(request)
            (refusal,) = (frame for frame in await peer.hear_all() if not isinstance(frame, Hello))
            refusals.add(encode(refusal))
        (refusal_bytes,) = refusals
        assert b"\x0a\x0c" in refusal_bytes  # GOODBYE, SESSION_LOST
        if not suspended:
            assert await answers(first)
        peer, nonce = await served.connect(RESUMES)
        await peer.say(Resume(ID, 0, proof(nonce), 0, 0))
        resumed = await peer.hear(Resumed)
        assert resumed.proof == SessionKey(ID, SECRET).exporter_proof(Nonces(NONCE, nonce))
        assert await answers(peer)
        assert not suspended or served.exporter.statistics().suspended == 0


async def test_who_has_said_goodbye_resumes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as served:
        first, _ = await served.connect(BEGINS)
        await first.say(Goodbye(Code.FINISHED, ""))
        assert (await first.hear_all())[-1] == Goodbye(Code.FINISHED, "")
        peer, nonce = await served.connect(RESUMES)
        await peer.say(Resume(ID, 0, proof(nonce), 0, 0))
        goodbye = (await peer.hear_all())[-1]
        assert isinstance(goodbye, Goodbye)
        assert goodbye.code is Code.SESSION_LOST


async def test_each_stream_has_another_nonce_and_each_session_another_id_and_secret(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hellos: list[Parameters] = []
    exporters: list[bytes] = []

    async def script(stream: trio.abc.Stream, *, cut: bool) -> None:
        peer = Scripted(stream)
        await stream.send_all(MAGIC + encode(Hello(VERSION, {"resume": 30_000, "nonce": bytes(16)})))
        hello = (await peer.hear(Hello)).parameters
        hellos.append(hello)
        if "secret" in hello:
            keys.append(SessionKey(of_bytes(hello["session"]), of_bytes(hello["secret"])))
        else:
            resume = await peer.hear(Resume)
            nonces = Nonces(of_bytes(hello["nonce"]), bytes(16))
            assert keys[-1].check_importer(resume.epoch, resume.proof, nonces)
            await peer.say(Resumed(keys[-1].exporter_proof(nonces), 0, 0))
        if cut:
            await stream.aclose()
        else:
            await peer.hear_all()
            await stream.aclose()

    for _ in range(2):
        keys: list[SessionKey] = []
        async with trio.open_nursery() as nursery:
            streams = 0

            async def connect() -> trio.abc.Stream:
                nonlocal streams
                await trio.lowlevel.checkpoint()
                streams += 1
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(functools.partial(script, theirs, cut=streams < 2))
                return ours

            async with open_importer(connect, limits=Limits(goodbye_timeout=1)):
                await trio.sleep(10)
            nursery.cancel_scope.cancel()
    assert ["secret" in hello for hello in hellos] == [True, False, True, False]
    assert [hello["session"] for hello in hellos[::2]] == [hello["session"] for hello in hellos[1::2]]
    assert len({hello["nonce"] for hello in hellos}) == 4
    assert len({hello["session"] for hello in hellos}) == 2
    assert len({hello["secret"] for hello in hellos[::2]}) == 2
    async with serving() as served:
        for number in range(3):
            _, nonce = await served.connect(BEGINS | {"session": bytes([number]) * 16})
            exporters.append(nonce)
    assert len(set(exporters)) == 3


def of_bytes(item: int | bytes) -> bytes:
    assert isinstance(item, bytes)
    return item


class Owner:
    """Of a peer that nothing happens to."""

    def import_requested(self, peer: Peer, request: ImportRequested) -> None: ...

    def tick(self) -> None: ...
    def reached(self, limit: str, /) -> None: ...
    def grew(self) -> None: ...
    def peer_changed(self, peer: Peer, address: str | None, /) -> None: ...


def test_fault_73_another_identity_is_refused() -> None:
    """Whose proof is right, and who is somebody else in TLS, or nobody."""
    sessions = Sessions(Limits(), lambda _: None, BoundedLog(10))
    peer = Peer(Role.EXPORTER, Limits(), Owner())
    peer.key, peer.identity = new_key(), Identity(stream="TLS one")
    assert sessions.add(peer)
    nonces = Nonces(NONCE, bytes(16))
    request = ResumeRequested(peer.key.id, 0, peer.key.importer_proof(nonces), nonces)
    for identity in Identity(), Identity(stream="TLS two"), Identity("TLS one"), Identity("TLS one", "TLS one"):
        assert sessions.find(request, identity) is None
    assert sessions.find(request, Identity(stream="TLS one")) is peer


async def test_fault_69_the_later_stream_has_the_session(autojump_clock: trio.testing.MockClock) -> None:
    """By when the exporter said hello, whichever proof comes first."""
    async with serving() as served:
        await served.connect(BEGINS)
        early, early_nonce = await served.connect(RESUMES)
        later, later_nonce = await served.connect(RESUMES)
        await later.say(Resume(ID, 0, proof(later_nonce), 0, 0))
        await later.hear(Resumed)
        await early.say(Resume(ID, 0, proof(early_nonce), 0, 0))
        goodbye = (await early.hear_all())[-1]
        assert isinstance(goodbye, Goodbye)
        assert goodbye.code is Code.SESSION_LOST
        assert await answers(later)
        newest, newest_nonce = await served.connect(RESUMES)
        await newest.say(Resume(ID, 0, proof(newest_nonce), 0, 0))
        await newest.hear(Resumed)
        assert await later.hear_all()
        assert await answers(newest)
