"""A program's end of a channel, and what it must be told."""

from __future__ import annotations

import attrs

from trionetchan._batch import Batch
from trionetchan._errors import Code
from trionetchan._protocol.events import Settled
from trionetchan._protocol.session import Session
from trionetchan._protocol.settling import SettledReceiveWindow

from .checks import check

__all__ = ["End"]

_MOST = 30  # values that are sent on a channel
_BATCHES = ((1, b"\x81\0"), (2, b"\x82\1\x42ab"), (1, b"\x81\x58\x96" + bytes(150)))


@attrs.define(eq=False)
class End:
    """`bound`, `told` (the peer has closed), `closed` (this program has) and `over` say how it stands."""

    id: int
    name: str
    sends: bool = attrs.field(kw_only=True)
    count: int | None = attrs.field(kw_only=True)
    bound: bool = False
    told: bool = False
    closed: bool = False
    over: bool = False
    values: int = 0  # that have been sent, or have come
    acknowledged: int = 0
    settled: set[int] = attrs.field(factory=set[int])

    def _is(self, letters: str) -> bool:
        return self.name[0] in letters

    def bind(self, session: Session) -> None:
        """It is bound now."""
        self.bound = True
        if self._is("h"):
            self._close(session, Code.HUNG_UP)
        elif self.sends:
            self._send(session)
            if self._is("s"):
                self._close(session, Code.FINISHED)
        else:
            session.receiver(self.id).unbuffered = self._is("u") and not session.receiver(self.id).settles

    def _close(self, session: Session, code: Code) -> None:
        """A receiver's close is its last word; for a sender's, the receiver has the last word."""
        self.closed = True
        session.close(self.id, code, "enough")
        self.over = not self.sends

    # Where it sends

    def _send(self, session: Session) -> None:
        window = session.sender(self.id)
        for count, payload in _BATCHES:
            batch = Batch(payload, count, redelivered=window.settles and count > 1)
            if self.values + count <= _MOST and window.fits(batch.size, count):
                session.send(self.id, batch)
                self.values += count
        check(self.count is None or self.values <= self.count, "more values may be sent than were asked for", self)

    def on_acknowledged(self, session: Session, count: int) -> None:
        """So many values more are acknowledged."""
        self.acknowledged += count
        check(self.sends and count >= 0, "an acknowledgement that cannot be", self)
        check(self.acknowledged <= self.values, "more is acknowledged than was sent", self)
        if not self.closed and not self.told:
            self._send(session)

    def on_settled(self, session: Session, event: Settled) -> None:
        """These values are settled."""
        numbers = [batch.first + place for batch, places in event.batches for place in places]
        check(self.sends and numbers, "a settlement of nothing", event)
        check(self.settled.isdisjoint(numbers), "settled twice", event)
        check(all(0 <= number < self.values for number in numbers), "settled without being sent", event)
        self.settled.update(numbers)
        self.on_acknowledged(session, len(numbers))

    # Where it receives

    def take(self, session: Session, payload: bytes, count: int) -> None:
        """Values have come."""
        check(self.bound and not self.sends and not self.closed and not self.told, "values that cannot come", self)
        first = self.values
        self.values += count
        check(self.count is None or self.values <= self.count, "more values than were asked for", self)
        check(session.receiver(self.id).received == self.values, "values are counted wrong", self)
        if self._is("k"):
            return
        self._deliver(session, first, count)
        if self._is("c"):
            self._close(session, Code.RECEIVER_GONE)
        elif session.receiver(self.id).exhausted:
            self._close(session, Code.COUNT_REACHED)

    def _deliver(self, session: Session, first: int, count: int) -> None:
        """Of those that are settled one by one, the last of each batch stays open."""
        window = session.receiver(self.id)
        if isinstance(window, SettledReceiveWindow):
            window.handed += count
            for number in range(first, first + max(1, count - 1)):
                session.settle(self.id, number, accepted=number % 3 != 0)
        else:
            window.deliver(count)
        session.acknowledge(self.id)
        session.hurry()

    def on_sender_closed(self, session: Session) -> None:
        """Nothing more will come."""
        if not self._is("k"):
            self._close(session, Code.FINISHED)
