"""Windows of a channel whose receiver's program settles each value by itself: SETTLE, value by value, in any order.

What is settled is acknowledged; whether it was accepted or rejected makes no difference to credit. So `acknowledged`
counts all that is settled, wherever it stands, and the rest of the window works as it always does. An ACK grants credit
and tells nothing else.

The program's own word confirms a value, so that delivered, confirmed and settled are the same here.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import attrs

from .._batch import Batch
from .._cbor import Buffer
from .._errors import ProtocolError
from .frames import MAX_RANGES
from .window import ReceiveWindow, SendWindow

__all__ = ["SettledReceiveWindow", "SettledSendWindow"]


@attrs.define
class _Counted:
    """A batch: the number behind its last value, its size, and how many of its values are not settled."""

    end: int
    size: int
    open: int


class SettledSendWindow(SendWindow):
    """The sender's half."""

    settles = True

    def __init__(self, window: int, value_limit: int, byte_window: int, byte_limit: int) -> None:
        super().__init__(window, value_limit, byte_window, byte_limit)
        self._settled: list[bytearray] = []  # of each batch that is kept: 1 for each value that is settled, else 0

    def send(self, batch: Batch) -> None:
        super().send(batch)
        self._settled.append(bytearray(batch.count))

    def acknowledge(self, delivered: int, value_limit: int, byte_limit: int) -> int:
        if delivered:
            raise ProtocolError(f"expected values to be settled one by one on this channel, got {delivered} in an ACK")
        return super().acknowledge(0, value_limit, byte_limit)

    def settle(self, ranges: Sequence[int]) -> list[tuple[Batch, list[int]]]:
        """The receiver has settled these values: `first, count, …`. Of each batch, the places of those in it.

        `ProtocolError` for a value that is not written whole, or is settled already; nothing is settled then.
        """
        numbers: list[int] = []
        for first, count in zip(ranges[::2], ranges[1::2], strict=True):
            if not count or first + count > self.written:
                raise ProtocolError(f"expected values up to {self.written} settled, got {count} from {first} on")
            if len(numbers) + count > self.unacknowledged:
                raise ProtocolError(f"expected {self.unacknowledged} values settled at most, got more, from {first} on")
            numbers.extend(range(first, first + count))
        numbers.sort()
        found = list(self._find(numbers))
        for place, places in found:
            for each in places:
                self._settled[place][each] = 1
        self.acknowledged += len(numbers)
        batches = [(self._kept[place], places) for place, places in found]
        self._forget_whole([place for place, _ in found])
        return batches

    def _find(self, numbers: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Where these values are, which are in order: the place of a batch among those kept, and places in it."""
        batch, place, last, places = Batch(b"", 0), -1, -1, list[int]()
        for number in numbers:
            if number >= batch.first + batch.count:
                if places:
                    yield place, places
                place = bisect.bisect_right(self._kept, number, key=lambda kept: kept.first) - 1
                batch, places = self._kept[max(0, place)], []
            inside = number - batch.first
            if number == last or not 0 <= inside < batch.count or self._settled[place][inside]:
                raise ProtocolError(f"expected each value to be settled once, got number {number} twice")
            last = number
            places.append(inside)
        yield place, places

    def _forget_whole(self, places: Sequence[int]) -> None:
        """Keeps of the batches in these places only those of which some value is not settled."""
        for place in reversed(places):
            if all(self._settled[place]):
                self._bytes_kept -= self._kept[place].size
                del self._kept[place], self._settled[place]

    def unacknowledged_below(self, number: int) -> int:
        return sum(
            settled[: max(0, number - batch.first)].count(0)
            for batch, settled in zip(self._kept, self._settled, strict=True)
        )

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        for batch, settled in zip(self._kept, self._settled, strict=True):
            yield batch, [place for place, is_settled in enumerate(settled) if not is_settled]


class SettledReceiveWindow(ReceiveWindow):
    """The receiver's half."""

    settles = True
    confirmed: int

    def __init__(self, window: int, byte_window: int, count: int | None, max_value_size: int) -> None:
        super().__init__(window, byte_window, count, max_value_size)
        self.handed = 0
        """How many values the local end has accepted."""
        self._counted: list[_Counted] = []  # batches that are not settled whole
        self._accepted: list[int] = []  # settled, and not told yet
        self._rejected: list[int] = []
        self._returned: tuple[int, int] | None = None  # the batch that comes next: its first number, and its count

    # What comes

    @property
    def expects_returned(self) -> bool:
        """Whether it is said already that the next batch came back."""
        return self._returned is not None

    def expect_returned(self, first: int, count: int) -> None:
        """The next batch brings values that came back from some importer."""
        if first != self.received or not count or self._partial_count:
            raise ProtocolError(
                f"expected REDELIVERED before the batch that begins with value number {self.received}, "
                f"got {count} values from number {first} on"
            )
        self._returned = first, count

    def receive(self, first: int, payload: Buffer, *, more: bool) -> tuple[bytes, int] | None:
        whole = super().receive(first, payload, more=more)
        if whole is not None:
            end, size = self._arrived.pop()
            self._counted.append(_Counted(end, size, whole[1]))
            if self._returned is not None and self._returned != (first, whole[1]):
                raise ProtocolError(f"expected {self._returned[1]} values that came back, got a batch of {whole[1]}")
            self._returned = None
        return whole

    def rewind(self) -> None:
        super().rewind()
        self._returned = None

    # What the program says

    def settle(self, number: int, *, accepted: bool) -> None:
        """The program has settled this value, which has come and is not settled."""
        (self._accepted if accepted else self._rejected).append(number)
        self.delivered += 1
        self.confirmed += 1
        place = bisect.bisect_right(self._counted, number, key=lambda batch: batch.end)
        batch = self._counted[place]
        batch.open -= 1
        if not batch.open:
            self._bytes_delivered += batch.size
            self._bytes_confirmed += batch.size
            del self._counted[place]

    def take_settled(self) -> list[tuple[tuple[int, ...], bool]]:
        """What is settled and not told, for SETTLE frames: ranges, and whether these are accepted."""
        told: list[tuple[tuple[int, ...], bool]] = []
        for numbers, accepted in (self._accepted, True), (self._rejected, False):
            ranges = _ranges(sorted(numbers))
            told += [(tuple(ranges[n : n + 2 * MAX_RANGES]), accepted) for n in range(0, len(ranges), 2 * MAX_RANGES)]
            numbers.clear()
        return told

    def announce(self) -> tuple[int, int, int]:
        _, value_limit, byte_limit = super().announce()
        return 0, value_limit, byte_limit


def _ranges(numbers: Sequence[int]) -> list[int]:
    """Sorted numbers as `first, count, first, count, …`."""
    ranges: list[int] = []
    for number in numbers:
        if ranges and ranges[-2] + ranges[-1] == number:
            ranges[-1] += 1
        else:
            ranges += [number, 1]
    return ranges
