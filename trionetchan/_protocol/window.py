"""Both halves of flow control and acknowledgement for one channel, without anything else.

One cumulative count does everything: `delivered`, how many values the receiver's end has accepted. It returns credit,
trims what the sender keeps, and is what drain and sync wait for. Credit has two bounds, both absolute and only growing:
a count of values and a count of payload bytes. A single value may exceed the byte bound when nothing else is
unacknowledged, so that a value larger than the bound still gets through.

A value that was handed to a waiting task is delivered, but that task has not run yet: if the process died now, the
value would be in nobody's hands. So there is a second count, `confirmed`, which follows `delivered` when the task has
had its turn. Only confirmed values are told to the sender. Who does not hand values over to tasks confirms at once.

The queues are lists, though they lose their first elements: the window bounds them, and an empty deque takes 760 bytes,
of which an idle channel would have up to three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._batch import Batch, batch_count
from .._cbor import Buffer
from .._errors import ProtocolError

__all__ = ["ACK_SHARE", "ReceiveWindow", "SendWindow"]

ACK_SHARE = 3 / 8
"""The share of a window after which the sender is told. At a half, one batch of half a window would be on its way and
the sender would wait for it; here there is always another."""


class SendWindow:
    """The sender's half. `window` and `byte_window` bound what it keeps itself, beside the receiver's limits."""

    settles = False
    """Whether the receiver's program settles each value by itself: see `settling`."""

    def __init__(self, window: int, value_limit: int, byte_window: int, byte_limit: int) -> None:
        self.window = window
        self.value_limit = value_limit
        self.byte_window = byte_window
        self.byte_limit = byte_limit
        self.sent = 0
        self.bytes_sent = 0
        self.acknowledged = 0
        self.written = 0  # of `sent`: how many have gone onto the wire whole
        self._kept: list[Batch] = []  # not acknowledged, oldest first
        self._bytes_kept = 0
        self._unwritten: list[Batch] = []
        self._discards = False  # what is not on the wire yet never will be

    @property
    def unacknowledged(self) -> int:
        return self.sent - self.acknowledged

    @property
    def credit(self) -> int:
        """How many values may be taken for this receiver now; how large they may be, `fits` tells."""
        full = self.bytes_sent >= self.byte_limit or self._bytes_kept >= self.byte_window
        if full and self.sent > self.acknowledged:
            return 0
        return min(self.value_limit, self.acknowledged + self.window) - self.sent

    def fits(self, size: int, count: int) -> bool:
        """Whether a batch of `count` values in `size` bytes may be sent now."""
        large = self.bytes_sent + size > self.byte_limit or self._bytes_kept + size > self.byte_window
        if large and (count != 1 or self.sent > self.acknowledged):
            return False
        return count <= min(self.value_limit, self.acknowledged + self.window) - self.sent

    def send(self, batch: Batch) -> None:
        """Takes the batch into the window, to be written. The caller has asked `fits`."""
        batch.first = self.sent
        self.sent += batch.count
        self.bytes_sent += batch.size
        self._bytes_kept += batch.size
        self._kept.append(batch)
        self._unwritten.append(batch)

    @property
    def next_to_write(self) -> Batch | None:
        return self._unwritten[0] if self._unwritten else None

    def wrote(self) -> None:
        """The next batch has gone onto the wire whole."""
        self.written += self._unwritten.pop(0).count

    def discard_unwritten(self) -> None:
        """What has not gone onto the wire whole never will; it stays unacknowledged."""
        self._discards = True
        self._unwritten.clear()

    def check_rewind(self, channel: int, received: int) -> None:
        """`ProtocolError` unless the peer may have received just so many values."""
        whole = {self.written, *(batch.first for batch in self._kept)}
        if not self.acknowledged <= received <= self.written or received not in whole:
            raise ProtocolError(
                f"expected a position from {self.acknowledged} to {self.written}, where a batch ends, "
                f"on channel {channel}, got {received}"
            )

    def rewind(self, received: int) -> None:
        """Goes back, after `check_rewind`, to what the peer has received: the rest is written again."""
        self.written = received
        if not self._discards:
            self._unwritten = [batch for batch in self._kept if batch.first >= received]
            for batch in self._unwritten:
                batch.written = 0

    def acknowledge(self, delivered: int, value_limit: int, byte_limit: int) -> int:
        """How many values are acknowledged anew. `ProtocolError` for more than were written; going back is ignored."""
        if delivered > self.written:
            raise ProtocolError(f"expected at most {self.written} values acknowledged, got {delivered}")
        self.value_limit = max(self.value_limit, value_limit)
        self.byte_limit = max(self.byte_limit, byte_limit)
        new = delivered - self.acknowledged
        if new <= 0:
            return 0
        self.acknowledged = delivered
        whole = 0
        for batch in self._kept:
            if batch.first + batch.count > delivered:
                break
            whole += 1
            self._bytes_kept -= batch.size
        del self._kept[:whole]
        return new

    def unacknowledged_below(self, number: int) -> int:
        """How many of the first `number` values are not acknowledged."""
        return max(0, number - self.acknowledged)

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        """What is kept, oldest first: each batch, and the places of its values that are not acknowledged."""
        for batch in self._kept:
            yield batch, range(max(0, self.acknowledged - batch.first), batch.count)


class ReceiveWindow:
    """The receiver's half: checks what arrives against what was granted, joins fragments, and counts deliveries.

    It has many attributes because an object more would cost memory on each idle channel.
    """

    settles = False
    """Whether the program settles each value by itself: see `settling`."""

    def __init__(self, window: int, byte_window: int, count: int | None, max_value_size: int) -> None:
        self.window = window
        self.count = count
        self.received = 0
        self.bytes_received = 0
        self.delivered = 0
        self.confirmed = 0
        """How many of the delivered values the sender may be told of."""
        self.unbuffered = False
        """Whether values are handed to waiting tasks, so that delivering does not confirm."""
        self.announced = 0
        """How many delivered values the sender has been told of, and with them its limits."""
        self.ack_pending = False
        """Whether the session has been asked for an acknowledgement that has not told all yet."""
        self.byte_window = byte_window
        self.widened = False
        """Whether more bytes may come than the peer knows from the hello."""
        self._max_value_size = max_value_size
        self._bytes_confirmed = 0  # of the batches that are confirmed whole
        self._bytes_delivered = 0  # of those that are delivered whole
        self._value_limit, self._byte_limit = self._limits()
        self._due_values = window * ACK_SHARE
        self._due_bytes = byte_window * ACK_SHARE
        self._arrived: list[tuple[int, int]] = []  # (end, size) of batches that are not confirmed whole
        self._whole = 0  # how many of them are delivered whole
        self._partial = bytearray()
        self._partial_count = 0
        self._one_step_ago = 0  # the count of delivered values then
        self._two_steps_ago = 0

    def widen(self, byte_window: int) -> None:
        """Allows more bytes, with the next acknowledgement, which is to come now."""
        self.byte_window = byte_window
        self.widened = True
        self.announced = -1

    def _limits(self) -> tuple[int, int]:
        value_limit = self.confirmed + self.window
        if self.count is not None:
            value_limit = min(value_limit, self.count)
        return value_limit, self._bytes_confirmed + self.byte_window

    @property
    def value_limit(self) -> int:
        """Up to which count the sender has been allowed to send values."""
        return self._value_limit

    @property
    def byte_limit(self) -> int:
        """Up to which count the sender has been allowed to send bytes of payload."""
        return self._byte_limit

    @property
    def buffered_bytes(self) -> int:
        """Bytes that have arrived and are not delivered, or not confirmed."""
        return self.bytes_received - self._bytes_confirmed

    def receive(self, first: int, payload: Buffer, *, more: bool) -> tuple[bytes, int] | None:
        """The batch that this fragment completes, and its count. `ProtocolError` beyond what was granted."""
        if first != self.received:
            raise ProtocolError(f"expected the value number {self.received}, got number {first}")
        if not payload:
            raise ProtocolError("expected values, got an empty payload")
        count = self._partial_count or batch_count(payload)
        if not self._partial_count:
            if not count:
                raise ProtocolError("expected at least one value, got an empty batch")
            if first + count > self._value_limit:
                raise ProtocolError(f"expected values up to number {self._value_limit}, got up to {first + count}")
        self.bytes_received += len(payload)
        if self.bytes_received > self._byte_limit and (count > 1 or self.delivered < self.received):
            raise ProtocolError(f"expected payloads up to {self._byte_limit} bytes, got {self.bytes_received}")
        size = len(self._partial) + len(payload)
        if count == 1 and size > self._max_value_size + 1:  # the array's head is one byte
            raise ProtocolError(f"expected a value of at most {self._max_value_size} bytes, got more")
        if more:
            self._partial_count = count
            self._partial += payload
            return None
        if self._partial_count:
            self._partial += payload
            whole = bytes(self._partial)
            self.discard_partial()
        else:
            whole = bytes(payload)
        self.received += count
        self._arrived.append((self.received, size))
        return whole, count

    def discard_partial(self) -> None:
        self._partial = bytearray()
        self._partial_count = 0

    def rewind(self) -> None:
        """Goes back to the last batch that came whole; what the sender was told is told again."""
        self.bytes_received -= len(self._partial)
        self.discard_partial()
        self.announced = -1

    def deliver(self, count: int, *, stepped: bool = False) -> None:
        """The local end has accepted `count` more values.

        `stepped`: the task that says so has waited since it last did; so there was at least one turn of the scheduler
        between the two. A value is handed to a task in one turn and that task runs in the next; so what was delivered
        two steps ago is in its hands.
        """
        if stepped and self.unbuffered:
            self.confirm(self._two_steps_ago)
            self._two_steps_ago = self._one_step_ago
            self._one_step_ago = self.delivered
        self.delivered += count
        arrived = self._arrived
        while self._whole < len(arrived) and arrived[self._whole][0] <= self.delivered:
            self._bytes_delivered += arrived[self._whole][1]
            self._whole += 1
        if not self.unbuffered:
            self.confirm(self.delivered)

    def confirm(self, count: int) -> None:
        """The sender may be told of the first `count` values."""
        if count > self.confirmed:
            self.confirmed = count
            arrived = self._arrived
            while arrived and arrived[0][0] <= count:
                self._bytes_confirmed += arrived.pop(0)[1]
                self._whole -= 1

    @property
    def ack_due(self) -> bool:
        """Whether the sender should be told now, before it runs out of credit of either kind."""
        return self.delivered >= self._due_values or self._bytes_delivered >= self._due_bytes

    @property
    def confirmation_due(self) -> bool:
        """Whether so much is delivered and not confirmed that the sender may wait for that."""
        values, size = self.delivered - self.confirmed, self._bytes_delivered - self._bytes_confirmed
        return values >= self.window / 4 or size >= self.byte_window / 4

    def announce(self) -> tuple[int, int, int]:
        """Confirmed values, and the limits that go with them, for an ACK."""
        self.announced = self.confirmed
        self.ack_pending = self.confirmed < self.delivered
        self._value_limit, self._byte_limit = self._limits()
        self._due_values = self.confirmed + self.window * ACK_SHARE
        self._due_bytes = self._bytes_confirmed + self.byte_window * ACK_SHARE
        return self.confirmed, self._value_limit, self._byte_limit

    @property
    def exhausted(self) -> bool:
        """Whether all `count` values have been delivered."""
        return self.count is not None and self.delivered >= self.count
