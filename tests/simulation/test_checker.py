"""For each rule of the checker, the shortest histories that break it, and such that nearly do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from .checker import _RULES, judge  # pyright: ignore[reportPrivateUsage]
from .history import Event, History, What

DOWN, UP = "down", "up"
SENDER = f"{DOWN}/sender0"
Events = Sequence[Event]


def one(what: What, who: str = "", channel: str = "", end: str = "", value: int = -1, **more: Any) -> Event:
    return Event(time=0, what=what, who=who, channel=channel, end=end, value=value, more=more)


def exported(**more: Any) -> Events:
    """One channel down, and one up."""
    rest: Any = {"buffer": 0, "importers": 1, **more}
    return [
        one(What.EXPORTED, channel=DOWN, down=True, **rest),
        one(What.EXPORTED, channel=UP, down=False, **rest),
        one(What.OPENED, "exporter0"),
    ]


def sent(*values: int) -> Events:
    """By the exporter's program."""
    return [one(what, "exporter", DOWN, SENDER, value) for value in values for what in (What.SENDS, What.SENT)]


def sent_up(who: str, *values: int) -> Events:
    return [one(what, who, UP, f"{who}/up", value) for value in values for what in (What.SENDS, What.SENT)]


def bound(who: str, channel: str = DOWN, *, end: str = "", resumes: float = 5, **more: Any) -> Events:
    rest: Any = {"window": 4, "count": None, "manual": False, "buffer": 0, **more}
    end = end or f"{who}/{channel}"
    return [
        one(What.OPENED, who, resumes=resumes),
        one(What.BINDS, who, channel, end, **rest),
        one(What.BOUND, who, channel, end),
    ]


def got(who: str, *values: int, **more: Any) -> Events:
    return [one(What.RECEIVED, who, DOWN, f"{who}/down", value, **more) for value in values]


def got_up(*values: int) -> Events:
    return [one(What.RECEIVED, "exporter", UP, UP, value) for value in values]


def acked(who: str, *values: int) -> Events:
    return [one(What.ACKED, who, DOWN, f"{who}/down", value) for value in values]


def rejected(who: str, *values: int) -> Events:
    return [one(What.REJECTED, who, DOWN, f"{who}/down", value) for value in values]


def counted(who: str, channel: str, **counts: int) -> Event:
    names = ("sent", "received", "acknowledged", "unacknowledged", "waiting", "dropped", "dead_letters")
    more: Any = {**dict.fromkeys(names, 0), **counts}
    return one(What.COUNTED, who, channel, **more)


CLOSED = one(What.CLOSED, "exporter", DOWN, SENDER)
RESET_A = one(What.FAULT, "a", kind="reset")
A_IS_KILLED = one(What.KILLS, "a")
A_FAILS = one(What.FAILED, "a", error="ConnectionLostError", text="")
A_ENDS = one(What.END, "a", DOWN, "a/down")
UP_ENDS = one(What.END, "exporter", UP, UP)
START = exported()


def lost_session(unconfirmed: list[int], unsent: list[int]) -> Event:
    lists: Any = {"unconfirmed": {UP: unconfirmed}, "unsent": {UP: unsent}}
    return one(What.FAILED, "a", error="SessionLostError", text="", **lists)


def manual(who: str, **more: Any) -> Events:
    return bound(who, manual=True, **more)


FINE: dict[str, Events] = {
    "nothing": [],
    "values": [*START, *bound("a"), *sent(0, 1), *got("a", 0, 1), CLOSED, A_ENDS],
    "twice, the first was killed behind a fault": [
        *START, *bound("a"), *bound("b"), *sent(0), *got("a", 0), RESET_A, A_IS_KILLED, *got("b", 0),
    ],
    "twice, rejected": [*START, *manual("a"), *sent(0), *got("a", 0, redelivered=False), *rejected("a", 0),
                        *got("a", 0, redelivered=True), *acked("a", 0)],
    "twice, without a lease": [
        *START, *bound("a", resumes=0), *bound("b"), *sent(0), RESET_A, *got("b", 0), *got("a", 0), A_FAILS,
    ],
    "found after the next had it": [
        *START, *manual("a", buffer=1), *bound("b"), *sent(0), A_IS_KILLED, *got("b", 0),
        one(What.FOUND, "a", DOWN, "a/down", 0),
    ],
    "out of order, came back": [
        *START, *bound("a"), *bound("b"), *sent(0, 1), *got("b", 1), A_IS_KILLED, *got("b", 0),
    ],
    "dropped by a hang-up": [
        *START, *sent(0), one(What.HANGS_UP, "exporter0", DOWN), one(What.DROPPED, channel=DOWN, value=1, why=""),
    ],
    "dead letter": [*START, *manual("a"), *sent(0), *got("a", 0, redelivered=False), *rejected("a", 0),
                    one(What.DEAD_LETTER, "exporter", DOWN, value=0)],
    "listed": [*START, *bound("a", UP), *sent_up("a", 0, 1, 2), *got_up(0), RESET_A, lost_session([1], [2])],
    "cancelled send": [
        *START, *bound("a"), one(What.DRAINS, "exporter0", DOWN, value=1), one(What.SENDS, "exporter", DOWN, SENDER, 0),
        one(What.NOT_SENT, "exporter", DOWN, SENDER, 0, why="cancelled"),
        one(What.DRAINED, "exporter0", DOWN, value=1),
    ],
    "drained, one in a buffer": [
        *START, *bound("a", buffer=1), *sent(0), one(What.DRAINS, "exporter0", value=1),
        one(What.DRAINED, "exporter0", value=1), *got("a", 0),
    ],
    "counted": [*START, *bound("a", count=1), *sent(0, 1), *got("a", 0), A_ENDS, *bound("b"), *got("b", 1)],
    "adopted": [*START, *bound("a", UP), RESET_A, A_IS_KILLED, *bound("b", UP),
                one(What.CLOSED, "b", UP, "b/up"), UP_ENDS],
    "left": [*START, *bound("a", UP), *sent_up("a", 0), one(What.LEAVES, "a"), *got_up(0), one(What.LEFT, "a")],
    "refused": [*START, one(What.HANGS_UP, "exporter0", DOWN), one(What.BINDS, "a", DOWN, "x", window=1, count=None,
                manual=False, buffer=0), one(What.NOT_BOUND, "a", DOWN, "x", why="NoSuchChannelError")],
    "hung up by itself": [*START, *bound("a"), one(What.HANGS_UP, "a", DOWN), A_ENDS],
    "held since before a restart": [
        *START, *manual("a", window=1), *sent(0, 1), *got("a", 0, redelivered=False), one(What.STOPS, "exporter0"),
        one(What.NOT_STOPPED, "exporter0"), *got("a", 1, redelivered=False), *acked("a", 0, 1),
    ],
    "acknowledged": [*START, *bound("a"), *sent(0), *got("a", 0),
                     counted("exporter0", DOWN, sent=1, acknowledged=1)],
}  # fmt: skip

WRONG: list[tuple[str, Events]] = [
    ("invented", [*START, *bound("a"), *got("a", 7)]),
    ("duplicated", [*START, *bound("a"), *sent(0), *got("a", 0, 0)]),
    ("duplicated", [*START, *bound("a", UP), *sent_up("a", 0), *got_up(0, 0)]),
    ("duplicated", [*START, *bound("a"), *bound("b"), *sent(0), *got("a", 0), A_IS_KILLED, *got("b", 0)]),
    ("duplicated", [*START, *bound("a", window=1), *bound("b"), *sent(0, 1), *got("a", 0, 1), RESET_A, A_IS_KILLED,
                    *got("b", 0)]),
    ("duplicated", [*START, *bound("a"), *bound("b"), *sent(0), *got("a", 0), *got("b", 0)]),
    ("unmarked", [*START, *manual("a"), *sent(0), *got("a", 0, redelivered=False), *rejected("a", 0),
                  *got("a", 0, redelivered=False), *acked("a", 0)]),
    ("reordered", [*START, *bound("a"), *sent(0, 1), *got("a", 1, 0)]),
    ("reordered", [*START, *bound("a", UP), *sent_up("a", 0, 1), *got_up(1, 0)]),
    ("lost", [*START, *bound("a"), *sent(0, 1), *got("a", 1)]),
    ("lost", [*START, *manual("a"), *sent(0), *got("a", 0, redelivered=False), A_IS_KILLED]),
    ("lost", [*START, *bound("a", UP), *sent_up("a", 0, 1), RESET_A, lost_session([1], [])]),
    ("mislisted", [*START, *bound("a", UP), *sent_up("a", 0), *got_up(0), RESET_A, lost_session([], [0])]),
    ("mislisted", [*START, *bound("a", UP), *sent_up("a", 0, 1), RESET_A, lost_session([1, 0], [])]),
    ("mislisted", [*START, *bound("a", UP), RESET_A, lost_session([9], [])]),
    ("dropped needlessly", [*START, *bound("a"), *sent(0), one(What.DROPPED, channel=DOWN, value=1, why="")]),
    ("window exceeded", [*START, *manual("a", window=1), *sent(0, 1), *got("a", 0, 1, redelivered=False),
                         *acked("a", 0, 1)]),
    ("count exceeded", [*START, *bound("a", count=1), *sent(0, 1), *got("a", 0, 1)]),
    ("after the end", [*START, *bound("a"), *sent(0), one(What.HANGS_UP, "a", DOWN), A_ENDS, *got("a", 0)]),
    ("false end of an import", [*START, *bound("a"), *sent(0), *got("a", 0), A_ENDS]),
    ("false end of an import", [*START, *bound("a"), *bound("b"), *sent(0), CLOSED, A_ENDS, *got("b", 0)]),
    ("false end of an import", [*START, *bound("a"), *manual("b"), *sent(0), *got("b", 0, redelivered=False), CLOSED,
                                A_ENDS, *acked("b", 0)]),
    ("false end of an export", [*START, *bound("a", UP), RESET_A, A_IS_KILLED, UP_ENDS]),
    ("false end of an export", [*exported(importers=None), *bound("a", UP), one(What.CLOSED, "a", UP, "a/up"),
                                UP_ENDS]),
    ("false end of an export", [*START, *bound("a", UP), *bound("b", UP), one(What.CLOSED, "a", UP, "a/up"), UP_ENDS]),
    ("false end of an export", [*START, *bound("a", UP), *bound("b", UP), A_IS_KILLED,
                                one(What.CLOSED, "b", UP, "b/up"),
                                UP_ENDS]),
    ("false end of an export", [*START, *bound("a", UP), *sent_up("a", 0), one(What.CLOSED, "a", UP, "a/up"), UP_ENDS,
                                one(What.FOUND, "exporter", UP, UP, 0)]),
    ("broken needlessly", [*START, *bound("a", UP), one(What.SENDS, "a", UP, "a/up", 0),
                           one(What.NOT_SENT, "a", UP, "a/up", 0, why="BrokenResourceError")]),
    ("broken needlessly", [*START, *bound("a"), one(What.BROKE, "a", DOWN, "a/down")]),
    ("broken needlessly", [*START, *bound("a"), one(What.NOT_BOUND, "a", DOWN, "a/down", why="NoSuchChannelError")]),
    ("broken needlessly", [*START, *bound("a"), one(What.NOT_BOUND, "a", DOWN, "a/down", why="ChannelNameInUseError")]),
    ("broken needlessly", [*START, *manual("a"), *sent(0), *got("a", 0, redelivered=False),
                           one(What.NOT_SETTLED, "a", DOWN, "a/down", 0, why="BrokenResourceError"),
                           *acked("a", 0)]),
    ("failed needlessly", [*START, *bound("a"), A_FAILS]),
    ("failed needlessly", [*START, RESET_A, one(What.FAILED, "a", error="ProtocolError", text="")]),
    ("failed needlessly", [*START, one(What.FAILED, "exporter0", error="ConnectionLostError", text="")]),
    ("failed needlessly", [*START, one(What.REPORTED, "log", error="a traceback")]),
    ("hung", [*START, one(What.HUNG, busy=["a"])]),
    ("drained early", [*START, *bound("a"), *sent(0), one(What.DRAINS, "exporter0", DOWN, value=1),
                       one(What.DRAINED, "exporter0", DOWN, value=1), *got("a", 0)]),
    ("drained early", [*START, *manual("a"), *sent(0), one(What.DRAINS, "exporter0", value=1),
                       *got("a", 0, redelivered=False), one(What.DRAINED, "exporter0", value=1), *acked("a", 0)]),
    ("drained early", [*START, *bound("a", UP), *sent_up("a", 0), one(What.DRAINS, "a", UP, value=1),
                       one(What.DRAINED, "a", UP, value=1), *got_up(0)]),
    ("synced early", [*START, *bound("a"), *sent(0), one(What.SYNCS, "exporter0", DOWN, value=1, sent={DOWN: 1}),
                      one(What.SYNCED, "exporter0", DOWN, value=1), *got("a", 0)]),
    ("left early", [*START, *bound("a", UP), *sent_up("a", 0), one(What.LEAVES, "a"), one(What.LEFT, "a"),
                    *got_up(0)]),
    ("acknowledged early", [*START, *bound("a"), *sent(0), counted("exporter0", DOWN, sent=1, acknowledged=1),
                            *got("a", 0)]),
    ("acknowledged early", [*START, *bound("a", UP), *sent_up("a", 0), counted("a", UP, sent=1, acknowledged=1),
                            *got_up(0)]),
    ("miscounted", [*START, *bound("a"), *sent(0), *got("a", 0),
                    counted("exporter0", DOWN, sent=1, acknowledged=1, unacknowledged=1)]),
    ("miscounted", [*START, *bound("a", UP), *sent_up("a", 0), *got_up(0), counted("exporter0", UP, received=0)]),
    ("miscounted", [*START, *bound("a"), *sent(0, 1), *got("a", 0, 1),
                    counted("exporter0", DOWN, sent=1, acknowledged=1), one(What.LEAVES, "exporter0")]),
]  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_a_history_in_which_nothing_is_wrong(name: str) -> None:
    assert judge(History(FINE[name])) == []


@pytest.mark.parametrize(("rule", "events"), WRONG, ids=[f"{rule} {number}" for number, (rule, _) in enumerate(WRONG)])
def test_a_history_that_breaks_one_rule(rule: str, events: Events) -> None:
    assert {finding.rule for finding in judge(History(events))} == {rule}


def test_each_rule_is_broken_by_some_history() -> None:
    assert {rule for rule, _ in WRONG} == {*_RULES}
