"""Runs the vectors for readers of vectors.json through second_reader."""

import json
from pathlib import Path
from typing import cast

import pytest
import second_frames as sf
import second_reader as sr

Vector = dict[str, object]
VECTORS = cast(
    "dict[str, list[Vector]]", json.loads((Path(__file__).parents[2] / "docs" / "vectors.json").read_text("utf-8"))
)


def vectors(section: str) -> pytest.MarkDecorator:
    """One test for each vector of a section that is for a reader."""
    chosen = [vector for vector in VECTORS[section] if vector["for"] in ("both", "reader")]
    return pytest.mark.parametrize("vector", chosen, ids=[str(vector["name"]) for vector in chosen])


def data(vector: Vector, key: str = "hex") -> bytes:
    return bytes.fromhex(str(vector[key]))


def entries_of(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def fields_of(value: object) -> list[object]:
    """The fields of a frame as in the vectors, byte strings as bytes."""
    return [without_hex(part) for part in cast("list[object]", value)]


def without_hex(value: object) -> object:
    if not isinstance(value, dict):
        return value
    entries = entries_of(cast("object", value))
    if entries.keys() == {"hex"}:
        return bytes.fromhex(str(entries["hex"]))
    return {name: without_hex(entry) for name, entry in entries.items()}


def one_frame(vector: Vector) -> list[object]:
    frames, rest = sr.cut_stream(sr.MAGIC + data(vector))
    assert len(frames) == 1
    assert not rest
    kind, fields = sr.read_frame(frames[0])
    return [kind, *fields]


def same_types(one: list[object], other: list[object]) -> bool:
    return one == other and [type(part) for part in one] == [type(part) for part in other]


@vectors("frames")
def test_frames(vector: Vector) -> None:
    assert same_types(one_frame(vector), fields_of(vector["fields"]))


@vectors("readable")
def test_readable(vector: Vector) -> None:
    assert same_types(one_frame(vector), fields_of(vector["fields"]))


@vectors("malformed")
def test_malformed(vector: Vector) -> None:
    with pytest.raises(sr.FrameError):
        sr.read_frame(data(vector))


@vectors("values")
def test_values(vector: Vector) -> None:
    schema = sr.read_schema(data(vector, "schema"))
    assert sr.check_batch(schema, data(vector))


@vectors("readable_values")
def test_readable_values(vector: Vector) -> None:
    schema = sr.read_schema(data(vector, "schema"))
    assert sr.check_batch(schema, data(vector)) == sr.check_batch(schema, data(vector, "as"))


@vectors("refused_values")
def test_refused_values(vector: Vector) -> None:
    schema = sr.read_schema(data(vector, "schema"))
    with pytest.raises(sr.ValueRefused):
        sr.check_batch(schema, data(vector))


@vectors("readable_schemas")
def test_readable_schemas(vector: Vector) -> None:
    one, other = sr.read_schema(data(vector)), sr.read_schema(data(vector, "as"))
    assert sr.fits(one, other)
    assert sr.fits(other, one)


@vectors("malformed_schemas")
def test_malformed_schemas(vector: Vector) -> None:
    with pytest.raises(sr.SchemaError):
        sr.read_schema(data(vector))


@vectors("schema_pairs")
def test_schema_pairs(vector: Vector) -> None:
    sender, receiver = sr.read_schema(data(vector, "sender")), sr.read_schema(data(vector, "receiver"))
    assert sr.fits(sender, receiver) is vector["fits"]


def fit_bytes(sender: bytes, receiver: bytes) -> bool:
    try:
        return sr.fits(sr.read_schema(sender), sr.read_schema(receiver))
    except sr.SchemaError:
        return False


@vectors("imports")
def test_imports(vector: Vector) -> None:
    exporter = cast("Vector", vector["exporter"])
    _, (channel, name, receives, _window, _count, schema) = sr.read_frame(data(vector))
    assert isinstance(schema, bytes)
    own = data(exporter, "schema")
    pair = (own, schema) if exporter["sends"] else (schema, own)
    if name != "x":
        answer = [sf.REJECT, channel, 7]
    elif receives != exporter["sends"]:
        answer = [sf.REJECT, channel, 8]
    else:
        answer = [sf.ACCEPT, channel] if fit_bytes(*pair) else [sf.REJECT, channel, 9]
    assert answer == vector["answer"]


@vectors("accepts")
def test_accepts(vector: Vector) -> None:
    importer = cast("Vector", vector["importer"])
    own, other = data(importer, "schema"), data(vector, "schema")
    pair = (other, own) if importer["receives"] else (own, other)
    assert (None if fit_bytes(*pair) else 4) == vector["code"]
