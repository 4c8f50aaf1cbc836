"""How many bytes of values may wait in an exporter, of all its importers: who has most of them goes."""

from __future__ import annotations

import os

import pytest
import trio
from scripted import Scripted
from support import serve_tcp, until

from trionetchan import Exporter, Limits, open_exporter
from trionetchan._errors import Code
from trionetchan._protocol.frames import MAGIC, VERSION, Ack, Data, Goodbye, Hello, encode

pytestmark = pytest.mark.promise(75)

LIMITS = Limits(max_total_bytes=3 * 2**20)
VALUE = 60_000  # bytes
BATCH = b"\x81\x59" + VALUE.to_bytes(2, "big") + bytes(VALUE)


async def sender(port: int, *, resumes: bool = False) -> Scripted:
    """One that is bound to "up" and has sent nothing yet."""
    peer = Scripted(await trio.open_tcp_stream("127.0.0.1", port))
    session: dict[str, int | bytes] = {"session": os.urandom(16), "secret": os.urandom(32), "nonce": bytes(16)}
    await peer.stream.send_all(MAGIC + encode(Hello(VERSION, session | {"resume": 30_000} if resumes else {})))
    await peer.hear(Hello)
    await peer.bind(0, "up", receives=False, window=60)
    await peer.hear(Ack)
    return peer


async def fill(peer: Scripted, count: int, first: int = 0) -> None:
    await peer.say(*(Data(0, number, False, BATCH) for number in range(first, first + count)))


def held(exporter: Exporter) -> int:
    return sum(connection.peer.session.buffered_bytes for connection in exporter._connections)  # pyright: ignore[reportPrivateUsage]


async def test_who_has_most_goes_when_all_have_too_much(nursery: trio.Nursery) -> None:
    async with open_exporter(limits=LIMITS) as exporter:
        up = exporter.open_receive_channel("up", importers=None)
        port = await serve_tcp(nursery, exporter)
        most, few = await sender(port), await sender(port)
        await fill(most, 40)  # 2.3 MiB
        await until(lambda: held(exporter) == 40 * len(BATCH))
        await fill(few, 20)
        goodbye = await most.hear(Goodbye)
        assert goodbye.code is Code.LIMIT
        assert "max_total_bytes" in goodbye.message
        assert exporter.statistics().limits == {"max_total_bytes": 1}
        await until(lambda: exporter.statistics().connections == 1)
        for _ in range(60):  # what had arrived is still delivered
            await up.receive()
        await fill(few, 1, first=20)
        assert await up.receive() == bytes(VALUE)
        for peer in most, few:
            await peer.stream.aclose()


async def test_suspended_sessions_count(nursery: trio.Nursery) -> None:
    async with open_exporter(limits=LIMITS) as exporter:
        exporter.open_receive_channel("up", importers=None)
        port = await serve_tcp(nursery, exporter)
        gone, other = await sender(port, resumes=True), await sender(port)
        await fill(gone, 40)
        await until(lambda: held(exporter) == 40 * len(BATCH))
        await gone.stream.aclose()
        await until(lambda: exporter.statistics().suspended == 1)
        assert exporter.statistics().limits == {}
        await fill(other, 20)
        await until(lambda: exporter.statistics().limits == {"max_total_bytes": 1})
        assert exporter.statistics().suspended == 0
        assert exporter.statistics().connections == 1
        await other.stream.aclose()
