"""Comparisons are remembered, within bounds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cbor2
import pytest
from value_types import Job, TextJob, Work

from trionetchan._codec import Comparisons, comparisons, difference
from trionetchan._codec.describe import describe
from trionetchan._codec.schema import Kind, Schema


def literal(number: int) -> bytes:
    """The schema of a literal: as many as one likes, and all fit an integer."""
    return cbor2.dumps([[Kind.LITERAL, number]])


def record(number: int, names: int = 1) -> bytes:
    """A schema that fits no integer, with a long name."""
    return cbor2.dumps([[Kind.RECORD, "x" * 200, False, *([f"{number}_{i}", 0, 0] for i in range(names))]])


@pytest.mark.parametrize("value_type", [Job, Work, TextJob, int])
def test_what_is_remembered_is_what_was_found(value_type: Any) -> None:
    memory = Comparisons()
    own, theirs = describe(Job), describe(value_type).to_bytes()
    pairs = ((own, theirs), (theirs, own))
    found = [memory.compare(*pair) for pair in pairs]
    assert [one for one, _ in found] == [difference(*pair) for pair in pairs]
    assert found[0][1] > 0
    assert [memory.compare(*pair) for pair in pairs] == [(one, 0) for one, _ in found]


def test_the_two_sides_are_not_mistaken_for_each_other() -> None:
    """The parts of one pair, joined, are the parts of another pair, joined."""
    memory = Comparisons()
    assert memory.compare(b"ab", b"c")[1] > 0
    assert memory.compare(b"a", b"bc")[1] > 0
    assert memory.compare(b"abc", b"")[1] > 0
    assert memory.compare(describe(int), describe(str).to_bytes())[0] is not None
    assert memory.compare(describe(str), describe(int).to_bytes())[1] > 0


def test_work_grows_with_the_schema_and_with_the_steps() -> None:
    memory = Comparisons()
    assert memory.compare(describe(int), describe(int).to_bytes())[1] == 1
    assert memory.compare(b"x" * 25_600, describe(int))[1] == 101  # cannot be read, but was looked at
    own, other = (
        cbor2.dumps([[Kind.TUPLE, *range(1, 500)], *([Kind.LIST, 0] for _ in range(499)), [last]]) for last in (3, 4)
    )
    found, work = memory.compare(Schema.from_bytes(own), other)
    assert found is None
    assert work > 1 + len(other) // 256 + 4


@pytest.mark.parametrize("make", [literal, record], ids=["fits", "differs"])
def test_new_types_without_end_do_not_push_out_what_is_asked_for_again(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "_MAX_STORE_SIZE", 20_000)
    memory, own = Comparisons(), describe(int)
    known = [(literal(-1), own), (record(-1), own)]
    for pair in known * 2:
        memory.compare(*pair)
    for number in range(200):
        memory.compare(make(number), own)
    assert [memory.compare(*pair)[1] for pair in known] == [0, 0]
    assert memory.compare(make(199), own)[1] == 0
    assert memory.compare(make(0), own)[1] > 0


def test_what_was_asked_for_again_is_forgotten_too_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "_MAX_STORE_SIZE", 20_000)
    memory, own = Comparisons(), describe(int)
    for number in range(100):
        for _ in range(2):
            memory.compare(literal(number), own)
        memory.compare(literal(0), own)
    assert [memory.compare(literal(number), own)[1] for number in (99, 98, 0, 1)] == [0, 0, 0, 1]


def test_it_holds_a_mebibyte_at_most() -> None:
    memory, own = Comparisons(), describe(int)
    pairs = [*map(literal, range(1500)), *(record(number, 16) for number in range(1500))]
    tracemalloc.start()
    try:
        for pair in pairs:
            memory.compare(pair, own)
            memory.compare(pair, own)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 100_000 < held < 2**20
