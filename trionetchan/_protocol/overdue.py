"""What of the peer has come in part, and when the rest is overdue. No clock: times are the caller's, in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .._errors import LimitReached
from .._limits import Limits

__all__ = ["Unfinished"]


class Unfinished:
    """A frame and some values that have begun, and since when. `look` after each chunk, and wait until `deadline`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._frame: int | None = None
        self._frame_since = math.inf
        self._values: dict[tuple[int, int], float] = {}  # channels and numbers, in the order in which they have begun

    def look(self, frame: int | None, values: Mapping[int, int], now: float) -> None:
        """This frame has come in part, and on each of these channels the value of this number."""
        if frame != self._frame:
            self._frame = frame
            self._frame_since = math.inf if frame is None else now
        if values or self._values:
            items = values.items()
            self._values = {value: since for value, since in self._values.items() if value in items}
            for value in items:
                self._values.setdefault(value, now)

    @property
    def deadline(self) -> float:
        """When something is overdue."""
        return min(self._frame_since + self._limits.frame_timeout, self._value_since + self._limits.value_timeout)

    @property
    def _value_since(self) -> float:
        return next(iter(self._values.values()), math.inf)

    @property
    def reason(self) -> LimitReached:
        """At the deadline: what is overdue."""
        limits = self._limits
        if self._frame_since + limits.frame_timeout <= self._value_since + limits.value_timeout:
            expected = f"a whole frame within {limits.frame_timeout:g} s"
            return LimitReached("frame_timeout", f"expected {expected}, got a part of one")
        expected = f"a whole value within {limits.value_timeout:g} s on channel {next(iter(self._values))[0]}"
        return LimitReached("value_timeout", f"expected {expected}, got a part of one")
