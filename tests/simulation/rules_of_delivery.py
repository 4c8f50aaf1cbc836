"""Each value to one receiver, in order, and none lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from .account import NEVER, Account, Channel, Receipt
from .history import What

__all__ = ["DELIVERY"]

Findings = Iterator[tuple[int, str]]
SEQUENCE = 1000
"""Values of one sender are consecutive numbers from a multiple of this on."""


def invented(account: Account) -> Findings:
    """What arrives was sent before, into the same channel."""
    for channel in account.channels.values():
        for value, receipts in channel.receipts.items():
            if receipts[0].at < channel.sends.get(value, NEVER):
                yield receipts[0].at, f"{channel.name}: {value} arrived, and nobody had sent it"


def duplicated(account: Account) -> Findings:
    """A value comes twice only if who had it first could not tell that it had it."""
    for channel in account.channels.values():
        for value, receipts in channel.receipts.items():
            for first, second in pairwise(receipts):
                why = _why_not_twice(account, channel, value, first, second)
                if why and _was_in_a_buffer(account, channel, second):
                    why = _why_not_twice(account, channel, value, second, first)
                if why and account.broken_stop > second.at:
                    yield second.at, f"{channel.name}: {value} came to {first.end}, then to {second.end}, {why}"


def _was_in_a_buffer(account: Account, channel: Channel, receipt: Receipt) -> bool:
    """Whether it may have come to this end before it came to the other."""
    one = channel.imports.get(receipt.end)
    return receipt.found or (one is not None and one.buffer > 0 and account.gone(one) < receipt.at)


def _why_not_twice(account: Account, channel: Channel, value: int, first: Receipt, second: Receipt) -> str:
    if not channel.down:
        return "and an exporter gets each value once"
    holder = channel.imports.get(first.end)
    if holder is None:
        return "which nobody had bound"
    if any(end == first.end and first.at < at < second.at for at, end in channel.rejected.get(value, ())):
        return ""
    if _delivers_late(account, second):
        return ""
    if account.gone(holder) > second.at:
        return "though the first still had it"
    acked = any(end == first.end and at < second.at for at, end in channel.acked.get(value, ()))
    if (acked or not holder.manual) and not account.fault_before(holder.who, second.at):
        return "though the first could tell that it had it"
    if not holder.manual:
        later = sum(
            receipt.end == first.end and first.at < receipt.at < second.at
            for receipts in channel.receipts.values()
            for receipt in receipts
        )
        if later >= max(1, holder.window):
            return f"though the first got {later} values after it, with a window of {holder.window}"
    return ""


def _delivers_late(account: Account, receipt: Receipt) -> bool:
    """Whether it had the value before the other, and no lease that would have kept it from delivering it."""
    return account.resumes.get(receipt.who) == 0 and account.fault_before(receipt.who, receipt.at)


def unmarked(account: Account) -> Findings:
    """A delivery of a value that somebody had before says so."""
    for channel in account.channels.values():
        for value, receipts in channel.receipts.items():
            for receipt in receipts[1:]:
                if receipt.redelivered is not False or _delivers_late(account, receipt):
                    continue
                if not _was_in_a_buffer(account, channel, receipt):
                    yield receipt.at, f"{channel.name}: {value} is not said to be redelivered, and {receipts[0]} had it"


def reordered(account: Account) -> Findings:
    """Values of one sender come to one receiver in order, but those that came back from another."""
    for channel in account.channels.values():
        last: dict[tuple[str, int], int] = {}
        receipts = sorted(
            ((receipt, value) for value, found in channel.receipts.items() for receipt in found),
            key=lambda pair: pair[0].at,
        )
        for receipt, value in receipts:
            key = (receipt.end, value // SEQUENCE)
            if value > last.get(key, -1):
                if receipt.redelivered is not True:
                    last[key] = value
            elif not _came_back(account, channel, value, receipt):
                yield receipt.at, f"{channel.name}: {value} came to {receipt.end} after {last[key]}"


def _came_back(account: Account, channel: Channel, value: int, receipt: Receipt) -> bool:
    """Whether somebody else may have had it before. (If a program had, it is for another rule to judge.)"""
    if channel.receipts[value][0] is not receipt:
        return True
    if not channel.down:
        return False
    if receipt.redelivered is not None:
        return receipt.redelivered
    if any(at < receipt.at for at, _ in channel.rejected.get(value, ())):
        return True
    return any(account.gone(one) < receipt.at for one in channel.imports.values() if one.end != receipt.end)


def lost(account: Account) -> Findings:
    """What was accepted has come to a program, or is accounted for."""
    if account.hung:
        return
    for channel in account.channels.values():
        missing = sorted(
            value for value in channel.sent if not channel.done(value) and not _accounted_for(account, channel, value)
        )
        if len(missing) > channel.dropped():
            yield (
                len(account.events) - 1,
                f"{channel.name}: {missing} were accepted, never came, and {channel.dropped()} are counted as dropped",
            )


def _accounted_for(account: Account, channel: Channel, value: int) -> bool:
    if channel.down:
        return False
    at = account.failed.get(channel.senders[value])
    if at is None:
        return False
    failure = account.events[at].more
    if failure["error"] != "SessionLostError":
        return True  # it can't say
    return any(value in failure[kind].get(channel.name, ()) for kind in ("unconfirmed", "unsent"))


def mislisted(account: Account) -> Findings:
    """What a lost session says of values is so."""
    for at in account.failed.values():
        event = account.events[at]
        for name, values in event.more.get("unsent", {}).items():
            channel = account.channels[name]
            for value in values:
                if value in channel.receipts:
                    yield at, f"{name}: {value} is said to be unsent, and has arrived"
        for kind in ("unconfirmed", "unsent"):
            for name, values in event.more.get(kind, {}).items():
                channel = account.channels[name]
                strange = [value for value in values if channel.senders.get(value) != event.who]
                refused = [value for value in values if channel.not_sent.get(value, NEVER) < at]
                if strange or refused or values != sorted(set(values)):
                    yield at, f"{name}: {kind} values are {values}, of which {strange + refused} were not accepted"


def dropped_needlessly(account: Account) -> Findings:
    """Values are dropped only where somebody has gone, or wants them to be."""
    for channel in account.channels.values():
        for at, count in channel.drops:
            if not _may_drop(account, channel, at):
                yield at, f"{channel.name}: {count} values are dropped, and nobody has gone"


def _may_drop(account: Account, channel: Channel, at: int) -> bool:
    if min(channel.hung_up, channel.ended, account.stops) < at or any(
        going < at for who, going in account.going.items() if who.startswith("exporter")
    ):
        return True
    if channel.down:  # they came back too often
        return any(one.manual and (account.gone(one) < at) for one in channel.imports.values()) or any(
            when < at for rejections in channel.rejected.values() for when, _ in rejections
        )
    return any(account.gone(one) < at or one.count is not None for one in channel.imports.values())


def window_exceeded(account: Account) -> Findings:
    """No more than a window of values is unsettled."""
    for channel in account.channels.values():
        held: dict[str, set[int]] = defaultdict(set)
        for at, event in enumerate(account.events):
            if event.what in (What.STOPPED, What.NOT_STOPPED):
                held.clear()  # what was not settled went back with the exporter
            if event.channel != channel.name or event.end not in channel.imports:
                continue
            one = channel.imports[event.end]
            if event.what is What.RECEIVED and one.manual:
                held[event.end].add(event.value)
                if len(held[event.end]) > max(1, one.window):
                    yield at, f"{channel.name}: {one.end} has {held[event.end]}, its window is {one.window}"
            elif event.what in (What.ACKED, What.REJECTED, What.NOT_SETTLED):
                held[event.end].discard(event.value)


def count_exceeded(account: Account) -> Findings:
    """A counted import gets its count, and not one more."""
    for channel in account.channels.values():
        for one in channel.imports.values():
            if one.count is not None:
                got = channel.had(one)
                if got > one.count:
                    yield len(account.events) - 1, f"{channel.name}: {one.end} had {got} values, of {one.count}"


DELIVERY: dict[str, Callable[[Account], Findings]] = {
    "invented": invented,
    "duplicated": duplicated,
    "unmarked": unmarked,
    "reordered": reordered,
    "lost": lost,
    "mislisted": mislisted,
    "dropped needlessly": dropped_needlessly,
    "window exceeded": window_exceeded,
    "count exceeded": count_exceeded,
}
