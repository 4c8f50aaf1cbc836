"""An importer's process is stopped and goes on later, while another importer of the same name works.

For less time than the exporter waits: a pause. For more: what it had not delivered belongs to others, and it delivers
none of it when it goes on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support import Peer, peer, serve_tcp, until

from trionetchan import Exporter, Importer, Limits, open_exporter, open_tcp_importer

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
SEEDS = range(max(2, EXAMPLES // 20))
JOBS = 3000
KEEPALIVE = 0.2  # seconds, and as many for its timeout


def limits(resume: float) -> Limits:
    return Limits(keepalive=KEEPALIVE, keepalive_timeout=KEEPALIVE, resume_timeout=resume)


@attrs.define
class Beside:
    """The importer that works beside the one that is stopped."""

    got: list[int] = attrs.field(factory=list[int])

    async def run(self, importer: Importer, window: int = 4) -> None:
        async for value in await importer.open_receive_channel("jobs", int, window=window):
            self.got.append(value)
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def exporting(count: int, resume: float) -> AsyncGenerator[tuple[Exporter, int, trio.MemorySendChannel[int]]]:
    """An exporter with so many values in "jobs", its port, and the end of the channel, which is not closed yet."""
    async with open_exporter(limits=limits(resume)) as exporter, trio.open_nursery() as nursery:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=count)
        for value in range(count):
            send.send_nowait(value)
        yield exporter, await serve_tcp(nursery, exporter), send
        nursery.cancel_scope.cancel()


@attrs.define
class Stopped:
    """What the stopped process says."""

    process: Peer
    got: list[int] = attrs.field(factory=list[int])
    times: dict[int, float] = attrs.field(factory=dict[int, float])

    async def take(self, count: int) -> None:
        """Reads up to the line about its value number `count`."""
        while len(self.got) < count:
            self._read(await self.process.line())

    async def take_all(self) -> str:
        """Reads to the line that says what became of it."""
        while True:
            line = await self.process.line()
            if not self._read(line):
                return line

    def _read(self, line: str) -> bool:
        word, *rest = line.split()
        if word == "got":
            self.got.append(int(rest[0]))
            self.times[int(rest[0])] = float(rest[1])
        return word in ("got", "bound", "holds")

    def stop(self) -> None:
        self.process.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> float:
        """Wakes it; returns the time at which it did."""
        now = time.monotonic()
        self.process.process.send_signal(signal.SIGCONT)
        return now


async def test_stopped_for_longer_holding_values(nursery: trio.Nursery) -> None:
    """Values that wait in its library go to the other, and it cannot take them any more."""
    beside = Beside()
    async with exporting(50, 0.3) as (exporter, port, send):
        send.close()
        async with peer("worker", port, "receive", 4, 1, KEEPALIVE, 30) as process:
            stopped = Stopped(process)
            await stopped.take(1)
            assert await process.line() == "holds"
            await until(lambda: exporter.statistics().channels["jobs"].sent == 5)
            stopped.stop()
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await beside.run(importer)
            assert sorted(beside.got) == [*range(1, 50)]
            assert exporter.statistics().channels["jobs"].redelivered == 4
            await process.tell()  # it may take the next value, as soon as it goes on
            stopped.go_on()
            assert await stopped.take_all() == "SessionLostError"
        assert stopped.got == [0]


@pytest.mark.parametrize("seed", SEEDS)
async def test_stopped_for_longer_under_load(seed: int) -> None:
    """Somewhere in the stream: of what the other got, it takes at most the values that were just being handed over."""
    beside = Beside()
    async with exporting(JOBS, 0.3) as (exporter, port, send):
        send.close()
        async with peer("worker", port, "receive", 64, -1, KEEPALIVE, 30) as process:
            stopped = Stopped(process)
            await stopped.take(1 + seed * 37 % 500)
            stopped.stop()
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await beside.run(importer, 64)
            went_on = stopped.go_on()
            assert await stopped.take_all() == "SessionLostError"
        assert {*stopped.got} | {*beside.got} == {*range(JOBS)}
        assert len(beside.got) == len({*beside.got})
        assert stopped.got == sorted({*stopped.got})
        twice = {*stopped.got} & {*beside.got}
        assert len(twice) <= exporter.statistics().channels["jobs"].redelivered <= 64
        # One that a task had been handed and had not looked at yet, and one that was just being handed over.
        assert sum(stopped.times[value] > went_on for value in twice) <= 2


@pytest.mark.parametrize("seed", SEEDS)
async def test_stopped_for_shorter_than_the_resume_time(seed: int) -> None:
    """The exporter has given up the connection, and not the session: it resumes, and each value comes once.

    The end is said only in the pause: a process that had it in its socket already could go on, take all, and leave
    without ever connecting again; what it had not acknowledged would then wait for the resume time, and come twice.
    """
    beside = Beside()
    async with exporting(JOBS, 30) as (exporter, port, send), trio.open_nursery() as inner:
        async with peer("worker", port, "receive", 64, -1, KEEPALIVE, 30) as process:
            stopped = Stopped(process)
            await stopped.take(1 + seed * 37 % 500)
            stopped.stop()
            async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as body:
                body.start_soon(beside.run, importer)
                await until(lambda: exporter.statistics().suspended == 1)
                send.close()
                stopped.go_on()
                assert await stopped.take_all() == "end"
            assert exporter.statistics().resumed >= 1
        assert sorted([*stopped.got, *beside.got]) == [*range(JOBS)]
        assert stopped.got == sorted(stopped.got)
        assert exporter.statistics().channels["jobs"].redelivered == 0
        inner.cancel_scope.cancel()


async def test_stopped_for_a_moment() -> None:
    """Nobody notices: the connection is the same afterwards."""
    beside = Beside()
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=JOBS)
        async with peer("worker", port, "receive", 64, -1, 15, 30) as process:
            stopped = Stopped(process)
            for value in range(1000):
                send.send_nowait(value)
            await stopped.take(100)
            stopped.stop()
            async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as body:
                body.start_soon(beside.run, importer)
                for value in range(1000, JOBS):
                    send.send_nowait(value)
                send.close()
                await until(lambda: len(beside.got) > 1000)
                stopped.go_on()
                assert await stopped.take_all() == "end"
            assert exporter.statistics().resumed == exporter.statistics().suspended == 0
        assert sorted([*stopped.got, *beside.got]) == [*range(JOBS)]
        assert stopped.got == sorted(stopped.got)
        nursery.cancel_scope.cancel()


async def test_stopped_for_longer_while_it_sends() -> None:
    """It is told exactly what may not have arrived; the exporter gets nothing more of it."""
    got: list[int] = []

    async def collect(results: trio.MemoryReceiveChannel[int]) -> None:
        async for value in results:
            got.append(value)
            await trio.sleep(0.0001)

    async with open_exporter(limits=limits(0.3)) as exporter, trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, exporter)
        nursery.start_soon(collect, exporter.open_receive_channel("results", int))
        async with peer("worker", port, "send", 16, -1, KEEPALIVE, 30) as process:
            while await process.line() != "sent 100":
                pass
            process.process.send_signal(signal.SIGSTOP)
            await until(lambda: exporter.statistics().channels["results"].peers == 0)
            await until(lambda: exporter.statistics().channels["results"].received == len(got))
            before = len(got)
            process.process.send_signal(signal.SIGCONT)
            sent = 101
            while (line := await process.line()) != "SessionLostError":
                sent += line.startswith("sent")
            unconfirmed, unsent = [[*map(int, (await process.line()).split())] for _ in range(2)]
        assert got == [*range(before)]
        assert len(unconfirmed) <= 16
        first = (unconfirmed + unsent)[0]
        assert unconfirmed + unsent == [*range(first, sent)]
        assert first <= before <= first + len(unconfirmed)
        nursery.cancel_scope.cancel()
