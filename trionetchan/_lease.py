"""For how long an importer may deliver what it holds, without word from its exporter, or from the engine.

When a connection has been broken for the time that both sides agreed on, the exporter takes back what the importer has
not acknowledged, and gives it to another. The importer may be alive meanwhile, or wake up later; it must not deliver
those values then. So it delivers under a lease: from the moment in which it sent the last ping that was answered, for
the agreed time, less a margin for clocks that drift. The exporter counts that time from when it has last heard the
importer, which is later.

Two clocks are looked at: trio's, and one that also runs while the machine is suspended. Nothing can be done about a
process that is stopped in the very moment between this look and the delivery.
"""

from __future__ import annotations

import math
import time

import attrs
import trio

__all__ = ["Instant", "Lease", "now"]

DRIFT = 0.02  # of the time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_booted_time = time.clock_gettime


@attrs.frozen
class Instant:
    """A moment on both clocks, in seconds."""

    running: float
    booted: float


def now() -> Instant:
    """This moment."""
    return Instant(trio.current_time(), _booted_time(_CLOCK))


class Lease:
    """One importer's. `duration` in seconds."""

    def __init__(self, duration: float) -> None:
        self._duration = duration * (1 - DRIFT)
        self._running_time = trio.lowlevel.current_clock().current_time  # asked for each delivery
        self.deadline = -math.inf
        """When it ends, on trio's clock."""
        self._booted_deadline = -math.inf

    @property
    def valid(self) -> bool:
        """Whether values may be delivered now."""
        return self._running_time() < self.deadline and _booted_time(_CLOCK) < self._booted_deadline

    def renew(self, since: Instant) -> None:
        """The exporter has heard something that was sent then."""
        self.deadline = max(self.deadline, since.running + self._duration)
        self._booted_deadline = max(self._booted_deadline, since.booted + self._duration)

    def lift(self) -> None:
        """What has arrived is this side's for good."""
        self.deadline = self._booted_deadline = math.inf
