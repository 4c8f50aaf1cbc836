"""Value types, one of each sort, whose codecs are fuzzed."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NotRequired, Optional
from uuid import UUID

import attrs
from typing_extensions import TypeAliasType, TypedDict

from trionetchan._codec import Codec, codec_for
from trionetchan._errors import UnfitValue

__all__ = ["CODECS", "SAMPLES", "TYPES", "batches"]


class Color(enum.Enum):
    RED = "red"
    ONE = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Job:
    id: int
    weight: float = 1.0


@attrs.define(eq=False)
class ByIdentity:
    part: int


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    lives: int
    jobs: list[Job]


@attrs.frozen
class Chain:
    value: int
    next: Optional[Chain]  # noqa: UP045 - as people write it


@attrs.define
class Secret:
    _key: bytes
    count: int = attrs.field(init=False, default=0)


@dataclasses.dataclass(frozen=True)
class Data:
    when: datetime
    text: str = ""


class Part(TypedDict):
    id: int
    weight: NotRequired[float]


class Pair(NamedTuple):
    left: int
    right: Decimal


Json = TypeAliasType("Json", "bool | int | float | str | list[Json] | dict[str, Json] | None")

TYPES: list[Any] = [
    *(Any, int, float, str, bytes, bytearray, bool, None, datetime, date, time, timedelta, Decimal, UUID),
    *(Color, Right, Literal[1, "x"] | None, Job, Chain, Secret, Data, Part, Pair, Json, Cat | Dog, int | str | None),
    *(list[int], list[Any], tuple[int, ...], tuple[int, str], tuple[()], list[Job], list[list[float]], list[bytes]),
    *(set[int], set[float], set[Any], frozenset[Decimal], set[tuple[int, float]], set[frozenset[int]], set[Job]),
    *(dict[str, int], dict[int, str], dict[Any, Any], dict[Decimal, int], dict[datetime, int], dict[Job, Job]),
    *(dict[tuple[int, ...], bytes], set[datetime], set[time], set[UUID], set[Color], dict[str, Any], list[Json]),
    *(set[ByIdentity], dict[frozenset[Any], int], Decimal | float | int, dict[str, Chain], tuple[Any, int] | str),
]

CODECS: list[Codec[Any]] = [codec_for(value_type) for value_type in TYPES]

_NOON = datetime(2024, 2, 29, 12, 0, 0, 1)  # noqa: DTZ001 - one without an offset is a type of its own
SAMPLES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        2**70,
        -(2**64),
        1.5,
        -0.0,
        float("inf"),
        float("nan"),
        "",
        "é\0",
        b"",
        bytes(5000),
        UUID(int=5),
    ),
    *(bytearray(b"ab"), _NOON, _NOON.replace(fold=1), _NOON.replace(tzinfo=UTC), date(1, 1, 1), time(1, 2, fold=1)),
    *(time(23, 59, 59, 999999, UTC), timedelta(days=-1, microseconds=1), timedelta.max, Decimal("-0"), Decimal("NaN1")),
    *(Decimal("1E+999"), Decimal("-Infinity"), Color.RED, Color.ONE, Right.READ, Right(3), 1, "x", Job(1), Job(1, 2.5)),
    *(
        Chain(1, Chain(2, None)),
        Secret(b"k"),
        Data(_NOON, "x"),
        Part(id=1),
        Part(id=1, weight=0.5),
        Pair(1, Decimal(2)),
    ),
    *(Cat("cat", 9), Dog("dog", 1, [Job(1)]), [1, 2], [[1.0], []], [b"ab"], (1, 2, 3), (1, "x"), (), [Job(1), Job(2)]),
    *(
        {1, 2},
        {1.5},
        {(1, 2.5)},
        {frozenset({1})},
        {Job(1)},
        frozenset({Decimal(1)}),
        {"a": 1},
        {1: "a"},
        {"a": [1, {}]},
    ),
    *({Decimal(1): 1}, {_NOON: 1}, {Job(1): Job(2)}, {(1, 2): b"x"}, {_NOON}, {time(1)}, {UUID(int=1)}, {Color.ONE}),
    *({ByIdentity(1), ByIdentity(2)}, {frozenset({(1,)}): 1}, {None: 1, (): 2}, {"a": Chain(1, None)}, (_NOON, 1)),
]
"""Values; most codecs take some of them."""


@functools.cache
def batches() -> list[tuple[int, bytes]]:
    """Each of these values, encoded by each codec that takes it: the number of the codec, and the batch."""
    found: list[tuple[int, bytes]] = []
    for number, codec in enumerate(CODECS):
        for value in SAMPLES:
            with contextlib.suppress(UnfitValue):
                found.append((number, codec.encode([value])))
    return found
