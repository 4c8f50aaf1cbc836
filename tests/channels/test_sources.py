"""What has arrived and is not delivered, alone."""

from __future__ import annotations

import attrs
import cbor2
import pytest
from fakes import INT, FakeReceivingLink

from trionetchan._channels.shares import Shares
from trionetchan._channels.sources import Backlog, Source, SourceState
from trionetchan._codec import codec_for
from trionetchan._errors import Code


def source() -> Source:
    return Source(FakeReceivingLink(), Shares(None).bind())


def batch(*values: object) -> bytes:
    return cbor2.dumps(list(values))


def next_values(backlog: Backlog[int]) -> list[int]:
    """In order, taken out."""
    assert backlog.decode_next()
    values = backlog.values[::-1]
    backlog.values.clear()
    return values


def test_batches_are_decoded_one_after_the_other() -> None:
    one, two = source(), source()
    backlog: Backlog[int] = Backlog("jobs", INT)
    assert backlog.empty
    assert not backlog.decode_next()
    backlog.add(one, batch(1, 2))
    backlog.add(two, batch(3))
    assert not backlog.empty
    assert backlog.decode_next()
    assert (backlog.source, backlog.values) == (one, [2, 1])
    assert backlog.decode_next()
    assert backlog.values == [2, 1], "there is no next batch before these are gone"
    backlog.values.clear()
    assert not backlog.empty
    assert next_values(backlog) == [3]
    assert backlog.source is two
    assert backlog.empty


@pytest.mark.parametrize("wrong", [batch(1, 2, "three", 4), batch(1, 2, 3.5)])
def test_what_comes_before_a_misfit_is_kept_and_nothing_behind_it(wrong: bytes) -> None:
    one, two = source(), source()
    backlog: Backlog[int] = Backlog("jobs", INT)
    backlog.add(one, wrong)
    backlog.add(one, batch(5))
    backlog.add(two, batch(6))
    assert next_values(backlog) == [1, 2]
    assert one.state is SourceState.REFUSED
    assert one.code is Code.VALUE_REFUSED
    assert one.message.startswith("jobs: ")
    assert next_values(backlog) == [6]
    assert two.state is SourceState.BOUND


@pytest.mark.parametrize("wrong", [batch("one"), b"\x83\x01\x02\x1c"])
def test_a_misfit_that_is_the_first_is_told_before_the_next_source(wrong: bytes) -> None:
    one, two = source(), source()
    backlog: Backlog[int] = Backlog("jobs", INT)
    backlog.add(one, wrong)
    backlog.add(two, batch(2))
    assert not backlog.decode_next()
    assert backlog.source is one
    assert one.state is SourceState.REFUSED
    assert next_values(backlog) == [2]


tries: list[int] = []


def fits_at_the_second_try(_instance: object, _attribute: object, value: int) -> None:
    tries.append(value)
    if tries == [value]:
        raise ValueError("not now")


@attrs.frozen
class Moody:
    number: int = attrs.field(validator=fits_at_the_second_try)


def test_a_value_that_is_refused_once_and_then_fits_is_delivered_with_all_others() -> None:
    tries[:] = [0]  # while the values are made, each fits
    one = source()
    backlog: Backlog[Moody] = Backlog("jobs", codec_for(Moody))
    payload = codec_for(Moody).encode([Moody(1), Moody(2)])
    tries.clear()
    backlog.add(one, payload)
    backlog.add(one, payload)
    for _ in range(2):
        assert backlog.decode_next()
        assert [value.number for value in backlog.values] == [2, 1]
        backlog.values.clear()
    assert one.state is SourceState.BOUND


@pytest.mark.parametrize(("but_first", "left"), [(False, []), (True, [1])])
def test_what_came_of_a_source_is_forgotten(but_first: bool, left: list[int]) -> None:
    one, two = source(), source()
    backlog: Backlog[int] = Backlog("jobs", INT)
    for each, payload in ((one, batch(1, 2, 3)), (one, batch(4)), (two, batch(5)), (one, batch(6))):
        backlog.add(each, payload)
    backlog.decode_next()
    backlog.discard(one, but_first=but_first)
    assert backlog.values == left
    backlog.values.clear()
    assert next_values(backlog) == [5]
    assert backlog.empty


def test_forgetting_one_source_leaves_the_values_of_another() -> None:
    one, two = source(), source()
    backlog: Backlog[int] = Backlog("jobs", INT)
    backlog.add(one, batch(1, 2))
    backlog.add(two, batch(3))
    backlog.decode_next()
    backlog.discard(two, but_first=False)
    assert backlog.values == [2, 1]
    backlog.values.clear()
    assert backlog.empty
