"""The value codec: what it carries, what it refuses, and that nothing a peer sends makes it do anything else."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import math
import os
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, Required, TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType, TypedDict

from trionetchan._codec.codec import Codec, codec_for
from trionetchan._errors import UnfitValue

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

T = TypeVar("T")


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd(enum.Enum):
    ONE = 1
    TRUE = "true"
    NOTHING = None


class Right(enum.Flag):
    READ = 1
    WRITE = 4


@attrs.frozen
class Job:
    id: int
    name: str
    weight: float = 1.0


@attrs.define
class Secret:
    _key: bytes
    shown: str = attrs.field(alias="label")
    count: int = attrs.field(init=False, default=0)
    note: str | None = attrs.field(kw_only=True, default=None)


@attrs.define
class Base(Generic[T]):
    item: T


@attrs.frozen
class Frozen(Generic[T]):
    item: T
    aside: list[int] = attrs.field(factory=list[int], eq=False)


@attrs.define
class Derived(Base[int], Generic[T]):
    other: list[T]


@attrs.define
class Node:
    value: int
    next: Optional[Node] = None  # noqa: UP045 - as people write it


@dataclasses.dataclass
class Link:
    value: int
    next: Link | None = None


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    lives: int


@attrs.frozen
class Leaf:
    leaf: int


@attrs.frozen
class Branch:
    left: Leaf | Branch
    right: Leaf | Branch


@attrs.define
class Positive:
    number: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.define
class Coercing:
    number: int = attrs.field(converter=int)


@attrs.define
class Single:
    only: int


@attrs.define
class Nothing:
    pass


@attrs.frozen
class LongJob(Job):
    extra: int = 0


@dataclasses.dataclass
class Point:
    x: int
    y: int = dataclasses.field(default=0, kw_only=True)
    tags: list[str] = dataclasses.field(default_factory=list[str])


class Pair(NamedTuple):
    left: int
    right: str = ""


class Movie(TypedDict, total=False):
    title: Required[str]
    year: int


class Rated(Movie):
    stars: NotRequired[list[float]]


@attrs.define
class WithCallback:
    id: int
    callback: Callable[[], None]


UserId = NewType("UserId", int)
Json = TypeAliasType("Json", "bool | int | float | str | list[Json] | dict[str, Json] | None")
Stack = TypeAliasType("Stack", "tuple[T, Stack[T]] | None", type_params=(T,))
Twice = TypeAliasType("Twice", tuple[T, T], type_params=(T,))

NAIVE = datetime(2026, 3, 29, 2, 30, 0, 5, fold=1)  # noqa: DTZ001 - naive is what it is about

ROUND_TRIPS: list[tuple[Any, list[Any]]] = [
    (int, [0, -1, 2**64, -(2**64) - 1, 2**3000]),
    (float, [0.0, -0.0, 1.5, math.inf, 1e-320]),
    (str, ["", "ä\0\U0001f600"]),
    (bytes, [b"", b"x" * 70_000, b"y" * 300]),
    (bytearray, [bytearray(b"ab")]),
    (bool, [True, False]),
    (None, [None]),
    (datetime, [NAIVE, datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-3)))]),
    (date, [date(1, 1, 1), date.max]),
    (time, [time(1, 2, 3, 4), time(1, tzinfo=UTC), time(23, 59, fold=1)]),
    (timedelta, [timedelta.min, timedelta.max, timedelta(microseconds=-1)]),
    (Decimal, [Decimal("1.50"), Decimal("-0"), Decimal("1E+5"), Decimal("Infinity"), Decimal("1" * 9000)]),
    (UUID, [UUID(int=1)]),
    (Color, [Color.RED]),
    (Level, [Level.LOW, Level.HIGH]),
    (Odd, list(Odd)),
    (Right, [Right(0), Right.READ, Right.READ | Right.WRITE]),
    (Literal[1, "a", None, True, b"x", Color.RED], [1, "a", None, True, b"x", Color.RED]),  # noqa: PYI061
    (int | None, [None, 3]),
    (int | str | None | list[int] | list[str], [1, "a", None, [1], ["a"], []]),
    (Optional[Job], [None, Job(1, "a")]),  # noqa: UP045
    (list[list[int]], [[], [[]], [[1], [], [2, 3]]]),
    (tuple[int, str], [(1, "a")]),
    (tuple[()], [()]),
    (tuple[int, ...], [(), (1, 2)]),
    (Pair, [Pair(1), Pair(2, "b")]),
    (dict[int, str], [{}, {1: "a", 2**80: "b"}]),
    (dict[str, dict[bytes, float]], [{"a": {b"b": 1.0}, "c": {}}]),
    (dict[str | int, int], [{"a": 1}, {1: 1, "b": 2}]),
    (dict[UUID, list[Job]], [{UUID(int=5): [Job(1, "a")]}]),
    (dict[tuple[int, Pair], int], [{(1, Pair(2)): 3}]),
    (dict[Color, Level], [{Color.RED: Level.HIGH}]),
    (set[int], [set(), {1, 2}]),
    (frozenset[frozenset[str]], [frozenset({frozenset({"a"}), frozenset()})]),
    (set[Frozen[Any]], [{Frozen((1, "a")), Frozen(2, [3])}]),
    (set[Job], [{Job(1, "a"), Job(2, "b")}]),
    (Sequence[int], [[1, 2]]),
    (Mapping[str, int], [{"a": 1}]),
    (Job, [Job(1, "a"), Job(2, "b", 2.5)]),
    (Secret, [Secret(b"k", "l", note="n"), Secret(b"", "")]),
    (Base[str], [Base("a")]),
    (Base, [Base(1), Base("a")]),
    (Derived[str], [Derived(1, ["a"])]),
    (Base[str] | Base[int], [Base("a"), Base(1)]),
    (Node, [Node(1, Node(2, Node(3)))]),
    (Cat | Dog, [Cat("cat", 9), Dog("dog", 1)]),
    (Branch, [Branch(Leaf(1), Branch(Leaf(2), Leaf(3)))]),
    (Single, [Single(1)]),
    (Nothing, [Nothing()]),
    (LongJob, [LongJob(1, "a", 2.0, 3)]),
    (Point, [Point(1, y=2, tags=["a"])]),
    (Movie, [{"title": "a"}, {"title": "b", "year": 1999}]),
    (Rated, [{"title": "a", "stars": [1.0]}, {"title": "b"}]),
    (UserId, [7]),
    (Annotated[list[Annotated[int, "x"]], [1]], [[7]]),
    (Json, [None, [1, {"a": [True, "x", 1.5]}], {}]),
    (Stack[int], [None, (1, (2, None))]),
    (Twice[str], [("a", "b")]),
    (dict[str, Any], [{"a": {1: {2, 3}}, "b": [None]}]),
    (object, [1, "a", {1, (2, "b")}, {(1, frozenset({1})): {1}}, [NAIVE, Decimal("1.0"), UUID(int=9), timedelta(1)]]),
    (object, [{1: "a", b"b": [], "c": {}}, {}, [date(2026, 1, 1), time(5), b"x", 2**99, -0.0]]),
]


def shape(value: Any) -> Any:
    """A value with all its types, comparable."""
    if isinstance(value, dict):
        return dict, frozenset((shape(k), shape(v)) for k, v in value.items())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, set | frozenset):
        return type(value), frozenset(map(shape, value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return type(value), tuple(map(shape, value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if attrs.has(cls := cast("Any", type(value))):
        return cls, tuple(shape(getattr(value, field.name)) for field in attrs.fields(cls))
    if isinstance(value, datetime | time):
        return type(value), value.isoformat(), value.fold if value.tzinfo is None else None
    if isinstance(value, float | Decimal):
        return type(value), repr(value)
    if isinstance(value, bytearray):
        return bytearray, bytes(value)
    if dataclasses.is_dataclass(value):
        return type(value), repr(value)
    return type(value), value


def refuses(codec: Codec[Any], value: Any) -> str:
    with pytest.raises(UnfitValue) as caught:
        codec.encode([value])
    return str(caught.value)


def refuses_data(codec: Codec[Any], data: Any) -> str:
    payload: bytes = data if isinstance(data, bytes) else cbor2.dumps([data])
    with pytest.raises(UnfitValue) as caught:
        codec.decode(payload)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value_type", "values"), ROUND_TRIPS, ids=[str(value_type)[:60] for value_type, _ in ROUND_TRIPS]
)
def test_what_is_sent_arrives(value_type: Any, values: list[Any]) -> None:
    codec = codec_for(value_type)
    for batch in (values, values * 2, values * 40, []):
        assert shape(codec.decode(codec.encode(batch))) == shape(batch)
    for value in values:
        assert shape(codec.decode(codec.encode([value]))) == shape([value])


SURVIVORS = [st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.uuids()]
MOMENTS = [
    st.datetimes(),
    st.datetimes(timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
]
HASHABLE = st.recursive(
    st.one_of(*SURVIVORS, *MOMENTS),
    lambda inner: st.one_of(st.lists(inner).map(tuple), st.frozensets(inner)),
    max_leaves=4,
)
ANYTHING = st.recursive(
    st.one_of(*SURVIVORS, *MOMENTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(HASHABLE, inner), st.sets(HASHABLE)),
    max_leaves=12,
)


@thorough
@given(st.lists(ANYTHING, max_size=4))
def test_untyped_data_passes_as_it_is(values: list[Any]) -> None:
    codec = codec_for(Any)
    assert shape(codec.decode(codec.encode(values))) == shape(values)


def test_a_decoded_batch_is_one_definite_array() -> None:
    assert codec_for(int).encode([1, 2]) == bytes.fromhex("820102")
    assert codec_for(bytes).encode([b"x" * 5000]) == cbor2.dumps([b"x" * 5000])
    assert codec_for(bytes).encode([b"x" * 2**20, b""]) == cbor2.dumps([b"x" * 2**20, b""])


@pytest.mark.parametrize(
    ("value_type", "value", "form"),
    [
        (datetime, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), cbor2.CBORTag(0, "2026-01-02T03:04:05+00:00")),
        (datetime, NAIVE, cbor2.CBORTag(27, ["local-datetime", "2026-03-29T02:30:00.000005", 1])),
        (date, date(2026, 1, 2), cbor2.CBORTag(1004, "2026-01-02")),
        (time, time(1, 2), cbor2.CBORTag(27, ["time", "01:02:00"])),
        (timedelta, timedelta(seconds=-1), cbor2.CBORTag(27, ["duration", -1_000_000])),
        (Decimal, Decimal("1.50"), cbor2.CBORTag(27, ["decimal", "1.50"])),
        (Decimal, Decimal("sNaN12"), cbor2.CBORTag(27, ["decimal", "sNaN12"])),
        (UUID, UUID(int=1), cbor2.CBORTag(37, bytes(15) + b"\1")),
        (set[int], {1}, cbor2.CBORTag(258, [1])),
        (dict[int, str], {1: "a"}, cbor2.CBORTag(27, ["map", [1, "a"]])),
        (dict[bytes, int], {b"a": 1}, {b"a": 1}),
        (Job, Job(1, "a"), {"id": 1, "name": "a", "weight": 1.0}),
        (Pair, Pair(1), [1, ""]),
        (Level, Level.HIGH, 2),
    ],
)
def test_the_form_on_the_wire(value_type: Any, value: Any, form: Any) -> None:
    codec = codec_for(value_type)
    assert codec.encode([value]) == cbor2.dumps([form])
    assert repr(codec.decode(cbor2.dumps([form]))) == repr([value])


def test_a_nan_stays_one() -> None:
    for value_type in (float, object):
        assert math.isnan(codec_for(value_type).decode(codec_for(value_type).encode([math.nan]))[0])


def test_an_aware_datetime_keeps_its_instant_and_its_offset() -> None:
    codec = codec_for(datetime)
    value = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    (found,) = codec.decode(codec.encode([value]))
    assert found == value
    assert found.utcoffset() == timedelta(hours=2)
    assert "offset" in refuses(codec, datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")))
    assert "offset" in refuses(codec_for(time), time(1, tzinfo=ZoneInfo("Europe/Berlin")))
    assert codec.decode(cbor2.dumps([cbor2.CBORTag(0, "2026-01-01T00:00:00Z")])) == [datetime(2026, 1, 1, tzinfo=UTC)]


class Text(str):
    __slots__ = ()


MISFITS: list[tuple[Any, Any, str]] = [
    (int, "5", "expected int, got str '5'"),
    (int, True, "expected int, got bool True"),
    (int, 1.0, "expected int, got float 1.0"),
    (int, None, "expected int, got None"),
    (int, Level.LOW, "expected int, got Level <Level.LOW: 1>"),
    (float, 1, "expected float, got int 1"),
    (str, b"a", "expected text, got bytes b'a'"),
    (str, Text("a"), "expected text, got Text 'a'"),
    (str, Color.RED, "expected text, got Color <Color.RED: 'red'>"),
    (bytes, bytearray(b"a"), "expected bytes, got bytearray bytearray(b'a')"),
    (bytes, "a", "expected bytes, got str 'a'"),
    (bool, 1, "expected bool, got int 1"),
    (None, 0, "expected None, got int 0"),
    (date, NAIVE, "expected date, got datetime "),
    (Level, 1, "expected Literal[1, 2], got int 1"),
    (Literal[1], 2, "expected Literal[1], got int 2"),
    (Literal[1], True, "expected Literal[1], got bool True"),
    (list[int], b"12", "expected list[int], got bytes b'12'"),
    (list[int], {1: 2}, "expected list[int], got dict {1: 2}"),
    (list[int], (1,), "expected list[int], got tuple (1,)"),
    (list[int], [1, "a"], "element 1: expected int, got str 'a'"),
    (list[list[int]], [[], [1], [2, None]], "element 2, element 1: expected int, got None"),
    (tuple[int, str], (1,), "expected 2 elements, got 1"),
    (tuple[int, str], (1, 2), "element 1: expected text, got int 2"),
    (dict[str, int], {"a": 1, "b": "c"}, "value of 'b': expected int, got str 'c'"),
    (dict[str, int], {1: 1}, "key 1: expected text, got int 1"),
    (set[int], {"a"}, "element 0: expected int, got str 'a'"),
    (set[int], frozenset({1}), "expected set[int], got frozenset frozenset({1})"),
    (Job, Job(1, "a", 3), 'field "weight": expected float, got int 3'),
    (list[Job], [Job(1, "a"), Job(2, "b", 3)], 'element 1, field "weight": expected float, got int 3'),
    (Job, LongJob(1, "a"), "expected Job{id: int, name: text, weight: float?}, got LongJob LongJob("),
    (Job, {"id": 1}, "expected Job{id: int, name: text, weight: float?}, got dict {'id': 1}"),
    (Movie, {"year": 1}, "fields unknown or missing: 'title'"),
    (Movie, {"title": "a", "yaer": 1}, "fields unknown or missing: 'yaer'"),
    (Movie, {"title": "a", "year": "b"}, "field \"year\": expected int, got str 'b'"),
    (int | None, "a", "expected int | None, got str 'a'"),
    (list[int] | list[str], [1, "a"], "expected list[int] | list[text], got list [1, 'a']"),
    (Job | None, Job(1, "a", 3), 'field "weight": expected float, got int 3'),
    (Node, Node(1, Node("a")), 'field "next", field "value": expected int, got str \'a\''),  # type: ignore[arg-type]
    (object, (1,), "tuple (1,) would not arrive as it is: give the channel a value type"),
    (object, Job(1, "a"), "weight=1.0) would not arrive as it is"),
    (object, Level.LOW, "would not arrive as it is"),
    (object, memoryview(b"a"), "would not arrive as it is"),
    (object, bytearray(b"a"), "would not arrive as it is"),
    (object, frozenset({1}), "would not arrive as it is"),
    (object, [{"a": {1: 1j}}], "element 0, value of 'a', value of 1: complex 1j would not arrive as it is"),
    (str, "\ud800", "UnicodeEncodeError: "),
    (object, {"\ud800": 1}, "UnicodeEncodeError: "),
    (Decimal, Decimal("1E+1000000"), "the exponent of a Decimal is beyond 999999"),
    (int, "x" * 10**6, "expected int, got str 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    (str, 10**5000, "expected text, got int …"),
]


@pytest.mark.promise(13)
@pytest.mark.parametrize(("value_type", "value", "message"), MISFITS, ids=lambda x: str(type(x).__name__))
def test_a_value_that_does_not_fit_is_refused_by_name(value_type: Any, value: Any, message: str) -> None:
    codec = codec_for(value_type)
    assert message in refuses(codec, value)
    assert len(refuses(codec, value)) < 400


class ArrayLike:
    """As numpy's: a type of its own, whose comparison gives no truth value."""

    def __repr__(self) -> str:
        return "array([1, 2])"

    def __eq__(self, other: object) -> Any:
        return ArrayLike()

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


NOTHING_CAN_CARRY: list[Any] = [lambda: None, ArrayLike(), object(), Path("/"), int, collections.OrderedDict(), 1j]


@pytest.mark.parametrize("value", NOTHING_CAN_CARRY)
def test_untyped_what_nothing_can_carry_is_told_so(value: Any) -> None:
    for where, path in [(value, ""), ([1, value], "element 1: "), ({"a": value}, "value of 'a': ")]:
        message = refuses(codec_for(object), where)
        assert message.startswith(f"{path}{type(value).__name__} ")
        assert " would not arrive as it is, and no value type can carry it. " in message
        assert "a channel carries None, bool, int," in message
        assert "give the channel" not in message


@pytest.mark.parametrize("value", [Job(1, "a"), Point(1), Pair(1), Level.LOW, (1,), frozenset({1}), bytearray(b"a")])
def test_untyped_what_a_value_type_can_carry_is_told_so(value: Any) -> None:
    assert refuses(codec_for(object), [value]).endswith(
        " would not arrive as it is: give the channel a value type for it"
    )


def test_untyped_a_record_that_nothing_can_carry_is_told_why() -> None:
    assert refuses(codec_for(object), WithCallback(1, print)).endswith(
        "no value type can carry it: WithCallback.callback: a function cannot be carried"
    )


def test_what_arrives_untyped_is_not_told_to_get_a_type() -> None:
    assert refuses_data(codec_for(object), [cbor2.undefined]) == (
        "element 0: expected data of the kinds that a channel carries, got UndefinedType undefined"
    )


def test_the_right_part_is_named_in_a_batch() -> None:
    jobs = [Job(i, "a") for i in range(100)]
    with pytest.raises(UnfitValue, match=r"^element 7: expected text, got int 8$"):
        codec_for(list[str] | Job).encode([*jobs, ["a"], ["b"] * 7 + [8], *jobs])
    with pytest.raises(UnfitValue, match=r"""^field "id": expected int, got str 'x'$"""):
        codec_for(Job).encode([*jobs, Job("x", "b")])  # type: ignore[arg-type]


def test_an_unset_attribute_is_refused() -> None:
    secret = Secret(b"", "")
    del secret.count
    assert "count" in refuses(codec_for(Secret), secret)


def test_a_repr_that_raises_does_no_harm() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise ValueError

    assert "expected int, got Rude" in refuses(codec_for(int), Rude())


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    ("value_type", "message"),
    [
        (WithCallback, "WithCallback.callback: a function cannot be carried"),
        (list[WithCallback], "element, WithCallback.callback: a function cannot be carried"),
        (Path, "Path cannot be carried"),
        (complex, "complex cannot be carried"),
        (type[int], "type cannot be carried"),
        (set[list[int]], "element: list[int] is not hashable"),
        (dict[Movie, int], "key: "),
        (dict[Point, int], "key: Point is not hashable"),
        (set[Base[int]], "element: "),
        (set[Frozen[list[int]]], "element, Frozen.item: list[int] is not hashable"),
        ("Unknown", "'Unknown' cannot be resolved"),
        (list[int] | tuple[int, ...], "list[int] | tuple[int, ...] cannot be told apart on the wire"),
        (bytes | bytearray, "cannot be told apart"),
        (set[int] | frozenset[int], "cannot be told apart"),
        (Job | LongJob, "cannot be told apart"),
        (Job | dict[str, int], "cannot be told apart"),
        (Level | int, "cannot be told apart"),
        (Level | Literal[1], "cannot be told apart"),
        (Node | None | list[Any] | tuple[int], "cannot be told apart"),
        (enum.Enum, "an enum without members"),
        (Generic, "cannot be carried"),
        (Annotated[Callable[[], None], 1], "a function cannot be carried"),
    ],
)
def test_a_type_that_cannot_be_carried_is_refused_at_once(value_type: Any, message: str) -> None:
    with pytest.raises(UnfitValue) as caught:
        codec_for(value_type)
    assert message in str(caught.value)


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    ("value_type", "data"),
    [
        (int, True),
        (int, 1.0),
        (int, "5"),
        (float, 1),
        (bool, 1),
        (bytes, 2**28),
        (bytes, [1, 2]),
        (str, b"a"),
        (list[int], b"12"),
        (list[int], "12"),
        (list[int], {1: 2}),
        (list[int], cbor2.CBORTag(258, [1])),
        (set[int], [1]),
        (set[int], cbor2.CBORTag(258, [1, 1])),
        (set[int], cbor2.CBORTag(258, {})),
        (tuple[int, ...], "ab"),
        (tuple[int, int], [1]),
        (tuple[int, int], [1, 2, 3]),
        (dict[int, int], [1, 2]),
        (dict[int, int], cbor2.CBORTag(27, ["map", [1]])),
        (dict[int, int], cbor2.CBORTag(27, ["map", [1, 1, 1, 2]])),
        (dict[int, int], {1: 2}),
        (Level, 3),
        (Level, True),
        (Color, "RED"),
        (Job, {"id": 1}),
        (Job, {"id": 1, "name": "a", "weight": 1.0, "more": 1}),
        (Job, {"id": 1, "name": "a", "wieght": 1.0}),
        (Job, {"id": 1, "name": "a", "weight": 1}),
        (Job, [1, "a", 1.0]),
        (Job, cbor2.CBORTag(27, ["map", ["id", 1, "name", "a"]])),
        (Job | None, {"id": 1}),
        (Cat | Dog, {"kind": "cow", "lives": 1}),
        (Cat | Dog, {"kind": ["cat"], "lives": 1}),
        (Positive, {"number": -1}),
        (Coercing, {"number": "5"}),
        (datetime, "2026-01-01T00:00:00Z"),
        (datetime, cbor2.CBORTag(1, 0)),
        (datetime, cbor2.CBORTag(0, "2026-01-01T00:00:00")),
        (datetime, cbor2.CBORTag(0, "2026-W01-1T00:00:00Z")),
        (datetime, cbor2.CBORTag(0, "2026-13-01T00:00:00Z")),
        (datetime, cbor2.CBORTag(27, ["local-datetime", "2026-01-01T00:00:00Z"])),
        (datetime, cbor2.CBORTag(27, ["local-datetime", "2026-01-01T00:00:00", 2])),
        (date, cbor2.CBORTag(1004, "20260101")),
        (time, cbor2.CBORTag(27, ["time", "25:00:00"])),
        (timedelta, cbor2.CBORTag(27, ["duration", 1.0])),
        (timedelta, cbor2.CBORTag(27, ["duration", 2**80])),
        (Decimal, cbor2.CBORTag(4, [1, 2])),
        (Decimal, cbor2.CBORTag(27, ["decimal", "1E+999999999"])),
        (Decimal, cbor2.CBORTag(27, ["decimal", "1_0"])),
        (Decimal, cbor2.CBORTag(27, ["decimal", "x"])),
        (UUID, cbor2.CBORTag(37, b"short")),
        (UUID, cbor2.CBORTag(37, "1" * 16)),
        (object, cbor2.CBORSimpleValue(1)),
        (object, cbor2.undefined),
        (object, {1: 2}),
        (object, cbor2.CBORTag(258, [{}])),
        (object, cbor2.CBORTag(27, ["os.system", "true"])),
    ],
    ids=str,
)
def test_data_that_does_not_fit_is_refused(value_type: Any, data: Any) -> None:
    assert refuses_data(codec_for(value_type), data)


def test_a_missing_field_with_a_default_is_accepted() -> None:
    assert codec_for(Job).decode(cbor2.dumps([{"id": 1, "name": "a"}, {"id": 2, "name": "b", "weight": 2.0}])) == [
        Job(1, "a"),
        Job(2, "b", 2.0),
    ]
    assert "'name'" in refuses_data(codec_for(Job), {"id": 1})


@pytest.mark.promise(13)
def test_what_an_attrs_converter_would_coerce_is_refused_first() -> None:
    assert codec_for(Coercing).decode(cbor2.dumps([{"number": 5}])) == [Coercing(5)]
    assert refuses_data(codec_for(Coercing), {"number": "5"}) == "field \"number\": expected int, got str '5'"


@pytest.mark.parametrize("tag", [*range(60), 100, 256, 257, 258, 259, 260, 261, 1004, 43000, 55799, 2**32, 2**64 - 1])
def test_no_tag_gives_what_its_type_does_not_say(tag: int) -> None:
    expected = {2: "int", 3: "int", 258: "set"}
    contents: list[Any] = [0, "a", b"a", [], [1, "a"], {}, ["a", "b"], "^a*$", "Subject: a\n\nb"]
    for content in contents:
        payload = b"\x81\xdb" + tag.to_bytes(8) + cbor2.dumps(content)
        try:
            (value,) = codec_for(Any).decode(payload)
        except UnfitValue:
            continue
        assert type(value).__name__ == expected.get(tag)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\xa0",
        b"\x9f\x01\xff",  # indefinite
        b"\x81\x5f\x41a\xff",
        b"\x82\x01",
        b"\x81\x01\x00",  # trailing
        b"\x81\x01\xf6",
        b"\x80\x80",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # huge lengths
        b"\x81\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x81\xbb\x00\xff\xff\xff\xff\xff\xff\xff",
        b"\x81\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\x81\x61\xff",  # not UTF-8
        b"\x81" * 10_000,
        b"\x81" * 1_000_000,
        b"\xc1" * 100_000,
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a cycle
        b"\x81\xd8\x1c\x81\xd8\x1d\x00",
    ],
    ids=lambda p: p[:8].hex(),
)
def test_malformed_payloads_are_refused(payload: bytes) -> None:
    for value_type in (object, int, bytes, list[int], Json, Job):
        refuses_data(codec_for(value_type), payload)


def test_large_bytes_are_cut_as_strictly() -> None:
    codec = codec_for(bytes)
    good = codec.encode([b"x" * 10_000, b"y" * 20_000])
    assert codec.decode(good) == [b"x" * 10_000, b"y" * 20_000]
    for bad in (good + b"\0", good[:-1], b"\x83" + good[1:], b"\x81" + good[1:], good[:1] + b"\x79" + good[2:]):
        refuses_data(codec, bad)
    assert codec.decode(b"\x9b" + bytes(7) + b"\1\x5a" + (9000).to_bytes(4) + bytes(9000)) == [bytes(9000)]
    for size in (0, 1, 23, 24, 255, 256, 4096, 65535, 65536):
        values = [b"z" * size, b"w" * 50_000, b""]
        assert codec.decode(codec.encode(values)) == values
        assert codec.encode(values) == cbor2.dumps(values)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_bounded_the_same_both_ways() -> None:
    for value_type in (object, Json):
        codec = codec_for(value_type)
        assert codec.decode(codec.encode([deep(63)])) == [deep(63)]
        assert "more than 64 levels" in refuses(codec, deep(64))
        assert refuses(codec, deep(100_000))
        refuses_data(codec, b"\x81" * 65 + b"\x80")
    chain = Node(0)
    for i in range(63):
        chain = Node(i, chain)
    codec = codec_for(Node)
    assert codec.decode(codec.encode([chain])) == [chain]
    assert "more than 64 levels" in refuses(codec, Node(1, chain))
    sets: Any = codec_for(object).encode([{0: {0: {0: 1}}}])
    assert codec_for(object).decode(sets) == [{0: {0: {0: 1}}}]
    other: Any = 1
    for _ in range(64):
        other = {0: other}
    assert codec_for(object).decode(codec_for(object).encode([other])) == [other]


def test_a_very_long_chain_is_refused_and_named_in_any_message() -> None:
    chain, linked = None, None
    for number in range(100_000):
        chain, linked = Node(number, chain), Link(number, linked)
    for value_type, value in [(Node, chain), (Link, linked)]:
        assert "more than 64 levels" in refuses(codec_for(value_type), value)
    others: list[Any] = [chain, linked, deep(100_000)]
    for other in others:
        assert refuses(codec_for(int), other).startswith("expected int, got ")


def test_long_bytes_are_not_written_out_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = reprlib.Repr.repr

    def watched(self: reprlib.Repr, value: Any) -> str:
        seen.append(len(value))
        return plain(self, value)

    monkeypatch.setattr(reprlib.Repr, "repr", watched)
    assert refuses(codec_for(int), b"a" * 10**6) == "expected int, got bytes b'aaaaaaaaaaa...aaaaaaaaaaaaa'"
    assert max(seen) < 1000


def test_a_value_that_holds_itself_is_refused() -> None:
    once: list[Any] = []
    once.append(once)
    many: list[Any] = []
    many.extend([many] * 1000)
    mapping: dict[str, Any] = {}
    mapping |= {"a": mapping, "b": mapping}
    node = Node(1)
    node.next = node
    for codec, value in [(codec_for(object), once), (codec_for(Json), many), (codec_for(object), mapping)]:
        assert "more than 64 levels" in refuses(codec, value)
    assert "more than 64 levels" in refuses(codec_for(Node), node)
    for value in (once, [once, 1], [1] * 100 + [once], mapping, {"a": [mapping]}):
        assert refuses(codec_for(object), value).endswith(
            ": more than 64 levels of nesting: it holds itself, or is nested too deeply"
        )


def test_shared_parts_are_no_cycle() -> None:
    row: list[Any] = [1, ["a"]]
    codec = codec_for(object)
    assert codec.decode(codec.encode([[row] * 500])) == [[[1, ["a"]]] * 500]
    assert codec_for(Json).encode([[row] * 500]) == codec.encode([[row] * 500])


COLLIDING: list[tuple[Any, Callable[[cbor2.CBORTag], Any]]] = [
    (UUID, lambda key: key),
    (tuple[UUID, int], lambda key: [key, 5]),
    (Any, lambda key: [5, [key]]),
]


@pytest.mark.parametrize("where", ["keys", "elements"])
@pytest.mark.parametrize(("hint", "form"), COLLIDING, ids=["UUID", "tuple", "Any"])
def test_colliding_keys_are_refused_before_they_are_compared(
    monkeypatch: pytest.MonkeyPatch, where: str, hint: Any, form: Callable[[cbor2.CBORTag], Any]
) -> None:
    """A dict or set of n keys of one hash takes n² / 2 comparisons to build: none is made, and each key hashed once."""
    calls = {"hash": 0, "compare": 0}
    plain_hash, plain_eq = UUID.__hash__, UUID.__eq__

    def counted_hash(key: UUID) -> int:
        calls["hash"] += 1
        return plain_hash(key)

    def counted_eq(key: UUID, other: object) -> bool:
        calls["compare"] += 1
        return plain_eq(key, other)

    def arrive(count: int) -> Any:
        items = [form(cbor2.CBORTag(37, (i * (2**61 - 1)).to_bytes(16))) for i in range(1, count + 1)]
        if where == "keys":
            pairs = [part for item in items for part in (item, None)]
            data = cbor2.CBORTag(27, ["map", pairs])
        else:
            data = cbor2.CBORTag(258, items)
        codec = codec_for(dict[hint, None] if where == "keys" else set[hint])
        payload = cbor2.dumps([data])
        monkeypatch.setattr(UUID, "__hash__", counted_hash)
        monkeypatch.setattr(UUID, "__eq__", counted_eq)
        calls.update(hash=0, compare=0)
        return codec.decode(payload)

    with pytest.raises(UnfitValue, match="of one hash"):
        arrive(1000)
    assert calls["compare"] == 0
    assert calls["hash"] <= 2 * 1000  # what fails is done once more, to say where
    (found,) = arrive(64)
    assert len(found) == 64
    assert calls["compare"] >= 64 * 63 // 2  # so that is what is refused above


def test_colliding_numbers_are_refused() -> None:
    keys = [cbor2.CBORTag(2, (i * (2**61 - 1)).to_bytes(16)) for i in range(1, 1000)]
    pairs = [part for key in keys for part in (key, None)]
    assert "of one hash" in refuses_data(codec_for(dict[int, None]), cbor2.CBORTag(27, ["map", pairs]))
    assert "of one hash" in refuses_data(codec_for(dict[Any, None]), cbor2.CBORTag(27, ["map", pairs]))


def test_colliding_keys_and_elements_do_not_leave() -> None:
    elements = {i * (2**61 - 1) for i in range(1, 1000)}
    assert "of one hash" in refuses(codec_for(set[int]), elements)
    assert "of one hash" in refuses(codec_for(dict[int, int]), dict.fromkeys(elements, 1))
    assert "of one hash" in refuses_data(codec_for(set[int]), cbor2.CBORTag(258, list(elements)))
    assert "of one hash" in refuses_data(codec_for(Any), cbor2.CBORTag(258, list(elements)))


def test_a_union_of_recursive_records_is_decided_at_a_glance() -> None:
    def calls(levels: int) -> int:
        data: dict[str, Any] = {"leaf": "wrong"}
        for _ in range(levels):
            data = {"left": {"leaf": 1}, "right": data}
        codec, payload = codec_for(Branch), cbor2.dumps([data])
        count = 0

        def profile(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            message = refuses_data(codec, payload)
        finally:
            sys.setprofile(before)
        assert message.startswith('field "right", field "right", field "right", field "right", …, ')
        assert message.endswith("got dict {'leaf': 'wrong'}")
        return count

    assert calls(20) < 3 * calls(10)  # if one were tried after the other, a thousand times as many
    assert calls(60) < 9 * calls(10)


@thorough
@given(st.binary(max_size=60))
def test_random_bytes_are_values_or_refused(payload: bytes) -> None:
    for value_type in (object, Job, dict[Any, Any], bytes, set[UUID], Decimal | datetime | int, Json, Cat | Dog):
        codec = codec_for(value_type)
        for data in (payload, b"\x81" + payload, b"\x81\xd8\x1b" + payload):
            try:
                values = codec.decode(data)
            except UnfitValue:
                continue
            assert len(codec.decode(codec.encode(values))) == len(values)


@thorough
@given(st.sampled_from(ROUND_TRIPS), st.data())
def test_mutated_payloads_are_values_or_refused(case: tuple[Any, list[Any]], data: st.DataObject) -> None:
    codec = codec_for(case[0])
    payload = bytearray(codec.encode(case[1][-1:]))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        values = codec.decode(bytes(payload))
    except UnfitValue:
        return
    codec.encode(values)


def test_abstract_forms_take_what_is_one_and_build_the_plain_one() -> None:
    assert codec_for(Sequence[int]).decode(codec_for(Sequence[int]).encode([(1, 2), [3]])) == [[1, 2], [3]]
    codec = codec_for(collections.abc.Set[int])
    assert shape(codec.decode(codec.encode([{1}, frozenset({2})]))) == shape([frozenset({1}), frozenset({2})])
    refuses(codec_for(Sequence[int]), "12")


def test_a_codec_says_what_it_is_for() -> None:
    codec = codec_for(Job | None)
    assert codec.value_type == Job | None
    assert str(codec.schema) == "Job{id: int, name: text, weight: float?} | None"
    assert str(codec_for(Color).schema) == "Literal['red', 'blue']"
