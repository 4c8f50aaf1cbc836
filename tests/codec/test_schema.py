"""Schemas: their text and their wire form."""

from __future__ import annotations

import sys
from typing import Any, Generic, Literal, Optional, TypeVar

import attrs
import cbor2
import pytest
from value_types import Chain, DataJob, PartJob

from trionetchan._codec.describe import describe
from trionetchan._codec.schema import Schema
from trionetchan._errors import UnfitValue

T = TypeVar("T")


def test_the_wire_form() -> None:
    assert cbor2.loads(describe(int).to_bytes()) == [[3]]
    assert cbor2.loads(describe(list[int]).to_bytes()) == [[14, 1], [3]]
    assert cbor2.loads(describe(Literal[1, "a"]).to_bytes()) == [[13, 1, "a"]]
    assert cbor2.loads(describe(DataJob).to_bytes()) == [
        [18, "DataJob", False, ["id", 0, 1], ["weight", 2, 2]],
        [3],
        [4],
    ]
    assert cbor2.loads(describe(PartJob).to_bytes())[0] == [18, "PartJob", False, ["id", 0, 1], ["weight", 3, 2]]
    assert cbor2.loads(describe(Chain).to_bytes()) == [
        [18, "Chain", False, ["value", 0, 1], ["next", 0, 2]],
        [3],
        [19, 0, 3],
        [1],
    ]


@pytest.mark.parametrize(
    ("value_type", "text"),
    [
        (int, "int"),
        (None, "None"),
        (Any, "Any"),
        (bytearray, "bytearray"),
        (list[int | None], "list[int | None]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (dict[str, set[int]], "dict[text, set[int]]"),
        (DataJob, "DataJob{id: int, weight: float?}"),
        (Literal[1, b"a", None], "Literal[1, b'a', None]"),  # noqa: PYI061
        (Chain, "Chain{value: int, next: Chain{value: int, next: Chain | None} | None}"),
    ],
)
def test_the_text(value_type: Any, text: str) -> None:
    assert str(describe(value_type)) == text


MALFORMED: list[Any] = [
    0,
    [],
    {},
    [[]],
    [3],
    [["3"]],
    [[True]],
    [[3.0]],
    [[20]],
    [[-1]],
    [[3, 0]],
    [[14]],
    [[14, 1]],
    [[14, -1]],
    [[14, True]],
    [[14, 0, 0]],
    [[17, 0]],
    [[19]],
    [[19, 0]],
    [[19, 1], [19, 2], [3]],
    [[13]],
    [[13, []]],
    [[13, cbor2.CBORTag(1, 1)]],
    [[18]],
    [[18, "a"]],
    [[18, 1, False]],
    [[18, "a", 0]],
    [[18, "a" * 257, False]],
    [[18, "a", False, ["f", 0]]],
    [[18, "a", False, ["f", 0, 0, 0]]],
    [[18, "a", False, ["f", 4, 0]]],
    [[18, "a", False, ["f", 1, 0]]],
    [[18, "a", False, ["f", False, 0]]],
    [[18, "a", False, [1, 0, 0]]],
    [[18, "a", False, ["f" * 257, 0, 0]]],
    [[18, "a", False, ["f", 0, 1]]],
    [[18, "a", False, ["f", 0, 0], ["f", 0, 0]]],
    [[3]] * 513,
    [[13, "x" * 40_000]],
]


@pytest.mark.parametrize("table", MALFORMED, ids=lambda table: str(table)[:50])
def test_a_malformed_schema_is_refused(table: Any) -> None:
    with pytest.raises(UnfitValue):
        Schema.from_bytes(cbor2.dumps(table))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x81", b"\x9f\x81\x03\xff", b"\x81\x81\x03\x00", b"\x81" * 1000, b"\x9b" + b"\xff" * 8, b"\xd8\x1c\x80"],
    ids=lambda data: data[:6].hex(),
)
def test_malformed_schema_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnfitValue):
        Schema.from_bytes(data)


def test_literals_that_share_a_hash_are_few() -> None:
    """Sets are made of them, also of those of several nodes; a value that comes twice counts once."""
    modulus = sys.hash_info.modulus
    colliding = [number * modulus + 5 for number in range(1, 66)]
    few = [[19, 1, 2], [13, *colliding[:32] * 50], [13, *colliding[32:64]]]
    assert len(Schema.from_bytes(cbor2.dumps(few)).nodes[1].values) == 1600
    for many in ([[13, *colliding]], [[19, 1, 2], [13, *colliding[:32]], [13, *colliding[32:]]]):
        with pytest.raises(UnfitValue, match="of one hash"):
            Schema.from_bytes(cbor2.dumps(many))


def test_a_type_that_is_too_large_is_refused() -> None:
    many = attrs.make_class("Many", {f"field_{i}_{'x' * 60}": attrs.field(type=int) for i in range(600)})
    with pytest.raises(UnfitValue, match="too large to describe"):
        describe(many)
    with pytest.raises(UnfitValue, match="too many parts"):
        describe(Growing[int])
    long = attrs.make_class("Long", {"x" * 257: attrs.field(type=int)})
    with pytest.raises(UnfitValue, match="too long"):
        describe(long)


@attrs.define
class Growing(Generic[T]):
    inner: Optional[Growing[list[T]]]  # noqa: UP045
