"""How deep, and how many, the CBOR items of one value can be, as far as its type says.

Most memory for its size takes data of many small containers: some hundred bytes of memory for two on the wire. A
channel of a type that cannot hold them does not let them be built.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .schema import Kind, Node, Schema

__all__ = ["Extent", "extent_of"]

_MAX_ITEMS = 2**16  # of a type that is taken for one of known size

# Items within a value of a scalar, and how many levels: tag 27, its array, and in there a name, an argument and a mark.
# An integer may be a bignum, which is a tag; so may be the argument of a duration.
_SCALARS = {
    Kind.INT: (1, 2),
    Kind.LITERAL: (1, 2),
    Kind.DATETIME: (2, 5),
    Kind.DATE: (1, 2),
    Kind.TIME: (2, 5),
    Kind.DURATION: (3, 5),
    Kind.DECIMAL: (2, 4),
    Kind.UUID: (1, 2),
}
_OWN_LEVELS = {Kind.SET: 2, Kind.MAP: 3, Kind.UNION: 0}  # of a map: tag 27, its array, the array of keys and values


@attrs.frozen
class Extent:
    """What the values of a type can hold; None where the type does not say."""

    depth: int | None  # items within items; that of a lone integer is 1
    items: int | None


_UNBOUNDED = Extent(None, None)


def extent_of(schema: Schema) -> Extent:
    """The bounds of one value."""
    return _extent(schema.nodes, 0, {})


def _extent(nodes: Sequence[Node], index: int, known: dict[int, Extent]) -> Extent:
    if index not in known:
        known[index] = _UNBOUNDED  # a recursive type meets itself here
        known[index] = _extent_of_node(nodes, nodes[index], known)
    return known[index]


def _extent_of_node(nodes: Sequence[Node], node: Node, known: dict[int, Extent]) -> Extent:
    if node.kind is Kind.ANY:
        return _UNBOUNDED
    parts = [_extent(nodes, item, known) for item in (*node.items, *(field.node for field in node.fields))]
    if not parts:
        return Extent(*_SCALARS.get(node.kind, (0, 1)))
    depths = [part.depth for part in parts if part.depth is not None]
    counts = [part.items for part in parts if part.items is not None]
    depth = max(depths) + _OWN_LEVELS.get(node.kind, 1) if len(depths) == len(parts) else None
    items: int | None = None
    if len(counts) == len(parts) and node.kind in (Kind.UNION, Kind.TUPLE, Kind.RECORD):
        items = max(counts) if node.kind is Kind.UNION else 1 + len(node.fields) + sum(counts)
    return Extent(depth, items if items is None or items <= _MAX_ITEMS else None)
