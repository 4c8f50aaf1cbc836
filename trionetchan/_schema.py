"""A value type as a structure that another side can compare.

`describe` walks a Python type once, and what it finds is the only description there is: the wire carries it
(`to_bytes`), `difference` compares two of them, and the codec of `_values` is built from it. So the type that was
compared is the type that is checked. Decisions:

- A schema is a flat table of nodes that refer to each other by number; node 0 is the root. Recursion is a reference.
- Structure counts, names don't: a renamed class fits. An enum is the set of its wire values. Names travel for messages.
- A record writes every field it has. A field with a default is always there when sent and may be missing when received;
  a `NotRequired` key may be missing both ways: two flags, not one.
- A record fits a map if all its names and fields do; a map never fits a record. An array of known length fits a list.
- `Any` fits everything, both ways: there, values are checked one by one. Only a record that is a key, or an element of
  a set, does not fit it: untyped, it would be a dict, which cannot be one.
- The members of a union must be told apart by looking at a value, not by trying: kinds, literals, names of fields and
  the kinds of fields, lengths. Two that may take the same data pass only if both would build the same from it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import io
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import attrs
import cbor2
import typing_extensions

from ._errors import UnfitValue, printable

__all__ = [
    "SCALARS",
    "Difference",
    "Field",
    "Heads",
    "Kind",
    "Node",
    "Schema",
    "describe",
    "difference",
    "heads",
    "kind_of",
    "python_types",
    "reaches",
    "told_apart",
]

_MAX_BYTES = 32 * 1024
_MAX_NODES = 512
_MAX_NAME = 256  # characters
_MAX_STEPS = 100_000  # pairs of nodes looked at in one comparison: hostile schemas can make many
_MAX_DEPTH = 100  # of a type within a type


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
_TEXTS = {kind: "None" if kind is Kind.NULL else scalar.__name__ for scalar, kind in SCALARS.items()}
_LITERAL_KINDS = frozenset({Kind.NULL, Kind.BOOL, Kind.INT, Kind.FLOAT, Kind.TEXT, Kind.BYTES})

# Abstract forms become concrete, but for two that accept more than one type: Sequence builds list, Set frozenset.
_COLLECTIONS: dict[Any, tuple[Kind, Any]] = {
    list: (Kind.LIST, list),
    collections.abc.Sequence: (Kind.LIST, collections.abc.Sequence),
    collections.abc.MutableSequence: (Kind.LIST, list),
    set: (Kind.SET, set),
    collections.abc.MutableSet: (Kind.SET, set),
    frozenset: (Kind.SET, frozenset),
    collections.abc.Set: (Kind.SET, collections.abc.Set),
    dict: (Kind.MAP, dict),
    collections.abc.Mapping: (Kind.MAP, dict),
    collections.abc.MutableMapping: (Kind.MAP, dict),
}


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
        return (
            f"Literal[{', '.join(_literal_text(value) for value in node.values[:8])}{', …' * (len(node.values) > 8)}]"
        )
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


def _literal_text(value: Any) -> str:
    return repr(value[:32]) if isinstance(value, str | bytes) else hex(value) if _is_long(value) else repr(value)


def _typed(value: object) -> tuple[type, object]:
    return type(value), value  # True is 1 is 1.0 to a bare set


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > 64  # repr of a giant int is slow, and refused by Python


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
    Kind.TUPLE: (0, _MAX_NODES),
    Kind.UNION: (1, _MAX_NODES),
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
    _demand(type(raw) is list and 0 < len(raw) <= _MAX_NODES, "not a table of nodes")
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
        _demand(type(name) is str and len(name) <= _MAX_NAME, "a bad name")
        return cast("str", name)

    _demand(type(entry) is list and entry and type(entry[0]) is int, "not a node")
    kind, rest = Kind(entry[0]), cast("list[Any]", entry[1:])
    if kind is Kind.LITERAL:
        _demand(rest and all(kind_of(type(value)) in _LITERAL_KINDS for value in rest), "a bad literal")
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
        if self.steps > _MAX_STEPS or depth > _MAX_DEPTH:
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
                self.literals[r] = set(map(_typed, theirs.values))
            return _typed(value) in self.literals[r]
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


# From Python


def describe(value_type: Any) -> Schema:
    """The structure of a value type. `UnfitValue` names the part that cannot be carried, and why."""
    describer = _Describer()
    try:
        describer.place(value_type, ())
        nodes = tuple(cast("list[Node]", describer.nodes))
        schema = Schema(nodes)
        _check_unions(schema)
        schema.to_bytes()
    except UnfitValue:
        raise
    except Exception as error:
        raise UnfitValue(f"{_name(value_type)} cannot be carried: {printable(str(error))}") from error
    return schema


@attrs.define
class _Describer:
    nodes: list[Node | None] = attrs.field(factory=list[Node | None])
    known: dict[Any, int] = attrs.field(factory=dict[Any, int])

    def place(self, hint: Any, way: tuple[str, ...], *, hashed: bool = False) -> int:
        """The number of the node for a type, made if there is none yet."""
        hint = _bare(hint)
        if (hint, hashed) in self.known:
            return self.known[hint, hashed]
        if len(way) > _MAX_DEPTH or len(self.nodes) >= _MAX_NODES:
            raise _refusal(way[-1:], "a type of too many parts cannot be carried")
        self.known[hint, hashed] = index = len(self.nodes)
        self.nodes.append(None)
        self.nodes[index] = attrs.evolve(self.look(hint, way, hashed), hashed=hashed)
        return index

    def look(self, hint: Any, way: tuple[str, ...], hashed: bool) -> Node:
        origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
        if hint is Any or hint is object:
            return Node(Kind.ANY)
        if hint in SCALARS:
            return Node(SCALARS[hint], python=hint)
        if origin is typing.Literal or origin is typing_extensions.Literal:
            return _literal(args, way)
        if _is_union(hint):
            members = [self.place(member, way, hashed=hashed) for member in _members(hint, ())]
            return Node(Kind.UNION, tuple(dict.fromkeys(members)))
        if origin is tuple:
            if not args and hint in (tuple, typing.Tuple):  # noqa: UP006 - what a user may have written
                args = (Any, ...)
            if args[1:] == (...,):
                return Node(Kind.LIST, (self.place(args[0], (*way, "element"), hashed=hashed),), python=tuple)
            steps = [(*way, f"element {i}") for i in range(len(args))]
            items = tuple(self.place(arg, step, hashed=hashed) for arg, step in zip(args, steps, strict=True))
            return Node(Kind.TUPLE, items, python=tuple)
        if hashed and (origin in _UNHASHABLE or getattr(origin, "__hash__", None) is None):
            raise _refusal(way, f"{_name(hint)} is not hashable, so it can be no key and no element of a set")
        if hint is bytearray:
            return Node(Kind.BYTES, python=bytearray)
        if origin in _COLLECTIONS:
            kind, python = _COLLECTIONS[origin]
            if kind is Kind.MAP:
                key, value = args or (Any, Any)
                items = (self.place(key, (*way, "key"), hashed=True), self.place(value, (*way, "value")))
                return Node(kind, items, python=python)
            (element,) = args or (Any,)
            return Node(kind, (self.place(element, (*way, "element"), hashed=kind is Kind.SET),), python=python)
        if isinstance(origin, type):
            return self.of_class(hint, origin, way, hashed)
        unresolved = isinstance(hint, str | typing.ForwardRef)
        raise _refusal(way, f"{_name(hint)} cannot be {'resolved' if unresolved else 'carried'}")

    def of_class(self, hint: Any, cls: Any, way: tuple[str, ...], hashed: bool) -> Node:
        name = _name(cls)
        if issubclass(cls, enum.Enum):
            return _literal(_flags(cls) if issubclass(cls, enum.Flag) else tuple(cls), way)
        if _is_record(cls):
            found: list[Field] = []
            kept = _hashed_fields(cls) if hashed else ()
            for field, part in _fields(hint, cls):
                step = (*way, f"{name}.{field.attribute}")
                node = self.place(part, step, hashed=field.attribute in kept)
                found.append(attrs.evolve(field, node=node))
            names = {field.name for field in found}
            if len(names) < len(found) or any(len(text) > _MAX_NAME for text in names):
                raise _refusal(way, f"{name}: two fields of one name, or a name that is too long")
            return Node(Kind.RECORD, name=name[:_MAX_NAME], fields=tuple(found), python=cls)
        if issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields"):
            hints = _hints(hint, cls)
            parts = [(hints.get(part, Any), (*way, f"{name}.{part}")) for part in cast("Any", cls)._fields]
            return Node(Kind.TUPLE, tuple(self.place(part, step, hashed=hashed) for part, step in parts), python=cls)
        function = cls in (cast("Any", collections.abc.Callable), types.FunctionType)
        raise _refusal(way, f"{'a function' if function else name} cannot be carried")


_UNHASHABLE = frozenset({collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set})


def _refusal(way: tuple[str, ...], complaint: str) -> UnfitValue:
    return UnfitValue(": ".join([", ".join(way), complaint] if way else [complaint]))


def _name(hint: Any) -> str:
    return printable(str(getattr(hint, "__name__", None) or repr(hint)) if isinstance(hint, type) else repr(hint))


def _is_record(cls: Any) -> bool:
    return typing_extensions.is_typeddict(cls) or attrs.has(cls) or dataclasses.is_dataclass(cls)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _members(hint: Any, seen: tuple[Any, ...]) -> Iterator[Any]:
    """A union's members, those of unions in it (by way of an alias) too."""
    if hint in seen:
        raise UnfitValue(f"{_name(hint)} refers to nothing but itself")
    for member in map(_bare, typing.get_args(hint)):
        if _is_union(member):
            yield from _members(member, (*seen, hint))
        else:
            yield member


_QUALIFIERS = (typing.Final, typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)


def _bare(hint: Any) -> Any:
    """A type without what makes no difference to its values: names, aliases, annotations, qualifiers."""
    for _ in range(_MAX_DEPTH):
        origin = typing.get_origin(hint)
        if isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif origin is typing.Annotated or origin in _QUALIFIERS:
            hint = hint.__origin__ if origin is typing.Annotated else typing.get_args(hint)[0]
        elif _is_alias(alias := origin or hint):
            scope = getattr(sys.modules.get(alias.__module__), "__dict__", {})
            stand_in = types.SimpleNamespace(__annotations__={"it": alias.__value__})
            value = typing_extensions.get_type_hints(stand_in, globalns=scope, include_extras=True)["it"]
            hint = _substitute(value, dict(zip(alias.__type_params__, typing.get_args(hint), strict=False)))
        elif isinstance(hint, typing.TypeVar):
            hint = Any  # a generic class without arguments
        else:
            return type(None) if hint is None else hint
    raise UnfitValue(f"{_name(hint)} refers to nothing but itself")


def _is_alias(hint: Any) -> bool:
    native = getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType)
    return isinstance(
        hint, native | typing_extensions.TypeAliasType if native is not typing_extensions.TypeAliasType else native
    )


def _substitute(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return bound.get(hint, Any)
    wanted: Sequence[Any] = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    return cast("Any", hint)[tuple(bound.get(parameter, Any) for parameter in wanted)] if wanted else hint


def _bindings(hint: Any) -> dict[Any, dict[Any, Any]]:
    """For a class, generic or not, and each of its bases: what their type variables stand for."""
    cls = typing.get_origin(hint) or hint
    own = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(hint), strict=False))
    found: dict[Any, dict[Any, Any]] = {}
    inherited: dict[Any, Any] = {}
    for base in typing_extensions.get_original_bases(cls) if isinstance(cls, type) else ():
        if (typing.get_origin(base) or base) not in (typing.Generic, typing.Protocol, object):
            found |= _bindings(_substitute(base, own))
            inherited |= found.get(typing.get_origin(base) or base, {})
    return {**found, cls: inherited | own}


def _hints(hint: Any, cls: Any) -> dict[str, Any]:
    bound = _bindings(hint)
    owners = {name: owner for owner in reversed(cls.__mro__) for name in inspect.get_annotations(owner)}
    resolved = typing_extensions.get_type_hints(cls, include_extras=True)
    return {name: _substitute(part, bound.get(owners.get(name), {})) for name, part in resolved.items()}


def _fields(hint: Any, cls: Any) -> Iterator[tuple[Field, Any]]:
    """The fields of a record class, with their types."""
    hints = _hints(hint, cls)
    if typing_extensions.is_typeddict(cls):
        for name, part in hints.items():
            marks = {typing.get_origin(part), typing.get_origin((typing.get_args(part) or (None,))[0])}
            required = name in cls.__required_keys__ and typing_extensions.NotRequired not in marks
            absent = not required and typing_extensions.Required not in marks
            yield Field(name, 0, may_be_absent=absent, may_be_missing=absent, attribute=name), part
    elif attrs.has(cls):
        for a in attrs.fields(cls):
            missing = a.default is not attrs.NOTHING or not a.init
            field = Field(a.alias or a.name, 0, may_be_missing=missing, attribute=a.name, init=a.init)
            yield field, hints.get(a.name, a.type or Any)
    else:
        if any(isinstance(part, dataclasses.InitVar) for part in hints.values()):
            raise UnfitValue(f"{_name(cls)}: an InitVar is not kept, so it cannot be carried")
        for f in dataclasses.fields(cls):
            default = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            yield Field(f.name, 0, may_be_missing=default or not f.init, attribute=f.name, init=f.init), hints[f.name]


def _hashed_fields(cls: Any) -> set[str]:
    """The fields that make the hash of a record that is in a key."""
    if cls.__hash__ is object.__hash__:
        return set()
    if attrs.has(cls):
        return {a.name for a in attrs.fields(cls) if (a.eq if a.hash is None else a.hash)}
    return {f.name for f in dataclasses.fields(cls) if (f.compare if f.hash is None else f.hash)}


def _flags(cls: type[enum.Flag]) -> tuple[enum.Flag, ...]:
    """Every combination of a flag's bits: they are its values."""
    mask = 0
    for member in cls:
        mask |= member.value
    if mask.bit_count() > 8:
        raise UnfitValue(f"{_name(cls)}: a flag of more than 8 bits cannot be carried")
    found = [0]
    while following := (found[-1] - mask) & mask:
        found.append(following)
    return tuple(map(cls, found))


def _literal(values: Iterable[object], way: tuple[str, ...]) -> Node:
    found: dict[tuple[type, object], Any] = {}
    for python in values:
        value: object = python.value if isinstance(python, enum.Enum) else python
        if kind_of(type(value)) not in _LITERAL_KINDS or value != value:
            raise _refusal(way, f"{_name(python)} has a value that cannot be carried")
        if found.setdefault(_typed(value), python) is not python:
            raise _refusal(way, f"{_name(python)} cannot be told apart on the wire from {_literal_text(value)}")
    if not found:
        raise _refusal(way, "an enum without members cannot be carried")
    return Node(Kind.LITERAL, values=tuple(value for _, value in found), python=tuple(found.values()))


# Unions


def _check_unions(schema: Schema) -> None:
    keys = {node.items[0] for node in schema.nodes if node.kind in (Kind.SET, Kind.MAP)}
    for index, node in enumerate(schema.nodes):
        if node.kind is not Kind.UNION:
            continue
        in_a_key = any(reaches(schema.nodes, key, index) for key in keys)
        for place, a in enumerate(node.items):
            for b in node.items[:place]:
                pair = f"{schema.text(b)} | {schema.text(a)}"
                if not _agree(schema.nodes, a, b, set()):
                    raise UnfitValue(f"{pair} cannot be told apart on the wire")
                tried = not told_apart(schema.nodes, a, b) or python_types(schema.nodes[a]) & python_types(
                    schema.nodes[b]
                )
                if tried and any(reaches(schema.nodes, member, index) for member in (a, b)):
                    # one would have to be tried after the other at every level: time without bound
                    raise UnfitValue(f"{pair} are recursive, and cannot be told apart at a glance")
                if in_a_key and _may_become_equal(schema.nodes, a, b, set()):
                    # a plain enum's ONE = 1 is not 1.0, but to a receiver that has no enum both are one key
                    raise UnfitValue(f"{pair} cannot be told apart in a key or an element of a set")


def python_types(node: Node) -> frozenset[Any]:
    """The exact types of the Python values that a node, no union and not `Any`, is built from."""
    if node.kind is Kind.LITERAL:
        return frozenset(map(type, node.python))
    if node.kind is Kind.RECORD and typing_extensions.is_typeddict(node.python):
        return frozenset({dict})
    several = {collections.abc.Sequence: (list, tuple), collections.abc.Set: (set, frozenset)}
    return frozenset(several.get(node.python, (node.python,)))


def _agree(nodes: Sequence[Node], a: int, b: int, assumed: set[tuple[int, int]]) -> bool:
    """Would both build the same from all data that both accept?"""
    if a == b or (a, b) in assumed or told_apart(nodes, a, b) or (_plain(nodes, a, set()) and _plain(nodes, b, set())):
        return True
    assumed.add((a, b))
    one, other = nodes[a], nodes[b]
    if Kind.UNION in (one.kind, other.kind):
        left = one.items if one.kind is Kind.UNION else (a,)
        right = other.items if other.kind is Kind.UNION else (b,)
        return all(_agree(nodes, x, y, assumed) for x in left for y in right)
    if one.kind is other.kind is Kind.LITERAL:
        built, also = (dict(zip(map(_typed, n.values), n.python, strict=True)) for n in (one, other))
        return all(built[value] is also[value] for value in built.keys() & also.keys())
    if one.kind is not other.kind or one.python is not other.python:
        return False
    if one.kind is Kind.RECORD:
        theirs = {field.name: field.node for field in other.fields}
        return all(_agree(nodes, f.node, theirs[f.name], assumed) for f in one.fields if f.name in theirs)
    pairs = list(zip(one.items, other.items, strict=True))
    if one.kind is Kind.TUPLE and any(told_apart(nodes, x, y) for x, y in pairs):
        return True
    return all(_agree(nodes, x, y, assumed) for x, y in pairs)


def _may_become_equal(nodes: Sequence[Node], a: int, b: int, seen: set[tuple[int, int]]) -> bool:
    """May two values, unequal here, be equal where only their data counts?"""
    if (a, b) in seen or (_native(nodes, a, set()) and _native(nodes, b, set())):
        return False
    seen.add((a, b))
    one, other = nodes[a], nodes[b]
    if Kind.UNION in (one.kind, other.kind):
        left = one.items if one.kind is Kind.UNION else (a,)
        right = other.items if other.kind is Kind.UNION else (b,)
        return any(_may_become_equal(nodes, x, y, seen) for x in left for y in right)
    if told_apart(nodes, a, b, numbers=False):
        return False
    if a == b or one.kind is not other.kind or one.python is not other.python or one.kind is Kind.LITERAL:
        return a != b
    theirs = {field.name: field.node for field in other.fields}
    pairs = [(f.node, theirs[f.name]) for f in one.fields if f.name in theirs] or list(
        zip(one.items, other.items, strict=True)
    )
    apart = one.kind is Kind.TUPLE and any(told_apart(nodes, x, y, numbers=False) for x, y in pairs)
    return not apart and any(_may_become_equal(nodes, x, y, seen) for x, y in pairs)


def _native(nodes: Sequence[Node], index: int, seen: set[int]) -> bool:
    """Are values of this node equal exactly if their data is, to Python?"""
    node = nodes[index]
    if index in seen or node.kind is Kind.ANY or node.python in SCALARS:
        return True
    seen.add(index)
    if node.kind is Kind.LITERAL:
        return all(value == python for value, python in zip(node.values, node.python, strict=True))
    return (node.kind is Kind.UNION or node.python in (tuple, frozenset)) and all(
        _native(nodes, i, seen) for i in node.items
    )


def _plain(nodes: Sequence[Node], index: int, seen: set[int]) -> bool:
    """Is a value of this node, as built, just the data that came?"""
    node = nodes[index]
    if index in seen:
        return True
    seen.add(index)
    if node.kind is Kind.LITERAL:
        return all(type(v) is type(p) for v, p in zip(node.values, node.python, strict=True))
    if node.kind is Kind.ANY:
        return not node.hashed
    if node.kind is Kind.RECORD:
        return typing_extensions.is_typeddict(node.python) and all(_plain(nodes, f.node, seen) for f in node.fields)
    natural = node.python in (list, set, dict, collections.abc.Sequence) or node.python in SCALARS
    return (natural or node.kind is Kind.UNION) and all(_plain(nodes, item, seen) for item in node.items)


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
