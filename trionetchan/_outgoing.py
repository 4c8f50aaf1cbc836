"""A channel whose values leave this process: the pump that takes them from the local end, and the peers they go to.

There is one pump for each channel, however many peers are bound. It takes values only while some peer has credit, and
records each before it does anything else; so a value is always in exactly one place: in the local end, in `_taken`, in
`_waiting`, or in the window of one peer. What a peer had not acknowledged when it went comes back to `_waiting`, in the
order in which it was first taken, and is dealt before anything new.

The pump sits in a cancel scope, `_attention`, that others cancel to make it look around: a hang-up, or a drain that
needs to know that the local end is really empty. (trio hands a value to a waiting receiver before that task runs. For
a moment it is in no statistics and in no record; only the pump itself, outside of `receive`, can tell.)
"""

from __future__ import annotations

import heapq
import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import attrs
import trio

from ._errors import Code, ConnectionLostError, LimitError, NetchanError, UnfitValue, ValuesDroppedError, ValueTypeError
from ._limits import Limits
from ._links import SendLink, SendLinks
from ._protocol._cbor import ARRAY, array_of, head
from ._protocol.window import Batch
from ._statistics import ChannelStatistics, Direction
from ._values import Codec

__all__ = ["Outgoing", "values_dropped"]

T = TypeVar("T")

RUN = 16  # values dealt to one of several peers before the next is looked at
NAP = 0.001  # seconds that a batch may take to fill
BATCH_SIZE = 64 * 2**10  # bytes of payload above which a batch is split, so that bytes of credit need not be large

logger = logging.getLogger("trionetchan")


@attrs.frozen(order=True)
class _Waiting:
    """One value that was taken and is in no peer's hands: its bytes, in two parts. Ordered as first taken."""

    order: int
    payload: bytes = attrs.field(order=False)
    head: bytes = attrs.field(order=False, default=b"")
    sent: bool = attrs.field(order=False, default=False)  # a peer has had it before
    refusals: int = attrs.field(order=False, default=0)

    @property
    def size(self) -> int:
        return len(self.head) + len(self.payload)


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
        self.links = SendLinks()
        self.finished = False  # nothing more will be taken from the local end
        self.ended = False  # hung up, or without its peer: what is left is dropped
        self.closed = trio.Event()  # the pump has ended and the local end is closed
        self._end = end
        self._memory = end if isinstance(end, trio.MemoryReceiveChannel) else None
        self._closed_memory = False
        self._streaming = False
        self._naps = self._memory is not None and self._memory.statistics().max_buffer_size >= 512
        self._left = sys.maxsize if count is None else count  # values that may still be taken
        self._limits = limits
        self._on_failure = on_failure
        self._on_detached = on_detached
        self._ending = ""  # why it has ended
        self._attention = trio.CancelScope()
        self._receiving = False
        self._credit = trio.lowlevel.ParkingLot()
        self._gone = trio.lowlevel.ParkingLot()
        self._drains: set[trio.Event] = set()
        self._syncs: list[_Sync] = []
        # Where a value can be, from the local end to a peer
        self._taken: list[T] = []
        self._batch_count = RUN  # values that make a batch of about `BATCH_SIZE`, as far as the last one tells
        self._order = 0  # of the next value to be encoded
        self._waiting: list[_Waiting] = []  # a heap
        self.unacknowledged = 0
        # Counts
        self._sent = 0
        self._acknowledged = 0
        self._redelivered = 0
        self._bytes_sent = 0
        self.dropped = 0
        self.untold = 0  # of those, dropped by peers and not told by a drain yet

    def __repr__(self) -> str:
        return f"outgoing {self.name!r}: {self.codec.schema}"

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
            room = self._room()
            if room <= 0:
                await self._credit.park()
                continue
            if not self._take(room) and not self.finished:
                await self._receive(1)  # a lone value goes at once
            elif not self.finished:
                await self._gather(room)
            self._deal()
            if self._streaming:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _gather(self, room: int) -> None:
        """Lets a busy sender fill a batch: half a window, so that one half is on its way while the other is filled.

        A batch costs as much as a hundred values, and so does finding nothing to take. So it depends on how the last
        batch came about. Where it was filled, the sender is taken to be streaming: the pump sleeps for `NAP`, if the
        local end can hold meanwhile what comes, or waits in `receive`, for `NAP` at most in all. Where it was not, the
        pump only looks again as long as each turn of the scheduler brings something, but for one.
        """
        link = self.links.next()
        enough = min(room, link.window.window // 2 if link is not None else 1)
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
        self._streaming = len(self._taken) >= min(enough, RUN)

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

    # Dealing

    def _room(self) -> int:
        """How many values may be taken now: as many as one peer can have at once.

        A remainder of the window is not worth a batch while the peer has most of it: its acknowledgements come.
        """
        link = None if self._waiting else self.links.next()
        if link is None:
            return 0
        window = link.window
        credit = window.credit
        if credit < window.window // 4 and window.unacknowledged > window.window // 2:
            return 0
        most = self._left + len(self._taken) if len(self.links) == 1 else RUN
        return min(credit, self._batch_count, most)

    def _deal(self) -> None:
        """Gives what waits, and then what was taken, to peers, as far as their credit goes."""
        self._deal_waiting()
        while self._taken:
            link = None if self._waiting else self.links.next()
            count = min(len(self._taken), self._batch_count)
            if link is not None:
                count = min(count, link.window.credit, sys.maxsize if len(self.links) == 1 else RUN)
            values = self._taken[:count]
            del self._taken[:count]
            batch = self._batch(values)
            if link is not None and batch is not None and self._may_go(link, batch):
                self._send(link, batch)
                self._sent += count
                self._order += count
            else:
                self._put_aside(values)
        self._tell_end()

    def _send(self, link: SendLink, batch: Batch) -> None:
        link.send(batch)
        self.links.changed(link)
        self.unacknowledged += batch.count
        self._bytes_sent += batch.size

    def _batch(self, values: list[T]) -> Batch | None:
        """The values encoded together, if they fit."""
        try:
            lead, payload = self.codec.encode_parts(values)
        except UnfitValue:
            return None
        batch = Batch(payload, len(values), self._order, head=lead)
        self._batch_count = max(1, BATCH_SIZE * batch.count // batch.size)
        return batch

    def _may_go(self, link: SendLink, batch: Batch) -> bool:
        if batch.count > 1 and batch.size > 4 * BATCH_SIZE:
            return False
        limit = min(self._limits.max_value_size, link.connection.session.max_value_size)
        return batch.size <= limit and link.window.fits(batch.size, batch.count)

    def _put_aside(self, values: list[T]) -> None:
        """Encodes values one by one, to be dealt as peers have room. Of one that does not fit the program is told."""
        for value in values:
            try:
                waiting = self._waiting_value(value)
            except NetchanError as error:
                self._deal_waiting()
                self._on_failure(error)
                self.abandon("the program failed")
                return
            heapq.heappush(self._waiting, waiting)
        self._deal_waiting()

    def _waiting_value(self, value: T) -> _Waiting:
        try:
            lead, payload = self.codec.encode_parts([value])
        except UnfitValue as error:
            raise ValueTypeError(f"{self.name}: {error}", channel=self.name) from None
        lead, payload = (lead[1:], payload) if lead else (b"", payload[1:])  # without the array's head
        limit = self._limits.max_value_size
        if (size := len(lead) + len(payload)) > limit:
            message = f"{self.name}: expected a value of at most {limit} bytes, got {size} bytes"
            raise LimitError(message, channel=self.name)
        self._order += 1
        return _Waiting(self._order - 1, payload, lead)

    def _deal_waiting(self) -> None:
        """Gives values that wait to peers, in order, as many at a time as fit."""
        waiting = self._waiting
        while waiting:
            size = waiting[0].size
            link = self.links.next_for(size + 1)
            if link is None:
                return
            limit = link.connection.session.max_value_size
            if size > limit:  # this peer can't have it, another might
                link.close(Code.LIMIT, f"{self.name}: expected a value of at most {limit} bytes, got {size} bytes")
                continue
            run = [heapq.heappop(waiting)]
            size += 9  # with the largest head of an array
            while waiting and len(run) < RUN and waiting[0].size <= limit:
                size += waiting[0].size
                if size > BATCH_SIZE or not link.window.fits(size, len(run) + 1):
                    break
                run.append(heapq.heappop(waiting))
            if len(run) == 1:
                batch = Batch(run[0].payload, 1, run, head=head(ARRAY, 1) + run[0].head)
            else:
                batch = Batch(array_of([value.head + value.payload for value in run]), len(run), run)
            self._send(link, batch)
            again = sum(value.sent for value in run)
            self._redelivered += again
            self._sent += len(run) - again

    # Peers

    def attach(self, link: SendLink) -> None:
        """One more peer to deal to."""
        self.links.add(link)
        self._progress()

    def acknowledged_by(self, link: SendLink, count: int) -> None:
        self._acknowledged += count
        self.unacknowledged -= count
        self.links.changed(link)
        for sync in self._syncs:
            if sync.targets.get(link, math.inf) <= link.window.acknowledged:
                del sync.targets[link]
                sync.changed.set()
        self._progress()

    def detach(self, link: SendLink, code: Code | None, message: str) -> None:
        """The peer is gone, with its last word or (None) lost. What it had not acknowledged comes back."""
        self.links.remove(link)
        back = list(self._unacknowledged_by(link))
        self.unacknowledged -= len(back)
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
                if refused.refusals > self._limits.max_redeliveries:
                    back.pop(0)
                    logger.error("channel %r: %s; the value was refused %d times", self.name, message, refused.refusals)
                    self._drop(1, "it was refused too often", by_peer=True, of={refused.order})
                else:
                    back[0] = refused
            for value in back:
                heapq.heappush(self._waiting, value)
        self._gone.unpark_all()
        self._on_detached(self, code, message)
        self._progress()

    def _unacknowledged_by(self, link: SendLink) -> Iterator[_Waiting]:
        for batch, skip in link.window.unacknowledged_batches():
            if isinstance(batch.origin, int):
                for order, payload in enumerate(batch.values(skip), batch.origin + skip):
                    yield _Waiting(order, payload, sent=True)
            else:
                run: list[_Waiting] = batch.origin  # type: ignore[assignment]
                for value in run[skip:]:
                    yield attrs.evolve(value, sent=True)

    def _progress(self) -> None:
        """Something has changed for the better: credit, or values that came back."""
        self._deal_waiting()
        self._credit.unpark_all()
        self._tell_end()
        for sync in self._syncs:
            if sync.orders:
                sync.orders &= self._outstanding()
                sync.changed.set()
        self.nudge()

    def _outstanding(self) -> set[int]:
        """The orders of all values that were taken and are not acknowledged."""
        orders = {value.order for value in self._waiting}
        for link in self.links:
            orders.update(value.order for value in self._unacknowledged_by(link))
        return orders

    def _tell_end(self) -> None:
        """A peer is told the end only when no other can bring anything back any more."""
        if self.finished and not self.ended and not self._waiting and not self._taken:
            for link in self.links:
                if not link.closing and self.unacknowledged == link.window.unacknowledged:
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
            self._gone.unpark_all()
            self._attention.cancel()

    async def finish(self) -> None:
        """Waits, after the program has closed its end, until peers have taken and acknowledged all, or none is left."""
        while self.links and not self.ended:
            await self._gone.park()

    def _drop_waiting(self, *, by_peer: bool) -> None:
        orders = {value.order for value in self._waiting}
        count = len(self._waiting) + len(self._taken)
        self._waiting.clear()
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
        if self._taken or self._waiting or self.unacknowledged:
            return False
        return not self._in_local_end()

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
        if self._drains and not (self._taken or self._waiting or self.unacknowledged):
            if self._receiving and self._memory is not None:
                self._attention.cancel()
            else:
                self.look_around()

    async def drain(self) -> None:
        """Waits until all that is sent into the channel, before and meanwhile, is acknowledged."""
        before = self.dropped - self.untold
        done = trio.Event()
        self._drains.add(done)
        try:
            self.nudge()
            while not done.is_set():
                # A blocked sender that is cancelled makes no event; so while nothing else is left, look now and then.
                blocked = not (self._receiving or self._taken or self._waiting or self.unacknowledged)
                with trio.move_on_after(0.05 if blocked else math.inf):
                    await done.wait()
                self.nudge()
        finally:
            self._drains.discard(done)
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
        return ChannelStatistics(
            direction=Direction.SEND,
            value_type=str(self.codec.schema),
            peers=len(self.links),
            sent=self._sent,
            acknowledged=self._acknowledged,
            unacknowledged=self.unacknowledged,
            waiting=self._in_local_end() + len(self._taken) + len(self._waiting),
            redelivered=self._redelivered,
            dropped=self.dropped,
            bytes_sent=self._bytes_sent,
        )


def values_dropped(name: str, count: int) -> ValuesDroppedError:
    """For a drain or sync that covered values which were dropped."""
    message = f"{name}: expected every value to be delivered, got {count} dropped"
    return ValuesDroppedError(message, channel=name, count=count)
