"""Batches of large byte strings, written and read without cbor2, so that each is copied once; a lone one not even once.

cbor2 copies each several times, and takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from .._cbor import ARRAY, BYTES, head, read_head
from .._errors import ProtocolError
from .items import BatchReader
from .reading import require

__all__ = ["MIN_LARGE_SIZE", "MIN_UNCOPIED_SIZE", "header_of_one", "read_large_batch", "write_large_batch"]

MIN_LARGE_SIZE = 4096  # bytes: the mean size of byte strings from which this pays
MIN_UNCOPIED_SIZE = 64 * 2**10  # bytes: the size of a lone one from which it goes to the socket from where it is


def write_large_batch(column: Sequence[bytes | bytearray]) -> bytes:
    """The array of these byte strings."""
    return b"".join(
        [head(ARRAY, len(column)), *chain.from_iterable((head(BYTES, len(value)), value) for value in column)]
    )


def header_of_one(value: bytes) -> bytes:
    """What stands before a byte string that is alone in its array."""
    return head(ARRAY, 1) + head(BYTES, len(value))


def read_large_batch(payload: bytes, reader: BatchReader) -> list[Any]:
    """The values of a batch. One that is not made of large byte strings only is left to cbor2."""
    try:
        major, count, position = read_head(payload, 0)
        require(major == ARRAY and count * MIN_LARGE_SIZE < len(payload))
        column: list[Any] = []
        for _ in range(count):
            major, size, start = read_head(payload, position)
            if major != BYTES:
                break
            position = start + size
            column.append(payload[start:position])
        require(position == len(payload))
    except (IndexError, ValueError, ProtocolError):
        return reader.read(payload)
    return column
