"""Shares of a receiving export: when its end comes, whoever binds, finishes, crashes and adopts, in whatever order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
import trio.testing
from support import connect, put, take_all

from trionetchan import Exporter, NoSuchChannelError, open_exporter

SENDERS = 3


class Shares:
    """The rule, as plain counts: a bind adopts an orphan or is a new share; finishing releases, crashing orphans."""

    def __init__(self, importers: int | None) -> None:
        self.importers = importers
        self.bound = self.active = self.orphans = 0

    def apply(self, event: str) -> None:
        if event == "bind":
            self.active += 1
            if self.orphans:
                self.orphans -= 1
            else:
                self.bound += 1
        else:
            self.active -= 1
            self.orphans += event == "crash"

    @property
    def ended(self) -> bool:
        return self.importers is not None and self.bound >= self.importers and not self.active and not self.orphans


def orderings() -> Iterator[tuple[str, ...]]:
    """Every order of events of three senders that crash at most once each and then come back, up to the end.

    Senders are alike, so an ordering is a word over the events; a bind after a crash adopts.
    """

    def extend(word: tuple[str, ...], shares: Shares, crashes: int) -> Iterator[tuple[str, ...]]:
        if shares.ended:
            yield word
            return
        events: list[str] = []
        if shares.bound < SENDERS or shares.orphans:
            events.append("bind")
        if shares.active:
            events.append("finish")
            if crashes < SENDERS:
                events.append("crash")
        for event in events:
            after = Shares(shares.importers)
            after.bound, after.active, after.orphans = shares.bound, shares.active, shares.orphans
            after.apply(event)
            yield from extend((*word, event), after, crashes + (event == "crash"))

    yield from extend((), Shares(SENDERS), 0)


ORDERINGS = sorted(set(orderings()))


class Senders:
    """Importers that bind one name and, when told, finish (close, leave) or crash (leave with the end open)."""

    def __init__(self, nursery: trio.Nursery, exporter: Exporter, name: str) -> None:
        self.nursery = nursery
        self.exporter = exporter
        self.name = name
        self.orders: list[trio.MemorySendChannel[str]] = []
        self.gone = trio.Event()
        self.sent: list[int] = []

    async def _live(self, task_status: trio.TaskStatus[trio.MemorySendChannel[str]]) -> None:
        tell, told = trio.open_memory_channel[str](1)
        async with connect(self.nursery, self.exporter) as importer:
            send = await importer.open_send_channel(self.name, int)
            value = len(self.sent)
            self.sent.append(value)
            await send.send(value)
            await importer.drain()
            task_status.started(tell)
            if await told.receive() == "finish":
                send.close()
        self.gone.set()

    async def apply(self, event: str) -> None:
        if event == "bind":
            self.orders.append(await self.nursery.start(self._live))
        else:
            self.gone = trio.Event()
            self.orders.pop(0).send_nowait(event)
            await self.gone.wait()


def test_the_orderings_are_all_there() -> None:
    assert len(ORDERINGS) == len(set(ORDERINGS)) > 300
    assert ("bind", "finish", "bind", "finish", "bind", "finish") in ORDERINGS
    assert ("bind", "crash", "bind", "bind", "bind", "finish", "finish", "finish") in ORDERINGS


@pytest.mark.promise(22, 23)
@pytest.mark.parametrize("part", range(8))
async def test_the_end_comes_exactly_when_promised(autojump_clock: trio.testing.MockClock, part: int) -> None:
    for ordering in ORDERINGS[part::8]:
        async with trio.open_nursery() as nursery, open_exporter() as exporter:
            receive = exporter.open_receive_channel("results", int, importers=SENDERS, max_buffer_size=99)
            senders = Senders(nursery, exporter, "results")
            shares = Shares(SENDERS)
            for event in ordering:
                assert "results" in exporter.statistics().channels, ordering
                await senders.apply(event)
                shares.apply(event)
                await trio.testing.wait_all_tasks_blocked()
                assert ("results" not in exporter.statistics().channels) == shares.ended, (ordering, event)
            assert await take_all(receive) == senders.sent


@pytest.mark.promise(22)
async def test_without_a_number_only_a_hangup_ends_it(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, importers=None, max_buffer_size=9)
        for value in range(3):
            async with connect(nursery, exporter) as importer:
                await put(await importer.open_send_channel("results", int), [value])
        assert [await receive.receive() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        exporter.hangup("results")
        assert await take_all(receive) == []


@pytest.mark.promise(23)
async def test_a_withdrawn_import_leaves_no_trace(nursery: trio.Nursery) -> None:
    """Cancelled while it asks: whether the answer was on its way or not, no share is left behind."""
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, max_buffer_size=9)
        async with connect(nursery, exporter) as importer:
            for _ in range(5):
                with trio.move_on_after(0) as scope:
                    await importer.open_send_channel("results", int)
                assert scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
            assert "results" in exporter.statistics().channels
            await put(await importer.open_send_channel("results", int), [1])
        assert await take_all(receive) == [1]
        with pytest.raises(NoSuchChannelError):
            exporter.hangup("results")


@pytest.mark.promise(22)
async def test_hanging_up_releases_the_share(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, max_buffer_size=9)
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("results", int)
            await send.send(1)
            await importer.drain()
            importer.hangup("results")
            assert await take_all(receive) == [1]


@pytest.mark.promise(15, 23)
async def test_a_refused_value_orphans_the_share(nursery: trio.Nursery) -> None:
    """The stream lost a value, so it must not look complete; the next import goes on with it."""
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, max_buffer_size=9)
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("results")
            await send.send(1)
            await send.send("two")
            error = await importer.errors.receive()
            assert error.channel == "results"
            with pytest.raises(trio.BrokenResourceError):
                await send.send(3)
            assert "results" in exporter.statistics().channels
            await put(await importer.open_send_channel("results"), [4])
        assert await take_all(receive) == [1, 4]
