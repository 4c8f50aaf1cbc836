"""The steps of a codec: one for each node of a schema, from a column of values to a column of what they become.

This module has what sending and receiving have in common. Decisions:

- Types are exact. Nothing is coerced, no subclass passes, no unknown field.
- `Any` is the union of all that CBOR carries unchanged. Where a value must be hashable, that is tuple and frozenset.
- Of a union's members, one is chosen by a look at the value. Only where that leaves several are they tried, and those
  are never recursive.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import typing_extensions

from .columns import (
    Column,
    ColumnStep,
    Misfit,
    OneStep,
    Step,
    Unsure,
    bounded_depth,
    convert_part,
    map_each,
    type_check,
)
from .items import MAX_VALUE_DEPTH
from .messages import got, short
from .schema import SCALARS, Kind, Node, Schema, reaches
from .unions import Choices

__all__ = [
    "Conversion",
    "Steps",
    "convert_each",
    "literal_step",
    "mapped_step",
    "record_step",
    "scalar_step",
    "shortcuts_of",
    "tuple_step",
]

_CONTAINERS = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.MAP, Kind.RECORD})


@attrs.frozen(eq=False)
class Conversion:
    """One of the two directions, sending or receiving: what makes the step of each kind of node.

    Kinds that are not in `makers` are scalars that pass unchanged.
    """

    makers: Mapping[Kind, Callable[[Steps, int, Node], Step]]
    choices: Callable[[Schema, Node], Choices]
    complaint_of_untyped: Callable[[object], str]  # about a value that `Any` does not accept
    too_deep: str  # the complaint about too many levels

    def root_step(self, schema: Schema) -> Step:
        return Steps(schema, self).of(0)


@attrs.define(eq=False)
class Steps:
    """The steps for the nodes of one schema, made one by one."""

    schema: Schema
    conversion: Conversion
    untyped: bool = False
    made: dict[int, Step] = attrs.field(factory=dict[int, Step])

    def of(self, index: int) -> Step:
        if index not in self.made:
            # placeholder for recursive types: what is made meanwhile refers to the very object that is completed here
            step = self.made[index] = Step(
                lambda column, depth: step.column(column, depth), lambda value, depth: step.one(value, depth)
            )
            step.become(self.make(index, self.schema.nodes[index]))
        return self.made[index]

    def make(self, index: int, node: Node) -> Step:
        if node.kind is Kind.ANY:
            return _untyped_steps(self.conversion)[node.hashed]
        if node.kind is Kind.UNION:
            return union_step(self, index, node)
        if node.kind not in _CONTAINERS:
            return self.conversion.makers.get(node.kind, scalar_step)(self, index, node)
        if node.kind is Kind.RECORD and typing_extensions.is_typeddict(node.python):
            step = record_step(self, index, node, dict)
        else:
            step = self.conversion.makers[node.kind](self, index, node)
        parts = (*node.items, *(field.node for field in node.fields))
        recursive = any(reaches(self.schema.nodes, part, index) for part in parts)
        return bounded_depth(step, self.conversion.too_deep, recursive=recursive)

    def check(self, index: int, accepted: Iterable[type]) -> Callable[[Column], None]:
        return type_check(self.schema.text(index), accepted)


@functools.cache
def _untyped_steps(conversion: Conversion) -> tuple[Step, Step]:
    """The steps for `Any`, and for `Any` where it must be hashable."""
    steps = Steps(_untyped_schema(), conversion, untyped=True)
    return steps.of(0), steps.of(1)


def _untyped_schema() -> Schema:
    """What `Any` stands for: at 0, and where it must be hashable at 1."""
    scalars = [Node(kind, python=python) for python, kind in SCALARS.items()]
    common, first = tuple(range(2, 2 + len(scalars))), 2 + len(scalars)
    return Schema(
        (
            Node(Kind.UNION, (*common, first, first + 1, first + 2)),
            Node(Kind.UNION, (*common, first + 3, first + 4), hashed=True),
            *scalars,
            Node(Kind.LIST, (0,), python=list),
            Node(Kind.SET, (1,), python=set),
            Node(Kind.MAP, (1, 0), python=dict),
            Node(Kind.LIST, (1,), python=tuple),
            Node(Kind.SET, (1,), python=frozenset),
        )
    )


def scalar_step(steps: Steps, index: int, node: Node) -> Step:
    """Values that pass unchanged."""
    accepted = frozenset({node.python})
    check = steps.check(index, accepted)

    def convert(column: Column, _depth: int) -> Column:
        check(column)
        return column

    def one(value: Any, _depth: int) -> Any:
        if type(value) not in accepted:
            raise Unsure
        return value

    return Step(convert, one, accepted)


def mapped_step(steps: Steps, index: int, python: type, function: Callable[[Any], Any]) -> Step:
    """Values of one type, each converted by a function."""
    accepted = frozenset({python})
    check = steps.check(index, accepted)

    def convert(column: Column, _depth: int) -> Column:
        check(column)
        return map_each(function, column)

    def one(value: Any, _depth: int) -> Any:
        if type(value) not in accepted:
            raise Unsure
        return function(value)

    return Step(convert, one)


def literal_step(steps: Steps, index: int, before: Sequence[object], after: Sequence[object]) -> Step:
    """Literals: from one form to the other. True, 1 and 1.0 are one key to Python: hence the types."""
    table = {(type(value), value): other for value, other in zip(before, after, strict=True)}
    check = steps.check(index, map(type, before))
    text = steps.schema.text(index)

    def convert(column: Column, _depth: int) -> Column:
        check(column)
        try:
            return [table[type(value), value] for value in column]
        except KeyError:
            place = next(i for i, value in enumerate(column) if (type(value), value) not in table)
            raise Misfit(place, f"expected {text}, got {got(column[place])}") from None

    return Step(convert, lambda value, _depth: table[type(value), value])


def tuple_step(steps: Steps, index: int, node: Node, python: type, build: Callable[[Any], Any]) -> Step:
    """Tuples of known length, NamedTuples among them."""
    accepted = frozenset({python})
    check = steps.check(index, accepted)
    inner = [steps.of(item) for item in node.items]
    parts = [(step.column, f"element {i}") for i, step in enumerate(inner)]
    shortcuts = shortcuts_of(inner)

    def convert(column: Column, depth: int) -> Column:
        check(column)
        for place, value in enumerate(column):
            if len(value) != len(parts):
                raise Misfit(place, f"expected {len(parts)} elements, got {len(value)}")
        columns = map(list, zip(*column, strict=True))
        done = [convert_part(step, part, depth, label) for (step, label), part in zip(parts, columns, strict=True)]
        return map_each(build, zip(*done, strict=True) if done else ([()] * len(column)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or len(value) != len(parts) or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        return build(convert_each(value, shortcuts, depth + 1))

    return Step(convert, one)


Shortcuts = Sequence[tuple[frozenset[type], OneStep]]


def shortcuts_of(steps: Sequence[Step]) -> Shortcuts:
    return [(step.unchanged, step.one) for step in steps]


def convert_each(parts: Sequence[Any], shortcuts: Shortcuts, depth: int) -> list[Any]:
    """The parts of one value, each by its own step."""
    return [
        part if type(part) in unchanged else one(part, depth)
        for part, (unchanged, one) in zip(parts, shortcuts, strict=True)
    ]


def record_step(steps: Steps, index: int, node: Node, build: Callable[..., Any]) -> Step:
    """Any record of named fields, some of which may be missing: from dicts to what is built of the fields."""
    accepted = frozenset({dict})
    check = steps.check(index, accepted)
    allowed = {field.name for field in node.fields}
    required = {field.name for field in node.fields if not field.may_be_missing}
    parts = [(f.name, f.attribute, steps.of(f.node)) for f in node.fields]

    def convert(column: Column, depth: int) -> Column:
        check(column)
        _check_fields(column, required, allowed)
        built: list[dict[str, Any]] = [{} for _ in column]
        for name, attribute, step in parts:
            places = [place for place, row in enumerate(column) if name in row]
            try:
                done = convert_part(step.column, [column[p][name] for p in places], depth, f'field "{name}"')
            except Misfit as misfit:
                misfit.index = places[misfit.index]
                raise
            for place, value in zip(places, done, strict=True):
                built[place][attribute] = value
        return map_each(build, built)

    def one(row: Any, depth: int) -> Any:
        if type(row) not in accepted or not required <= row.keys() <= allowed or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        present = [(attribute, row[name], step) for name, attribute, step in parts if name in row]
        return build({a: v if type(v) in step.unchanged else step.one(v, depth + 1) for a, v, step in present})

    return Step(convert, one)


def _check_fields(column: Column, required: set[str], allowed: set[str]) -> None:
    for place, row in enumerate(column):
        if not required <= row.keys() <= allowed:
            wrong = sorted(map(short, row.keys() ^ (allowed if row.keys() - allowed else required)))[:3]
            raise Misfit(place, f"fields unknown or missing: {', '.join(wrong)}")


def union_step(steps: Steps, index: int, node: Node) -> Step:
    choices = steps.conversion.choices(steps.schema, node)
    members = {member: steps.of(member) for member in node.items}
    sole = {python: members[member] for python, member in choices.sole().items()}
    unchanged = frozenset(python for python, step in sole.items() if python in step.unchanged)
    choose = _chooser(steps, index, choices, members)

    def convert(column: Column, depth: int) -> Column:
        kinds = set(map(type, column))
        if kinds <= unchanged:
            return column
        if len(kinds) == 1 and (only := sole.get(kinds.pop())) is not None:
            return only.column(column, depth)
        groups: dict[Step, list[int]] = {}  # which places in the column are of which member
        for place, (kind, value) in enumerate(zip(map(type, column), column, strict=True)):
            member = sole.get(kind) or choose(value, place, depth)
            groups.setdefault(member, []).append(place)
        result = list(column)
        changed = [_convert_group(member.column, places, result, depth) for member, places in groups.items()]
        return result if any(changed) else column

    def one(value: object, depth: int) -> Any:
        return (sole.get(type(value)) or choose(value, 0, depth)).one(value, depth)

    return Step(convert, one, unchanged)


def _convert_group(step: ColumnStep, places: list[int], column: Column, depth: int) -> bool:
    """Converts the values at these places, in place. Returns whether anything changed."""
    group = [column[place] for place in places]
    try:
        done = step(group, depth)
    except Misfit as misfit:
        misfit.index = places[misfit.index]
        raise
    if done is group:
        return False
    for place, value in zip(places, done, strict=True):
        column[place] = value
    return True


def _chooser(
    steps: Steps, index: int, choices: Choices, members: Mapping[int, Step]
) -> Callable[[object, int, int], Step]:
    """What finds the member that a value is of, by a look, or by trying where that leaves several."""
    text = steps.schema.text(index)

    def choose(value: object, place: int, depth: int) -> Step:
        found = choices.of(value)
        if len(found) == 1:
            return members[found[0]]
        for member in found:
            try:
                members[member].column([value], depth)
            except Misfit:
                continue
            return members[member]
        if steps.untyped:
            raise Misfit(place, steps.conversion.complaint_of_untyped(value))
        raise Misfit(place, f"expected {text}, got {got(value)}")

    return choose
