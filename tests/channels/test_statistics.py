"""`statistics()` of both sides: every count, in every state."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from support import connect, connected, put, take, take_all

from trionetchan import (
    ChannelStatistics,
    ConnectionLostError,
    Direction,
    Exporter,
    ExporterStatistics,
    Importer,
    ImporterStatistics,
    open_exporter,
    open_importer,
)


def of(side: Exporter | Importer, name: str) -> ChannelStatistics:
    return side.statistics().channels[name]


def counts(statistics: ChannelStatistics) -> tuple[int, int, int, int]:
    return statistics.sent, statistics.acknowledged, statistics.unacknowledged, statistics.waiting


async def test_statistics_are_frozen(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        await importer.open_receive_channel("jobs", int)
        everything: list[Any] = [
            exporter.statistics(),
            importer.statistics(),
            of(exporter, "jobs"),
            of(importer, "jobs"),
        ]
        assert isinstance(everything[0], ExporterStatistics)
        assert isinstance(everything[1], ImporterStatistics)
        for statistics in everything:
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                statistics.channels = statistics.peers = None


async def test_statistics_of_what_is_sent(nursery: trio.Nursery) -> None:
    """From `send` to acknowledgement, each value is in exactly one of the counts."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        assert counts(of(exporter, "jobs")) == (0, 0, 0, 0)
        assert (of(exporter, "jobs").direction, of(exporter, "jobs").peers) == (Direction.SEND, 0)
        assert "int" in of(exporter, "jobs").value_type
        for value in range(10):
            send.send_nowait(value)
        assert counts(of(exporter, "jobs")) == (0, 0, 0, 10)
        async with trio.open_nursery() as inner:
            inner.start_soon(send.send, 10)
            await trio.testing.wait_all_tasks_blocked()
            assert counts(of(exporter, "jobs")) == (0, 0, 0, 11)  # the blocked sender's value waits too
            receive = await importer.open_receive_channel("jobs", int, window=2)
        await trio.testing.wait_all_tasks_blocked()
        assert counts(of(exporter, "jobs")) == (2, 0, 2, 9)
        assert (of(exporter, "jobs").peers, of(importer, "jobs").peers) == (1, 1)
        assert of(importer, "jobs").direction is Direction.RECEIVE
        assert await take(receive, 4) == [0, 1, 2, 3]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert counts(of(exporter, "jobs")) == (6, 4, 2, 5)
        assert of(importer, "jobs").received == 4
        assert await take(receive, 7) == [4, 5, 6, 7, 8, 9, 10]
        await exporter.drain()
        assert counts(of(exporter, "jobs")) == (11, 11, 0, 0)
        assert of(importer, "jobs").received == 11
        assert 11 <= of(exporter, "jobs").bytes_sent <= 11 * 100
        assert of(exporter, "jobs").bytes_sent == of(importer, "jobs").bytes_received
        assert of(exporter, "jobs").bytes_received == of(importer, "jobs").bytes_sent == 0


async def test_statistics_of_an_importer_that_sends(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("results", int, window=3)
        send = await importer.open_send_channel("results", int, max_buffer_size=10)
        for value in range(10):
            send.send_nowait(value)
        await trio.testing.wait_all_tasks_blocked()
        assert counts(of(importer, "results")) == (3, 0, 3, 7)
        assert await take(receive, 10) == list(range(10))
        await importer.drain()
        assert counts(of(importer, "results")) == (10, 10, 0, 0)
        assert of(exporter, "results").received == 10
        assert of(importer, "results").direction is Direction.SEND


@pytest.mark.promise(8)
async def test_redelivered_value_is_sent_once(nursery: trio.Nursery) -> None:
    """`sent` does not count it again; `redelivered` does; while it is back, it waits."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        for value in range(5):
            send.send_nowait(value)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        with pytest.raises(ConnectionLostError):
            async with open_importer(ours) as importer:
                await importer.open_receive_channel("jobs", int, window=3)
                await trio.testing.wait_all_tasks_blocked()
                assert counts(of(exporter, "jobs")) == (3, 0, 3, 2)
                await ours.aclose()
                await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked()
        statistics = of(exporter, "jobs")
        assert (statistics.unacknowledged, statistics.waiting, statistics.peers) == (0, 5, 0)
        async with connect(nursery, exporter) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            assert await take(receive, 5) == list(range(5))
            await exporter.drain()
        statistics = of(exporter, "jobs")
        assert counts(statistics) == (5, 5, 0, 0)
        assert (statistics.redelivered, statistics.dropped) == (3, 0)


@pytest.mark.promise(33)
async def test_dropped_values_outlive_their_channel(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        for value in range(5):
            send.send_nowait(value)
        exporter.hangup("jobs")
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().dropped == 5
        assert "jobs" not in exporter.statistics().channels
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        for value in range(3):
            send.send_nowait(value)
        await importer.open_receive_channel("jobs", int)
        await trio.testing.wait_all_tasks_blocked()
        exporter.hangup("jobs")
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().dropped == 8


async def test_connections_and_peers(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        results = exporter.open_receive_channel("results", int, importers=2)
        assert exporter.statistics().connections == 0
        async with connect(nursery, exporter) as one:
            await one.open_receive_channel("jobs", int)
            send = await one.open_send_channel("results", int)
            async with connect(nursery, exporter) as two:
                await two.open_receive_channel("jobs", int)
                await put(await two.open_send_channel("results", int), [])
                await trio.testing.wait_all_tasks_blocked()
                assert exporter.statistics().connections == 2
                assert (of(exporter, "jobs").peers, of(exporter, "results").peers) == (2, 1)
                two.hangup("jobs")
                await trio.testing.wait_all_tasks_blocked()
                assert of(exporter, "jobs").peers == 1
                assert "jobs" not in two.statistics().channels
            send.close()
            assert await take_all(results) == []
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().connections == 0
        assert of(exporter, "jobs").peers == 0


async def test_channels_that_ended_are_not_listed(nursery: trio.Nursery) -> None:
    """An importer's ended channels are gone; a finished export stays until it is exported anew or hung up."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        send.close()
        assert await take_all(receive) == []
        await trio.testing.wait_all_tasks_blocked()
        assert not importer.statistics().channels
        assert list(exporter.statistics().channels) == ["jobs"]
        exporter.open_send_channel("jobs", int)
        assert list(exporter.statistics().channels) == ["jobs"]
        exporter.hangup("jobs")
        assert not exporter.statistics().channels


async def test_repr_shows_channels_and_types(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        assert repr(exporter) == "<Exporter of no channels>"
        exporter.open_send_channel("pairs", tuple[int, str])
        await importer.open_receive_channel("pairs", tuple[int, str])
        assert repr(exporter) == "<Exporter of outgoing 'pairs': tuple[int, text]>"
        assert repr(importer) == "<Importer of incoming 'pairs': tuple[int, text]>"
