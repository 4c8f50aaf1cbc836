"""The deliverer and its channel alone, with fake peers: each event in each state, with a `send` under way and not."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from fakes import INT, FakeOwner, FakeReceivingLink

from trionetchan._channels.incoming import Incoming
from trionetchan._channels.pacing import LARGE_BUFFER
from trionetchan._channels.sources import SOURCE_SIZE
from trionetchan._errors import Code

settle = trio.testing.wait_all_tasks_blocked


class Case:
    """A channel with its deliverer, its local end, one peer, and its owner."""

    def __init__(self, size: float, importers: int | None, count: int | None) -> None:
        send, self.receive = trio.open_memory_channel[int](size)
        self.owner = FakeOwner()
        self.channel: Incoming[int] = Incoming("jobs", send, INT, window=64, importers=importers, owner=self.owner)
        self.link = FakeReceivingLink(count)
        self.channel.attach(self.link)

    def received(self) -> list[int]:
        """What is in the local end."""
        values: list[int] = []
        while True:
            try:
                values.append(self.receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return values

    def at_end(self) -> bool:
        try:
            self.receive.receive_nowait()
        except trio.EndOfChannel:
            return True
        except trio.WouldBlock:
            return False
        raise AssertionError("there are values yet")


@asynccontextmanager
async def case(size: float = 10, *, importers: int | None = 1, count: int | None = None) -> AsyncGenerator[Case]:
    async with trio.open_nursery() as nursery:
        one = Case(size, importers, count)
        nursery.start_soon(one.channel.run)
        await settle()
        yield one
        one.channel.finish(Code.FINISHED)


# The table: what a peer is told, what the owner is told, whether the channel has ended, and whether the program sees
# the end; first with nothing to deliver, then with the values 1 and 2, of which 1 is in `send`.


def receiver_goes(one: Case) -> None:
    one.receive.close()
    one.channel.notice_gone_receiver()


EVENTS: dict[str, Callable[[Case], Any]] = {
    "finish": lambda one: one.link.leaves(one.channel, Code.FINISHED, "bye"),
    "limit": lambda one: one.link.leaves(one.channel, Code.LIMIT, "bye"),
    "hang up": lambda one: one.link.leaves(one.channel, Code.HUNG_UP, "bye"),
    "withdraw": lambda one: one.link.leaves(one.channel, Code.WITHDRAWN),
    "lose": lambda one: one.link.leaves(one.channel, None, "bye"),
    "refuse": lambda one: one.link.brings(one.channel, "text", 4),
    "receiver gone": receiver_goes,
    "we hang up": lambda one: one.channel.finish(Code.HUNG_UP),
    "block left": lambda one: one.channel.finish(Code.FINISHED, keep_end=True),
}
OF_A_PEER = {  # the last word to the peer; what the owner is told; whether the channel is complete
    "finish": (Code.FINISHED, Code.FINISHED, True),
    "limit": (Code.FINISHED, Code.LIMIT, False),
    "hang up": (Code.FINISHED, Code.HUNG_UP, True),
    "withdraw": (Code.FINISHED, Code.WITHDRAWN, False),
    "lose": (Code.FINISHED, None, False),
    "refuse": (Code.VALUE_REFUSED, Code.VALUE_REFUSED, False),
}
OF_THE_CHANNEL = {"receiver gone": Code.RECEIVER_GONE, "we hang up": Code.HUNG_UP, "block left": Code.FINISHED}


@pytest.mark.parametrize("event", OF_A_PEER)
@pytest.mark.parametrize("busy", [False, True])
async def test_what_a_peer_does(busy: bool, event: str) -> None:
    word, told, complete = OF_A_PEER[event]
    dropped = busy and event in ("hang up", "withdraw")
    async with case(0) as one:
        if busy:
            one.link.brings(one.channel, 1, 2)
            await settle()
        EVENTS[event](one)
        await settle()
        if busy and not dropped:
            assert one.link.closes == []  # what has come is delivered first
            assert one.owner.left == []
            assert await one.receive.receive() == 1
            await settle()
            assert one.link.closes == []
            assert await one.receive.receive() == 2
            await settle()
        assert [code for code, _ in one.link.closes] == [word]
        assert [code for code, _ in one.owner.left] == [told]
        assert one.channel.ended == complete == one.at_end()
        assert one.owner.ended == [one.channel] * complete
        assert one.channel.closed.is_set() == complete == one.channel.done
        counts = one.channel.counts
        assert (counts.received, counts.dropped) == (2 * (busy and not dropped), 2 * dropped)
        if event == "refuse":
            assert one.link.closes[0][1] == "jobs: expected int, got str 'text'"
        EVENTS[event](one)  # once more: nobody cares
        assert len(one.link.closes) == 1


@pytest.mark.parametrize("event", OF_THE_CHANNEL)
@pytest.mark.parametrize("busy", [False, True])
async def test_what_ends_the_channel(busy: bool, event: str) -> None:
    async with case(0) as one:
        if busy:
            one.link.brings(one.channel, 1, 2)
            await settle()
        EVENTS[event](one)
        assert one.channel.ended
        assert one.link.closes == [] if busy else len(one.link.closes) == 1
        await settle()
        assert [code for code, _ in one.link.closes] == [OF_THE_CHANNEL[event]]
        assert one.owner.left == []
        assert one.owner.ended == [one.channel]
        assert one.channel.done
        assert one.channel.counts.undelivered == 2 * busy
        if event != "receiver gone":
            assert one.at_end() == (event != "block left")
        one.link.brings(one.channel, 3)
        one.link.leaves(one.channel, None)
        one.channel.finish(Code.HUNG_UP)
        assert len(one.link.closes) == len(one.owner.ended) == 1


@pytest.mark.parametrize("first", ["finish", "lose", "refuse"])
@pytest.mark.parametrize("then", ["finish", "hang up", "lose", "bring"])
async def test_what_a_peer_does_after_it_has_left(first: str, then: str) -> None:
    """The first end counts, but that who hangs up wants nothing to be delivered any more."""
    async with case(0, importers=1) as one:
        one.link.brings(one.channel, 1, 2)
        await settle()
        EVENTS[first](one)
        if then == "bring":
            one.channel.arrived(one.link, b"\x81\x03")
        else:
            EVENTS[then](one)
        await settle()
        if then == "hang up":
            assert one.channel.counts.dropped == one.link.deliveries + (4 if first == "refuse" else 2)
            assert [code for code, _ in one.owner.left] == [Code.HUNG_UP]
            return
        assert [await one.receive.receive(), await one.receive.receive()] == [1, 2]
        await settle()
        assert [code for code, _ in one.owner.left] == [OF_A_PEER[first][1]]
        assert one.channel.ended == (first == "finish")


# Delivering


async def test_values_are_delivered_at_once_as_long_as_the_end_takes_them() -> None:
    async with case(3) as one:
        one.link.brings(one.channel, 1, 2)
        assert one.link.told == [(2, True, False)]
        one.link.brings(one.channel, 3, 4, 5)
        assert one.link.told[1:] == [(1, False, False)]
        await settle()
        one.link.brings(one.channel, 6)
        assert one.link.deliveries == 3
        assert [await one.receive.receive() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        await settle()
        assert one.link.deliveries == 6
        assert one.link.told[-1][1], "it is told that nothing more waits"
        assert all(waited for _, _, waited in one.link.told[2:])
        assert (one.channel.counts.received, one.channel.statistics().received) == (6, 6)


async def test_a_delivery_is_the_last_only_if_no_batch_of_anybody_waits() -> None:
    async with case(0, importers=2) as one:
        two = FakeReceivingLink()
        one.channel.attach(two)
        one.link.brings(one.channel, 1)
        two.brings(one.channel, 2)
        await settle()
        assert [await one.receive.receive(), await one.receive.receive()] == [1, 2]
        await settle()
        assert one.link.told == [(1, False, True)]
        assert two.told == [(1, True, True)]


async def test_to_a_large_buffer_a_stream_is_delivered_in_large_steps(autojump_clock: trio.testing.MockClock) -> None:
    async with case(LARGE_BUFFER) as one:
        one.link.brings(one.channel, *range(4 * LARGE_BUFFER))
        received = [await one.receive.receive() for _ in range(4 * LARGE_BUFFER)]
        await settle()
        assert received == list(range(4 * LARGE_BUFFER))
        assert one.link.deliveries == 4 * LARGE_BUFFER
        assert len(one.link.told) < 40


# Counted imports


@pytest.mark.parametrize("size", [0, 10])
async def test_a_counted_import_ends_with_its_last_value(size: int) -> None:
    async with case(size, count=2) as one:
        one.link.brings(one.channel, 1, 2)
        values = [await one.receive.receive() for _ in range(2)]
        await settle()
        assert values == [1, 2]
        assert one.link.closes == [(Code.COUNT_REACHED, "")]
        assert one.owner.left == [(Code.COUNT_REACHED, "")]
        assert one.channel.ended
        assert one.at_end()


async def test_a_counted_import_of_no_values_ends_at_once() -> None:
    async with case(count=0) as one:
        assert one.link.closes == [(Code.COUNT_REACHED, "")]
        assert one.channel.ended


@pytest.mark.parametrize("how", ["finish", "lose"])
async def test_the_count_is_reached_after_the_sender_has_left(how: str) -> None:
    async with case(0, count=1) as one:
        one.link.brings(one.channel, 1)
        await settle()
        EVENTS[how](one)
        assert await one.receive.receive() == 1
        await settle()
        assert one.link.closes == [(Code.COUNT_REACHED, "bye")]


# Interruption


async def test_a_value_that_gets_through_in_the_turn_of_the_hang_up_counts(caplog: pytest.LogCaptureFixture) -> None:
    async with case(0) as one:
        one.link.brings(one.channel, 1, 2, 3)
        await settle()
        assert one.receive.receive_nowait() == 1
        with caplog.at_level(logging.WARNING):
            EVENTS["hang up"](one)
            await settle()
        assert (one.channel.counts.received, one.channel.counts.dropped) == (1, 2)
        assert one.link.told == [(1, True, True)]
        assert "channel 'jobs': 2 values dropped: their sender hung up: bye" in caplog.text


async def test_after_a_hang_up_the_values_of_others_go_on() -> None:
    async with case(0, importers=2) as one:
        two = FakeReceivingLink()
        one.channel.attach(two)
        one.link.brings(one.channel, 1, 2)
        two.brings(one.channel, 3)
        one.link.brings(one.channel, 4)
        await settle()
        EVENTS["hang up"](one)
        await settle()
        assert one.channel.counts.dropped == 3
        assert await one.receive.receive() == 3
        await settle()
        assert two.told == [(1, True, True)]
        two.leaves(one.channel)
        assert one.channel.ended


async def test_a_hang_up_of_one_does_not_interrupt_a_send_of_another() -> None:
    async with case(0, importers=2) as one:
        two = FakeReceivingLink()
        one.channel.attach(two)
        one.link.brings(one.channel, 1)
        two.brings(one.channel, 2)
        await settle()
        two.leaves(one.channel, Code.HUNG_UP)
        assert len(two.closes) == 1
        assert one.channel.counts.dropped == 1
        assert await one.receive.receive() == 1


async def test_after_a_misfit_the_values_of_others_go_on() -> None:
    async with case(10, importers=2) as one:
        two = FakeReceivingLink()
        one.channel.attach(two)
        one.link.brings(one.channel, 1, "text", 3)
        two.brings(one.channel, 4)
        assert one.received() == [1, 4]
        assert one.link.closes == [(Code.VALUE_REFUSED, "jobs: expected int, got str 'text'")]
        assert (one.link.undelivered, two.closes) == (2, [])


# Shares


async def test_the_share_of_a_lost_peer_is_adopted_while_its_values_are_still_delivered() -> None:
    async with case(0) as one:
        one.link.brings(one.channel, 1)
        await settle()
        EVENTS["lose"](one)
        again = FakeReceivingLink()
        one.channel.attach(again)
        assert one.channel.statistics().peers == 1
        again.brings(one.channel, 2)
        again.leaves(one.channel)
        assert [await one.receive.receive(), await one.receive.receive()] == [1, 2]
        with pytest.raises(trio.EndOfChannel):
            await one.receive.receive()
        assert one.owner.left == [(None, "bye"), (Code.FINISHED, "")]


@pytest.mark.parametrize("finished", [False, True])
async def test_ever_new_peers_that_are_lost_cannot_fill_the_memory(finished: bool) -> None:
    """What of them waits is bounded. The others are as if what they sent had not arrived."""
    async with case(0, importers=None) as one:
        one.channel._max_lost_bytes = 3 * SOURCE_SIZE  # pyright: ignore[reportPrivateUsage]
        links = [FakeReceivingLink(None) for _ in range(5)]
        for number, link in enumerate(links):
            one.channel.attach(link)
            link.brings(one.channel, number, number)
            if finished:
                link.leaves(one.channel)
            link.leaves(one.channel, None)
        received = [await one.receive.receive() for _ in range(4)]
        assert received == [0, 0, 1, 1]
        await settle()
        assert one.channel.counts.dropped == 6
        assert one.channel._lost_bytes == 0  # pyright: ignore[reportPrivateUsage]
        one.link.brings(one.channel, 7)
        assert await one.receive.receive() == 7


async def test_a_refused_peer_that_is_lost_leaves_an_orphan() -> None:
    async with case(0) as one:
        one.link.brings(one.channel, 1, "text")
        one.link.brings(one.channel, "text")
        await settle()
        EVENTS["lose"](one)
        assert await one.receive.receive() == 1
        await settle()
        assert not one.channel.ended
        again = FakeReceivingLink()
        one.channel.attach(again)
        again.leaves(one.channel)
        assert one.channel.ended


async def test_it_is_complete_only_when_everything_of_everybody_is_delivered() -> None:
    async with case(0, importers=2) as one:
        two = FakeReceivingLink()
        one.channel.attach(two)
        assert list(one.channel.links) == [one.link, two]
        one.link.brings(one.channel, 1)
        await settle()
        EVENTS["finish"](one)
        two.leaves(one.channel)
        assert not one.channel.ended
        assert await one.receive.receive() == 1
        await settle()
        assert one.channel.ended
        assert one.channel.why_ended == "it ended after 2 of 2 expected importers (importers=) had finished"


# Receivers that go, and ends that raise


@pytest.mark.parametrize("busy", [False, True])
async def test_a_receiver_that_has_gone_is_noticed_with_the_next_value(busy: bool) -> None:
    async with case(0) as one:
        if busy:
            one.link.brings(one.channel, 1, 2)
            await settle()
        one.receive.close()
        if not busy:
            one.link.brings(one.channel, 1, 2)
        await settle()
        assert one.link.closes == [(Code.RECEIVER_GONE, "jobs: the receiver is gone")]
        assert one.link.deliveries == 0
        assert one.channel.counts.undelivered == 2
        assert one.channel.why_ended == "the receiver is gone"


async def test_a_receiver_that_is_there_is_not_noticed() -> None:
    async with case() as one:
        one.channel.notice_gone_receiver()
        assert not one.channel.ended
        one.channel.finish(Code.TYPE_MISMATCH)
        assert one.channel.why_ended == "it has ended"
        one.channel.notice_gone_receiver()


async def test_an_end_that_nobody_can_read_from_is_closed_also_when_it_is_to_be_kept() -> None:
    async with case() as one:
        send = one.channel._outlet._end  # pyright: ignore[reportPrivateUsage]
        one.receive.close()
        EVENTS["block left"](one)
        assert isinstance(send, trio.MemorySendChannel)
        with pytest.raises(trio.ClosedResourceError):
            send.send_nowait(1)


async def test_nothing_is_delivered_without_a_lease_and_all_once_it_is_renewed() -> None:
    async with case(importers=2) as one:
        other = FakeReceivingLink()
        one.channel.attach(other)
        one.link.lease_deadline, one.link.leased = trio.current_time(), False
        one.link.brings(one.channel, 1, 2)
        await settle()
        assert (one.received(), one.link.told) == ([], [])
        one.link.lease_deadline, one.link.leased = trio.current_time() + 100, True
        one.channel.lease_renewed(one.link)
        await settle()
        assert one.received() == [1, 2]
        other.brings(one.channel, 3)
        await settle()
        assert one.received() == [3]


async def test_a_value_that_waits_for_the_program_is_taken_back_when_the_lease_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case(0) as one:
        one.link.lease_deadline = trio.current_time() + 10
        one.link.brings(one.channel, 1)
        await trio.sleep(9)
        one.link.lease_deadline += 10
        one.channel.lease_renewed(one.link)
        await trio.sleep(9)
        assert one.receive.statistics().tasks_waiting_send == 1
        one.link.leased = False
        await trio.sleep(3)
        assert one.receive.statistics().tasks_waiting_send == 0
        assert (one.received(), one.link.told) == ([], [])
        one.link.lease_deadline, one.link.leased = trio.current_time() + 10, True
        one.channel.lease_renewed(one.link)
        await settle()
        assert one.received() == [1]
        await settle()
        assert one.link.deliveries == 1


async def test_a_stop_delivers_what_had_arrived_and_takes_nothing_more() -> None:
    async with case(0, importers=2) as one:
        one.link.brings(one.channel, 1, 2)
        await settle()
        one.channel.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.channel.wait_delivered)
            one.link.brings(one.channel, 3)
            await settle()
            assert one.channel.undelivered == 0  # of what is taken; that of a peer which keeps some is not counted
            for value in 1, 2:
                assert len(nursery.child_tasks) == 1
                assert one.received() == [value]
                await settle()
            assert not nursery.child_tasks
        one.link.leaves(one.channel, Code.FINISHED)  # it has not: it keeps the 3, for the next exporter
        assert (one.link.closes, one.channel.orphaned) == ([], False)
        one.link.leaves(one.channel, None)
        assert (one.link.closes, one.owner.left) == ([(Code.FINISHED, "")], [(None, "")])
        assert one.channel.orphaned


async def test_peers_whose_connection_ends_are_told_nothing() -> None:
    async with case(0) as one:
        one.link.brings(one.channel, 1, 2)
        await settle()
        one.channel.finish(None, keep_end=True)
        await one.channel.closed.wait()
        assert (one.link.closes, one.channel.links, one.channel.counts.undelivered) == ([], {}.keys(), 2)
        assert one.channel.why_ended == "it has ended"
        assert not one.at_end()


async def test_an_orphan_is_there_until_the_next_peer_comes_or_the_channel_ends() -> None:
    async with case(importers=1) as one:
        assert not one.channel.orphaned
        for _ in range(2):
            one.link.leaves(one.channel, None)
            assert one.channel.orphaned
            one.link = FakeReceivingLink()
            one.channel.attach(one.link)
            assert not one.channel.orphaned
        one.link.leaves(one.channel, None)
        one.channel.finish(Code.HUNG_UP)
        assert not one.channel.orphaned


async def test_a_delivery_that_is_interrupted_in_a_stop_is_made_afterwards(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case(0) as one:
        one.link.lease_deadline = trio.current_time() + 10
        one.link.brings(one.channel, 1)
        await settle()
        one.channel.stop()
        one.link.brings(one.channel, 2)  # stays with its sender
        one.link.leased = False
        await trio.sleep(11)
        assert one.received() == []
        one.link.lease_deadline, one.link.leased = trio.current_time() + 10, True
        one.channel.lease_renewed(one.link)
        await settle()
        assert one.received() == [1]
        await settle()
        assert one.received() == []


async def test_what_is_given_back_stays_with_its_senders_also_what_is_in_a_send() -> None:
    async with case(0, importers=3) as one:
        other, idle = FakeReceivingLink(), FakeReceivingLink()
        one.channel.attach(other)
        one.channel.attach(idle)
        one.link.brings(one.channel, 1, 2)
        other.brings(one.channel, 3)
        await settle()
        one.channel.stop()
        await one.channel.give_back()
        assert one.received() == []
        for link in one.link, other, idle:
            link.brings(one.channel, 4)
        await settle()
        assert one.received() == []
        assert [link.told for link in (one.link, other, idle)] == [[], [], []]
        assert one.channel.undelivered == 0
        assert not one.channel.ended


async def test_giving_back_does_not_wait_for_what_a_lost_sender_has_left() -> None:
    """It has nobody to go back to: the program may take it until the block is left."""
    async with case(0, importers=2) as one:
        one.link.brings(one.channel, 1)
        await settle()
        one.link.leaves(one.channel, None)
        one.channel.stop()
        await one.channel.give_back()
        assert one.received() == [1]
        await settle()
        assert one.link.deliveries == 1


class Foreign(trio.abc.SendChannel[int]):
    def __init__(self, error: type[Exception] | None) -> None:
        self.error = error
        self.values: list[int] = []
        self.closed = 0

    async def send(self, value: int) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.values.append(value)

    async def aclose(self) -> None:
        self.closed += 1


class Stubborn(Foreign):
    """Its `send` is not to be cancelled."""

    def __init__(self) -> None:
        super().__init__(None)
        self.go = trio.Event()

    async def send(self, value: int) -> None:
        with trio.CancelScope(shield=True):
            await self.go.wait()
        self.values.append(value)


async def test_giving_back_waits_for_a_send_that_cannot_be_cancelled(nursery: trio.Nursery) -> None:
    end, link = Stubborn(), FakeReceivingLink()
    channel: Incoming[int] = Incoming("jobs", end, INT, window=64, importers=1, owner=FakeOwner())
    channel.attach(link)
    nursery.start_soon(channel.run)
    link.brings(channel, 1, 2)
    await settle()
    channel.stop()
    async with trio.open_nursery() as inner:
        inner.start_soon(channel.give_back)
        await settle()
        waits = len(inner.child_tasks) == 1
        end.go.set()
    await settle()
    assert waits
    assert (end.values, link.deliveries) == ([1], 1)
    channel.finish(Code.FINISHED)


@pytest.mark.parametrize("error", [None, ZeroDivisionError, trio.BrokenResourceError])
async def test_a_foreign_end(nursery: trio.Nursery, error: type[Exception] | None) -> None:
    owner, end, link = FakeOwner(), Foreign(error), FakeReceivingLink()
    channel: Incoming[int] = Incoming("jobs", end, INT, window=64, importers=1, owner=owner)
    channel.attach(link)
    nursery.start_soon(channel.run)
    link.brings(channel, 1, 2)
    link.leaves(channel)
    await channel.closed.wait()
    assert end.values == ([1, 2] if error is None else [])
    assert [type(failure) for failure in owner.failures] == [ZeroDivisionError] * (error is ZeroDivisionError)
    assert [code for code, _ in link.closes] == [Code.FINISHED if error is None else Code.RECEIVER_GONE]
    assert end.closed == (error is not ZeroDivisionError)
    assert not channel.unbuffered


async def test_a_channel_whose_task_is_cancelled_tells_its_peers() -> None:
    one = Case(0, 1, None)
    one.link.brings(one.channel, 1)
    with trio.move_on_after(0):
        await one.channel.run()
    assert one.channel.closed.is_set()
    assert [code for code, _ in one.link.closes] == [Code.FINISHED]


async def test_statistics_and_words_about_itself() -> None:
    async with case(0) as one:
        assert repr(one.channel) == "incoming 'jobs': int"
        assert one.channel.unbuffered
        one.link.brings(one.channel, 1, 2)
        shown = one.channel.statistics()
        assert (shown.peers, shown.bytes_received, shown.received) == (1, 3, 0)
