"""Links and an owner without a network: what the ports promise, worked by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import cbor2

from trionetchan._batch import Batch
from trionetchan._codec import Codec, codec_for
from trionetchan._errors import Code
from trionetchan._log import BoundedLog
from trionetchan._ports import ReceivingChannel, ReceivingLink, SendingChannel, SendingLink

__all__ = ["INT", "FakeOwner", "FakeReceivingLink", "FakeSendingLink"]

INT: Codec[int] = codec_for(int)


class FakeSendingLink:
    """A peer that gets what is sent, and acknowledges what it is told to."""

    def __init__(
        self, window: int = 64, *, room: int = sys.maxsize, max_value_size: int = 2**30, settles: bool = False
    ) -> None:
        self.settles = settles
        self.settled: set[int] = set()  # numbers of values, of a peer that settles
        self.window, self.room, self.max_value_size = window, room, max_value_size  # `room`: bytes it allows in all
        self.limit = sys.maxsize  # how many values it allows in all
        self.sent = self.acknowledged = 0
        self.closing = False
        self.batches: list[Batch] = []  # all that were ever sent
        self.closes: list[tuple[Code, str]] = []

    @property
    def unacknowledged(self) -> int:
        return self.sent - self.acknowledged

    @property
    def written(self) -> int:
        return self.sent

    @property
    def credit(self) -> int:
        return 0 if self.closing else min(self.window - self.unacknowledged, self.limit - self.sent)

    def fits(self, size: int, count: int) -> bool:
        large = size + sum(batch.size for batch in self.batches) > self.room
        return count <= self.credit and (not large or (count == 1 and not self.unacknowledged))

    def send(self, batch: Batch) -> None:
        assert self.fits(batch.size, batch.count), f"sent without credit: {batch}"
        batch.first, self.sent = self.sent, self.sent + batch.count
        self.batches.append(batch)

    def _is_open(self, number: int) -> bool:
        return number not in self.settled if self.settles else number >= self.acknowledged

    def unacknowledged_below(self, number: int) -> int:
        return sum(map(self._is_open, range(number)))

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        for batch in self.batches:
            if places := [place for place in range(batch.count) if self._is_open(batch.first + place)]:
                yield batch, places

    def close(self, code: Code, message: str = "") -> None:
        self.closing = True
        self.closes.append((code, message))

    # What the test has the peer do

    @property
    def values(self) -> list[Any]:
        """All values that it was ever sent."""
        return [value for batch in self.batches for value in cbor2.loads(batch.head + batch.payload)]

    def acknowledges(self, channel: SendingChannel, count: int) -> None:
        self.acknowledged += count
        channel.acknowledged(self, count)

    def settle(self, *numbers: int) -> list[tuple[Batch, list[int]]]:
        """Its program has settled these values; where they are."""
        assert not self.settled.intersection(numbers)
        self.settled.update(numbers)
        self.acknowledged += len(numbers)
        inside = [
            (batch, [n - batch.first for n in numbers if 0 <= n - batch.first < batch.count]) for batch in self.batches
        ]
        return [(batch, places) for batch, places in inside if places]

    def settles_values(self, channel: SendingChannel, *numbers: int, accepted: bool = True) -> None:
        channel.settled(self, self.settle(*numbers), accepted=accepted)

    def leaves(self, channel: SendingChannel, code: Code | None = Code.FINISHED, message: str = "") -> None:
        """With its last word; None: it is lost."""
        self.closing = True
        channel.link_closed(self, code, message)


class FakeReceivingLink:
    """A peer that brings values, and is told what became of them."""

    def __init__(self, count: int | None = None, *, settles: bool = False) -> None:
        self.count = count
        self.leased = True
        self.lease_deadline = math.inf
        self.settles = settles
        self.settled: list[tuple[int, bool]] = []  # what `settle` was called with
        self.arrived = 0
        self.undelivered = 0
        self.told: list[tuple[int, bool, bool]] = []  # what `delivered` was called with
        self.closes: list[tuple[Code, str]] = []

    @property
    def deliveries(self) -> int:
        return sum(count for count, _, _ in self.told)

    @property
    def exhausted(self) -> bool:
        done = len(self.settled) if self.settles else self.deliveries
        return self.count is not None and done >= self.count

    @property
    def unsettled(self) -> int:
        return self.arrived - len(self.settled) if self.settles else self.undelivered

    def delivered(self, count: int, *, last: bool, waited: bool) -> bool:
        self.undelivered -= count
        assert self.undelivered >= 0, "more was delivered than came"
        self.told.append((count, last, waited))
        return self.exhausted

    def settle(self, number: int, *, accepted: bool) -> bool:
        self.settled.append((number, accepted))
        return self.exhausted

    def close(self, code: Code, message: str = "") -> None:
        self.closes.append((code, message))

    # What the test has the peer do

    def brings(self, channel: ReceivingChannel, *values: object, redelivered: bool = False) -> None:
        """One batch of values."""
        self.undelivered += len(values)
        self.arrived += len(values)
        channel.arrived(self, cbor2.dumps(list(values)), redelivered=redelivered)

    def leaves(self, channel: ReceivingChannel, code: Code | None = Code.FINISHED, message: str = "") -> None:
        """Nothing more will come from it; None: it is lost."""
        channel.sender_left(self, code, message)


class FakeOwner:
    """Writes down what a channel tells its owner."""

    def __init__(self) -> None:
        self.log = BoundedLog(10)
        self.failures: list[BaseException] = []
        self.left: list[tuple[Code | None, str]] = []
        self.ended: list[Any] = []

    def failed(self, error: BaseException, /) -> None:
        self.failures.append(error)

    def peer_left(self, channel: Any, code: Code | None, message: str, /) -> None:
        self.left.append((code, message))

    def channel_ended(self, channel: Any, /) -> None:
        self.ended.append(channel)


_sends: type[SendingLink] = FakeSendingLink
_receives: type[ReceivingLink] = FakeReceivingLink
