"""Types to try the value codec with, and strategies that make types together with values of them."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypeVar
from uuid import UUID

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType, TypedDict

from trionetchan._codec.codec import codec_for
from trionetchan._errors import UnfitValue

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Hue(enum.StrEnum):
    CRIMSON = "red"
    BLUE = "blue"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Job:
    id: int
    weight: float


@attrs.frozen
class Work:
    """Job under another name, in another order, its weight optional, its id wider."""

    weight: float = 1.0
    id: int | None = attrs.field(kw_only=True)


@attrs.frozen
class BigJob:
    id: int
    weight: float
    note: str


@attrs.frozen
class BigJobDefault:
    id: int
    weight: float
    note: str = ""


@attrs.frozen
class TextJob:
    id: int
    weight: str


@attrs.frozen
class HasJob:
    job: Job


@attrs.frozen
class HasTextJob:
    job: TextJob


@attrs.define
class Private:
    _id: int
    _weight: float = 0.0


@dataclasses.dataclass
class DataJob:
    id: int
    weight: float = 0.0


class JobDict(TypedDict):
    id: int
    weight: float


class PartJob(TypedDict):
    id: int
    weight: NotRequired[float]


class Pair(NamedTuple):
    left: int
    right: int


@attrs.frozen
class Chain:
    value: int
    next: Optional[Chain]  # noqa: UP045 - as people write it


@attrs.frozen
class Link:
    value: int | str
    next: Optional[Link]  # noqa: UP045


@attrs.frozen
class Chain2:
    value: int
    next: Optional[Chain3]  # noqa: UP045


@attrs.frozen
class Chain3:
    value: int
    next: Optional[Chain2]  # noqa: UP045


@attrs.frozen
class BadChain3:
    value: int
    next: Optional[BadChain4]  # noqa: UP045


@attrs.frozen
class BadChain4:
    value: str
    next: Optional[BadChain3]  # noqa: UP045


@attrs.frozen
class Box(Generic[T]):
    item: T


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    lives: int


@attrs.frozen
class Animal:
    kind: str
    lives: int


Json = TypeAliasType("Json", "bool | int | float | str | list[Json] | dict[str, Json] | None")
Ints = TypeAliasType("Ints", "int | list[Ints]")


@attrs.frozen
class Typed:
    """A type, and a strategy for its values."""

    type: Any
    values: st.SearchStrategy[Any] = attrs.field(repr=False)
    hashable: bool = True


def all_of(members: type[enum.Enum]) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(members))


MOMENTS = st.datetimes() | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
NUMBERS = st.decimals(allow_nan=False) | st.sampled_from([Decimal("NaN"), Decimal("-0"), Decimal(1)])
BASES = [
    Typed(int, st.integers() | st.integers(0, 2)),
    Typed(float, st.floats() | st.just(1.0)),
    Typed(str, st.text(max_size=3)),
    Typed(bytes, st.binary(max_size=3)),
    Typed(bytearray, st.binary(max_size=3).map(bytearray), hashable=False),
    Typed(bool, st.booleans()),
    Typed(None, st.none()),
    Typed(datetime, MOMENTS),
    Typed(date, st.dates()),
    Typed(time, st.times()),
    Typed(timedelta, st.timedeltas()),
    Typed(Decimal, NUMBERS),
    Typed(UUID, st.uuids()),
    Typed(Color, all_of(Color)),
    Typed(Hue, all_of(Hue)),
    Typed(Level, all_of(Level)),
    Typed(Right, st.sampled_from([Right(0), Right.READ, Right.WRITE, Right.READ | Right.WRITE])),
    Typed(Literal[1, 2], st.sampled_from([1, 2])),
    Typed(Literal[True, "red"], st.sampled_from([True, "red"])),
    Typed(Literal["red"], st.just("red")),
    Typed(Cat, st.builds(Cat, st.just("cat"), st.integers())),
    Typed(Dog, st.builds(Dog, st.just("dog"), st.integers())),
    Typed(Animal, st.builds(Animal, st.text(max_size=2), st.integers())),
    Typed(Chain, st.recursive(st.just(Chain(0, None)), lambda c: st.builds(Chain, st.integers(), c), max_leaves=3)),
    Typed(Ints, st.recursive(st.integers(), lambda x: st.lists(x, max_size=3), max_leaves=4), hashable=False),
    Typed(Pair, st.builds(Pair, st.integers(), st.integers())),
    Typed(PartJob, st.fixed_dictionaries({"id": st.integers()}, optional={"weight": st.floats()}), hashable=False),
]
NAMES = ("a", "b", "c")


def tuple_of(parts: list[Typed]) -> Typed:
    hint = tuple[tuple(part.type for part in parts)] if parts else tuple[()]  # type: ignore[misc]
    return Typed(hint, st.tuples(*(part.values for part in parts)), all(part.hashable for part in parts))


def record_of(parts: list[tuple[Typed, bool]]) -> Typed:
    fields: dict[str, Any] = {
        name: attrs.field(type=part.type, default=None if optional else attrs.NOTHING, kw_only=True)
        for name, (part, optional) in zip(NAMES, parts, strict=False)
    }
    cls = attrs.make_class("Record", fields, frozen=True)
    values = st.fixed_dictionaries({name: part.values for name, (part, _) in zip(NAMES, parts, strict=False)})
    return Typed(cls, values.map(lambda made: cls(**made)), all(part.hashable for part, _ in parts))


def typed_dict_of(parts: list[tuple[Typed, bool]]) -> Typed:
    named = dict(zip(NAMES, parts, strict=False))
    hints = {name: NotRequired[part.type] if optional else part.type for name, (part, optional) in named.items()}
    required = {name: part.values for name, (part, optional) in named.items() if not optional}
    missing = {name: part.values for name, (part, optional) in named.items() if optional}
    make: Any = TypedDict
    hint = make("Dict", hints)
    return Typed(hint, st.fixed_dictionaries(required, optional=missing), hashable=False)


def hashable(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types of keys and elements, without the values that have a NaN in them: those cannot be carried there."""

    def as_key(typed: Typed) -> Typed:
        return attrs.evolve(typed, values=typed.values.filter(lambda value: not _NAN.search(repr(value))))

    return inner.filter(lambda t: t.hashable).map(as_key)


_NAN = re.compile(r"\bs?nan\d*\b", re.IGNORECASE)


def composed(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    fields = st.lists(st.tuples(inner, st.booleans()), max_size=3)

    def dictionary(key: Typed, value: Typed) -> Typed:
        return Typed(dict[key.type, value.type], st.dictionaries(key.values, value.values, max_size=3), hashable=False)  # type: ignore[name-defined]

    return st.one_of(
        inner.map(lambda t: Typed(list[t.type], st.lists(t.values, max_size=3), hashable=False)),  # type: ignore[name-defined]
        inner.map(lambda t: Typed(tuple[t.type, ...], st.lists(t.values, max_size=3).map(tuple), t.hashable)),  # type: ignore[name-defined]
        st.lists(inner, max_size=3).map(tuple_of),
        hashable(inner).map(lambda t: Typed(set[t.type], st.sets(t.values, max_size=3), hashable=False)),  # type: ignore[name-defined]
        hashable(inner).map(lambda t: Typed(frozenset[t.type], st.frozensets(t.values, max_size=3))),  # type: ignore[name-defined]
        st.builds(dictionary, hashable(inner), inner),
        inner.map(lambda t: Typed(t.type | None if t.type is not None else None, st.none() | t.values, t.hashable)),
        st.tuples(inner, inner).map(union_of),
        inner.map(lambda t: Typed(Box[t.type], t.values.map(Box), t.hashable)),  # type: ignore[name-defined]
        fields.map(record_of),
        fields.map(typed_dict_of),
    )


def union_of(parts: tuple[Typed, Typed]) -> Typed:
    one, other = parts
    return Typed(either(one.type, other.type), one.values | other.values, one.hashable and other.hashable)


def either(one: Any, other: Any) -> Any:
    return (type(None) if one is None else one) | other


LEAVES = st.sampled_from(BASES)
TYPED = st.recursive(LEAVES, composed, max_leaves=4)


def carried(value_type: Any) -> bool:
    try:
        codec_for(value_type)
    except UnfitValue as error:
        assert any(text in str(error) for text in ("told apart", "hashable"))  # noqa: PT017
        return False
    return True
