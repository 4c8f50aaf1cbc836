"""How many sessions may wait to be resumed, and that it is the oldest that ends."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from scripted import Scripted
from support import serve_tcp, until

from trionetchan import Exporter, Limits, open_exporter
from trionetchan._errors import Code
from trionetchan._protocol.frames import MAGIC, VERSION, Data, Frame, Goodbye, Hello, Resume, Resumed, encode
from trionetchan._protocol.resuming import Nonces, SessionKey

pytestmark = pytest.mark.promise(73)

NONCE = bytes(16)


@attrs.define
class Served:
    """An exporter with a channel "jobs", whose sessions begin and break."""

    exporter: Exporter
    port: int
    send: trio.MemorySendChannel[int]

    @property
    def suspended(self) -> int:
        return self.exporter.statistics().suspended

    async def begin(self, address: str = "127.0.0.1") -> tuple[Scripted, SessionKey]:
        """A session that holds one value."""
        key = SessionKey(os.urandom(16), os.urandom(32))
        peer = Scripted(await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address))
        parameters: dict[str, int | bytes] = {"session": key.id, "secret": key.secret, "nonce": NONCE}
        await peer.stream.send_all(MAGIC + encode(Hello(VERSION, parameters | {"resume": 30_000})))
        await peer.hear(Hello)
        await peer.bind(0, "jobs", receives=True, window=1)
        await peer.hear(Data)
        return peer, key

    async def suspend(self, address: str = "127.0.0.1") -> SessionKey:
        """One whose connection has broken."""
        before = self.exporter.statistics().connections
        peer, key = await self.begin(address)
        await peer.stream.aclose()
        await until(lambda: self.exporter.statistics().connections == before)
        return key

    async def go_on(self, peer: Scripted, key: SessionKey) -> None:
        """Has this stream ask for the session."""
        parameters: dict[str, int | bytes] = {"session": key.id, "nonce": NONCE, "resume": 30_000}
        await peer.stream.send_all(MAGIC + encode(Hello(VERSION, parameters)))
        nonce = (await peer.hear(Hello)).parameters["nonce"]
        assert isinstance(nonce, bytes)
        await peer.say(Resume(key.id, 0, key.importer_proof(Nonces(NONCE, nonce)), 0, 0))

    async def resumes(self, key: SessionKey, address: str = "127.0.0.1") -> bool:
        """Whether the session can be gone on with; it breaks again then."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address) as stream:
            peer = Scripted(stream)
            await self.go_on(peer, key)
            answer: Frame = await peer.hear(Frame)
        if isinstance(answer, Goodbye):
            assert answer.code is Code.SESSION_LOST
        return isinstance(answer, Resumed)


@contextlib.asynccontextmanager
async def serving(nursery: trio.Nursery, **limits: Any) -> AsyncGenerator[Served]:
    async with open_exporter(limits=Limits(**limits)) as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        for number in range(20):
            send.send_nowait(number)
        yield Served(exporter, await serve_tcp(nursery, exporter), send)
        exporter.hangup("jobs")


def values(served: Served) -> tuple[int, int]:
    """How many are in the hands of sessions, and how many wait."""
    jobs = served.exporter.statistics().channels["jobs"]
    return jobs.unacknowledged, jobs.waiting


async def test_the_oldest_suspended_session_ends_at_once(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(nursery, max_suspended=3) as served:
        keys = [await served.suspend() for _ in range(3)]
        assert (served.suspended, served.exporter.statistics().limits, values(served)) == (3, {}, (3, 17))
        keys += [await served.suspend() for _ in range(2)]
        assert served.suspended == 3
        assert served.exporter.statistics().limits == {"max_suspended": 2}
        assert values(served) == (3, 17)  # the first values have come back, and wait
        ended = [line for line in caplog.messages if "and it was the oldest" in line]
        assert len(ended) == 2
        assert "expected at most 3 suspended sessions (max_suspended), got one more" in ended[0]
        assert [await served.resumes(key) for key in keys] == [False, False, True, True, True]


async def test_what_it_held_goes_to_the_next_importer(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_suspended=1) as served:
        for _ in range(2):
            await served.suspend()
        peer, _ = await served.begin()
        assert [frame.payload for frame in peer.heard if isinstance(frame, Data)] == [b"\x81\x00"]
        await peer.stream.aclose()


async def test_of_one_address_fewer_may_wait(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_suspended=4, max_suspended_per_address=2) as served:
        others = [await served.suspend("127.0.0.2") for _ in range(2)]
        keys = [await served.suspend() for _ in range(3)]
        assert served.suspended == 4
        assert served.exporter.statistics().limits == {"max_suspended_per_address": 1}
        assert [await served.resumes(key, "127.0.0.2") for key in others] == [True, True]
        assert [await served.resumes(key) for key in keys] == [False, True, True]


async def test_a_session_that_goes_on_does_not_count(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_suspended=1) as served:
        for _ in range(3):
            peer, key = await served.begin()
            await peer.stream.aclose()
            await until(lambda: served.suspended == 1)
            async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
                peer = Scripted(stream)
                await served.go_on(peer, key)
                await peer.hear(Resumed)
                await peer.say(Goodbye(Code.FINISHED, ""))
                await peer.hear_all()
            await until(lambda: served.exporter.statistics().connections == 0)
        assert served.exporter.statistics().limits == {}
        assert not served.exporter._sessions._waiting
        assert not served.exporter._sessions._waiting_from


async def test_none_may_wait(nursery: trio.Nursery) -> None:
    async with serving(nursery, max_suspended=0) as served:
        key = await served.suspend()
        assert served.suspended == 0
        assert served.exporter.statistics().limits == {"max_suspended": 1}
        assert not await served.resumes(key)
        assert values(served) == (0, 20)


async def test_sessions_that_come_and_break_are_bounded(nursery: trio.Nursery) -> None:
    """In tasks and sessions, not only in what is said of them."""
    async with serving(nursery, max_suspended_per_address=5) as served:
        for _ in range(5):
            await served.suspend()
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(30):
            await served.suspend()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        sessions = served.exporter._sessions
        assert len(sessions._peers) == len(sessions._waiting) == 5
