"""What was measured of a case, and which bars it missed."""

from __future__ import annotations

from typing import Any

import attrs

from trionetchan import Limits

from .cases import Case

__all__ = ["KEPT", "LEFT_BEHIND", "MIB", "Outcome", "Stretch"]

MIB = 2**20
LEAST_RATIO = 0.5
LONGEST_GAP = 0.2  # seconds
KEPT = 4  # MiB that may be left behind
LEFT_BEHIND = ("connections", "suspended", "tasks", "files")


@attrs.frozen(kw_only=True)
class Stretch:
    """What the healthy importer had for a while."""

    rate: float
    """Values a second."""
    gap: float
    """The longest time without a value, in seconds."""


@attrs.frozen(kw_only=True)
class Outcome:
    """One case. The stretches: before the attack, beside it, and beside a process that is as busy and does no harm."""

    seconds: float
    alone: Stretch
    attacked: Stretch
    control: Stretch
    memory: tuple[int, int, int]
    """Bytes: before, most, after."""
    before: dict[str, Any]
    after: dict[str, Any]
    settled: float
    """Seconds after the attack until only the healthy importer was there."""
    tally: dict[str, Any]
    failed: str | None
    """What came out of the exporter's block."""
    held: float | None = None
    """MiB that Python's objects held after an attack, where the process kept memory."""

    @property
    def ratio(self) -> float:
        """The rate beside that of the control."""
        return self.attacked.rate / self.control.rate if self.control.rate else 0.0

    @property
    def ratio_alone(self) -> float:
        return self.attacked.rate / self.alone.rate if self.alone.rate else 0.0

    @property
    def lines(self) -> int:
        return int(self.after["lines"] - self.before["lines"])

    @property
    def most_lines(self) -> float:
        """One second's lines may come at once."""
        return Limits().max_log_lines * (self.seconds + self.settled + 1) + 1

    @property
    def grown(self) -> float:
        """MiB."""
        before, most, _ = self.memory
        return (most - before) / MIB

    @property
    def kept(self) -> float:
        """MiB."""
        before, _, after = self.memory
        return (after - before) / MIB

    def misses(self, case: Case) -> list[str]:
        """Each bar that was missed, in words."""
        found: list[str] = []

        def expect(held: bool, words: str) -> None:
            if not held:
                found.append(words)

        expect(self.failed is None, f"an exception came out of the exporter's block: {self.failed}")
        expect(self.after["tracebacks"] == 0, f"tracebacks in the log: {self.after['first_traceback']}")
        expect(self.ratio >= LEAST_RATIO, f"{self.ratio:.2f} of the rate, {LEAST_RATIO} expected")
        expect(self.attacked.gap <= LONGEST_GAP, f"a gap of {self.attacked.gap:.2f} s, {LONGEST_GAP} expected")
        expect(self.grown <= case.memory, f"{self.grown:.0f} MiB more memory, {case.memory} expected")
        kept = self.kept if self.held is None else self.held
        expect(kept <= KEPT, f"{kept:.1f} MiB kept, {KEPT} expected")
        expect(self.lines <= self.most_lines, f"{self.lines} lines in the log, {self.most_lines:.0f} expected")
        within, longest = case.dropped_within, self.tally["longest"]
        if within is not None:
            expect(longest <= within, f"a connection lasted {longest:.1f} s, {within:g} expected")
        for what in LEFT_BEHIND:
            before, after = self.before[what], self.after[what]
            expect(after <= before, f"{after} {what} left, {before} expected")
        return found
