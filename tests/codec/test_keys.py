"""Keys and elements: compared as data, the same in both directions; and none is NaN."""

from __future__ import annotations

import decimal
import enum
import math
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import cbor2
import pytest

from trionetchan._codec import codec_for, keys
from trionetchan._errors import UnfitValue

NAN = float("nan")


@attrs.frozen
class Point:
    x: float
    y: float = 0.0


@attrs.frozen(eq=False)
class Ident:
    """Two are never equal, but their data may be."""

    x: Any


@attrs.frozen
class Half:
    """Equal if `x` is."""

    x: int
    note: str = attrs.field(eq=False, default="")


class Level(enum.Enum):
    LOW = 1
    HIGH = 2.5


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (Any, {NAN}),
        (Any, {NAN: 1}),
        (Any, {(1, (NAN,))}),
        (Any, {frozenset({NAN})}),
        (Any, {Decimal("NaN")}),
        (Any, {math.inf, NAN}),
        (set[float], {NAN}),
        (dict[float, int], {NAN: 1}),
        (set[Decimal], {Decimal("-NaN7")}),
        (frozenset[Point], frozenset({Point(NAN)})),
        (dict[Point, int], {Point(1.0, NAN): 1}),
        (dict[tuple[int, float], int], {(1, NAN): 1}),
    ],
)
def test_a_nan_in_a_key_or_an_element_does_not_leave(value_type: Any, value: Any) -> None:
    for codec, values in (codec_for(value_type), [value]), (codec_for(list[value_type]), [[value, value]]):
        with pytest.raises(UnfitValue, match="NaN equals nothing"):
            codec.encode(values)


def test_a_nan_elsewhere_passes() -> None:
    for value in {"a": NAN, "b": [NAN, {"c": NAN}]}, {1: NAN}:
        assert repr(codec_for(Any).decode(codec_for(Any).encode([value]))) == repr([value])


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (set[Ident], {Ident(1), Ident(1.0)}),
        (dict[Ident, int], {Ident([1, {"a": {2: 3}}]): 1, Ident([True, {"a": {2.0: 3}}]): 2}),
        (set[Ident], {Ident({1, 2}), Ident({1, 2})}),
        (dict[tuple[Ident, int], int], {(Ident("a"), 1): 1} | {(Ident("a"), 1): 2}),
    ],
)
def test_what_is_equal_as_data_does_not_leave(value_type: Any, value: Any) -> None:
    for codec, values in (codec_for(value_type), [value]), (codec_for(list[value_type]), [[value, value]]):
        with pytest.raises(UnfitValue, match="twice"):
            codec.encode(values)


def test_moments_that_python_takes_for_unequal_are_the_same_instant() -> None:
    """In the hour that clocks are put back by, Python compares with no other zone."""
    berlin = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    value = {berlin, berlin.astimezone(UTC)}
    assert len(value) == 2
    with pytest.raises(UnfitValue, match="twice"):
        codec_for(set[datetime]).encode([value])


def test_what_is_equal_as_data_is_refused_whatever_the_class_says() -> None:
    data = cbor2.CBORTag(258, [{"x": 1}, {"x": 1.0}])
    with pytest.raises(UnfitValue, match="twice"):
        codec_for(set[Ident]).decode(cbor2.dumps([data]))


def test_what_a_class_takes_for_equal_is_refused_too() -> None:
    data = cbor2.CBORTag(258, [{"x": 1, "note": "a"}, {"x": 1, "note": "b"}])
    with pytest.raises(UnfitValue, match="twice"):
        codec_for(set[Half]).decode(cbor2.dumps([data]))


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (set[Ident], {Ident(1), Ident(2)}),
        (Any, {(1, "map"), ("map", 1), frozenset({("a", 1)}), frozenset({"a"}), ("a",), "a", b"a"}),
        (set[Point], {Point(1.0), Point(2.0), Point(-0.0)}),
        (dict[Level, int], {Level.LOW: 1, Level.HIGH: 2}),
        (set[time], {time(23, tzinfo=timezone(timedelta(hours=-2))), time(1, tzinfo=UTC), time(1)}),
        (Any, {0.1, Decimal("0.1"), math.inf, -math.inf}),
        (Any, {datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1), datetime(2024, 1, 1).date()}),  # noqa: DTZ001
    ],
)
def test_what_differs_passes(value_type: Any, value: Any) -> None:
    codec = codec_for(value_type)
    (found,) = codec.decode(codec.encode([value]))
    assert sorted(map(repr, found)) == sorted(map(repr, value))


def test_a_set_of_pairs_is_no_map() -> None:
    """A guard of how data is compared: no array or set is taken for a map, whatever it holds."""
    parts = [{"a": 1}, ["a", 1], [["a", 1]], cbor2.CBORTag(258, [["a", 1]])]
    data = cbor2.CBORTag(258, [{"x": part} for part in parts])
    assert len(codec_for(set[Ident]).decode(cbor2.dumps([data]))[0]) == 4


def test_many_arrays_of_one_hash_are_refused() -> None:
    """Sets within elements are compared as sets: also there, no peer chooses how long that takes."""
    data = cbor2.CBORTag(258, [{"x": [n * (2**61 - 1), 0]} for n in range(100)])
    with pytest.raises(UnfitValue, match="of one hash"):
        codec_for(set[Ident]).decode(cbor2.dumps([data]))


def test_a_program_that_writes_decimals_in_small_letters_sends_them_all_the_same() -> None:
    codec = codec_for(Decimal)
    with decimal.localcontext(decimal.Context(capitals=0)):
        payload = codec.encode([Decimal("1E+3")])
        assert codec.decode(payload) == [Decimal("1E+3")]
    assert b"1E+3" in payload


LONG = 10**400  # in more than 1,024 bits


@pytest.mark.parametrize(
    ("value_type", "one", "other"),
    [
        (Any, LONG, Decimal("1E+401")),
        (Any, LONG, Decimal(2)),
        (Any, (1, LONG), (1, Decimal(2))),
        (Any, frozenset({LONG}), (Decimal(2),)),
        (set[Decimal | int], LONG, Decimal(2)),
        (set[Ident], Ident(LONG), Ident(Decimal(2))),
    ],
)
def test_a_decimal_and_a_long_integer_are_not_compared(value_type: Any, one: Any, other: Any) -> None:
    """It would take a time that grows with the square of the length: minutes, for a payload of a mebibyte."""
    with pytest.raises(UnfitValue, match="more than 1024 bits"):
        codec_for(value_type).encode([{one, other}])
    payloads = [codec_for(value_type).encode([{part}])[5:] for part in (one, other)]  # without array, tag and array
    with pytest.raises(UnfitValue, match="more than 1024 bits"):
        codec_for(value_type).decode(b"\x81\xd9\x01\x02\x82" + b"".join(payloads))


def test_a_decimal_and_an_integer_of_usual_length_are_compared() -> None:
    value = {10**300, Decimal(2), Decimal("1E+999999")}
    (found,) = codec_for(Any).decode(codec_for(Any).encode([value]))
    assert sorted(map(repr, found)) == sorted(map(repr, value))
    with pytest.raises(UnfitValue, match="twice"):
        codec_for(Any).decode(bytes.fromhex("81d9010282") + b"\x05" + cbor2.dumps(cbor2.CBORTag(27, ["decimal", "5"])))
    assert codec_for(Any).decode(codec_for(Any).encode([[LONG, Decimal(2), {LONG}]])) == [[LONG, Decimal(2), {LONG}]]


def test_each_set_within_sets_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    plain = keys._set  # pyright: ignore[reportPrivateUsage]

    def counted(*arguments: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return plain(*arguments)

    monkeypatch.setattr(keys, "_set", counted)
    item = b"\xd9\x01\x02\x81\x01"
    for _ in range(40):
        item = b"\xd9\x01\x02\x81" + item
    codec_for(Any).decode(b"\x81" + item)
    assert looked_at <= 41
