"""Unions: which of them are allowed, and which members a value may be of, as far as a look at it tells.

A look sees the outermost kind of a value, the value itself where a member is a literal, and for a record its fields
and their outermost kinds, for a tuple its length. Decisions:

- Members must be distinguishable by a look, not by trying. Two that may take the same data are allowed only if both
  would build the same from it.
- Where one member can only be tried after the other, neither may be recursive: it would take time without bound.
- What is unequal within a key or an element of a set must be unequal as data too: a plain enum's ONE = 1 is not 1.0,
  but a receiver that has no enum gets 1 and 1.0, which are one key.
- What a look tells is said once, by `outer_kinds` and `distinguishable`: the check of a type and the choice of a
  member for a value cannot contradict each other.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import typing_extensions

from .._errors import UnfitValue
from .reading import ReceivedMap, ReceivedSet
from .schema import SCALARS, Kind, Node, Schema, kind_of, python_types, reaches, typed

__all__ = ["Choices", "check_unions", "choices_for_receiving", "choices_for_sending", "distinguishable"]

# What a look at a value tells

OuterKinds = Mapping[Kind, frozenset[Any] | None]  # kinds that a node accepts; of which values, unless of all


def outer_kinds(nodes: Sequence[Node], index: int) -> OuterKinds:
    """The kinds that the data of this node may have at its outermost level. Empty: any."""
    node = nodes[index]
    if node.kind is Kind.UNION:
        found = [outer_kinds(nodes, item) for item in node.items]
        if not all(found):
            return {}
        merged: dict[Kind, frozenset[Any] | None] = {}
        for kinds in found:
            for kind, values in kinds.items():
                known = merged.get(kind, frozenset())
                merged[kind] = None if values is None or known is None else values | known
        return merged
    if node.kind is Kind.LITERAL:
        present = {kind_of(type(value)) for value in node.values}
        return {
            kind: frozenset(v for v in node.values if kind_of(type(v)) is kind) for kind in present if kind is not None
        }
    shape = {Kind.TUPLE: Kind.LIST, Kind.RECORD: Kind.MAP}.get(node.kind, node.kind)
    return {} if shape is Kind.ANY else {shape: None}


def distinguishable(nodes: Sequence[Node], a: int, b: int, *, by_number_kind: bool = True) -> bool:
    """True if outermost kinds and fields distinguish the two nodes: no data is of both.

    `by_number_kind=False`: the kind of a number alone distinguishes nothing, as True == 1 == 1.0.
    """

    def kinds_differ(x: int, y: int) -> bool:
        left, right = outer_kinds(nodes, x), outer_kinds(nodes, y)
        return _disjoint(left, right) if by_number_kind else _disjoint(_numbers_merged(left), _numbers_merged(right))

    if kinds_differ(a, b):
        return True
    one, other = nodes[a], nodes[b]
    if one.kind is other.kind is Kind.TUPLE:
        return len(one.items) != len(other.items)
    if one.kind is not Kind.RECORD or other.kind is not Kind.RECORD:
        return False
    left, right = {f.name: f for f in one.fields}, {f.name: f for f in other.fields}
    for name in left.keys() | right.keys():
        present = [f for f in (left.get(name), right.get(name)) if f is not None]
        if all(f.may_be_missing for f in present):
            continue
        if len(present) == 1:
            return True  # one requires what the other refuses
        if kinds_differ(present[0].node, present[1].node):
            return True
    return False


def _disjoint(a: OuterKinds, b: OuterKinds) -> bool:
    def overlap(kind: Kind) -> bool:
        left, right = a[kind], b[kind]
        return left is None or right is None or bool(left & right)

    return bool(a and b) and not any(overlap(kind) for kind in a.keys() & b.keys())


_OTHER_NUMBERS = {Kind.BOOL, Kind.FLOAT, Kind.DECIMAL}


def _numbers_merged(kinds: OuterKinds) -> OuterKinds:
    """The same kinds, with all numbers taken for one kind."""
    merged = {kind: values for kind, values in kinds.items() if kind not in _OTHER_NUMBERS}
    numbers = [values for kind, values in kinds.items() if kind in _OTHER_NUMBERS or kind is Kind.INT]
    if numbers:
        merged[Kind.INT] = None if None in numbers else frozenset[Any]().union(*(v for v in numbers if v is not None))
    return merged


# Which unions are allowed


def check_unions(schema: Schema) -> None:
    """`UnfitValue` if a union's members cannot be told apart where it matters."""
    keys = {node.items[0] for node in schema.nodes if node.kind in (Kind.SET, Kind.MAP)}
    for index, node in enumerate(schema.nodes):
        if node.kind is not Kind.UNION:
            continue
        in_a_key = any(reaches(schema.nodes, key, index) for key in keys)
        for place, a in enumerate(node.items):
            for b in node.items[:place]:
                _check_members(schema, index, a, b, in_a_key=in_a_key)


def _check_members(schema: Schema, union: int, a: int, b: int, *, in_a_key: bool) -> None:
    nodes = schema.nodes
    pair = f"{schema.text(b)} | {schema.text(a)}"
    if not _build_the_same(nodes, a, b, set()):
        raise UnfitValue(f"{pair} cannot be told apart on the wire")
    tried = not distinguishable(nodes, a, b) or python_types(nodes[a]) & python_types(nodes[b])
    if tried and any(reaches(nodes, member, union) for member in (a, b)):
        raise UnfitValue(f"{pair} are recursive, and cannot be told apart at a glance")
    if in_a_key and _may_become_equal(nodes, a, b, set()):
        raise UnfitValue(f"{pair} cannot be told apart in a key or an element of a set")


def _build_the_same(nodes: Sequence[Node], a: int, b: int, assumed: set[tuple[int, int]]) -> bool:
    """True if both nodes build the same value from all data that both accept."""
    if a == b or (a, b) in assumed or distinguishable(nodes, a, b):
        return True
    if _arrives_as_sent(nodes, a, set()) and _arrives_as_sent(nodes, b, set()):
        return True
    assumed.add((a, b))
    one, other = nodes[a], nodes[b]
    if Kind.UNION in (one.kind, other.kind):
        return all(_build_the_same(nodes, x, y, assumed) for x in _members(one, a) for y in _members(other, b))
    if one.kind is other.kind is Kind.LITERAL:
        built, also = (dict(zip(map(typed, n.values), n.python, strict=True)) for n in (one, other))
        return all(built[value] is also[value] for value in built.keys() & also.keys())
    if one.kind is not other.kind or one.python is not other.python:
        return False
    if one.kind is Kind.RECORD:
        theirs = {field.name: field.node for field in other.fields}
        return all(_build_the_same(nodes, f.node, theirs[f.name], assumed) for f in one.fields if f.name in theirs)
    pairs = list(zip(one.items, other.items, strict=True))
    if one.kind is Kind.TUPLE and any(distinguishable(nodes, x, y) for x, y in pairs):
        return True
    return all(_build_the_same(nodes, x, y, assumed) for x, y in pairs)


def _may_become_equal(nodes: Sequence[Node], a: int, b: int, seen: set[tuple[int, int]]) -> bool:
    """True if two values that are unequal here may be equal where only their data counts."""
    if (a, b) in seen or (_equal_as_data(nodes, a, set()) and _equal_as_data(nodes, b, set())):
        return False
    seen.add((a, b))
    one, other = nodes[a], nodes[b]
    if Kind.UNION in (one.kind, other.kind):
        return any(_may_become_equal(nodes, x, y, seen) for x in _members(one, a) for y in _members(other, b))
    if distinguishable(nodes, a, b, by_number_kind=False):
        return False
    if a == b or one.kind is not other.kind or one.python is not other.python or one.kind is Kind.LITERAL:
        return a != b
    theirs = {field.name: field.node for field in other.fields}
    pairs = [(f.node, theirs[f.name]) for f in one.fields if f.name in theirs] or list(
        zip(one.items, other.items, strict=True)
    )
    if one.kind is Kind.TUPLE and any(distinguishable(nodes, x, y, by_number_kind=False) for x, y in pairs):
        return False
    return any(_may_become_equal(nodes, x, y, seen) for x, y in pairs)


def _members(node: Node, index: int) -> tuple[int, ...]:
    return node.items if node.kind is Kind.UNION else (index,)


def _equal_as_data(nodes: Sequence[Node], index: int, seen: set[int]) -> bool:
    """True if values of this node are equal exactly if their data is."""
    node = nodes[index]
    if index in seen or node.kind is Kind.ANY or node.python in SCALARS:
        return True
    seen.add(index)
    if node.kind is Kind.LITERAL:
        return all(value == python for value, python in zip(node.values, node.python, strict=True))
    if node.kind is not Kind.UNION and node.python not in (tuple, frozenset):
        return False
    return all(_equal_as_data(nodes, item, seen) for item in node.items)


def _arrives_as_sent(nodes: Sequence[Node], index: int, seen: set[int]) -> bool:
    """True if a value of this node is nothing but its data: an untyped receiver gets the same value."""
    node = nodes[index]
    if index in seen:
        return True
    seen.add(index)
    if node.kind is Kind.LITERAL:
        return all(type(v) is type(p) for v, p in zip(node.values, node.python, strict=True))
    if node.kind is Kind.ANY:
        return not node.hashed
    if node.kind is Kind.RECORD:
        parts = [field.node for field in node.fields]
        return typing_extensions.is_typeddict(node.python) and all(_arrives_as_sent(nodes, i, seen) for i in parts)
    same_type = node.python in (list, set, dict, collections.abc.Sequence) or node.python in SCALARS
    return (same_type or node.kind is Kind.UNION) and all(_arrives_as_sent(nodes, item, seen) for item in node.items)


# Which member a value is of

_ARRIVING_KINDS: dict[type, Kind] = {
    **SCALARS,
    list: Kind.LIST,
    dict: Kind.MAP,
    ReceivedMap: Kind.MAP,
    ReceivedSet: Kind.SET,
}


@attrs.frozen
class Choices:
    """Which members of a union a value may be of, by a look. Most often its type says it alone."""

    members: dict[type, list[int]]  # by the exact type of the value
    others: list[int]  # for all other types
    looks: dict[int, Callable[[Any], bool]]  # by member: may a value of the right type be of it?

    def of(self, value: object) -> list[int]:
        found = self.members.get(type(value), self.others)
        return [item for item in found if self.looks[item](value)] if len(found) > 1 and self.looks else found

    def sole(self) -> dict[type, int]:
        """The types that say it alone, with the one member."""
        return {python: found[0] for python, found in self.members.items() if len(found) == 1}


def choices_for_sending(schema: Schema, union: Node) -> Choices:
    others = [item for item in union.items if schema.nodes[item].kind is Kind.ANY]
    members: dict[type, list[int]] = {}
    for item in union.items:
        if item not in others:
            for python in python_types(schema.nodes[item]):
                members.setdefault(python, []).append(item)
    return Choices({python: found + others for python, found in members.items()}, others, {})


def choices_for_receiving(schema: Schema, union: Node) -> Choices:
    members: dict[Kind, list[int]] = {kind: [] for kind in Kind}
    for item in union.items:
        for kind in outer_kinds(schema.nodes, item) or Kind:
            members[kind].append(item)
    looks = {item: _look(schema, item) for item in union.items}
    return Choices({python: members[kind] for python, kind in _ARRIVING_KINDS.items()}, [], looks)


def _look(schema: Schema, index: int) -> Callable[[Any], bool]:
    """Whether data of the right kind may be of this node. It sees what `distinguishable` relies on."""
    node = schema.nodes[index]

    def within(value: object, expected: OuterKinds) -> bool:
        kind = _ARRIVING_KINDS.get(type(value))
        if kind is None or kind not in expected:
            return not expected
        values = expected[kind]
        return values is None or value in values

    if node.kind is Kind.LITERAL:
        return lambda value: within(value, outer_kinds(schema.nodes, index))
    if node.kind is Kind.TUPLE:
        return lambda value: len(value) == len(node.items)
    if node.kind is not Kind.RECORD:
        return lambda _value: True
    required = {field.name for field in node.fields if not field.may_be_missing}
    parts = {field.name: outer_kinds(schema.nodes, field.node) for field in node.fields}

    def look(row: dict[str, Any] | ReceivedMap) -> bool:
        if isinstance(row, ReceivedMap) or not required <= row.keys() <= parts.keys():
            return False
        return all(within(value, parts[name]) for name, value in row.items())

    return look
