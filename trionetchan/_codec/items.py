"""CBOR data items: what stands on the wire for a value, and what cbor2 may make of bytes from anybody.

Decisions:

- Between here and cbor2 there are None, bool, int, float, str, bytes, list, dict with text and bytes keys, and tags:
  0 aware datetime, 37 UUID, 258 set, 1004 date, 27 [name, …] for all else: "local-datetime", "time", "duration",
  "decimal", "map" (a dict with other keys, as a list of keys and values in turn).
- All else is refused: any other tag, an indefinite length, a key twice.
- Nothing that a peer chose is hashed here, but text and bytes, whose hashes it cannot know: a set comes as a `Bag`, a
  dict with other keys as `Pairs`, and who has checked what is in them builds the set or dict.
- Depth is counted in containers, by `_columns`, and the same both ways; here it is only kept from running away.
- An array of large byte strings is joined and cut by hand, so that each is copied once; one alone is not even joined.
"""

from __future__ import annotations

import functools
import io
import re
import reprlib
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, cast
from uuid import UUID

import cbor2

from .._cbor import ARRAY, BYTES, head, read_head
from .._errors import ProtocolError, UnfitValue, printable
from .schema import Kind

__all__ = [
    "COPY_ONCE",
    "MAX_DEPTH",
    "NEVER_COPY",
    "TO_TAG",
    "Bag",
    "Pairs",
    "got",
    "join",
    "lead",
    "load",
    "map_tag",
    "quietly",
    "set_tag",
    "short",
    "split",
]

MAX_DEPTH = 64  # containers in each other
_MAX_CBOR_DEPTH = 1 + 3 * MAX_DEPTH + 2  # the batch; a map with other keys is a tag and two arrays
_MAX_EXPONENT = 999_999  # of a Decimal: what Python's default context allows; an int() of more would take for ever
COPY_ONCE = 4096  # mean size of bytes values from which they are joined and cut by hand
NEVER_COPY = 64 * 2**10  # size of one from which it goes to the socket from where it is


class Bag(list[Any]):
    """A set as it comes: its elements, not hashed yet."""


class Pairs(list[Any]):
    """A map as it comes, where keys are not only text and bytes: keys and values in turn."""


def load(payload: bytes) -> list[Any]:
    """The values of a batch, as cbor2 and the tags make them. It raises whatever cbor2 does."""
    stream = io.BytesIO(payload)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=_refused,
        semantic_decoders=_TAGS,
        max_depth=_MAX_CBOR_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    column: list[Any] = decoder.decode()
    if type(column) is not list or stream.read(1):
        raise UnfitValue("not one array of values")
    return column


def _refused(_value: Any, _immutable: bool) -> Any:
    raise ValueError("a tag that no value has")


def _demand(fact: object) -> None:
    if not fact:
        raise ValueError("malformed")


_DAY = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d{1,6})?"
_OFFSET = r"(?:Z|[+-]\d\d:\d\d)"


def _parsed(text: Any, pattern: str, parse: Callable[[str], Any], fold: Any = 0) -> Any:
    _demand(type(text) is str and re.fullmatch(pattern, text, re.ASCII) and type(fold) is int and fold in (0, 1))
    value = parse(text)
    return value.replace(fold=1) if fold else value


def _from_instant(text: Any, _immutable: bool) -> datetime:
    return cast("datetime", _parsed(text, f"{_DAY}T{_CLOCK}{_OFFSET}", datetime.fromisoformat))


def _from_date(text: Any, _immutable: bool) -> date:
    return cast("date", _parsed(text, _DAY, date.fromisoformat))


def _from_uuid(data: Any, _immutable: bool) -> UUID:
    _demand(type(data) is bytes)
    return UUID(bytes=data)


def _from_set(elements: Any, _immutable: bool) -> Bag:
    _demand(type(elements) is list)
    return Bag(cast("list[Any]", elements))


def _from_named(entry: Any, _immutable: bool) -> Any:
    _demand(type(entry) is list and len(entry) in (2, 3))
    name, argument, *fold = cast("list[Any]", entry)
    if name in ("local-datetime", "time"):
        pattern, parse = (f"{_DAY}T{_CLOCK}", datetime) if name == "local-datetime" else (f"{_CLOCK}{_OFFSET}?", time)
        return _parsed(argument, pattern, parse.fromisoformat, *fold)
    _demand(not fold)
    if name == "duration":
        _demand(type(argument) is int)
        return timedelta(microseconds=argument)
    if name == "decimal":
        _demand(type(argument) is str)
        value = Decimal(argument)
        _demand(_decimal_text(value) == argument)
        return value
    _demand(name == "map" and type(argument) is list and len(argument) % 2 == 0)
    return Pairs(argument)


# All that cbor2 would decode by itself is named; it leaves the rest to tag_hook. 2 and 3, large ints, are left to it.
_TAGS: dict[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys((1, 4, 5, 25, 28, 29, 30, 35, 36, 52, 54, 100, 256, 260, 261, 43000, 55799), _refused),
    0: _from_instant,
    27: _from_named,
    37: _from_uuid,
    258: _from_set,
    1004: _from_date,
}


def _named(name: str, argument: Any, fold: int = 0) -> cbor2.CBORTag:
    return cbor2.CBORTag(27, [name, argument, 1] if fold else [name, argument])


set_tag = functools.partial(cbor2.CBORTag, 258)  # of a list of elements


def map_tag(pairs: list[Any]) -> cbor2.CBORTag:
    """A dict with other keys than text and bytes, of its keys and values in turn."""
    return cbor2.CBORTag(27, ["map", pairs])


def _has_offset(value: datetime | time) -> bool:
    offset = value.utcoffset()
    if value.tzinfo is not None and (offset is None or offset % timedelta(minutes=1)):
        raise ValueError(f"{short(value)}: its UTC offset cannot be carried, it is none of whole minutes")
    return offset is not None


def _datetime_tag(value: datetime) -> cbor2.CBORTag:
    if _has_offset(value):
        return cbor2.CBORTag(0, value.isoformat())
    return _named("local-datetime", value.isoformat(), value.fold)


def _time_tag(value: time) -> cbor2.CBORTag:
    _has_offset(value)
    return _named("time", value.isoformat(), value.fold)


def _duration_tag(value: timedelta) -> cbor2.CBORTag:
    return _named("duration", value // timedelta(microseconds=1))


def _decimal_text(value: Decimal) -> str:
    if value.is_finite() and abs(value.as_tuple().exponent) > _MAX_EXPONENT:  # type: ignore[arg-type]
        raise ValueError(f"the exponent of a Decimal is beyond {_MAX_EXPONENT}")
    return str(value)


TO_TAG: dict[Kind, Callable[[Any], Any]] = {
    Kind.DATETIME: _datetime_tag,
    Kind.DATE: lambda value: cbor2.CBORTag(1004, value.isoformat()),
    Kind.TIME: _time_tag,
    Kind.DURATION: _duration_tag,
    Kind.DECIMAL: lambda value: _named("decimal", _decimal_text(value)),
    Kind.UUID: lambda value: cbor2.CBORTag(37, value.bytes),
}


def join(column: Sequence[bytes | bytearray]) -> bytes:
    """An array of large byte strings, copied once: cbor2 is ten times as slow."""
    return b"".join(
        [head(ARRAY, len(column)), *chain.from_iterable((head(BYTES, len(value)), value) for value in column)]
    )


def lead(value: bytes) -> bytes:
    """What stands before a byte string that is alone in its array."""
    return head(ARRAY, 1) + head(BYTES, len(value))


def split(payload: bytes) -> list[Any]:
    """The inverse; what is not an array of large byte strings and nothing else is left to cbor2."""
    try:
        major, count, at = read_head(payload, 0)
        _demand(major == ARRAY and count * COPY_ONCE < len(payload))
        column: list[Any] = []
        for _ in range(count):
            major, size, start = read_head(payload, at)
            if major != BYTES:
                break
            at = start + size
            column.append(payload[start:at])
        _demand(at == len(payload))
    except (IndexError, ValueError, ProtocolError):
        return load(payload)
    return column


# In messages


def quietly(function: Callable[[Any], str], value: Any) -> str:
    """A user's repr or str may raise; so does that of an int of thousands of digits."""
    try:
        return function(value)
    except Exception:
        return "…"


def got(value: Any) -> str:
    """What came, where something else was expected: its Python type, and the value."""
    name = "set" if isinstance(value, Bag) else "dict" if isinstance(value, Pairs) else type(value).__name__
    return "None" if value is None else f"{name} {short(value)}"


def short(value: Any) -> str:
    return printable(quietly(reprlib.Repr().repr, value), 60)
