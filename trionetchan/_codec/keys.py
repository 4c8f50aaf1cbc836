"""What may be the keys of a map, or the elements of a set: each once, by the specification's rule, and none NaN.

Decisions:

- The rule is about data, not about Python's objects, and is the same in both directions: numbers are equal by value,
  moments by the instant, NaN is refused, since it equals nothing. A class that compares its objects by identity has two
  unequal objects with the same data: they cannot be in one set on the wire.
- For most types what is unequal in Python is unequal as data. Only for the others is it looked at.
- No set or dict is built of keys that a peer chose before it was checked that few of them share a hash.
- To compare a Decimal with an integer of many digits takes Python a time that grows with their square, and a peer could
  make them share a hash. So no set or map has both among its keys, at any depth.
- What an inner set or map was compared as is kept: in a set of sets of sets, each is looked at once.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import attrs
import cbor2

from .items import item_of_tag
from .reading import ReceivedMap, ReceivedSet
from .walk import HERE

__all__ = ["all_plain", "require_distinct", "require_distinct_data", "require_few_collisions"]

_MAX_COLLISIONS = 64  # keys of one hash
_MAX_BITS = 1024  # of an integer in a key beside a Decimal

_PLAIN = frozenset({type(None), bool, int, str, bytes, date, timedelta, UUID})  # unequal here, unequal as data
_FLOATS = _PLAIN | {float}  # so are these, but for NaN
_NAN = "NaN equals nothing, so it can be in no key and no element of a set"


def require_few_collisions(keys: Sequence[Any]) -> Sequence[Any]:
    """The same keys, if hashing them takes bounded time; else `ValueError`."""
    if len(keys) > _MAX_COLLISIONS and max(Counter(map(hash, keys)).values()) > _MAX_COLLISIONS:
        raise ValueError("too many keys or elements of one hash")
    return keys


def require_distinct(built: Any, keys: Sequence[Any]) -> Any:
    """The set or dict that was built of these keys; `ValueError` if two of them were equal."""
    if len(built) != len(keys):
        raise ValueError("a key or element twice")
    return built


def all_plain(values: Iterable[Any]) -> bool:
    """Whether values that are unequal in Python are unequal as data, by their types alone."""
    return set(map(type, values)) <= _PLAIN


def require_distinct_data(values: Sequence[Any], items: Sequence[Any]) -> None:
    """`ValueError` if two of the items on the wire are equal, or one has a NaN in it.

    `values`: what the items stand for here, of which no two are equal; or the items again, if that is checked later.
    """
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        return
    if kinds <= _FLOATS:
        if any(map(operator.ne, items, items)):
            raise ValueError(_NAN)
        return
    found = require_few_collisions(_all_data(items)[0])
    require_distinct(set(found), found)


def _all_data(items: Iterable[Any]) -> tuple[list[Any], _Numbers]:
    """What the items are compared as. `ValueError` if there are numbers among them that take long to compare."""
    numbers = _Numbers()
    found = [_data(item, numbers) for item in items]
    if numbers.decimal and numbers.long:
        raise ValueError(f"a Decimal and an integer of more than {_MAX_BITS} bits in the keys or elements of one")
    return found, numbers


@attrs.define(eq=False)
class _Numbers:
    """Which numbers have been seen in keys or elements."""

    decimal: bool = False
    long: bool = False


def _data(item: object, numbers: _Numbers) -> Any:
    """What equals, and hashes as, what stands for the same data. `ValueError` for what has a NaN in it."""
    if type(item) is int:  # the most frequent, so not by a function of its own
        if item.bit_length() > _MAX_BITS:
            numbers.long = True
        return item
    convert = _CONVERT.get(type(item))
    return item if convert is None else convert(item, numbers)


def _float(item: float, _numbers: _Numbers) -> float:
    if item != item:
        raise ValueError(_NAN)
    return item


def _decimal(item: Decimal, numbers: _Numbers) -> Decimal:
    if item.is_nan():
        raise ValueError(_NAN)
    numbers.decimal = True
    return item


def _array(items: Sequence[Any], numbers: _Numbers) -> Any:
    return tuple([_data(item, numbers) for item in items])


def _set(items: Iterable[Any], numbers: _Numbers) -> Any:
    found, inner = _all_data(items)
    numbers.decimal |= inner.decimal
    numbers.long |= inner.long
    return frozenset(require_few_collisions(found))


def _map(items: dict[Any, Any], numbers: _Numbers) -> Any:
    return dict, _set(items.items(), numbers)  # marked by what no item is: an array may hold a set of pairs


def _received(items: ReceivedSet | ReceivedMap, numbers: _Numbers) -> Any:
    if items.data is None:
        inner = _Numbers()
        if type(items) is ReceivedMap:
            data = dict, _set(zip(items[::2], items[1::2], strict=True), inner)
        else:
            data = _set(items, inner)
        items.data = data, inner
    data, inner = cast("tuple[Any, _Numbers]", items.data)
    numbers.decimal |= inner.decimal
    numbers.long |= inner.long
    return data


def _tag(item: Any, numbers: _Numbers) -> Any:
    return _data(HERE.walk.once("items", item, item_of_tag), numbers)


_CONVERT: dict[type, Callable[[Any, _Numbers], Any]] = {
    float: _float,
    Decimal: _decimal,
    list: _array,
    tuple: _array,
    ReceivedSet: _received,
    ReceivedMap: _received,
    dict: _map,
    cbor2.CBORTag: _tag,
}
