"""Acknowledgement by the program, over whole streams: deliveries are settled one by one, and all else follows."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing
from scripted import INT, Scripted, data, dropped_in_log
from support import Medium, connect, connected, put, serve_tcp, take, take_all
from trio.testing import wait_all_tasks_blocked

from trionetchan import (
    ConnectionLostError,
    Delivery,
    Direction,
    Exporter,
    Importer,
    LimitError,
    Limits,
    ValuesDroppedError,
    open_exporter,
    open_importer,
    open_tcp_importer,
)
from trionetchan._errors import Code
from trionetchan._protocol.frames import Accept, Ack, Close, Data, Frame, Goodbye, Hello, Import, Redelivered, Settle

SEEDS = range(max(3, int(os.environ.get("TRIONETCHAN_EXAMPLES", "0")) // 30))
FEW = Limits(max_redeliveries=1)


async def manual(
    importer: Importer, name: str = "jobs", *, window: int = 8, count: int | None = None, buffer: float = 100
) -> trio.MemoryReceiveChannel[Delivery[int]]:
    return await importer.open_receive_channel(
        name, int, window=window, count=count, max_buffer_size=buffer, acknowledge="manual"
    )


def values_of(deliveries: list[Delivery[int]]) -> list[int]:
    return [delivery.value for delivery in deliveries]


def there(receive: trio.MemoryReceiveChannel[Delivery[int]]) -> list[Delivery[int]]:
    """What is there now."""
    found: list[Delivery[int]] = []
    with contextlib.suppress(trio.WouldBlock):
        while True:
            found.append(receive.receive_nowait())
    return found


@attrs.define
class Worker:
    """An importer of "jobs" on a connection of its own, with the end that it opened."""

    importer: Importer
    jobs: trio.MemoryReceiveChannel[Delivery[int]]
    stream: trio.abc.Stream


@contextlib.asynccontextmanager
async def worker(nursery: trio.Nursery, exporter: Exporter, *, window: int = 8) -> AsyncGenerator[Worker]:
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(exporter.serve_stream, theirs)
    async with open_importer(ours) as importer:
        yield Worker(importer, await manual(importer, window=window), ours)


# Settling


@pytest.mark.promise(49, 53)
@pytest.mark.parametrize("medium", ["memory", "tcp"])
@pytest.mark.parametrize("buffer", [0, 100])
async def test_deliveries_are_acknowledged_in_any_order(nursery: trio.Nursery, medium: Medium, buffer: int) -> None:
    chance = random.Random(1)
    async with connected(nursery, medium) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        jobs = await manual(importer, window=8, buffer=buffer)
        nursery.start_soon(put, send, list(range(80)))
        for start in range(0, 80, 8):
            held = await take(jobs, 8)
            assert values_of(held) == list(range(start, start + 8))
            assert not any(delivery.redelivered for delivery in held)
            chance.shuffle(held)
            for delivery in held:
                await delivery.ack()
        await exporter.drain()
        assert await take_all(jobs) == []
        statistics = exporter.statistics().channels["jobs"]
        assert (statistics.acknowledged, statistics.unacknowledged, statistics.redelivered) == (80, 0, 0)


@pytest.mark.promise(4, 49)
async def test_credit_follows_the_settlement(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer, window=4)
        for value in range(20):
            send.send_nowait(value)
        await wait_all_tasks_blocked()
        held = there(jobs)
        assert values_of(held) == [0, 1, 2, 3]
        assert exporter.statistics().channels["jobs"].unacknowledged == 4
        for number, settled in enumerate((2, 0, 3)):
            await (held[settled].reject() if settled == 0 else held[settled].ack())
            await wait_all_tasks_blocked()
            (new,) = there(jobs)
            assert (new.value, new.redelivered) == ((0, True) if settled == 0 else (4 + bool(number), False))
        for delivery in held[1:2]:
            await delivery.ack()
        send.close()


@pytest.mark.promise(51)
async def test_a_rejected_value_comes_again_before_new_ones(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=30)
        jobs = await manual(importer, window=20)
        for value in range(24):
            send.send_nowait(value)
        held = await take(jobs, 20)
        async with trio.open_nursery() as at_once:
            for place in 3, 1, 2:
                at_once.start_soon(held[place].reject)
        assert [(d.value, d.redelivered) for d in await take(jobs, 3)] == [(1, True), (2, True), (3, True)]
        await held[0].ack()
        assert [(d.value, d.redelivered) for d in await take(jobs, 1)] == [(20, False)]
        exporter.hangup("jobs")


@pytest.mark.promise(8, 51)
async def test_a_rejected_value_goes_to_another_importer(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with worker(nursery, exporter, window=2) as one:
            await send.send(0)
            await send.send(1)
            held = await take(one.jobs, 2)
            async with worker(nursery, exporter, window=2) as other:
                await held[0].reject()
                (delivery,) = await take(other.jobs, 1)
                assert (delivery.value, delivery.redelivered) == (0, True)
                await delivery.ack()
                await held[1].ack()
                await exporter.drain()
                assert exporter.statistics().channels["jobs"].redelivered == 1
        send.close()


@pytest.mark.promise(49, 51)
@pytest.mark.parametrize("how", ["hangs up", "leaves", "raises", "is cut off", "closes its end"])
async def test_what_is_not_settled_returns_when_its_holder_goes(nursery: trio.Nursery, how: str) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        with contextlib.suppress(ConnectionLostError, ZeroDivisionError):
            async with worker(nursery, exporter) as one:
                for value in range(6):
                    await send.send(value)
                held = await take(one.jobs, 6)
                await held[1].ack()
                await held[3].ack()
                if how == "hangs up":
                    one.importer.hangup("jobs")
                elif how == "raises":
                    raise ZeroDivisionError
                elif how == "is cut off":
                    await wait_all_tasks_blocked()  # so that the exporter has heard what is settled
                    await trio.aclose_forcefully(one.stream)
                elif how == "closes its end":
                    await one.jobs.aclose()
                    await send.send(6)
        async with worker(nursery, exporter) as other:
            again = await take(other.jobs, 4)
            assert [(d.value, d.redelivered) for d in again] == [(0, True), (2, True), (4, True), (5, True)]
            for delivery in again:
                await delivery.ack()
            if how == "closes its end":
                (last,) = await take(other.jobs, 1)
                assert last.value == 6
                await last.ack()
            await exporter.drain()
        send.close()


@pytest.mark.promise(50)
async def test_a_cancelled_call_has_settled_nothing(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer)
        await send.send(0)
        await send.send(1)
        one, other = await take(jobs, 2)
        for call in one.ack, one.reject, other.reject:
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert exporter.statistics().channels["jobs"].unacknowledged == 2
        await one.ack()
        await other.ack()
        await exporter.drain()
        send.close()


@pytest.mark.promise(49)
async def test_each_delivery_is_settled_once(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer)
        await send.send(0)
        await send.send(1)
        one, other = await take(jobs, 2)
        await one.ack()
        await other.reject()
        for call in one.ack, one.reject, other.ack, other.reject:
            with pytest.raises(RuntimeError, match="jobs: expected a delivery to be settled once"):
                await call()
        (again,) = await take(jobs, 1)
        await again.ack()
        await exporter.drain()
        assert exporter.statistics().channels["jobs"].acknowledged == 2
        send.close()


@pytest.mark.promise(40, 50)
@pytest.mark.parametrize("how", ["ack", "reject", "second ack", "ack when it is gone"])
async def test_settling_is_a_checkpoint(nursery: trio.Nursery, how: str) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer)
        await send.send(0)
        (delivery,) = await take(jobs, 1)
        if how == "second ack":
            await delivery.ack()
        if how == "ack when it is gone":
            importer.hangup("jobs")
        with trio.testing.assert_checkpoints(), contextlib.suppress(RuntimeError, trio.ClosedResourceError):
            await (delivery.reject() if how == "reject" else delivery.ack())
        exporter.hangup("jobs")


GONE = Literal["the exporter hung up", "the connection was lost", "it was hung up", "the block was left"]


@pytest.mark.promise(50)
@pytest.mark.parametrize(
    "why", ["the exporter hung up", "the connection was lost", "it was hung up", "the block was left"]
)
async def test_settling_when_the_import_is_gone(nursery: trio.Nursery, why: GONE) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        held: list[Delivery[int]] = []
        with contextlib.suppress(ConnectionLostError):
            async with worker(nursery, exporter) as one:
                await send.send(0)
                held = await take(one.jobs, 1)
                if why == "the exporter hung up":
                    exporter.hangup("jobs")
                    with pytest.raises(trio.EndOfChannel):
                        await one.jobs.receive()
                elif why == "the connection was lost":
                    await trio.aclose_forcefully(one.stream)
                    await trio.sleep_forever()
                elif why == "it was hung up":
                    one.importer.hangup("jobs")
        own = why in ("it was hung up", "the block was left")
        for _ in range(2):
            with pytest.raises(
                trio.ClosedResourceError if own else trio.BrokenResourceError, match=f"jobs: .* went back: {why}"
            ):
                await held[0].ack()
        if why != "the exporter hung up":
            exporter.hangup("jobs")
        assert exporter.statistics().dropped == 1


@pytest.mark.promise(50)
async def test_a_settlement_is_told_within_a_few_turns(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    async with open_importer(ours) as importer:
        await peer.greet(settle=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.accept, data(0, 0, [0, 1, 2]))
            jobs = await manual(importer, window=64)
        held = await take(jobs, 3)
        await held[2].ack()
        await held[0].ack()
        began = trio.current_time()
        assert await peer.hear(Settle) == Settle(0, (0, 1, 2, 1), True)
        assert (await peer.hear(Ack)).delivered == 0
        assert trio.current_time() == began
        await held[1].reject()
        importer.hangup("jobs")
        assert await peer.hear(Settle) == Settle(0, (1, 1), False)
        assert await peer.hear(Close) == Close(0, 3, Code.HUNG_UP, "jobs: the receiver hung up")
        await peer.say(Goodbye(Code.FINISHED, ""))


# What waits for the settlement


@pytest.mark.promise(35, 53)
async def test_a_drain_waits_for_the_settlement(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer)
        drained = trio.Event()

        async def drain() -> None:
            await exporter.drain("jobs")
            drained.set()

        for value in range(3):
            await send.send(value)
        nursery.start_soon(drain)
        held = await take(jobs, 3)
        await held[2].ack()
        await held[0].reject()
        (again,) = await take(jobs, 1)
        await held[1].ack()
        await wait_all_tasks_blocked()
        assert not drained.is_set()
        await again.ack()
        await drained.wait()
        send.close()


@pytest.mark.promise(37, 53)
async def test_a_sync_follows_what_is_rejected_and_nothing_else(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        jobs = await manual(importer)
        synced = trio.Event()

        async def sync() -> None:
            await exporter.sync("jobs")
            synced.set()

        for value in range(3):
            await send.send(value)
        held = await take(jobs, 3)
        nursery.start_soon(sync)
        await wait_all_tasks_blocked()
        await send.send(3)
        (later,) = await take(jobs, 1)
        await held[2].ack()
        await held[1].reject()
        (again,) = await take(jobs, 1)
        await held[0].ack()
        await later.reject()  # which nobody waits for
        await wait_all_tasks_blocked()
        assert not synced.is_set()
        await again.reject()
        again, *_ = sorted(await take(jobs, 2), key=lambda delivery: delivery.value)
        assert again.value == 1
        await wait_all_tasks_blocked()
        assert not synced.is_set()
        await again.ack()
        await synced.wait()
        exporter.hangup("jobs")


@pytest.mark.promise(37, 53)
async def test_a_sync_follows_what_comes_back_with_its_holder(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        synced = trio.Event()

        async def sync() -> None:
            await exporter.sync("jobs")
            synced.set()

        async with worker(nursery, exporter) as one:
            for value in range(4):
                await send.send(value)
            held = await take(one.jobs, 4)
            nursery.start_soon(sync)
            await wait_all_tasks_blocked()
            await send.send(4)
            await take(one.jobs, 1)
            await held[0].ack()
            await held[2].ack()
        async with worker(nursery, exporter) as other:
            again = await take(other.jobs, 3)
            assert values_of(again) == [1, 3, 4]
            await again[1].ack()
            await wait_all_tasks_blocked()
            assert not synced.is_set()
            await again[0].ack()
            await synced.wait()
        exporter.hangup("jobs")


@pytest.mark.promise(18, 53)
async def test_the_end_comes_when_everything_is_settled(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with worker(nursery, exporter, window=2) as one, worker(nursery, exporter, window=2) as other:
            await send.send(0)
            await send.send(1)
            (held,), (kept,) = await take(one.jobs, 1), await take(other.jobs, 1)
            send.close()
            await held.reject()
            await wait_all_tasks_blocked()
            (again,) = there(one.jobs) + there(other.jobs)
            await kept.ack()
            await wait_all_tasks_blocked()
            for each in one, other:
                with pytest.raises(trio.WouldBlock):
                    each.jobs.receive_nowait()
            await again.ack()
            for each in one, other:
                assert await take_all(each.jobs) == []


@pytest.mark.promise(18, 51, 53)
async def test_importers_of_both_kinds_share_a_name(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with worker(nursery, exporter, window=1) as one:
            await send.send(0)
            (held,) = await take(one.jobs, 1)
            async with connect(nursery, exporter) as importer:
                plain = await importer.open_receive_channel("jobs", int, window=4)
                await send.send(1)
                assert await plain.receive() == 1
                send.close()
                await wait_all_tasks_blocked()
                with pytest.raises(trio.WouldBlock):
                    plain.receive_nowait()
                await held.reject()
                assert await plain.receive() == 0
                assert await take_all(plain) == []
            assert await take_all(one.jobs) == []


@pytest.mark.promise(51)
async def test_what_came_back_from_an_ordinary_import_is_told_so(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with connect(nursery, exporter) as importer:
            await importer.open_receive_channel("jobs", int, window=2)
            for value in range(3):
                await send.send(value)
            await wait_all_tasks_blocked()
        async with worker(nursery, exporter) as one:
            held = await take(one.jobs, 3)
            assert [(d.value, d.redelivered) for d in held] == [(0, True), (1, True), (2, False)]
        exporter.hangup("jobs")


@pytest.mark.promise(25, 53)
async def test_leaving_waits_for_the_settlement(nursery: trio.Nursery) -> None:
    left = trio.Event()
    bound = trio.Event()

    async def export(task_status: trio.TaskStatus[Exporter]) -> None:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
            task_status.started(exporter)
            await bound.wait()
            await send.send(0)
            send.close()
        left.set()

    exporter: Exporter = await nursery.start(export)
    async with worker(nursery, exporter) as one:
        bound.set()
        (held,) = await take(one.jobs, 1)
        await held.reject()
        (again,) = await take(one.jobs, 1)
        await wait_all_tasks_blocked()
        assert not left.is_set()
        await again.ack()
        await left.wait()
        assert await take_all(one.jobs) == []


@pytest.mark.promise(24, 53)
async def test_a_counted_import_ends_when_so_many_are_settled(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(10):
            send.send_nowait(value)
        jobs = await manual(importer, count=3)
        held = await take(jobs, 3)
        await wait_all_tasks_blocked()
        assert there(jobs) == []
        await held[2].ack()
        await held[0].reject()
        await wait_all_tasks_blocked()
        assert "jobs" in importer.statistics().channels
        await held[1].ack()
        assert await take_all(jobs) == []
        jobs = await manual(importer, count=2)
        assert [(d.value, d.redelivered) for d in await take(jobs, 2)] == [(0, True), (3, False)]
        exporter.hangup("jobs")


async def test_a_counted_import_of_nothing_ends_at_once(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        assert await take_all(await manual(importer, count=0)) == []


# Dead letters


@pytest.mark.promise(52)
async def test_dead_letters_get_what_came_back_too_often(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    dead_send, dead = trio.open_memory_channel[int](100)
    async with connected(nursery, limits=FEW) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=dead_send)
        jobs = await manual(importer)
        for value in range(6):
            await send.send(value)
        send.close()
        seen: Counter[int] = Counter()
        async for delivery in jobs:
            seen[delivery.value] += 1
            await (delivery.reject() if delivery.value % 2 else delivery.ack())
        assert seen == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}
        assert await take_all(dead) == [1, 3, 5]
        await exporter.drain()
        statistics = exporter.statistics().channels["jobs"]
        assert (statistics.acknowledged, statistics.dead_letters, statistics.dropped) == (3, 3, 0)
    assert dropped_in_log(caplog) == 0


@pytest.mark.promise(37, 52)
@pytest.mark.parametrize("letters", [True, False])
async def test_a_sync_ends_when_what_it_follows_is_given_up(nursery: trio.Nursery, letters: bool) -> None:
    dead_send, dead = trio.open_memory_channel[int](1)
    async with connected(nursery, limits=Limits(max_redeliveries=0)) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, dead_letters=dead_send if letters else None)
        jobs = await manual(importer)
        await send.send(0)
        held = await jobs.receive()
        async with trio.open_nursery() as syncing:

            async def sync() -> None:
                with contextlib.nullcontext() if letters else pytest.raises(ValuesDroppedError):
                    await exporter.sync("jobs")

            syncing.start_soon(sync)
            await wait_all_tasks_blocked()
            await held.reject()
        if letters:
            assert await dead.receive() == 0
        send.close()


@pytest.mark.promise(38, 52)
@pytest.mark.parametrize("how", ["rejects", "goes"])
async def test_without_dead_letters_it_is_dropped_and_counted(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with open_exporter(limits=FEW) as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        await send.send(0)
        if how == "rejects":
            async with worker(nursery, exporter) as one:
                for _ in range(2):
                    await (await one.jobs.receive()).reject()
        for _ in range(2 if how == "goes" else 0):
            async with worker(nursery, exporter) as one:
                await one.jobs.receive()
        await wait_all_tasks_blocked()
        assert exporter.statistics().channels["jobs"].dropped == 1
        with pytest.raises(ValuesDroppedError) as caught:
            await exporter.drain("jobs")
        assert caught.value.count == 1
        send.close()
    assert [record.levelno for record in caplog.records if "too often" in record.getMessage()] == [
        logging.ERROR,
        logging.WARNING,
    ]
    assert dropped_in_log(caplog) == 1


@pytest.mark.promise(52)
async def test_dead_letters_that_nobody_takes_hold_up_nothing(nursery: trio.Nursery) -> None:
    dead_send, dead = trio.open_memory_channel[int](0)
    async with connected(nursery, limits=FEW) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=dead_send)
        jobs = await manual(importer, window=2)
        nursery.start_soon(put, send, list(range(30)))
        async for delivery in jobs:
            await (delivery.ack() if delivery.value % 3 else delivery.reject())
        await exporter.drain()
        assert exporter.statistics().channels["jobs"].dead_letters == 10
        assert await take_all(dead) == list(range(0, 30, 3))


@pytest.mark.promise(52)
async def test_dead_letters_whose_receiver_is_gone_are_dropped(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    dead_send, dead = trio.open_memory_channel[int](0)
    async with connected(nursery, limits=Limits(max_redeliveries=0)) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=dead_send)
        jobs = await manual(importer)
        for value in range(4):
            await send.send(value)
        held = await take(jobs, 4)
        await held[0].reject()
        assert await dead.receive() == 0
        await held[1].reject()
        await wait_all_tasks_blocked()
        dead.close()
        await held[2].reject()
        await held[3].ack()
        with pytest.raises(ValuesDroppedError):
            await exporter.drain()
        statistics = exporter.statistics().channels["jobs"]
        assert (statistics.dead_letters, statistics.dropped) == (3, 2)
        send.close()
    assert dropped_in_log(caplog) == 2


@pytest.mark.promise(16, 52)
async def test_what_ordinary_importers_refuse_too_often_is_a_dead_letter(nursery: trio.Nursery) -> None:
    dead_send, dead = trio.open_memory_channel[Any](10)
    async with open_exporter(limits=Limits(max_redeliveries=0)) as exporter:
        send = exporter.open_send_channel("jobs", max_buffer_size=20, dead_letters=dead_send)
        with contextlib.suppress(Exception):
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("jobs", int)
                await send.send("no number")
                await trio.sleep_forever()
        assert await dead.receive() == "no number"
        await exporter.drain()
        send.close()


@pytest.mark.promise(52)
@pytest.mark.parametrize("how", ["hung up", "left"])
async def test_dead_letters_end_with_their_channel(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    dead_send, dead = trio.open_memory_channel[int](0)
    async with connected(nursery, limits=Limits(max_redeliveries=0)) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=dead_send)
        jobs = await manual(importer)
        await send.send(0)
        (delivery,) = await take(jobs, 1)
        await delivery.reject()
        await wait_all_tasks_blocked()
        if how == "hung up":
            exporter.hangup("jobs")
            assert await take_all(dead) == [0]
        else:
            send.close()
    if how == "left":
        assert await take_all(dead) == []
        assert dropped_in_log(caplog) == 1


async def test_an_end_for_dead_letters_that_raises_fails_the_block(nursery: trio.Nursery) -> None:
    class Breaks(trio.abc.SendChannel[int]):
        async def send(self, value: int) -> None:
            raise ZeroDivisionError(value)

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    with pytest.raises(ZeroDivisionError):
        async with open_exporter(limits=Limits(max_redeliveries=0)) as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=Breaks())
            with contextlib.suppress(ConnectionLostError):
                async with worker(nursery, exporter) as one:
                    await send.send(0)
                    await (await one.jobs.receive()).reject()
                    await trio.sleep_forever()


# Large values


@pytest.mark.promise(5, 49)
async def test_large_values_are_held_one_by_one(nursery: trio.Nursery) -> None:
    limits = Limits(max_buffered_bytes=100_000)
    async with connected(nursery, "tcp", limits) as (exporter, importer):
        send = exporter.open_send_channel("blobs", bytes)
        blobs = await importer.open_receive_channel("blobs", bytes, window=8, max_buffer_size=8, acknowledge="manual")
        sizes = [1_000_000, 2_000_000, 10, 1_500_000]
        nursery.start_soon(put, send, [bytes([n]) * size for n, size in enumerate(sizes)])
        rejected = False
        for number, size in enumerate(sizes):
            delivery = await blobs.receive()
            assert (delivery.value[:1], len(delivery.value)) == (bytes([number]), size)
            with pytest.raises(trio.WouldBlock):
                blobs.receive_nowait()
            if number == 1 and not rejected:
                rejected = True
                await delivery.reject()
                delivery = await blobs.receive()
                assert (len(delivery.value), delivery.redelivered) == (size, True)
            await delivery.ack()
        assert await take_all(blobs) == []


# Many at a time


@pytest.mark.promise(3, 49, 51, 53)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("medium", ["memory", "tcp"])
async def test_workers_that_come_and_go_accept_each_value_once(
    nursery: trio.Nursery, medium: Medium, seed: int
) -> None:
    chance = random.Random(seed)
    count = 400
    accepted: Counter[int] = Counter()

    async def work(exporter: Exporter, port: int) -> None:
        """Takes, settles at random, and leaves now and then with its hands full."""
        opening = connect(nursery, exporter) if medium == "memory" else open_tcp_importer("127.0.0.1", port)
        async with opening as importer:
            jobs = await manual(importer, window=chance.randrange(1, 20), buffer=chance.choice([0, 100]))
            held: list[Delivery[int]] = []
            lives = chance.randrange(10, 100)
            async for delivery in jobs:
                held.append(delivery)
                lives -= 1
                if not lives:
                    return
                while held and (chance.random() < 0.6 or len(held) > 10):
                    each = held.pop(chance.randrange(len(held)))
                    if chance.random() < 0.1:
                        await each.reject()
                    else:
                        await each.ack()
                        accepted[each.value] += 1
                if chance.random() < 0.2 or not jobs.statistics().current_buffer_used:
                    for each in held:
                        await each.ack()
                        accepted[each.value] += 1
                    held.clear()

    async def employ(exporter: Exporter, port: int) -> None:
        while sum(accepted.values()) < count:
            await work(exporter, port)

    async with open_exporter(limits=Limits(max_redeliveries=10**6)) as exporter:
        port = await serve_tcp(nursery, exporter) if medium == "tcp" else 0
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        async with trio.open_nursery() as staff:
            staff.start_soon(put, send, list(range(count)))
            for _ in range(5):
                staff.start_soon(employ, exporter, port)
        await exporter.drain()
    assert accepted == dict.fromkeys(range(count), 1)


@pytest.mark.promise(47, 51)
@pytest.mark.parametrize("seed", SEEDS)
async def test_workers_that_are_cut_off_lose_nothing(seed: int) -> None:
    """What is accepted twice was told to be redelivered."""
    chance = random.Random(seed)
    count = 300
    accepted: Counter[int] = Counter()
    first: set[int] = set()

    async def work(port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with contextlib.suppress(ConnectionLostError):
            async with open_importer(stream) as importer:
                jobs = await manual(importer, window=10)
                lives = chance.randrange(5, 60)
                async for delivery in jobs:
                    lives -= 1
                    if not lives:
                        await trio.aclose_forcefully(stream)
                    if chance.random() < 0.8:
                        if not delivery.redelivered:
                            assert delivery.value not in first
                            first.add(delivery.value)
                        with contextlib.suppress(trio.BrokenResourceError):
                            await delivery.ack()
                            accepted[delivery.value] += 1
                    else:
                        await delivery.reject()

    async def employ(port: int) -> None:
        while len(accepted) < count:
            await work(port)

    async with trio.open_nursery() as nursery, open_exporter(limits=Limits(max_redeliveries=10**6)) as exporter:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        async with trio.open_nursery() as staff:
            staff.start_soon(put, send, list(range(count)))
            for _ in range(3):
                staff.start_soon(employ, port)
        await exporter.drain()
        nursery.cancel_scope.cancel()
    assert accepted.keys() == set(range(count))


@pytest.mark.promise(49, 50)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_broken_connection_is_a_pause(nursery: trio.Nursery, seed: int) -> None:
    """What is settled stays so, what is in hand stays there, and what comes again is told as on one stream."""
    chance = random.Random(seed)
    count = 300
    streams: list[trio.abc.Stream] = []
    accepted: Counter[int] = Counter()
    rejected: Counter[int] = Counter()

    async with open_exporter(limits=Limits(max_redeliveries=10**6)) as exporter:

        async def dial() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            streams.append(ours)
            return ours

        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        nursery.start_soon(put, send, list(range(count)))
        async with open_importer(dial) as importer:
            jobs = await manual(importer, window=12)
            held: list[Delivery[int]] = []
            async for delivery in jobs:
                assert delivery.redelivered == (rejected[delivery.value] > 0)
                held.append(delivery)
                if chance.random() < 0.1 and len(streams) < 25:
                    await trio.aclose_forcefully(streams[-1])
                while held and (chance.random() < 0.6 or len(held) > 9 or not jobs.statistics().current_buffer_used):
                    each = held.pop(chance.randrange(len(held)))
                    if chance.random() < 0.2:
                        rejected[each.value] += 1
                        await each.reject()
                    else:
                        await each.ack()
                        accepted[each.value] += 1
        statistics = exporter.statistics().channels["jobs"]
        assert len(streams) > 10
    assert accepted == dict.fromkeys(range(count), 1)
    assert (statistics.acknowledged, statistics.redelivered) == (count, rejected.total())


# Arguments, and peers of other makes


async def test_what_cannot_be_settled_is_told_at_the_call(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        anything: Any = importer
        exporter.open_receive_channel("results", int)
        exporter.open_send_channel("jobs", int)
        send, receive = trio.open_memory_channel[Any](0)
        with pytest.raises(ValueError, match="results: expected acknowledge='manual' for an end that receives"):
            await anything.import_("results", receive, int, acknowledge="manual")
        with pytest.raises(ValueError, match="jobs: expected acknowledge='delivered' or 'manual', got 'never'"):
            await anything.import_("jobs", send, int, acknowledge="never")
        with pytest.raises(ValueError, match="'manual', got None"):
            await anything.open_receive_channel("jobs", int, acknowledge=None)
        letters, _ = trio.open_memory_channel[Any](0)
        with pytest.raises(ValueError, match="into: expected dead letters for a channel that sends from here"):
            exporter.export("into", send, int, dead_letters=letters)
        with pytest.raises(TypeError, match=r"other: expected a trio\.abc.SendChannel for dead letters"):
            anything = exporter
            anything.open_send_channel("other", int, dead_letters=receive)
        assert not {"into", "other"} & exporter.statistics().channels.keys()
        importer_channels = importer.statistics().channels
        assert not importer_channels


async def test_import_of_an_own_end(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        source = exporter.open_send_channel("jobs", int, max_buffer_size=4)
        send, receive = trio.open_memory_channel[Delivery[int]](4)
        await importer.import_("jobs", send, int, acknowledge="manual")
        await source.send(7)
        delivery = await receive.receive()
        assert (delivery.value, delivery.redelivered) == (7, False)
        assert repr(delivery) == "Delivery(value=7, redelivered=False)"
        await delivery.ack()
        source.close()
        assert await take_all(receive) == []
        assert importer.statistics().channels.get("jobs") is None
        assert exporter.statistics().channels["jobs"].direction is Direction.SEND


async def test_an_exporter_of_an_older_version_is_told_at_once() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    send, receive = trio.open_memory_channel[Delivery[int]](4)
    async with open_importer(ours) as importer:
        async with trio.open_nursery() as nursery:

            async def bind() -> None:
                with pytest.raises(LimitError, match="jobs: expected an exporter that lets importers settle") as caught:
                    await importer.import_("jobs", send, int, acknowledge="manual")
                assert caught.value.channel == "jobs"

            nursery.start_soon(bind)
            await wait_all_tasks_blocked()
            assert all(isinstance(frame, Hello) for frame in peer.heard)
            await peer.greet()
        assert receive.statistics().open_send_channels == 1
        assert not importer.statistics().channels
        await peer.say(Goodbye(Code.FINISHED, ""))
    assert not any(isinstance(frame, Import) for frame in await peer.hear_all())


async def test_an_import_that_is_cancelled_while_it_waits_for_the_hello_leaves_no_trace() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    async with open_importer(ours) as importer:
        with trio.move_on_after(0.01):
            await manual(importer)
        await peer.greet(settle=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.accept)
            jobs = await manual(importer)
        await peer.say(Close(0, 0, Code.FINISHED, ""))
        assert await take_all(jobs) == []
        await peer.say(Goodbye(Code.FINISHED, ""))
    assert sum(isinstance(frame, Import) for frame in await peer.hear_all()) == 1


# Hostile peers


HOSTILE: dict[str, list[Frame]] = {
    "settled twice": [Settle(0, (0, 1), True), Settle(0, (0, 1), False)],
    "settled before it was sent": [Settle(0, (0, 1, 7, 1), True)],
    "2^62 values": [Settle(0, (0, 2**62), True)],
    "an acknowledgement": [Ack(0, 1, 8, 1000)],
    "a wrong last word": [Close(0, 2, Code.FINISHED, "")],
    "REDELIVERED": [Redelivered(0, 0, 1)],
    "another channel": [Settle(1, (0, 1), True)],
}


@pytest.mark.promise(43)
@pytest.mark.parametrize("what", HOSTILE)
async def test_a_peer_that_settles_what_it_may_not_costs_its_own_connection(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet(Import(0, "jobs", True, 8, None, INT, True))
        await peer.hear(Accept)
        await send.send(0)
        await send.send(1)
        while sum(isinstance(frame, Data) for frame in peer.heard) < 2:
            await peer.hear(Data)
        await peer.say(*HOSTILE[what])
        assert (await peer.hear(Goodbye)).code is Code.PROTOCOL_ERROR
        async with worker(nursery, exporter) as one:
            settled = what == "settled twice"
            again = await take(one.jobs, 2 - settled)
            assert [(d.value, d.redelivered) for d in again] == [(0, True), (1, True)][settled:]
        await peer.stream.aclose()
        await wait_all_tasks_blocked()
        assert "ended: expected" in caplog.text
        exporter.hangup("jobs")


@pytest.mark.promise(43)
async def test_settling_an_ordinary_import_costs_the_connection(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet(Import(0, "jobs", True, 8, None, INT))
        await send.send(0)
        await peer.hear(Data)
        await peer.say(Settle(0, (0, 1), True))
        assert (await peer.hear(Goodbye)).code is Code.PROTOCOL_ERROR
        exporter.hangup("jobs")


async def test_an_exporter_that_ends_early_is_still_told() -> None:
    """It says its end while deliveries are in hand, which this library's exporter does not."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    async with open_importer(ours) as importer:
        await peer.greet(settle=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.accept, Redelivered(0, 0, 2), data(0, 0, [0, 1]), Close(0, 2, Code.FINISHED, ""))
            jobs = await manual(importer)
        held = await take(jobs, 2)
        assert [delivery.redelivered for delivery in held] == [True, True]
        await held[1].ack()
        await peer.hear(Settle)
        with pytest.raises(trio.WouldBlock):
            jobs.receive_nowait()
        await held[0].reject()
        assert await peer.hear(Settle) == Settle(0, (0, 1), False)
        assert (await peer.hear(Close)).count == 2
        assert await take_all(jobs) == []
        await peer.say(Goodbye(Code.FINISHED, ""))
