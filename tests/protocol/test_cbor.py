"""The heads of CBOR items, against cbor2; and that hostile bytes give nothing but `ProtocolError`."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trionetchan import _cbor as cbor
from trionetchan._batch import array_of, batch_count, split_batch
from trionetchan._errors import ProtocolError

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

edges = st.sampled_from(
    [edge + more for edge in (0, 24, 2**8, 2**16, 2**32, 2**63) for more in (-1, 0, 1) if edge + more >= 0]
)
arguments = st.integers(0, 2**64 - 1) | edges

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.text(max_size=5), inner, max_size=5)
        | st.builds(cbor2.CBORTag, st.integers(1000, 2**40), inner)
    ),
    max_leaves=20,
)

HOSTILE = {
    "nothing": b"",
    "an array without its elements": b"\x82\x01",
    "a string that claims 2^60 bytes": b"\x5b\x10" + bytes(7),
    "text that claims 2^60 bytes": b"\x7b\x10" + bytes(7),
    "an array that claims 2^60 elements": b"\x9b\x10" + bytes(7),
    "a map that claims 2^63 pairs": b"\xbb\x80" + bytes(7),
    "a map of half as many pairs": b"\xa2\x00\x00\x00",
    "a tag of nothing": b"\xc1",
    "a cut head": b"\x1b\x00\x00",
    "a cut float": b"\xfb\x00\x00",
    "indefinite bytes": b"\x5f\x41\x00\xff",
    "an indefinite text": b"\x7f\x61\x61\xff",
    "an indefinite array": b"\x9f\x00\xff",
    "an indefinite map": b"\xbf\x00\x00\xff",
    "a break": b"\xff",
    "reserved heads": b"\x1c",
    "an array that hides an indefinite one": b"\x82\x01\x9f\xff",
    "100,000 nested arrays": b"\x81" * 100_000 + b"\x00",
    "100,000 nested tags": b"\xc1" * 100_000 + b"\x00",
    "100,000 nested maps": b"\xa1\x00" * 100_000 + b"\x00",
}


@thorough
@given(st.integers(0, 7), arguments)
def test_head_is_the_shortest_and_read_head_reads_it_back(major: int, argument: int) -> None:
    head = cbor.head(major, argument)
    shortest = 0 if argument < 24 else 1 if argument < 2**8 else 2 if argument < 2**16 else 4 if argument < 2**32 else 8
    assert len(head) == 1 + shortest
    assert cbor.read_head(head, 0) == (major, argument, len(head))
    assert cbor.read_head(memoryview(b"\xff" + head + b"\xff"), 1) == (major, argument, 1 + len(head))


@thorough
@given(arguments)
def test_heads_are_those_of_cbor2(argument: int) -> None:
    assert cbor.head(cbor.UINT, argument) == cbor2.dumps(argument)
    assert cbor.head(1, argument) == cbor2.dumps(-1 - argument)
    size = argument % 70_000
    assert cbor.head(cbor.BYTES, size) + bytes(size) == cbor2.dumps(bytes(size))
    assert cbor.head(cbor.TEXT, size) + b"a" * size == cbor2.dumps("a" * size)
    few = size % 300
    assert cbor.head(cbor.ARRAY, few) + bytes(few) == cbor2.dumps([0] * few)
    assert cbor.head(cbor.MAP, few) == cbor2.dumps(dict.fromkeys(range(few)))[: len(cbor.head(cbor.MAP, few))]


@thorough
@given(st.integers(0, 7), st.integers(0, 255), st.sampled_from([(24, ">B"), (25, ">H"), (26, ">I"), (27, ">Q")]))
def test_a_longer_head_than_needed_reads_the_same(major: int, argument: int, form: tuple[int, str]) -> None:
    head = bytes((major << 5 | form[0],)) + struct.pack(form[1], argument)
    assert cbor.read_head(head, 0) == (major, argument, len(head))


@thorough
@given(st.integers(0, 7), arguments, st.integers(0, 8))
def test_a_cut_head_is_an_index_error(major: int, argument: int, keep: int) -> None:
    head = cbor.head(major, argument)
    if keep < len(head):
        with pytest.raises(IndexError):
            cbor.read_head(head[:keep], 0)


@pytest.mark.parametrize("major", range(8))
@pytest.mark.parametrize("low", [28, 29, 30, 31])
def test_an_indefinite_or_reserved_head_is_refused(major: int, low: int) -> None:
    with pytest.raises(ProtocolError, match="definite"):
        cbor.read_head(bytes((major << 5 | low,)) + bytes(16), 0)


@thorough
@given(values, st.binary(max_size=9), st.binary(max_size=9))
def test_skip_finds_the_end_where_cbor2_does(value: Any, before: bytes, behind: bytes) -> None:
    item = cbor2.dumps(value)
    data = before + item + behind
    assert cbor.skip(data, len(before)) == len(before) + len(item)
    assert cbor.skip(memoryview(data), len(before)) == len(before) + len(item)


@thorough
@given(values)
def test_skip_refuses_each_shorter_item(value: Any) -> None:
    item = cbor2.dumps(value)
    for size in {*range(min(len(item), 50)), len(item) - 1}:
        with pytest.raises(ProtocolError, match="cut short"):
            cbor.skip(item[:size], 0)


@thorough
@given(
    st.binary(max_size=200)
    | st.builds(bytes.__add__, st.sampled_from(sorted(HOSTILE.values())), st.binary(max_size=20))
)
def test_skip_of_any_bytes_agrees_with_cbor2_or_is_a_protocol_error(data: bytes) -> None:
    try:
        end = cbor.skip(data, 0)
    except ProtocolError:
        return
    assert 0 < end <= len(data)
    stream = io.BytesIO(data)
    try:
        cbor2.CBORDecoder(stream, read_size=1, tag_hook=lambda tag, _: tag).decode()
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, MemoryError):
        return  # well-formed, as far as heads go, but no value
    assert stream.tell() == end


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_items_are_refused_and_nothing_is_allocated(name: str) -> None:
    data = HOSTILE[name]
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        cbor.skip(data, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("depth", [1, 8, 400])
@pytest.mark.parametrize("opening", [b"\x81", b"\xc1", b"\x82\x00", b"\xa1\x00"])
def test_depth_is_counted_exactly_in_items(depth: int, opening: bytes) -> None:
    fits = opening * (depth - 1) + b"\x00"
    assert cbor.skip(fits, 0, max_depth=depth) == len(fits)
    with pytest.raises(ProtocolError, match="nested"):
        cbor.skip(opening + fits, 0, max_depth=depth)


def test_siblings_are_not_depth() -> None:
    siblings: Any = [[[]], [[]], {"a": [], "b": [[]]}]
    flat = cbor2.dumps(siblings * 1000)
    assert cbor.skip(flat, 0, max_depth=4) == len(flat)


@thorough
@given(st.lists(values, max_size=30))
def test_a_batch_is_an_array_that_cbor2_reads_and_is_split_into_its_values(batch: list[Any]) -> None:
    items = [cbor2.dumps(value) for value in batch]
    payload = array_of(items)
    assert payload == cbor2.dumps(batch)
    assert batch_count(payload) == len(batch)
    assert split_batch(payload) == items
    assert split_batch(memoryview(payload)) == items


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x98",
        b"\x99\x01",
        b"\x9f\xff",
        b"\x00",
        b"\x41a",
        b"\x61a",
        b"\xa0",
        b"\xc1\x80",
        b"\xf6",
        b"\xf4",
        b"\x9c",
    ],
)
def test_what_is_no_array_is_no_batch(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        batch_count(payload)


@example(b"\x9b\xff" + bytes(7))
@example(b"\x81")
@thorough
@given(st.binary(max_size=100))
def test_splitting_an_array_of_any_bytes_gives_only_protocol_errors(data: bytes) -> None:
    payload = b"\x85" + data
    try:
        items = split_batch(payload)
    except ProtocolError:
        return
    assert payload.startswith(array_of(items))


def test_what_follows_a_batch_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected the end of the batch, got 2 bytes more"):
        split_batch(b"\x82\x01\x02\x00\x00")
