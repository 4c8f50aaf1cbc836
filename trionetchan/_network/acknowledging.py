"""When a connection acknowledges: the policy, in one place.

An acknowledgement that the sender may need for its credit goes at once; one that is the last for now, within a few
turns of the scheduler. But one for every value would cost as much as the values do. So while more is being delivered,
and for a program that answers what it gets (its answers tell the peer more than an acknowledgement could), they are
gathered for `DELAY`.

A value that was handed to a waiting task may only be told of when that task has run (`ReceiveWindow.confirmed`). In a
stream the deliverer's own steps confirm it, at no cost; for the last values the task here lets the scheduler turn.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .._protocol.session import Session
from .._protocol.window import ReceiveWindow

__all__ = ["Acknowledger"]

DELAY = 0.002  # seconds
TURNS = 3  # of the scheduler: a value wakes its receiver, that sends an answer, and the pump takes it
TURNS_TO_CONFIRM = 2  # a value is handed to a task in one turn, and the task runs in the next


class Acknowledger:
    """Has the session acknowledge what is delivered, in time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._work = trio.lowlevel.ParkingLot()
        self._delay: trio.CancelScope | None = None  # while acknowledgements are being gathered
        self._may_wait = True  # whether all pending acknowledgements may be delayed
        self._answered = False  # the program has sent something since the oldest pending acknowledgement
        self._program_answers = False  # it did so the last time

    def sent(self) -> None:
        """The program has sent something."""
        self._answered = True

    def delivered(self, channel_id: int, window: ReceiveWindow, *, last: bool) -> bool:
        """Something was delivered; `last`: there is nothing more to deliver. Whether there is something to say now."""
        due = window.ack_due
        if window.ack_pending and self._program_answers and not due:
            return False  # it is told with what is being gathered
        self._session.acknowledge(channel_id)
        may_wait = self._program_answers or not last
        now = due or (self._delay is not None and not may_wait)
        if window.confirmed < window.delivered:
            tellable = window.confirmed > window.announced
            self._wake(may_wait=may_wait and not (due and (window.confirmation_due or not tellable)))
            now = now and tellable
        elif not now:
            self._wake(may_wait=may_wait)
        if now:
            self._session.hurry()
        return now

    def closed(self) -> None:
        """A last word may wait for its values to be confirmed."""
        if self._session.has_undue:
            self._wake(may_wait=False)

    def left_over(self) -> None:
        """What was due is written, but for values that were delivered meanwhile and wait to be confirmed."""
        self._work.unpark()

    def _wake(self, *, may_wait: bool) -> None:
        self._may_wait = self._may_wait and may_wait
        self._work.unpark()
        if not may_wait and self._delay is not None:
            self._delay.cancel()

    async def run(self, flush: Callable[[], None]) -> None:
        """Has the acknowledgements that did not go at once written by `flush`. One at a time."""
        self._delay = None
        while True:
            if not self._session.has_undue:
                await self._work.park()
            self._answered = False
            turns = 0 if self._may_wait else TURNS
            if self._may_wait:
                await self._gather()
            self._may_wait = True  # what comes from here on, until it is said again that there is no more
            handed_over = [(window, window.delivered) for window in self._session.unconfirmed]
            for _ in range(max(turns, TURNS_TO_CONFIRM) if handed_over else turns):
                await trio.lowlevel.cancel_shielded_checkpoint()
            for window, count in handed_over:
                window.confirm(count)
            self._program_answers = self._answered
            self._session.hurry()
            flush()

    async def _gather(self) -> None:
        with trio.CancelScope(deadline=trio.current_time() + DELAY) as self._delay:
            await trio.sleep_forever()
        self._delay = None
