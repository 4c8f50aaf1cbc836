"""Value types, one of each sort, whose codecs are fuzzed."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NotRequired, Optional
from uuid import UUID

import attrs
from typing_extensions import TypeAliasType, TypedDict

from trionetchan._codec import Codec, codec_for

__all__ = ["CODECS", "TYPES"]


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
