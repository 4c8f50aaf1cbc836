"""The steps that sending and receiving share.

Decisions:

- Types are exact. Nothing is coerced, no subclass passes, no unknown field.
- Of a union's members, one is chosen by a look at the value. Only where that leaves several are they tried, and those
  are never recursive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .columns import Column, ColumnStep, Step, Unsure, convert_part, map_each
from .items import FREE_DEPTH
from .messages import got, short
from .misfit import Misfit
from .schema import Node
from .steps import Steps
from .unions import Choices

__all__ = ["literal_step", "mapped_step", "record_step", "tuple_step", "union_step"]


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
    accepted, is_far = frozenset({python}), steps.conversion.is_far
    check = steps.check(index, accepted)
    inner = [steps.of(item) for item in node.items]
    parts = [(step.column, f"element {i}") for i, step in enumerate(inner)]

    def convert(column: Column, depth: int) -> Column:
        check(column)
        for place, value in enumerate(column):
            if len(value) != len(parts):
                raise Misfit(place, f"expected {len(parts)} elements, got {len(value)}")
        columns = map(list, zip(*column, strict=True))
        done = [convert_part(step, part, depth, label) for (step, label), part in zip(parts, columns, strict=True)]
        return map_each(build, zip(*done, strict=True) if done else ([()] * len(column)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or len(value) != len(parts) or (depth >= FREE_DEPTH and is_far(depth)):
            raise Unsure
        pairs = zip(inner, value, strict=True)
        done = [part if type(part) in step.unchanged else step.one(part, depth + 1) for step, part in pairs]
        return build(done)

    return Step(convert, one)


def record_step(steps: Steps, index: int, node: Node, build: Callable[..., Any]) -> Step:
    """Any record of named fields, some of which may be missing: from dicts to what is built of the fields."""
    accepted, is_far = frozenset({dict}), steps.conversion.is_far
    check = steps.check(index, accepted)
    allowed = {field.name for field in node.fields}
    required = {field.name for field in node.fields if not field.may_be_missing}
    parts = [(f.name, f.attribute, f'field "{f.name}"', steps.of(f.node)) for f in node.fields]

    def convert(column: Column, depth: int) -> Column:
        check(column)
        _check_fields(column, required, allowed)
        built: list[dict[str, Any]] = [{} for _ in column]
        for name, attribute, label, step in parts:
            places = [place for place, row in enumerate(column) if name in row]
            try:
                done = convert_part(step.column, [column[p][name] for p in places], depth, label)
            except Misfit as misfit:
                misfit.index = places[misfit.index]
                raise
            for place, value in zip(places, done, strict=True):
                built[place][attribute] = value
        return map_each(build, built)

    def one(row: Any, depth: int) -> Any:
        if (
            type(row) not in accepted
            or not required <= row.keys() <= allowed
            or (depth >= FREE_DEPTH and is_far(depth))
        ):
            raise Unsure
        present = [(attribute, row[name], step) for name, attribute, _, step in parts if name in row]
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
    text = steps.schema.text(index)

    def complain(value: object) -> str:
        return f"expected {text}, got {got(value)}"

    choose = _chooser(choices, members, steps.conversion.complaint_of_untyped if steps.untyped else complain)

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
    choices: Choices, members: Mapping[int, Step], complain: Callable[[object], str]
) -> Callable[[object, int, int], Step]:
    """What finds the member that a value is of, by a look, or by trying where that leaves several."""

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
        raise Misfit(place, complain(value))

    return choose
