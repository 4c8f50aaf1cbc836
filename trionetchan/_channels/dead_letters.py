"""Where values go that came back too often: a channel end of the program's, if it gave one.

Dealing does not wait for it: what the end does not take at once waits here, encoded, as long as the channel lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import trio

from .._batch import array_of
from .._codec import Codec
from .._errors import UnfitValue
from .._log import BoundedLog

__all__ = ["DeadLetters"]

T = TypeVar("T")


class DeadLetters(Generic[T]):
    """The dead letters of one outgoing channel, and the task that hands them on.

    `dropped` is told how many nobody takes any more, and why; `failed` what a foreign end raises.
    """

    def __init__(self, name: str, end: trio.abc.SendChannel[T], codec: Codec[T]) -> None:
        self.count = 0
        """How many came here."""
        self.log: BoundedLog
        self.dropped: Callable[[int, str], None]
        self.failed: Callable[[BaseException], None]
        self._name = name
        self._end = end
        self._codec = codec
        self._waiting: deque[bytes] = deque()
        self._finished = False
        self._closed = False
        self._work = trio.lowlevel.ParkingLot()

    def add(self, payloads: Iterable[bytes]) -> None:
        """Takes these values, in order."""
        before = len(self._waiting)
        self._waiting.extend(payloads)
        count = len(self._waiting) - before
        self.count += count
        self.log.warning("channel %r: %d values came back too often and are dead letters", self._name, count)
        if self._closed:
            self._drop("nobody takes dead letters any more")
        self._work.unpark_all()

    def finish(self) -> None:
        """No more will come: the end is closed when it has taken those that wait."""
        self._finished = True
        self._work.unpark_all()

    async def run(self) -> None:
        """Hands them on until there will be no more, or nobody takes them; then closes the end."""
        why = "dead letters that were not taken when the block was left"
        try:
            while self._waiting or not self._finished:
                if self._waiting:
                    await self._send(self._waiting[0])
                    self._waiting.popleft()
                else:
                    await self._work.park()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            why = "the receiver of dead letters is gone"
        except Exception as error:  # a foreign end's
            why = "the end for dead letters failed"
            self.failed(error)
        finally:
            self._closed = True
            self._drop(why)
            await self._end.aclose()

    async def _send(self, payload: bytes) -> None:
        try:
            (value,) = self._codec.decode(array_of([payload]))
        except UnfitValue as error:  # a class of the program's has changed its mind
            self.log.error("channel %r: a dead letter cannot be read: %s", self._name, error)  # noqa: TRY400
            self.dropped(1, "a dead letter that cannot be read")
        else:
            await self._end.send(value)

    def _drop(self, why: str) -> None:
        count = len(self._waiting)
        self._waiting.clear()
        if count:
            self.dropped(count, why)
