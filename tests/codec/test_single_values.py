"""A single value takes a shortcut: it must agree with the columns in what it accepts, makes and says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from value_types import TYPED, Chain, Color, Job, PartJob, Typed, carried, thorough

from trionetchan._codec import Codec, codec_for
from trionetchan._codec.columns import Column, Step
from trionetchan._errors import UnfitValue


def _refuse(_instance: object, _attribute: object, value: int) -> None:
    if value % 3 == 0:
        raise ValueError(f"{value} is a multiple of three")
    if value % 3 == 1:
        raise StopIteration


@attrs.frozen
class Picky:
    number: int = attrs.field(validator=_refuse)
    text: str = ""


def without_shortcuts(codec: Codec[Any]) -> Codec[Any]:
    return attrs.evolve(codec, sending=Step(codec.sending.column), receiving=Step(codec.receiving.column))


def outcome(function: Callable[[Any], Any], argument: Any) -> str:
    try:
        return "".join(sorted(repr(function(argument))))  # a set has no order, a NaN no equality
    except UnfitValue as error:
        return f"refused: {error}"


def agree_on_value(codec: Codec[Any], value: Any) -> None:
    assert outcome(codec.encode, [value]) == outcome(without_shortcuts(codec).encode, [value])


def agree_on_data(codec: Codec[Any], payload: bytes) -> None:
    assert outcome(codec.decode, payload) == outcome(without_shortcuts(codec).decode, payload)


PICKY = Typed(Picky, st.builds(Picky, st.integers().map(lambda n: 3 * n + 2)))
BAD_JOB = Job("x", 2)  # type: ignore[arg-type]
ODD_VALUES: list[Any] = [Job(1, 2.0), BAD_JOB, Chain(1, None), Color.RED, {"id": 1}, 1j, object(), [[]], ((),)]
ODD = st.sampled_from(ODD_VALUES)
ANY_TYPE = TYPED | st.just(PICKY) | st.sampled_from([Any, list[Any], dict[Any, Any]]).map(lambda t: Typed(t, ODD))


@thorough
@given(ANY_TYPE, ANY_TYPE, st.data())
def test_both_ways_agree_on_every_value(one: Typed, other: Typed, data: st.DataObject) -> None:
    if carried(one.type):
        for value in (data.draw(one.values), data.draw(other.values), data.draw(ODD)):
            agree_on_value(codec_for(one.type), value)


@thorough
@given(ANY_TYPE, ANY_TYPE, st.data())
def test_both_ways_agree_on_all_data(one: Typed, other: Typed, data: st.DataObject) -> None:
    if not carried(one.type):
        return
    codec = codec_for(one.type)
    for typed in (one, other):
        if not carried(typed.type):
            continue
        try:
            payload = bytearray(codec_for(typed.type).encode([data.draw(typed.values)]))
        except UnfitValue:
            continue
        agree_on_data(codec, bytes(payload))
        for _ in range(data.draw(st.integers(1, 3))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        agree_on_data(codec, bytes(payload))


@thorough
@given(st.sampled_from([Picky, Job, PartJob, Chain, Any, list[Picky], dict[str, Picky | None]]), st.data())
def test_both_ways_agree_on_almost_right_data(value_type: Any, data: st.DataObject) -> None:
    scalar = st.integers(-3, 3) | st.sampled_from(["a", None, True, 1.5, b"", cbor2.undefined])
    names = st.sampled_from(["id", "weight", "number", "text", "value", "next", "other", b"id"])
    shapes = st.recursive(
        scalar, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(names, inner, max_size=3), max_leaves=8
    )
    agree_on_data(codec_for(value_type), cbor2.dumps([data.draw(shapes)]))


def test_both_ways_agree_on_depth() -> None:
    for levels in range(60, 68):
        value: Any = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        agree_on_value(codec_for(Any), value)
        agree_on_data(codec_for(Any), cbor2.dumps([value]))
        wide: Any = []
        for level in range(levels):
            wide = [wide, *[[]] * 9] if level % 2 else {str(i): wide for i in range(10)} if level < 1 else [wide]
        agree_on_value(codec_for(Any), wide)
        agree_on_data(codec_for(Any), cbor2.dumps([wide]))
        chain = Chain(0, None)
        for _ in range(levels):
            chain = Chain(1, chain)
        agree_on_value(codec_for(Chain), chain)
        nested: Any = int
        deep: Any = 1
        for _ in range(levels):
            nested, deep = tuple[nested], (deep,)
        agree_on_value(codec_for(nested), deep)


def test_a_constructor_is_asked_again_by_the_columns_only() -> None:
    """A validator that fails once: the columns have the last word, and they ask it once."""
    calls: list[int] = []

    def fail_at(refused: set[int]) -> Callable[[object, object, int], None]:
        def validate(_instance: object, _attribute: object, value: int) -> None:
            calls.append(value)
            if len(calls) in refused:
                raise ValueError("not now")

        return validate

    def codec_failing_at(*refused: int) -> Codec[Any]:
        calls.clear()
        return codec_for(attrs.make_class("Moody", {"number": attrs.field(type=int, validator=fail_at(set(refused)))}))

    assert len(codec_failing_at(1).decode(cbor2.dumps([{"number": 5}]))) == 1
    assert calls == [5, 5]
    with pytest.raises(UnfitValue, match=r"^not now$"):
        codec_failing_at(1, 2).decode(cbor2.dumps([{"number": 5}]))
    with pytest.raises(UnfitValue, match=r"^not now$"):
        codec_failing_at(2).decode(cbor2.dumps([{"number": n} for n in (5, 6, 7)]))
    assert calls == [5, 6]


def test_a_validator_that_ends_an_iteration_loses_no_values() -> None:
    for number in (1, 4):
        for before in (0, 2):
            payload = cbor2.dumps([*([{"number": 2, "text": ""}] * before), {"number": number, "text": ""}])
            with pytest.raises(UnfitValue, match="StopIteration"):
                codec_for(Picky).decode(payload)


def test_the_value_that_a_constructor_refuses_is_named() -> None:
    rows = [{"number": 3 * n + 2, "text": ""} for n in range(20)]
    rows[12]["number"] = 36
    with pytest.raises(UnfitValue, match=r"^element 12: 36 is a multiple of three$"):
        codec_for(list[Picky]).decode(cbor2.dumps([rows]))


def test_the_shortcut_is_taken_where_a_type_says_so() -> None:
    """Without the columns, the usual value is still converted: so a broken shortcut is noticed."""

    def refused(column: Column, depth: int) -> Column:
        raise AssertionError

    for value_type, value in [
        (int, 1),
        (Job, Job(1, 2.0)),
        (Chain, Chain(1, Chain(2, None))),
        (Color, Color.RED),
        (PartJob, {"id": 1}),
        (Literal[1] | str | list[Job], [Job(1, 2.0)] * 3),
        (dict[int, set[str]], {1: {"a"}}),
        (tuple[Job, int | None], (Job(1, 2.0), None)),
        (Any, {"a": [1, {2: {3}}], "b": None}),
    ]:
        codec = codec_for(value_type)
        sending, receiving = codec.sending, codec.receiving
        quick = attrs.evolve(
            codec,
            sending=Step(refused, sending.one, sending.unchanged),
            receiving=Step(refused, receiving.one, receiving.unchanged),
        )
        assert quick.decode(quick.encode([value])) == [value]
