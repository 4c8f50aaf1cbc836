"""What a peer may make this side hold or wait for. Every field has a unit, a default and a check."""

from __future__ import annotations

import math
from typing import Any

import attrs

__all__ = ["MAX_NAME_SIZE", "MAX_SCHEMA_SIZE", "MAX_TOKEN_SIZE", "Limits"]

MAX_NAME_SIZE = 255
"""The longest name of a channel, in bytes of UTF-8."""

MAX_SCHEMA_SIZE = 32 * 2**10
"""The largest description of a value type, in bytes. Like the others it is part of the protocol, so no choice."""

MAX_TOKEN_SIZE = 1024
"""The longest token that an importer may show, in bytes of UTF-8."""


def _whole(low: int, high: int = 2**62) -> Any:
    def check(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{attribute.name}: expected a whole number from {low} to {high}, got {value!r}")

    return check


def _seconds_or_none(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name}: expected a number of seconds, 0 for none, got {value!r}")


def _seconds(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value <= 0:
        raise ValueError(f"{attribute.name}: expected a number of seconds above 0, got {value!r}")


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of one exporter or importer. `ValueError` on nonsense.

    Sizes are in bytes of encoded values, times in seconds (`math.inf` switches one off).
    """

    max_value_size: int = attrs.field(default=64 * 2**20, validator=_whole(1))
    """The largest value, in bytes, that this side sends or accepts. The peer is told."""

    value_timeout: float = attrs.field(default=600.0, validator=_seconds)
    """How long, in seconds, one value may be on its way, from its first piece to its last."""

    max_frame_size: int = attrs.field(default=128 * 2**10, validator=_whole(64 * 2**10, 2**30))
    """The largest frame, in bytes, that this side accepts. The peer is told; larger values are cut."""

    frame_timeout: float = attrs.field(default=30.0, validator=_seconds)
    """How long, in seconds, one frame may be on its way, from its first byte to its last."""

    max_buffered_bytes: int = attrs.field(default=4 * 2**20, validator=_whole(1))
    """How many bytes of one channel's values may have arrived and not be delivered yet; one value may exceed it."""

    max_connection_bytes: int = attrs.field(default=16 * 2**20, validator=_whole(1))
    """How many such bytes one importer may have in all of its channels. An exporter allots them to the channels: each
    gets a quarter of what is left, `max_buffered_bytes` at most and 4 KiB at least. One value may exceed it."""

    max_total_bytes: int = attrs.field(default=512 * 2**20, validator=_whole(1))
    """How many such bytes an exporter may have of all its importers; of one that has more, the importer with most of
    them goes. Of importers that are lost, so many may wait in each channel; what is more is dropped, and counted."""

    max_answer_bytes: int = attrs.field(default=4 * 2**20, validator=_whole(64 * 2**10))
    """How many bytes of answers may wait for a peer that asks and does not read."""

    max_window: int = attrs.field(default=2**16, validator=_whole(1, 2**31))
    """The largest window, in values, that is granted or used; a larger one is cut to it."""

    max_channels: int = attrs.field(default=4096, validator=_whole(1, 2**31))
    """How many channels one connection may have bound at a time."""

    max_imports_per_name: int = attrs.field(default=16, validator=_whole(1, 2**31))
    """How many channels of the same name one connection may have bound at a time."""

    max_refusals: int = attrs.field(default=10, validator=_whole(0, 2**31))
    """How many imports and values of one connection may be refused; one more each second is forgiven. At the next one
    it ends."""

    max_useless_frames: int = attrs.field(default=5000, validator=_whole(1, 2**31))
    """How many frames within ten seconds may bring nothing: pings, late and repeated ones, small pieces of values,
    imports that are closed unused. To compare a large type for the first time counts as several."""

    max_connections: int = attrs.field(default=4096, validator=_whole(1, 2**31))
    """How many connections an exporter has at a time. At one more the oldest goes that has not said hello yet; if there
    is none, the new one is refused."""

    max_connections_per_address: int = attrs.field(default=1024, validator=_whole(1, 2**31))
    """The same, of those that come from one IP address."""

    max_suspended: int = attrs.field(default=4096, validator=_whole(0, 2**31))
    """How many sessions may wait at a time to be resumed; at one more, the oldest of them ends."""

    max_suspended_per_address: int = attrs.field(default=1024, validator=_whole(0, 2**31))
    """The same, of those that came from one IP address."""

    max_log_lines: int = attrs.field(default=10, validator=_whole(1, 2**31))
    """How many lines a second are logged of what peers do. The rest is counted, and told in one line."""

    max_unread_errors: int = attrs.field(default=10, validator=_whole(0, 2**31))
    """How many exceptions may wait on `importer.errors` before the importer shuts down."""

    max_redeliveries: int = attrs.field(default=5, validator=_whole(0, 2**31))
    """How many times a value that importers refuse is dealt again before it is dropped."""

    handshake_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """How long, in seconds, a new connection may take until the peer's hello (and a TLS handshake) is complete."""

    keepalive: float = attrs.field(default=15.0, validator=_seconds)
    """After how many seconds of silence the peer is asked for a sign of life."""

    keepalive_timeout: float = attrs.field(default=30.0, validator=_seconds)
    """After how many seconds without a sign of life, or without taking what is written, the peer counts as dead."""

    resume_timeout: float = attrs.field(default=30.0, validator=_seconds_or_none)
    """For how long, in seconds, a session waits for a broken connection to come back; 0: it ends with its connection.

    Of the two sides' the smaller counts. For so long values wait that a killed importer had not acknowledged.
    """

    restart_timeout: float = attrs.field(default=0.0, validator=_seconds_or_none)
    """For how long, in seconds, an importer waits for the next incarnation of an exporter that is restarting; 0: it
    fails. It must be able to connect again: one over a bare stream cannot."""

    goodbye_timeout: float = attrs.field(default=1.0, validator=_seconds)
    """How long, in seconds, saying goodbye on a connection may take."""
