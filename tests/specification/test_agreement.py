"""The second reader, written from the page alone, and the library agree: on which types fit, and on what is a value."""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any

import cbor2
import second_reader as sr
from hypothesis import HealthCheck, Phase, given, settings
from value_types import TYPED, Typed, carried

from trionetchan._codec import Codec, Schema, codec_for, difference
from trionetchan._errors import UnfitValue

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "100")
PAIRS = 100 * EXAMPLES
MUTATIONS = 100 * EXAMPLES

LITERALS: list[Any] = [None, True, False, 0, 1, 2, -1, 1.0, 0.0, "red", "a", b"a", b"", 2**70]


def random_schema(chance: Random) -> bytes:
    """A table of a few nodes, most of the time one that can be read."""
    count = chance.randint(1, 6)
    nodes = [random_node(chance, count) for _ in range(count)]
    data = bytearray(cbor2.dumps(nodes))
    if not chance.randrange(20):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def random_node(chance: Random, count: int) -> list[Any]:
    def node() -> int:
        return chance.randrange(count)

    kind = chance.choice([*range(13), 3, 4, 5, 13, 13, 14, 14, 15, 16, 17, 17, 18, 18, 18, 19, 19])
    if kind == 13:
        return [kind, *chance.sample(LITERALS, chance.randint(1, 4))]
    if kind in (14, 16):
        return [kind, node()]
    if kind in (15, 19):
        return [kind, *(node() for _ in range(chance.randint(0 if kind == 15 else 1, 3)))]
    if kind == 17:
        return [kind, node(), node()]
    if kind == 18:
        names = chance.sample(["a", "b", "c"], chance.randint(0, 3))
        return [kind, "R", not chance.randrange(4), *([name, chance.choice([0, 0, 2, 3]), node()] for name in names)]
    return [kind]


def ours_of(data: bytes) -> Schema | None:
    try:
        return Schema.from_bytes(data)
    except UnfitValue:
        return None


def theirs_of(data: bytes) -> sr.Schema | None:
    try:
        return sr.read_schema(data)
    except sr.SchemaError:
        return None


def test_both_say_which_types_fit() -> None:
    chance = Random(1)
    seen: Counter[str] = Counter()
    for number in range(PAIRS):
        one = random_schema(chance)
        other = random_schema(chance) if chance.randrange(3) else changed(one, chance)
        ours, theirs = (ours_of(one), ours_of(other)), (theirs_of(one), theirs_of(other))
        shown = f"pair {number}: {one.hex()} {other.hex()}"
        assert [schema is None for schema in ours] == [schema is None for schema in theirs], shown
        if ours[0] is None or ours[1] is None or theirs[0] is None or theirs[1] is None:
            seen["unreadable"] += 1
            continue
        fit = difference(ours[0], ours[1]) is None
        assert fit == sr.fits(theirs[0], theirs[1]), f"{shown}: {ours[0]} to {ours[1]}"
        seen["fit" if fit else "differ"] += 1
    assert min(seen["fit"], seen["differ"], seen["unreadable"]) > PAIRS // 100, seen


def changed(schema: bytes, chance: Random) -> bytes:
    """A schema that differs in one node."""
    try:
        nodes: Any = cbor2.loads(schema)
        nodes[chance.randrange(len(nodes))] = random_node(chance, len(nodes))
        return cbor2.dumps(nodes)
    except Exception:
        return schema


def mutated(payload: bytes, chance: Random) -> bytes:
    """The same bytes with a few changes."""
    data = bytearray(payload)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at:at] = chance.choice([b"\x00", b"\x61a", b"\xf9\x7e\x00", b"\x1b" + bytes(8), b"\xc2\x41\x01"])
            case 3:
                data[at : at + chance.randint(0, 2)] = b""
            case _:
                data[at] = chance.choice([0x18, 0x1F, 0x5F, 0x80, 0x9F, 0xA0, 0xC0, 0xD8, 0xF4, 0xF6, 0xF7, 0xFB, 0xFF])
        if not data:
            return b"\x80"
    return bytes(data)


def samples() -> list[tuple[Codec[Any], bytes]]:
    """Types with a batch of values of each, as hypothesis makes them."""
    found: list[tuple[Codec[Any], bytes]] = []

    @settings(
        derandomize=True,
        max_examples=300,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(TYPED.flatmap(values_of))
    def collect(drawn: tuple[Typed, list[Any]]) -> None:
        typed, values = drawn
        if carried(typed.type):
            codec = codec_for(typed.type)
            found.append((codec, codec.encode(values)))

    collect()
    return found


def values_of(typed: Typed) -> Any:
    from hypothesis import strategies as st

    return st.tuples(st.just(typed), st.lists(typed.values, min_size=1, max_size=3))


def ours_takes(codec: Codec[Any], payload: bytes) -> bool:
    try:
        return bool(codec.decode(payload))
    except UnfitValue:
        return False


def theirs_takes(schema: sr.Schema, payload: bytes) -> bool:
    try:
        return bool(sr.check_batch(schema, payload))
    except sr.ValueRefused:
        return False


def test_both_take_the_same_values() -> None:
    chance = Random(2)
    known = [(codec, sr.read_schema(codec.schema.to_bytes()), payload) for codec, payload in samples()]
    taken = 0
    for codec, schema, payload in known:
        assert theirs_takes(schema, payload), f"{codec.schema}: {payload.hex()}"
    for number in range(MUTATIONS):
        codec, schema, payload = chance.choice(known)
        changed_payload = mutated(payload, chance)
        ours, theirs = ours_takes(codec, changed_payload), theirs_takes(schema, changed_payload)
        assert ours == theirs, (
            f"mutation {number}: {codec.schema}: {changed_payload.hex()}: {ours} here, {theirs} there"
        )
        taken += ours
    assert MUTATIONS // 20 < taken < MUTATIONS
