"""Reads a history into what the rules ask about: what became of each value of a channel, and of each import."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator

import attrs

from .history import Event, History, What

__all__ = ["Account", "Channel", "Import", "Receipt", "read"]

NEVER = 10**12
"""An index behind all events."""


@attrs.define(eq=False)
class Import:
    """One import of one importer. Places in the history are indices of events."""

    who: str
    end: str
    asked: int
    window: int = 64
    count: int | None = None
    manual: bool = False
    buffer: int = 0
    bound: int = NEVER
    not_bound: int = NEVER
    closed: int = NEVER
    """Its program closed its end."""
    ended: int = NEVER
    """Its program saw the end."""
    hung_up: int = NEVER


@attrs.frozen
class Receipt:
    """A value came to a program, or was found in its end."""

    at: int
    who: str
    end: str
    found: bool
    redelivered: bool | None
    """What the delivery says of it; None, where values are no deliveries."""


@attrs.define(eq=False)
class Channel:
    """One exported channel."""

    name: str
    down: bool
    buffer: int
    importers: int | None
    sends: dict[int, int] = attrs.field(factory=dict[int, int])
    """When the program first began to send a value."""
    sent: dict[int, int] = attrs.field(factory=dict[int, int])
    """When `send` returned: from then on it is this library's."""
    not_sent: dict[int, int] = attrs.field(factory=dict[int, int])
    """When it failed, for the last time."""
    senders: dict[int, str] = attrs.field(factory=dict[int, str])
    """Whose values they are."""
    receipts: dict[int, list[Receipt]] = attrs.field(factory=lambda: defaultdict[int, list[Receipt]](list))
    acked: dict[int, list[tuple[int, str]]] = attrs.field(factory=lambda: defaultdict[int, list[tuple[int, str]]](list))
    rejected: dict[int, list[tuple[int, str]]] = attrs.field(
        factory=lambda: defaultdict[int, list[tuple[int, str]]](list)
    )
    dead: dict[int, int] = attrs.field(factory=dict[int, int])
    imports: dict[str, Import] = attrs.field(factory=dict[str, Import])
    drops: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]])
    """When, and how many."""
    hung_up: int = NEVER
    """By the exporter."""
    ended: int = NEVER
    """The exporter's program saw the end."""
    open_senders: set[str] = attrs.field(factory=set[str])
    closed_senders: dict[str, int] = attrs.field(factory=dict[str, int])

    def had(self, one: Import, before: int = NEVER) -> int:
        """How many values an import had; where its program settles them, how many it has settled."""
        if one.manual:
            settled = [*self.acked.values(), *self.rejected.values()]
            return sum(end == one.end and at < before for settlements in settled for at, end in settlements)
        return sum(
            receipt.end == one.end and receipt.at < before
            for receipts in self.receipts.values()
            for receipt in receipts
        )

    def dropped(self, before: int = NEVER) -> int:
        return sum(count for at, count in self.drops if at < before)

    def done(self, value: int, before: int = NEVER) -> bool:
        """Whether a program has it, and nobody else is to get it; where programs settle, one has settled it."""
        if value in self.dead:  # the task that buries them may be late
            return True
        for receipt in self.receipts.get(value, ()):
            if receipt.at < before and not (receipt.end in self.imports and self.imports[receipt.end].manual):
                return True
        return any(at < before for at, _ in self.acked.get(value, ()))

    def buffered(self, before: int, but: str = "") -> int:
        """How many values may be in buffers of those who receive."""
        if not self.down:
            return self.buffer
        return sum(
            one.buffer for one in self.imports.values() if one.asked < before and one.end != but and not one.manual
        )


@attrs.define
class Account:
    """A whole history."""

    events: list[Event]
    channels: dict[str, Channel] = attrs.field(factory=dict[str, Channel])
    faults: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict[str, list[int]](list))
    going: dict[str, int] = attrs.field(factory=dict[str, int])
    """Since when an importer, or the exporter, goes: killed, cancelled, failed or leaving."""
    failed: dict[str, int] = attrs.field(factory=dict[str, int])
    killed: dict[str, int] = attrs.field(factory=dict[str, int])
    resumes: dict[str, float] = attrs.field(factory=dict[str, float])
    """For how many seconds the sessions of an importer outlive their connections."""
    stops: int = NEVER
    """The first exporter stops."""
    broken_stop: int = NEVER
    hung: bool = False

    def fault_before(self, who: str, at: int) -> bool:
        """Whether the connection of this importer had a fault."""
        return bisect.bisect_left(self.faults.get(who, []), at) > 0

    def gone(self, one: Import) -> int:
        """Since when it may have given back what it held."""
        return min(
            self.going.get(one.who, NEVER), one.not_bound, one.closed, one.ended, one.hung_up,
            self.faults[one.who][0] if one.who in self.failed and self.faults.get(one.who) else NEVER,
        )  # fmt: skip

    def of(self, what: What) -> Iterator[tuple[int, Event]]:
        for at, event in enumerate(self.events):
            if event.what is what:
                yield at, event


def read(history: History) -> Account:
    account = Account(history.events)
    for at, event in enumerate(history.events):
        _read_party(account, at, event)
        if event.what is What.EXPORTED:
            more = event.more
            account.channels[event.channel] = Channel(event.channel, more["down"], more["buffer"], more["importers"])
        elif event.channel in account.channels:
            _read_value(account.channels[event.channel], at, event)
            _read_end(account.channels[event.channel], at, event)
    return account


def _read_party(account: Account, at: int, event: Event) -> None:
    match event.what:
        case What.FAULT:
            account.faults[event.who].append(at)
        case What.KILLS | What.LEAVES | What.CANCELLED | What.FAILED | What.LEFT:
            account.going.setdefault(event.who, at)
            if event.what is What.FAILED:
                account.failed[event.who] = at
            elif event.what in (What.KILLS, What.CANCELLED):
                account.killed.setdefault(event.who, at)
        case What.OPENED:
            account.resumes[event.who] = event.more.get("resumes", 0)
        case What.STOPS:
            account.stops = min(account.stops, at)
        case What.NOT_STOPPED:
            account.broken_stop = min(account.broken_stop, at)
        case What.HUNG:
            account.hung = True
        case _:
            pass


def _read_value(channel: Channel, at: int, event: Event) -> None:
    value = event.value
    match event.what:
        case What.SENDS:
            channel.sends.setdefault(value, at)
            channel.senders[value] = event.who
            channel.not_sent.pop(value, None)
            channel.open_senders.add(event.end)
        case What.SENT:
            channel.sent[value] = at
        case What.NOT_SENT:
            channel.not_sent[value] = at
        case What.RECEIVED:
            channel.receipts[value].append(Receipt(at, event.who, event.end, False, event.more.get("redelivered")))
        case What.FOUND:
            channel.receipts[value].append(Receipt(at, event.who, event.end, True, None))
        case What.ACKED:
            channel.acked[value].append((at, event.end))
        case What.REJECTED:
            channel.rejected[value].append((at, event.end))
        case What.DEAD_LETTER:
            channel.dead[value] = at
        case What.DROPPED:
            channel.drops.append((at, value))
        case _:
            pass


def _read_end(channel: Channel, at: int, event: Event) -> None:
    one = channel.imports.get(event.end)
    match event.what:
        case What.BINDS:
            more = event.more
            channel.imports[event.end] = Import(
                event.who, event.end, at, more["window"], more["count"], more["manual"], more["buffer"]
            )
        case What.BOUND if one is not None:
            one.bound = at
        case What.NOT_BOUND if one is not None:
            one.not_bound = at
        case What.CLOSED if one is not None:
            one.closed = min(one.closed, at)
        case What.CLOSED:
            channel.closed_senders[event.end] = at
        case What.END if one is not None:
            one.ended = at
        case What.END:
            channel.ended = at
        case What.HANGS_UP if event.who.startswith("exporter"):
            channel.hung_up = min(channel.hung_up, at)
        case What.HANGS_UP:
            for held in channel.imports.values():
                if held.who == event.who:
                    held.hung_up = min(held.hung_up, at)
        case _:
            pass
