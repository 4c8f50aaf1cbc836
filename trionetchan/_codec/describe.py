"""From a Python type to its schema; a type whose values could not be carried is refused here, when a name is bound.

Decisions:

- A type is walked once, and is one node wherever it occurs. What makes no difference to its values leaves no trace:
  names, aliases, annotations, qualifiers. A type variable that stands for nothing is `Any`.
- A refusal names the way to the part that cannot be carried, and why: `Job.callback: a function cannot be carried`.
- What is a key or an element of a set must be hashable all through.
- Abstract collections become concrete, except that `Sequence` and `Set` accept two types each; they build list and
  frozenset.
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Iterable
from typing import Any, cast

import attrs
import typing_extensions

from .._errors import UnfitValue, printable
from .hints import fields_of, hashed_fields, hints_of, is_record, is_union, stripped, type_name, union_members
from .schema import (
    LITERAL_KINDS,
    MAX_NAME_LENGTH,
    MAX_NODES,
    MAX_TYPE_DEPTH,
    SCALARS,
    Field,
    Kind,
    Node,
    Schema,
    kind_of,
    literal_text,
    typed,
)
from .unions import check_unions

__all__ = ["describe"]

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


def describe(value_type: Any) -> Schema:
    """The structure of a value type. `UnfitValue` names the part that cannot be carried, and why."""
    describer = _Describer()
    try:
        describer.index_of(value_type, ())
        schema = Schema(tuple(cast("list[Node]", describer.nodes)))
        check_unions(schema)
        schema.to_bytes()
    except UnfitValue:
        raise
    except Exception as error:
        raise UnfitValue(f"{type_name(value_type)} cannot be carried: {printable(str(error))}") from error
    return schema


@attrs.define
class _Describer:
    """Makes the nodes of one schema. `path` is the way to a type from the root, for messages."""

    nodes: list[Node | None] = attrs.field(factory=list[Node | None])
    known: dict[Any, int] = attrs.field(factory=dict[Any, int])

    def index_of(self, hint: Any, path: tuple[str, ...], *, hashed: bool = False) -> int:
        """The number of the node for a type, made if there is none yet."""
        hint = stripped(hint)
        if (hint, hashed) in self.known:
            return self.known[hint, hashed]
        if len(path) > MAX_TYPE_DEPTH or len(self.nodes) >= MAX_NODES:
            raise _refusal(path[-1:], "a type of too many parts cannot be carried")
        self.known[hint, hashed] = index = len(self.nodes)
        self.nodes.append(None)  # its place is taken first: a recursive type refers to it
        self.nodes[index] = attrs.evolve(self.node_of(hint, path, hashed), hashed=hashed)
        return index

    def node_of(self, hint: Any, path: tuple[str, ...], hashed: bool) -> Node:
        origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
        if hint is Any or hint is object:
            return Node(Kind.ANY)
        if hint in SCALARS:
            return Node(SCALARS[hint], python=hint)
        if origin is typing.Literal or origin is typing_extensions.Literal:
            return _literal(args, path)
        if is_union(hint):
            members = [self.index_of(member, path, hashed=hashed) for member in union_members(hint, ())]
            return Node(Kind.UNION, tuple(dict.fromkeys(members)))
        if origin is tuple:
            if not args and hint in (tuple, typing.Tuple):  # noqa: UP006 - what a user may have written
                args = (Any, ...)
            return self.tuple_node(args, path, hashed)
        if hashed and (origin in _UNHASHABLE or getattr(origin, "__hash__", None) is None):
            raise _refusal(path, f"{type_name(hint)} is not hashable, so it can be no key and no element of a set")
        if hint is bytearray:
            return Node(Kind.BYTES, python=bytearray)
        if origin in _COLLECTIONS:
            return self.collection_node(*_COLLECTIONS[origin], args, path)
        if isinstance(origin, type):
            return self.class_node(hint, origin, path, hashed)
        unresolved = isinstance(hint, str | typing.ForwardRef)
        raise _refusal(path, f"{type_name(hint)} cannot be {'resolved' if unresolved else 'carried'}")

    def tuple_node(self, args: tuple[Any, ...], path: tuple[str, ...], hashed: bool) -> Node:
        if args[1:] == (...,):
            return Node(Kind.LIST, (self.index_of(args[0], (*path, "element"), hashed=hashed),), python=tuple)
        items = [self.index_of(arg, (*path, f"element {i}"), hashed=hashed) for i, arg in enumerate(args)]
        return Node(Kind.TUPLE, tuple(items), python=tuple)

    def collection_node(self, kind: Kind, python: Any, args: tuple[Any, ...], path: tuple[str, ...]) -> Node:
        if kind is Kind.MAP:
            key, value = args or (Any, Any)
            items = (self.index_of(key, (*path, "key"), hashed=True), self.index_of(value, (*path, "value")))
            return Node(kind, items, python=python)
        (element,) = args or (Any,)
        return Node(kind, (self.index_of(element, (*path, "element"), hashed=kind is Kind.SET),), python=python)

    def class_node(self, hint: Any, cls: Any, path: tuple[str, ...], hashed: bool) -> Node:
        if issubclass(cls, enum.Enum):
            return _literal(_flag_values(cls) if issubclass(cls, enum.Flag) else tuple(cls), path)
        if is_record(cls):
            return self.record_node(hint, cls, path, hashed)
        if issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields"):
            hints = hints_of(hint, cls)
            parts = [(hints.get(part, Any), (*path, f"{type_name(cls)}.{part}")) for part in cast("Any", cls)._fields]
            items = [self.index_of(part, step, hashed=hashed) for part, step in parts]
            return Node(Kind.TUPLE, tuple(items), python=cls)
        function = cls in (cast("Any", collections.abc.Callable), types.FunctionType)
        raise _refusal(path, f"{'a function' if function else type_name(cls)} cannot be carried")

    def record_node(self, hint: Any, cls: Any, path: tuple[str, ...], hashed: bool) -> Node:
        name = type_name(cls)
        fields: list[Field] = []
        in_hash = hashed_fields(cls) if hashed else ()
        for field, part in fields_of(hint, cls):
            step = (*path, f"{name}.{field.attribute}")
            node = self.index_of(part, step, hashed=field.attribute in in_hash)
            fields.append(attrs.evolve(field, node=node))
        names = {field.name for field in fields}
        if len(names) < len(fields) or any(len(text) > MAX_NAME_LENGTH for text in names):
            raise _refusal(path, f"{name}: two fields of one name, or a name that is too long")
        return Node(Kind.RECORD, name=name[:MAX_NAME_LENGTH], fields=tuple(fields), python=cls)


_UNHASHABLE = frozenset({collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set})


def _refusal(path: tuple[str, ...], complaint: str) -> UnfitValue:
    return UnfitValue(f"{', '.join(path)}: {complaint}" if path else complaint)


def _flag_values(cls: type[enum.Flag]) -> tuple[enum.Flag, ...]:
    """Every combination of a flag's bits: they are its values."""
    mask = 0
    for member in cls:
        mask |= member.value
    if mask.bit_count() > 8:
        raise UnfitValue(f"{type_name(cls)}: a flag of more than 8 bits cannot be carried")
    found = [0]
    while following := (found[-1] - mask) & mask:
        found.append(following)
    return tuple(map(cls, found))


def _literal(values: Iterable[object], path: tuple[str, ...]) -> Node:
    found: dict[tuple[type, object], Any] = {}
    for python in values:
        value: object = python.value if isinstance(python, enum.Enum) else python
        if kind_of(type(value)) not in LITERAL_KINDS or value != value:
            raise _refusal(path, f"{type_name(python)} has a value that cannot be carried")
        if found.setdefault(typed(value), python) is not python:
            raise _refusal(path, f"{type_name(python)} cannot be told apart on the wire from {literal_text(value)}")
    if not found:
        raise _refusal(path, "an enum without members cannot be carried")
    return Node(Kind.LITERAL, values=tuple(value for _, value in found), python=tuple(found.values()))
