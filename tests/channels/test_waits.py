"""Drain and sync alone, with every order of what can happen to the values that they wait for."""

from __future__ import annotations

import itertools
import math

import pytest
import trio
import trio.testing
from fakes import FakeSendingLink

from trionetchan import ConnectionLostError, ValuesDroppedError
from trionetchan._channels.waits import LOOK_AGAIN, Waits


def link_with(sent: int, acknowledged: int = 0) -> FakeSendingLink:
    link = FakeSendingLink()
    link.sent, link.acknowledged = sent, acknowledged
    return link


class Outcome:
    """What becomes of a drain or sync that runs in a task."""

    def __init__(self) -> None:
        self.over = False
        self.error: Exception | None = None
        self.scope = trio.CancelScope()

    async def run(self, waits: Waits, links: list[FakeSendingLink]) -> None:
        with self.scope:
            try:
                await waits.sync(links)
            except (ConnectionLostError, ValuesDroppedError) as error:
                self.error = error
            self.over = True


async def started(nursery: trio.Nursery, waits: Waits, *links: FakeSendingLink) -> Outcome:
    outcome = Outcome()
    nursery.start_soon(outcome.run, waits, list(links))
    await trio.testing.wait_all_tasks_blocked()
    return outcome


async def step(waits: Waits, event: str, one: FakeSendingLink, two: FakeSendingLink) -> None:
    match event:
        case "one":
            one.acknowledged = 2
            waits.acknowledged(one, [])
        case "two":
            two.acknowledged = 1
            waits.acknowledged(two, [])
        case "more":  # of what was sent after the sync began
            two.sent = two.acknowledged = 5
            waits.acknowledged(two, [])
        case "back":
            waits.came_back(one, range(one.acknowledged, 2), lost=False)
        case "lost":
            waits.came_back(one, range(one.acknowledged, 2), lost=True)
        case "elsewhere":
            waits.acknowledged(FakeSendingLink(), [0, 1])
        case "dropped":
            waits.drop(2, [0, 1], by_peer=True)
        case _:
            raise AssertionError(event)
    await trio.testing.wait_all_tasks_blocked()


FATES = {
    "one": (["one"], None),
    "elsewhere": (["back", "elsewhere"], None),
    "dropped": (["back", "dropped"], ValuesDroppedError),
    "lost": (["lost"], ConnectionLostError),
}


def orders() -> list[tuple[str, tuple[str, ...]]]:
    """Each fate of the first peer's values, with what the second says anywhere between."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    for fate, (events, _) in FATES.items():
        for second in ("two", "more"):
            for place in range(len(events) + 1):
                found.add((fate, (*events[:place], second, *events[place:])))
    return sorted(found)


@pytest.mark.parametrize(("fate", "events"), orders())
async def test_a_sync_ends_with_the_last_of_its_values_and_not_before(
    nursery: trio.Nursery, fate: str, events: tuple[str, ...]
) -> None:
    waits = Waits("jobs")
    one, two = link_with(2), link_with(1)
    outcome = await started(nursery, waits, one, two)
    for event in events[:-1]:
        await step(waits, event, one, two)
        assert outcome.over == (event == "lost")
    await step(waits, events[-1], one, two)
    assert outcome.over
    expected = FATES[fate][1]
    assert type(outcome.error) is (type(None) if expected is None else expected)
    if isinstance(outcome.error, ValuesDroppedError):
        assert outcome.error.count == 2
        assert outcome.error.channel == "jobs"


@pytest.mark.parametrize("events", list(itertools.permutations(("one", "two", "cancel"))))
async def test_a_sync_that_is_cancelled_in_the_same_turn(nursery: trio.Nursery, events: tuple[str, ...]) -> None:
    waits = Waits("jobs")
    one, two = link_with(2), link_with(1)
    outcome = await started(nursery, waits, one, two)
    for event in events:
        if event == "cancel":
            outcome.scope.cancel()
        else:
            link = one if event == "one" else two
            link.acknowledged = link.sent
            waits.acknowledged(link, [])
    await trio.testing.wait_all_tasks_blocked()
    assert outcome.error is None
    waits.came_back(one, [], lost=True)  # concerns nobody any more
    waits.drop(3, [0, 1, 2], by_peer=True)
    again = await started(nursery, waits, one, two)
    assert again.over, "nothing is unacknowledged"
    assert again.error is None


async def test_a_sync_covers_only_what_peers_held_when_it_began(nursery: trio.Nursery) -> None:
    waits = Waits("jobs")
    link = link_with(3, acknowledged=1)
    outcome = await started(nursery, waits, link)
    link.sent = 6  # with the numbers 3, 4, 5
    waits.came_back(link, [1, 2, 3, 4, 5], lost=False)
    waits.drop(1, [4])
    waits.acknowledged(link_with(9), [1, 3, 5])
    await trio.testing.wait_all_tasks_blocked()
    assert not outcome.over
    waits.acknowledged(link_with(9), [2])
    await trio.testing.wait_all_tasks_blocked()
    assert (outcome.over, outcome.error) == (True, None)


async def test_a_lost_peer_of_which_all_that_counts_is_acknowledged_is_no_loss(nursery: trio.Nursery) -> None:
    waits = Waits("jobs")
    one, two = link_with(2), link_with(2)
    outcome = await started(nursery, waits, one, two)
    one.sent, one.acknowledged = 5, 2
    waits.came_back(one, [7, 8, 9], lost=True)
    await trio.testing.wait_all_tasks_blocked()
    assert not outcome.over
    two.acknowledged = 2
    waits.acknowledged(two, [])
    await trio.testing.wait_all_tasks_blocked()
    assert (outcome.over, outcome.error) == (True, None)


async def test_a_sync_follows_what_is_rejected_of_what_it_covers(nursery: trio.Nursery) -> None:
    waits, link = Waits("jobs"), FakeSendingLink(settles=True)
    link.sent = 2
    outcome = await started(nursery, waits, link)
    link.sent, link.settled = 4, {1, 2}
    waits.rejected(link, [(1, 11), (2, 12)])  # the second was sent after the sync began
    link.settled |= {0, 3}
    waits.acknowledged(link, [])
    waits.acknowledged(FakeSendingLink(), [12])
    await trio.testing.wait_all_tasks_blocked()
    assert not outcome.over
    waits.acknowledged(FakeSendingLink(), [11])
    await trio.testing.wait_all_tasks_blocked()
    assert (outcome.over, outcome.error) == (True, None)


async def test_dropped_values_are_told_once() -> None:
    waits = Waits("jobs")
    waits.drop(1)  # the program has asked for that
    waits.drop(2, by_peer=True)
    assert (waits.dropped, waits.unreported_drops) == (3, 2)
    with pytest.raises(ValuesDroppedError, match="jobs: expected every value to be delivered, got 2 dropped") as raised:
        await waits.drain(waits.drained, lambda: False)
    assert raised.value.count == 2
    await waits.drain(waits.drained, lambda: False)
    assert (waits.dropped, waits.unreported_drops) == (3, 0)


@pytest.mark.parametrize("by_peer", [False, True])
async def test_what_is_dropped_while_a_drain_waits_is_told_by_it(nursery: trio.Nursery, by_peer: bool) -> None:
    waits = Waits("jobs")
    told: list[int] = []

    async def drain() -> None:
        with pytest.raises(ValuesDroppedError) as raised:
            await waits.drain(lambda: None, lambda: False)
        told.append(raised.value.count)

    nursery.start_soon(drain)
    await trio.testing.wait_all_tasks_blocked()
    waits.drop(3, by_peer=by_peer)
    waits.drained()
    await trio.testing.wait_all_tasks_blocked()
    assert told == [3]
    await waits.drain(waits.drained, lambda: False)


async def test_a_sync_takes_what_it_tells_off_the_account(nursery: trio.Nursery) -> None:
    waits = Waits("jobs")
    link = link_with(2)
    outcome = await started(nursery, waits, link)
    waits.came_back(link, [0, 1], lost=False)
    waits.drop(2, [1, 8], by_peer=True)
    waits.acknowledged(link_with(5), [0])
    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(outcome.error, ValuesDroppedError)
    assert (outcome.error.count, waits.unreported_drops) == (1, 1)


async def test_a_drain_looks_when_something_has_changed_and_not_else(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    waits = Waits("jobs")
    looks: list[float] = []
    over = trio.Event()

    async def drain() -> None:
        await waits.drain(lambda: looks.append(trio.current_time()), lambda: False)
        over.set()

    assert not waits.draining
    nursery.start_soon(drain)
    await trio.sleep(1)
    assert waits.draining
    waits.look_again()
    waits.look_again()
    await trio.sleep(1)
    waits.drained()
    await over.wait()
    assert looks == [0, pytest.approx(1)]
    assert not waits.draining


async def test_only_blocked_senders_are_looked_at_now_and_then(autojump_clock: trio.testing.MockClock) -> None:
    waits = Waits("jobs")
    looks: list[float] = []

    def look() -> None:
        looks.append(trio.current_time())
        if len(looks) == 4:
            waits.drained()

    await waits.drain(look, lambda: True)
    assert looks == pytest.approx([number * LOOK_AGAIN for number in range(4)])


@pytest.mark.parametrize("first", ["drained", "cancel"])
async def test_a_drain_that_is_cancelled_in_the_same_turn_leaves_nothing(nursery: trio.Nursery, first: str) -> None:
    waits = Waits("jobs")
    scope = trio.CancelScope()

    async def drain() -> None:
        with scope:
            await waits.drain(lambda: None, lambda: False)

    nursery.start_soon(drain)
    await trio.testing.wait_all_tasks_blocked()
    for event in (waits.drained, scope.cancel) if first == "drained" else (scope.cancel, waits.drained):
        event()
    await trio.testing.wait_all_tasks_blocked()
    assert not waits.draining
    waits.drop(2, by_peer=True)
    assert waits.unreported_drops == 2
    assert scope.deadline == math.inf
