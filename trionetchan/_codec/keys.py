"""What may be the keys of a map, or the elements of a set: each once, by the specification's rule, and none NaN.

Decisions:

- The rule is about data, not about Python's objects, and is the same in both directions: numbers are equal by value,
  moments by the instant, NaN is refused, since it equals nothing. A class that compares its objects by identity has two
  unequal objects with the same data: they cannot be in one set on the wire.
- For most types what is unequal in Python is unequal as data. Only for the others is it looked at.
- No set or dict is built of keys that a peer chose before it was checked that few of them share a hash.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import cbor2

from .items import item_of_tag
from .reading import ReceivedMap, ReceivedSet

__all__ = ["all_plain", "require_distinct", "require_distinct_data", "require_few_collisions"]

_MAX_COLLISIONS = 64  # keys of one hash

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
    found = require_few_collisions(list(map(_data, items)))
    require_distinct(set(found), found)


def _data(item: object) -> Any:
    """What equals, and hashes as, what stands for the same data. `ValueError` for what has a NaN in it."""
    convert = _CONVERT.get(type(item))
    return item if convert is None else convert(item)


def _number(item: float | Decimal) -> float | Decimal:
    if item.is_nan() if isinstance(item, Decimal) else item != item:
        raise ValueError(_NAN)
    return item


def _array(items: Sequence[Any]) -> Any:
    return tuple(map(_data, items))


def _set(items: Iterable[Any]) -> Any:
    return frozenset(require_few_collisions(list(map(_data, items))))


def _map(items: Any) -> Any:
    rows = zip(items[::2], items[1::2], strict=True) if type(items) is ReceivedMap else items.items()
    return dict, _set(cast("Any", list(rows)))  # marked by what no item is: an array may hold a set of pairs


def _tag(item: Any) -> Any:
    return _data(item_of_tag(item))


_CONVERT: dict[type, Callable[[Any], Any]] = {
    float: _number,
    Decimal: _number,
    list: _array,
    tuple: _array,
    ReceivedSet: _set,
    dict: _map,
    ReceivedMap: _map,
    cbor2.CBORTag: _tag,
}
