"""Rules of the wire specification that need a transport, a clock, or more than a vector should hold."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
import trio
import trio.testing
from scripted import INT, Scripted, data
from support import take

from trionetchan import Limits, open_exporter, open_importer
from trionetchan._errors import Code
from trionetchan._protocol.frames import Accept, Ack, Goodbye, Import, Reject


async def start_exporter(nursery: trio.Nursery, limits: Limits) -> tuple[Scripted, trio.Event]:
    """An exporter without channels, whose block is left at once when the event is set; and its scripted importer."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer, leave = Scripted(ours), trio.Event()

    async def export() -> None:
        async with open_exporter(limits=limits) as exporter:
            nursery.start_soon(exporter.serve_stream, theirs)
            await leave.wait()

    nursery.start_soon(export)
    await peer.greet()
    return peer, leave


@pytest.mark.parametrize("ends", [True, False], ids=["the peer ends", "the peer only goes on"])
async def test_who_leaves_ends_its_direction_and_reads_on(autojump_clock: trio.testing.MockClock, ends: bool) -> None:
    """Behind the goodbye comes the end of the stream; the peer may write until it ends too, or the time has passed."""
    async with trio.open_nursery() as nursery:
        peer, leave = await start_exporter(nursery, Limits(goodbye_timeout=3))
        leave.set()
        assert isinstance((await peer.hear_all())[-1], Goodbye)
        started = trio.current_time()
        for _ in range(20):
            await peer.stream.send_all(b"\x43\x82\x08\x01" * 100)
            await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == started
        if ends:
            await peer.stream.aclose()
        else:
            await trio.sleep(4)
            with pytest.raises(trio.BrokenResourceError):
                await peer.stream.send_all(b"\x43\x82\x08\x01")
    assert trio.current_time() - started <= 4


async def test_who_reads_a_goodbye_answers_and_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        peer, leave = await start_exporter(nursery, Limits())
        await peer.say(Goodbye(Code.FINISHED, ""))
        goodbye = (await peer.hear_all())[-1]
        assert goodbye == Goodbye(Code.FINISHED, "")
        leave.set()


async def test_who_breaks_the_protocol_hears_so_and_is_read_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        peer, leave = await start_exporter(nursery, Limits())
        await peer.stream.send_all(b"\x41\xff")
        await peer.say(Import(0, "x", True, 5, None, INT))
        heard = await peer.hear_all()
        assert isinstance(heard[-1], Goodbye)
        assert heard[-1].code is Code.PROTOCOL_ERROR
        assert not any(isinstance(frame, Reject) for frame in heard)
        leave.set()


async def test_all_that_was_delivered_is_acknowledged_soon(autojump_clock: trio.testing.MockClock) -> None:
    """Also one value in a window of 1000: it is all that has arrived."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()
    async with trio.open_nursery() as nursery, open_importer(ours) as importer:
        nursery.start_soon(peer.accept)
        receive = await importer.open_receive_channel("x", int, window=1000, max_buffer_size=1000)
        started = trio.current_time()
        await peer.say(data(0, 0, [1]))
        assert await take(receive, 1) == [1]
        assert (await peer.hear(Ack)).delivered == 1
        assert trio.current_time() - started < 0.1
        nursery.start_soon(peer.say, Goodbye(Code.FINISHED, ""))


@pytest.mark.parametrize(
    "schema", [b"\x81\x82\x0d" + cbor2.dumps("a" * 32_800), bytes(60_000)], ids=["too long by little", "60,000 bytes"]
)
async def test_a_schema_that_is_too_long_costs_a_refusal(autojump_clock: trio.testing.MockClock, schema: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(ours)
    send, receive = trio.open_memory_channel[Any](1)
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        nursery.start_soon(exporter.serve_stream, theirs)
        exporter.export("x", receive)
        await peer.greet(Import(0, "x", True, 5, None, schema))
        assert (await peer.hear(Reject)).code is Code.TYPE_MISMATCH
        await peer.say(Import(1, "x", True, 5, None, b"\x81\x81\x00"))
        assert (await peer.hear(Accept)).schema == b"\x81\x81\x00"
        send.close()
        await peer.say(Goodbye(Code.FINISHED, ""))
        await peer.hear_all()
