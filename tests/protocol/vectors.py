"""The test vectors of the wire specification, `docs/vectors.json`, and types of this project that vectors describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NotRequired, Union

import attrs
import pytest
from typing_extensions import TypedDict

from trionetchan._codec import Schema
from trionetchan._codec.schema import SCALARS, Kind, Node

__all__ = ["DOCS", "VECTORS", "Vector", "content", "type_of", "vectors"]

DOCS = Path(__file__).parents[2] / "docs"
Vector = dict[str, Any]
VECTORS: dict[str, Any] = json.loads((DOCS / "vectors.json").read_text("utf-8"))
_SCALAR_TYPES = {kind: python for python, kind in SCALARS.items()}


def vectors(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in VECTORS[group]])


def content(vector: Vector, name: str = "hex") -> bytes:
    return bytes.fromhex(vector[name])


def type_of(schema: Schema, index: int = 0, *, hashed: bool = False) -> Any:
    """A Python type that a schema describes; of a recursive one there is none here."""
    node = schema.nodes[index]
    if node.kind in _SCALAR_TYPES:
        return _SCALAR_TYPES[node.kind]
    if node.kind is Kind.RECORD:
        return _record_of(schema, node, hashed=hashed)
    parts = [type_of(schema, item, hashed=hashed) for item in node.items if node.kind not in (Kind.SET, Kind.MAP)]
    match node.kind:
        case Kind.LITERAL:
            return Literal[node.values]  # pyright: ignore[reportInvalidTypeForm]
        case Kind.UNION:
            return Union[tuple(parts)]  # noqa: UP007
        case Kind.LIST:
            return tuple[parts[0], ...] if hashed else list[parts[0]]  # type: ignore[valid-type]
        case Kind.TUPLE:
            return tuple[tuple(parts)]  # type: ignore[misc] # pyright: ignore[reportInvalidTypeForm]
        case Kind.SET:
            element = type_of(schema, node.items[0], hashed=True)
            return frozenset[element] if hashed else set[element]  # type: ignore[valid-type]
        case Kind.MAP:
            return dict[type_of(schema, node.items[0], hashed=True), type_of(schema, node.items[1])]  # type: ignore[misc]
        case _:
            return Any


def _record_of(schema: Schema, node: Node, *, hashed: bool) -> Any:
    parts = {field.name: type_of(schema, field.node, hashed=hashed) for field in node.fields}
    if any(field.may_be_absent for field in node.fields):
        absent = {field.name for field in node.fields if field.may_be_absent}
        hints = {name: NotRequired[part] if name in absent else part for name, part in parts.items()}
        return TypedDict(node.name, hints)  # type: ignore[operator] # pyright: ignore[reportArgumentType]
    fields = {
        field.name: attrs.field(
            type=parts[field.name], default=0 if field.may_be_missing else attrs.NOTHING, alias=field.name
        )
        for field in node.fields
    }
    return attrs.make_class(node.name, fields, frozen=True)
