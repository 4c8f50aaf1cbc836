"""What each process of a measurement does: one producer, and workers that take what it sends, on one of three systems.

`redis` is `trionetchan.redis`, `listening` an exporter that listens on TCP, and `coredis` what a program would write by
itself, in batches, that promises the same: a bounded stream, values that are added once (their count is written in the
same transaction), acknowledged and deleted after they were taken.
"""

from __future__ import annotations

import functools
import resource
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import cbor2
import trio

from trionetchan import open_exporter, open_tcp_importer

__all__ = ["PRODUCERS", "SYSTEMS", "WORKERS", "Work", "cpu_seconds"]

SYSTEMS = ("redis", "coredis", "listening")
WINDOW = 1024
BATCH = 512
GROUP = "workers"


@attrs.frozen
class Work:
    """What is to be carried: so many integers in each of some channels."""

    place: str
    """The engine's URL, or a port."""
    channels: int
    values: int
    workers: int

    def names(self, worker: int) -> list[str]:
        """The channels of one worker."""
        if self.workers >= self.channels:
            return [f"numbers{worker % self.channels}"]
        return [f"numbers{channel}" for channel in range(worker, self.channels, self.workers)]

    @property
    def all_names(self) -> list[str]:
        return [f"numbers{channel}" for channel in range(self.channels)]


def cpu_seconds() -> float:
    """Of this process, until now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


Go = Callable[[dict[str, Any]], Awaitable[None]]


# trionetchan


async def _produce(exporter: Any, work: Work, go: Go, hello: dict[str, Any]) -> float:
    sends = [exporter.open_send_channel(name, int, max_buffer_size=WINDOW) for name in work.all_names]
    await exporter.sync()
    await go(hello)
    began = trio.current_time()

    async def send(channel: trio.MemorySendChannel[int]) -> None:
        async with channel:
            for number in range(work.values):
                await channel.send(number)

    async with trio.open_nursery() as nursery:
        for channel in sends:
            nursery.start_soon(send, channel)
    await exporter.drain()
    return trio.current_time() - began


async def _produce_on_redis(work: Work, go: Go) -> float:
    from trionetchan.redis import open_redis_exporter

    async with open_redis_exporter(work.place) as exporter:
        return await _produce(exporter, work, go, {})


async def _produce_listening(work: Work, go: Go) -> float:
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(exporter.serve_tcp, 0))
        seconds = await _produce(exporter, work, go, {"port": listeners[0].port})
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    return seconds


@asynccontextmanager
async def _importer(system: str, place: str) -> AsyncGenerator[Any]:
    if system == "redis":
        from trionetchan.redis import open_redis_importer

        async with open_redis_importer(place) as importer:
            yield importer
    else:
        async with open_tcp_importer("127.0.0.1", int(place)) as importer:
            yield importer


async def _work(system: str, work: Work, worker: int, go: Go) -> int:
    taken = 0

    async def take(receive: trio.MemoryReceiveChannel[int]) -> None:
        nonlocal taken
        async for _ in receive:
            taken += 1

    async with _importer(system, work.place) as importer:
        ends = [
            await importer.open_receive_channel(name, int, window=WINDOW, max_buffer_size=WINDOW)
            for name in work.names(worker)
        ]
        await go({})
        async with trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(take, end)
    return taken


# By hand


async def _produce_by_hand(work: Work, go: Go) -> float:
    import coredis

    client: Any = coredis.Redis.from_url(work.place)
    async with client:
        for name in work.all_names:
            await client.xgroup_create(name, GROUP, "0", mkstream=True)
        await go({})
        began = trio.current_time()

        async def send(name: str) -> None:
            for first in range(0, work.values, BATCH):
                while await client.xlen(name) > 2**16 - BATCH:  # noqa: ASYNC110 - a plain client has no event for it
                    await trio.sleep(0.005)
                last = min(first + BATCH, work.values)
                async with client.pipeline(transaction=True) as pipeline:
                    for number in range(first, last):
                        pipeline.xadd(name, {b"v": cbor2.dumps(number)})
                    pipeline.set(f"{name}:added", last)

        async with trio.open_nursery() as nursery:
            for name in work.all_names:
                nursery.start_soon(send, name)
        for name in work.all_names:
            while await client.xlen(name):  # noqa: ASYNC110
                await trio.sleep(0.002)
        seconds = trio.current_time() - began
        await client.set("over", 1)
    return seconds


async def _work_by_hand(work: Work, worker: int, go: Go) -> int:
    import coredis

    taken = 0
    client: Any = coredis.Redis.from_url(work.place)

    async def take(name: str) -> None:
        nonlocal taken
        while True:
            streams = await client.xreadgroup(GROUP, f"worker{worker}", {name: b">"}, count=BATCH, block=200)
            if not streams:
                if await client.exists(["over"]):
                    return
                continue
            ids: list[bytes] = []
            for entry in next(iter(streams.values())):
                assert type(cbor2.loads(entry.field_values[b"v"])) is int
                ids.append(entry.identifier)
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.xack(name, GROUP, ids)
                pipeline.xdel(name, ids)
            taken += len(ids)

    async with client:
        await go({})
        async with trio.open_nursery() as nursery:
            for name in work.names(worker):
                nursery.start_soon(take, name)
    return taken


PRODUCERS: dict[str, Callable[[Work, Go], Awaitable[float]]] = {
    "redis": _produce_on_redis,
    "listening": _produce_listening,
    "coredis": _produce_by_hand,
}
WORKERS: dict[str, Callable[[Work, int, Go], Awaitable[int]]] = {
    "redis": functools.partial(_work, "redis"),
    "listening": functools.partial(_work, "listening"),
    "coredis": _work_by_hand,
}
