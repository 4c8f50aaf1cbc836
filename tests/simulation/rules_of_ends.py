"""An end means that all has arrived; and nothing ends or breaks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .account import NEVER, Account, Channel, Import
from .history import Event, What

__all__ = ["ENDS"]

Findings = Iterator[tuple[int, str]]


def after_the_end(account: Account) -> Findings:
    """Nothing comes after the end."""
    over: set[str] = set()
    for at, event in enumerate(account.events):
        if event.what is What.END:
            over.add(event.end)
        elif event.what is What.RECEIVED and event.end in over:
            yield at, f"{event.channel}: {event.value} came to {event.end} after its end"


def false_end_of_import(account: Account) -> Findings:
    """An importer sees the end when the senders are done, and nobody can bring anything back."""
    for channel in account.channels.values():
        for one in channel.imports.values():
            at = one.ended
            if at == NEVER or not channel.down or min(one.hung_up, channel.hung_up) < at or _counted(channel, one, at):
                continue
            open_senders = [end for end in channel.open_senders if not _is_closed(account, channel, end, at)]
            if open_senders:
                yield at, f"{channel.name}: {one.end} saw the end, and {open_senders} have not closed"
            undone = [value for value, sent in channel.sent.items() if sent < at and not channel.done(value, at)]
            if len(undone) > channel.buffered(at, one.end) + channel.dropped(at):
                yield at, f"{channel.name}: {one.end} saw the end, and nobody has {undone} yet"


def _counted(channel: Channel, one: Import, at: int) -> bool:
    """Whether it has had its count."""
    if one.count is None:
        return False
    return channel.had(one, at) >= one.count


def _is_closed(account: Account, channel: Channel, sender: str, at: int) -> bool:
    broken = any(
        when < at and account.events[when].end == sender and account.events[when].more.get("why") != "cancelled"
        for when in channel.not_sent.values()
    )
    return broken or channel.closed_senders.get(sender, NEVER) < at


def false_end_of_export(account: Account) -> Findings:
    """The exporter's program sees the end when enough importers have finished, and none is missing."""
    for channel in account.channels.values():
        at = channel.ended
        if channel.down or at == NEVER or channel.hung_up < at:
            continue
        bound = [one for one in channel.imports.values() if one.asked < at and one.not_bound > at]
        finished = [one for one in bound if _has_finished(channel, one, at)]
        if channel.importers is None:
            yield at, f"{channel.name}: the end came, and nobody has hung up"
        elif len(finished) < channel.importers:
            yield at, f"{channel.name}: the end came, and only {len(finished)} of {channel.importers} have finished"
        for one in bound:
            if (
                one not in finished
                and one.bound < at
                and account.gone(one) > at
                and not account.fault_before(one.who, at)
            ):
                yield at, f"{channel.name}: the end came, and {one.end} still sends"
        orphans = [one for one in bound if one.bound < at and one not in finished]
        if _without_heir(account, orphans, bound):
            yield at, f"{channel.name}: the end came, and nobody took the place of {[one.end for one in orphans]}"
        for one in finished:
            if one.hung_up > at and one.count is None and one.who not in account.failed | account.killed:
                missing = [
                    value for value, sent in channel.sent.items()
                    if sent < at and account.events[sent].end == one.end and not channel.done(value, at)
                ]  # fmt: skip
                if missing:
                    yield at, f"{channel.name}: the end came before {missing} of {one.end}"


def _has_finished(channel: Channel, one: Import, at: int) -> bool:
    return min(one.closed, one.hung_up) < at or one.count is not None


def _without_heir(account: Account, orphans: list[Import], bound: list[Import]) -> bool:
    """Whether there are fewer imports after the crashes than places that crashes have left."""
    heirs = sorted(min(one.bound, NEVER - 1) for one in bound)
    for orphan in sorted(orphans, key=account.gone):
        since = min([account.gone(orphan), *account.faults.get(orphan.who, [])])
        later = [when for when in heirs if when > since]
        if not later:
            return True
        heirs.remove(later[0])
    return False


def broken_needlessly(account: Account) -> Findings:
    """No call fails for nothing."""
    for at, event in enumerate(account.events):
        if event.channel not in account.channels:
            continue
        channel = account.channels[event.channel]
        if event.what is What.NOT_SENT and event.more["why"] not in ("cancelled", "ended"):
            if not _may_break(account, channel, event, at):
                yield at, f"{channel.name}: sending {event.value} into {event.end} failed, and nobody has gone"
        elif event.what is What.BROKE:
            one = channel.imports.get(event.end)
            if one is None or min(one.closed, account.going.get(one.who, NEVER)) > at:
                yield at, f"{channel.name}: {event.end} broke, and nobody has gone"
        elif event.what is What.NOT_BOUND and not _may_refuse(account, channel, event, at):
            yield at, f"{channel.name}: {event.end} was refused ({event.more['why']})"
        elif event.what is What.NOT_SETTLED:
            one = channel.imports[event.end]
            if min(account.gone(one), channel.hung_up, account.stops) > at and not account.fault_before(one.who, at):
                yield at, f"{channel.name}: {event.value} could not be settled, and nobody has gone"


def _may_break(account: Account, channel: Channel, event: Event, at: int) -> bool:
    if min(channel.hung_up, channel.ended, account.stops) < at:
        return True
    one = channel.imports.get(event.end)
    if one is None:
        return any(when < at for who, when in account.going.items() if who.startswith("exporter"))
    return one.count is not None or one.hung_up < at or account.going.get(one.who, NEVER) < at


def _may_refuse(account: Account, channel: Channel, event: Event, at: int) -> bool:
    why = event.more["why"]
    if why in ("cancelled", "ended", "closed"):
        return True
    if why == "NoSuchChannelError":
        return min(channel.hung_up, channel.ended, account.stops) < at or _finished(channel, at)
    return why in ("ConnectionLostError", "SessionLostError") and (
        account.fault_before(event.who, at) or account.stops < at
    )


def _finished(channel: Channel, at: int) -> bool:
    """Whether importers may have finished an exported receive channel, although its program has not seen the end."""
    if channel.down or channel.importers is None:
        return False
    return sum(_has_finished(channel, one, at) for one in channel.imports.values()) >= channel.importers


def failed_needlessly(account: Account) -> Findings:
    """Exporters never fail; importers only where their connection is lost, or their exporter leaves."""
    for who, at in account.failed.items():
        event = account.events[at]
        error = event.more["error"]
        if who.startswith("exporter") or error not in ("ConnectionLostError", "SessionLostError"):
            yield at, f"{who}: its block raised {error}: {event.more['text']}"
        elif not account.fault_before(who, at) and not _exporter_left(account, at):
            yield at, f"{who}: its block raised {error}, and its connection had no fault: {event.more['text']}"
    for at, event in account.of(What.REPORTED):
        if event.who == "log" and "too often" not in event.more["error"]:
            yield at, f"the log has an error: {event.more['error']}"


def _exporter_left(account: Account, at: int) -> bool:
    return account.stops < at or any(when < at for who, when in account.going.items() if who.startswith("exporter"))


def hung(account: Account) -> Findings:
    """Everything comes to an end."""
    for at, event in account.of(What.HUNG):
        yield at, f"these never came back: {event.more['busy']}"


ENDS: dict[str, Callable[[Account], Findings]] = {
    "after the end": after_the_end,
    "false end of an import": false_end_of_import,
    "false end of an export": false_end_of_export,
    "broken needlessly": broken_needlessly,
    "failed needlessly": failed_needlessly,
    "hung": hung,
}
