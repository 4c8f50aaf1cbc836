"""How much memory and work a value can cost: one that arrives, and one of the program's own that shares its parts."""

from __future__ import annotations

import dataclasses
import tracemalloc
import types
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Optional

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from value_types import TYPED, Typed, carried, thorough

from trionetchan._codec import codec_for, items, walk
from trionetchan._codec.describe import describe
from trionetchan._codec.extent import Extent, extent_of
from trionetchan._errors import TooLargeValue, UnfitValue

MIB = 2**20


@attrs.define
class Job:
    number: int
    text: str
    at: datetime


class Place(NamedTuple):
    row: int
    name: str


@dataclasses.dataclass
class Pair:
    left: Optional[Pair] = None  # noqa: UP045 - looked up by name
    right: Optional[Pair] = None  # noqa: UP045


# What arrives


@pytest.mark.parametrize(
    ("value_type", "depth", "items_of_one"),
    [
        (None, 0, 1),
        (str, 0, 1),
        (int, 1, 2),  # a bignum is a tag
        (timedelta, 3, 5),
        (int | str | datetime, 2, 5),
        (Place, 2, 4),
        (Job, 3, 1 + 3 + 2 + 1 + 5),
        (list[int], 2, None),
        (set[int], 3, None),
        (dict[str, Job], 6, None),  # tag 27, its array, that of keys and values
        (Any, None, None),
        (list[Pair], None, None),
    ],
)
def test_a_type_says_how_deep_and_how_many_items_are(
    value_type: Any, depth: int | None, items_of_one: int | None
) -> None:
    assert extent_of(describe(value_type)) == Extent(depth, items_of_one)


def test_what_a_type_can_hold_is_within_what_it_says() -> None:
    far = [2**70, -(2**70)]
    cases: list[tuple[Any, list[Any]]] = [
        (int, far),
        (timedelta, [timedelta.max, timedelta.min]),
        (dict[int, tuple[int, ...]], [{2**70: (2**70,)}]),
        (set[frozenset[int]], [{frozenset(far)}]),
        (Decimal | Place, [Decimal("1.50"), Place(2**70, "x")]),
    ]
    for value_type, values in cases:
        agrees_without_a_second_look(value_type, values)


@thorough
@given(TYPED, st.data())
def test_no_type_says_too_little(typed: Typed, data: st.DataObject) -> None:
    if carried(typed.type):
        agrees_without_a_second_look(typed.type, [data.draw(typed.values), data.draw(typed.values)])


def agrees_without_a_second_look(value_type: Any, values: list[Any]) -> None:
    codec = codec_for(value_type)
    payload = codec.encode(values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(items, "_MAX_SMALL_SIZE", 0)
        patched.setattr(items, "_MAX_UNCOUNTED_SIZE", 0)
        patched.setattr(items, "_LEAST_MEAN_SIZE", 0)
        assert repr(codec.decode(payload)) == repr(codec_for(value_type).decode(payload))


def many(unit: bytes, size: int = MIB) -> bytes:
    """A batch of one value: an array of these bytes again and again."""
    count = size // len(unit)
    return b"\x81\x9a" + count.to_bytes(4, "big") + unit * count


def peak_of(codec: Any, payload: bytes) -> int:
    """The most bytes of memory while it is read."""
    tracemalloc.start()
    try:
        codec.decode(payload)
    except UnfitValue:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("value_type", [int, Place, Job, int | str, tuple[int, str]])
@pytest.mark.parametrize("unit", [b"\x80", b"\xa0", b"\xa1\x40\x80", b"\xd9\x01\x02\x80", b"\x37"])
def test_what_a_type_of_known_size_cannot_hold_is_not_built(value_type: Any, unit: bytes) -> None:
    for payload in (many(unit), b"\x81" + many(unit), b"\x81\xa1\x66number" + many(unit)[1:]):
        assert peak_of(codec_for(value_type), payload) < 100_000


def test_what_is_deeper_than_its_type_is_not_built() -> None:
    for value_type in (list[int], dict[str, int], set[str]):
        assert peak_of(codec_for(value_type), b"\x81" * 8 + many(b"\x80")) < 100_000


def test_what_is_small_and_too_deep_is_still_told_in_words() -> None:
    for value_type, text in [(int, "expected int"), (list[int], "element 0: expected int")]:
        with pytest.raises(UnfitValue, match=rf"^{text}, got list \[\["):
            codec_for(value_type).decode(b"\x81" * 20 + b"\x80")


def test_a_large_value_of_known_size_passes() -> None:
    for value_type, value in [(int, 2 ** (8 * MIB)), (str, "x" * MIB), (Place, Place(2 ** (8 * MIB), "x" * MIB))]:
        codec = codec_for(value_type)
        assert codec.decode(codec.encode([value, value])) == [value, value]


SET, MAP = b"\xd9\x01\x02", b"\xd8\x1b\x82\x63map"
WORST = [
    b"\x80",
    b"\xa0",
    b"\xa1\x40\x80",
    b"\x81" * 60 + b"\x80",
    b"\xa1\x40" * 60 + b"\xa0",
    (SET + b"\x81") * 60 + SET + b"\x80",
    MAP + b"\x82" + SET + b"\x80\x05",
]


@pytest.mark.parametrize("unit", WORST, ids=range(len(WORST)))
@pytest.mark.parametrize("value_type", [Any, list[list[int]]], ids=["Any", "list"])
def test_memory_is_a_multiple_of_what_arrives(value_type: Any, unit: bytes) -> None:
    """The number is promised in docs/protocol.md."""
    payload = many(unit, 2**16)
    assert peak_of(codec_for(value_type), payload) < 300 * len(payload)


# What leaves


def shared(levels: int, make: Callable[[Any], Any], value: Any) -> Any:
    for _ in range(levels):
        value = make(value)
    return value


def listed(levels: int, element: Any = int) -> Any:
    return shared(levels, lambda inner: types.GenericAlias(list, (inner,)), element)


def sets(levels: int) -> Any:
    one: Any = frozenset[Any]()
    other: Any = frozenset({1})
    for _ in range(levels):
        one, other = frozenset({one, other}), frozenset({one, other, 1})
    return one


ENDLESS: list[tuple[Any, Any]] = [
    (Any, shared(40, lambda part: [part, part], 1)),
    (Any, shared(40, lambda part: {"a": part, "b": part}, 1)),
    (Any, shared(30, lambda part: {1: part, 2: [part]}, 1)),
    (Any, shared(8, lambda part: [part] * 1000, 1)),
    (Any, {sets(40)}),
    (dict[Any, int], {sets(40): 1}),
    (Pair, shared(40, lambda part: Pair(part, part), None)),
    (list[Pair], [shared(40, lambda part: Pair(part, part), None)] * 100),
    (listed(40), shared(40, lambda part: [part, part], 1)),
    (listed(40), shared(40, lambda part: [part] * 9, 1)),
    (listed(5), shared(5, lambda part: [part] * 1000, 1)),
    (list[str], ["x" * MIB] * 100_000),
    (list[tuple[bytes, bytes]], [(b"x" * MIB, b"x" * MIB)] * 100_000),
]


def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests take less time."""
    monkeypatch.setattr(walk, "_MANY", 500)


@pytest.mark.parametrize(("value_type", "value"), ENDLESS, ids=range(len(ENDLESS)))
def test_what_is_endless_written_out_is_refused(monkeypatch: pytest.MonkeyPatch, value_type: Any, value: Any) -> None:
    few_are_many(monkeypatch)
    codec = codec_for(value_type)
    for values in ([value], [value, value]):
        with pytest.raises(TooLargeValue):
            codec.encode(values, MIB)


def test_shared_parts_that_are_not_endless_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are so many that each is converted once, and in what is sent after them."""
    few_are_many(monkeypatch)
    for value_type, value in [
        (Any, shared(11, lambda part: [part, part], 1)),
        (Any, shared(11, lambda part: {1: part, 2: part}, 1)),
        (Pair, shared(10, lambda part: Pair(part, part), None)),
        (listed(11), shared(11, lambda part: [part, part], 1)),
        (Any, {sets(9)}),
    ]:
        codec = codec_for(value_type)
        for _ in range(2):
            assert codec.decode(codec.encode([value])) == [value]


def test_where_a_shared_part_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After much, each object is converted once: the way to it is that of the first place where it stands."""
    few_are_many(monkeypatch)
    good, bad = shared(10, lambda part: [part, part], 1), [1, 1j]
    with pytest.raises(UnfitValue, match=r"^element 2, element 1: complex 1j would not arrive"):
        codec_for(Any).encode([[good, [good, 5, bad, bad], bad]])
    with pytest.raises(UnfitValue, match=r"^element 70, element 1: complex 1j would not arrive"):
        codec_for(Any).encode([[[1]] * 70 + [bad] * 200])


def test_a_batch_has_room_for_as_much_as_it_may() -> None:
    codec = codec_for(list[int])
    value = [1] * (MIB - 6)
    assert codec.decode(codec.encode([value], MIB)) == [value]
    assert codec.decode(codec.encode([[1] * 2 * MIB], 3 * MIB)) == [[1] * 2 * MIB]
    with pytest.raises(TooLargeValue):
        codec.encode([[1] * 2 * MIB], MIB)
    assert codec.encode([[1]], 1) == b"\x81\x81\x01"  # a mebibyte is written whatever the limit


@attrs.define(eq=False)
class Watched:
    text: str


def test_nothing_is_kept_of_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    few_are_many(monkeypatch)
    text: Any
    for text, fits in [("x", True), (5, False)]:
        value = Watched(text)
        gone = weakref.ref(value)
        codec = codec_for(listed(11, Watched))
        try:
            codec.encode([shared(11, lambda part: [part, part], value)])
        except UnfitValue:
            assert not fits
        del value
        assert gone() is None


def test_what_was_sent_bounds_nothing_that_comes_after() -> None:
    codec = codec_for(list[list[int]])
    large = codec.encode([[[1] * 20_000 for _ in range(100)]])
    codec.encode([[[1]]], MIB)
    assert len(codec.decode(large)[0]) == 100
    value = [[1] * 10_000 for _ in range(100)]
    for _ in range(10):
        assert len(codec.encode([value], MIB)) > 1_000_000
