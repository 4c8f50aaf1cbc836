"""A channel whose values arrive in this process: the peers they come from, and the deliverer that puts them in.

What arrives is delivered at once, by the connection's reader, as long as the local end takes it without waiting; from
there on the deliverer, one task for each channel, waits for the user's program. Delivering and counting are one step,
without a checkpoint between; an acknowledgement tells what was delivered, and nothing else.

Each bound importer of a receiving export holds a share (see `shares`); when it is complete, the channel ends. On an
importer the same rule stands with one share, that of its exporter.

    state       to           when
    OPEN        ENDING       complete; hang-up; the local receiver is gone; the program failed; the block was left
    ENDING      CLOSED       no `send` is under way any more: peers are told, and the local end is closed

`closed` is set when the deliverer has ended too.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Collection
from typing import Any, Generic, TypeVar

import attrs
import trio

from .._codec import Codec
from .._errors import Code
from .._ports import ChannelOwner, ReceivingLink
from .._statistics import ChannelStatistics, Direction
from .deliveries import Hand
from .outlet import Outlet, Taken
from .pacing import BATCH_DELAY
from .shares import Shares
from .sources import Backlog, Source, SourceState

__all__ = ["Incoming"]

T = TypeVar("T")


class _State(enum.Enum):
    OPEN = "open"
    ENDING = "ending"
    CLOSED = "closed"


class _Stopping(enum.Enum):
    """How far a graceful stop is."""

    NOT = "not"
    NOTHING_TAKEN = "nothing taken"
    """What arrives from now on stays with its sender; what had arrived is delivered."""
    NOTHING_DELIVERED = "nothing delivered"
    """So does what has not been delivered yet."""


@attrs.define(eq=False)
class Counts:
    """What an incoming channel counts, in values and bytes."""

    received: int = 0
    bytes_received: int = 0
    dropped: int = 0
    undelivered: int = 0
    """What had arrived and was not delivered when the channel ended."""


class Incoming(Generic[T]):
    """One incoming channel. A `ReceivingChannel` to its links.

    It is long because delivering, counting and ending must be seen side by side: each may happen while the deliverer
    is inside a `send`.
    """

    def __init__(
        self,
        name: str,
        end: trio.abc.SendChannel[T],
        codec: Codec[T],
        *,
        window: int,
        importers: int | None,
        owner: ChannelOwner[Incoming[Any]],
        max_lost_bytes: float = math.inf,
    ) -> None:
        self.name = name
        self.codec = codec
        self.window = window
        self.counts = Counts()
        self.closed = trio.Event()
        """The deliverer has ended, peers are told, and the local end is closed."""
        self._state = _State.OPEN
        self._code: Code | None = Code.FINISHED  # what peers are told at the end
        self._keep_end = False
        self._outlet = Outlet(end)
        self._owner = owner
        self._shares = Shares(importers)
        self._sources: dict[ReceivingLink, Source] = {}
        self._backlog = Backlog(name, codec)
        self._max_lost_bytes = max_lost_bytes
        self._lost_bytes = 0  # of peers that are lost, and whose values are still to be delivered
        self._attention = trio.CancelScope()
        self._leased_until = math.inf  # the deadline of that
        self._work = trio.lowlevel.ParkingLot()
        self._stopping = _Stopping.NOT
        self._delivered = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"incoming {self.name!r}: {self.codec.schema}"

    # How it stands

    @property
    def links(self) -> Collection[ReceivingLink]:
        """The peers."""
        return self._sources.keys()

    @property
    def ended(self) -> bool:
        """Whether nothing more is delivered."""
        return self._state is not _State.OPEN

    @property
    def done(self) -> bool:
        """Whether nothing can happen on it any more."""
        return self.closed.is_set() and not self._sources

    @property
    def unbuffered(self) -> bool:
        """Whether a value that is delivered is in the hands of a waiting task."""
        return self._outlet.unbuffered

    @property
    def why_ended(self) -> str:
        """For people: why nothing more is delivered."""
        if self._code is Code.FINISHED:
            return f"it ended after {self._shares} expected importers (importers=) had finished"
        return "it has ended" if self._code is None else _WORDS.get(self._code, "it has ended")

    # Peers

    def attach(self, link: ReceivingLink) -> None:
        """One more peer: it adopts a share that a crash has left, or gets a new one."""
        self._sources[link] = source = Source(link, self._shares.bind())
        if link.settles:
            source.hand = Hand(self.name, link, functools.partial(self._go_on, source))
        if link.exhausted:  # a counted import of no values
            self._release(source, Code.COUNT_REACHED)

    def arrived(self, link: ReceivingLink, payload: bytes, *, redelivered: bool = False) -> None:
        """As the port `ReceivingChannel` says."""
        self.counts.bytes_received += len(payload)
        source = self._sources.get(link)
        if self.ended or source is None or source.state is not SourceState.BOUND:
            return
        if self._stopping is not _Stopping.NOT:
            source.ignored = True
            return
        self._backlog.add(source, payload, redelivered=redelivered)
        if not self._outlet.sending:
            self._deliver()

    def sender_left(self, link: ReceivingLink, code: Code | None, message: str) -> None:
        """As the port `ReceivingChannel` says.

        What has arrived is still delivered, unless the sender hung up; or is lost, and could not hear what the program
        says of each value.
        """
        source = self._sources.get(link)
        if source is None:
            return
        if code in (Code.HUNG_UP, Code.WITHDRAWN) or (code is None and source.hand is not None):
            source.end(SourceState.DISCARDED, code, message)
            self._backlog.discard(source, but_first=self._outlet.sending)
            if self._is_sending_of(source):
                self._attention.cancel()
        elif code is None and source.state is not SourceState.REFUSED and not self._keeps(source):
            dropped = link.undelivered - self._is_sending_of(source)
            self._drop(dropped, "their importer is lost, and too much of lost ones waits already")
            source.end(SourceState.DISCARDED, None, message)
            self._backlog.discard(source, but_first=self._outlet.sending)
            self._lost_bytes -= source.kept
            source.kept = 0
        elif code is None:
            if source.state in (SourceState.BOUND, SourceState.REFUSED) or source.ignored:
                self._shares.orphan(source.share)  # at once: the next import adopts it while values are still delivered
            if source.state is SourceState.BOUND or source.ignored:
                source.end(SourceState.LOST, None, message)
        elif source.state is SourceState.BOUND and not source.ignored:
            source.end(SourceState.LEAVING, code, message)
        self._settle(source)

    def _keeps(self, source: Source) -> bool:
        """Whether what a lost sender has sent is still to be delivered: ever new ones could fill the memory with it."""
        source.kept = self._backlog.size_of(source)
        self._lost_bytes += source.kept
        return self._lost_bytes <= self._max_lost_bytes

    def lease_renewed(self, link: ReceivingLink) -> None:
        """As the port `ReceivingChannel` says."""
        if self._outlet.sending:
            self._leased_until = self._attention.deadline = link.lease_deadline
        else:
            self._deliver()

    def _is_sending_of(self, source: Source) -> bool:
        """Whether a value of this peer is in the deliverer's `send`; it counts if it gets through."""
        return self._outlet.sending and self._backlog.source is source

    def _settle(self, source: Source) -> None:
        """Lets a peer go that sends no more, once nothing of it is being delivered any more."""
        if self._is_sending_of(source) or source.link not in self._sources:
            return
        undelivered, unsettled = source.link.undelivered, source.link.unsettled
        if source.ignored and source.state is SourceState.LOST and not self._backlog.holds(source):
            unsettled = 0  # what it still has, it keeps
        match source.state:
            case SourceState.DISCARDED:
                if undelivered and source.code is not None:
                    self._drop(undelivered, f"their sender hung up: {source.message}".removesuffix(": "))
                self._release(source, source.code)
            case SourceState.LEAVING | SourceState.LOST if not unsettled:
                self._release(source, source.code)
            case SourceState.REFUSED if self._backlog.source is not source or not self._backlog.values:
                self._release(source, Code.VALUE_REFUSED)
            case _:
                pass

    # A graceful stop

    def stop(self) -> None:
        """What arrives from now on is not taken: it stays with its sender."""
        self._stopping = _Stopping.NOTHING_TAKEN

    async def wait_delivered(self) -> None:
        """After `stop`: waits until what had arrived is delivered."""
        while not (self.ended or self._backlog.empty):
            await self._delivered.park()

    async def give_back(self) -> None:
        """What is not delivered stays with its sender, too; returns when no delivery of it is under way any more."""
        self._stopping = _Stopping.NOTHING_DELIVERED
        for source in self._sources.values():
            if source.state in _PRESENT and self._backlog.holds(source):
                source.ignored = True
                self._backlog.discard(source, but_first=self._outlet.sending)
                if self._is_sending_of(source):
                    self._attention.cancel()
        self._delivered.unpark_all()
        while (current := self._backlog.source) is not None and self._is_sending_of(current):
            if not current.ignored or current.state not in _PRESENT:
                return
            await self._delivered.park()

    @property
    def undelivered(self) -> int:
        """How many values of peers that are there have arrived and are not delivered."""
        return sum(source.link.undelivered for source in self._sources.values() if not source.ignored)

    @property
    def orphaned(self) -> bool:
        """Whether a peer is lost that has not finished, and no other has taken its place."""
        return not self.ended and self._shares.orphaned

    def _release(self, source: Source, code: Code | None) -> None:
        """The last word to a peer, and what becomes of its share. `code`: how it ended, None for a lost one."""
        del self._sources[source.link]
        self._lost_bytes -= source.kept
        source.state = SourceState.CLOSED
        if source.hand is not None:
            source.hand.lose(_WHY_GONE.get(code, "the import has ended"))
        by_receiver = code in (Code.COUNT_REACHED, Code.VALUE_REFUSED)
        source.link.close(code if by_receiver and code else Code.FINISHED, source.message if by_receiver else "")
        if code in (Code.FINISHED, Code.COUNT_REACHED, Code.HUNG_UP):
            self._shares.release(source.share)
        elif code is Code.WITHDRAWN:
            self._shares.withdraw(source.share)
        else:
            self._shares.orphan(source.share)
        self._owner.peer_left(self, code, source.message)
        if self._shares.complete and not self._sources:
            self.finish(Code.FINISHED)

    # Ending

    def finish(self, code: Code | None, *, keep_end: bool = False) -> None:
        """Ends the channel: the deliverer stops, tells the peers that are left, and closes the local end.

        Code None tells them nothing: their connection ends. `keep_end` leaves the local end open, for a stream that is
        not complete.
        """
        if self._state is _State.OPEN:
            self._state = _State.ENDING
            self._code = code
            self._keep_end = keep_end
            if not self._outlet.sending:
                self._conclude()
            self._attention.cancel()
            self._owner.channel_ended(self)

    def notice_gone_receiver(self) -> None:
        """trio tells a sender only at its next `send` that all receivers are gone; this notices it in between."""
        if not self.ended and self._outlet.receiver_gone:
            self.finish(Code.RECEIVER_GONE)

    def _conclude(self) -> None:
        """The last word to every peer, and the end of the local end, as soon as no delivery is under way."""
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._delivered.unpark_all()
        sources, self._sources = self._sources, {}
        for source in sources.values():
            self.counts.undelivered += source.link.undelivered
            if source.hand is not None:
                source.hand.close(_WHY_CLOSED.get(self._code, "the block was left"))
            if self._code is not None:
                source.link.close(self._code, f"{self.name}: {_WORDS.get(self._code, '')}")
        # An end that nobody can read from any more can't be taken for a complete stream.
        if not self._keep_end or self._outlet.receiver_gone:
            self._outlet.close()

    # The deliverer

    async def run(self) -> None:
        """Delivers what the local end does not take at once, until the channel has ended; then closes it."""
        sleeps = self._outlet.may_sleep
        try:
            while not self.ended:
                with self._attention:
                    await self._serve(sleeps=sleeps)
                self._attention = trio.CancelScope()
                self._leased_until = math.inf
                self._after_interruption()
        finally:
            self._conclude()
            try:
                if not self._keep_end:
                    await self._outlet.aclose()
            finally:
                self.closed.set()

    async def _serve(self, *, sleeps: bool) -> None:
        outlet, backlog = self._outlet, self._backlog
        while not self.ended:
            if not (backlog.values or self._next_values()) or not self._is_leased():
                await self._work.park()
                continue
            outlet.sending = True  # it stays so when it is cancelled, until that is seen to
            try:
                await outlet.send(backlog.values[-1])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                outlet.sending = False
                self.finish(Code.RECEIVER_GONE)
                return
            except Exception as error:
                outlet.sending = False
                self._owner.failed(error)
                self.finish(Code.RECEIVER_GONE, keep_end=True)
                return
            outlet.sending = False
            backlog.values.pop()
            self._count(1, waited=True)
            if sleeps:
                await trio.sleep(BATCH_DELAY)
                self._deliver()

    def _after_interruption(self) -> None:
        """A `send` was cancelled, by a peer that hung up or by the end of the channel: the value was not delivered."""
        self._outlet.sending = False
        source = self._backlog.source
        if source is not None and (source.state is SourceState.DISCARDED or self._stays_with(source)):
            self._backlog.values.clear()
            self._settle(source)
        if not self.ended:
            self._deliver()
        self._delivered.unpark_all()

    def _stays_with(self, source: Source) -> bool:
        """Whether what this source has sent and is not delivered is not to be delivered here."""
        return self._stopping is _Stopping.NOTHING_DELIVERED and source.ignored

    def _next_values(self) -> bool:
        """Whether there are decoded values, or a next batch that gives some, and they may be delivered."""
        backlog = self._backlog
        while self._state is _State.OPEN:
            if backlog.values or backlog.decode_next():
                return backlog.source is None or backlog.source.link.leased
            source = backlog.source
            if source is None or source.state is not SourceState.REFUSED:
                return False
            self._settle(source)  # its next value does not fit
        return False

    def _is_leased(self) -> bool:
        """Whether the next value may be delivered. The program may take it until the lease ends."""
        source = self._backlog.source
        assert source is not None
        link = source.link
        deadline = link.lease_deadline
        if deadline != math.inf and not link.leased:
            return False
        if deadline != self._leased_until:
            self._leased_until = self._attention.deadline = deadline
        return True

    def _deliver(self) -> None:
        """Puts in what the local end takes at once; the deliverer has to wait for the rest."""
        taken = Taken.ALL
        while taken is Taken.ALL and self._next_values():
            count, taken = self._outlet.put(self._backlog.values)
            if count:
                self._count(count, waited=False)
        if taken is Taken.RECEIVER_GONE:
            self.finish(Code.RECEIVER_GONE)
        if self._backlog.values:
            self._work.unpark_all()

    def _count(self, delivered: int, *, waited: bool) -> None:
        """So many values of the current peer are delivered. Without a checkpoint since they were."""
        source = self._backlog.source
        assert source is not None
        self.counts.received += delivered
        self._go_on(source, source.link.delivered(delivered, last=self._backlog.empty, waited=waited))

    def _go_on(self, source: Source, exhausted: bool) -> None:
        """Values of this peer are delivered, or settled; `exhausted`: as many as were to be."""
        if exhausted and source.state in (SourceState.BOUND, SourceState.LEAVING, SourceState.LOST):
            self._release(source, Code.COUNT_REACHED)
        elif source.state is not SourceState.BOUND:
            self._settle(source)
        if self._stopping is not _Stopping.NOT:
            self._delivered.unpark_all()

    def _drop(self, count: int, reason: str) -> None:
        self.counts.dropped += count
        self._owner.log.warning("channel %r: %d values dropped: %s", self.name, count, reason)

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            direction=Direction.RECEIVE,
            value_type=str(self.codec.schema),
            peers=sum(source.state is not SourceState.LOST for source in self._sources.values()),
            received=self.counts.received,
            dropped=self.counts.dropped,
            bytes_received=self.counts.bytes_received,
        )


_PRESENT = (SourceState.BOUND, SourceState.LEAVING, SourceState.REFUSED)
_WORDS = {
    Code.HUNG_UP: "the receiver hung up",
    Code.RECEIVER_GONE: "the receiver is gone",
    Code.FINISHED: "the receiver has left",
}

# Why what the program has in its hands went back.
_WHY_GONE = {
    None: "the connection was lost",
    Code.HUNG_UP: "the exporter hung up",
    Code.VALUE_REFUSED: "a value does not fit",
}
_WHY_CLOSED: dict[Code | None, str] = {Code.HUNG_UP: "it was hung up"}
