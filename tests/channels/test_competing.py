"""Several importers of one name: how values are dealt, and what becomes of them when an importer goes."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import trio
import trio.testing
from support import Peer, connect, peer, put, serve_tcp, take, take_all, until

from trionetchan import RemoteValueError, open_exporter

COUNT = 10_000
WINDOW = 64


async def printed(process: Peer) -> list[int]:
    """The values that a competitor prints, up to its end."""
    values: list[int] = []
    with contextlib.suppress(AssertionError):  # it was killed
        while (line := await process.line()) != "end":
            values.append(int(line))
    return values


@pytest.mark.promise(2, 3, 8, 10, 33, 47)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed before"])
async def test_one_is_killed_and_one_hangs_up(nursery: trio.Nursery, closed: bool) -> None:
    got: dict[str, list[int]] = {}

    async def collect(name: str, process: Peer) -> None:
        got[name] = await printed(process)

    async with open_exporter() as exporter, contextlib.AsyncExitStack() as stack:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=COUNT if closed else 0)
        if closed:
            await put(send, range(COUNT))
        competitors = {
            name: await stack.enter_async_context(peer("competitor", port, WINDOW, count, action))
            for name, count, action in (("dies", 500, "park"), ("leaves", 700, "hang up"), ("stays", 0, ""))
        }
        for process in competitors.values():
            assert await process.line() == "bound"
        if not closed:
            nursery.start_soon(put, send, range(COUNT))
        async with trio.open_nursery() as collecting:
            for name, process in competitors.items():
                await process.tell()
                if name != "dies":
                    collecting.start_soon(collect, name, process)
            got["dies"] = [int(await competitors["dies"].line()) for _ in range(500)]
            competitors["dies"].process.kill()
            got["dies"] += await printed(competitors["dies"])
        statistics = exporter.statistics().channels["jobs"]

    everything = [value for values in got.values() for value in values]
    assert set(everything) == set(range(COUNT))
    assert len(got["dies"]) == 500
    assert len(got["leaves"]) == 700
    twice = {value for value in everything if everything.count(value) > 1} if len(everything) > COUNT else set[int]()
    assert twice <= set(got["dies"][-WINDOW:])
    assert len(everything) - COUNT == len(twice) <= statistics.redelivered <= 2 * WINDOW
    assert statistics.sent == statistics.acknowledged == COUNT
    assert statistics.dropped == 0
    # In order for each of them, but for those that came back: at most what two importers can hold.
    for values in got.values():
        late = sum(1 for before, after in itertools.pairwise(values) if after < before)
        assert late <= statistics.redelivered


@pytest.mark.promise(9)
async def test_a_slow_importer_does_not_starve_another(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """One takes a second for each value; the other gets all that it can take meanwhile."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        async with connect(nursery, exporter) as slow, connect(nursery, exporter) as fast:
            slowly = await slow.open_receive_channel("jobs", int, window=8)
            fastly = await fast.open_receive_channel("jobs", int, window=8)
            taken: list[int] = []

            async def take_slowly() -> None:
                async for value in slowly:
                    taken.append(value)
                    await trio.sleep(1)

            nursery.start_soon(take_slowly)
            nursery.start_soon(put, send, range(1000))
            start = trio.current_time()
            quick = await take(fastly, 980)
            assert trio.current_time() - start < 1
            assert quick == sorted(quick)
            fast.hangup("jobs")
            nursery.cancel_scope.cancel()


@pytest.mark.promise(9)
async def test_values_are_dealt_in_runs_by_fewest_unacknowledged(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        async with connect(nursery, exporter) as one, connect(nursery, exporter) as two:
            first = await one.open_receive_channel("jobs", int, window=1000)
            second = await two.open_receive_channel("jobs", int, window=1000)
            for value in range(64):
                send.send_nowait(value)
            await trio.testing.wait_all_tasks_blocked()
            send.close()
            runs: list[list[int]] = []

            async def collect(receive: trio.MemoryReceiveChannel[int]) -> None:
                runs.append(await take_all(receive))

            async with trio.open_nursery() as collecting:
                collecting.start_soon(collect, first)
                collecting.start_soon(collect, second)
            assert sorted(runs[0] + runs[1]) == list(range(64))
            assert {len(run) for run in runs} == {32}


@pytest.mark.promise(8)
async def test_values_that_come_back_are_dealt_first_in_the_order_they_were_taken(nursery: trio.Nursery) -> None:
    """Whoever brings them back: here two importers, the later one first."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        async with connect(nursery, exporter) as one, connect(nursery, exporter) as two:
            await one.open_receive_channel("jobs", int, window=4)
            await two.open_receive_channel("jobs", int, window=4)
            for value in range(20):
                send.send_nowait(value)
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().channels["jobs"].unacknowledged == 8
            two.hangup("jobs")
            await trio.testing.wait_all_tasks_blocked()
            one.hangup("jobs")
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().channels["jobs"].waiting == 20
        async with connect(nursery, exporter) as three:
            receive = await three.open_receive_channel("jobs", int)
            send.close()
            assert await take_all(receive) == list(range(20))
            assert exporter.statistics().channels["jobs"].redelivered == 8


@pytest.mark.promise(18)
async def test_the_end_is_told_only_when_nothing_can_come_back(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        async with connect(nursery, exporter) as waits:
            async with connect(nursery, exporter) as holds:
                await holds.open_receive_channel("jobs", int, window=4)  # takes nothing
                await put(send, range(4))
                await until(lambda: exporter.statistics().channels["jobs"].unacknowledged == 4)
                receive = await waits.open_receive_channel("jobs", int)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.WouldBlock):
                    receive.receive_nowait()  # not the end: the other one holds four values and may die
            assert await take_all(receive) == [0, 1, 2, 3]


@pytest.mark.promise(3, 20)
@pytest.mark.parametrize("how", ["close", "hang up", "cancel", "leave"])
async def test_an_importer_that_goes_takes_nothing_with_it_and_closes_nothing(nursery: trio.Nursery, how: str) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        got: list[int] = []
        async with connect(nursery, exporter) as stays:
            keep = await stays.open_receive_channel("jobs", int, window=2)
            with trio.CancelScope() as scope:
                async with connect(nursery, exporter) as goes:
                    receive = await goes.open_receive_channel("jobs", int, window=8)
                    nursery.start_soon(put, send, range(100))
                    got += await take(receive, 5)
                    if how == "close":
                        receive.close()
                    elif how == "hang up":
                        goes.hangup("jobs")
                    elif how == "cancel":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
                    if how == "close":  # it is noticed with the next value
                        got += await take_all(keep)
            if how != "close":
                got += await take_all(keep)
        assert sorted(got) == list(range(100))


@pytest.mark.promise(16)
async def test_a_refused_value_goes_to_others_and_is_dropped_in_the_end(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """An untyped export holds a value that no importer of that type takes: five times it is dealt again."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", max_buffer_size=10)
        for value in (1, "two", 3):
            send.send_nowait(value)
        got: list[int] = []
        for attempt in range(6):
            with pytest.raises(RemoteValueError) as caught:
                async with connect(nursery, exporter) as importer:
                    receive = await importer.open_receive_channel("jobs", int)
                    got += await take_all(receive)
            assert caught.value.channel == "jobs"
            assert "int" in str(caught.value)
            assert "two" in str(caught.value)
            await trio.testing.wait_all_tasks_blocked()
            statistics = exporter.statistics().channels["jobs"]
            assert statistics.dropped == (1 if attempt == 5 else 0)
        send.close()
        async with connect(nursery, exporter) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == [3]
        assert got in (
            [],
            [1],
        )  # it was delivered, and lost only if its importer's block was cancelled before it was taken
        assert any(record.levelname == "ERROR" and "jobs" in record.message for record in caplog.records)
