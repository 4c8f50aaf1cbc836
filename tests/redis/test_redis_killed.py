"""Processes that use an engine are killed: nothing is lost, and only what was not acknowledged comes twice.

`TRIONETCHAN_EXAMPLES=1000` kills 200 workers and 50 producers, instead of a few.
"""

from __future__ import annotations

import os
import random

import pytest
import trio
from redis_servers import RedisServer
from support import Peer, peer

from trionetchan import Limits
from trionetchan.redis import open_redis_exporter

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
WORKERS = max(4, EXAMPLES // 5)
PRODUCERS = max(3, EXAMPLES // 20)
LEASE = 0.5  # seconds
WINDOW = 8
SIDE_BY_SIDE = 3


Line = tuple[bool, int]


async def lines(process: Peer, most: float) -> list[Line]:
    """The next numbers that it prints, so many or all up to the end, each with whether it came again."""
    found: list[Line] = []
    try:
        while len(found) < most:
            word, _, number = (await process.line()).partition(" ")
            if word == "end":
                break
            found.append((word == "again", int(number)))
    except AssertionError:  # it has ended
        pass
    return found


async def killed(process: Peer, after: int) -> list[Line]:
    """Kills the process after so many lines; all that it has printed."""
    found = await lines(process, after)
    process.process.kill()
    await process.process.wait()
    return found + await lines(process, float("inf"))


@pytest.mark.promise(47)
@pytest.mark.bounded(30 + 10 * EXAMPLES)
async def test_killed_workers_lose_nothing(redis: RedisServer, namespace: str) -> None:
    chance = random.Random(EXAMPLES)
    tickets = [*range(WORKERS)]
    lists: list[list[Line]] = []
    count = 0

    async def kill_one_after_the_other() -> None:
        while tickets:
            tickets.pop()
            async with peer("redis_worker", redis.url, namespace, LEASE, WINDOW) as worker:
                lists.append(await killed(worker, chance.randrange(1, 60)))

    async def produce(send: trio.MemorySendChannel[int], scope: trio.CancelScope) -> None:
        nonlocal count
        async with send:
            with scope:
                while True:
                    await send.send(count)
                    count += 1

    limits = Limits(max_redeliveries=10**6)
    opening = open_redis_exporter(redis.url, namespace=namespace, lease=LEASE, max_backlog=50, limits=limits)
    async with opening as exporter, trio.open_nursery() as nursery:
        producing = trio.CancelScope()
        nursery.start_soon(produce, exporter.open_send_channel("jobs", int), producing)
        async with trio.open_nursery() as workers:
            for _ in range(SIDE_BY_SIDE):
                workers.start_soon(kill_one_after_the_other)
        producing.cancel()
        async with peer("redis_worker", redis.url, namespace, LEASE, WINDOW) as worker:
            lists.append(await lines(worker, float("inf")))
    check_workers(lists, count)


def check_workers(lists: list[list[Line]], count: int) -> None:
    seen: set[int] = set()
    doubtful: set[int] = set()  # what a killed worker may not have acknowledged
    everything = [number for each in lists for _, number in each]
    for each in lists:
        doubtful.update(number for _, number in each[-WINDOW:])
        fresh = [number for again, number in each if not again]
        assert fresh == sorted(fresh)
    for number in everything:
        assert number not in seen or number in doubtful
        seen.add(number)
    assert seen == {*range(count)}


@pytest.mark.promise(47)
@pytest.mark.bounded(30 + 10 * EXAMPLES)
async def test_killed_producers_lose_nothing_that_was_acknowledged(redis: RedisServer, namespace: str) -> None:
    chance = random.Random(EXAMPLES)
    got: list[int] = []
    async with open_redis_exporter(redis.url, namespace=namespace, lease=LEASE) as exporter:
        receive = exporter.open_receive_channel("results", int, importers=None)
        await exporter.sync()

        async def collect() -> None:
            async for number in receive:
                got.append(number)  # noqa: PERF401 - it is looked at meanwhile

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            for number in range(PRODUCERS):
                first = number * 10**6
                async with peer("redis_producer", redis.url, namespace, LEASE, first) as producer:
                    safe = [last for _, last in await killed(producer, chance.randrange(1, 10))]
                of_this = [each for each in got if first <= each < first + 10**6]
                assert of_this == [*range(first, first + len(of_this))]
                assert first + len(of_this) > safe[-1]
            exporter.hangup("results")
    assert len(got) == len({*got})
