"""The local end of an incoming channel: what puts values in, at once or by waiting.

The end may be a memory channel's, into which values can be put without waiting as long as it takes them, or any other
`trio.abc.SendChannel`, of which only `send` and `aclose` are known.
"""

from __future__ import annotations

import enum
from typing import Generic, TypeVar

import trio

from .pacing import may_sleep

__all__ = ["Outlet", "Taken"]

T = TypeVar("T")


class Taken(enum.Enum):
    """What became of values that were put in."""

    ALL = "all"
    NOT_ALL = "not all"
    """The end has no room for the rest now."""
    RECEIVER_GONE = "receiver gone"
    """Nobody will take the rest."""


class Outlet(Generic[T]):
    """Puts values into an end."""

    def __init__(self, end: trio.abc.SendChannel[T]) -> None:
        self.send = end.send
        """Waits until the end takes a value; `sending` is to be set around it."""
        self.sending = False
        """Whether a task is inside `send`."""
        self._end = end
        self._memory = end if isinstance(end, trio.MemorySendChannel) else None

    @property
    def unbuffered(self) -> bool:
        """Whether a value that the end has taken is in the hands of a task that may not have run yet."""
        return self._memory is not None and self._memory.statistics().max_buffer_size == 0

    @property
    def may_sleep(self) -> bool:
        """Whether the end's buffer is so large that it keeps the program busy while the deliverer sleeps."""
        return self._memory is not None and may_sleep(self._memory.statistics().max_buffer_size)

    @property
    def receiver_gone(self) -> bool:
        """Whether it is known that nobody can receive any more."""
        return self._memory is not None and not self._memory.statistics().open_receive_channels

    def put(self, values: list[T]) -> tuple[int, Taken]:
        """Puts in values, the next one last, as long as the end takes them; removes those. How many, and the rest."""
        if self._memory is None:
            return 0, Taken.NOT_ALL
        send = self._memory.send_nowait
        count = 0
        taken = Taken.ALL
        try:
            for value in reversed(values):
                send(value)
                count += 1
        except trio.WouldBlock:
            taken = Taken.NOT_ALL
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            taken = Taken.RECEIVER_GONE
        del values[len(values) - count :]
        return count, taken

    def close(self) -> None:
        """Closes the end, if that can be done at once."""
        if self._memory is not None:
            self._memory.close()

    async def aclose(self) -> None:
        """Closes the end."""
        if self._memory is None:
            await self._end.aclose()
        else:
            self._memory.close()
