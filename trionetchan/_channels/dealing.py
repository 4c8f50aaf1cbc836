"""Dealing: which values go to which peer of an outgoing channel, in what batches, and what comes back.

The pump hands over what it has taken from the local end; from there a value is in exactly one place: waiting here, or
in the window of one peer, until it is acknowledged. What a peer had not acknowledged when it went comes back to those
that wait, in the order in which it was first taken, and is dealt before anything new.

Values are encoded together, as many as make a good batch. Those that can't go so (no peer has room for the batch, or
one of them does not fit) are encoded one by one, and go as peers have room for them.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from typing import Generic, TypeVar

import attrs

from .._cbor import ARRAY, array_of, head
from .._codec.codec import Codec
from .._errors import Code, LimitError, UnfitValue, ValueTypeError
from .._limits import Limits
from .._network.links import SendLink, SendLinks
from .._protocol.window import Batch

__all__ = ["Dealer", "WaitingValue"]

T = TypeVar("T")

RUN = 16  # values dealt to one of several peers before the next is looked at
BATCH_SIZE = 64 * 2**10  # bytes of payload above which a batch is split, so that bytes of credit need not be large


@attrs.frozen(order=True)
class WaitingValue:
    """One value that was taken and is in no peer's hands: its bytes, in two parts. Ordered as first taken."""

    order: int
    payload: bytes = attrs.field(order=False)
    head: bytes = attrs.field(order=False, default=b"")
    sent: bool = attrs.field(order=False, default=False)  # a peer has had it before
    refusals: int = attrs.field(order=False, default=0)

    @property
    def size(self) -> int:
        return len(self.head) + len(self.payload)


class Dealer(Generic[T]):
    """The values of one channel from the pump's hands to the peers'."""

    def __init__(self, name: str, codec: Codec[T], limits: Limits) -> None:
        self.links = SendLinks()
        self.waiting: list[WaitingValue] = []  # a heap
        self.unacknowledged = 0
        self.sent = 0
        self.acknowledged = 0
        self.redelivered = 0
        self.bytes_sent = 0
        self._name = name
        self._codec = codec
        self._limits = limits
        self._batch_count = RUN  # values that make a batch of about `BATCH_SIZE`, as far as the last one tells
        self._order = 0  # of the next value to be encoded

    @property
    def idle(self) -> bool:
        """Whether all that was handed over is acknowledged."""
        return not (self.waiting or self.unacknowledged)

    @property
    def room(self) -> int:
        """How many values can be dealt now: as many as one peer can have at once.

        A remainder of the window is not worth a batch while the peer has most of it: its acknowledgements come.
        """
        link = None if self.waiting else self.links.next()
        if link is None:
            return 0
        window = link.window
        credit = window.credit
        if credit < window.window // 4 and window.unacknowledged > window.window // 2:
            return 0
        return min(credit, self._batch_count, sys.maxsize if len(self.links) == 1 else RUN)

    @property
    def half_a_window(self) -> int:
        """Of the peer that gets the next values."""
        link = self.links.next()
        return 1 if link is None else link.window.window // 2

    def deal(self, taken: list[T]) -> None:
        """Gives what waits, and then what was taken, to peers, as far as their credit goes; empties `taken`.

        `ValueTypeError` or `LimitError` for a value that does not fit: what came before it is dealt, and it and what
        came after it are still in `taken`.
        """
        self.deal_waiting()
        while taken:
            link = None if self.waiting else self.links.next()
            count = min(len(taken), self._batch_count)
            if link is not None:
                count = min(count, link.window.credit, sys.maxsize if len(self.links) == 1 else RUN)
            batch = self._batch(taken[:count])
            if link is not None and batch is not None and self._may_go(link, batch):
                del taken[:count]
                self._send(link, batch)
                self.sent += count
                self._order += count
            else:
                self._put_aside(taken, count)

    def _batch(self, values: list[T]) -> Batch | None:
        """The values encoded together, if they fit."""
        try:
            lead, payload = self._codec.encode_parts(values)
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

    def _put_aside(self, taken: list[T], count: int) -> None:
        """Encodes values one by one, to be dealt as peers have room."""
        done = 0
        try:
            for value in taken[:count]:
                heapq.heappush(self.waiting, self._encode(value))
                done += 1
        finally:
            del taken[:done]
            self.deal_waiting()

    def _encode(self, value: T) -> WaitingValue:
        try:
            lead, payload = self._codec.encode_parts([value])
        except UnfitValue as error:
            raise ValueTypeError(f"{self._name}: {error}", channel=self._name) from None
        lead, payload = (lead[1:], payload) if lead else (b"", payload[1:])  # without the array's head
        waiting = WaitingValue(self._order, payload, lead)
        limit = self._limits.max_value_size
        if waiting.size > limit:
            message = f"{self._name}: expected a value of at most {limit} bytes, got {waiting.size} bytes"
            raise LimitError(message, channel=self._name)
        self._order += 1
        return waiting

    def deal_waiting(self) -> None:
        """Gives values that wait to peers, in order, as many at a time as fit."""
        waiting = self.waiting
        while waiting:
            size = waiting[0].size
            link = self.links.next_for(size + 1)
            if link is None:
                return
            limit = link.connection.session.max_value_size
            if size > limit:  # this peer can't have it, another might
                link.close(Code.LIMIT, f"{self._name}: expected a value of at most {limit} bytes, got {size} bytes")
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
            self.redelivered += again
            self.sent += len(run) - again

    def _send(self, link: SendLink, batch: Batch) -> None:
        link.send(batch)
        self.links.changed(link)
        self.unacknowledged += batch.count
        self.bytes_sent += batch.size

    def acknowledged_by(self, link: SendLink, count: int) -> None:
        self.acknowledged += count
        self.unacknowledged -= count
        self.links.changed(link)

    def take_back(self, link: SendLink) -> list[WaitingValue]:
        """Removes a peer. Returns what it has not acknowledged, which is in nobody's hands then."""
        self.links.remove(link)
        back = list(self._unacknowledged_by(link))
        self.unacknowledged -= len(back)
        return back

    def put_back(self, values: list[WaitingValue]) -> None:
        for value in values:
            heapq.heappush(self.waiting, value)

    def outstanding(self) -> set[int]:
        """The orders of all values that were handed over and are not acknowledged."""
        orders = {value.order for value in self.waiting}
        for link in self.links:
            orders.update(value.order for value in self._unacknowledged_by(link))
        return orders

    def _unacknowledged_by(self, link: SendLink) -> Iterator[WaitingValue]:
        for batch, skip in link.window.unacknowledged_batches():
            if isinstance(batch.origin, int):
                for order, payload in enumerate(batch.values(skip), batch.origin + skip):
                    yield WaitingValue(order, payload, sent=True)
            else:
                run: list[WaitingValue] = batch.origin  # type: ignore[assignment]
                for value in run[skip:]:
                    yield attrs.evolve(value, sent=True)
