"""A value type as a structure that another side can compare: its nodes, their wire form, and what fits what.

`_describe` makes a schema of a Python type, and what it finds is the only description there is: the wire carries it
(`to_bytes`), `difference` compares two of them, and the codec of `_values` is built from it. So the type that was
compared is the type that is checked. Decisions:

- A schema is a flat table of nodes that refer to each other by number; node 0 is the root. Recursion is a reference.
- Structure counts, names don't: a renamed class fits. An enum is the set of its wire values. Names travel for messages.
- A record writes every field it has. A field with a default is always there when sent and may be missing when received;
  a `NotRequired` key may be missing both ways: two flags, not one.
- A record fits a map if all its names and fields do; a map never fits a record. An array of known length fits a list.
- `Any` fits everything, both ways: there, values are checked one by one. Only a record that is a key, or an element of
  a set, does not fit it: untyped, it would be a dict, which cannot be one.
- `heads` and `told_apart` say what a look at a value tells. Which unions `_describe` allows, and how `_values` finds
  the member that a value is of, rests on the same answer.
- A schema from a peer is bounded, in bytes, in nodes and in steps of a comparison, and its texts are cut.
"""

from __future__ import annotations

import enum
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import attrs
import cbor2

from .._errors import UnfitValue, printable

__all__ = [
    "LITERAL_KINDS",
    "MAX_DEPTH",
    "MAX_NAME",
    "MAX_NODES",
    "SCALARS",
    "Difference",
    "Field",
    "Heads",
    "Kind",
    "Node",
    "Schema",
    "difference",
    "heads",
    "kind_of",
    "literal_text",
    "reaches",
    "told_apart",
    "typed",
]

_MAX_BYTES = 32 * 1024
MAX_NODES = 512
MAX_NAME = 256  # characters
_MAX_STEPS = 100_000  # pairs of nodes looked at in one comparison: hostile schemas can make many
MAX_DEPTH = 100  # of a type within a type


class Kind(enum.IntEnum):
    """What a node accepts. The numbers are the wire's."""

    ANY = 0
    NULL = 1
    BOOL = 2
    INT = 3
    FLOAT = 4
    TEXT = 5
    BYTES = 6
    DATETIME = 7
    DATE = 8
    TIME = 9
    DURATION = 10
    DECIMAL = 11
    UUID = 12
    LITERAL = 13
    LIST = 14
    TUPLE = 15
    SET = 16
    MAP = 17
    RECORD = 18
    UNION = 19


SCALARS: dict[Any, Kind] = {
    type(None): Kind.NULL,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.TEXT,
    bytes: Kind.BYTES,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    timedelta: Kind.DURATION,
    Decimal: Kind.DECIMAL,
    UUID: Kind.UUID,
}
_TEXTS = {kind: scalar.__name__ for scalar, kind in SCALARS.items()} | {Kind.NULL: "None", Kind.TEXT: "text"}
LITERAL_KINDS = frozenset({Kind.NULL, Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.TEXT, Kind.BYTES})


def kind_of(value_type: Any) -> Kind | None:
    """The kind of a scalar's exact type, or None."""
    return SCALARS.get(value_type)


@attrs.frozen
class Field:
    """One field of a record. `attribute` and `init` are where this process keeps it."""

    name: str
    node: int
    may_be_absent: bool = False  # from what is sent
    may_be_missing: bool = False  # in what is received
    attribute: str = attrs.field(default="", eq=False)
    init: bool = attrs.field(default=True, eq=False)


@attrs.frozen
class Node:
    """One node. Which attributes matter follows from the kind; `python` and `hashed` stay in this process.

    `python` is what builds a value: a type, or for a literal the Python values in the order of `values`.
    `hashed`: it stands where a value must be hashable, in a key or an element of a set.
    """

    kind: Kind
    items: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    name: str = ""
    fields: tuple[Field, ...] = ()
    open: bool = False
    python: Any = attrs.field(default=None, eq=False)
    hashed: bool = attrs.field(default=False, eq=False)


@attrs.frozen
class Difference:
    """Where a sender's type does not fit a receiver's: the way there ("" is the whole), and a short text of each."""

    path: str
    sender: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.path}: {self.sender} sent, {self.receiver} received".removeprefix(": ")


@attrs.frozen
class Schema:
    """A table of nodes; equal if the structure and the names in it are."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return self.text(0)

    def text(self, index: int) -> str:
        """A node as a short text for people, at most about 200 characters."""
        return printable(_text(self.nodes, index, 4))

    def to_bytes(self) -> bytes:
        """The wire form. `UnfitValue` if it is larger than 32 KiB."""
        data = cbor2.dumps([_to_wire(node) for node in self.nodes])
        if len(data) > _MAX_BYTES:
            raise UnfitValue(f"the value type is too large to describe: {len(data)} bytes, {_MAX_BYTES} are allowed")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Schema:
        """The inverse, safe on what anybody sends. `UnfitValue` for whatever is wrong."""
        try:
            return cls(_from_wire(data))
        except UnfitValue:
            raise
        except Exception as error:
            raise UnfitValue(f"malformed schema: {printable(str(error))}") from error


def _text(nodes: Sequence[Node], index: int, depth: int) -> str:
    node = nodes[index]
    if node.kind in _TEXTS:
        return "bytearray" if node.python is bytearray else _TEXTS[node.kind]
    if node.kind is Kind.ANY:
        return "Any"
    if node.kind is Kind.LITERAL:
        return f"Literal[{', '.join(literal_text(value) for value in node.values[:8])}{', …' * (len(node.values) > 8)}]"
    if depth == 0:
        return node.name or "…"
    if node.kind is Kind.RECORD:
        fields = [f"{f.name}: {_text(nodes, f.node, depth - 1)}{'?' * f.may_be_missing}" for f in node.fields[:16]]
        return f"{node.name}{{{', '.join(fields + ['…'] * (len(node.fields) > 16))}}}"
    if node.python is tuple and node.kind is Kind.LIST:
        return f"tuple[{_text(nodes, node.items[0], depth - 1)}, ...]"
    parts = [_text(nodes, item, depth - 1) for item in node.items[:16]] + ["…"] * (len(node.items) > 16)
    if node.kind is Kind.UNION:
        return " | ".join(parts)
    return f"{ {Kind.MAP: 'dict'}.get(node.kind, node.kind.name.lower()) }[{', '.join(parts) or '()'}]"


def literal_text(value: Any) -> str:
    return repr(value[:32]) if isinstance(value, str | bytes) else hex(value) if _is_long(value) else repr(value)


def typed(value: object) -> tuple[type, object]:
    return type(value), value  # True is 1 is 1.0 to a bare set


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > 64  # repr of a giant int is slow, and refused by Python


def reaches(nodes: Sequence[Node], start: int, goal: int) -> bool:
    """Is the goal the start, or a part of it?"""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        index = waiting.pop()
        if index == goal:
            return True
        if index not in seen:
            seen.add(index)
            waiting += [*nodes[index].items, *(field.node for field in nodes[index].fields)]
    return False


# Wire form


def _to_wire(node: Node) -> list[Any]:
    if node.kind is Kind.RECORD:
        fields = [[f.name, f.may_be_absent + 2 * f.may_be_missing, f.node] for f in node.fields]
        return [int(node.kind), node.name, node.open, *fields]
    return [int(node.kind), *(node.values if node.kind is Kind.LITERAL else node.items)]


def _refuse_tag(_value: Any, _immutable: bool) -> Any:
    raise ValueError("a tag")


_ARITY = {
    Kind.LIST: (1, 1),
    Kind.SET: (1, 1),
    Kind.MAP: (2, 2),
    Kind.TUPLE: (0, MAX_NODES),
    Kind.UNION: (1, MAX_NODES),
}


def _from_wire(data: bytes) -> tuple[Node, ...]:
    _demand(len(data) <= _MAX_BYTES, "too large")
    stream = io.BytesIO(data)
    built_in = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
    tags: dict[int, Any] = dict.fromkeys(built_in, _refuse_tag)
    raw = cbor2.CBORDecoder(
        stream,
        tag_hook=_refuse_tag,
        semantic_decoders=tags,
        max_depth=4,
        allow_indefinite=False,
        strict_hashable_types=True,
    ).decode()
    _demand(not stream.read(1), "trailing bytes")
    _demand(type(raw) is list and 0 < len(raw) <= MAX_NODES, "not a table of nodes")
    nodes = tuple(_node_from_wire(entry, len(raw)) for entry in raw)
    for node in nodes:
        _demand(
            node.kind is not Kind.UNION or all(nodes[i].kind is not Kind.UNION for i in node.items),
            "a union in a union",
        )
    return nodes


def _node_from_wire(entry: Any, count: int) -> Node:
    def reference(index: Any) -> int:
        _demand(type(index) is int and 0 <= index < count, "a reference to nowhere")
        return cast("int", index)

    def text(name: Any) -> str:
        _demand(type(name) is str and len(name) <= MAX_NAME, "a bad name")
        return cast("str", name)

    _demand(type(entry) is list and entry and type(entry[0]) is int, "not a node")
    kind, rest = Kind(entry[0]), cast("list[Any]", entry[1:])
    if kind is Kind.LITERAL:
        _demand(rest and all(kind_of(type(value)) in LITERAL_KINDS for value in rest), "a bad literal")
        return Node(kind, values=tuple(rest))
    if kind is Kind.RECORD:
        name, is_open, *fields = rest
        _demand(type(is_open) is bool, "a bad flag")
        found: list[Field] = []
        for label, flags, index in fields:
            _demand(type(flags) is int and flags in (0, 2, 3), "a bad flag")
            found.append(Field(text(label), reference(index), bool(flags & 1), bool(flags & 2)))
        _demand(len({f.name for f in found}) == len(found), "a field twice")
        return Node(kind, name=text(name), open=is_open, fields=tuple(found))
    least, most = _ARITY.get(kind, (0, 0))
    _demand(least <= len(rest) <= most, "a node of the wrong size")
    return Node(kind, items=tuple(map(reference, rest)))


def _demand(fact: Any, complaint: str) -> None:
    if not fact:
        raise UnfitValue(f"malformed schema: {complaint}")


# Comparison


def difference(sender: Schema, receiver: Schema) -> Difference | None:
    """None if all that the sender's type can produce is acceptable to the receiver's; else the first place where not.

    `UnfitValue` if the two are too intricate to compare.
    """
    try:
        return _Comparison(sender, receiver).compare(0, 0, _Way())
    except RecursionError as error:
        raise UnfitValue("the value types are too intricate to compare") from error


@attrs.frozen
class _Way:
    """How a comparison came to a pair of nodes, and whether by way of a key or an element of a set."""

    steps: tuple[str, ...] = ()
    keyed: bool = False

    def to(self, step: str) -> _Way:
        return _Way((*self.steps, step), self.keyed)

    def into_key(self, keyed: bool = True) -> _Way:
        return _Way(self.steps, self.keyed or keyed)


@attrs.define
class _Comparison:
    """Coinductive: a pair being compared further up is taken to fit; what rested on a wrong guess is forgotten."""

    sender: Schema
    receiver: Schema
    fitting: dict[tuple[int, int, bool], None] = attrs.field(factory=dict[tuple[int, int, bool], None])
    differing: set[tuple[int, int, bool]] = attrs.field(factory=set[tuple[int, int, bool]])
    literals: dict[int, set[tuple[type, object]]] = attrs.field(factory=dict[int, set[tuple[type, object]]])
    steps: int = 0

    def compare(self, s: int, r: int, way: _Way) -> Difference | None:
        pair = (s, r, way.keyed)
        if pair in self.fitting:
            return None
        if pair in self.differing:
            return self.differ(s, r, way)
        self.step(len(way.steps))
        guesses = len(self.fitting)
        self.fitting[pair] = None
        found = self.look(s, r, way)
        if found is not None:
            while len(self.fitting) > guesses:
                self.fitting.popitem()
            self.differing.add(pair)
        return found

    def step(self, depth: int = 0) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS or depth > MAX_DEPTH:
            raise UnfitValue("the value types are too intricate to compare")

    def differ(self, s: int | None, r: int | None, way: _Way) -> Difference:
        sender = "no such field" if s is None else self.sender.text(s)
        receiver = "no such field" if r is None else self.receiver.text(r)
        return Difference(", ".join(step for step in way.steps if step), sender, receiver)

    def look(self, s: int, r: int, way: _Way) -> Difference | None:
        ours, theirs = self.sender.nodes[s], self.receiver.nodes[r]
        if ours.kind is Kind.ANY:
            return None
        if theirs.kind is Kind.ANY:
            return self.differ(s, r, way) if self.has_keyed_map(s, way.keyed) else None
        if ours.kind is Kind.UNION:
            return self.first(self.compare(item, r, way.to("")) for item in ours.items)
        if (values := _values_of(ours)) is not None:
            return None if all(self.takes(r, value) for value in values) else self.differ(s, r, way)
        if theirs.kind is Kind.UNION:
            found = {item: self.compare(s, item, way.to("")) for item in theirs.items}
            if None in found.values():
                return None
            alike = [one for item, one in found.items() if self.receiver.nodes[item].kind is ours.kind]
            return alike[0] if len(alike) == 1 else self.differ(s, r, way)
        count = len(ours.items)
        match ours.kind, theirs.kind:
            case Kind.RECORD, Kind.RECORD:
                return self.records(ours, theirs, way)
            case Kind.RECORD, Kind.MAP:
                if not all(self.takes(theirs.items[0], field.name) for field in ours.fields):
                    return self.differ(s, r, way)
                return self.first(self.compare(f.node, theirs.items[1], way.to(_field(f))) for f in ours.fields)
            case Kind.TUPLE, Kind.LIST:
                return self.parts(ours.items, theirs.items * count, map("element {}".format, range(count)), way)
            case (Kind.TUPLE, Kind.TUPLE) if count == len(theirs.items):
                return self.parts(ours.items, theirs.items, map("element {}".format, range(count)), way)
            case (Kind.LIST, Kind.LIST) | (Kind.SET, Kind.SET):
                return self.parts(ours.items, theirs.items, ["element"], way.into_key(ours.kind is Kind.SET))
            case Kind.MAP, Kind.MAP:
                key = self.compare(ours.items[0], theirs.items[0], way.into_key().to("key"))
                return key or self.compare(ours.items[1], theirs.items[1], way.to("value"))
            case _:
                scalar = ours.kind is theirs.kind and ours.kind in _TEXTS
                return None if scalar else self.differ(s, r, way)

    def parts(self, ours: Sequence[int], theirs: Sequence[int], steps: Iterable[str], way: _Way) -> Difference | None:
        return self.first(self.compare(s, r, way.to(step)) for s, r, step in zip(ours, theirs, steps, strict=True))

    def records(self, ours: Node, theirs: Node, way: _Way) -> Difference | None:
        sent, wanted = {f.name: f for f in ours.fields}, {f.name: f for f in theirs.fields}
        for name, field in sent.items():
            if name in wanted:
                found = self.compare(field.node, wanted[name].node, way.to(_field(field)))
            else:
                found = None if theirs.open else self.differ(field.node, None, way.to(_field(field)))
            if found is not None:
                return found
        for name, field in wanted.items():
            if not field.may_be_missing and (name not in sent or sent[name].may_be_absent):
                found = self.differ(None, field.node, way.to(_field(field)))
                return attrs.evolve(found, sender="a field that may be absent") if name in sent else found
        return None

    def has_keyed_map(self, s: int, keyed: bool) -> bool:
        """Is there a record or map in a key? Untyped it would be a dict, which can be none."""
        nodes = self.sender.nodes
        seen: set[tuple[int, bool]] = set()
        waiting = [(s, keyed)]
        while waiting:
            index, keyed = place = waiting.pop()
            if place in seen:
                continue
            self.step()
            seen.add(place)
            node = nodes[index]
            if keyed and node.kind in (Kind.RECORD, Kind.MAP):
                return True
            keys = {Kind.SET: 1, Kind.MAP: 1}.get(node.kind, 0)
            waiting += [(item, keyed or i < keys) for i, item in enumerate(node.items)]
            waiting += [(field.node, False) for field in node.fields]
        return False

    def takes(self, r: int, value: Any) -> bool:
        """Is a literal value acceptable to this node of the receiver?"""
        self.step()
        theirs = self.receiver.nodes[r]
        if theirs.kind is Kind.UNION:
            return any(self.takes(item, value) for item in theirs.items)
        if theirs.kind is Kind.LITERAL:
            if r not in self.literals:
                self.literals[r] = set(map(typed, theirs.values))
            return typed(value) in self.literals[r]
        return theirs.kind in (Kind.ANY, kind_of(type(value)))

    @staticmethod
    def first(found: Iterable[Difference | None]) -> Difference | None:
        return next((one for one in found if one is not None), None)


def _field(field: Field) -> str:
    return f'field "{printable(field.name)}"'


def _values_of(node: Node) -> tuple[Any, ...] | None:
    """All the values there are of a node, where they can be counted."""
    return {Kind.LITERAL: node.values, Kind.BOOL: (False, True), Kind.NULL: (None,)}.get(node.kind)


# What a look at a value tells, without looking into it

Heads = Mapping[Kind, frozenset[Any] | None]  # kinds that a node accepts, and which values of them, if not all


def heads(nodes: Sequence[Node], index: int) -> Heads:
    """What the outermost part of a value of this node may be. Empty: anything."""
    node = nodes[index]
    if node.kind is Kind.UNION:
        found = [heads(nodes, item) for item in node.items]
        if not all(found):
            return {}
        merged: dict[Kind, frozenset[Any] | None] = {}
        for head in found:
            for kind, values in head.items():
                known = merged.get(kind, frozenset())
                merged[kind] = None if values is None or known is None else values | known
        return merged
    if node.kind is Kind.LITERAL:
        kinds = {kind_of(type(value)) for value in node.values}
        return {
            kind: frozenset(v for v in node.values if kind_of(type(v)) is kind) for kind in kinds if kind is not None
        }
    shape = {Kind.TUPLE: Kind.LIST, Kind.RECORD: Kind.MAP}.get(node.kind, node.kind)
    return {} if shape is Kind.ANY else {shape: None}


_NUMBERS = {Kind.BOOL, Kind.FLOAT, Kind.DECIMAL}


def told_apart(nodes: Sequence[Node], a: int, b: int, *, numbers: bool = True) -> bool:
    """Can no data be of both nodes, as far as a look at it and at a record's fields tells?

    `numbers=False`: not by the kind of a number alone, as True == 1 == 1.0.
    """

    def differ(x: int, y: int) -> bool:
        left, right = heads(nodes, x), heads(nodes, y)
        return _heads_differ(left, right) if numbers else _heads_differ(_loosely(left), _loosely(right))

    if differ(a, b):
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
        if differ(present[0].node, present[1].node):
            return True
    return False


def _loosely(found: Heads) -> Heads:
    merged = {kind: values for kind, values in found.items() if kind not in _NUMBERS}
    numbers = [values for kind, values in found.items() if kind in _NUMBERS or kind is Kind.INT]
    if numbers:
        merged[Kind.INT] = None if None in numbers else frozenset[Any]().union(*(v for v in numbers if v is not None))
    return merged


def _heads_differ(a: Heads, b: Heads) -> bool:
    def overlap(kind: Kind) -> bool:
        left, right = a[kind], b[kind]
        return left is None or right is None or bool(left & right)

    return bool(a and b) and not any(overlap(kind) for kind in a.keys() & b.keys())
