"""Drain and sync of one outgoing channel: who waits, for which values, and what was dropped meanwhile.

A drain waits until nothing is left anywhere. A sync waits for what peers hold when it begins: for each peer up to a
count, and when a peer goes, for just those values of it that came back, by their numbers, wherever they go next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs
import trio

from .._errors import ConnectionLostError, ValuesDroppedError
from .._ports import SendingLink

__all__ = ["Waits", "values_dropped"]

LOOK_AGAIN = 0.05  # seconds


@attrs.define(eq=False)
class _Drain:
    """A drain that waits."""

    done: bool = False
    changed: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class _Sync:
    """A sync that waits: up to which count on each peer, and for which values that have come back since."""

    targets: dict[SendingLink, int]
    numbers: set[int] = attrs.field(factory=set[int])
    lost: bool = False
    dropped: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)


class Waits:
    """All that wait for one channel, and the account of its dropped values."""

    def __init__(self, name: str) -> None:
        self.dropped = 0
        self.unreported_drops = 0
        """Of those, dropped by peers, and not told by a drain or sync yet."""
        self._name = name
        self._drains: list[_Drain] = []
        self._syncs: list[_Sync] = []

    @property
    def draining(self) -> bool:
        """Whether a drain waits."""
        return bool(self._drains)

    async def drain(self, look: Callable[[], None], only_blocked: Callable[[], bool]) -> None:
        """Waits for `drained`, then raises `ValuesDroppedError` if values were dropped meanwhile, or unreported before.

        `look` is called at the beginning and after each `look_again`. A blocked sender that is cancelled makes no
        event; so while nothing but blocked senders is left, which `only_blocked` tells, it is called now and then.
        """
        before = self.dropped - self.unreported_drops
        drain = _Drain()
        self._drains.append(drain)
        try:
            look()
            while not drain.done:
                with trio.move_on_after(LOOK_AGAIN if only_blocked() else math.inf):
                    await drain.changed.wait()
                drain.changed = trio.Event()
                if not drain.done:
                    look()
        finally:
            self._drains.remove(drain)
        count = self.dropped - before
        if count:
            self.unreported_drops = 0
            raise values_dropped(self._name, count)

    def look_again(self) -> None:
        """Something has changed: perhaps nothing is left."""
        for drain in self._drains:
            drain.changed.set()

    def drained(self) -> None:
        """Nothing is left: all drains end."""
        for drain in self._drains:
            drain.done = True
            drain.changed.set()

    async def sync(self, links: Collection[SendingLink], returned: Iterable[int] = ()) -> None:
        """Waits until what these peers hold now is acknowledged, by them or by those it is handed on to.

        So are values that have come `returned` before, and wait.
        """
        sync = _Sync({link: link.sent for link in links if link.unacknowledged}, set(returned))
        self._syncs.append(sync)
        try:
            while (sync.targets or sync.numbers) and not sync.lost:
                await sync.changed.wait()
                sync.changed = trio.Event()
        finally:
            self._syncs.remove(sync)
        if sync.lost:
            raise ConnectionLostError(
                f"{self._name}: expected every peer to acknowledge, got one whose connection was lost",
                channel=self._name,
            )
        if sync.dropped:
            self.unreported_drops = max(0, self.unreported_drops - sync.dropped)
            raise values_dropped(self._name, sync.dropped)

    def acknowledged(self, link: SendingLink, numbers: Iterable[int]) -> None:
        """A peer has acknowledged values, and those with these numbers, which had come back before."""
        for sync in self._syncs:
            if link in sync.targets and not link.unacknowledged_below(sync.targets[link]):
                del sync.targets[link]
                sync.changed.set()
            if sync.numbers:
                sync.numbers.difference_update(numbers)
                sync.changed.set()

    def rejected(self, link: SendingLink, values: Sequence[tuple[int, int]]) -> None:
        """A peer's program has rejected values, each with a number on the link and one of its own; they wait again."""
        for sync in self._syncs:
            target = sync.targets.get(link, 0)
            sync.numbers.update(number for place, number in values if place < target)
        self.acknowledged(link, ())

    def came_back(self, link: SendingLink, numbers: Sequence[int], *, lost: bool) -> None:
        """A peer is gone, and these values of it are not acknowledged, oldest first. `lost`: with its connection."""
        for sync in self._syncs:
            target = sync.targets.pop(link, 0)
            covered = numbers[: link.unacknowledged_below(target)]
            if lost:
                sync.lost = sync.lost or bool(covered)
            else:
                sync.numbers.update(covered)
            sync.changed.set()

    def buried(self, numbers: Iterable[int]) -> None:
        """Values with these numbers have gone where dead letters go."""
        for sync in self._syncs:
            sync.numbers.difference_update(numbers)
            sync.changed.set()

    def drop(self, count: int, numbers: Iterable[int] = (), *, by_peer: bool = False) -> None:
        """Values are dropped, those with these numbers among them. `by_peer`: the program has not asked for it."""
        self.dropped += count
        if by_peer:
            self.unreported_drops += count
        for sync in self._syncs:
            covered = sync.numbers.intersection(numbers)
            sync.numbers -= covered
            sync.dropped += len(covered)
            sync.changed.set()


def values_dropped(name: str, count: int) -> ValuesDroppedError:
    """For a drain or sync that covered values which were dropped."""
    message = f"{name}: expected every value to be delivered, got {count} dropped"
    return ValuesDroppedError(message, channel=name, count=count)
