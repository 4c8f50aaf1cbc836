"""What a peer costs this side, and how much of that it may: counted by the session, judged with a clock of the caller.

*Work* is counted in units of about ten microseconds, so that a connection can let the others have their turn after so
much of it (`TURN`). *Useless* is a frame that brings nothing: a ping, a late or repeated frame, a small piece of a
value, an import that is closed unused. Each peer has some, so they only end a connection if they come faster than an
allowance is refilled; before that, the peer is read more slowly. *Refused* are imports and values that this side had to
refuse.

A frame for a channel that this side has just closed is late through no fault of the peer. So as many late frames are
`expected` as the peer was allowed to have on its way; and so are acknowledgements that an honest peer repeats.
"""

from __future__ import annotations

from .._allowance import Allowance
from .._errors import LimitReached
from .._limits import Limits

__all__ = ["LEAST_PIECE", "SMALL_FRAME", "UNITS_PER_IMPORT", "Costs", "Judge"]

TURN = 100  # units of work after which others have their turn: about a millisecond
VALUES_PER_UNIT = 8
BYTES_PER_UNIT = 16 * 2**10
UNITS_PER_COMPARISON = 16  # of each step in which comparing types is counted
UNITS_PER_IMPORT = 16  # to bind a channel, and to let it go
UNITS_PER_USELESS = 10  # so that a turn is short in which a peer brings nothing
UNUSED_SLOWING = 2  # to bind a channel and let it go costs more than a frame
FREE = 200  # useless frames at once that are read as fast as they come
PAUSE = 0.0005  # seconds for which a peer is not read after each useless frame beyond these
LONGEST_PAUSE = 0.1  # seconds
LEAST_PIECE = 2**10  # bytes: smaller pieces of a value are useless
SMALL_FRAME = 64 * 2**10  # bytes: who cuts a value cuts it into frames of at least this size
PERIOD = 10.0  # seconds in which `max_useless_frames` are forgiven


class Costs:
    """What one peer has cost since somebody last looked."""

    def __init__(self) -> None:
        self.work = 0
        self.useless = 0
        self.refused = 0
        self.slowing = 0
        """What slows the peer down, and no more: a value that it rejects has to be dealt again."""
        self.expected = 0
        """How many late or repeated frames the peer may still have on its way, through no fault of its own."""
        self.arrived = 0
        """Bytes of values that have come."""
        self.reached: list[str] = []
        """Limits that the peer has reached, and that cost it a channel only."""

    def values(self, count: int, size: int) -> None:
        """Values, or a piece of one, of so many bytes."""
        self.work += count // VALUES_PER_UNIT + size // BYTES_PER_UNIT
        self.arrived += size

    def compare(self, steps: int) -> None:
        """A type had to be compared. `steps`: as the comparison counts them."""
        self.useless += steps
        self.work += UNITS_PER_COMPARISON * steps

    @property
    def turn_is_over(self) -> bool:
        """Whether it is time for the others."""
        return self.work + UNITS_PER_USELESS * (self.useless + self.slowing) >= TURN

    def nothing(self) -> None:
        """A frame that brings nothing: it repeats another, or is for a channel that is closed here."""
        if self.expected:
            self.expected -= 1
        else:
            self.useless += 1

    def unused(self) -> None:
        """A channel was closed by the peer before it has carried anything."""
        self.useless += 1
        self.slowing += UNUSED_SLOWING


class Judge:
    """Says when one peer has cost too much, and how long it is to be left waiting until it is read again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._useless = Allowance(limits.max_useless_frames, limits.max_useless_frames / PERIOD)
        self._refused = Allowance(limits.max_refusals, 1.0)
        self._patience = Allowance(FREE, 1 / PAUSE)
        self.pause = 0.0
        """For how many seconds nothing is to be read: who sends much that is useless is slowed down."""

    def look(self, costs: Costs, now: float) -> LimitReached | None:
        """Why this peer is to go, if it is. What it has cost is counted once."""
        useless, refused, slowing = costs.useless, costs.refused, costs.useless + costs.slowing
        costs.useless = costs.refused = costs.slowing = 0
        self.pause = min(self._patience.spend(slowing, now), LONGEST_PAUSE) if slowing else 0.0
        if useless and self._useless.spend(useless, now):
            most = self._limits.max_useless_frames
            expected = f"at most {most} frames that bring nothing within {PERIOD:g} s"
            return LimitReached("max_useless_frames", f"expected {expected}, got more")
        if refused and self._refused.spend(refused, now):
            most = self._limits.max_refusals
            return LimitReached("max_refusals", f"expected at most {most} refused imports and values, got more")
        return None
