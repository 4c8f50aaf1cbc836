"""Columns: one part of all values of a batch, checked and converted at once; and where in it something does not fit.

Decisions:

- All values of a batch are checked at once, then the first fields of all, then all elements of all lists:
  `set(map(type, column))` is the cheapest check there is, and little of it is Python code that runs per value.
- A part that does not fit says its place in its column; each floor above translates that into its own, and adds a step
  to the path.
- A column to which nothing has to be done is returned as it is, the very same list: so the floor above sees it.
- No set or dict is built of keys that a peer chose before it was checked that few of them share a hash. The sender is
  held to that, and to the depth: what leaves must be able to arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from .._errors import UnfitValue, printable
from .items import MAX_DEPTH, Pairs, got, quietly, short

__all__ = [
    "Column",
    "Misfit",
    "Step",
    "bounded_hashes",
    "each",
    "element_label",
    "key_label",
    "keys_of",
    "many_parts",
    "nested",
    "one_part",
    "regrouped",
    "type_check",
    "value_label",
    "whole",
]

Column = list[Any]
Step = Callable[[Column, int], Column]  # a column of values, and how deep it is, to a column of as many others

_MAX_COLLISIONS = 64  # keys of one hash


class Misfit(UnfitValue):
    """Something in a column does not fit. On its way up it gathers the path to it."""

    def __init__(self, index: int, complaint: str) -> None:
        super().__init__(complaint)
        self.index = index
        self.complaint = complaint
        self.path: list[str] = []

    def __str__(self) -> str:
        path = self.path[::-1]
        if len(path) > 8:
            path[4:-4] = ["…"]
        return f"{', '.join(path)}: {self.complaint}" if path else self.complaint


def type_check(expected: str, accepted: Iterable[type]) -> Callable[[Column], None]:
    """A check that the types in a column are exactly these."""
    allowed = frozenset(accepted)

    def check(column: Column) -> None:
        if not set(map(type, column)) <= allowed:
            index = next(i for i, value in enumerate(column) if type(value) not in allowed)
            raise Misfit(index, f"expected {expected}, got {got(column[index])}")

    return check


def each(function: Callable[..., Any], *columns: Iterable[Any]) -> Column:
    """`map`, where it may fail."""
    columns = tuple(map(list, columns))
    try:
        return list(map(function, *columns))
    except Exception:
        for index, row in enumerate(zip(*columns, strict=True)):
            try:
                function(*row)
            except Exception as error:
                complaint = quietly(str, error) or type(error).__name__
                raise Misfit(index, printable(complaint)) from None
        raise


def one_part(step: Step, column: Column, depth: int, part: str) -> Column:
    """One part of every value: a field, an element of a tuple."""
    try:
        return step(column, depth + 1)
    except Misfit as misfit:
        misfit.path.append(part)
        raise


def many_parts(
    step: Step, column: Column, rows: Iterable[Iterable[Any]], depth: int, label: Callable[[Any, int], str]
) -> tuple[Column, Column]:
    """Many parts of every value, one after the other; and what became of them: the very same column if nothing did."""
    flat = list(chain.from_iterable(rows))
    try:
        return flat, step(flat, depth + 1)
    except Misfit as misfit:
        index = misfit.index
        for misfit.index, row in enumerate(column):
            size = len(row) // 2 if type(row) is Pairs else len(row)
            if index < size:
                misfit.path.append(label(row, index))
                break
            index -= size
        raise


def element_label(_row: Any, index: int) -> str:
    return f"element {index}"


def keys_of(row: Any) -> list[Any]:
    return list(row[::2] if type(row) is Pairs else row)


def key_label(row: Any, index: int) -> str:
    return f"key {short(keys_of(row)[index])}"


def value_label(row: Any, index: int) -> str:
    return f"value of {short(keys_of(row)[index])}"


def regrouped(flat: Iterable[Any], sizes: Iterable[int]) -> Iterator[list[Any]]:
    rest = iter(flat)
    return (list(islice(rest, size)) for size in sizes)


def bounded_hashes(keys: Sequence[Any]) -> Sequence[Any]:
    """Keys whose hashing takes bounded time. The sender's are held to it too: what leaves must be able to arrive."""
    if len(keys) > _MAX_COLLISIONS and max(Counter(map(hash, keys)).values()) > _MAX_COLLISIONS:
        raise ValueError("too many keys or elements of one hash")
    return keys


def whole(built: Any, keys: Sequence[Any]) -> Any:
    if len(built) != len(keys):
        raise ValueError("a key or element twice")
    return built


def nested(step: Step, *, shared: bool) -> Step:
    """A step for a container: bounds depth, and ends the descent where there are no values left."""

    def bounded(column: Column, depth: int) -> Column:
        if not column:
            return column
        if depth >= MAX_DEPTH:
            raise Misfit(0, f"more than {MAX_DEPTH} levels of nesting")
        if shared and len(column) > 64:
            # a value that holds itself more than once would grow at every level: look at each object once
            single = {id(value): value for value in column}
            if 2 * len(single) < len(column):
                done = dict(zip(single, step(list(single.values()), depth), strict=True))
                return [done[id(value)] for value in column]
        return step(column, depth)

    return bounded
