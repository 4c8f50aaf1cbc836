"""The pump's hands: what takes values out of the local end of an outgoing channel, and how many at a time.

The end may be a memory channel's, from which values can be taken without waiting and which can be asked what is in it,
or any other `trio.abc.ReceiveChannel`, of which only `receive` and `aclose` are known.
"""

from __future__ import annotations

import sys
from typing import Generic, TypeVar

import trio

from .pacing import BATCH_DELAY, MIN_STREAMING_BATCH, may_sleep

__all__ = ["Intake"]

T = TypeVar("T")


class Intake(Generic[T]):
    """Takes values from an end, `count` at most. What is taken stays in `taken` until the caller removes it."""

    def __init__(self, end: trio.abc.ReceiveChannel[T], count: int | None) -> None:
        self.taken: list[T] = []
        self.finished = count == 0
        """The sender is done: all send ends are closed, or the count is reached."""
        self.receiving = False
        """Whether a task is inside `receive` of the end."""
        self._end = end
        self._memory = end if isinstance(end, trio.MemoryReceiveChannel) else None
        self._may_sleep = self._memory is not None and may_sleep(self._memory.statistics().max_buffer_size)
        self._streaming = False  # the last batch was filled
        self._closed = False
        self._left = sys.maxsize if count is None else count  # values that may still be taken

    # Taking

    @property
    def over(self) -> bool:
        """Whether nothing more will be taken: the sender is done, or this side has closed the end."""
        return self.finished or self._closed

    @property
    def streaming(self) -> bool:
        """Whether values come as fast as they are taken."""
        return self._streaming

    def room(self, room: int) -> int:
        """Of `room` values in all, how many may be in `taken`."""
        return min(room, self._left + len(self.taken))

    def take(self, room: int) -> bool:
        """Takes what is there without waiting, until `room` values are taken. Whether any are."""
        if self._memory is None or self.over:
            return bool(self.taken)
        receive, record = self._memory.receive_nowait, self.taken.append
        before = len(self.taken)
        try:
            for _ in range(min(room - before, self._left)):
                record(receive())
        except trio.WouldBlock:
            pass
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self.finished = True
        self._has_taken(len(self.taken) - before)
        return bool(self.taken)

    async def receive(self, enough: int) -> None:
        """Waits for values until `enough` are taken; each is recorded before anything else can happen.

        What a foreign end's `receive` raises passes through.
        """
        receive, taken = self._end.receive, self.taken
        before = len(taken)
        self.receiving = True
        try:
            while len(taken) < enough:
                taken.append(await receive())
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self.finished = True  # all send ends are closed; or the program has closed this one, which it handed over
        finally:
            self.receiving = False
            self._has_taken(len(taken) - before)

    def _has_taken(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self.finished = True

    async def gather(self, room: int, half_window: int) -> None:
        """Lets a busy sender fill a batch: half a window, so that one half is on its way while the other is filled.

        A batch costs as much as a hundred values, and an empty wake-up as much as a batch. So how long to wait is
        predicted from the last batch. If that was filled, the sender is taken to be streaming: the task sleeps for
        `BATCH_DELAY`, if the end can hold meanwhile what comes, or waits in `receive`, for as long at most in all. If
        it was not, the task only looks again as long as each turn of the scheduler brings something, but for one.
        """
        enough = min(room, half_window)
        if self._streaming and self._may_sleep:
            if len(self.taken) < enough:
                await trio.sleep(BATCH_DELAY)
                self.take(room)
        elif self._streaming:
            with trio.CancelScope(deadline=trio.current_time() + BATCH_DELAY):
                await self.receive(enough)
        else:
            idle = 0
            while len(self.taken) < enough and idle < 2 and not self.over:
                before = len(self.taken)
                await trio.lowlevel.cancel_shielded_checkpoint()
                self.take(room)
                idle = idle + 1 if len(self.taken) == before else 0
        self._streaming = len(self.taken) >= min(enough, MIN_STREAMING_BATCH)

    # What is in the end

    @property
    def in_memory(self) -> bool:
        """Whether the end is a memory channel's, so that it can be asked."""
        return self._memory is not None

    @property
    def buffered(self) -> int:
        """How many values were accepted by the end and are not taken."""
        if self._memory is None or self.over:
            return 0
        return self._memory.statistics().current_buffer_used

    @property
    def blocked(self) -> int:
        """How many tasks are inside `send`."""
        if self._memory is None or self.over:
            return 0
        return self._memory.statistics().tasks_waiting_send

    @property
    def sender_closed(self) -> bool:
        """Whether the program has closed its ends, so that what is in the channel is all there will be."""
        if self._memory is None:
            return self.finished
        return self._memory.statistics().open_send_channels == 0

    # Ending

    def take_all(self) -> None:
        """Takes all that the end has accepted, and closes it: a `send` that is blocked then, or comes later, is broken.

        Where the end has a buffer, each value that is taken lets in one of a blocked `send`, which is taken too.
        """
        while self.buffered and self._left:
            self.take(len(self.taken) + 1)
        self.close()

    def take_rest(self) -> list[T]:
        """All that was taken and is not dealt, and all that the end has accepted; nobody else gets it any more."""
        while self.buffered and self._left:
            self.take(len(self.taken) + 1)
        rest, self.taken[:] = list(self.taken), []
        return rest

    def close(self) -> int:
        """Closes the end, if that can be done at once. How many values were left in it, for nobody to take."""
        closed, self._closed = self._closed, True
        if self._memory is None or closed:
            return 0
        statistics = self._memory.statistics()
        self._memory.close()
        return statistics.current_buffer_used if statistics.open_receive_channels == 1 else 0  # else a clone has it

    async def aclose(self) -> None:
        """Closes the end."""
        if self._memory is None:
            await self._end.aclose()
        else:
            self.close()
