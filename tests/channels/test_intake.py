"""The pump's hands alone: what is taken out of a local end, when, and how many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from trionetchan._channels.intake import Intake
from trionetchan._channels.pacing import BATCH_DELAY, LARGE_BUFFER, may_sleep


class Foreign(trio.abc.ReceiveChannel[int]):
    """An end of which only `receive` and `aclose` are known; it ends with what it is told to raise."""

    def __init__(self, values: Sequence[int], ending: type[Exception] = trio.EndOfChannel) -> None:
        self.values = list(values)
        self.ending = ending
        self.closed = 0

    async def receive(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.values:
            return self.values.pop(0)
        raise self.ending

    async def aclose(self) -> None:
        self.closed += 1


async def test_takes_what_is_there_up_to_the_room() -> None:
    send, receive = trio.open_memory_channel[int](10)
    intake = Intake(receive, None)
    assert not intake.take(5)
    for value in range(4):
        send.send_nowait(value)
    assert intake.buffered == 4
    assert intake.take(3)
    assert (intake.taken, intake.buffered, intake.over) == ([0, 1, 2], 1, False)
    assert intake.take(3)  # there are some, if none is new
    assert intake.take(9)
    assert intake.taken == [0, 1, 2, 3]


async def test_takes_no_more_than_the_count() -> None:
    send, receive = trio.open_memory_channel[int](10)
    for value in range(5):
        send.send_nowait(value)
    intake = Intake(receive, 3)
    assert intake.room(10) == 3
    intake.take(2)
    assert (intake.room(10), intake.over) == (3, False)
    intake.taken.clear()
    assert intake.room(10) == 1
    intake.take(10)
    assert (intake.taken, intake.over, intake.buffered) == ([2], True, 0)
    intake.take(10)
    assert intake.taken == [2]
    assert intake.close() == 2


async def test_a_count_of_none_at_all_is_over_with_the_first_look() -> None:
    _send, receive = trio.open_memory_channel[int](10)
    intake = Intake(receive, 0)
    assert intake.room(5) == 0
    intake.take(5)
    assert intake.over


@pytest.mark.parametrize("by", ["senders", "receiver"])
@pytest.mark.parametrize("waiting", [False, True])
async def test_a_closed_end_is_over(by: str, waiting: bool) -> None:
    send, receive = trio.open_memory_channel[int](10)
    intake = Intake(receive, None)
    send.send_nowait(1)
    if by == "senders":
        send.close()
        assert intake.sender_closed
    else:
        receive.close()
    if waiting:
        await intake.receive(2)
    else:
        intake.take(2)
    assert intake.over
    assert intake.taken == ([1] if by == "senders" else [])


async def test_receive_waits_and_records_and_a_cancelled_one_loses_nothing() -> None:
    send, receive = trio.open_memory_channel[int](0)
    intake = Intake(receive, 3)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(intake.receive, 3)
            await trio.testing.wait_all_tasks_blocked()
            assert intake.receiving
            send.send_nowait(1)
            await trio.testing.wait_all_tasks_blocked()
            assert intake.receiving
            send.send_nowait(2)
            scope.cancel()  # in the turn in which the value is on its way
    assert not intake.receiving
    assert intake.taken == [1, 2]
    assert intake.room(9) == 3
    assert not intake.over
    assert intake.blocked == 0


async def test_what_a_foreign_end_raises_passes_through() -> None:
    intake = Intake(Foreign([1, 2], ZeroDivisionError), None)
    with pytest.raises(ZeroDivisionError):
        await intake.receive(5)
    assert intake.taken == [1, 2]
    assert not intake.receiving


async def test_a_foreign_end_cannot_be_asked() -> None:
    end = Foreign([1, 2, 3])
    intake = Intake(end, 2)
    assert not intake.in_memory
    assert not intake.take(5)
    assert (intake.buffered, intake.blocked, intake.sender_closed) == (0, 0, False)
    await intake.receive(2)
    assert (intake.taken, intake.over, intake.sender_closed) == ([1, 2], True, True)
    assert intake.take(5)  # what is in the hands
    assert intake.close() == 0
    assert end.closed == 0
    await intake.aclose()
    assert end.closed == 1


@pytest.mark.parametrize("size", [0, 1, 3, LARGE_BUFFER])
async def test_take_all_lets_in_what_is_blocked_and_breaks_what_comes_later(size: int) -> None:
    send, receive = trio.open_memory_channel[int](size)
    intake = Intake(receive, None)
    broken: list[int] = []

    async def sender(value: int) -> None:
        try:
            await send.send(value)
        except trio.BrokenResourceError:
            broken.append(value)

    async with trio.open_nursery() as nursery:
        for value in range(5):
            nursery.start_soon(sender, value)
            await trio.testing.wait_all_tasks_blocked()
        assert intake.blocked == max(0, 5 - size)
        intake.take_all()
    assert intake.over
    assert intake.taken == (list(range(5)) if size else [])
    assert sorted(broken) == ([] if size else list(range(5)))
    with pytest.raises(trio.BrokenResourceError):
        send.send_nowait(5)


async def test_take_all_stops_at_the_count() -> None:
    send, receive = trio.open_memory_channel[int](5)
    intake = Intake(receive, 2)
    for value in range(5):
        send.send_nowait(value)
    intake.take_all()
    assert intake.taken == [0, 1]


@pytest.mark.parametrize("clone", [False, True])
async def test_closing_tells_what_is_left_for_nobody(clone: bool) -> None:
    send, receive = trio.open_memory_channel[int](5)
    intake = Intake(receive, None)
    other = receive.clone() if clone else None
    for value in range(3):
        send.send_nowait(value)
    assert intake.close() == (0 if clone else 3)
    assert intake.close() == 0
    await intake.aclose()
    if other is not None:
        assert other.receive_nowait() == 0


# Gathering


async def gather_beside_a_sender(intake: Intake[int], send: trio.MemorySendChannel[int], turns: int, each: int) -> None:
    """`gather` for 64 values of half a window of 32, while a task sends some in each turn."""

    async def sender() -> None:
        for turn in range(turns):
            for _ in range(each):
                send.send_nowait(turn)
            await trio.lowlevel.cancel_shielded_checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender)
        await intake.gather(64, 32)


async def test_a_task_that_does_not_stream_gathers_as_long_as_each_turn_brings_something(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, receive = trio.open_memory_channel[int](math.inf)
    intake = Intake(receive, None)
    await gather_beside_a_sender(intake, send, 5, 1)
    assert 4 <= len(intake.taken) <= 5
    assert not intake.streaming
    await gather_beside_a_sender(intake, send, 0, 0)  # two empty turns are the end
    assert trio.current_time() == pytest.approx(0)
    assert not intake.over


async def test_a_batch_that_is_filled_is_a_stream_and_the_next_sleeps(autojump_clock: trio.testing.MockClock) -> None:
    send, receive = trio.open_memory_channel[int](LARGE_BUFFER)
    intake = Intake(receive, None)
    await gather_beside_a_sender(intake, send, 8, 4)
    assert intake.streaming
    before = trio.current_time()
    await intake.gather(64, 32)  # it has half a window already
    assert trio.current_time() == before
    intake.taken.clear()
    await gather_beside_a_sender(intake, send, 3, 4)
    assert trio.current_time() == pytest.approx(before + BATCH_DELAY)
    assert len(intake.taken) == 12
    assert not intake.streaming


@pytest.mark.parametrize("size", [0, 4])
async def test_a_stream_out_of_a_small_end_is_received_value_by_value(
    autojump_clock: trio.testing.MockClock, size: int
) -> None:
    send, receive = trio.open_memory_channel[int](size)
    intake = Intake(receive, None)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def sender() -> None:
            for value in range(40):
                await send.send(value)

        while len(intake.taken) < 32:
            await intake.receive(len(intake.taken) + 1)
        await intake.gather(64, 32)
        assert intake.streaming
        intake.taken.clear()
        before = trio.current_time()
        await intake.gather(64, 32)  # no more than eight come
        assert trio.current_time() == pytest.approx(before + BATCH_DELAY)
        assert len(intake.taken) <= 8
        assert not intake.streaming


async def test_gathering_ends_with_the_end() -> None:
    send, receive = trio.open_memory_channel[int](10)
    intake = Intake(receive, None)
    send.send_nowait(1)
    send.close()
    await intake.gather(64, 32)
    assert (intake.taken, intake.over) == ([1], True)


@pytest.mark.parametrize(
    ("size", "sleeps"), [(0, False), (LARGE_BUFFER - 1, False), (LARGE_BUFFER, True), (math.inf, True)]
)
def test_only_a_large_end_holds_what_comes_meanwhile(size: float, sleeps: bool) -> None:
    assert may_sleep(size) == sleeps
