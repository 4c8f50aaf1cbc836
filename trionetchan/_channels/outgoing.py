"""A channel whose values leave this process: the pump that takes them from the local end, and what becomes of them.

There is one pump for each channel, however many peers are bound. It takes values only while some peer has credit, and
records each before it does anything else; so a value is always in exactly one place: in the local end, in the hands of
the pump (`_intake`), or with the dealer.

    state       to           when
    OPEN        FINISHED     the program has closed its send ends, or as many values are taken as were to be
    OPEN        LEAVING      the block is being left, and send ends are still open
    (these)     ENDED        hang-up; or the last peer is gone; or the program failed; or the block was left

In OPEN values are taken and dealt. In LEAVING and FINISHED no more are taken, and those that were are dealt. Peers are
told the end in FINISHED only, when no other peer can bring anything back any more; never after LEAVING, which breaks
the program's `send`: one that closes its end then has not finished. In ENDED what is left is dropped.
`closed` is set when the pump has ended too.

The pump sits in a cancel scope, `_attention`, that others cancel to make it look around: a hang-up, or a drain that
needs to know that the local end is really empty. (trio hands a value to a waiting receiver before that task runs. For
a moment it is in no statistics and in no record; only the pump itself, outside of `receive`, can tell.)
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

import trio

from .._batch import Batch
from .._codec import Codec
from .._errors import Code, NetchanError
from .._limits import Limits
from .._ports import ChannelOwner, SendingLink
from .._statistics import ChannelStatistics, Direction
from .dead_letters import DeadLetters
from .dealing import Dealer
from .intake import Intake
from .waits import Waits

__all__ = ["Outgoing"]

T = TypeVar("T")


class _State(enum.Enum):
    OPEN = "open"
    LEAVING = "leaving"
    FINISHED = "finished"
    ENDED = "ended"


class Outgoing(Generic[T]):
    """One outgoing channel. A `SendingChannel` to its links.

    It is long because the pump, the peers and the ways to end must be seen side by side: each may happen while the
    pump is inside `receive`.
    """

    def __init__(
        self,
        name: str,
        end: trio.abc.ReceiveChannel[T],
        codec: Codec[T],
        *,
        window: int,
        count: int | None = None,
        limits: Limits,
        owner: ChannelOwner[Outgoing[Any]],
        dead_letters: DeadLetters[T] | None = None,
    ) -> None:
        self.name = name
        self.codec = codec
        self.window = window
        self.closed = trio.Event()
        """The pump has ended and the local end is closed."""
        self._state = _State.OPEN
        self._why = ""  # it has ended
        self._intake = Intake(end, count)
        self._dealer = Dealer(name, codec, limits)
        self._waits = Waits(name)
        self._owner = owner
        self._max_redeliveries = limits.max_redeliveries
        self._dead_letters = dead_letters
        if dead_letters is not None:
            dead_letters.log = owner.log
            dead_letters.failed = owner.failed
            dead_letters.dropped = lambda count, why: self._drop((), why, more=count, by_peer=True)
        self._attention = trio.CancelScope()
        self._progressed = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"outgoing {self.name!r}: {self.codec.schema}"

    # How it stands

    @property
    def links(self) -> Collection[SendingLink]:
        """The peers."""
        return self._dealer.links

    @property
    def ended(self) -> bool:
        """Whether it was hung up, or is without its peer."""
        return self._state is _State.ENDED

    @property
    def sender_closed(self) -> bool:
        """Whether the program has closed its end, so that what is in the channel is all there will be."""
        return self._state is _State.FINISHED or self._intake.sender_closed

    @property
    def delivered(self) -> bool:
        """Whether all that was accepted is acknowledged, as far as can be seen while the pump is not in `receive`."""
        return self._nothing_taken and not (self._intake.buffered or self._intake.blocked)

    @property
    def complete(self) -> bool:
        """Whether the sender has finished and all is acknowledged."""
        return self._state is _State.FINISHED and self.delivered

    @property
    def done(self) -> bool:
        """Whether nothing can happen on it any more."""
        return self.closed.is_set() and not self.links and (self.ended or self.delivered)

    @property
    def _nothing_taken(self) -> bool:
        """Whether all that was taken is acknowledged."""
        return not (self._intake.taken or self._dealer.waiting or self._dealer.unacknowledged)

    # The pump

    async def run(self) -> None:
        """Takes values until the local end is over, or the channel has ended; then closes the end."""
        try:
            while not self._pump_is_done:
                with self._attention:
                    await self._pump()
                self._attention = trio.CancelScope()
            self._tell_end()
        finally:
            self._drop_taken(self._why)
            self._close_end()
            try:
                await self._intake.aclose()
            finally:
                self.closed.set()
                self._progressed.unpark_all()
        self._look()
        self._look_at_dead_letters()

    @property
    def _pump_is_done(self) -> bool:
        return self.ended or (self._intake.over and not self._intake.taken)

    async def _pump(self) -> None:
        intake = self._intake
        while not self._pump_is_done:
            if self._waits.draining:
                self._look()
            if self._state is _State.LEAVING and not intake.over:
                intake.take_all()
            room = intake.room(self._dealer.room)
            if room <= 0:
                await self._progressed.park()
                continue
            try:
                if not intake.take(room) and not intake.over:
                    await intake.receive(1)  # a lone value goes at once
                elif not intake.over:
                    await intake.gather(room, self._dealer.half_window)
            except Exception as error:  # a foreign end's
                self._fail(error)
            if self.ended:
                return  # with a value, perhaps, that was on its way to the pump when it ended
            self._deal()
            if intake.streaming:  # a whole batch may have been there, so that nothing was waited for
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _deal(self) -> None:
        try:
            self._dealer.deal(self._intake.taken)
        except NetchanError as error:
            self._fail(error)
        self._tell_end()

    def _fail(self, error: Exception) -> None:
        self._owner.failed(error)
        self.abandon("the program failed")

    # Peers

    def attach(self, link: SendingLink) -> None:
        """One more peer to deal to."""
        self._dealer.attach(link)
        self._progress()

    def acknowledged(self, link: SendingLink, count: int) -> None:
        """As the port `SendingChannel` says."""
        self._waits.acknowledged(link, self._dealer.acknowledged(link, count))
        self._progress()

    def link_closed(self, link: SendingLink, code: Code | None, message: str) -> None:
        """As the port `SendingChannel` says."""
        numbers = self._dealer.detach(link)
        self._waits.came_back(link, numbers, lost=code is None and not self.ended)
        if code is Code.VALUE_REFUSED and numbers and not link.settles:
            times = self._dealer.refused(numbers[0])
            if times > self._max_redeliveries:
                self._owner.log.error("channel %r: %s; the value was refused %d times", self.name, message, times)
        self._look_at_returned()
        self._owner.peer_left(self, code, message)
        self._progress()

    def settled(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]], *, accepted: bool) -> None:
        """As the port `SendingChannel` says."""
        if accepted:
            self._waits.acknowledged(link, self._dealer.accepted(link, batches))
        else:
            self._waits.rejected(link, self._dealer.rejected(link, batches))
            self._look_at_returned()
        self._progress()

    def _look_at_returned(self) -> None:
        """Values came back: what becomes of those that are not dealt again."""
        dead = self._dealer.take_dead()
        numbers = [number for number, _ in dead]
        if self.ended:
            self._drop([*numbers, *self._dealer.drop()], self._why)
        elif dead and self._dead_letters is not None:
            self._waits.buried(numbers)
            self._dead_letters.add(payload for _, payload in dead)
        elif dead:
            self._owner.log.error("channel %r: %d values came back too often", self.name, len(dead))
            self._drop(numbers, "they came back too often", by_peer=True)

    def _look_at_dead_letters(self) -> None:
        """There will be no more of them once the channel is over."""
        if self._dead_letters is not None and (self.ended or (self.closed.is_set() and self.complete)):
            self._dead_letters.finish()

    def _progress(self) -> None:
        """Something has changed for the better: credit, or values that came back."""
        self._dealer.deal_waiting()
        self._progressed.unpark_all()
        self._tell_end()
        self._look_at_dead_letters()
        if self._waits.draining and self._nothing_taken:
            self._waits.look_again()

    def _tell_end(self) -> None:
        """A peer is told the end only when no other can bring anything back any more.

        One whose program settles each value could bring back what it has itself, and would be told too early.
        """
        if self._intake.finished and self._state is _State.OPEN:
            self._state = _State.FINISHED
        dealer = self._dealer
        if self._state is _State.FINISHED and not (dealer.waiting or self._intake.taken):
            for link in list(dealer.links):
                if not link.closing and dealer.unacknowledged == (0 if link.settles else link.unacknowledged):
                    link.close(Code.FINISHED)

    # Ending

    def hang_up(self) -> None:
        """Ends the channel: peers are told, and what was not delivered is dropped once they have said how much was."""
        if not self.ended:
            self.abandon("it was hung up")
            for link in list(self.links):
                link.close(Code.HUNG_UP)

    def abandon(self, why: str, *, by_peer: bool = False) -> None:
        """Ends the channel without telling anybody, and drops what was not delivered. `by_peer`: a drain tells it."""
        if not self.ended:
            self._state = _State.ENDED
            self._why = why
            self._drop_taken(why, self._dealer.drop(), by_peer=by_peer)
            self._close_end()
            self._progressed.unpark_all()
            self._waits.look_again()
            self._attention.cancel()
            self._look_at_dead_letters()

    def take_undelivered(self) -> tuple[list[T], list[T]]:
        """The values that no peer has acknowledged, oldest first: those that one may have delivered, and the others."""
        doubtful, others = self._dealer.undelivered()
        others += self._intake.take_rest()
        self._dealer.drop()
        return doubtful, others

    def leave(self) -> None:
        """The block is being left: what the local end has accepted is still sent, and each other `send` is broken."""
        if self._state is _State.OPEN and not self._intake.sender_closed:
            self._state = _State.LEAVING  # the pump takes the rest: a value may be on its way to it just now
            self._attention.cancel()
            self._progressed.unpark_all()

    def stop(self) -> None:
        """Nothing more goes to peers: it stays in the local end, or waits."""
        self._dealer.stopped = True
        self._attention.cancel()

    async def wait_settled(self) -> None:
        """After `stop`: waits until peers have acknowledged all that they hold, or given it back."""
        while self._dealer.unacknowledged:
            await self._progressed.park()

    async def wait_delivered(self) -> None:
        """After `leave`: waits until the peers that there are have acknowledged all, or none is left.

        Of a channel that the program has finished they have then seen the end, too.
        """
        while self.links and not self.ended:
            if self._state is _State.LEAVING and self.closed.is_set() and self._nothing_taken:
                return
            await self._progressed.park()

    def _drop_taken(self, why: str, numbers: Collection[int] = (), *, by_peer: bool = False) -> None:
        """What the pump has in its hands; and with it what had been dealt, of these numbers."""
        count = len(self._intake.taken)
        self._intake.taken.clear()
        self._drop(numbers, why, more=count, by_peer=by_peer)

    def _close_end(self) -> None:
        """What is left in the local end is dropped."""
        self._drop((), "left in the channel when it was closed", more=self._intake.close())

    def _drop(self, numbers: Collection[int], why: str, *, more: int = 0, by_peer: bool = False) -> None:
        """Drops values with these numbers, and so many more that have none yet."""
        count = len(numbers) + more
        if count:
            self._owner.log.warning("channel %r: %d values dropped: %s", self.name, count, why)
            self._waits.drop(count, numbers, by_peer=by_peer)

    # Drain, sync, statistics

    def _look(self) -> None:
        """Ends the drains that wait, if nothing is left. Only for when the pump is not inside `receive`."""
        if self.delivered:
            self._waits.drained()

    def _look_or_ask(self) -> None:
        """The same at any time: has the pump come out of `receive` to look."""
        if self._nothing_taken:
            if self._intake.receiving and self._intake.in_memory:
                self._attention.cancel()
            else:
                self._look()

    def _only_blocked_senders_left(self) -> bool:
        intake = self._intake
        return bool(not intake.receiving and self._nothing_taken and not intake.buffered and intake.blocked)

    async def drain(self) -> None:
        """Waits until all that is sent into the channel, before and meanwhile, is acknowledged."""
        await self._waits.drain(self._look_or_ask, self._only_blocked_senders_left)

    async def sync(self) -> None:
        """Waits until what peers hold now, or have given back, is acknowledged, by whoever gets it."""
        await self._waits.sync(self.links, self._dealer.returned)

    @property
    def unacknowledged(self) -> int:
        """How many values are in the hands of peers."""
        return self._dealer.unacknowledged

    @property
    def dropped(self) -> int:
        """How many values were dropped."""
        return self._waits.dropped

    @property
    def unreported_drops(self) -> int:
        """How many values peers have dropped that no drain has told yet."""
        return self._waits.unreported_drops

    @property
    def waiting(self) -> int:
        """How many values are in the local end, in a blocked `send`, or came back."""
        intake = self._intake
        return intake.buffered + intake.blocked + len(intake.taken) + self._dealer.waiting

    def statistics(self) -> ChannelStatistics:
        dealer = self._dealer
        return ChannelStatistics(
            direction=Direction.SEND,
            value_type=str(self.codec.schema),
            peers=len(self.links),
            sent=dealer.sent,
            acknowledged=dealer.acknowledged_count,
            unacknowledged=dealer.unacknowledged,
            waiting=self.waiting,
            redelivered=dealer.redelivered,
            dropped=self.dropped,
            dead_letters=0 if self._dead_letters is None else self._dead_letters.count,
            bytes_sent=dealer.bytes_sent,
        )
