"""The peers that an incoming channel gets values from, and what has arrived from them and is not delivered.

    state        to           when
    BOUND        LEAVING      the sender has finished: what has arrived is still delivered
    BOUND        LOST         its connection is lost: what has arrived is still delivered
    BOUND        DISCARDED    the same, but too much of lost ones waits already: it has not been told of it
    BOUND        REFUSED      a value does not fit: those before it are delivered, the rest goes back
    (these)      DISCARDED    the sender hung up or withdrew: nothing more is delivered
    (all)        CLOSED       the last word is said

A source that was REFUSED stays so when its connection is lost, and one that is LEAVING too.
"""

from __future__ import annotations

import enum
from typing import Any, Generic, TypeVar, cast

import attrs

from .._batch import array_of, split_batch
from .._codec import Codec
from .._errors import Code, ProtocolError, UnfitValue
from .._ports import ReceivingLink
from .deliveries import Hand
from .shares import Share

__all__ = ["Backlog", "Source", "SourceState"]

SOURCE_SIZE = 2 * 2**10  # bytes that a source costs beside its values

T = TypeVar("T")


class SourceState(enum.Enum):
    """How a source stands."""

    BOUND = "bound"
    LEAVING = "leaving"
    LOST = "lost"
    REFUSED = "refused"
    DISCARDED = "discarded"
    CLOSED = "closed"


@attrs.define(eq=False)
class Source:
    """One peer that sends into an incoming channel, and the share that it holds."""

    link: ReceivingLink
    share: Share
    hand: Hand | None = None
    """What the program holds of its values, if it settles them by itself."""
    state: SourceState = SourceState.BOUND
    code: Code | None = None
    """How it ended; None for a lost one."""
    message: str = ""
    kept: int = 0
    """Of a lost one: what it costs to keep, in bytes."""
    ignored: bool = False
    """Something of it was not taken, and stays with it."""

    def end(self, state: SourceState, code: Code | None, message: str) -> None:
        """Nothing more will come."""
        self.state, self.code, self.message = state, code, message


class Backlog(Generic[T]):
    """What has arrived and is not delivered: batches as they came, and the decoded values of the one that is next."""

    def __init__(self, name: str, codec: Codec[T]) -> None:
        self.source: Source | None = None
        """Whose values `values` are."""
        self.values: list[T] = []
        """Decoded, the next one last."""
        self._name = name
        self._codec = codec
        self._batches: list[tuple[Source, bytes, bool]] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is left to deliver."""
        return not self.values and not self._batches

    def size_of(self, source: Source) -> int:
        """How many bytes of this source are left to deliver, and what it costs to know it."""
        return SOURCE_SIZE + sum(len(payload) for each, payload, _ in self._batches if each is source)

    def holds(self, source: Source) -> bool:
        """Whether something of this source is left to deliver."""
        return bool(self.values and self.source is source) or any(batch[0] is source for batch in self._batches)

    def add(self, source: Source, payload: bytes, *, redelivered: bool = False) -> None:
        """A batch has arrived."""
        self._batches.append((source, payload, redelivered))

    def decode_next(self) -> bool:
        """Decodes the next batch, if `values` is empty. Whether there are values.

        It stops at a source of which the next value does not fit; that is REFUSED then, and has nothing left.
        """
        while self._batches and not self.values:
            self.source, payload, redelivered = self._batches.pop(0)
            try:
                self.values = self._codec.decode(payload)
            except UnfitValue:
                self._decode_one_by_one(self.source, payload)
            if self.source.hand is not None:
                self.values = cast("list[Any]", self.source.hand.wrap(self.values, redelivered=redelivered))
            self.values.reverse()
            if not self.values and self.source.state is SourceState.REFUSED:
                return False
        return bool(self.values)

    def _decode_one_by_one(self, source: Source, payload: bytes) -> None:
        """A value of a batch does not fit, or did not: a class of the program's may have changed its mind."""
        try:
            for item in split_batch(payload):
                self.values.extend(self._codec.decode(array_of([item])))
        except (UnfitValue, ProtocolError) as error:
            source.end(SourceState.REFUSED, Code.VALUE_REFUSED, f"{self._name}: {error}")
            self._forget(source)

    def discard(self, source: Source, *, but_first: bool) -> None:
        """Forgets what has come of this source, `but_first`: all but the value that is next."""
        self._forget(source)
        if self.source is source:
            del self.values[: -1 if but_first else None]

    def _forget(self, source: Source) -> None:
        self._batches = [batch for batch in self._batches if batch[0] is not source]
