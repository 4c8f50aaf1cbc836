"""Columns: one part of all values of a batch, checked and converted at once; and where in it something does not fit.

Decisions:

- All values of a batch are checked at once, then the first fields of all, then all elements of all lists:
  `set(map(type, column))` is the cheapest check there is, and little Python code runs for each value.
- A misfit carries its index in its column; each enclosing step maps that to an index in its own column, and prefixes
  the path.
- A column that needs no conversion is returned as it is, the very same list: so the enclosing step notices.
- A batch of one value takes a shortcut through the same steps. A shortcut only converts the usual value; whatever it
  is not sure of is left to the column step, so what is accepted, and what a refusal says, is described once.
- The sender is held to the depth, too: what leaves must be able to arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import attrs

from .._errors import printable
from .items import MAX_VALUE_DEPTH
from .messages import got, safely, short
from .misfit import Misfit
from .reading import ReceivedMap
from .walk import converted_once, remembers, require_few

__all__ = [
    "Column",
    "ColumnStep",
    "OneStep",
    "Step",
    "Unsure",
    "bounded_depth",
    "convert_elements",
    "convert_part",
    "convert_parts",
    "keys_of",
    "label_of_element",
    "label_of_key",
    "label_of_value",
    "map_each",
    "regrouped",
    "type_check",
]

Column = list[Any]
ColumnStep = Callable[[Column, int], Column]  # a column of values, and how deep it is, to a column of as many others
OneStep = Callable[[Any, int], Any]  # the same for one value

_MAX_ONE_BY_ONE = 8  # elements of a single value; from there on they are faster as a column
_MIN_SHARED_COLUMN = 64  # values from which a column is searched for one and the same object


class Unsure(Exception):
    """A shortcut leaves the value to its column step."""


def _one_of(step: Step) -> OneStep:
    column = step.column
    return step.shortcut or (lambda value, depth: column([value], depth)[0])


@attrs.define(eq=False)
class Step:
    """What becomes of the values of one node, in one direction.

    `column` decides what is accepted, and says what is wrong. The others are only faster: values whose type is in
    `unchanged` pass as they are; `shortcut` converts the usual value by itself, and raises, whatever it likes, where
    it is not sure that `column` would convert the value in the same way.
    """

    column: ColumnStep
    shortcut: OneStep | None = None
    unchanged: frozenset[type] = frozenset()
    one: OneStep = attrs.field(init=False, default=attrs.Factory(_one_of, takes_self=True))

    def become(self, other: Step) -> None:
        """Completes a step that others already refer to."""
        self.column, self.shortcut = other.column, other.shortcut
        self.unchanged, self.one = other.unchanged, other.one

    def convert(self, values: Column) -> Column:
        """The values of a batch, at depth 0."""
        if len(values) == 1:
            if type(values[0]) in self.unchanged:
                return values
            try:
                return [self.one(values[0], 0)]
            except Exception:
                return self.column(values, 0)
        return self.column(values, 0)


def type_check(expected: str, accepted: Iterable[type]) -> Callable[[Column], None]:
    """A check that the types in a column are exactly these."""
    allowed = frozenset(accepted)

    def check(column: Column) -> None:
        if not set(map(type, column)) <= allowed:
            index = next(i for i, value in enumerate(column) if type(value) not in allowed)
            raise Misfit(index, f"expected {expected}, got {got(column[index])}")

    return check


def map_each(function: Callable[..., Any], *columns: Iterable[Any]) -> Column:
    """`map` of columns of one length, where the function may raise: the misfit says at which index."""
    inputs: list[Column] = [column if isinstance(column, list) else list(column) for column in columns]
    done: Column = []
    try:
        done.extend(map(function, *inputs))  # what was done before an exception stays in the list
    except Exception as error:
        complaint = safely(str, error) or type(error).__name__
        raise Misfit(len(done), printable(complaint)) from None
    if len(done) < len(inputs[0]):
        raise Misfit(len(done), "StopIteration")  # which `map` takes for its end
    return done


def convert_part(step: ColumnStep, column: Column, depth: int, label: str) -> Column:
    """One part of every value: a field, or an element of a tuple."""
    try:
        return step(column, depth + 1)
    except Misfit as misfit:
        misfit.path.append(label)
        raise


def convert_parts(
    step: ColumnStep, column: Column, rows: Iterable[Iterable[Any]], depth: int, label: Callable[[Any, int], str]
) -> tuple[Column, Column]:
    """Many parts of every value, one after the other. Returns them, and what became of them.

    `rows` are the parts of each value in `column`. `label` names one: it gets the value, and the number of the part.
    """
    if len(column) > _MIN_SHARED_COLUMN:
        require_few(sum(map(len, column)))
    flat = list(chain.from_iterable(rows))
    try:
        return flat, step(flat, depth + 1)
    except Misfit as misfit:
        index = misfit.index
        for misfit.index, row in enumerate(column):
            size = len(row) // 2 if type(row) is ReceivedMap else len(row)
            if index < size:
                misfit.path.append(label(row, index))
                break
            index -= size
        raise


def convert_elements(step: Step, elements: Column, depth: int) -> Column:
    """The elements of a single value: a shortcut, which may raise anything."""
    if set(map(type, elements)) <= step.unchanged:
        return elements
    if len(elements) > _MAX_ONE_BY_ONE:
        return step.column(elements, depth)
    unchanged, one = step.unchanged, step.one
    return [element if type(element) in unchanged else one(element, depth) for element in elements]


def label_of_element(_row: Any, index: int) -> str:
    return f"element {index}"


def label_of_key(row: Any, index: int) -> str:
    return f"key {short(keys_of(row)[index])}"


def label_of_value(row: Any, index: int) -> str:
    return f"value of {short(keys_of(row)[index])}"


def keys_of(row: Any) -> list[Any]:
    """The keys of a dict, or of a map as it arrives."""
    return list(row[::2] if type(row) is ReceivedMap else row)


def regrouped(flat: Iterable[Any], sizes: Iterable[int]) -> Iterator[list[Any]]:
    """The parts of each value together again."""
    rest = iter(flat)
    return (list(islice(rest, size)) for size in sizes)


def bounded_depth(step: Step, too_deep: str, *, recursive: bool, counted: bool) -> Step:
    """The step of a container: bounds the depth, and ends the descent where there are no values left.

    `counted`: what it converts is counted, and after much, each object is converted once.
    """
    convert = step.column

    def bounded(column: Column, depth: int) -> Column:
        if not column:
            return column
        if depth >= MAX_VALUE_DEPTH:
            raise Misfit(0, too_deep)
        if counted and remembers():
            return converted_once(lambda new: convert(new, depth), column, (convert, depth))
        if recursive and len(column) > _MIN_SHARED_COLUMN and 2 * len(set(map(id, column))) < len(column):
            # a list that holds itself twice would double the column at every level: each object is looked at once
            return converted_once(lambda new: convert(new, depth), column)
        return convert(column, depth)

    return attrs.evolve(step, column=bounded)
