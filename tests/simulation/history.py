"""What happened, in the words of those who use the library: the only thing that the checker sees."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["Event", "History", "What"]


class What(enum.Enum):
    """The kinds of events. `who` is an exporter or importer, `end` one end of a channel: a sender or an import."""

    # the plan, and the network
    EXPORTED = "exported"  # a channel; more: down, buffer, importers
    FAULT = "fault"  # of an importer's connection; more: kind, and for how long it cannot connect
    HEALED = "healed"  # from here on there are no more faults, and everybody wants to come to an end

    # an exporter or importer
    OPENED = "opened"
    LEAVES = "leaves"  # its body has ended normally
    LEFT = "left"  # so has its block
    CANCELLED = "cancelled"  # its block was, from outside
    KILLS = "kills"  # somebody cancels it, or takes the network away from it for good
    FAILED = "failed"  # its block raised; more: error, unconfirmed, unsent
    NOT_CONNECTED = "not connected"
    STOPS = "stops"
    STOPPED = "stopped"
    NOT_STOPPED = "not stopped"

    # an end
    BINDS = "binds"  # more: window, count, manual, buffer
    BOUND = "bound"
    NOT_BOUND = "not bound"
    SENDS = "sends"
    SENT = "sent"
    NOT_SENT = "not sent"  # more: why
    CLOSED = "closed"  # by its program
    RECEIVED = "received"  # more: redelivered, of a delivery
    FOUND = "found"  # in an end that nobody takes from any more
    END = "end"  # `EndOfChannel`
    BROKE = "broke"  # anything else than a value or the end
    ACKED = "acked"
    REJECTED = "rejected"
    NOT_SETTLED = "not settled"

    # calls, and what is told
    HANGS_UP = "hangs up"
    DRAINS = "drains"  # `value` is the number of the call
    DRAINED = "drained"
    NOT_DRAINED = "not drained"
    SYNCS = "syncs"
    SYNCED = "synced"
    NOT_SYNCED = "not synced"
    COUNTED = "counted"  # `statistics()` of one channel; more: its counts
    REPORTED = "reported"  # on `importer.errors`
    DROPPED = "dropped"  # in the log: `value` is how many
    DEAD_LETTER = "dead letter"

    HUNG = "hung"  # the simulation came to no end; more: who was still busy


@attrs.define(kw_only=True)
class Event:
    """One event. `time` in seconds of the simulation."""

    time: float
    what: What
    who: str = ""
    channel: str = ""
    end: str = ""
    value: int = -1
    more: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def __str__(self) -> str:
        words = [f"{self.time:12.6f} ", self.who or "-", self.what.value, self.channel, self.end]
        if self.value >= 0:
            words.append(str(self.value))
        words += [f"{name}={value}" for name, value in self.more.items()]
        return " ".join(word for word in words if word)


class History:
    """Events in the order in which they happened."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def __bytes__(self) -> bytes:
        """The same for the same history, in any process."""
        return b"".join(
            json.dumps(
                [event.time, event.what.value, event.who, event.channel, event.end, event.value, event.more]
            ).encode()
            + b"\n"
            for event in self.events
        )

    def text(self, last: int | None = None) -> str:
        """For people: the last events, or all."""
        shown = self.events if last is None else self.events[-last:]
        omitted = len(self.events) - len(shown)
        lines = [f"({omitted} events before)"] if omitted else []
        return "\n".join([*lines, *map(str, shown)])
