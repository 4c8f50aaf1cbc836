"""Frozen snapshots of what an exporter or importer has carried."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["ChannelStatistics", "Direction", "ExporterStatistics", "ImporterStatistics"]


class Direction(enum.Enum):
    """Which way the values of a channel go, seen from this process."""

    SEND = "send"
    """Values leave this process."""
    RECEIVE = "receive"
    """Values arrive in this process."""

    @property
    def opposite(self) -> Direction:
        return Direction.RECEIVE if self is Direction.SEND else Direction.SEND


@attrs.frozen(kw_only=True)
class ChannelStatistics:
    """One channel. All counts are of values since it was bound, but `waiting`, `unacknowledged` and `peers`: now."""

    direction: Direction
    value_type: str
    """The value type's structure, as text."""
    peers: int
    """How many peers are bound to it."""
    sent: int = 0
    """Handed to a peer; a redelivery is not counted again."""
    received: int = 0
    """Delivered into the local end."""
    acknowledged: int = 0
    unacknowledged: int = 0
    waiting: int = 0
    """In the local end, in a blocked `send`, or returned by a peer; not sent yet."""
    redelivered: int = 0
    """Dealt again after a peer had held them."""
    dropped: int = 0
    dead_letters: int = 0
    """Came back too often, and went to the export's dead letters; of these, `dropped` are those that nobody took."""
    bytes_sent: int = 0
    bytes_received: int = 0


@attrs.frozen(kw_only=True)
class ExporterStatistics:
    """An exporter: its channels by name, and what is said of all of them."""

    channels: Mapping[str, ChannelStatistics]
    connections: int
    """Open now."""
    suspended: int
    """Sessions whose connection broke, and which wait for another."""
    resumed: int
    """How many times a session was resumed."""
    dropped: int
    """Values, in all."""
    limits: Mapping[str, int]
    """How many times importers have reached each limit, by the name of the field in `Limits`; 0 is left out."""
    principals: Mapping[str, int]
    """How many connections are open now of each principal, where importers are authenticated."""
    refused: int
    """Connections whose importer was not authenticated."""
    denied: int
    """Imports that were not authorized."""


@attrs.frozen(kw_only=True)
class ImporterStatistics:
    """An importer: its channels by name."""

    channels: Mapping[str, ChannelStatistics]
    resumed: int
    """How many times its session was resumed."""
