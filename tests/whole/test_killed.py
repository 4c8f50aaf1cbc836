"""Processes are killed: of an importer, what comes back is what it had not acknowledged; of an exporter, the importer
is told what may not have arrived. Nothing else is lost, and nothing else comes twice.

`TRIONETCHAN_EXAMPLES=1000` kills 200 importers and 50 exporters, instead of a few.
"""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack

import pytest
import trio
from support import Peer, peer, put, serve_tcp, take_all, until

from trionetchan import Importer, Limits, SessionLostError, open_exporter, open_importer, open_tcp_importer

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
KILLED_RECEIVERS = range(max(3, EXAMPLES // 10))
KILLED_BESIDE_OTHERS = range(max(2, EXAMPLES // 20))
KILLED_SENDERS = range(max(2, EXAMPLES // 20))
KILLED_EXPORTERS = range(max(3, EXAMPLES // 20))
JOBS = 4000
SHARED = 800  # among those that are killed and the one that lives
SHORT = 0.3  # seconds for which a session is kept


async def said(process: Peer, word: str, count: int) -> list[int]:
    """The numbers of the next `count` lines that begin with the word."""
    numbers: list[int] = []
    while len(numbers) < count:
        line = await process.line()
        if line.startswith(word):
            numbers.append(int(line.split()[1]))
    return numbers


async def rest(process: Peer) -> list[str]:
    """The lines that a killed process has written, and nobody has read; one that is not whole is not written."""
    lines: list[str] = []
    try:
        while True:
            lines.append(await process.line())
    except AssertionError:
        return lines


async def kill(process: Peer) -> list[str]:
    process.process.kill()
    await process.process.wait()
    return await rest(process)


def numbers(lines: list[str], word: str) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


@pytest.mark.parametrize("seed", KILLED_RECEIVERS)
async def test_killed_importer_gives_back_what_it_had_not_acknowledged(nursery: trio.Nursery, seed: int) -> None:
    """Exactly that, in the order in which it was sent; and all that it had acknowledged, its program had."""
    chance = random.Random(seed)
    window = chance.choice([1, 2, 5, 64, 500])
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=JOBS)
        for value in range(JOBS):
            send.send_nowait(value)
        send.close()
        async with peer("worker", port, "receive", window, -1, 15, SHORT) as process:
            printed = await said(process, "got", chance.choice([0, 1, 2, chance.randrange(1000)]))
            if not printed:
                await until(lambda: exporter.statistics().channels["jobs"].sent > 0)
            printed += numbers(await kill(process), "got")
        await until(lambda: exporter.statistics().channels["jobs"].peers == 0)
        statistics = exporter.statistics().channels["jobs"]
        async with open_tcp_importer("127.0.0.1", port) as importer:
            got = await take_all(await importer.open_receive_channel("jobs", int))
        assert got == [*range(statistics.acknowledged, JOBS)]
        assert printed == [*range(len(printed))]
        assert statistics.acknowledged <= len(printed) <= statistics.sent <= statistics.acknowledged + window
        redelivered = exporter.statistics().channels["jobs"].redelivered
        assert redelivered == statistics.sent - statistics.acknowledged
        assert exporter.statistics().dropped == 0


@pytest.mark.parametrize("seed", KILLED_BESIDE_OTHERS)
async def test_importers_killed_beside_one_that_goes_on(nursery: trio.Nursery, seed: int) -> None:
    """One after the other; what comes twice is what was given back, and the one that lives gets nothing twice."""
    chance = random.Random(seed)
    printed: list[int] = []
    got: list[int] = []

    async def survive(importer: Importer) -> None:
        async for value in await importer.open_receive_channel("jobs", int, window=20):
            got.append(value)
            await trio.sleep(0.001)

    async with open_exporter() as exporter, trio.open_nursery() as inner:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=SHARED)
        async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as surviving:
            surviving.start_soon(survive, importer)
            for number in range(2):
                async with peer("worker", port, "receive", 20, -1, 15, SHORT) as process:
                    assert await process.line() == "bound"
                    inner.start_soon(put, send.clone(), range(number * SHARED // 2, (number + 1) * SHARED // 2))
                    printed += await said(process, "got", chance.randrange(1, 60))
                    printed += numbers(await kill(process), "got")
            send.close()
        statistics = exporter.statistics()
    assert {*got} | {*printed} == {*range(SHARED)}
    assert len(got) == len({*got})
    # What the first one had not acknowledged may have gone to the second, which was killed, too.
    assert len(printed) + len(got) - SHARED <= statistics.channels["jobs"].redelivered <= 2 * 20
    assert statistics.dropped == 0


@pytest.mark.parametrize("seed", KILLED_SENDERS)
async def test_killed_importer_that_sends(nursery: trio.Nursery, seed: int) -> None:
    """What was confirmed to it has arrived; the stream does not look complete until somebody else completes it."""
    chance = random.Random(seed)
    got: list[int] = []
    ended = trio.Event()

    async def collect(results: trio.MemoryReceiveChannel[int]) -> None:
        async for value in results:
            got.append(value)
            await trio.lowlevel.checkpoint()
        ended.set()

    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        nursery.start_soon(collect, exporter.open_receive_channel("results", int))
        async with peer("worker", port, "send", chance.choice([1, 5, 64]), -1, 15, SHORT) as process:
            count = chance.choice([0, 1, chance.randrange(1000)])
            lines = [f"sent {number}" for number in await said(process, "sent", count)]
            lines += await kill(process)
        await until(lambda: exporter.statistics().channels["results"].peers == 0)
        await until(lambda: exporter.statistics().channels["results"].received == len(got))
        assert not ended.is_set()
        assert got == [*range(len(got))]
        assert len(got) > max(numbers(lines, "confirmed"), default=-1)
        before = len(got)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            await put(await importer.open_send_channel("results", int), [-1, -2])
            await ended.wait()
        assert got[before:] == [-1, -2]


# Exporters


async def send_results(send: trio.MemorySendChannel[int], sent: list[int]) -> None:
    for value in range(1_000_000):
        await send.send(value)
        sent.append(value)


def check_told(error: SessionLostError, sent: list[int], printed: list[int], window: int) -> None:
    """With what the exporter's program has, nothing is missing; and only what is unconfirmed may be there."""
    unconfirmed, unsent = [*error.unconfirmed.get("results", [])], [*error.unsent.get("results", [])]
    confirmed = len(sent) - len(unconfirmed) - len(unsent)
    assert [*unconfirmed, *unsent] == [*range(confirmed, len(sent))]
    assert printed == [*range(len(printed))]
    assert confirmed <= len(printed) <= confirmed + len(unconfirmed)
    assert len(unconfirmed) <= window
    assert not {"jobs"} & {*error.unconfirmed, *error.unsent}


@pytest.mark.parametrize("seed", KILLED_EXPORTERS)
async def test_killed_exporter(seed: int) -> None:
    """The importer is told exactly, when the time to resume is over."""
    chance = random.Random(seed)
    window, buffer = chance.choice([1, 5, 64]), chance.choice([0, 3, 100])
    sent: list[int] = []
    printed: list[int] = []
    async with peer("collector", 0, window, 0) as process:
        port = int(await process.line())
        with pytest.raises(SessionLostError) as caught:
            async with (
                open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=SHORT)) as importer,
                trio.open_nursery() as body,
            ):
                body.start_soon(take_all, await importer.open_receive_channel("jobs", int))
                send = await importer.open_send_channel("results", int, window=window, max_buffer_size=buffer)
                body.start_soon(send_results, send, sent)
                printed += await said(process, "got", chance.choice([1, 2, chance.randrange(1, 1000)]))
                printed += numbers(await kill(process), "got")
                await trio.sleep_forever()
    check_told(caught.value, sent, printed, window)


@pytest.mark.parametrize("seed", range(2))
async def test_restarted_exporter_refuses(seed: int) -> None:
    """At once, though there would be time; nothing is sent to it, until the program does."""
    window, sent, printed = [4, 64][seed], list[int](), list[int]()
    async with AsyncExitStack() as stack:
        process = again = await stack.enter_async_context(peer("collector", 0, window, 0.001))
        port = int(await process.line())
        with pytest.raises(SessionLostError) as caught:
            async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as body:
                send = await importer.open_send_channel("results", int, window=window, max_buffer_size=10)
                body.start_soon(send_results, send, sent)
                printed += await said(process, "got", 50)
                printed += numbers(await kill(process), "got")
                again = await stack.enter_async_context(peer("collector", port, window, 0))
                assert await again.line() == str(port)
                await trio.sleep_forever()
        check_told(caught.value, sent, printed, window)
        tail = [*caught.value.unconfirmed["results"], *caught.value.unsent["results"]]
        async with open_tcp_importer("127.0.0.1", port) as importer:
            await put(await importer.open_send_channel("results", int), tail)
        assert numbers(await rest(again), "got") == tail


async def test_killed_importer_without_resume_gives_back_at_once(nursery: trio.Nursery) -> None:
    """One over a bare stream, or with a resume time of 0: its values need not wait."""
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        async with peer("worker", port, "receive", 8, 0, 15, 0) as process:
            assert [await process.line() for _ in range(2)] == ["bound", "holds"]
            await until(lambda: exporter.statistics().channels["jobs"].sent == 8)
            await kill(process)
        async with open_importer(await trio.open_tcp_stream("127.0.0.1", port)) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == [*range(20)]
        assert exporter.statistics().suspended == 0
