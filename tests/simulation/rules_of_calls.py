"""Drain and sync wait for what they promise, leaving too, and statistics say what is so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .account import NEVER, Account, Channel
from .history import Event, What

__all__ = ["CALLS"]

Findings = Iterator[tuple[int, str]]


def _covered(account: Account, event: Event) -> Iterator[Channel]:
    """The channels that a drain or sync is of."""
    by_exporter = event.who.startswith("exporter")
    for channel in account.channels.values():
        if channel.down is by_exporter and event.channel in (channel.name, ""):
            yield channel


def _is_of(channel: Channel, value: int, who: str) -> bool:
    return channel.down or channel.senders[value] == who


def drained_early(account: Account) -> Findings:
    """A drain returns when all that was sent into the channel, or was about to, is acknowledged."""
    begun: dict[int, int] = {}
    for at, event in enumerate(account.events):
        if event.what is What.DRAINS:
            begun[event.value] = at
        elif event.what is What.DRAINED and account.going.get(event.who, NEVER) > at:  # else they are ending
            for channel in _covered(account, event):
                undone = [
                    value
                    for value, sends in channel.sends.items()
                    if sends < begun[event.value]
                    and _is_of(channel, value, event.who)
                    and not channel.not_sent.get(value, NEVER) < NEVER
                    and channel.sent.get(value, NEVER) < NEVER
                    and not channel.done(value, at)
                ]
                if len(undone) > channel.buffered(at) + channel.dropped(at):
                    yield at, f"{channel.name}: the drain of {event.who} is over, and nobody has {undone} yet"


def synced_early(account: Account) -> Findings:
    """A sync returns when what peers had been handed is acknowledged."""
    begun: dict[int, Event] = {}
    for at, event in enumerate(account.events):
        if event.what is What.SYNCS:
            begun[event.value] = event
        elif event.what is What.SYNCED:
            sent = begun[event.value].more["sent"]
            for channel in _covered(account, event):
                done = sum(channel.done(value, at) for value in channel.sends if _is_of(channel, value, event.who))
                slack = channel.buffered(at) + channel.dropped(at)
                if done + slack < sent.get(channel.name, 0):
                    handed = f"of {sent[channel.name]} values that peers had been handed they have {done}"
                    yield at, f"{channel.name}: the sync of {event.who} is over, and {handed}"


def left_early(account: Account) -> Findings:
    """An importer that leaves normally waits until what it sent is acknowledged."""
    for at, event in account.of(What.LEFT):
        for channel in account.channels.values():
            if channel.down or min(channel.hung_up, channel.ended) < at:
                continue
            undone = [
                value
                for value, sent in channel.sent.items()
                if channel.senders[value] == event.who and sent < at and not channel.done(value, at)
            ]
            if len(undone) > channel.buffer + channel.dropped(at):
                yield at, f"{channel.name}: {event.who} has left, and the exporter does not have {undone} yet"


def acknowledged_early(account: Account) -> Findings:
    """What counts as acknowledged is with a program, or in its buffer."""
    for at, event in account.of(What.COUNTED):
        channel = account.channels[event.channel]
        if channel.down != event.who.startswith("exporter"):
            continue
        done = sum(channel.done(value, at) for value in channel.sends if _is_of(channel, value, event.who))
        if event.more["acknowledged"] > done + channel.buffered(at):
            yield at, f"{channel.name}: {event.who} counts {event.more['acknowledged']} as acknowledged, {done} are"


def miscounted(account: Account) -> Findings:
    """The counts fit one another, and what happened."""
    for at, event in account.of(What.COUNTED):
        channel, more = account.channels[event.channel], event.more
        sends = channel.down == event.who.startswith("exporter")
        if sends and more["acknowledged"] + more["unacknowledged"] > more["sent"]:
            yield at, f"{channel.name}: {event.who} counts more values with peers than were sent: {more}"
        if not channel.down and not sends and event.who == "exporter0":
            had = sum(receipt.at < at for receipts in channel.receipts.values() for receipt in receipts)
            if not had <= more["received"] <= had + channel.buffer + 1:
                yield at, f"{channel.name}: {event.who} counts {more['received']} received values, {had} came"
        if _is_last(account, at, event) and channel.down:
            accepted = sum(sent < at for sent in channel.sent.values())
            told = sum(more[name] for name in ("acknowledged", "unacknowledged", "waiting", "dropped", "dead_letters"))
            if told != accepted:
                yield at, f"{channel.name}: {accepted} values were accepted, the counts say {told}: {more}"


def _is_last(account: Account, at: int, event: Event) -> bool:
    """Whether nothing is under way any more, and there was but one exporter."""
    return (
        event.who == "exporter0"
        and account.stops == NEVER
        and account.going.get(event.who, NEVER) == _leaves(account, at)
    )


def _leaves(account: Account, at: int) -> int:
    """Where the exporter leaves, if only counts come between."""
    while at < len(account.events) and account.events[at].what is What.COUNTED:
        at += 1
    return at


CALLS: dict[str, Callable[[Account], Findings]] = {
    "drained early": drained_early,
    "synced early": synced_early,
    "left early": left_early,
    "acknowledged early": acknowledged_early,
    "miscounted": miscounted,
}
