"""A value type as a structure that another process can compare: a table of nodes, and its wire form.

`describe` makes a schema of a Python type, and it is the only description there is: the wire carries it, `difference`
compares two of them, and a codec is built from one. So the type that was compared is the type that is checked.
Decisions:

- A schema is a flat table of nodes that refer to each other by number; node 0 is the root. Recursion is a reference.
- Structure counts, names don't: a renamed class fits. An enum is the set of its wire values. Names are for messages.
- A record writes every field that it has. A field with a default is always there when sent and may be missing when
  received; a `NotRequired` key may be missing both ways: two flags, not one.
- A schema from a peer is bounded: its bytes, its nodes, and the length of its names and of its text.
"""

from __future__ import annotations

import collections.abc
import enum
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import attrs
import cbor2
import typing_extensions

from .._errors import UnfitValue, printable
from .._limits import MAX_SCHEMA_SIZE
from .reading import Reader, require

__all__ = [
    "LITERAL_KINDS",
    "MAX_NAME_LENGTH",
    "MAX_NODES",
    "MAX_TYPE_DEPTH",
    "SCALARS",
    "Field",
    "Kind",
    "Node",
    "Schema",
    "kind_of",
    "literal_text",
    "python_types",
    "reaches",
    "typed",
]

# The limits of a schema, beside MAX_SCHEMA_SIZE
MAX_NODES = 512
MAX_NAME_LENGTH = 256  # characters of a record's or field's name
MAX_TYPE_DEPTH = 100  # types within types
_MAX_TEXT_DEPTH = 4  # types within types that a text shows
_SHOWN = 16  # fields or members that a text shows
_MAX_WIRE_DEPTH = 4  # CBOR arrays within arrays: the table, a node, a field, and one to spare


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


@attrs.frozen
class Field:
    """One field of a record. `attribute` and `init` are this process's own."""

    name: str
    node: int
    may_be_absent: bool = False  # what is sent may lack it
    may_be_missing: bool = False  # what is received may lack it
    attribute: str = attrs.field(default="", eq=False)  # of the Python object
    init: bool = attrs.field(default=True, eq=False)  # the constructor takes it


@attrs.frozen
class Node:
    """One node. Which attributes are used depends on the kind; `python` and `hashed` are this process's own."""

    kind: Kind
    items: tuple[int, ...] = ()  # nodes of the elements, of key and value, or of a union's members
    values: tuple[Any, ...] = ()  # of a literal, as the wire carries them
    name: str = ""  # of a record
    fields: tuple[Field, ...] = ()
    open: bool = False  # a record that ignores fields it does not know
    python: Any = attrs.field(default=None, eq=False)  # the type; of a literal, the Python values in order of `values`
    hashed: bool = attrs.field(default=False, eq=False)  # within a key or an element of a set: must be hashable


@attrs.frozen
class Schema:
    """A table of nodes; equal if the structure and the names in it are."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return self.text(0)

    def text(self, index: int) -> str:
        """A node as a short text for people, at most about 200 characters."""
        return printable(_text(self.nodes, index, _MAX_TEXT_DEPTH))

    def to_bytes(self) -> bytes:
        """The wire form. `UnfitValue` if it is larger than a schema may be."""
        data = cbor2.dumps([_node_to_wire(node) for node in self.nodes])
        if len(data) > MAX_SCHEMA_SIZE:
            raise UnfitValue(
                f"the value type is too large to describe: {len(data)} bytes, {MAX_SCHEMA_SIZE} are allowed"
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Schema:
        """The inverse, safe on what anybody sends. `UnfitValue` for whatever is wrong."""
        try:
            return cls(_nodes_from_wire(data))
        except Exception as error:
            raise UnfitValue(f"malformed schema: {printable(str(error))}") from error


# Helpers of those who read a schema


def kind_of(value_type: Any) -> Kind | None:
    """The kind of a scalar's exact type, or None."""
    return SCALARS.get(value_type)


def typed(value: object) -> tuple[type, object]:
    """A key that tells True, 1 and 1.0 from each other: to Python they are equal."""
    return type(value), value


def reaches(nodes: Sequence[Node], start: int, goal: int) -> bool:
    """True if the goal is the start, or a part of it at any depth."""
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


def python_types(node: Node) -> frozenset[Any]:
    """The exact types of the Python values of a node that is neither a union nor `Any`."""
    if node.kind is Kind.LITERAL:
        return frozenset(map(type, node.python))
    if node.kind is Kind.RECORD and typing_extensions.is_typeddict(node.python):
        return frozenset({dict})
    abstract = {collections.abc.Sequence: (list, tuple), collections.abc.Set: (set, frozenset)}
    return frozenset(abstract.get(node.python, (node.python,)))


# The text of a node


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
        fields = [f"{f.name}: {_text(nodes, f.node, depth - 1)}{'?' * f.may_be_missing}" for f in node.fields[:_SHOWN]]
        return f"{node.name}{{{', '.join(fields + ['…'] * (len(node.fields) > _SHOWN))}}}"
    if node.python is tuple and node.kind is Kind.LIST:
        return f"tuple[{_text(nodes, node.items[0], depth - 1)}, ...]"
    parts = [_text(nodes, item, depth - 1) for item in node.items[:_SHOWN]] + ["…"] * (len(node.items) > _SHOWN)
    if node.kind is Kind.UNION:
        return " | ".join(parts)
    name = "dict" if node.kind is Kind.MAP else node.kind.name.lower()
    return f"{name}[{', '.join(parts) or '()'}]"


def literal_text(value: Any) -> str:
    """A literal value as Python writes it, cut short."""
    if isinstance(value, str | bytes):
        return repr(value[:32])
    is_long = isinstance(value, int) and value.bit_length() > 64
    return hex(value) if is_long else repr(value)  # repr of a very long int is slow, and Python refuses it


# The wire form


def _node_to_wire(node: Node) -> list[Any]:
    if node.kind is Kind.RECORD:
        fields = [[f.name, f.may_be_absent + 2 * f.may_be_missing, f.node] for f in node.fields]
        return [int(node.kind), node.name, node.open, *fields]
    return [int(node.kind), *(node.values if node.kind is Kind.LITERAL else node.items)]


_READER = Reader(max_depth=_MAX_WIRE_DEPTH)
_ITEM_COUNTS = {  # least and most; kinds that are not here have none
    Kind.LIST: (1, 1),
    Kind.SET: (1, 1),
    Kind.MAP: (2, 2),
    Kind.TUPLE: (0, MAX_NODES),
    Kind.UNION: (1, MAX_NODES),
}


def _nodes_from_wire(data: bytes) -> tuple[Node, ...]:
    require(len(data) <= MAX_SCHEMA_SIZE, "too large")
    table = _READER.read(data)
    require(type(table) is list and 0 < len(table) <= MAX_NODES, "not a table of nodes")
    nodes = tuple(_node_from_wire(entry, len(table)) for entry in table)
    for node in nodes:
        require(
            node.kind is not Kind.UNION or all(nodes[i].kind is not Kind.UNION for i in node.items),
            "a union in a union",
        )
    return nodes


def _node_from_wire(entry: Any, count: int) -> Node:
    require(type(entry) is list and entry and type(entry[0]) is int, "not a node")
    kind, rest = Kind(entry[0]), cast("list[Any]", entry[1:])
    if kind is Kind.LITERAL:
        require(rest and all(kind_of(type(value)) in LITERAL_KINDS for value in rest), "a bad literal")
        require(all(value == value for value in rest), "a literal NaN, which equals nothing")
        return Node(kind, values=tuple(rest))
    if kind is Kind.RECORD:
        name, is_open, *entries = rest
        require(type(is_open) is bool, "a bad flag")
        fields = tuple(_field_from_wire(*entry, count=count) for entry in entries)
        require(len({field.name for field in fields}) == len(fields), "a field twice")
        return Node(kind, name=_name_from_wire(name), open=is_open, fields=fields)
    least, most = _ITEM_COUNTS.get(kind, (0, 0))
    require(least <= len(rest) <= most, "a node of the wrong size")
    return Node(kind, items=tuple(_index_from_wire(index, count) for index in rest))


def _field_from_wire(name: Any, flags: Any, index: Any, *, count: int) -> Field:
    require(type(flags) is int and flags in (0, 2, 3), "a bad flag")
    return Field(_name_from_wire(name), _index_from_wire(index, count), bool(flags & 1), bool(flags & 2))


def _name_from_wire(name: Any) -> str:
    require(type(name) is str and len(name) <= MAX_NAME_LENGTH, "a bad name")
    return cast("str", name)


def _index_from_wire(index: Any, count: int) -> int:
    require(type(index) is int and 0 <= index < count, "a reference to a node that is not in the table")
    return cast("int", index)
