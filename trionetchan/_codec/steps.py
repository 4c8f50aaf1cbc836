"""The steps of a codec: one for each node of a schema, from a column of values to a column of what they become.

This module has what sending and receiving have in common. Decisions:

- Types are exact. Nothing is coerced, no subclass passes, no unknown field.
- `Any` is the union of all that CBOR carries unchanged. Where a value must be hashable, that is tuple and frozenset.
- Of a union's members, one is chosen by a look at the value. Only where that leaves several are they tried, and those
  are never recursive.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import typing_extensions

from .columns import Column, Misfit, Step, bounded_depth, convert_part, map_each, type_check
from .messages import got, short
from .schema import SCALARS, Kind, Node, Schema, reaches
from .unions import Choices

__all__ = ["Conversion", "Steps", "literal_step", "record_step", "tuple_step"]

_CONTAINERS = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.MAP, Kind.RECORD})


@attrs.frozen(eq=False)
class Conversion:
    """One of the two directions, sending or receiving: what makes the step of each kind of node.

    Kinds that are not in `makers` are scalars that pass unchanged.
    """

    makers: Mapping[Kind, Callable[[Steps, int, Node], Step]]
    choices: Callable[[Schema, Node], Choices]

    def root_step(self, schema: Schema) -> Step:
        return Steps(schema, self).of(0)

    def passes_unchanged(self, node: Node) -> bool:
        return node.python in SCALARS and (node.kind not in self.makers or node.python is bytes)


@attrs.define(eq=False)
class Steps:
    """The steps for the nodes of one schema, made one by one."""

    schema: Schema
    conversion: Conversion
    untyped: bool = False
    made: dict[int, Step] = attrs.field(factory=dict[int, Step])

    def of(self, index: int) -> Step:
        if index not in self.made:
            self.made[index] = lambda column, depth: self.made[index](column, depth)  # placeholder for recursive types
            self.made[index] = self.make(index, self.schema.nodes[index])
        return self.made[index]

    def make(self, index: int, node: Node) -> Step:
        if node.kind is Kind.ANY:
            return _untyped_steps(self.conversion)[node.hashed]
        if node.kind is Kind.UNION:
            return union_step(self, index, node)
        if node.kind not in _CONTAINERS:
            return self.conversion.makers.get(node.kind, scalar_step)(self, index, node)
        parts = (*node.items, *(field.node for field in node.fields))
        recursive = any(reaches(self.schema.nodes, part, index) for part in parts)
        if node.kind is Kind.RECORD and typing_extensions.is_typeddict(node.python):
            return bounded_depth(record_step(self, index, node, dict), recursive=recursive)
        return bounded_depth(self.conversion.makers[node.kind](self, index, node), recursive=recursive)

    def check(self, index: int, *accepted: type) -> Callable[[Column], None]:
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
    check = steps.check(index, node.python)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return column

    return step


def literal_step(steps: Steps, index: int, before: Sequence[object], after: Sequence[object]) -> Step:
    """Literals: from one form to the other. True, 1 and 1.0 are one key to Python: hence the types."""
    table = {(type(value), value): other for value, other in zip(before, after, strict=True)}
    check = steps.check(index, *(type(value) for value in before))
    text = steps.schema.text(index)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        try:
            return [table[type(value), value] for value in column]
        except KeyError:
            place = next(i for i, value in enumerate(column) if (type(value), value) not in table)
            raise Misfit(place, f"expected {text}, got {got(column[place])}") from None

    return step


def tuple_step(steps: Steps, index: int, node: Node, accepted: type, build: Callable[[Any], Any]) -> Step:
    """Tuples of known length, NamedTuples among them."""
    check = steps.check(index, accepted)
    parts = [(steps.of(item), f"element {i}") for i, item in enumerate(node.items)]

    def step(column: Column, depth: int) -> Column:
        check(column)
        for place, value in enumerate(column):
            if len(value) != len(parts):
                raise Misfit(place, f"expected {len(parts)} elements, got {len(value)}")
        columns = zip(*column, strict=True)
        done = [
            convert_part(inner, list(part), depth, label) for (inner, label), part in zip(parts, columns, strict=True)
        ]
        return map_each(build, zip(*done, strict=True) if done else ([()] * len(column)))

    return step


def record_step(steps: Steps, index: int, node: Node, build: Callable[..., Any]) -> Step:
    """Any record of named fields, some of which may be missing: from dicts to what is built of the fields."""
    check = steps.check(index, dict)
    allowed = {field.name for field in node.fields}
    required = {field.name for field in node.fields if not field.may_be_missing}
    parts = [(f.name, f.attribute, f'field "{f.name}"', steps.of(f.node)) for f in node.fields]

    def check_fields(column: Column) -> None:
        for place, row in enumerate(column):
            if not required <= row.keys() <= allowed:
                wrong = sorted(map(short, row.keys() ^ (allowed if row.keys() - allowed else required)))[:3]
                raise Misfit(place, f"fields unknown or missing: {', '.join(wrong)}")

    def step(column: Column, depth: int) -> Column:
        check(column)
        check_fields(column)
        built: list[dict[str, Any]] = [{} for _ in column]
        for name, attribute, label, inner in parts:
            places = [place for place, row in enumerate(column) if name in row]
            try:
                done = convert_part(inner, [column[place][name] for place in places], depth, label)
            except Misfit as misfit:
                misfit.index = places[misfit.index]
                raise
            for place, value in zip(places, done, strict=True):
                built[place][attribute] = value
        return map_each(build, built)

    return step


def union_step(steps: Steps, index: int, node: Node) -> Step:
    choices = steps.conversion.choices(steps.schema, node)
    sole = choices.sole()
    nodes, passes_unchanged = steps.schema.nodes, steps.conversion.passes_unchanged
    unchanged = {python for python, member in sole.items() if passes_unchanged(nodes[member])}
    members = {member: steps.of(member) for member in node.items}
    choose = _chooser(steps, index, choices, members)

    def step(column: Column, depth: int) -> Column:
        kinds = set(map(type, column))
        if kinds <= unchanged:
            return column
        if len(kinds) == 1 and (only := sole.get(kinds.pop())) is not None:
            return members[only](column, depth)
        groups: dict[int, list[int]] = {}  # by member: which places in the column
        for place, (kind, value) in enumerate(zip(map(type, column), column, strict=True)):
            member = sole.get(kind)
            groups.setdefault(choose(value, place, depth) if member is None else member, []).append(place)
        result = list(column)
        changed = [_convert_group(members[member], places, result, depth) for member, places in groups.items()]
        return result if any(changed) else column

    return step


def _convert_group(step: Step, places: list[int], column: Column, depth: int) -> bool:
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
) -> Callable[[object, int, int], int]:
    """What finds the member that a value is of, by a look, or by trying where that leaves several."""
    text = steps.schema.text(index)

    def choose(value: object, place: int, depth: int) -> int:
        found = choices.of(value)
        if len(found) == 1:
            return found[0]
        for member in found:
            try:
                members[member]([value], depth)
            except Misfit:
                continue
            return member
        if steps.untyped:
            raise Misfit(place, f"{got(value)} would not arrive as it is: give the channel a value type")
        raise Misfit(place, f"expected {text}, got {got(value)}")

    return choose
