"""From a Python type to its schema; a type whose values could not be carried is refused here, when a name is bound.

Decisions:

- A type is walked once, and is one node wherever it occurs. What makes no difference to its values leaves no trace:
  names, aliases, annotations, qualifiers; a type variable that stands for nothing is `Any`.
- A refusal names the way to the part that cannot be carried, and why: `Job.callback: a function cannot be carried`.
- What is a key or an element of a set must be hashable all through; and what is unequal there must be so to a peer that
  has only the data: a plain enum's ONE = 1 is not 1.0, but its data is.
- The members of a union must be told apart by looking at a value, not by trying: kinds, literals, names of fields and
  the kinds of fields, lengths. Two that may take the same data pass only if both would build the same from it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import typing_extensions

from .._errors import UnfitValue, printable
from .schema import (
    LITERAL_KINDS,
    MAX_DEPTH,
    MAX_NAME,
    MAX_NODES,
    SCALARS,
    Field,
    Kind,
    Node,
    Schema,
    kind_of,
    literal_text,
    reaches,
    told_apart,
    typed,
)

__all__ = ["describe", "python_types"]

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
        if len(way) > MAX_DEPTH or len(self.nodes) >= MAX_NODES:
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
            if len(names) < len(found) or any(len(text) > MAX_NAME for text in names):
                raise _refusal(way, f"{name}: two fields of one name, or a name that is too long")
            return Node(Kind.RECORD, name=name[:MAX_NAME], fields=tuple(found), python=cls)
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
    for _ in range(MAX_DEPTH):
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
        if kind_of(type(value)) not in LITERAL_KINDS or value != value:
            raise _refusal(way, f"{_name(python)} has a value that cannot be carried")
        if found.setdefault(typed(value), python) is not python:
            raise _refusal(way, f"{_name(python)} cannot be told apart on the wire from {literal_text(value)}")
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
        built, also = (dict(zip(map(typed, n.values), n.python, strict=True)) for n in (one, other))
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
