"""Channels with peers that settle value by value, alone: how they deal, what is told, and what dead letters do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from fakes import INT, FakeOwner, FakeReceivingLink, FakeSendingLink

from trionetchan import Delivery, Limits
from trionetchan._channels.dead_letters import DeadLetters
from trionetchan._channels.dealing import RUN, Dealer
from trionetchan._channels.incoming import Incoming
from trionetchan._channels.outgoing import Outgoing
from trionetchan._codec import codec_for
from trionetchan._errors import Code
from trionetchan._log import BoundedLog

blocked = trio.testing.wait_all_tasks_blocked


# Dealing


def dealer_of(*links: FakeSendingLink, redeliveries: int = 5) -> Dealer[int]:
    dealer = Dealer("jobs", INT, Limits(max_redeliveries=redeliveries))
    for link in links:
        dealer.attach(link)
    return dealer


def test_each_place_of_the_window_is_used() -> None:
    """Nobody knows whether the next settlement comes at all; of an ordinary peer an acknowledgement is on its way."""
    link = FakeSendingLink(8, settles=True)
    dealer = dealer_of(link)
    dealer.deal(list(range(7)))
    assert dealer.room == 1


def test_a_batch_has_either_what_came_back_or_what_is_new() -> None:
    link = FakeSendingLink(4, settles=True)
    dealer = dealer_of(link)
    dealer.deal([0, 1, 2, 3])
    dealer.deal([4, 5])  # there is no room for them
    dealer.rejected(link, link.settle(1, 3))
    assert dealer.waiting == 4
    link.window = 8
    dealer.deal_waiting()
    assert [(batch.count, batch.redelivered) for batch in link.batches] == [(4, False), (2, True), (2, False)]
    assert link.values == [0, 1, 2, 3, 1, 3, 4, 5]
    assert (dealer.sent, dealer.redelivered, dealer.unacknowledged) == (6, 2, 6)


def test_ordinary_peers_get_both_in_one_batch_and_no_word_of_it() -> None:
    one, other = FakeSendingLink(4, settles=True), FakeSendingLink(8)
    dealer = dealer_of(one)
    dealer.deal([0, 1, 2, 3])
    dealer.deal([4])
    dealer.rejected(one, one.settle(0))
    one.closing = True
    dealer.detach(one)
    dealer.attach(other)
    dealer.deal_waiting()
    assert [(batch.count, batch.redelivered) for batch in other.batches] == [(5, False)]


def test_what_is_accepted_is_told_with_its_number_if_it_had_come_back() -> None:
    link = FakeSendingLink(8, settles=True)
    dealer = dealer_of(link)
    dealer.deal([10, 11, 12])
    assert dealer.accepted(link, link.settle(1)) == []
    assert dealer.rejected(link, link.settle(2, 0)) == [(2, 2), (0, 0)]
    dealer.deal_waiting()
    assert link.values == [10, 11, 12, 10, 12]
    assert dealer.accepted(link, link.settle(4)) == [2]
    assert (dealer.acknowledged_count, dealer.unacknowledged) == (2, 1)


@pytest.mark.parametrize("redeliveries", [0, 1, 3])
def test_what_comes_back_too_often_is_dealt_no_more(redeliveries: int) -> None:
    link = FakeSendingLink(8, settles=True)
    dealer = dealer_of(link, redeliveries=redeliveries)
    dealer.deal([10, 11])
    for turn in range(redeliveries):
        dealer.rejected(link, link.settle(2 * turn, 2 * turn + 1))
        assert dealer.take_dead() == []
        dealer.deal_waiting()
    dealer.rejected(link, link.settle(2 * redeliveries))
    assert dealer.detach(link) == [1]
    assert dealer.take_dead() == [(0, b"\x0a"), (1, b"\x0b")]
    assert (dealer.take_dead(), dealer.waiting, dealer.unacknowledged) == ([], 0, 0)


def test_only_what_a_peer_that_settles_had_is_counted() -> None:
    link = FakeSendingLink(8)
    dealer = dealer_of(link, redeliveries=0)
    dealer.deal([10, 11])
    assert dealer.detach(link) == [0, 1]
    assert (dealer.take_dead(), dealer.waiting) == ([], 2)


def test_a_run_of_what_came_back_is_bounded() -> None:
    link = FakeSendingLink(2 * RUN, settles=True)
    dealer = dealer_of(link)
    dealer.deal(list(range(RUN)))
    dealer.deal(list(range(RUN, 2 * RUN)))
    dealer.rejected(link, link.settle(*range(2 * RUN)))
    dealer.deal_waiting()
    assert [batch.count for batch in link.batches[2:]] == [RUN, RUN]
    assert all(batch.redelivered for batch in link.batches[2:])


# The channel that sends


@attrs.define
class Sending:
    """A channel that sends to one peer, its local end, and its owner."""

    send: trio.MemorySendChannel[int]
    channel: Outgoing[int]
    link: FakeSendingLink


async def sending(
    nursery: trio.Nursery, *, window: int = 8, redeliveries: int = 5, dead_letters: DeadLetters[int] | None = None
) -> Sending:
    send, receive = trio.open_memory_channel[int](20)
    limits = Limits(max_redeliveries=redeliveries)
    channel: Outgoing[int] = Outgoing(
        "jobs", receive, INT, window=64, limits=limits, owner=FakeOwner(), dead_letters=dead_letters
    )
    link = FakeSendingLink(window, settles=True)
    channel.attach(link)
    nursery.start_soon(channel.run)
    return Sending(send, channel, link)


async def test_the_end_is_told_when_all_is_settled(nursery: trio.Nursery) -> None:
    one = await sending(nursery)
    for value in range(3):
        await one.send.send(value)
    one.send.close()
    await blocked()
    one.link.settles_values(one.channel, 2, 0)
    assert one.link.closes == []
    one.link.settles_values(one.channel, 1, accepted=False)
    assert one.link.values == [0, 1, 2, 1]
    assert one.link.closes == []
    one.link.settles_values(one.channel, 3)
    assert one.link.closes == [(Code.FINISHED, "")]
    one.link.leaves(one.channel)
    assert one.channel.done


async def test_an_ordinary_peer_is_told_the_end_while_it_has_the_last_values(nursery: trio.Nursery) -> None:
    one = await sending(nursery)
    plain = FakeSendingLink(8)
    one.channel.attach(plain)
    await one.send.send(0)
    await blocked()
    await one.send.send(1)
    one.send.close()
    await blocked()
    assert (one.link.values, plain.values) == ([0], [1])
    one.link.settles_values(one.channel, 0)
    assert (one.link.closes, plain.closes) == ([], [(Code.FINISHED, "")])
    plain.acknowledges(one.channel, 1)
    assert one.link.closes == [(Code.FINISHED, "")]


async def test_what_is_rejected_after_a_hang_up_is_dropped(nursery: trio.Nursery) -> None:
    one = await sending(nursery)
    await one.send.send(0)
    await one.send.send(1)
    await blocked()
    one.channel.hang_up()
    one.link.settles_values(one.channel, 0, accepted=False)
    one.link.settles_values(one.channel, 1)
    assert (one.channel.dropped, one.channel.statistics().acknowledged) == (1, 1)
    one.link.leaves(one.channel, Code.HUNG_UP)
    assert one.channel.dropped == 1


# Dead letters


class Letters:
    """Dead letters of integers, and what was told of them."""

    def __init__(self, end: trio.abc.SendChannel[int], type_: Any = int) -> None:
        self.told: list[Any] = []
        self.letters: DeadLetters[Any] = DeadLetters("jobs", end, codec_for(type_))
        self.letters.log = BoundedLog(10)
        self.letters.dropped = lambda count, why: self.told.append((count, why))
        self.letters.failed = self.told.append


async def test_letters_are_handed_on_in_order_and_then_comes_the_end(nursery: trio.Nursery) -> None:
    send, receive = trio.open_memory_channel[int](1)
    one = Letters(send)
    one.letters.add([b"\x01", b"\x02"])
    nursery.start_soon(one.letters.run)
    one.letters.add([b"\x03"])
    one.letters.finish()
    assert [value async for value in receive] == [1, 2, 3]
    assert (one.letters.count, one.told) == (3, [])


async def test_letters_that_nobody_takes_are_told(nursery: trio.Nursery) -> None:
    send, receive = trio.open_memory_channel[int](1)
    one = Letters(send)
    nursery.start_soon(one.letters.run)
    one.letters.add([b"\x01", b"\x02", b"\x03"])
    await blocked()
    receive.close()
    await blocked()
    one.letters.add([b"\x04"])
    assert one.told == [
        (2, "the receiver of dead letters is gone"),
        (1, "nobody takes dead letters any more"),
    ]


async def test_letters_that_wait_when_they_are_cancelled_are_told() -> None:
    send, receive = trio.open_memory_channel[int](0)
    one = Letters(send)
    with trio.CancelScope() as scope:
        one.letters.add([b"\x01", b"\x02"])
        scope.cancel()
        await one.letters.run()
    assert one.told == [(2, "dead letters that were not taken when the block was left")]
    with pytest.raises(trio.EndOfChannel):
        receive.receive_nowait()


async def test_a_letter_that_cannot_be_read_does_not_hold_up_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """A class of the program may have changed its mind."""
    send, receive = trio.open_memory_channel[int](9)
    one = Letters(send)
    one.letters.add([b"\x01", b"\x61a", b"\x02"])
    one.letters.finish()
    await one.letters.run()
    assert [value async for value in receive] == [1, 2]
    assert one.told == [(1, "a dead letter that cannot be read")]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


async def test_letters_for_an_end_that_raises_are_told_and_so_is_the_error() -> None:
    class Raises(trio.abc.SendChannel[int]):
        closed = False

        async def send(self, value: int) -> None:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()
            self.closed = True

    end = Raises()
    one = Letters(end)
    one.letters.add([b"\x01", b"\x02"])
    await one.letters.run()
    error, dropped = one.told
    assert isinstance(error, ZeroDivisionError)
    assert dropped == (2, "the end for dead letters failed")
    assert end.closed


async def test_what_came_back_too_often_is_a_letter_and_a_sync_does_not_wait_for_it(nursery: trio.Nursery) -> None:
    dead_send, dead = trio.open_memory_channel[int](5)
    letters = DeadLetters("jobs", dead_send, INT)
    one = await sending(nursery, redeliveries=0, dead_letters=letters)
    nursery.start_soon(letters.run)
    for value in 7, 8, 9:
        await one.send.send(value)
    await blocked()
    async with trio.open_nursery() as inner:
        inner.start_soon(one.channel.sync)
        await blocked()
        one.link.settles_values(one.channel, 1, 2)
        await blocked()
        assert len(inner.child_tasks) == 1
        one.link.settles_values(one.channel, 0, accepted=False)
    assert await dead.receive() == 7
    await one.channel.drain()
    one.send.close()
    assert [value async for value in dead] == []
    shown = one.channel.statistics()
    assert (shown.dead_letters, shown.dropped, shown.acknowledged, shown.unacknowledged) == (1, 0, 2, 0)


async def test_letters_end_with_a_channel_that_is_hung_up_and_those_that_nobody_takes_are_dropped(
    nursery: trio.Nursery,
) -> None:
    dead_send, dead = trio.open_memory_channel[int](0)
    letters = DeadLetters("jobs", dead_send, INT)
    one = await sending(nursery, redeliveries=0, dead_letters=letters)
    nursery.start_soon(letters.run)
    for value in 7, 8:
        await one.send.send(value)
    await blocked()
    one.link.settles_values(one.channel, 0, accepted=False)
    await blocked()
    dead.close()
    await blocked()
    assert (one.channel.dropped, one.channel.unreported_drops) == (1, 1)
    one.channel.hang_up()
    one.link.leaves(one.channel, Code.HUNG_UP)
    assert one.channel.dropped == 2
    assert letters.count == 1


# The channel that receives


@attrs.define
class Receiving:
    """A channel that receives from one peer, its local end, and its owner."""

    receive: trio.MemoryReceiveChannel[Delivery[int]]
    channel: Incoming[Any]
    link: FakeReceivingLink
    owner: FakeOwner

    def there(self) -> list[Delivery[int]]:
        return [self.receive.receive_nowait() for _ in range(self.receive.statistics().current_buffer_used)]


async def receiving(nursery: trio.Nursery, *, count: int | None = None, size: float = 20) -> Receiving:
    send, receive = trio.open_memory_channel[Any](size)
    owner = FakeOwner()
    channel: Incoming[Any] = Incoming("jobs", send, INT, window=64, importers=1, owner=owner)
    link = FakeReceivingLink(count, settles=True)
    channel.attach(link)
    nursery.start_soon(channel.run)
    await blocked()
    return Receiving(receive, channel, link, owner)


async def test_values_come_as_deliveries_with_numbers_of_their_own(nursery: trio.Nursery) -> None:
    one = await receiving(nursery)
    one.link.brings(one.channel, 10, 11)
    one.link.brings(one.channel, 12, redelivered=True)
    one.link.brings(one.channel, 13)
    held = one.there()
    assert [(d.value, d.redelivered) for d in held] == [(10, False), (11, False), (12, True), (13, False)]
    assert one.link.settled == []
    for place in 3, 0:
        await held[place].ack()
    await held[2].reject()
    assert one.link.settled == [(3, True), (0, True), (2, False)]
    one.channel.finish(Code.HUNG_UP)


async def test_who_has_finished_is_let_go_when_all_is_settled(nursery: trio.Nursery) -> None:
    one = await receiving(nursery)
    one.link.brings(one.channel, 10, 11)
    held = one.there()
    one.link.leaves(one.channel)
    await held[1].ack()
    assert one.link.closes == []
    await held[0].reject()
    assert one.link.closes == [(Code.FINISHED, "")]
    assert one.owner.left == [(Code.FINISHED, "")]
    with pytest.raises(trio.EndOfChannel):
        one.receive.receive_nowait()


async def test_a_count_is_reached_by_settling(nursery: trio.Nursery) -> None:
    one = await receiving(nursery, count=2)
    one.link.brings(one.channel, 10, 11)
    held = one.there()
    await held[1].reject()
    assert one.link.closes == []
    await held[0].ack()
    assert one.link.closes == [(Code.COUNT_REACHED, "")]


ENDS: dict[str, tuple[Callable[[Receiving], None], type[Exception], str]] = {
    "lost": (lambda one: one.link.leaves(one.channel, None, "x"), trio.BrokenResourceError, "the connection was lost"),
    "hung up": (
        lambda one: one.link.leaves(one.channel, Code.HUNG_UP),
        trio.BrokenResourceError,
        "the exporter hung up",
    ),
    "refused": (lambda one: one.link.brings(one.channel, "text"), trio.BrokenResourceError, "a value does not fit"),
    "own": (lambda one: one.channel.finish(Code.HUNG_UP), trio.ClosedResourceError, "it was hung up"),
    "left": (
        lambda one: one.channel.finish(Code.RECEIVER_GONE, keep_end=True),
        trio.ClosedResourceError,
        "the block was left",
    ),
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_is_in_hand_cannot_be_settled_any_more(nursery: trio.Nursery, how: str) -> None:
    end, error, why = ENDS[how]
    one = await receiving(nursery)
    one.link.brings(one.channel, 10, 11)
    held = one.there()
    await held[0].ack()
    end(one)
    for _ in range(2):
        with pytest.raises(error, match=f"jobs: .* went back: {why}"):
            await held[1].ack()
    with pytest.raises(RuntimeError):
        await held[0].reject()
    assert one.link.settled == [(0, True)]
    assert len(one.link.closes) == 1
    one.channel.finish(Code.HUNG_UP)


@pytest.mark.parametrize("code", [None, Code.HUNG_UP])
async def test_what_has_not_reached_the_program_is_given_up_with_its_sender(
    nursery: trio.Nursery, code: Code | None
) -> None:
    """Of an ordinary import that is lost it would still be delivered; here nobody could be told of it."""
    one = await receiving(nursery, size=1)
    one.link.brings(one.channel, 10, 11, 12)
    await blocked()
    one.link.leaves(one.channel, code, "bye")
    await blocked()
    assert one.owner.left == [(code, "bye")]
    assert [delivery.value for delivery in one.there()] == [10]
    assert one.channel.counts.dropped == (2 if code is Code.HUNG_UP else 0)
    one.channel.finish(Code.HUNG_UP)
