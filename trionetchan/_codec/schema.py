"""A value type as a structure that another process can compare: a table of nodes, and its wire form.

`describe` makes a schema of a Python type, and it is the only description there is: the wire carries it, `difference`
compares two of them, and a codec is built from one. So the type that was compared is the type that is checked.
Decisions:

- A schema is a flat table of nodes that refer to each other by number; node 0 is the root. Recursion is a reference.
- Structure counts, names don't: a renamed class fits. An enum is the set of its wire values. Names are for messages.
- A record writes every field that it has. A field with a default is always there when sent and may be missing when
  received; a `NotRequired` key may be missing both ways: two flags, not one.
- A schema from a peer is bounded: its bytes, its nodes, the length of its names and of its text, and how many of its
  literals share a hash. It is checked as columns, as values are: reading one of any kind takes a few milliseconds.
- Fields, nodes and schemas are made by the thousand, so they have no slots: a frozen class without is made faster.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import itertools
import operator
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
_MAX_TEXT_LENGTH = 200  # characters, after which it is cut
_SHOWN = 16  # fields or members that a text shows
_MAX_COLLISIONS = 64  # literal numbers of one hash
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


@attrs.frozen(slots=False)
class Field:
    """One field of a record. `attribute` and `init` are this process's own."""

    name: str
    node: int
    may_be_absent: bool = False  # what is sent may lack it
    may_be_missing: bool = False  # what is received may lack it
    attribute: str = attrs.field(default="", eq=False)  # of the Python object
    init: bool = attrs.field(default=True, eq=False)  # the constructor takes it


@attrs.frozen(slots=False)
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


@attrs.frozen(slots=False)
class Schema:
    """A table of nodes; equal if the structure and the names in it are."""

    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return self.text(0)

    def text(self, index: int) -> str:
        """A node as a short text for people, at most about 200 characters."""
        return printable(_joined(_pieces(self.nodes, index, _MAX_TEXT_DEPTH)))

    def to_bytes(self) -> bytes:
        """The wire form, made once. `UnfitValue` if it is larger than a schema may be."""
        return self._wire

    @functools.cached_property
    def _wire(self) -> bytes:
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


def _joined(pieces: Iterable[str]) -> str:
    """As many of the pieces as a text can show. No more are made: those of a peer's type may be very many."""
    found: list[str] = []
    size = 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > _MAX_TEXT_LENGTH:
            break
    return "".join(found)


def _pieces(nodes: Sequence[Node], index: int, depth: int) -> Iterator[str]:
    """The text of a node, piece by piece; none is empty but the last."""
    node = nodes[index]
    if node.kind in _TEXTS:
        yield "bytearray" if node.python is bytearray else _TEXTS[node.kind]
    elif node.kind is Kind.ANY:
        yield "Any"
    elif node.kind is Kind.LITERAL:
        more = ", …" * (len(node.values) > 8)
        yield f"Literal[{', '.join(literal_text(value) for value in node.values[:8])}{more}]"
    elif depth == 0:
        yield node.name or "…"
    elif node.kind is Kind.RECORD:
        yield f"{node.name}{{"
        for place, field in enumerate(node.fields[:_SHOWN]):
            yield f"{', ' * (place > 0)}{field.name}: "
            yield from _pieces(nodes, field.node, depth - 1)
            yield "?" * field.may_be_missing
        yield ", …}" if len(node.fields) > _SHOWN else "}"
    else:
        yield from _pieces_of_items(nodes, node, depth)


def _pieces_of_items(nodes: Sequence[Node], node: Node, depth: int) -> Iterator[str]:
    is_union = node.kind is Kind.UNION
    if not is_union:
        is_tuple = node.kind is Kind.LIST and node.python is tuple
        yield f"{'tuple' if is_tuple else 'dict' if node.kind is Kind.MAP else node.kind.name.lower()}["
    separator = " | " if is_union else ", "
    for place, item in enumerate(node.items[:_SHOWN]):
        if place:
            yield separator
        yield from _pieces(nodes, item, depth - 1)
    if len(node.items) > _SHOWN:
        yield f"{separator}…"
    if not is_union:
        more = ", ..." if node.kind is Kind.LIST and node.python is tuple else ""
        yield f"{more}]" if node.items else "()]"


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
_LITERAL_TYPES = frozenset({type(None), bool, int, float, str, bytes})
_NUMBERS = frozenset({int, float})
_HASH_MODULUS = sys.hash_info.modulus  # smaller integers have hashes of their own, and few floats have the same one
_ABSENT, _MISSING = frozenset({1, 3}), frozenset({2, 3})  # flags of a field: bits
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
    unions = {index for index, node in enumerate(nodes) if node.kind is Kind.UNION}
    require(all(unions.isdisjoint(nodes[index].items) for index in unions), "a union in a union")
    _require_few_collisions(nodes)
    return nodes


def _node_from_wire(entry: Any, count: int) -> Node:
    require(type(entry) is list and entry and type(entry[0]) is int and 0 <= entry[0] < len(Kind), "not a node")
    kind, rest = Kind(entry[0]), cast("list[Any]", entry[1:])
    if kind is Kind.LITERAL:
        kinds = set(map(type, rest))
        require(rest and kinds <= _LITERAL_TYPES, "a bad literal")
        require(float not in kinds or not any(map(operator.ne, rest, rest)), "a literal NaN, which equals nothing")
        return Node(kind, values=tuple(rest))
    if kind is Kind.RECORD:
        require(len(rest) >= 2 and type(rest[1]) is bool, "a bad flag")
        _check_names(rest[:1])
        return Node(kind, name=rest[0], open=rest[1], fields=_fields_from_wire(rest[2:], count))
    least, most = _ITEM_COUNTS.get(kind, (0, 0))
    require(least <= len(rest) <= most, "a node of the wrong size")
    _check_references(rest, count)
    return Node(kind, items=tuple(rest))


def _fields_from_wire(entries: list[Any], count: int) -> tuple[Field, ...]:
    if not entries:
        return ()
    require(set(map(type, entries)) == {list} and set(map(len, entries)) == {3}, "not a field")
    names, flags, references = zip(*entries, strict=True)
    _check_names(names)
    require(len(set(names)) == len(names), "a field twice")
    require(set(map(type, flags)) == {int} and min(flags) >= 0 and max(flags) <= 3 and 1 not in flags, "a bad flag")
    _check_references(references, count)
    return tuple(map(Field, names, references, map(_ABSENT.__contains__, flags), map(_MISSING.__contains__, flags)))


def _check_names(names: Sequence[Any]) -> None:
    require(set(map(type, names)) == {str} and max(map(len, names)) <= MAX_NAME_LENGTH, "a bad name")


def _check_references(references: Sequence[Any], count: int) -> None:
    complaint = "a reference to a node that is not in the table"
    require(set(map(type, references)) <= {int}, complaint)
    require(not references or (min(references) >= 0 and max(references) < count), complaint)


def _require_few_collisions(nodes: Iterable[Node]) -> None:
    """Sets are made of literals: no peer chooses how long that takes. Hashes of text and bytes are not foreseeable."""
    numbers = [
        value
        for node in nodes
        if set(map(type, node.values)) & _NUMBERS
        for value in node.values
        if type(value) in _NUMBERS and not -_HASH_MODULUS < value < _HASH_MODULUS
    ]
    if numbers and _share_a_hash(numbers):
        distinct = (next(same) for _, same in itertools.groupby(sorted(numbers)))  # a value may come twice
        require(not _share_a_hash(distinct), "too many literals of one hash")


def _share_a_hash(values: Iterable[Any]) -> bool:
    return max(Counter(map(hash, values)).values()) > _MAX_COLLISIONS
