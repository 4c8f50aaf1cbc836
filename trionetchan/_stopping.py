"""The graceful stop of an exporter: it accepts nobody any more, lets its channels come to rest, and says goodbye."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Generator, Iterable

import trio

from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._errors import Code
from ._network.connection import Connection

__all__ = ["Accepting", "bring_to_rest", "give_back", "say_farewell", "tell_unfinished"]

logger = logging.getLogger("trionetchan")


class Accepting:
    """The listeners of an exporter that accept importers, and how they are stopped."""

    def __init__(self) -> None:
        self.stopped = False
        self._scopes: set[trio.CancelScope] = set()
        self._changed = trio.lowlevel.ParkingLot()

    @contextlib.contextmanager
    def until_stopped(self) -> Generator[None]:
        """Around what accepts: ends it when accepting is stopped."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.stopped:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)
                self._changed.unpark_all()

    def stop(self) -> None:
        """Nobody is accepted any more."""
        self.stopped = True
        for scope in self._scopes:
            scope.cancel()

    async def wait_over(self) -> None:
        """After `stop`: waits until the listeners are closed."""
        while self._scopes:
            await self._changed.park()


async def bring_to_rest(channels: Iterable[Channel]) -> None:
    """Has them deal and take nothing more; waits until all that is on its way has come to an end."""
    stopped = list(channels)
    for channel in stopped:
        channel.stop()
    await trio.lowlevel.checkpoint()
    for channel in stopped:
        if isinstance(channel, Outgoing):
            await channel.wait_settled()
        else:
            await channel.wait_delivered()


def tell_unfinished(channels: Iterable[Channel], timeout: float) -> None:
    """The stop has taken too long."""
    sent, arrived = 0, 0
    for channel in channels:
        if isinstance(channel, Outgoing):
            sent += channel.unacknowledged
        else:
            arrived += channel.undelivered
    logger.warning(
        "stopping was not done within %g s: %d values that were sent are not acknowledged, "
        "%d values that had arrived are not delivered",
        timeout,
        sent,
        arrived,
    )


async def give_back(channels: Iterable[Channel], timeout: float) -> None:
    """What has arrived and is not delivered stays with the importers that sent it."""
    with trio.move_on_after(timeout):
        for channel in channels:
            if isinstance(channel, Incoming):
                await channel.give_back()


async def say_farewell(connections: Collection[Connection], timeout: float) -> None:
    """Says goodbye on all connections, to who wants to know that the exporter restarts.

    Whose hello is on its way, for so many seconds at most, is waited for: it may say so.
    """
    with trio.move_on_after(timeout):
        for connection in connections:
            await connection.peer.greeted.wait()
    for connection in connections:
        restarting = connection.peer.session.awaits_restart
        connection.leave(Code.RESTARTING if restarting else Code.FINISHED)
    for connection in connections:
        await connection.wait_over()
