"""Dealing alone, to fake links: who gets what, in what order, in what batches, and what comes back."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fakes import INT, FakeSendingLink
from hypothesis import given, settings
from hypothesis import strategies as st

from trionetchan import LimitError, Limits, ValueTypeError
from trionetchan._channels.dealing import BATCH_SIZE, RUN, Dealer
from trionetchan._codec import codec_for
from trionetchan._errors import Code


def dealer_of(*links: FakeSendingLink) -> Dealer[int]:
    dealer = Dealer("jobs", INT, Limits())
    for link in links:
        dealer.attach(link)
    return dealer


def bytes_dealer(*links: FakeSendingLink, limits: Limits | None = None) -> Dealer[bytes]:
    dealer: Dealer[bytes] = Dealer("blobs", codec_for(bytes), limits or Limits())
    for link in links:
        dealer.attach(link)
    return dealer


def acknowledge(dealer: Dealer[int], link: FakeSendingLink, count: int) -> list[int]:
    link.acknowledged += count
    return dealer.acknowledged(link, count)


def test_one_peer_gets_what_its_credit_allows_in_one_batch() -> None:
    link = FakeSendingLink(100)
    dealer = dealer_of(link)
    assert dealer.room == RUN  # nothing is known of the size of values yet
    dealer.deal(list(range(RUN)))
    assert dealer.room == 100 - RUN
    dealer.deal(list(range(RUN, 100)))
    assert [batch.count for batch in link.batches] == [RUN, 100 - RUN]
    assert link.values == list(range(100))
    assert (dealer.sent, dealer.unacknowledged, dealer.waiting) == (100, 100, 0)
    assert dealer.bytes_sent == sum(batch.size for batch in link.batches)


def test_several_peers_get_runs_of_16_in_turn() -> None:
    links = [FakeSendingLink(100) for _ in range(3)]
    dealer = dealer_of(*links)
    taken = list(range(6 * RUN))
    dealer.deal(taken)
    assert taken == []
    assert [[batch.count for batch in link.batches] for link in links] == [[RUN, RUN]] * 3
    assert links[0].values == [*range(RUN), *range(3 * RUN, 4 * RUN)]
    assert dealer.room == RUN


def test_the_peer_with_the_fewest_unacknowledged_is_next() -> None:
    links = [FakeSendingLink(64) for _ in range(3)]
    dealer = dealer_of(*links)
    dealer.deal(list(range(3 * RUN)))
    acknowledge(dealer, links[1], 2)
    dealer.deal([100])
    acknowledge(dealer, links[2], 3)
    dealer.deal([101])
    assert [link.values[RUN:] for link in links] == [[], [100], [101]]


def test_room_is_none_without_a_peer_or_credit_or_while_values_wait() -> None:
    dealer = dealer_of()
    assert (dealer.room, dealer.half_window) == (0, 1)
    dealer.deal([1])
    link = FakeSendingLink(8)
    dealer.attach(link)
    assert dealer.room == 0  # what waits goes first
    dealer.deal_waiting()
    assert (dealer.room, dealer.half_window) == (7, 4)
    link.closing = True
    assert dealer.room == 0


@pytest.mark.parametrize(("out", "room"), [(5, 3), (6, 2), (7, 0), (8, 0)])
def test_less_than_a_quarter_of_the_window_is_not_worth_a_batch(out: int, room: int) -> None:
    link = FakeSendingLink(8)
    dealer = dealer_of(link)
    dealer.deal(list(range(out)))
    assert dealer.room == room


def test_little_credit_is_used_if_no_acknowledgement_is_coming() -> None:
    link = FakeSendingLink(8)
    dealer = dealer_of(link)
    dealer.deal([1, 2, 3, 4])
    link.limit = 5  # a counted import
    assert (link.credit, dealer.room) == (1, 1)
    link = FakeSendingLink(60)
    dealer = dealer_of(link)
    dealer.deal(list(range(25)))
    link.limit = 30
    assert (link.credit, dealer.room) == (5, 5)


def test_nothing_overtakes_a_value_that_waits_for_room() -> None:
    link = FakeSendingLink(room=50)
    dealer = bytes_dealer(link)
    for value in bytes(30), bytes(25), b"x":
        dealer.deal([value])
    assert (link.values, dealer.waiting, dealer.room) == ([bytes(30)], 2, 0)
    link.room, link.acknowledged = 1000, 1
    dealer.acknowledged(link, 1)
    dealer.deal_waiting()
    assert link.values == [bytes(30), bytes(25), b"x"]


@pytest.mark.parametrize("order", [1, -1])
def test_what_comes_back_is_dealt_first_in_the_order_it_was_taken(order: int) -> None:
    one, two = FakeSendingLink(2), FakeSendingLink(2)
    dealer = dealer_of(one, two)
    for value in range(4):
        dealer.deal([value])
    assert (one.values, two.values) == ([0, 2], [1, 3])
    acknowledge(dealer, one, 1)
    for link, numbers in [(two, [1, 3]), (one, [2])][::order]:
        assert dealer.detach(link) == numbers
    assert (dealer.waiting, dealer.unacknowledged) == (3, 0)
    three = FakeSendingLink(4)
    dealer.attach(three)
    dealer.deal([4])
    assert three.values == [1, 2, 3, 4]
    assert (dealer.sent, dealer.redelivered) == (5, 3)


def test_nothing_is_dealt_once_it_is_stopped() -> None:
    one, two = FakeSendingLink(4), FakeSendingLink(4)
    dealer = dealer_of(one, two)
    dealer.deal([0, 1])
    dealer.stopped = True
    assert dealer.room == 0
    dealer.deal([2])
    assert dealer.detach(one) == [0, 1]
    dealer.deal([3])
    assert (one.values, two.values) == ([0, 1], [])
    assert dealer.undelivered() == ([0, 1], [2, 3])


def test_acknowledging_tells_the_numbers_of_what_had_come_back() -> None:
    one, two = FakeSendingLink(4), FakeSendingLink(4)
    dealer = dealer_of(one)
    dealer.deal([10, 11])
    dealer.detach(one)
    dealer.attach(two)
    dealer.deal([12])
    assert acknowledge(dealer, two, 1) == [0]
    assert acknowledge(dealer, two, 2) == [1]
    assert dealer.acknowledged_count == 3


def test_a_value_comes_back_twice() -> None:
    links = [FakeSendingLink(4) for _ in range(3)]
    dealer = dealer_of(links[0])
    dealer.deal([10, 11, 12])
    for old, new in ((0, 1), (1, 2)):
        acknowledge(dealer, links[old], old)
        dealer.detach(links[old])
        dealer.attach(links[new])
        dealer.deal_waiting()
    assert [link.values for link in links] == [[10, 11, 12], [10, 11, 12], [11, 12]]
    assert dealer.redelivered == 5


def test_a_value_that_is_too_large_for_a_peer_goes_to_another() -> None:
    small, large = FakeSendingLink(max_value_size=10), FakeSendingLink()
    dealer = bytes_dealer(small, large)
    dealer.deal([b"x" * 20])
    assert (small.values, large.values) == ([], [b"x" * 20])
    assert small.closes == [(Code.LIMIT, "blobs: expected a value of at most 10 bytes, got 21 bytes")]


def test_a_run_of_waiting_values_stops_at_one_that_is_too_large_for_the_peer() -> None:
    dealer = bytes_dealer()
    dealer.deal([b"a", b"b", b"x" * 20, b"c"])
    small = FakeSendingLink(max_value_size=10)
    dealer.attach(small)
    dealer.deal_waiting()
    assert small.values == [b"a", b"b"]
    assert small.closing
    assert dealer.waiting == 2


@pytest.mark.parametrize("peers", [0, 1])
def test_a_misfit_is_told_and_what_came_before_it_is_dealt(peers: int) -> None:
    link = FakeSendingLink()
    dealer = dealer_of(*[link][:peers])
    taken: list[int] = [1, 2, "three", 4]  # type: ignore[list-item]  # pyright: ignore[reportAssignmentType]
    with pytest.raises(ValueTypeError, match="jobs: expected int, got str"):
        dealer.deal(taken)
    assert taken == ["three", 4]
    assert link.values == [1, 2][: 2 * peers]
    assert dealer.waiting == 2 - 2 * peers


def test_a_value_beyond_the_own_limit_is_told_and_what_came_before_it_is_dealt() -> None:
    link = FakeSendingLink()
    dealer = bytes_dealer(link, limits=Limits(max_value_size=10))
    taken = [b"a", b"x" * 20, b"c"]
    with pytest.raises(LimitError, match="blobs: expected a value of at most 10 bytes, got 21 bytes"):
        dealer.deal(taken)
    assert (taken, link.values) == ([b"x" * 20, b"c"], [b"a"])


def test_a_value_may_be_as_large_as_the_own_limit() -> None:
    dealer = bytes_dealer(limits=Limits(max_value_size=10))
    dealer.deal([b"x" * 9])
    link = FakeSendingLink(max_value_size=10)
    dealer.attach(link)
    dealer.deal_waiting()
    assert link.values == [b"x" * 9]


def test_a_value_that_is_small_in_memory_and_huge_when_written_is_told() -> None:
    link = FakeSendingLink()
    dealer: Dealer[Any] = Dealer("jobs", codec_for(Any), Limits(max_value_size=10))
    dealer.attach(link)
    huge: Any = [1]
    for _ in range(40):
        huge = [huge, huge]
    taken = [1, huge, 3]
    with pytest.raises(LimitError, match="jobs: expected a value of at most 10 bytes, got more") as caught:
        dealer.deal(taken)
    assert (len(taken), link.values, caught.value.channel) == (2, [1], "jobs")


@pytest.mark.parametrize("size", [1_000, 5_000, 30_000, 100_000])
def test_large_values_are_split_into_batches_of_bounded_size(size: int) -> None:
    link = FakeSendingLink(200)
    dealer = bytes_dealer(link)
    values = [bytes([number]) * size for number in range(100)]
    for start in range(0, 100, 50):
        dealer.deal(values[start : start + 50])
    assert link.values == values
    assert all(batch.count == 1 or batch.size <= 4 * BATCH_SIZE for batch in link.batches)
    assert all(batch.count == 1 or batch.size <= BATCH_SIZE + size for batch in link.batches[RUN:])


@pytest.mark.parametrize(("size", "room"), [(1_000, 65), (30_000, 2), (100_000, 1)])
def test_no_more_is_taken_than_makes_a_batch_of_values_like_the_last(size: int, room: int) -> None:
    dealer = bytes_dealer(FakeSendingLink(1000))
    dealer.deal([bytes(size)])
    assert dealer.room == room


def test_values_for_which_a_peer_has_no_room_together_go_one_by_one() -> None:
    link = FakeSendingLink(room=50)
    dealer = bytes_dealer(link)
    dealer.deal([bytes([number]) * 30 for number in range(4)])
    assert [batch.count for batch in link.batches] == [1]  # one more has no room until it is acknowledged
    for _ in range(3):
        link.acknowledged += 1
        dealer.acknowledged(link, 1)
        dealer.deal_waiting()
    assert [value[0] for value in link.values] == [0, 1, 2, 3]


def test_a_large_value_waits_as_it_was_encoded() -> None:
    large = b"L" * 200_000
    dealer = bytes_dealer()
    dealer.deal([b"a", large, b"b"])
    link = FakeSendingLink()
    dealer.attach(link)
    dealer.deal_waiting()
    assert link.values == [b"a", large, b"b"]
    dealer.detach(link)
    again = FakeSendingLink()
    dealer.attach(again)
    dealer.deal_waiting()
    assert again.values == [b"a", large, b"b"]


def test_refusals_of_a_value_are_counted_and_it_can_be_dropped() -> None:
    dealer = dealer_of()
    dealer.deal([10, 11, 12])
    assert [dealer.refused(1), dealer.refused(1), dealer.refused(0)] == [1, 2, 1]
    assert dealer.drop(1) == [1]
    link = FakeSendingLink(1)
    dealer.attach(link)
    dealer.deal_waiting()
    assert link.values == [10]
    assert dealer.drop() == [2]
    assert (dealer.waiting, dealer.drop()) == (0, [])


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_a_value_is_always_in_exactly_one_place(rng: random.Random, steps: int) -> None:
    dealer = dealer_of()
    links: list[FakeSendingLink] = []
    acknowledged: list[int] = []
    count = 0
    for _ in range(steps):
        action = rng.choice(("deal", "deal", "attach", "acknowledge", "acknowledge", "leave"))
        if action == "deal":
            more = rng.randint(1, 40)
            before = {link: len(link.batches) for link in links}
            dealer.deal(list(range(count, count + more)))
            count += more
            for link in links:
                batches = link.batches[before[link] :]
                assert all(batch.count <= RUN or len(links) == 1 for batch in batches)
        elif action == "attach":
            links.append(FakeSendingLink(rng.choice((1, 3, 20, 70)), room=rng.choice((10, 2**20))))
            dealer.attach(links[-1])
            dealer.deal_waiting()
        elif links:
            link = rng.choice(links)
            done = rng.randint(0, link.unacknowledged)
            acknowledged += link.values[link.acknowledged : link.acknowledged + done]
            acknowledge(dealer, link, done)
            if action == "leave":
                back = link.values[link.acknowledged :]
                assert dealer.detach(link) == back  # of values that are numbers the number is the value
                links.remove(link)
        held = [value for link in links for value in link.values[link.acknowledged :]]
        assert len(held) == dealer.unacknowledged == sum(link.unacknowledged for link in links)
        assert len({*held, *acknowledged}) == len(held) + len(acknowledged) == count - dealer.waiting
    last = FakeSendingLink(100_000)
    back = sorted(value for link in links for value in link.values[link.acknowledged :])
    for link in links:
        dealer.detach(link)
    dealer.attach(last)
    dealer.deal_waiting()
    assert dealer.waiting == 0
    assert last.values == sorted(last.values)
    assert {*back} <= {*last.values}
    assert sorted(last.values + acknowledged) == list(range(count))
    assert dealer.sent == count
