"""The value codec: values of one type to CBOR bytes and back, strictly.

What arrives equals what was sent, or it is refused. A codec is built from the schema of its type, once, when a name is
bound; what the schema says is what is checked. It is a tree of steps, one for each node and direction.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Generic, TypeVar

import attrs
import cbor2

from .._errors import TooLargeValue, UnfitValue, printable
from .columns import Step
from .describe import describe
from .extent import extent_of
from .items import BatchReader
from .large_bytes import MIN_LARGE_SIZE, MIN_UNCOPIED_SIZE, header_of_one, read_large_batch, write_large_batch
from .messages import safely
from .receiving import RECEIVING
from .schema import Kind, Schema
from .sending import SENDING
from .walk import HERE
from .writing import write

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")

_MIN_MAX_SIZE = 2**20  # bytes that are written whatever the limit, so that a message can say how many there are
_MAX_HEAD_SIZE = 9  # bytes of the array around the values


@attrs.frozen
class Codec(Generic[T]):
    """The values of one type, a batch at a time. `codec_for` makes it."""

    value_type: Any
    schema: Schema = attrs.field(repr=str)
    sending: Step = attrs.field(repr=False, eq=False)
    receiving: Step = attrs.field(repr=False, eq=False)
    batches: BatchReader = attrs.field(repr=False, eq=False)
    any_size: bool = attrs.field(repr=False, eq=False)  # what is written may be far larger than the value in memory
    is_bytes: bool = attrs.field(repr=False, eq=False)  # so a batch may be written and read without cbor2

    def encode(self, values: list[T], max_size: int = sys.maxsize) -> bytes:
        """One CBOR array of the values. `UnfitValue` if one does not fit, naming the part; then there is no result.

        `TooLargeValue` if values of a type of any size would have more than `max_size` bytes, and more than a mebibyte.
        """
        try:
            if self.any_size and not (len(values) == 1 and type(values[0]) in self.sending.unchanged):
                return self._encode_any_size(values, max(max_size, _MIN_MAX_SIZE))
            column = self.sending.convert(values)
            if self.is_bytes and sum(map(len, column)) > MIN_LARGE_SIZE * len(column):
                return write_large_batch(column)
            return cbor2.dumps(column)
        except Exception as error:
            raise _unfit(error) from None

    def _encode_any_size(self, values: list[T], max_size: int) -> bytes:
        walk = HERE.walk
        walk.most, walk.elements = max_size, 0
        try:
            return write(self.sending.convert(values), max_size + _MAX_HEAD_SIZE)
        finally:
            walk.most = sys.maxsize
            if walk.count:
                walk.end()

    def encode_parts(self, values: list[T], max_size: int = sys.maxsize) -> tuple[bytes, bytes]:
        """The same in two parts, one behind the other: a large bytes value is not copied."""
        value: object = values[0] if len(values) == 1 and self.is_bytes else None
        if type(value) is bytes and len(value) > MIN_UNCOPIED_SIZE:
            return header_of_one(value), value
        return b"", self.encode(values, max_size)

    def decode(self, payload: bytes) -> list[T]:
        """The inverse, safe on what anybody sends: `UnfitValue` for whatever is wrong with it."""
        try:
            may_be_large = self.is_bytes and len(payload) > MIN_LARGE_SIZE
            column = read_large_batch(payload, self.batches) if may_be_large else self.batches.read(payload)
            return self.receiving.convert(column)
        except Exception as error:
            raise _unfit(error) from None


def codec_for(value_type: Any) -> Codec[Any]:
    """A codec for a type. `UnfitValue` names the part of it that cannot be carried: `Job.callback: a function …`."""
    try:
        hash(value_type)
    except TypeError:
        return _new_codec.__wrapped__(value_type)
    return _new_codec(value_type)


@functools.lru_cache(maxsize=256)  # a thousand channels of one type share its codec
def _new_codec(value_type: Any) -> Codec[Any]:
    schema = describe(value_type)
    is_bytes = schema.nodes[0].kind is Kind.BYTES
    extent = extent_of(schema)
    sending, receiving = SENDING.root_step(schema), RECEIVING.root_step(schema)
    return Codec(value_type, schema, sending, receiving, BatchReader(extent), extent.items is None, is_bytes)


def _unfit(error: Exception) -> UnfitValue:
    if isinstance(error, TooLargeValue):
        return error
    if isinstance(error, UnfitValue):
        return UnfitValue(str(error))
    if isinstance(error, RecursionError):
        return UnfitValue("too deeply nested")
    return UnfitValue(printable(f"{type(error).__name__}: {safely(str, error)}"))
