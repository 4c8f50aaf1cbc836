"""Which code may stand in a CLOSE, from whom. Anything else breaks the protocol: it is never an end, nor a silence.

From a sender: FINISHED, HUNG_UP, LIMIT (a value larger than the peer takes); from an importer also WITHDRAWN.
From a receiver: FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED; COUNT_REACHED when a count was asked for and reached;
from an importer also WITHDRAWN.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing
from scripted import Scripted, data
from support import connect, put, take, take_all

from trionetchan import ProtocolError, open_exporter, open_importer
from trionetchan._errors import Code
from trionetchan._protocol.frames import Ack, Close, Data, Goodbye

FROM_SENDER = {Code.FINISHED, Code.HUNG_UP, Code.LIMIT}
FROM_RECEIVER = {Code.FINISHED, Code.HUNG_UP, Code.RECEIVER_GONE, Code.VALUE_REFUSED}


def names(codes: set[Code]) -> list[str]:
    return sorted(code.name for code in codes)


NOT_FROM_SENDER = names(set(Code) - FROM_SENDER)
NOT_FROM_RECEIVER = names(set(Code) - FROM_RECEIVER)
NOT_FROM_SENDING_IMPORTER = names(set(Code) - FROM_SENDER - {Code.WITHDRAWN})
NOT_FROM_RECEIVING_IMPORTER = names(set(Code) - FROM_RECEIVER - {Code.WITHDRAWN})


async def check_told(peer: Scripted) -> None:
    """The peer hears why its connection ends."""
    goodbye = await peer.hear(Goodbye)
    assert goodbye.code is Code.PROTOCOL_ERROR
    await peer.say(Goodbye(Code.FINISHED, ""))
    await peer.stream.aclose()


# A scripted exporter


@pytest.mark.promise(31)
@pytest.mark.parametrize("code", NOT_FROM_SENDER)
@pytest.mark.parametrize("count", [None, 5])
@pytest.mark.parametrize("reader", ["reads", "comes later"])
async def test_exporter_that_sends_closes_with_an_odd_code(
    autojump_clock: trio.testing.MockClock, code: str, count: int | None, reader: str
) -> None:
    """The importer's block raises; its reader gets what was sent, and no end."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()
    got: list[int] = []
    ended = False
    async with trio.open_nursery() as nursery:
        with pytest.raises(ProtocolError), trio.fail_after(1000):
            async with open_importer(ours) as importer:
                nursery.start_soon(peer.accept)
                receive = await importer.open_receive_channel("jobs", int, count=count, max_buffer_size=1)
                await peer.say(data(0, 0, [1, 2]), Close(0, 2, Code[code], "odd"))
                nursery.start_soon(check_told, peer)
                if reader == "comes later":
                    await trio.sleep(1)
                async for value in receive:
                    got.append(value)  # noqa: PERF401  what came before counts
                ended = True
                await trio.sleep_forever()
    assert not ended
    assert got == [1, 2][: len(got)]


@pytest.mark.promise(31)
async def test_count_that_is_reached_only_by_word(autojump_clock: trio.testing.MockClock) -> None:
    """A guard: the exporter's sender closes with FINISHED before the count; that is an end like any other."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()
    async with trio.open_nursery() as nursery, open_importer(ours) as importer:
        nursery.start_soon(peer.accept)
        receive = await importer.open_receive_channel("jobs", int, count=5)
        await peer.say(data(0, 0, [1, 2]), Close(0, 2, Code.FINISHED, ""))
        assert await take_all(receive) == [1, 2]
        assert (await peer.hear(Close)).count == 2
        nursery.start_soon(peer.say, Goodbye(Code.FINISHED, ""))


@pytest.mark.promise(21, 31)
@pytest.mark.parametrize("code", NOT_FROM_RECEIVER)
@pytest.mark.parametrize("sent", [0, 3])
async def test_exporter_that_receives_closes_with_an_odd_code(
    autojump_clock: trio.testing.MockClock, code: str, sent: int
) -> None:
    """The importer's block raises; a count that was not asked for is not reached."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ProtocolError), trio.fail_after(1000):
            async with open_importer(ours) as importer:
                nursery.start_soon(peer.accept)
                send = await importer.open_send_channel("results", int, max_buffer_size=5)
                for value in range(sent):
                    send.send_nowait(value)
                if sent:
                    await peer.hear(Data)
                await peer.say(Close(0, 0, Code[code], "odd"))
                nursery.start_soon(check_told, peer)
                await trio.sleep_forever()


@pytest.mark.promise(24, 31)
@pytest.mark.parametrize("delivered", [0, 2, 3])
async def test_exporter_says_too_early_that_the_count_is_reached(
    autojump_clock: trio.testing.MockClock, delivered: int
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ProtocolError), trio.fail_after(1000):
            async with open_importer(ours) as importer:
                nursery.start_soon(peer.accept)
                send = await importer.open_send_channel("results", int, count=5, max_buffer_size=5)
                for value in range(3):
                    send.send_nowait(value)
                await trio.testing.wait_all_tasks_blocked()
                await peer.say(Close(0, delivered, Code.COUNT_REACHED, ""))
                nursery.start_soon(check_told, peer)
                await trio.sleep_forever()


# A scripted importer


@pytest.mark.promise(23, 31, 43)
@pytest.mark.parametrize("code", NOT_FROM_SENDING_IMPORTER)
@pytest.mark.parametrize("count", [None, 5])
@pytest.mark.parametrize("reader", ["reads", "comes later"])
async def test_importer_that_sends_closes_with_an_odd_code(
    autojump_clock: trio.testing.MockClock, code: str, count: int | None, reader: str
) -> None:
    """Its connection ends; its share stays, so the next import adopts it, and only then the stream is complete."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet()
        await peer.bind(0, "results", receives=False, count=count)
        got: list[int] = []
        ended = trio.Event()

        async def read() -> None:
            if reader == "comes later":
                await trio.sleep(10)
            async for value in results:
                got.append(value)  # noqa: PERF401
            ended.set()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await peer.say(data(0, 0, [1, 2]), Close(0, 2, Code[code], "odd"))
        with trio.fail_after(5):
            await check_told(peer)
        await trio.sleep(60)
        assert not ended.is_set()
        assert got == [1, 2][: len(got)]
        assert exporter.statistics().connections == 0
        async with connect(nursery, exporter) as importer:
            await put(await importer.open_send_channel("results", int), [3])
        await ended.wait()
        assert got[-1] == 3


@pytest.mark.promise(28, 43)
@pytest.mark.parametrize("code", NOT_FROM_RECEIVING_IMPORTER)
@pytest.mark.parametrize("delivered", [0, 1])
async def test_importer_that_receives_closes_with_an_odd_code(
    autojump_clock: trio.testing.MockClock, code: str, delivered: int
) -> None:
    """Its connection ends; all that was not acknowledged before goes to the next importer."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        for value in range(5):
            jobs.send_nowait(value)
        jobs.close()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet()
        await peer.bind(0, "jobs", receives=True)
        await peer.hear(Data)
        if delivered:
            await peer.say(Ack(0, delivered, 100, 2**20))
        await peer.say(Close(0, delivered, Code[code], "odd"))
        with trio.fail_after(5):
            await check_told(peer)
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().connections == 0
        async with connect(nursery, exporter) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            assert await take(receive, 5 - delivered) == list(range(delivered, 5))
            with pytest.raises(trio.EndOfChannel):
                await receive.receive()


@pytest.mark.promise(24, 43)
@pytest.mark.parametrize("delivered", [0, 2])
async def test_importer_says_too_early_that_its_count_is_reached(
    autojump_clock: trio.testing.MockClock, delivered: int
) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        for value in range(5):
            jobs.send_nowait(value)
        jobs.close()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet()
        await peer.bind(0, "jobs", receives=True, count=3)
        await peer.hear(Data)
        await peer.say(Close(0, delivered, Code.COUNT_REACHED, ""))
        with trio.fail_after(5):
            await check_told(peer)
        await trio.testing.wait_all_tasks_blocked()
        async with connect(nursery, exporter) as importer:
            got = await take_all(await importer.open_receive_channel("jobs", int))
            assert got[-3:] == [2, 3, 4]  # whether the last word counts, of one who breaks the protocol, is open
