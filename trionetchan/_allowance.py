"""So much at once, and more with time: a token bucket. No clock: times are the caller's, in seconds."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """Holds `most` at first and at most, and gets `per_second` more each second."""

    def __init__(self, most: float, per_second: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = float(most)
        self._since: float | None = None

    def left(self, now: float) -> float:
        """How much there is; below 0, how much too much was spent."""
        if self._since is not None and now > self._since:
            self._left = min(self._most, self._left + (now - self._since) * self._per_second)
        self._since = now if self._since is None else max(self._since, now)
        return self._left

    def spend(self, amount: float, now: float) -> float:
        """Takes so much, even if there is less. For how many seconds to wait until it is all there; 0 if it is."""
        self._left = self.left(now) - amount
        return max(0.0, -self._left / self._per_second)
