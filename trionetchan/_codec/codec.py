"""The value codec: values of one type to CBOR bytes and back, strictly.

What arrives equals what was sent, or it is refused. A codec is built from the schema of its type, once, when a name is
bound; what the schema says is what is checked. It is a tree of steps, one for each node and direction.
"""

from __future__ import annotations

import functools
from typing import Any, Generic, TypeVar

import attrs
import cbor2

from .._errors import UnfitValue, printable
from .columns import Step
from .describe import describe
from .extent import extent_of
from .items import BatchReader
from .large_bytes import MIN_LARGE_SIZE, MIN_UNCOPIED_SIZE, header_of_one, read_large_batch, write_large_batch
from .messages import safely
from .receiving import RECEIVING
from .schema import Kind, Schema
from .sending import SENDING

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")


@attrs.frozen
class Codec(Generic[T]):
    """The values of one type, a batch at a time. `codec_for` makes it."""

    value_type: Any
    schema: Schema = attrs.field(repr=str)
    sending: Step = attrs.field(repr=False, eq=False)
    receiving: Step = attrs.field(repr=False, eq=False)
    batches: BatchReader = attrs.field(repr=False, eq=False)
    is_bytes: bool = attrs.field(repr=False, eq=False)  # so a batch may be written and read without cbor2

    def encode(self, values: list[T]) -> bytes:
        """One CBOR array of the values. `UnfitValue` if one does not fit, naming the part; then there is no result."""
        try:
            column = self.sending.convert(values)
            if self.is_bytes and sum(map(len, column)) > MIN_LARGE_SIZE * len(column):
                return write_large_batch(column)
            return cbor2.dumps(column)
        except Exception as error:
            raise _unfit(error) from None

    def encode_parts(self, values: list[T]) -> tuple[bytes, bytes]:
        """The same in two parts, one behind the other: a large bytes value is not copied."""
        value: object = values[0] if len(values) == 1 and self.is_bytes else None
        if type(value) is bytes and len(value) > MIN_UNCOPIED_SIZE:
            return header_of_one(value), value
        return b"", self.encode(values)

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
    reader = BatchReader(extent_of(schema))
    return Codec(value_type, schema, SENDING.root_step(schema), RECEIVING.root_step(schema), reader, is_bytes)


def _unfit(error: Exception) -> UnfitValue:
    if isinstance(error, UnfitValue):
        return UnfitValue(str(error))
    if isinstance(error, RecursionError):
        return UnfitValue("too deeply nested")
    return UnfitValue(printable(f"{type(error).__name__}: {safely(str, error)}"))
