"""A channel whose values leave this process: the pump that takes them from the local end, and what becomes of them.

There is one pump for each channel, however many peers are bound. It takes values only while some peer has credit, and
records each before it does anything else; so a value is always in exactly one place: in the local end, in `_taken`, or
with the dealer (`_dealing`).

The pump sits in a cancel scope, `_attention`, that others cancel to make it look around: a hang-up, or a drain that
needs to know that the local end is really empty. (trio hands a value to a waiting receiver before that task runs. For
a moment it is in no statistics and in no record; only the pump itself, outside of `receive`, can tell.)
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import trio

from .._codec.codec import Codec
from .._errors import Code, ConnectionLostError, NetchanError, ValuesDroppedError
from .._limits import Limits
from .._network.links import SendLink, SendLinks
from .._statistics import ChannelStatistics, Direction
from .dealing import Dealer

__all__ = ["Outgoing", "values_dropped"]

T = TypeVar("T")

NAP = 0.001  # seconds that a batch may take to fill
FEW = 16  # values in a batch that do not make a stream

logger = logging.getLogger("trionetchan")


@attrs.define(eq=False)
class _Sync:
    """A sync that waits: up to which count on each peer, and which values that have come back since."""

    targets: dict[SendLink, int]
    orders: set[int] = attrs.field(factory=set[int])
    lost: bool = False
    dropped: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)


class Outgoing(Generic[T]):
    """One outgoing channel. `on_detached` is told of each peer that went: its last word, or None for a lost one."""

    def __init__(
        self,
        name: str,
        end: trio.abc.ReceiveChannel[T],
        codec: Codec[T],
        *,
        window: int,
        count: int | None = None,
        limits: Limits,
        on_failure: Callable[[BaseException], None],
        on_detached: Callable[[Outgoing[T], Code | None, str], None],
    ) -> None:
        self.name = name
        self.codec = codec
        self.window = window
        self.dealer = Dealer(name, codec, limits)
        self.finished = False  # nothing more will be taken from the local end
        self.ended = False  # hung up, or without its peer: what is left is dropped
        self.closed = trio.Event()  # the pump has ended and the local end is closed
        self._end = end
        self._memory = end if isinstance(end, trio.MemoryReceiveChannel) else None
        self._closed_memory = False
        self._streaming = False
        self._naps = self._memory is not None and self._memory.statistics().max_buffer_size >= 512
        self._left = sys.maxsize if count is None else count  # values that may still be taken
        self._max_redeliveries = limits.max_redeliveries
        self._on_failure = on_failure
        self._on_detached = on_detached
        self._ending = ""  # why it has ended
        self._attention = trio.CancelScope()
        self._receiving = False
        self._progressed = trio.lowlevel.ParkingLot()
        self._drains: list[trio.Event] = []
        self._syncs: list[_Sync] = []
        self._taken: list[T] = []  # from the local end, and not handed to the dealer yet
        self.dropped = 0
        self.untold = 0  # of those, dropped by peers and not told by a drain yet

    def __repr__(self) -> str:
        return f"outgoing {self.name!r}: {self.codec.schema}"

    @property
    def links(self) -> SendLinks:
        """The peers."""
        return self.dealer.links

    # The pump

    async def run(self) -> None:
        """Takes values until the local end has ended, or is hung up; then closes it."""
        try:
            while not self._done:
                with self._attention:
                    await self._pump()
                self._attention = trio.CancelScope()
            self._tell_end()
        finally:
            self._close_memory()
            if self._memory is None:
                await self._end.aclose()
            self.closed.set()
        self.look_around()

    @property
    def _done(self) -> bool:
        return self.ended or (self.finished and not self._taken)

    async def _pump(self) -> None:
        while not self._done:
            self.look_around()
            room = min(self.dealer.room, self._left + len(self._taken))
            if room <= 0:
                await self._progressed.park()
                continue
            if not self._take(room) and not self.finished:
                await self._receive(1)  # a lone value goes at once
            elif not self.finished:
                await self._gather(room)
            self._deal()
            if self._streaming:  # a whole batch may have been there, so that nothing was waited for
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _deal(self) -> None:
        try:
            self.dealer.deal(self._taken)
        except NetchanError as error:
            self._on_failure(error)
            self.abandon("the program failed")
        self._tell_end()

    async def _gather(self, room: int) -> None:
        """Lets a busy sender fill a batch: half a window, so that one half is on its way while the other is filled.

        A batch costs as much as a hundred values, and so does finding nothing to take. So it depends on how the last
        batch came about. Where it was filled, the sender is taken to be streaming: the pump sleeps for `NAP`, if the
        local end can hold meanwhile what comes, or waits in `receive`, for `NAP` at most in all. Where it was not, the
        pump only looks again as long as each turn of the scheduler brings something, but for one.
        """
        enough = min(room, self.dealer.half_a_window)
        if self._streaming and self._naps:
            if len(self._taken) < enough:
                await trio.sleep(NAP)
                self._take(room)
        elif self._streaming:
            with trio.CancelScope(deadline=trio.current_time() + NAP):
                await self._receive(enough)
        else:
            idle = 0
            while len(self._taken) < enough and idle < 2 and not self.finished:
                before = len(self._taken)
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._take(room)
                idle = idle + 1 if len(self._taken) == before else 0
        self._streaming = len(self._taken) >= min(enough, FEW)

    async def _receive(self, enough: int) -> None:
        """Waits for values until `enough` are taken; each is recorded before anything else can happen."""
        receive, taken = self._end.receive, self._taken
        before = len(taken)
        self._receiving = True
        try:
            while len(taken) < enough:
                taken.append(await receive())
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self.finished = True  # all send ends are closed; or the program has closed this one, which it handed over
        except Exception as error:
            self._on_failure(error)
            self.abandon("the program failed")
        finally:
            self._receiving = False
            self._has_taken(len(taken) - before)

    def _has_taken(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self.finished = True

    def _take(self, room: int) -> bool:
        """Takes what is there, until `room` values are taken. Whether any are."""
        if self._memory is None:
            return bool(self._taken)
        receive, record = self._memory.receive_nowait, self._taken.append
        before = len(self._taken)
        try:
            for _ in range(min(room - before, self._left)):
                record(receive())
        except trio.WouldBlock:
            pass
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self.finished = True
        self._has_taken(len(self._taken) - before)
        return bool(self._taken)

    def _close_memory(self) -> None:
        """Closes the local end, which a memory channel's does at once; what is left in it is dropped."""
        if self._memory is None or self._closed_memory:
            return
        self._closed_memory = True
        statistics = self._memory.statistics()
        if statistics.open_receive_channels == 1:  # else a clone of the program's has it
            self._drop(statistics.current_buffer_used, "left in the channel when it was closed")
        self._memory.close()

    # Peers

    def attach(self, link: SendLink) -> None:
        """One more peer to deal to."""
        self.links.add(link)
        self._progress()

    def acknowledged_by(self, link: SendLink, count: int) -> None:
        self.dealer.acknowledged_by(link, count)
        for sync in self._syncs:
            if sync.targets.get(link, math.inf) <= link.window.acknowledged:
                del sync.targets[link]
                sync.changed.set()
        self._progress()

    def detach(self, link: SendLink, code: Code | None, message: str) -> None:
        """The peer is gone, with its last word or (None) lost. What it had not acknowledged comes back."""
        back = self.dealer.take_back(link)
        for sync in self._syncs:
            target = sync.targets.pop(link, 0)
            covered = {value.order for value in back[: max(0, target - link.window.acknowledged)]}
            if self.ended:
                sync.dropped += len(covered)
            elif code is None:
                sync.lost = sync.lost or bool(covered)
            else:
                sync.orders |= covered
            sync.changed.set()
        if self.ended:
            self._drop(len(back), self._ending)
        else:
            if code is Code.VALUE_REFUSED and back:
                refused = attrs.evolve(back[0], refusals=back[0].refusals + 1)
                if refused.refusals > self._max_redeliveries:
                    back.pop(0)
                    logger.error("channel %r: %s; the value was refused %d times", self.name, message, refused.refusals)
                    self._drop(1, "it was refused too often", by_peer=True, of={refused.order})
                else:
                    back[0] = refused
            self.dealer.put_back(back)
        self._on_detached(self, code, message)
        self._progress()

    def _progress(self) -> None:
        """Something has changed for the better: credit, or values that came back."""
        self.dealer.deal_waiting()
        self._progressed.unpark_all()
        self._tell_end()
        for sync in self._syncs:
            if sync.orders:
                sync.orders &= self.dealer.outstanding()
                sync.changed.set()
        self.nudge()

    def _tell_end(self) -> None:
        """A peer is told the end only when no other can bring anything back any more."""
        dealer = self.dealer
        if self.finished and not self.ended and not dealer.waiting and not self._taken:
            for link in self.links:
                if not link.closing and dealer.unacknowledged == link.window.unacknowledged:
                    link.close(Code.FINISHED)

    # Ending

    def hang_up(self) -> None:
        """Ends the channel: peers are told, and what was not delivered is dropped once they have said how much was."""
        if not self.ended:
            self.abandon("it was hung up")
            for link in list(self.links):
                link.close(Code.HUNG_UP)

    def abandon(self, reason: str, *, by_peer: bool = False) -> None:
        """Ends the channel without telling anybody, and drops what was not delivered. `by_peer`: a drain tells it."""
        if not self.ended:
            self.ended = True
            self._ending = reason
            self._drop_waiting(by_peer=by_peer)
            self._close_memory()
            self._progressed.unpark_all()
            self._attention.cancel()

    async def finish(self) -> None:
        """Waits, after the program has closed its end, until peers have taken and acknowledged all, or none is left."""
        while self.links and not self.ended:
            await self._progressed.park()

    def _drop_waiting(self, *, by_peer: bool) -> None:
        waiting = self.dealer.waiting
        orders = {value.order for value in waiting}
        count = len(waiting) + len(self._taken)
        waiting.clear()
        self._taken.clear()
        self._drop(count, self._ending, by_peer=by_peer, of=orders)

    def _drop(self, count: int, reason: str, *, by_peer: bool = False, of: set[int] | None = None) -> None:
        if count:
            self.dropped += count
            if by_peer:
                self.untold += count
            logger.warning("channel %r: %d values dropped: %s", self.name, count, reason)
            for sync in self._syncs:
                covered = sync.orders & (of or set())
                sync.orders -= covered
                sync.dropped += len(covered)

    # Drain, sync, statistics

    @property
    def sender_closed(self) -> bool:
        """Whether the program has closed its end, so that what is in the channel is all there will be."""
        if self.finished:
            return True
        return self._memory is not None and self._memory.statistics().open_send_channels == 0

    @property
    def settled(self) -> bool:
        """Whether nothing is left on the way, as far as can be seen while the pump is not inside `receive`."""
        return self._hands_empty and not self._in_local_end()

    @property
    def _hands_empty(self) -> bool:
        """Whether all that was taken is acknowledged."""
        return not self._taken and self.dealer.idle

    def _in_local_end(self) -> int:
        """How many values are in the local end, and in the hands of blocked senders."""
        if self._memory is None or self._closed_memory or self.finished:
            return 0
        statistics = self._memory.statistics()
        return statistics.current_buffer_used + statistics.tasks_waiting_send

    def look_around(self) -> None:
        """Ends the drains that wait, if nothing is left. Only for when the pump is not inside `receive`."""
        if self._drains and self.settled:
            for drain in self._drains:
                drain.set()

    def nudge(self) -> None:
        """Has someone look around: the pump, if it is inside `receive`."""
        if self._drains and self._hands_empty:
            if self._receiving and self._memory is not None:
                self._attention.cancel()
            else:
                self.look_around()

    async def drain(self) -> None:
        """Waits until all that is sent into the channel, before and meanwhile, is acknowledged."""
        before = self.dropped - self.untold
        done = trio.Event()
        self._drains.append(done)
        try:
            self.nudge()
            while not done.is_set():
                # A blocked sender that is cancelled makes no event; so while nothing else is left, look now and then.
                blocked = not self._receiving and self._hands_empty
                with trio.move_on_after(0.05 if blocked else math.inf):
                    await done.wait()
                self.nudge()
        finally:
            self._drains.remove(done)
        count = self.dropped - before
        if count:
            self.untold = 0
            raise values_dropped(self.name, count)

    async def sync(self) -> None:
        """Waits until what peers hold now is acknowledged, by them or by those it is handed on to."""
        targets = {link: link.window.sent for link in self.links if link.window.unacknowledged}
        sync = _Sync(targets)
        self._syncs.append(sync)
        try:
            while (sync.targets or sync.orders) and not sync.lost:
                await sync.changed.wait()
                sync.changed = trio.Event()
        finally:
            self._syncs.remove(sync)
        if sync.lost:
            raise ConnectionLostError(
                f"{self.name}: expected every peer to acknowledge, got one whose connection was lost", channel=self.name
            )
        if sync.dropped:
            self.untold = max(0, self.untold - sync.dropped)
            raise values_dropped(self.name, sync.dropped)

    def statistics(self) -> ChannelStatistics:
        dealer = self.dealer
        return ChannelStatistics(
            direction=Direction.SEND,
            value_type=str(self.codec.schema),
            peers=len(self.links),
            sent=dealer.sent,
            acknowledged=dealer.acknowledged,
            unacknowledged=dealer.unacknowledged,
            waiting=self._in_local_end() + len(self._taken) + len(dealer.waiting),
            redelivered=dealer.redelivered,
            dropped=self.dropped,
            bytes_sent=dealer.bytes_sent,
        )


def values_dropped(name: str, count: int) -> ValuesDroppedError:
    """For a drain or sync that covered values which were dropped."""
    message = f"{name}: expected every value to be delivered, got {count} dropped"
    return ValuesDroppedError(message, channel=name, count=count)
