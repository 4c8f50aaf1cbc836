"""Dealing: which values go to which peer of an outgoing channel, in what batches, and what comes back.

The pump hands over what it has taken from the local end; from there a value is in exactly one place: waiting here, or
with one peer until that has acknowledged it. What a peer had not acknowledged when it went waits again, in the order in
which it was first taken, and is dealt before anything new.

A peer whose program settles values one by one may reject some: those wait again, too. What comes back from such peers
more than `max_redeliveries` times, rejected or unsettled, is dealt no more; so is what peers refuse as often.

Values are encoded together, as many as make a good batch. Those that can't go so (no peer has room for the batch, or
one of them does not fit) are encoded one by one, and go as peers have room for them.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import attrs

from .._batch import Batch, array_of
from .._cbor import ARRAY, head
from .._codec import Codec
from .._errors import Code, LimitError, TooLargeValue, UnfitValue, ValueTypeError
from .._limits import Limits
from .._ports import SendingLink
from .fewest_first import FewestFirst

__all__ = ["Dealer"]

T = TypeVar("T")

RUN = 16  # values dealt to one of several peers before the next is looked at
BATCH_SIZE = 64 * 2**10  # bytes of payload above which a batch is split, so that bytes of credit need not be large


@attrs.define(order=True)
class _Value:
    """One value that is in no peer's hands, encoded, in two parts. In order as first taken, whoever brings it back."""

    number: int
    payload: bytes = attrs.field(order=False)
    head: bytes = attrs.field(order=False, default=b"")
    returned: bool = attrs.field(order=False, default=False)  # a peer has had it before
    in_doubt: bool = attrs.field(order=False, default=False)  # and may have delivered it
    returns: int = attrs.field(order=False, default=0)  # how often it was refused, or came back from who settles

    @property
    def size(self) -> int:
        return len(self.head) + len(self.payload)


@attrs.define(eq=False)
class _NewBatch(Batch):
    """Values that were encoded together; they have consecutive numbers from `number` on."""

    number: int = attrs.field(kw_only=True)


@attrs.define(eq=False)
class _BatchOfWaiting(Batch):
    """Values that have waited."""

    run: list[_Value] = attrs.field(kw_only=True)


class Dealer(Generic[T]):
    """The values of one channel from the pump's hands to the peers'. A `Dealing`: each value goes to one peer.

    It is long because what goes out and what comes back change the same few counts.
    """

    def __init__(self, name: str, codec: Codec[T], limits: Limits) -> None:
        self.links = FewestFirst()
        self.unacknowledged = 0
        self.sent = 0
        self.acknowledged_count = 0
        self.redelivered = 0
        self.bytes_sent = 0
        self.stopped = False
        """Nothing more is dealt: what is handed over, or comes back, waits."""
        self._name = name
        self._codec = codec
        self._max_value_size = limits.max_value_size
        self._max_redeliveries = limits.max_redeliveries
        self._waiting: list[_Value] = []  # a heap
        self._dead: list[_Value] = []
        self._again: dict[SendingLink, deque[tuple[int, int]]] = {}
        """Of what each peer has been dealt again: its count of values there, and the number of the value."""
        self._batch_count = RUN  # values that make a batch of about `BATCH_SIZE`, as far as the last one tells
        self._number = 0  # of the next value to be encoded

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many values may be taken now, to be dealt at once: as many as one peer can have.

        Under a quarter of the credit, while over half of the window is unacknowledged, is not worth a batch: an
        acknowledgement is coming.
        """
        link = None if self._waiting or self.stopped else self.links.next()
        if link is None:
            return 0
        credit, window = link.credit, link.window
        if credit < window // 4 and link.unacknowledged > window // 2 and not link.settles:
            return 0
        return min(credit, self._batch_count, self._longest_run)

    @property
    def _longest_run(self) -> int:
        return sys.maxsize if len(self.links) == 1 else RUN

    @property
    def half_window(self) -> int:
        """Half the window of the peer that gets the next values."""
        link = self.links.next()
        return 1 if link is None else link.window // 2

    # Values out

    def deal(self, taken: list[T]) -> None:
        """As the port `Dealing` says."""
        self.deal_waiting()
        while taken:
            link = None if self._waiting or self.stopped else self.links.next()
            count = min(len(taken), self._batch_count)
            if link is not None:
                count = min(count, link.credit, self._longest_run)
            batch = self._batch(taken[:count])
            if link is not None and batch is not None and self._may_go(link, batch):
                del taken[:count]
                self._send(link, batch)
                self.sent += count
                self._number += count
            else:
                self._put_aside(taken, count)

    def _batch(self, values: list[T]) -> Batch | None:
        """The values encoded together, if they fit."""
        try:
            lead, payload = self._codec.encode_parts(values, self._max_value_size)
        except UnfitValue:
            return None
        batch = _NewBatch(payload, len(values), lead, number=self._number)
        self._batch_count = max(1, BATCH_SIZE * batch.count // batch.size)
        return batch

    def _may_go(self, link: SendingLink, batch: Batch) -> bool:
        if batch.count > 1 and batch.size > 4 * BATCH_SIZE:
            return False
        return batch.size <= min(self._max_value_size, link.max_value_size) and link.fits(batch.size, batch.count)

    def _put_aside(self, taken: list[T], count: int) -> None:
        """Encodes values one by one, to be dealt as peers have room."""
        done = 0
        try:
            for value in taken[:count]:
                heapq.heappush(self._waiting, self._encode(value))
                done += 1
        finally:
            del taken[:done]
            self.deal_waiting()

    def _encode(self, value: T) -> _Value:
        limit = self._max_value_size
        expected = f"{self._name}: expected a value of at most {limit} bytes"
        try:
            lead, payload = self._codec.encode_parts([value], limit)
        except TooLargeValue:
            raise LimitError(f"{expected}, got more", channel=self._name) from None
        except UnfitValue as error:
            raise ValueTypeError(f"{self._name}: {error}", channel=self._name) from None
        lead, payload = (lead[1:], payload) if lead else (b"", payload[1:])  # without the array's head
        encoded = _Value(self._number, payload, lead)
        if encoded.size > limit:
            raise LimitError(f"{expected}, got {encoded.size} bytes", channel=self._name)
        self._number += 1
        return encoded

    def deal_waiting(self) -> None:
        """Gives values that wait to peers, in order, as many at a time as fit."""
        waiting = self._waiting
        while waiting and not self.stopped:
            size = waiting[0].size
            link = self.links.next_for(size + 1)
            if link is None:
                return
            limit = link.max_value_size
            if size > limit:  # this peer can't have it, another might
                link.close(Code.LIMIT, f"{self._name}: expected a value of at most {limit} bytes, got {size} bytes")
                continue
            self._send_run(link, self._run_for(link, limit))

    def _run_for(self, link: SendingLink, limit: int) -> list[_Value]:
        """The next values that wait, as many as this peer has room for."""
        waiting = self._waiting
        run = [heapq.heappop(waiting)]
        size = run[0].size + 9  # with the largest head of an array
        while waiting and len(run) < RUN and waiting[0].size <= limit:
            if link.settles and waiting[0].returned is not run[0].returned:
                break  # of a batch, the peer is told once whether it came back
            size += waiting[0].size
            if size > BATCH_SIZE or not link.fits(size, len(run) + 1):
                break
            run.append(heapq.heappop(waiting))
        return run

    def _send_run(self, link: SendingLink, run: list[_Value]) -> None:
        count = len(run)
        if count == 1:
            batch = _BatchOfWaiting(run[0].payload, 1, head(ARRAY, 1) + run[0].head, run=run)
        else:
            batch = _BatchOfWaiting(array_of([value.head + value.payload for value in run]), count, run=run)
        again = [(place, value.number) for place, value in enumerate(run, link.sent + 1) if value.returned]
        if link.settles:
            batch.redelivered = bool(again)
        elif again:
            self._again.setdefault(link, deque()).extend(again)
        self._send(link, batch)
        self.redelivered += len(again)
        self.sent += count - len(again)

    def _send(self, link: SendingLink, batch: Batch) -> None:
        self.unacknowledged += batch.count
        self.bytes_sent += batch.size
        link.send(batch)

    # Peers

    def attach(self, link: SendingLink) -> None:
        self.links.add(link)

    def acknowledged(self, link: SendingLink, count: int) -> list[int]:
        """As the port `Dealing` says."""
        self.acknowledged_count += count
        self.unacknowledged -= count
        self.links.changed(link)
        again = self._again.get(link)
        numbers: list[int] = []
        while again and again[0][0] <= link.acknowledged:
            numbers.append(again.popleft()[1])
        return numbers

    def accepted(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]]) -> list[int]:
        """As the port `Dealing` says."""
        count = sum(len(places) for _, places in batches)
        self.acknowledged_count += count
        self.unacknowledged -= count
        self.links.changed(link)
        runs = [(batch.run, places) for batch, places in batches if isinstance(batch, _BatchOfWaiting)]
        return [run[place].number for run, places in runs for place in places if run[place].returned]

    def rejected(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]]) -> list[tuple[int, int]]:
        """As the port `Dealing` says."""
        places = [batch.first + place for batch, places in batches for place in places]
        back = self._take_back(batches, counted=True)
        self.links.changed(link)
        return [(place, value.number) for place, value in zip(places, back, strict=True)]

    def detach(self, link: SendingLink) -> list[int]:
        """As the port `Dealing` says."""
        self.links.remove(link)
        self._again.pop(link, None)
        batches = link.unacknowledged_batches()
        return [value.number for value in self._take_back(batches, counted=link.settles, doubtful_below=link.written)]

    def _take_back(
        self, batches: Iterable[tuple[Batch, Sequence[int]]], *, counted: bool, doubtful_below: int = 0
    ) -> list[_Value]:
        """These values wait again; if that is `counted`, those that have come back too often do not.

        Those of batches that begin below that count of values may have been delivered.
        """
        back: list[_Value] = []
        for batch, places in batches:
            for value in _values_of(batch, places):
                value.in_doubt = value.in_doubt or batch.first < doubtful_below
                back.append(value)
        self.unacknowledged -= len(back)
        for value in back:
            value.returned = True
            value.returns += counted
            if counted and value.returns > self._max_redeliveries:
                self._dead.append(value)
            else:
                heapq.heappush(self._waiting, value)
        return back

    @property
    def returned(self) -> set[int]:
        """The numbers of the values that wait and that a peer has had before."""
        return {value.number for value in self._waiting if value.returned}

    def undelivered(self) -> tuple[list[T], list[T]]:
        """What waits, as values: those that a peer may have delivered, and the others."""
        doubtful: list[T] = []
        others: list[T] = []
        for value in sorted(self._waiting):
            (doubtful if value.in_doubt else others).extend(self._codec.decode(array_of([value.head + value.payload])))
        return doubtful, others

    def refused(self, number: int) -> int:
        """As the port `Dealing` says."""
        (value,) = (value for value in self._waiting if value.number == number)
        value.returns += 1
        if value.returns > self._max_redeliveries:
            self.drop(number)
            self._dead.append(value)
        return value.returns

    def take_dead(self) -> list[tuple[int, bytes]]:
        """As the port `Dealing` says."""
        dead, self._dead = self._dead, []
        return [(value.number, value.head + value.payload) for value in dead]

    def drop(self, number: int | None = None) -> list[int]:
        """As the port `Dealing` says."""
        dropped = [value.number for value in self._waiting if number is None or value.number == number]
        self._waiting[:] = [value for value in self._waiting if number is not None and value.number != number]
        heapq.heapify(self._waiting)
        return dropped


def _values_of(batch: Batch, places: Sequence[int]) -> Iterator[_Value]:
    if isinstance(batch, _NewBatch):
        for place, payload in zip(places, batch.values(places), strict=True):
            yield _Value(batch.number + place, payload)
    else:
        assert isinstance(batch, _BatchOfWaiting)
        for place in places:
            yield batch.run[place]
