"""Reading one CBOR item strictly."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from trionetchan._codec.reading import Reader

REFUSALS = (cbor2.CBORDecodeError, ValueError)


def test_one_item_and_nothing_else() -> None:
    reader = Reader(max_depth=3)
    assert reader.read(b"\x81\x81\x05") == [[5]]
    for bad in (b"", b"\x81", b"\x05\x05", b"\x05\xff", b"\x9f\xff", b"\x81\x81\x81\x81\x05", b"\xa2\x01\x02\x01\x02"):
        with pytest.raises(REFUSALS):
            reader.read(bad)
        assert reader.read(b"\x81\x81\x05") == [[5]]


@pytest.mark.parametrize("tag", [0, 1, 4, 5, 21, 24, 25, 27, 28, 29, 30, 32, 35, 36, 37, 256, 258, 260, 1004, 55799])
def test_no_tag_but_those_that_are_named(tag: int) -> None:
    payload = cbor2.dumps(cbor2.CBORTag(tag, "2026-01-01"))
    with pytest.raises(REFUSALS):
        Reader(max_depth=3).read(payload)
    assert Reader(max_depth=3, tags={tag: lambda content, _: (tag, content)}).read(payload) == (tag, "2026-01-01")


def test_reading_within_reading() -> None:
    """Another thread may read while this one does: no decoder is used twice at once."""

    def read_again(content: Any, _immutable: bool) -> Any:
        return [content, reader.read(b"\x82\x01\x02")]

    reader = Reader(max_depth=9, tags={1000: read_again})
    for _ in range(3):
        assert reader.read(cbor2.dumps([cbor2.CBORTag(1000, "a"), 7])) == [["a", [1, 2]], 7]


def test_a_kept_decoder_keeps_no_large_payload_alive() -> None:
    reader = Reader(max_depth=3)
    assert reader.read(cbor2.dumps("x")) == "x"
    assert reader.read(cbor2.dumps("x" * 10_000)) == "x" * 10_000
    ((stream, _),) = reader.kept
    assert stream.getvalue() == cbor2.dumps("x")


def test_few_decoders_are_kept() -> None:
    def read_again(content: Any, _immutable: bool) -> Any:
        return reader.read(cbor2.dumps(cbor2.CBORTag(1000, content - 1))) if content else 0

    reader = Reader(max_depth=3, tags={1000: read_again})
    assert reader.read(cbor2.dumps(cbor2.CBORTag(1000, 50))) == 0
    assert len(reader.kept) <= 8
