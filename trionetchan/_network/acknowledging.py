"""When a connection acknowledges: the policy, in one place.

An acknowledgement that the sender may need for its credit goes at once; one that is the last for now, within a few
turns of the scheduler. But one for every value would cost as much as the values do. So while more is being delivered,
and for a program that answers what it gets (its answers tell the peer more than an acknowledgement could), they are
gathered for `DELAY`.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .._protocol.session import Session

__all__ = ["Acknowledger"]

DELAY = 0.002  # seconds
TURNS = 3  # of the scheduler: a value wakes its receiver, that sends an answer, and the pump takes it


class Acknowledger:
    """Has the session acknowledge what is delivered, in time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._work = trio.lowlevel.ParkingLot()
        self._may_wait = False  # what is to be acknowledged now
        self._sleeping = False
        self._answered = False  # the program has sent something since there is something to acknowledge
        self._program_answers = False  # it did so the last time

    def sent(self) -> None:
        """The program has sent something."""
        self._answered = True

    def delivered(self, channel_id: int, *, now: bool, last: bool) -> bool:
        """Something was delivered. Whether the session has something to say at once.

        `now`: the sender may need to know; `last`: there is nothing more to deliver.
        """
        self._session.acknowledge(channel_id)
        may_wait = self._program_answers or not last
        if now or (self._sleeping and not may_wait):
            self._session.hurry()
            return True
        self._may_wait = may_wait
        self._work.unpark()
        return False

    async def run(self, flush: Callable[[], None]) -> None:
        """Has the acknowledgements that did not go at once written by `flush`."""
        while True:
            await self._work.park()
            self._answered = False
            if self._may_wait:
                self._sleeping = True
                await trio.sleep(DELAY)
                self._sleeping = False
            else:
                for _ in range(TURNS):
                    await trio.lowlevel.cancel_shielded_checkpoint()
            self._program_answers = self._answered
            self._session.hurry()
            flush()
