"""What an exporter and an importer have in common: the block that owns all tasks, and the channels by name.

The block decides how things end, so that it can keep one order: the body is finished or cancelled first; then ends are
touched; then a goodbye is said; then the block raises. Background tasks therefore never raise into the nursery; they
report to `_fail`, which cancels the body and every call that waits. And they are shielded: a cancellation from outside
reaches the body, and them only when it has unwound.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Self, cast

import attrs
import trio

from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel, Registry
from ._errors import Code, ConnectionLostError, NetchanError
from ._limits import Limits
from ._log import BoundedLog

__all__ = ["BlockState", "Endpoint", "Owner"]

PATIENCE = 5.0  # seconds after which leaving says what it waits for

logger = logging.getLogger("trionetchan")


@attrs.frozen(kw_only=True)
class Owner:
    """The endpoint as its channels see it: a `ChannelOwner` made of the endpoint's private methods."""

    log: BoundedLog
    failed: Callable[[BaseException], None]
    peer_left: Callable[[Any, Code | None, str], None]
    channel_ended: Callable[[Any], None]


class BlockState(enum.Enum):
    """How the block of an endpoint stands."""

    OPEN = "open"
    FINISHING = "finishing"
    """Its body has ended normally: what was accepted is waited for, and nothing new is bound."""
    LEAVING = "leaving"
    """Channels are ended, and a goodbye is said."""
    LEFT = "left"


class Endpoint:
    """The common base. Not public."""

    _last_word: Code | None
    """What the peers of a receiving channel are told when the block is left."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._registry = Registry()
        self._opened: dict[Channel, trio.MemoryReceiveChannel[Any]] = {}  # receive ends that this library opened
        self._log = BoundedLog(limits.max_log_lines)
        self._owner = Owner(
            log=self._log,
            failed=self._fail,
            peer_left=self._on_peer_left,
            channel_ended=self._on_channel_ended,
        )
        self._nursery: trio.Nursery
        self._body = trio.CancelScope()
        self._background: set[trio.CancelScope] = set()  # shielded
        self._calls: set[trio.CancelScope] = set()
        self._failure: BaseException | None = None
        self._state = BlockState.OPEN

    def __repr__(self) -> str:
        channels = self._registry.everything()
        shown = [repr(channel) for channel in channels[:8]] + ["…"] * (len(channels) > 8)
        return f"<{type(self).__name__} of {', '.join(shown) or 'no channels'}>"

    @property
    def _kind(self) -> str:
        """For people: an exporter or importer, on whatever engine."""
        return type(self).__name__.removeprefix("Redis").lower()

    # The block

    @contextlib.asynccontextmanager
    async def _block(self) -> AsyncGenerator[Self]:
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                with self._body:
                    self._start()
                    yield self
                    await self._finish()
            except BaseException as exception:  # raised below, after the goodbye
                error = exception
            nursery.cancel_scope.shield = True
            self._state = BlockState.LEAVING
            for call in self._calls:
                call.cancel()
            with trio.CancelScope(shield=True):
                await self._end_channels()
                await self._say_goodbye()
            for scope in list(self._background):
                scope.cancel()
            nursery.cancel_scope.cancel()
        self._state = BlockState.LEFT
        self._log.tell()
        _raise(error, self._failure)

    def _start(self) -> None:
        """Starts what runs beside the body."""

    async def _say_goodbye(self) -> None:
        """Ends the connections; bounded."""
        raise NotImplementedError

    def _fail(self, failure: BaseException) -> None:
        """Makes the block raise this, once its body is cancelled and has unwound."""
        if self._failure is None and self._state in (BlockState.OPEN, BlockState.FINISHING):
            self._failure = failure
            self._body.cancel()
            for call in self._calls:
                call.cancel()
        elif not isinstance(failure, NetchanError):  # a mistake of the program, which nobody else would see
            logger.error("the block cannot raise this any more", exc_info=failure)

    async def _finish(self) -> None:
        """Waits until all that was accepted from the program is acknowledged by the peers that there are.

        A `send` that is still blocked is broken.
        """
        await trio.lowlevel.checkpoint()
        self._state = BlockState.FINISHING
        outgoing = [channel for channel in self._registry.everything() if isinstance(channel, Outgoing)]
        for channel in outgoing:
            channel.leave()
        for channel in outgoing:
            with trio.move_on_after(PATIENCE) as patience:
                await channel.wait_delivered()
            if patience.cancelled_caught:
                logger.warning("leaving the block waits until peers take what was sent into %r", channel.name)
                await channel.wait_delivered()

    async def _end_channels(self) -> None:
        channels = self._registry.everything()
        for channel in channels:
            if isinstance(channel, Outgoing):
                channel.abandon("left behind when the block was left")
            else:
                if not channel.ended and channel in self._opened:
                    self._opened[channel].close()
                channel.finish(self._last_word, keep_end=True)
        with trio.move_on_after(self._limits.goodbye_timeout):
            for channel in channels:
                await channel.closed.wait()

    @contextlib.contextmanager
    def _call(self) -> Generator[None]:
        """Around every call that waits: ends it when the block fails or is left."""
        self._check_open()
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                yield
            except NetchanError:
                self._check_open()  # what ended the block comes first
                raise
            finally:
                self._calls.discard(scope)
        if scope.cancelled_caught:
            self._check_open()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._state in (BlockState.LEAVING, BlockState.LEFT):
            raise trio.ClosedResourceError(f"expected an open {self._kind}, got one whose block is left")

    def _check_binds(self) -> None:
        """Nothing new is bound once the body has ended."""
        self._check_open()
        if self._state is BlockState.FINISHING:
            raise trio.ClosedResourceError(f"expected an open {self._kind}, got one whose block is being left")

    async def _run_shielded(self, run: Callable[[], Awaitable[None]]) -> None:
        """A background task: it ends by itself, or when the goodbye is said."""
        with trio.CancelScope(shield=True) as scope:
            self._background.add(scope)
            try:
                await run()
            except Exception as error:
                self._fail(error)
            finally:
                self._background.discard(scope)

    # Channels

    def _start_channel(self, channel: Channel) -> None:
        self._registry.add(channel)
        self._nursery.start_soon(self._run_channel, channel)

    async def _run_channel(self, channel: Channel) -> None:
        await self._run_shielded(channel.run)
        self._sweep(channel)

    def _on_peer_left(self, channel: Channel, code: Code | None, message: str) -> None:
        """A peer is gone from a channel: see the port `ChannelOwner`."""
        raise NotImplementedError

    def _on_channel_ended(self, channel: Channel) -> None:
        """A receiving channel has come to its end: see the port `ChannelOwner`."""
        self._registry.retire(channel, channel.why_ended if isinstance(channel, Incoming) else "it has ended")

    def _sweep(self, channel: Channel) -> None:
        if self._registry.sweep(channel):
            self._opened.pop(channel, None)

    def _tick(self) -> None:
        """At each keepalive tick: has a local receiver gone?"""
        for channel in self._registry.everything():
            if isinstance(channel, Incoming):
                channel.notice_gone_receiver()

    def hangup(self, name: str) -> None:
        """Takes the name away, closes the local end and tells every bound peer. Does not block.

        What was not delivered is dropped and counted; from a receiving import it goes back to the exporter. The name
        can be bound anew at once. `NoSuchChannelError` if the name is not bound.
        """
        self._check_open()
        channel = self._registry.bound(name)
        self._registry.retire(channel, "it was hung up")
        if isinstance(channel, Outgoing):
            channel.hang_up()
        else:
            channel.finish(Code.HUNG_UP)

    async def drain(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until every value sent into the named channels, or all, has been acknowledged by a peer.

        That covers values not taken yet, those whose `send` is blocked, those that a peer gave back, and those sent
        meanwhile. `timeout` is in seconds; past it `trio.TooSlowError`. `ValuesDroppedError` if some were dropped;
        `ConnectionLostError` (importer) if the connection is lost. Cancelling it changes nothing but the wait.
        """
        with self._call(), trio.fail_after(timeout):
            await self._registry.drain(names)

    async def sync(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until the values that peers have been handed, when it is called, are acknowledged.

        `timeout` is in seconds; past it `trio.TooSlowError`. `ConnectionLostError` if a peer among them is lost,
        `ValuesDroppedError` if some were dropped. Cancelling it changes nothing but the wait.
        """
        with self._call(), trio.fail_after(timeout):
            await self._registry.sync(names)


def _raise(error: BaseException | None, failure: BaseException | None) -> None:
    """Raises what came out of the body, or the failure, or both; the failure once, whoever else has raised it too."""
    if failure is None:
        if error is not None:
            raise error
        return
    rest = None if error is failure else error
    if isinstance(rest, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", rest)
        rest = group.split(lambda exception: exception is failure)[1]
    if rest is not None and _only_cancelled(rest):
        if isinstance(failure, ConnectionLostError):
            # Who is cancelled from outside leaves; that the other side leaves in the same moment is no news.
            logger.warning("cancelled, and the connection is lost, too: %s", failure)
            raise rest
        rest = None
    if rest is None:
        # Without its context, the `Cancelled` of each task of the body, which would say nothing in many lines.
        raise failure from failure.__cause__
    raise BaseExceptionGroup("the block failed, and its body raised too", [rest, failure])


def _only_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_cancelled, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, trio.Cancelled)
