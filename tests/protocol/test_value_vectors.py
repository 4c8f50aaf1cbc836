"""Runs the test vectors of values, schemas, and of the binding of a channel by its name and schema."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import attrs
import cbor2
import pytest
import trio
import trio.testing
from scripted import Scripted
from vectors import VECTORS, Vector, content, type_of, vectors

from trionetchan import Direction, TypeMismatchError, open_exporter, open_importer
from trionetchan._codec import Codec, Schema, codec_for, difference
from trionetchan._errors import Code, UnfitValue
from trionetchan._protocol.frames import Accept, Close, Goodbye, Ping, Pong, Reject


@attrs.frozen
class Job:
    path: str
    size: int = 0
    parent: Job | None = None


@attrs.frozen
class Point:
    x: int
    y: int = 0


ONE_OR_TWO = datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - a local time is what is meant
INDIA_BACKWARDS = timezone(-timedelta(hours=5, minutes=30))

# The types and values that vectors of values describe. The types of all others are made of their schemas.
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "any": (Any, [1, "a", None, True, 1.5, b"x", [1, []], {"k": -2}]),
    "null": (None, [None, None]),
    "bool": (bool, [True, False]),
    "int": (int, [0, -1, 2**63, 2**64, -(2**70)]),
    "float": (float, [1.0, -0.0, 1e300, float("inf")]),
    "text": (str, ["", "größe 𝄞"]),
    "bytes": (bytes, [b"", b"\0\xff"]),
    "datetime": (
        datetime,
        [
            datetime(2024, 2, 29, 12, tzinfo=UTC),
            datetime(2024, 2, 29, 12, 0, 0, 250_000, INDIA_BACKWARDS),
            ONE_OR_TWO,
            ONE_OR_TWO.replace(fold=1),
        ],
    ),
    "date": (date, [date(2024, 2, 29)]),
    "time": (time, [time(12), time(23, 59, 59, 999_999, timezone(timedelta(hours=2)))]),
    "duration": (timedelta, [timedelta(0), timedelta(seconds=-1.5)]),
    "decimal": (Decimal, [Decimal("1.10"), Decimal("-1E+3"), Decimal("Infinity")]),
    "uuid": (UUID, [UUID(bytes=bytes(range(16)))]),
    "literal": (Literal["red", 1], ["red", 1]),
    "list": (list[int], [[], [1, 2]]),
    "tuple": (tuple[int, str], [(1, "a")]),
    "set": (set[int], [set(), {7}]),
    "map-text": (dict[str, int], [{}, {"a": 1}]),
    "map-bytes": (dict[bytes, int], [{b"a": 1}]),
    "map-other": (dict[int, str], [{1: "a", 2: "b"}]),
    "record": (Job, [Job("a"), Job("b", 2, Job("a"))]),
    "union": (int | str, [1, "a"]),
    "record-received-without-a-default": (Point, [Point(1)]),
}

# Types that cannot be made of their schemas, as they are recursive, or have a name.
TYPES: dict[str, Any] = {
    vector["schema"]: VALUES[vector["name"]][0] for vector in VECTORS["values"] if vector["name"] in VALUES
}


def schema_of(text: str) -> Schema:
    return Schema.from_bytes(bytes.fromhex(text))


def equal(one: Schema, other: Schema) -> bool:
    """Nodes may be numbered in any order."""
    return difference(one, other) is None and difference(other, one) is None


def codec_of(schema: str) -> Codec[Any]:
    """The codec of a type that the schema describes."""
    codec = codec_for(TYPES[schema] if schema in TYPES else type_of(schema_of(schema)))
    assert equal(codec.schema, schema_of(schema))
    if len(codec.schema.nodes) == 1:
        assert codec.schema.to_bytes().hex() == schema
    return codec


def twice(batch: bytes) -> bytes:
    """The batch of the same value two times, if it has one value: what a batch of several does is another way."""
    return b"\x82" + 2 * batch[1:] if batch[:1] == b"\x81" else batch


def looks(values: list[Any]) -> list[str]:
    """Tells NaN, signs and types, which equality does not."""
    return list(map(repr, values))


def test_all_values_are_in_a_vector() -> None:
    assert VALUES.keys() <= {vector["name"] for vector in VECTORS["values"]}


@vectors("values")
def test_values_are_written_and_read(vector: Vector) -> None:
    codec = codec_of(vector["schema"])
    read = codec.decode(content(vector))
    assert codec.encode(read) == content(vector)
    assert looks(codec.decode(twice(content(vector)))[:1]) == looks(read)[:1]
    if vector["name"] in VALUES:
        _, values = VALUES[vector["name"]]
        assert codec.encode(values) == content(vector)
        assert read == values
        assert looks(read) == looks(values)


@vectors("readable_values")
def test_values_are_read_though_none_writes_them_so(vector: Vector) -> None:
    codec = codec_of(vector["schema"])
    read = codec.decode(content(vector))
    assert looks(read) == looks(codec.decode(content(vector, "as")))
    assert codec.encode(read) == content(vector, "as")
    assert content(vector) != content(vector, "as")


@vectors("refused_values")
def test_values_are_refused(vector: Vector) -> None:
    codec = codec_of(vector["schema"])
    for payload in content(vector), twice(content(vector)):
        with pytest.raises(UnfitValue):
            codec.decode(payload)


@vectors("malformed_schemas")
def test_malformed_schemas_are_refused(vector: Vector) -> None:
    with pytest.raises(UnfitValue):
        Schema.from_bytes(content(vector))


@vectors("readable_schemas")
def test_schemas_are_read_though_none_writes_them_so(vector: Vector) -> None:
    assert equal(Schema.from_bytes(content(vector)), Schema.from_bytes(content(vector, "as")))
    assert content(vector) != content(vector, "as")


@vectors("schema_pairs")
def test_schemas_fit_or_do_not(vector: Vector) -> None:
    found = difference(schema_of(vector["sender"]), schema_of(vector["receiver"]))
    assert (found is None) == vector["fits"], found


# Binding


@vectors("imports")
async def test_imports_are_accepted_or_refused(vector: Vector) -> None:
    exported = vector["exporter"]
    send, receive = trio.open_memory_channel[Any](1)
    end, way = (receive, Direction.SEND) if exported["sends"] else (send, Direction.RECEIVE)
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(ours)
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            exporter.export("x", end, type_of(schema_of(exported["schema"])), direction=way)
            nursery.start_soon(exporter.serve_stream, theirs)
            await peer.greet()
            await peer.stream.send_all(cbor2.dumps(content(vector)))
            kind, channel, *code = vector["answer"]
            answer: Accept | Reject = await peer.hear(Accept if kind == Accept.KIND else Reject)
            assert answer.channel == channel
            if isinstance(answer, Reject):
                assert [answer.code] == code
                assert answer.message
            await peer.say(Ping(1))
            assert (await peer.hear(Pong)).token == 1
            await peer.say(Goodbye(Code.FINISHED, ""))
            await peer.hear_all()
        nursery.cancel_scope.cancel()


@vectors("accepts")
async def test_answers_bind_the_importer_or_make_it_withdraw(vector: Vector) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Scripted(theirs)
    await peer.greet()

    async def answer() -> None:
        await peer.accept(schema=bytes.fromhex(vector["schema"]))

    async with trio.open_nursery() as nursery:
        async with open_importer(ours) as importer:
            nursery.start_soon(answer)
            wanted = vector["importer"]
            value_type = type_of(schema_of(wanted["schema"]))
            open_channel = importer.open_receive_channel if wanted["receives"] else importer.open_send_channel
            if vector["code"] is None:
                await open_channel("x", value_type)
            else:
                with pytest.raises(TypeMismatchError, match="x: "):
                    await open_channel("x", value_type)
                close = await peer.hear(Close)
                assert (close.channel, close.count, close.code) == (0, 0, vector["code"])
            nursery.start_soon(peer.say, Goodbye(Code.FINISHED, ""))
        nursery.cancel_scope.cancel()
