"""A batch: consecutive values of a channel, encoded together as one CBOR array.

It is what the channels deal, what the protocol cuts into frames, and what is kept until it is acknowledged. Here it is
only counted, split and joined; what the values are is the business of the value codec.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from ._cbor import ARRAY, Buffer, head, read_head, skip
from ._errors import ProtocolError

__all__ = ["Batch", "array_of", "batch_count", "split_batch"]


@attrs.define(eq=False)
class Batch:
    """Values as bytes: `head`, then `payload`. A large value need not be copied to come behind its own length."""

    payload: bytes
    count: int
    head: bytes = b""
    first: int = 0
    """The number of the first value on its channel, once it is sent."""
    written: int = 0
    """How many of its bytes have been written."""
    redelivered: bool = False
    """Whether its receiver is to be told that somebody has had these values before."""
    size: int = attrs.field(init=False)
    """In bytes."""

    def __attrs_post_init__(self) -> None:
        self.size = len(self.head) + len(self.payload)

    def cut(self, start: int, end: int) -> list[bytes | memoryview]:
        """Its bytes from `start` to `end`, without copying them."""
        lead = len(self.head)
        if not start and end == lead + len(self.payload):
            return [self.head, self.payload] if lead else [self.payload]
        return [self.head[start:end], memoryview(self.payload)[max(0, start - lead) : max(0, end - lead)]]

    def values(self, places: Iterable[int] | None = None) -> list[bytes]:
        """The encoded values, or those in these places."""
        values = split_batch(self.head + self.payload)
        return values if places is None else [values[place] for place in places]


def batch_count(payload: Buffer) -> int:
    """How many values the batch that starts with `payload` says it holds. `ProtocolError` if it is no array."""
    try:
        major, count, _ = read_head(payload, 0)
    except IndexError:
        raise ProtocolError("expected a batch of values, got a payload that is cut short") from None
    if major != ARRAY:
        raise ProtocolError(f"expected a batch of values (an array), got major type {major}")
    return count


def split_batch(payload: Buffer) -> list[bytes]:
    """The values of a batch, each as its own bytes. `ProtocolError` if it is not one array."""
    _, count, position = read_head(payload, 0)
    items: list[bytes] = []
    for _ in range(count):
        end = skip(payload, position)
        items.append(bytes(payload[position:end]))
        position = end
    if position != len(payload):
        raise ProtocolError(f"expected the end of the batch, got {len(payload) - position} bytes more")
    return items


def array_of(items: Sequence[bytes]) -> bytes:
    """The batch of these encoded values."""
    return head(ARRAY, len(items)) + b"".join(items)
