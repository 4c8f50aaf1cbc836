"""The table of what hostile peers do, and where the bars are."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

import attrs

from . import attacks, wrapped
from .line import Target

__all__ = ["CASES", "MOST_MIB", "Case", "Needs"]

MOST_MIB = 32
DAMAGE = 3.0  # seconds after which a flood must be dropped
HANDSHAKE = 13.0  # seconds: the default of `handshake_timeout`, and a goodbye
SILENCE = 33.0  # seconds: the default of `keepalive_timeout`, and a goodbye


class Needs(enum.StrEnum):
    """What the exporter serves besides TCP, only where it is needed."""

    TLS = "TLS"
    WEBSOCKET = "WebSocket"


@attrs.frozen
class Case:
    """One way to be hostile."""

    name: str
    title: str
    attack: Callable[[Target], Awaitable[None]]
    peers: int = 1
    """How many do it at the same time."""
    dropped_within: float | None = None
    """How long, in seconds, a connection may last; None: it may stay, as it does no harm."""
    memory: int = MOST_MIB
    """How much, in MiB, the exporter may take."""
    needs: Needs | None = None


CASES = {
    case.name: case
    for case in (
        Case("pings", "a flood of PING", attacks.pings, dropped_within=DAMAGE),
        Case("repeated-ack", "one ACK, again and again", attacks.repeated_ack, dropped_within=DAMAGE),
        Case("late-data", "DATA for a closed channel", attacks.late_data, dropped_within=DAMAGE),
        Case("tiny-fragments", "values in fragments of one byte", attacks.tiny_fragments, dropped_within=DAMAGE),
        Case("compare", "half a megabyte of imports, a schema that takes long to compare", attacks.compare),
        Case("compare-new", "the same, with new schemas each time", attacks.compare_new, dropped_within=DAMAGE),
        Case("garbage", "a hello, then noise that never stops", attacks.garbage, dropped_within=DAMAGE),
        Case("noise", "noise from the start that never stops", attacks.noise, dropped_within=DAMAGE),
        Case("garbage-cycles", "connect, say noise, go", attacks.garbage_cycles, peers=8),
        Case("unread-answers", "65 KB of imports, large answers, none read", attacks.unread_answers, 1, SILENCE),
        Case("unread-goodbye", "the same, then GOODBYE", attacks.unread_goodbye, 4, dropped_within=DAMAGE),
        Case("fan-in", "100 imports of a name whose values nobody takes, all filled", attacks.fan_in),
        # By design, `max_total_bytes`: what has arrived from an importer that is lost is still delivered.
        Case("fan-in-cycles", "the same, then it goes and comes again", attacks.fan_in_cycles, memory=32 + 512),
        Case("endless-value", "fragments of a value that never ends", attacks.endless_value, 1, 15.0, 32 + 64),
        Case("churn", "imports that are withdrawn at once", attacks.churn, dropped_within=DAMAGE),
        Case("refused-imports", "imports of unknown names", attacks.refused_imports, dropped_within=DAMAGE),
        Case("refused-values", "values that do not fit", attacks.refused_values, dropped_within=DAMAGE),
        Case("cycles", "connect and go", attacks.cycles, peers=8),
        Case("silent", "2,000 silent connections", attacks.silent, 2000, dropped_within=HANDSHAKE),
        Case("slow-hello", "500 hellos, one byte a second", attacks.slow_hello, 500, dropped_within=HANDSHAKE),
        Case("slow-reader", "reads one byte a second", attacks.slow_reader),
        Case("hoard", "sessions that are begun and left behind", attacks.hoard, peers=4),
        Case("guessed-ids", "resumes sessions that it does not know", attacks.guessed_ids, 4, dropped_within=DAMAGE),
        Case("settle", "rejects each value", attacks.settle),
        Case("nonsense", "SETTLE, SEEN, POSITION … that cannot be", attacks.nonsense, 4, dropped_within=DAMAGE),
        Case("seen", "a flood of SEEN", attacks.seen, dropped_within=DAMAGE),
        Case("tls-records", "a TLS record for each byte", wrapped.tiny_records, 1, 10.0, needs=Needs.TLS),
        Case("tls-stalled", "200 stalled handshakes", wrapped.stalled_handshake, 200, HANDSHAKE, needs=Needs.TLS),
        Case("ws-pings", "pings of WebSocket", wrapped.websocket_pings, 1, DAMAGE, needs=Needs.WEBSOCKET),
        Case("ws-bytes", "a message for each byte", wrapped.websocket_bytes, 1, 10.0, needs=Needs.WEBSOCKET),
        Case("ws-head", "requests without an end", wrapped.websocket_head, 200, HANDSHAKE, needs=Needs.WEBSOCKET),
    )
}
