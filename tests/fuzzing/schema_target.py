"""Target: the description of a value type that comes from a peer, and its comparison with others."""

from __future__ import annotations

import functools
import zlib
from typing import Any

from trionetchan._codec import Difference, Schema, difference
from trionetchan._errors import UnfitValue

from .checks import bounded_memory, bounded_work, check, same
from .types_carried import CODECS

__all__ = ["schema"]

_MAX_TEXT = 1000  # characters of what is said about a schema
_MAX_CALLS = 400_000  # of functions: three comparisons, of 10,000 steps each
_LARGE = 200  # bytes of a schema that may make a comparison too long


def schema(data: bytes) -> None:
    """The target."""
    _own()
    with bounded_memory(4 * 2**20 + 400 * len(data)), bounded_work(_MAX_CALLS):
        try:
            read = Schema.from_bytes(data)
        except UnfitValue as error:
            _check_text(str(error))
        else:
            _check_text(str(read))
            _check_written_again(read, len(data))
            check(difference(read, read) is None or len(data) > _LARGE, "a type that does not fit itself", read)
        own = _own()[zlib.crc32(data) % len(_own())]
        _check_difference(difference(data, own))
        _check_difference(difference(own, data))


@functools.cache
def _own() -> list[Schema]:
    """A few of this side's own."""
    return [codec.schema for codec in CODECS]


def _check_text(text: str) -> None:
    check(len(text) < _MAX_TEXT and text.isprintable(), "not a line for a log", text[:_MAX_TEXT])


def _check_difference(found: Difference | None) -> None:
    if found is not None:
        for text in (str(found), found.told_to_sender(), found.told_to_receiver()):
            _check_text(text)


def _check_written_again(read: Schema, size: int) -> None:
    """What was read can be written, unless that is too long: a float came in fewer bytes than it is written in."""
    try:
        written = read.to_bytes()
    except UnfitValue:
        check(size > 8192, "a small schema that cannot be written", size)
        return
    again = Schema.from_bytes(written)
    check(same(_plain(read), _plain(again)), "another schema when written and read again", read, again)
    check(again.to_bytes() == written, "another schema when written twice", read)


def _plain(read: Schema) -> Any:
    return [(node.kind, node.items, node.values, node.name, node.fields, node.open) for node in read.nodes]
