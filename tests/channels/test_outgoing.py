"""The pump and its channel alone, with fake peers: every event in every state."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from fakes import INT, FakeOwner, FakeSendingLink

from trionetchan import ConnectionLostError, Limits, ValuesDroppedError, ValueTypeError
from trionetchan._channels.outgoing import Outgoing
from trionetchan._errors import Code

settle = trio.testing.wait_all_tasks_blocked


class Case:
    """A channel with its pump, its local end, one peer, and its owner."""

    def __init__(self, size: float, count: int | None, window: int, redeliveries: int) -> None:
        self.send, receive = trio.open_memory_channel[int](size)
        self.owner = FakeOwner()
        limits = Limits(max_redeliveries=redeliveries)
        self.channel: Outgoing[int] = Outgoing(
            "jobs", receive, INT, window=64, count=count, limits=limits, owner=self.owner
        )
        self.link = FakeSendingLink(window)
        self.channel.attach(self.link)

    @property
    def state(self) -> str:
        return str(self.channel._state.value)  # pyright: ignore[reportPrivateUsage]


@asynccontextmanager
async def case(
    size: float = 10, *, count: int | None = None, window: int = 64, redeliveries: int = 5, run: bool = True
) -> AsyncGenerator[Case]:
    async with trio.open_nursery() as nursery:
        one = Case(size, count, window, redeliveries)
        if run:
            nursery.start_soon(one.channel.run)
            await settle()
        yield one
        one.channel.abandon("the test is over")


# The table


async def to_open(one: Case) -> None:
    await one.send.send(1)
    await settle()


async def to_leaving(one: Case) -> None:
    await to_open(one)
    one.channel.leave()
    await settle()


async def to_finished(one: Case) -> None:
    await to_open(one)
    one.send.close()
    await settle()


async def to_ended(one: Case) -> None:
    await to_open(one)
    one.channel.hang_up()
    await settle()


STATES = {"open": to_open, "leaving": to_leaving, "finished": to_finished, "ended": to_ended}

EVENTS: dict[str, Callable[[Case], Any]] = {
    "attach": lambda one: one.channel.attach(FakeSendingLink()),
    "acknowledged": lambda one: one.link.acknowledges(one.channel, 1),
    "allowed": lambda one: one.link.acknowledges(one.channel, 0),
    "lost": lambda one: one.link.leaves(one.channel, None),
    "receiver finished": lambda one: one.link.leaves(one.channel, Code.FINISHED),
    "receiver hung up": lambda one: one.link.leaves(one.channel, Code.HUNG_UP),
    "refused": lambda one: one.link.leaves(one.channel, Code.VALUE_REFUSED, "no"),
    "count reached": lambda one: one.link.leaves(one.channel, Code.COUNT_REACHED),
    "hang up": lambda one: one.channel.hang_up(),
    "abandon": lambda one: one.channel.abandon("no peer"),
    "leave": lambda one: one.channel.leave(),
    "close": lambda one: one.send.close(),
}
FOLLOWING = {
    "open": {"hang up": "ended", "abandon": "ended", "leave": "leaving", "close": "finished"},
    "leaving": {"hang up": "ended", "abandon": "ended"},
    "finished": {"hang up": "ended", "abandon": "ended"},
    "ended": {},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
async def test_every_event_in_every_state(state: str, event: str) -> None:
    async with case() as one:
        await STATES[state](one)
        assert one.state == state
        assert one.link.values == [1]
        EVENTS[event](one)
        await settle()
        assert one.state == FOLLOWING[state].get(event, state)
        assert one.channel.closed.is_set() == (one.state != "open")
        assert one.owner.failures == []
        # The one value is in exactly one place, or acknowledged, or dropped.
        shown = one.channel.statistics()
        assert shown.acknowledged + shown.unacknowledged + shown.waiting + shown.dropped == 1
        dropped_at = event in {"lost", "receiver finished", "receiver hung up", "refused", "count reached"}
        assert shown.dropped == (one.state == "ended" and dropped_at)
        closed = {code for code, _ in one.link.closes}
        assert closed == ({Code.FINISHED} if "finished" in (state, one.state) else set()) | (
            {Code.HUNG_UP} if state == "ended" or event == "hang up" else set()
        )


# Taking


async def test_values_go_as_they_come_and_only_while_there_is_credit() -> None:
    async with case(4, window=2) as one:
        for value in range(4):
            await one.send.send(value)
            await settle()
        assert one.link.values == [0, 1]
        assert one.channel.waiting == 2
        assert not one.channel.delivered
        one.link.acknowledges(one.channel, 2)
        await settle()
        assert one.link.values == [0, 1, 2, 3]
        assert one.channel.sender_closed is False
        one.link.acknowledges(one.channel, 2)
        assert one.channel.delivered
        assert not one.channel.complete
        assert not one.channel.done


async def test_as_many_as_counted_are_taken_and_the_rest_is_dropped() -> None:
    async with case(count=2) as one:
        for value in range(4):
            one.send.send_nowait(value)
        await settle()
        assert one.link.values == [0, 1]
        assert one.link.closes == [(Code.FINISHED, "")]
        assert one.channel.sender_closed
        with pytest.raises(trio.BrokenResourceError):
            one.send.send_nowait(4)
        assert one.channel.dropped == 2
        one.link.acknowledges(one.channel, 2)
        one.link.leaves(one.channel)
        assert one.channel.complete
        assert one.channel.done


async def test_a_stream_is_taken_in_large_batches(autojump_clock: trio.testing.MockClock) -> None:
    async with case(1000, window=4000) as one:
        for value in range(2000):
            await one.send.send(value)
        one.send.close()
        await one.channel.closed.wait()
        assert one.link.values == list(range(2000))
        assert len(one.link.batches) < 100


# Values that do not fit, and ends that raise


async def test_a_misfit_ends_the_channel_and_what_came_before_it_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with case(run=False) as one:
        for value in (1, 2, "three", 4):
            one.send.send_nowait(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with caplog.at_level(logging.WARNING):
            await one.channel.run()
        assert one.link.values == [1, 2]
        assert [type(error) for error in one.owner.failures] == [ValueTypeError]
        assert one.channel.ended
        assert one.channel.dropped == 2
        assert "channel 'jobs': 2 values dropped: the program failed" in caplog.text


class Failing(trio.abc.ReceiveChannel[int]):
    def __init__(self, *values: int) -> None:
        self.values = list(values)
        self.closed = 0

    async def receive(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.values:
            return self.values.pop(0)
        raise ZeroDivisionError

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_foreign_end_that_raises_ends_the_channel() -> None:
    owner, end = FakeOwner(), Failing(1)
    channel: Outgoing[int] = Outgoing("jobs", end, INT, window=64, limits=Limits(), owner=owner)
    link = FakeSendingLink()
    channel.attach(link)
    await channel.run()
    assert link.values == [1]
    assert [type(error) for error in owner.failures] == [ZeroDivisionError]
    assert channel.ended
    assert end.closed == 1


# Hanging up


async def test_hanging_up_drops_a_value_on_its_way_to_the_pump() -> None:
    async with case(0) as one:
        one.send.send_nowait(1)  # trio has handed it over; the pump has not run yet
        one.channel.hang_up()
        await one.channel.closed.wait()
        assert one.link.values == []
        assert one.channel.dropped == 1


async def test_hanging_up_drops_what_is_left_everywhere_and_what_comes_back() -> None:
    async with case(10, window=2) as one:
        for value in range(6):
            one.send.send_nowait(value)
        await settle()
        one.link.acknowledges(one.channel, 1)
        await settle()
        one.channel.hang_up()
        with pytest.raises(trio.BrokenResourceError):  # at once
            one.send.send_nowait(6)
        assert one.link.closes == [(Code.HUNG_UP, "")]
        await one.channel.closed.wait()
        assert one.channel.dropped == 6 - one.link.sent
        one.link.acknowledges(one.channel, 1)
        one.link.leaves(one.channel, Code.FINISHED)
        assert one.channel.dropped == 4
        assert one.channel.done
        one.channel.hang_up()
        assert len(one.link.closes) == 1


# Leaving


async def test_leaving_sends_what_was_accepted_and_breaks_the_rest() -> None:
    async with case(2, window=3) as one, trio.open_nursery() as nursery:
        for value in range(3):
            await one.send.send(value)
            await settle()
        for value in (3, 4):
            await one.send.send(value)
        one.channel.leave()
        over = trio.Event()

        @nursery.start_soon
        async def wait() -> None:
            await one.channel.wait_delivered()
            over.set()

        await settle()
        with pytest.raises(trio.BrokenResourceError):
            await one.send.send(5)
        assert one.channel.closed.is_set() is False  # it has two values in its hands
        one.link.acknowledges(one.channel, 3)
        await settle()
        assert one.link.values == [0, 1, 2, 3, 4]
        assert not over.is_set()
        one.link.acknowledges(one.channel, 2)
        await settle()
        assert over.is_set()
        assert one.link.closes == []  # no peer sees an end


async def test_leaving_takes_a_value_on_its_way_to_the_pump() -> None:
    async with case(0) as one:
        one.send.send_nowait(1)
        one.channel.leave()
        await one.channel.closed.wait()
        assert one.link.values == [1]


async def test_ends_that_are_closed_while_the_block_is_left_do_not_finish_the_channel() -> None:
    """Its producer may have closed them because leaving broke its `send`."""
    async with case() as one, trio.open_nursery() as nursery:
        await one.send.send(1)
        one.channel.leave()
        nursery.start_soon(one.channel.wait_delivered)
        await settle()
        assert one.state == "leaving"
        one.send.close()
        one.link.acknowledges(one.channel, 1)
        await settle()
        assert one.state == "leaving"
        assert one.link.closes == []
        assert not nursery.child_tasks


@pytest.mark.parametrize("way", ["lost", "hang up"])
async def test_waiting_for_deliveries_ends_when_nobody_can_acknowledge(way: str) -> None:
    async with case() as one, trio.open_nursery() as nursery:
        await one.send.send(1)
        one.channel.leave()
        nursery.start_soon(one.channel.wait_delivered)
        await settle()
        EVENTS[way](one)
        await settle()
        assert not nursery.child_tasks


# Finishing


async def test_the_end_is_told_when_no_other_peer_can_bring_anything_back() -> None:
    async with case(window=1) as one:
        two = FakeSendingLink(2)
        one.channel.attach(two)
        for value in (1, 2):
            await one.send.send(value)
        one.send.close()
        await settle()
        assert (one.state, one.link.values, two.values) == ("finished", [1], [2])
        assert (one.link.closes, two.closes) == ([], [])
        one.link.leaves(one.channel, None)
        assert two.values == [2, 1]
        assert two.closes == [(Code.FINISHED, "")]
        assert not one.channel.complete
        two.acknowledges(one.channel, 2)
        assert one.channel.complete
        late = FakeSendingLink()
        one.channel.attach(late)
        assert late.closes == [(Code.FINISHED, "")]


# Values that come back


async def test_what_comes_back_waits_and_goes_to_the_next_peer_first() -> None:
    async with case() as one:
        for value in (1, 2, 3):
            await one.send.send(value)
        await settle()
        one.link.acknowledges(one.channel, 1)
        one.link.leaves(one.channel, None, "gone")
        assert one.owner.left == [(None, "gone")]
        assert one.channel.waiting == 2
        two = FakeSendingLink()
        one.channel.attach(two)
        await one.send.send(4)
        await settle()
        assert two.values == [2, 3, 4]
        assert one.channel.statistics().redelivered == 2


async def test_what_is_undelivered_is_told_in_order_and_goes_to_nobody_any_more() -> None:
    async with case(window=2) as one:
        for value in range(6):
            await one.send.send(value)
        await settle()
        one.link.leaves(one.channel, None)
        assert one.channel.take_undelivered() == ([0, 1], [2, 3, 4, 5])
        two = FakeSendingLink()
        one.channel.attach(two)
        await settle()
        assert (two.values, one.channel.waiting, one.channel.dropped) == ([], 0, 0)


async def test_what_is_undelivered_of_a_count_is_no_more_than_that() -> None:
    async with case(count=4, window=1) as one:
        for value in range(6):
            await one.send.send(value)
        await settle()
        one.link.leaves(one.channel, None)
        assert one.channel.take_undelivered() == ([0], [1, 2, 3])


async def test_a_stop_deals_nothing_more_and_waits_for_what_peers_hold() -> None:
    async with case(window=2) as one:
        two = FakeSendingLink(0)
        one.channel.attach(two)
        for value in range(5):
            await one.send.send(value)
        await settle()
        assert one.link.values == [0, 1]
        one.channel.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.channel.wait_settled)
            await settle()
            two.window = 9
            one.link.acknowledges(one.channel, 1)
            await settle()
            assert len(nursery.child_tasks) == 1
            one.link.leaves(one.channel, None)
        await settle()
        assert (one.link.values, two.values) == ([0, 1], [])
        assert (one.channel.unacknowledged, one.channel.waiting, one.channel.dropped) == (0, 4, 0)


async def test_a_value_that_is_refused_too_often_is_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with case(redeliveries=2) as one:
        for value in (1, 2, 3):
            await one.send.send(value)
        await settle()
        link = one.link
        for times in range(1, 4):
            link.acknowledges(one.channel, int(times == 1))
            assert one.channel.unreported_drops == 0
            link.leaves(one.channel, Code.VALUE_REFUSED, "jobs: not that")
            link = FakeSendingLink()
            one.channel.attach(link)
            assert link.values == ([2, 3] if times < 3 else [3])
        assert (one.channel.dropped, one.channel.unreported_drops) == (1, 1)
        assert "channel 'jobs': jobs: not that; the value was refused 3 times" in caplog.text
        link.acknowledges(one.channel, 1)
        with pytest.raises(ValuesDroppedError):
            await one.channel.drain()
        await one.channel.drain()


# Drain and sync


@pytest.mark.parametrize("waits_in_receive", [False, True])
async def test_a_drain_knows_of_a_value_that_was_handed_over_just_now(waits_in_receive: bool) -> None:
    async with case(0, window=1) as one, trio.open_nursery() as nursery:
        if not waits_in_receive:
            await one.send.send(0)
        await settle()
        over = trio.Event()

        @nursery.start_soon
        async def drain() -> None:
            if waits_in_receive:
                one.send.send_nowait(1)
            else:
                one.link.acknowledges(one.channel, 1)
                nursery.start_soon(one.send.send, 1)
            await one.channel.drain()
            over.set()

        await settle()
        if waits_in_receive:
            assert not over.is_set()
            one.link.acknowledges(one.channel, 1)
            await over.wait()
        else:
            assert one.link.values == [0, 1]


async def test_a_drain_of_an_idle_channel_ends_at_once_and_the_pump_goes_on() -> None:
    async with case() as one:
        await one.channel.drain()
        await one.send.send(1)
        await settle()
        assert one.link.values == [1]


async def test_a_drain_waits_for_a_blocked_sender_and_for_its_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case(0, window=1) as one, trio.open_nursery() as nursery:
        await one.send.send(1)
        await settle()
        scope = trio.CancelScope()

        async def blocked() -> None:
            with scope:
                await one.send.send(2)

        nursery.start_soon(blocked)
        await settle()
        one.link.acknowledged = 1
        one.link.limit = 1  # no more is allowed
        one.channel.acknowledged(one.link, 1)
        with trio.move_on_after(1) as waited:
            await one.channel.drain()
        assert waited.cancelled_caught
        nursery.start_soon(one.channel.drain)
        await settle()
        scope.cancel()


class Turns(trio.abc.Instrument):
    """Counts how often a task runs."""

    count = 0

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("size", "left"),
    [
        (0, "unacknowledged"),
        (0, "unacknowledged and blocked"),
        (1, "buffered"),
        (1, "unacknowledged and blocked"),
        (1, "buffered and blocked"),
    ],
)
async def test_a_drain_sleeps_while_more_than_a_blocked_sender_is_left(
    autojump_clock: trio.testing.MockClock, left: str, size: int
) -> None:
    async with case(size, window=1) as one, trio.open_nursery() as nursery:
        one.link.limit = 1 if "unacknowledged" in left else 0
        await one.send.send(1)
        await settle()
        if "blocked" in left:
            if "unacknowledged" in left and size:
                await one.send.send(2)
            nursery.start_soon(one.send.send, 3)
            await settle()
        trio.lowlevel.add_instrument(turns := Turns())
        with trio.move_on_after(100):
            await one.channel.drain()
        trio.lowlevel.remove_instrument(turns)
        assert turns.count < 50
        nursery.cancel_scope.cancel()


async def test_a_sync_of_a_lost_peer_fails_and_one_after_hanging_up_tells_what_was_dropped() -> None:
    for hung_up in (False, True):
        async with case() as one:
            await one.send.send(1)
            await settle()
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def sync(one: Case = one, hung_up: bool = hung_up) -> None:
                    with pytest.raises(ValuesDroppedError if hung_up else ConnectionLostError):
                        await one.channel.sync()

                await settle()
                if hung_up:
                    one.channel.hang_up()
                one.link.leaves(one.channel, None)


async def test_statistics_and_words_about_itself() -> None:
    async with case() as one:
        await one.send.send(1)
        await settle()
        assert repr(one.channel) == "outgoing 'jobs': int"
        shown = one.channel.statistics()
        assert (shown.peers, shown.sent, shown.unacknowledged, shown.bytes_sent) == (1, 1, 1, 2)
        assert list(one.channel.links) == [one.link]
