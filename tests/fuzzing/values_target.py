"""Target: values of a peer. The first byte chooses the value type, the rest is a batch."""

from __future__ import annotations

from typing import Any

from trionetchan._batch import array_of, batch_count, split_batch
from trionetchan._codec import Codec
from trionetchan._errors import ProtocolError, UnfitValue

from .checks import bounded_memory, bounded_work, check, same
from .types_carried import CODECS

__all__ = ["values"]

_MAX_TEXT = 2000  # characters of a complaint


def values(data: bytes) -> None:
    """The target."""
    codec, payload = CODECS[data[0] % len(CODECS)] if data else CODECS[0], data[1:]
    with bounded_memory(2**18 + 1000 * len(data)), bounded_work(5000 + 200 * len(data)):
        items = _split(payload)
        try:
            decoded = codec.decode(payload)
        except UnfitValue as error:
            check(str(error).isprintable() and len(str(error)) < _MAX_TEXT, "not a line for a log", str(error))
            return
        check(items is not None, "a batch that can be decoded and not be split", payload)
        _check_encoded_again(codec, decoded)
        for item, value in zip(items or [], decoded, strict=True):
            (alone,) = codec.decode(array_of([item]))
            check(same(alone, value), "another value when it comes alone", value, alone)


def _split(payload: bytes) -> list[bytes] | None:
    """What the protocol makes of the batch, which knows nothing of values."""
    try:
        count = batch_count(payload)
        items = split_batch(payload)
    except ProtocolError:
        return None
    check(len(items) == count, "another count of values", count, len(items))
    return items


def _check_encoded_again(codec: Codec[Any], decoded: list[Any]) -> None:
    """What was accepted can be sent, and arrives as it is."""
    again = codec.decode(codec.encode(decoded))
    check(same(again, decoded), "other values when encoded and decoded again", decoded, again)
    head, payload = codec.encode_parts(decoded)
    check(same(codec.decode(head + payload), decoded), "other values when encoded in parts", decoded)
