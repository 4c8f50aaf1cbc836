"""How far the values that are being sent have been walked through, so that no value takes time without end.

Decisions:

- Parts may be shared: a list of twice the same list of twice the same list … is small in memory and endless written
  out. As long as little has been walked through, nothing is looked up. After that each object is converted once at each
  depth, and what it became is shared as it is. How much is written is bounded where it is written.
- What has been walked through is counted for each thread, for the one value or batch that it is sending. The steps do
  not hand it on: for most values it would cost more than their conversion.
- Nothing is counted of what was received: nothing is shared there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import attrs

from .._errors import TooLargeValue
from .items import MAX_VALUE_DEPTH
from .misfit import Misfit

__all__ = ["HERE", "converted_once", "is_far", "remembers", "require_few"]

_TRIES = 8  # how often an element may be looked at: as a single value, in a column, as of several members of a union
_MANY = 50_000  # containers, or columns of them, that are converted before any is remembered

_Column = list[Any]
_Known = dict[int, tuple[Any, Any]]  # by its id, an object beside what it became: so its id stays its own
_Memo = dict[Any, _Known]


@attrs.define(eq=False)
class Walk:
    """What one thread has walked through, of what it is sending."""

    count: int = 0  # of containers, or columns of them
    elements: int = 0
    most: int = sys.maxsize  # elements: each is written in a byte at least
    memo: _Memo = attrs.field(factory=_Memo)

    def end(self) -> None:
        """What was sent has been written, or can't be."""
        self.count = 0
        if self.memo:
            self.memo = {}

    def once(self, key: Any, value: Any, function: Callable[[Any], Any]) -> Any:
        """What the function makes of this object, made once in the walk."""
        known = self.memo.setdefault(key, {})
        if id(value) not in known:
            known[id(value)] = value, function(value)
        return known[id(value)][1]


class _Here(threading.local):
    def __init__(self) -> None:
        self.walk = Walk()


HERE = _Here()


def require_few(elements: int) -> None:
    """`TooLargeValue` if so many more elements are too many."""
    walk = HERE.walk
    walk.elements += elements
    if elements > walk.most or walk.elements > _TRIES * walk.most:
        raise TooLargeValue(f"more than {walk.most} elements")


def is_far(depth: int) -> bool:
    """Whether a container is too deep, or comes after too many, to be converted by itself. Counts one more."""
    walk = HERE.walk
    walk.count += 1
    return depth >= MAX_VALUE_DEPTH or walk.count > _MANY


def remembers() -> bool:
    """Whether so much has been converted that what comes is to be remembered. Counts one more."""
    walk = HERE.walk
    walk.count += 1
    return walk.count > _MANY


def converted_once(convert: Callable[[_Column], _Column], column: _Column, key: Any = None) -> _Column:
    """What becomes of a column of which each object is converted once; with a key, once in the walk."""
    known: _Known = {} if key is None else HERE.walk.memo.setdefault(key, {})
    places = {id(value): place for place, value in reversed(list(enumerate(column))) if id(value) not in known}
    new = [column[place] for place in places.values()]
    try:
        done = convert(new) if new else new
    except Misfit as misfit:
        misfit.index = list(places.values())[misfit.index]
        raise
    known.update(zip(places, zip(new, done, strict=True), strict=True))
    return [known[id(value)][1] for value in column]
