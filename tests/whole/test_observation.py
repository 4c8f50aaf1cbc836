"""Observing an exporter: what is told, and that who observes costs nobody else anything."""

from __future__ import annotations

import os
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from support import connect, peer, serve_tcp, until

import trionetchan
from trionetchan import (
    Exporter,
    NetchanError,
    NoSuchChannelError,
    TypeMismatchError,
    _observing,  # pyright: ignore[reportPrivateUsage]
    open_exporter,
    open_tcp_importer,
)
from trionetchan.observation import STATISTICS, Observation, TypeField, TypeNode, observe


@attrs.frozen
class Job:
    number: int
    data: bytes | None = None


async def test_everything_is_told() -> None:
    async with trio.open_nursery() as nursery, open_exporter(observable=True) as exporter:
        port = await serve_tcp(nursery, exporter)
        jobs = exporter.open_send_channel("jobs", Job, max_buffer_size=5)
        exporter.open_receive_channel("results", int, window=7, max_buffer_size=1)
        exporter.open_receive_channel("more", int)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            received = await importer.open_receive_channel("jobs", Job, window=2)
            results = await importer.open_send_channel("results", int)
            await results.send(1)
            for number in range(5):
                await jobs.send(Job(number))
            await until(lambda: exporter.statistics().channels["jobs"].unacknowledged == 2)
            told = await observe(importer)
            await received.aclose()
        exporter.hangup("jobs")
    assert (told.version, told.process, told.connections) == (trionetchan.__version__, os.getpid(), 1)
    assert [channel.name for channel in told.channels] == ["jobs", "more", "results"]
    first, _, third = told.channels
    assert (first.direction, first.sent, first.unacknowledged, first.waiting) == ("send", 2, 2, 3)
    assert (third.direction, third.window, third.importers[0].window) == ("receive", 7, 7)
    [holder] = first.importers
    assert (holder.peer, holder.window, holder.carried, holder.unacknowledged, holder.suspended) == (1, 2, 2, 2, False)
    assert holder.address.startswith("('127.0.0.1', ")
    assert first.type is not None
    assert told.types[first.type] == [
        TypeNode(
            kind="record",
            name="Job",
            fields=[
                TypeField(name="number", type=1, may_be_missing=False),
                TypeField(name="data", type=2, may_be_missing=True),
            ],
        ),
        TypeNode(kind="int"),
        TypeNode(kind="union", items=[3, 4]),
        TypeNode(kind="bytes"),
        TypeNode(kind="null"),
    ]
    assert len(told.types) == 2, "each type once"


async def test_who_is_not_observable_does_not_tell() -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter, connect(nursery, exporter) as importer:
        with pytest.raises(NoSuchChannelError, match=r"\$statistics: expected a name that is exported"):
            await observe(importer)


async def test_observations_have_their_type() -> None:
    async with (
        trio.open_nursery() as nursery,
        open_exporter(observable=True) as exporter,
        connect(nursery, exporter) as importer,
    ):
        with pytest.raises(TypeMismatchError):
            await importer.open_receive_channel(STATISTICS, int)
        with pytest.raises(trionetchan.WrongDirectionError):
            await importer.open_send_channel(STATISTICS, Observation)


@pytest.mark.parametrize("name", ["$", "$statistics", "$mine"])
async def test_reserved_names_cannot_be_exported(name: str) -> None:
    send, receive = trio.open_memory_channel[int](0)
    async with open_exporter() as exporter:
        for call in (
            lambda: exporter.open_send_channel(name, int),
            lambda: exporter.open_receive_channel(name, int),
            lambda: exporter.export(name, receive, int),
            lambda: exporter.export(name, send, int),
        ):
            with pytest.raises(ValueError, match=r"does not begin with '\$'"):
                call()


class Counted:
    """Counts the snapshots that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        take = _observing.Observer.take

        def counted(observer: Any) -> Observation:
            self.taken += 1
            return take(observer)

        monkeypatch.setattr(_observing.Observer, "take", counted)


async def test_each_observer_gets_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """Importers of an ordinary channel would compete."""

    async def look(times: list[float]) -> None:
        async with (
            connect(nursery, exporter) as importer,
            await importer.open_receive_channel(STATISTICS, Observation, window=1) as snapshots,
        ):
            times += [(await snapshots.receive()).seconds for _ in range(3)]

    seen: list[list[float]] = [[], []]
    async with (
        trio.open_nursery() as nursery,
        open_exporter(observable=True) as exporter,
        trio.open_nursery() as observers,
    ):
        for times in seen:
            observers.start_soon(look, times)
    assert [len(times) for times in seen] == [3, 3]


async def test_without_observers_no_snapshot_is_made(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    async with (
        trio.open_nursery() as nursery,
        open_exporter(observable=True) as exporter,
        connect(nursery, exporter) as importer,
    ):
        await trio.sleep(100)
        assert counted.taken == 0
        await observe(importer)
        await trio.sleep(100)
        assert counted.taken == 1


async def test_however_fast_one_asks_there_are_twenty_a_second(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    async with trio.open_nursery() as nursery, open_exporter(observable=True) as exporter:

        async def stream() -> None:
            async with (
                connect(nursery, exporter) as importer,
                await importer.open_receive_channel(STATISTICS, Observation, window=64) as snapshots,
            ):
                async for _ in snapshots:
                    pass

        with trio.move_on_after(10):
            async with trio.open_nursery() as observers:
                for _ in range(5):
                    observers.start_soon(stream)
        assert 100 <= counted.taken <= 205


async def test_who_observes_and_takes_nothing_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither drain nor sync, stop, or the end of the block; and one snapshot is all that waits for it."""
    counted = Counted(monkeypatch)
    async with trio.open_nursery() as nursery:
        async with open_exporter(observable=True) as exporter:
            port = await serve_tcp(nursery, exporter)
            await nursery.start(stay, port)
            await until(lambda: counted.taken == 1)
            await exporter.drain()
            await exporter.sync()
            assert exporter.statistics().channels == {}
            await exporter.stop()
        assert counted.taken == 1
        assert exporter_dropped(exporter) == 0
        nursery.cancel_scope.cancel()


def exporter_dropped(exporter: Exporter) -> int:
    return exporter._registry.dropped  # pyright: ignore[reportPrivateUsage]


async def stay(port: int, task_status: trio.TaskStatus[None]) -> None:
    """Observes, and never takes what it gets."""
    async with open_tcp_importer("127.0.0.1", port) as importer:
        await importer.open_receive_channel(STATISTICS, Observation, window=64)
        task_status.started()
        await trio.sleep_forever()


async def test_what_a_killed_observer_had_does_not_come_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    async with trio.open_nursery() as nursery, open_exporter(observable=True) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with peer("observer", port) as observer:
            assert await observer.line() == "bound"
            await until(lambda: counted.taken == 1)
            observer.process.kill()
        await until(lambda: exporter.statistics().connections == 0)
        exporter.open_receive_channel("new", int)
        await trio.sleep(_observing.SHORTEST_INTERVAL)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            assert [channel.name for channel in (await observe(importer)).channels] == ["new"]


async def test_a_snapshot_that_is_too_large_ends_the_observation_only() -> None:
    small = trionetchan.Limits(max_value_size=1000)
    async with trio.open_nursery() as nursery, open_exporter(observable=True, limits=small) as exporter:
        for number in range(20):
            exporter.open_receive_channel(f"channel {number}", int)
        async with connect(nursery, exporter) as importer:
            with pytest.raises(NetchanError, match="got its hang-up"):
                await observe(importer)


async def test_types_that_are_too_many_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_observing, "MAX_TYPE_NODES", 3)
    async with trio.open_nursery() as nursery, open_exporter(observable=True) as exporter:
        exporter.open_receive_channel("a", list[int])
        exporter.open_receive_channel("b", list[str])
        exporter.open_receive_channel("c", int)
        async with connect(nursery, exporter) as importer:
            told = await observe(importer)
        assert [channel.type for channel in told.channels] == [0, None, 1]
        assert len(told.types) == 2
