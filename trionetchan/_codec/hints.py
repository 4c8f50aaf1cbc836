"""What Python's typing says of a type: what an alias stands for, a class's fields, a generic class's arguments."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import typing_extensions

from .._errors import UnfitValue, printable
from .schema import MAX_TYPE_DEPTH, Field

__all__ = [
    "fields_of",
    "hashed_fields",
    "hints_of",
    "is_record",
    "is_union",
    "stripped",
    "type_name",
    "union_members",
]


def type_name(hint: Any) -> str:
    return printable(str(getattr(hint, "__name__", None) or repr(hint)) if isinstance(hint, type) else repr(hint))


def is_record(cls: Any) -> bool:
    """A class whose values are records of named fields."""
    return typing_extensions.is_typeddict(cls) or attrs.has(cls) or dataclasses.is_dataclass(cls)


def is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def union_members(hint: Any, seen: tuple[Any, ...]) -> Iterator[Any]:
    """A union's members, those of unions in it (by way of an alias) too."""
    if hint in seen:
        raise UnfitValue(f"{type_name(hint)} refers to nothing but itself")
    for member in map(stripped, typing.get_args(hint)):
        if is_union(member):
            yield from union_members(member, (*seen, hint))
        else:
            yield member


_QUALIFIERS = (typing.Final, typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly)


def stripped(hint: Any) -> Any:
    """A type without what makes no difference to its values: names, aliases, annotations, qualifiers."""
    for _ in range(MAX_TYPE_DEPTH):
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
    raise UnfitValue(f"{type_name(hint)} refers to nothing but itself")


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


def hints_of(hint: Any, cls: Any) -> dict[str, Any]:
    """The types of a class's attributes, with type variables replaced by what they stand for."""
    bound = _bindings(hint)
    owners = {name: owner for owner in reversed(cls.__mro__) for name in inspect.get_annotations(owner)}
    resolved = typing_extensions.get_type_hints(cls, include_extras=True)
    return {name: _substitute(part, bound.get(owners.get(name), {})) for name, part in resolved.items()}


def fields_of(hint: Any, cls: Any) -> Iterator[tuple[Field, Any]]:
    """The fields of a record class, with their types."""
    hints = hints_of(hint, cls)
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
            raise UnfitValue(f"{type_name(cls)}: an InitVar is not kept, so it cannot be carried")
        for f in dataclasses.fields(cls):
            default = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            yield Field(f.name, 0, may_be_missing=default or not f.init, attribute=f.name, init=f.init), hints[f.name]


def hashed_fields(cls: Any) -> set[str]:
    """The fields that make the hash of a record that is in a key."""
    if cls.__hash__ is object.__hash__:
        return set()
    if attrs.has(cls):
        return {a.name for a in attrs.fields(cls) if (a.eq if a.hash is None else a.hash)}
    return {f.name for f in dataclasses.fields(cls) if (f.compare if f.hash is None else f.hash)}
