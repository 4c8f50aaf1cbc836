"""When to ask a silent peer for a sign of life, and when to give it up. No clock: times are the caller's, in seconds.

Any byte of the peer is a sign of life; so is that it takes bytes which had to wait for it: on a slow link, a question
waits behind what the peer still reads. A deadline that passed while this process was stalled or stopped proves nothing:
what was awaited may wait in the socket. So a verdict is put off a little, counted from now, for the reader and the
writer to look.

Deadlines are compared, never differences of times: `now` may be the very deadline that was waited for, and the
difference of two times need not be what was added to the first.
"""

from __future__ import annotations

import enum
import math

import attrs

from .._limits import Limits

__all__ = ["DOUBT", "Keepalive", "Look"]

DOUBT = 1.0  # seconds that a verdict is put off


class Look(enum.Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    TICK = "tick"
    """A regular look at other things."""
    ASK = "ask"
    """The peer is to be asked for a sign of life."""
    GIVE_UP = "give up"
    """The peer is dead: `Keepalive.reason`."""


@attrs.define
class _Doubt:
    """A verdict that is put off."""

    until: float
    expected: str
    sign: float  # the last one
    reading: bool  # whether the sign that is missed is that the peer reads


class Keepalive:
    """Watches over one peer. Sleep until `deadline`, then `look`; a sign of life moves the deadline on."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.heard = now
        """When bytes of the peer last came."""
        self.progressed = -math.inf
        """When the peer last took bytes that had to wait for it."""
        self.writing_since = math.inf
        """Since when something waits to be written."""
        self.greeted_by = now + limits.handshake_timeout
        """When the peer must have said hello."""
        self.reason = ""
        self._interval = limits.keepalive
        self._timeout = limits.keepalive_timeout
        self._tick = now + self._interval
        self._asked = -math.inf  # the last sign of life before the peer was asked for another
        self._doubt: _Doubt | None = None

    @property
    def _last_sign(self) -> float:
        return max(self.heard, self.progressed)

    @property
    def _reads_since(self) -> float:
        """Since when the peer has taken nothing of what waits for it."""
        return max(self.writing_since, self.progressed)

    @property
    def _silent_until(self) -> float:
        patience = self._timeout if self._asked == self._last_sign else self._interval
        return self._last_sign + patience

    @property
    def deadline(self) -> float:
        """When to look next."""
        return self._doubt.until if self._doubt is not None else min(self._tick, self._silent_until)

    def look(self, now: float) -> Look:
        """What is to be done at this time."""
        if self._doubt is not None:
            return self._settle(self._doubt, now)
        if now >= self._tick:
            self._tick = now + self._interval
            if now >= self._reads_since + self._timeout:
                self._begin_doubt(now, "a peer that reads", self._reads_since, reading=True)
            return Look.TICK
        if now >= self._silent_until:
            if self._asked != self._last_sign:
                self._asked = self._last_sign
                return Look.ASK
            self._begin_doubt(now, "a sign of life", self._last_sign, reading=False)
        return Look.NOTHING

    def _begin_doubt(self, now: float, expected: str, sign: float, *, reading: bool) -> None:
        self._doubt = _Doubt(now + min(DOUBT, self._interval), expected, sign, reading)

    def _settle(self, doubt: _Doubt, now: float) -> Look:
        if now < doubt.until:
            return Look.NOTHING
        self._doubt = None
        if doubt.sign != (self._reads_since if doubt.reading else self._last_sign):
            return Look.NOTHING
        self.reason = f"expected {doubt.expected}, got none for {now - doubt.sign:g} s"
        return Look.GIVE_UP
