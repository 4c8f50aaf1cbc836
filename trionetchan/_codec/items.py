"""CBOR data items: what stands on the wire for a value.

Decisions:

- Between here and cbor2 there are None, bool, int, float, str, bytes, list, dict with text and bytes keys, and tags:
  0 aware datetime, 37 UUID, 258 set, 1004 date, 27 [name, …] for all else: "local-datetime", "time", "duration",
  "decimal", "map" (a dict with other keys, as a list of keys and values in turn). All else is refused.
- Moments and Decimals travel as text, and only the forms of the specification are accepted. (What `fromisoformat` takes
  beyond them differs between versions of Python: hour 24, 60 minutes of an offset.)
- Depth is counted in containers, by the steps, and the same both ways; cbor2 only keeps it from running away. It goes
  no deeper than the type does: of what is small, that is only for the message read as if the type said nothing.
- A type without lists, sets and maps says how many items a value has: the heads of a large payload are counted before
  anything is built. A small one takes little memory, whatever is in it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any, cast
from uuid import UUID

import attrs
import cbor2

from .._batch import batch_count
from .._cbor import has_more_items
from .._errors import UnfitValue
from .extent import Extent
from .messages import short
from .reading import Reader, ReceivedMap, ReceivedSet, TagReader, require
from .schema import Kind

__all__ = ["FREE_DEPTH", "MAX_VALUE_DEPTH", "TO_TAG", "BatchReader", "item_of_tag", "map_tag", "set_tag"]

MAX_VALUE_DEPTH = 64  # containers within containers
FREE_DEPTH = 4  # containers within containers that are converted one by one without being counted
_MAX_CBOR_DEPTH = 1 + 3 * MAX_VALUE_DEPTH + 3  # the batch; a map with other keys is a tag and two arrays; a duration
_MAX_SMALL_SIZE = 4 * 2**10  # bytes of a payload that is read again for a better message
_MAX_UNCOUNTED_SIZE = (
    256 * 2**10
)  # bytes of a payload whose items are not counted; larger ones are most often one value
_LEAST_MEAN_SIZE = 16  # bytes of payload for each item that may be there, from which it pays to count them
_DECIMAL_FORM = Context(capitals=1)  # a program may have another for itself
_MAX_EXPONENT = 999_999  # of a Decimal: what Python's default context allows; an int() of more would take for ever


# Tags to values

_DAY = r"\d{4}-\d\d-\d\d"
_HOUR, _MINUTE = r"(?:[01]\d|2[0-3])", r"[0-5]\d"
_CLOCK = rf"{_HOUR}:{_MINUTE}:{_MINUTE}(?:\.\d{{1,6}})?"
_OFFSET = rf"(?:Z|[+-]{_HOUR}:{_MINUTE})"


def _parsed(text: Any, pattern: str, parse: Callable[[str], Any], fold: Any = 0) -> Any:
    require(type(text) is str and re.fullmatch(pattern, text, re.ASCII) and type(fold) is int and fold in (0, 1))
    value = parse(text)
    return value.replace(fold=1) if fold else value


def _from_instant(text: Any, _immutable: bool) -> datetime:
    return cast("datetime", _parsed(text, f"{_DAY}T{_CLOCK}{_OFFSET}", datetime.fromisoformat))


def _from_date(text: Any, _immutable: bool) -> date:
    return cast("date", _parsed(text, _DAY, date.fromisoformat))


def _from_uuid(data: Any, _immutable: bool) -> UUID:
    require(type(data) is bytes)
    return UUID(bytes=data)


def _from_set(elements: Any, _immutable: bool) -> ReceivedSet:
    require(type(elements) is list)
    return ReceivedSet(cast("list[Any]", elements))


def _from_named(entry: Any, _immutable: bool) -> Any:
    require(type(entry) is list and len(entry) in (2, 3))
    name, argument, *fold = cast("list[Any]", entry)
    if name in ("local-datetime", "time"):
        pattern, parse = (f"{_DAY}T{_CLOCK}", datetime) if name == "local-datetime" else (f"{_CLOCK}{_OFFSET}?", time)
        return _parsed(argument, pattern, parse.fromisoformat, *fold)
    require(not fold)
    if name == "duration":
        require(type(argument) is int)
        return timedelta(microseconds=argument)
    if name == "decimal":
        require(type(argument) is str)
        value = Decimal(argument)
        require(_decimal_text(value) == argument)
        return value
    require(name == "map" and type(argument) is list and len(argument) % 2 == 0)
    return ReceivedMap(argument)


_TAGS: dict[int, TagReader] = {
    0: _from_instant,
    27: _from_named,
    37: _from_uuid,
    258: _from_set,
    1004: _from_date,
}


@functools.cache  # one for all codecs of a depth, so that they share its decoders
def _reader(max_depth: int) -> Reader:
    return Reader(max_depth=max_depth, tags=_TAGS)


@attrs.frozen(eq=False)
class BatchReader:
    """Reads the batches of one type: cbor2 builds no more than the type can hold, or what is small."""

    extent: Extent
    reader: Reader = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        depth = _MAX_CBOR_DEPTH if self.extent.depth is None else min(1 + self.extent.depth, _MAX_CBOR_DEPTH)
        object.__setattr__(self, "reader", _reader(depth))

    def read(self, payload: bytes) -> list[Any]:
        """The values of a batch as they arrive. Raises whatever cbor2 or the reader of a tag raises."""
        if len(payload) > _MAX_UNCOUNTED_SIZE and self.extent.items is not None:
            _require_few_items(payload, self.extent.items)
        try:
            column: list[Any] = self.reader.read(payload)
        except Exception:
            if len(payload) > _MAX_SMALL_SIZE:
                raise
            column = _reader(_MAX_CBOR_DEPTH).read(payload)  # so that the steps say what is wrong, and where
        if type(column) is not list:
            raise UnfitValue("not one array of values")
        return column


def _require_few_items(payload: bytes, items_of_one: int) -> None:
    """`UnfitValue` if there are more items than the values can have. Not looked at where the values are many and small:
    there, they may be as many as that."""
    count = batch_count(payload)
    most = 1 + count * items_of_one
    if most * _LEAST_MEAN_SIZE < len(payload) and has_more_items(payload, most):
        raise UnfitValue(f"expected at most {most - 1} items of data in {count} values, got more")


def item_of_tag(tag: cbor2.CBORTag) -> Any:
    """What a tag that is about to be written will be read as."""
    return _TAGS[tag.tag](tag.value, False)


# Values to tags


def _named(name: str, argument: Any, fold: int = 0) -> cbor2.CBORTag:
    return cbor2.CBORTag(27, [name, argument, 1] if fold else [name, argument])


set_tag = functools.partial(cbor2.CBORTag, 258)  # a set, of a list of its elements


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
    return _DECIMAL_FORM.to_sci_string(value)


TO_TAG: dict[Kind, Callable[[Any], Any]] = {
    Kind.DATETIME: _datetime_tag,
    Kind.DATE: lambda value: cbor2.CBORTag(1004, value.isoformat()),
    Kind.TIME: _time_tag,
    Kind.DURATION: _duration_tag,
    Kind.DECIMAL: lambda value: _named("decimal", _decimal_text(value)),
    Kind.UUID: lambda value: cbor2.CBORTag(37, value.bytes),
}
