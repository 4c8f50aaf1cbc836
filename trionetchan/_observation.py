"""What an exporter tells of itself to those who may observe it: the values of the channel `$statistics`."""

from __future__ import annotations

import attrs

__all__ = [
    "RESERVED",
    "STATISTICS",
    "Observation",
    "ObservedChannel",
    "ObservedImporter",
    "TypeField",
    "TypeNode",
]

RESERVED = "$"
"""Names of channels that begin with it are this library's own."""
STATISTICS = "$statistics"


@attrs.frozen(kw_only=True)
class TypeField:
    """One field of a record."""

    name: str
    type: int
    """The place of its type in the table."""
    may_be_missing: bool
    """Whether a value that is sent into the channel may lack it."""


@attrs.frozen(kw_only=True)
class TypeNode:
    """One node of a value type. Which attributes are used depends on `kind`.

    A type is a table of nodes that refer to each other by their places in it; 0 is the type itself.
    """

    kind: str
    """any, null, bool, int, float, text, bytes, datetime, date, time, duration, decimal, uuid, literal, list, tuple,
    set, map, record or union."""
    items: list[int] = attrs.field(factory=list[int])
    """The types of elements, of key and value, or of a union's members."""
    values: list[bool | int | float | str | bytes | None] = attrs.field(
        factory=list[bool | int | float | str | bytes | None]
    )
    """Of a literal."""
    name: str = ""
    """Of a record."""
    fields: list[TypeField] = attrs.field(factory=list[TypeField])
    ignores_others: bool = False
    """Whether a record ignores fields that it does not know."""


@attrs.frozen(kw_only=True)
class ObservedImporter:
    """An importer that is bound to a channel. Counts are of values since it was bound."""

    peer: int
    """The number by which `Exporter.peers()` knows it."""
    address: str
    suspended: bool
    """Its connection broke, and may come back."""
    window: int
    """How many values may be unacknowledged; where this side receives: what the exporter allows."""
    carried: int
    """Sent to it, or arrived from it."""
    unacknowledged: int
    """Of these, not acknowledged by it; or, where this side receives, not delivered here yet."""


@attrs.frozen(kw_only=True)
class ObservedChannel:
    """One exported channel. Counts are as in `ChannelStatistics`."""

    name: str
    direction: str
    """"send" or "receive", seen from the exporter."""
    value_type: str
    """As a short text."""
    type: int | None
    """The place of its type in `Observation.types`; None if it was left out, since there are too many."""
    window: int
    """The exporter's; the importer's may be smaller."""
    sent: int
    received: int
    acknowledged: int
    unacknowledged: int
    waiting: int
    redelivered: int
    dropped: int
    dead_letters: int
    bytes_sent: int
    bytes_received: int
    importers: list[ObservedImporter]


@attrs.frozen(kw_only=True)
class Observation:
    """An exporter in one moment."""

    version: str
    """Of this library, there."""
    process: int
    """The id of the exporter's process."""
    seconds: float
    """Since the exporter was opened, by its clock: for rates."""
    connections: int
    """Open now; who observes has one, too."""
    suspended: int
    resumed: int
    dropped: int
    """Values, in all."""
    limits: dict[str, int]
    """How many times importers have reached each limit."""
    channels: list[ObservedChannel]
    """In order of name. The channel of observations itself is none of them."""
    types: list[list[TypeNode]]
    """Each type once, however many channels have it."""
