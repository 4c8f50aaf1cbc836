"""The order of peers, against looking at all of them."""

from __future__ import annotations

import weakref

from fakes import FakeSendingLink
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from trionetchan._channels.fewest_first import FewestFirst


class Order(RuleBasedStateMachine):
    """`FewestFirst`, and beside it a plain list of its peers."""

    def __init__(self) -> None:
        super().__init__()
        self.order = FewestFirst()
        self.links: list[FakeSendingLink] = []

    def pick(self, number: int) -> FakeSendingLink:
        return self.links[number % len(self.links)]

    @initialize(count=st.integers(0, 5))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.add(window=4, room=1000)

    @rule(window=st.integers(0, 5), room=st.sampled_from((10, 1000)))
    def add(self, window: int, room: int) -> None:
        self.links.append(FakeSendingLink(window, room=room))
        self.order.add(self.links[-1])

    @precondition(lambda self: self.links)
    @rule(number=st.integers(0, 5))
    def remove(self, number: int) -> None:
        link = self.pick(number)
        self.links.remove(link)
        self.order.remove(link)
        gone = weakref.ref(link)
        del link
        assert gone() is None, "a removed link is held"

    @precondition(lambda self: self.links)
    @rule(number=st.integers(0, 5), count=st.integers(1, 5))
    def send(self, number: int, count: int) -> None:
        link = self.pick(number)
        link.sent += min(count, max(0, link.credit))

    @precondition(lambda self: self.links)
    @rule(number=st.integers(0, 5), count=st.integers(0, 5), more=st.integers(0, 2))
    def acknowledge(self, number: int, count: int, more: int) -> None:
        link = self.pick(number)
        link.acknowledged += min(count, link.unacknowledged)
        link.window += more
        self.order.changed(link)

    @precondition(lambda self: self.links)
    @rule(number=st.integers(0, 5))
    def close(self, number: int) -> None:
        self.pick(number).closing = True

    @rule(size=st.sampled_from((5, 500)))
    def look(self, size: int) -> None:
        fewest = min((link.unacknowledged for link in self.links if link.credit > 0), default=None)
        link = self.order.next()
        assert (None if link is None else link.unacknowledged) == fewest
        assert link is None or (link in self.links and link.credit > 0)
        fitting = [link for link in self.links if link.fits(size, 1)]
        found = self.order.next_for(size)
        assert (found is None) == (not fitting)
        if found is not None:
            assert found in fitting
            assert found.unacknowledged == min(link.unacknowledged for link in fitting)

    @invariant()
    def has_at_most_two_entries_for_each_peer(self) -> None:
        assert len(self.order) == len(self.links)
        assert list(self.order) == self.links
        assert all(link in self.order for link in self.links)
        assert len(self.order._heap) <= 2 * len(self.links)  # pyright: ignore[reportPrivateUsage]


def test_against_looking_at_all_peers() -> None:
    run_state_machine_as_test(
        Order, settings=settings(deadline=None, derandomize=True, max_examples=150, stateful_step_count=40)
    )


def test_a_link_that_goes_after_an_acknowledgement_is_freed_at_once() -> None:
    order = FewestFirst()
    links = [FakeSendingLink(10) for _ in range(4)]
    for link in links:
        order.add(link)
    for _ in range(2):
        links[1].sent += 2
        links[1].acknowledged += 1
        order.changed(links[1])
    order.remove(links[1])
    gone = weakref.ref(links.pop(1))
    link = links[0]
    assert gone() is None


def test_of_equal_counts_the_one_that_has_waited_longest_is_first() -> None:
    order = FewestFirst()
    links = [FakeSendingLink(10) for _ in range(3)]
    for link in links:
        order.add(link)
    turns: list[int] = []
    for _ in range(6):
        found = order.next()
        assert isinstance(found, FakeSendingLink)
        turns.append(links.index(found))
        found.sent += 1
    assert turns == [0, 1, 2, 0, 1, 2]


def test_many_acknowledgements_leave_no_entries_behind() -> None:
    order = FewestFirst()
    links = [FakeSendingLink(10) for _ in range(4)]
    for link in links:
        order.add(link)
    for number in range(1000):
        link = links[number % 3]
        link.sent += 2
        order.next()
        link.acknowledged += 1
        order.changed(link)
        link.acknowledged += 1
        order.changed(link)
        assert len(order._heap) <= 8  # pyright: ignore[reportPrivateUsage]
