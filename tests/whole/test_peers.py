"""`Exporter.peers()`: who comes and goes, and with what in its hands."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support import connect, peer, serve_tcp, take, until

from trionetchan import (
    Exporter,
    Limits,
    PeerConnected,
    PeerEventsLost,
    PeerGone,
    PeerResumed,
    PeerSuspended,
    open_exporter,
    open_importer,
    open_tcp_importer,
)

RESUMES_NOTHING = Limits(resume_timeout=0)


async def test_an_importer_comes_and_goes() -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        events = exporter.peers()
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port):
            came = await anext(events)
            assert isinstance(came, PeerConnected)
            assert came.address.startswith("('127.0.0.1', ")
        gone = await anext(events)
        assert gone == PeerGone(peer=came.peer, address=came.address, reason=None, unacknowledged={}, undelivered={})


async def test_what_a_killed_importer_had_is_told() -> None:
    """A process that took one value, has three more, and is killed; what it sent waits here undelivered."""
    async with trio.open_nursery() as nursery, open_exporter(limits=RESUMES_NOTHING) as exporter:
        events = exporter.peers()
        port = await serve_tcp(nursery, exporter)
        exporter.open_receive_channel("results", int)
        async with exporter.open_send_channel("jobs", int, max_buffer_size=10) as jobs:
            for number in range(4):
                await jobs.send(number)
            async with peer("holder", port) as holder:
                assert await holder.line() == "took 0"
                assert isinstance(await anext(events), PeerConnected)
                await until(lambda: exporter.statistics().channels["jobs"].sent == 4)
                holder.process.kill()
                gone = await anext(events)
            assert isinstance(gone, PeerGone)
            assert gone.reason
            assert gone.unacknowledged == {"jobs": 3}
            assert gone.undelivered == {"results": 1}
            exporter.hangup("jobs")


async def test_a_broken_connection_is_suspended_and_resumed() -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        events = exporter.peers()
        streams: list[trio.abc.Stream] = []

        async def dial() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            streams.append(ours)
            return ours

        jobs = exporter.open_send_channel("jobs", int)
        async with open_importer(dial) as importer:
            received = await importer.open_receive_channel("jobs", int)
            await jobs.send(1)
            await exporter_holds(exporter, 1)
            await streams[-1].aclose()
            came, broke, back = [await anext(events) for _ in range(3)]
            assert isinstance(came, PeerConnected)
            assert isinstance(broke, PeerSuspended)
            assert (broke.peer, broke.unacknowledged) == (came.peer, {"jobs": 1})
            assert broke.reason
            assert isinstance(back, PeerResumed)
            assert back.peer == came.peer
            late = exporter.peers()
            assert await anext(late) == PeerConnected(peer=came.peer, address=back.address)
            assert await take(received, 1) == [1]
            jobs.close()


async def exporter_holds(exporter: Exporter, count: int) -> None:
    await until(lambda: exporter.statistics().channels["jobs"].unacknowledged == count)


async def test_who_is_there_already_comes_first_and_the_end_of_the_block_is_the_end() -> None:
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            first = exporter.peers()
            nursery.start_soon(hold_on, nursery, exporter)
            came = await anext(first)
            second = exporter.peers()
        assert [event async for event in first] == [event async for event in second][1:]
        assert isinstance(came, PeerConnected)
        with pytest.raises(trio.ClosedResourceError):
            exporter.peers()
        nursery.cancel_scope.cancel()


async def hold_on(nursery: trio.Nursery, exporter: Exporter) -> None:
    async with connect(nursery, exporter):
        await trio.sleep_forever()


async def test_a_reader_that_is_slow_is_told_how_much_it_missed() -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        slow, quick = exporter.peers(max_events=2), exporter.peers()
        for _ in range(3):
            async with connect(nursery, exporter):
                assert isinstance(await anext(quick), PeerConnected)
            assert isinstance(await anext(quick), PeerGone)
        assert await anext(slow) == PeerEventsLost(count=4)
        last = [await anext(slow), await anext(slow)]
        assert [(type(event), getattr(event, "peer", 0)) for event in last] == [(PeerConnected, 3), (PeerGone, 3)]


async def test_who_never_says_hello_is_no_peer() -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        events = exporter.peers()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        await ours.send_all(b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: not exporter.statistics().connections)
        async with connect(nursery, exporter):
            assert await anext(events) == PeerConnected(peer=1, address=(await first_address(exporter)))


async def first_address(exporter: Exporter) -> str:
    event = await anext(exporter.peers())
    assert isinstance(event, PeerConnected)
    return event.address


async def test_cancelling_the_wait_loses_no_event(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        events = exporter.peers()
        with trio.move_on_after(1) as waited:
            await anext(events)
        assert waited.cancelled_caught
        async with connect(nursery, exporter):
            pass
        assert isinstance(await anext(events), PeerConnected)


async def test_events_of_nobody_are_bounded_by_what_is_asked() -> None:
    async with open_exporter() as exporter:
        with pytest.raises(ValueError, match="max_events: expected at least 1, got 0"):
            exporter.peers(max_events=0)
