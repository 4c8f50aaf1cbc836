"""What a wire test is: a numbered thing that a hostile peer does, and what must come of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import attrs
import trio
from raw_peer import Step

from trionetchan import Authenticate, Authorize, Limits

__all__ = [
    "Answer",
    "Case",
    "Outcome",
    "broken",
    "cut_off",
    "fits",
    "ignored",
    "late",
    "reached",
    "refused",
    "suspended",
]


Kind = Literal["GOODBYE", "REJECT", "CLOSE"]


class Outcome(enum.Enum):
    """What must come of it."""

    E = "error"
    """One error to the peer, and its connection or session ends."""
    R = "refused"
    """The request, or the channel, is refused; the connection stays."""
    T = "too late"
    """The connection is closed at a deadline."""
    S = "suspended"
    """The connection has broken; the session waits for another, if it can be resumed."""
    I = "ignored"  # noqa: E741
    """Nothing comes of it: the connection goes on."""


@attrs.frozen
class Answer:
    """What the peer hears: a frame with this code and message, in which `…` stands for anything."""

    kind: Kind
    code: str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.code}) {self.message}".strip()


@attrs.frozen(kw_only=True)
class Case:
    """One wire test."""

    number: str
    """As in the list of faults, and a letter."""
    does: str
    """What the peer does."""
    steps: Sequence[Step]
    outcome: Outcome
    hears: Answer | None = None
    """The last word to the peer; for what is refused, a word that must be among those that it hears."""
    log: str = ""
    """The one line of the log, in which `…` stands for anything; empty if there is none."""
    lines: int = 1
    """How many lines the log has at most, where it is not one."""
    limit: str = ""
    """The counter in `statistics().limits` that goes up."""
    times: int = 1
    """By how much."""
    limits: Limits = attrs.field(factory=Limits)
    dial: Callable[[Any], Awaitable[trio.abc.Stream]] | None = None
    """How it connects, if not in the usual way."""
    hello: bool = True
    """Whether both sides have said hello when the steps begin."""
    resumable: bool = False
    """Whether that hello begins a session that can be resumed. Where the outcome is S, it is, in the end."""
    transport: Literal["tcp", "tls", "mutual tls", "unix"] = "tcp"
    acknowledged: int = 0
    """How many of the ten values of "jobs" are the peer's for good."""
    leaves: bool = False
    """Whether the peer says goodbye by itself."""
    then_goes_back: bool = False
    """Whether its first connection is there still, and carries its session."""
    memory: int | None = None
    """How many bytes more than before this process may hold at any time."""
    authenticate: Authenticate | None = None
    """The exporter's. Then it has an `authorize`, too, which is not asked for who is not accepted."""
    authorize: Authorize | None = None
    token: str | None = None
    """What the healthy importer shows."""
    refused: int = 0
    """How many connections were not authenticated."""
    denied: int = 0
    """How many imports were not authorized."""
    waiting: str = ""
    """What has to be built for it."""


def fits(pattern: str, text: str) -> bool:
    """Whether a text is the pattern, in which `…` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text, re.DOTALL) is not None


ENDED = "the connection with … ended: "


def broken(number: str, does: str, *steps: Step, says: str, code: str = "PROTOCOL_ERROR", **more: Any) -> Case:
    """E: the peer breaks the protocol, and hears so."""
    return _case(
        {"hears": Answer("GOODBYE", code, says), "log": ENDED + says},
        more,
        number=number,
        does=does,
        steps=steps,
        outcome=Outcome.E,
    )


def reached(number: str, does: str, *steps: Step, limit: str, says: str, **more: Any) -> Case:
    """E: the peer reaches a limit."""
    return broken(number, does, *steps, says=says, code="LIMIT", limit=limit, **more)


def refused(
    number: str,
    does: str,
    *steps: Step,
    code: str,
    says: str,
    kind: Kind = "REJECT",
    **more: Any,
) -> Case:
    """R: a request is refused, or a channel closed."""
    return _case({"hears": Answer(kind, code, says)}, more, number=number, does=does, steps=steps, outcome=Outcome.R)


def ignored(number: str, does: str, *steps: Step, **more: Any) -> Case:
    """I: the connection goes on."""
    return _case({}, more, number=number, does=does, steps=steps, outcome=Outcome.I)


def cut_off(number: str, does: str, *steps: Step, says: str, **more: Any) -> Case:
    """E, before there is a way to tell the peer."""
    return _case({"log": ENDED + says}, more, number=number, does=does, steps=steps, outcome=Outcome.E)


def late(number: str, does: str, *steps: Step, says: str, **more: Any) -> Case:
    """T: the connection is closed at a deadline."""
    return _case({"log": ENDED + says}, more, number=number, does=does, steps=steps, outcome=Outcome.T)


def suspended(number: str, does: str, *steps: Step, says: str, **more: Any) -> Case:
    """S: the connection has broken; the session is resumed, if it can be."""
    kept = more.get("resumable", True)
    log = f"the connection with … broke, its session waits 30 s for another: {says}" if kept else ENDED + says
    return _case({"log": log, "resumable": True}, more, number=number, does=does, steps=steps, outcome=Outcome.S)


def _case(usual: dict[str, Any], more: dict[str, Any], **rest: Any) -> Case:
    return Case(**{**usual, **more, **rest})
