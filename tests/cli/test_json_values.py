"""Values as JSON and back: what is written is read back as the same, and what does not fit is named."""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, cast

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from value_types import TYPED, Typed, carried, thorough

from trionetchan._cli.values import Misfit, Values
from trionetchan._codec import codec_for
from trionetchan._errors import UnfitValue
from trionetchan._observing import _tree  # pyright: ignore[reportPrivateUsage]

UNTYPED = codec_for(Any)


def values_of(value_type: Any) -> Values:
    return Values(_tree(codec_for(value_type).schema))


def as_untyped(value_type: Any, value: object) -> object:
    """What an importer without a type gets."""
    [got] = UNTYPED.decode(codec_for(value_type).encode([value]))
    return got


def as_typed(value_type: Any, value: object) -> object:
    """What an exporter makes of what is sent without a type."""
    [got] = codec_for(value_type).decode(UNTYPED.encode([value]))
    return got


def shape(value: Any) -> Any:
    """Tells apart what is equal and not the same, and takes a NaN for a NaN."""
    kind = cast("Any", type(value))
    if kind in (list, tuple):
        return kind, [*map(shape, value)]
    if kind is dict:
        return kind, sorted((repr(shape(key)), shape(part)) for key, part in value.items())
    if kind in (set, frozenset):
        return kind, sorted(repr(shape(part)) for part in value)
    if attrs.has(kind):
        return kind, [shape(getattr(value, field.name)) for field in attrs.fields(kind)]
    return kind, repr(value)


def comes_back(value_type: Any, value: object) -> str:
    """The line that stands for the value."""
    values = values_of(value_type)
    line = values.line(as_untyped(value_type, value))
    assert repr(shape(as_typed(value_type, values.value(line)))) == repr(shape(value))
    return line


@thorough
@given(st.data())
def test_what_is_written_is_read_as_the_same(data: st.DataObject) -> None:
    typed: Typed = data.draw(TYPED)
    assume(carried(typed.type))
    value = data.draw(typed.values)
    try:
        untyped = as_untyped(typed.type, value)
    except UnfitValue:  # a record within a set: no importer without a type can have it
        assume(False)
    line = values_of(typed.type).line(untyped)
    assert "\n" not in line
    assert line.isprintable()
    back = values_of(typed.type).value(line)
    assert repr(shape(as_typed(typed.type, back))) == repr(shape(value))


class Color(enum.Enum):
    RED = "red"
    RAW = b"\x00"


@attrs.frozen
class Point:
    x: float
    name: str = ""


@pytest.mark.parametrize(
    ("value_type", "value", "line"),
    [
        (int, 2**70, "1180591620717411303424"),
        (float, math.inf, '"Infinity"'),
        (bytes, b"\x00\x01", '"AAE="'),
        (str, "\x1b[31m\u202e😀é", '"\\u001b[31m\\u202e😀é"'),
        (datetime, datetime(2026, 1, 31, tzinfo=UTC), '"2026-01-31T00:00:00+00:00"'),
        (timedelta, timedelta(seconds=-1.5), '"-PT1.5S"'),
        (timedelta, timedelta(days=1), '"PT86400S"'),
        (Decimal, Decimal("1.50"), '"1.50"'),
        (Color, Color.RAW, '"AA=="'),
        (Point, Point(1.0), '{"x": 1.0, "name": ""}'),
        (dict[int, str], {1: "a"}, '[[1, "a"]]'),
        (set[tuple[int, str]], {(1, "a")}, '[[1, "a"]]'),
        (int | float, 1.0, "1.0"),
        (str | bytes, b"abc", '{"$bytes": "YWJj"}'),
        (str | bytes, "abcd", '{"$text": "abcd"}'),
        (str | bytes, "not base64", '"not base64"'),
        (Any, {"a": [1.5, None, True]}, '{"a": [1.5, null, true]}'),
        (Any, {"$a": b"x"}, '{"$map": [["$a", {"$bytes": "eA=="}]]}'),
        (Any, {1: {2}}, '{"$map": [[1, {"$set": [2]}]]}'),
    ],
)
def test_how_values_are_written(value_type: Any, value: object, line: str) -> None:
    assert comes_back(value_type, value) == line


@pytest.mark.parametrize(
    ("value_type", "line", "message"),
    [
        (int, '"1"', 'expected a whole number, got "1"'),
        (int, "true", "expected a whole number, got true"),
        (int, "1.0", "expected a whole number, got 1.0"),
        (int, "[", "expected JSON, got Expecting value at character 2"),
        (int, "[" * 100_000, "too deeply nested"),
        (int, "9" * 5_000, "expected JSON, got: "),
        (float, "NaN", 'expected JSON, got NaN: write "NaN"'),
        (bytes, '"%"', 'expected bytes (text: base64), got "%"'),
        (datetime, '"2026-01-31"', "expected a datetime (text: "),
        (timedelta, '"1 day"', "expected a duration (text: PT1.5S)"),
        (Point, "1", "expected an object (Point), got 1"),
        (Point, "{}", 'expected a field "x", got none'),
        (Point, '{"x": 1, "y": 2}', 'expected no field "y"'),
        (Point, '{"x": 1, "x": 2}', "expected each key of an object once"),
        (list[Point], '[{"x": 1}, {"x": "a"}]', 'element 1.field "x": expected a number, got "a"'),
        (Point | None, '{"x": "a"}', 'field "x": expected a number, got "a"'),
        (dict[str, int], '{"a": "b"}', 'value of "a": expected a whole number, got "b"'),
        (dict[int, int], "[[1]]", "expected [key, value], got [1]"),
        (tuple[int, int], "[1]", "expected an array of 2, got one of 1"),
        (Literal["a", "b"], '"c"', 'expected one of "a", "b", got "c"'),
        (str | bytes, '"abcd"', 'may be bytes or text: say which, as {"$text": "abcd"}'),
        (str | bytes, "1", "fits no member of the union; expected text, got 1; expected bytes"),
        (Any, '{"$foo": 1}', "got $foo"),
        (Any, '{"$set": [{"a": 1}]}', "what can be a key or an element of a set"),
    ],
)
def test_what_does_not_fit_is_named(value_type: Any, line: str, message: str) -> None:
    with pytest.raises(Misfit) as caught:
        values_of(value_type).value(line)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_number_is_a_float_where_nothing_fits_better() -> None:
    assert repr(values_of(float).value("1")) == "1.0"
    assert repr(values_of(float | None).value("1")) == "1.0"
    assert repr(values_of(int | float).value("1")) == "1"
