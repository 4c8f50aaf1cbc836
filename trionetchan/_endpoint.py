"""What an exporter and an importer have in common: names, the block that owns all tasks, drain and sync.

The block decides how things end, so that it can keep one order: the body is finished or cancelled first; then ends are
touched; then a goodbye is said; then the block raises. Background tasks therefore never raise into the nursery; they
report to `_fail`, which cancels the body and every call that waits.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, cast

import attrs
import trio

from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing, values_dropped
from ._codec.codec import Codec, codec_for
from ._codec.schema import Schema, difference
from ._errors import ChannelNameInUseError, Code, NetchanError, NoSuchChannelError, UnfitValue, ValueTypeError
from ._limits import Limits
from ._protocol.frames import MAX_NAME
from ._statistics import ChannelStatistics, Direction

__all__ = ["Channel", "Endpoint", "check_name", "codec_of", "direction_of", "in_use", "mismatch", "whole_number"]

Channel = Outgoing[Any] | Incoming[Any]

MAX_PAST = 10_000  # ended names that a drain may still ask for

logger = logging.getLogger("trionetchan")


class Endpoint:
    """The common base. Not public."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._channels: dict[str, Channel] = {}
        self._retiring: list[Channel] = []  # without a name any more, and not done yet
        self._past: dict[str, int] = {}  # names that have ended: values dropped that no drain has told
        self._opened: dict[Channel, trio.MemoryReceiveChannel[Any]] = {}  # receive ends that this library opened
        self._dropped = 0  # of channels that are gone
        self._nursery: trio.Nursery
        self._body = trio.CancelScope()
        self._calls: set[trio.CancelScope] = set()
        self._failure: BaseException | None = None
        self._left = False

    def __repr__(self) -> str:
        shown = [repr(channel) for _, channel in zip(range(8), self._channels.values(), strict=False)]
        rest = ["…"] if len(self._channels) > len(shown) else []
        return f"<{type(self).__name__} of {', '.join(shown + rest) or 'no channels'}>"

    # The block

    @contextlib.asynccontextmanager
    async def _block(self) -> AsyncGenerator[None]:
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                with self._body:
                    self._start()
                    yield
                    await self._finish()
            except BaseException as exception:  # raised below, after the goodbye
                error = exception
            self._left = True
            for call in self._calls:
                call.cancel()
            with trio.CancelScope(shield=True):
                await self._end_channels()
                await self._say_goodbye()
            nursery.cancel_scope.cancel()
        _raise(error, self._failure)

    def _start(self) -> None:
        """Starts what runs beside the body."""

    async def _say_goodbye(self) -> None:
        """Ends the connections; bounded."""
        raise NotImplementedError

    def _fail(self, failure: BaseException) -> None:
        """Makes the block raise this, once its body is cancelled and has unwound."""
        if self._failure is None and not self._left:
            self._failure = failure
            self._body.cancel()
            for call in self._calls:
                call.cancel()

    async def _finish(self) -> None:
        """Waits until what was sent into channels that the program has closed is acknowledged."""
        await trio.lowlevel.checkpoint()
        for channel in [*self._channels.values(), *self._retiring]:
            if isinstance(channel, Outgoing) and channel.sender_closed:
                await channel.finish()

    async def _end_channels(self) -> None:
        channels = [*self._channels.values(), *self._retiring]
        for channel in channels:
            if isinstance(channel, Outgoing):
                channel.abandon("left behind when the block was left")
            else:
                complete = channel.ended
                if not complete and channel in self._opened:
                    self._opened[channel].close()
                channel.finish(Code.RECEIVER_GONE, keep_end=True)
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
        if self._left:
            raise trio.ClosedResourceError(
                f"expected an open {type(self).__name__.lower()}, got one whose block is left"
            )

    def _start_channel(self, channel: Channel) -> None:
        self._channels[channel.name] = channel
        self._nursery.start_soon(self._run_channel, channel)

    async def _run_channel(self, channel: Channel) -> None:
        await self._supervise(channel.run)
        self._sweep(channel)

    async def _supervise(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except Exception as error:
            self._fail(error)

    def _look_around(self) -> None:
        """At each keepalive tick: has a local receiver gone?"""
        for channel in list(self._channels.values()):
            if isinstance(channel, Incoming):
                channel.look_around()

    # Names

    def _check_name_free(self, name: str) -> None:
        if name in self._channels:
            raise in_use(name)

    def hangup(self, name: str) -> None:
        """Takes the name away, closes the local end and tells every bound peer. Does not block.

        What was not delivered is dropped and counted; from a receiving import it goes back to the exporter. The name
        can be bound anew at once. `NoSuchChannelError` if the name is not bound.
        """
        self._check_open()
        channel = self._channels.get(name)
        if channel is None:
            raise NoSuchChannelError(f"{name}: expected a bound name, got one that is not", channel=name)
        self._retire(channel)
        if isinstance(channel, Outgoing):
            channel.hang_up()
        else:
            channel.finish(Code.HUNG_UP)

    def _retire(self, channel: Channel) -> None:
        """Frees the channel's name."""
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._retiring.append(channel)

    def _sweep(self, channel: Channel) -> None:
        """Forgets a channel without a name when it is done."""
        if channel in self._retiring and channel.closed.is_set() and not channel.links:
            self._retiring.remove(channel)
            self._opened.pop(channel, None)
            self._dropped += channel.dropped
            if isinstance(channel, Outgoing):
                self._past[channel.name] = self._past.get(channel.name, 0) + channel.untold
            else:
                self._past.setdefault(channel.name, 0)
                self._dropped += channel.undelivered
            if len(self._past) > MAX_PAST:
                del self._past[next(iter(self._past))]

    # Drain, sync, statistics

    async def drain(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until every value sent into the named channels, or all, has been acknowledged by a peer.

        That covers values not taken yet, those whose `send` is blocked, those that a peer gave back, and those sent
        meanwhile. `timeout` is in seconds; past it `trio.TooSlowError`. `ValuesDroppedError` if some were dropped;
        `ConnectionLostError` (importer) if the connection is lost. Cancelling it changes nothing but the wait.
        """
        with self._call(), trio.fail_after(timeout):
            await self._each(self._outgoing(names), lambda channel: channel.drain())
            self._tell_past(names)

    async def sync(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until the values that peers have been handed, when it is called, are acknowledged.

        `timeout` is in seconds; past it `trio.TooSlowError`. `ConnectionLostError` if a peer among them is lost,
        `ValuesDroppedError` if some were dropped. Cancelling it changes nothing but the wait.
        """
        with self._call(), trio.fail_after(timeout):
            await self._each(self._outgoing(names), lambda channel: channel.sync())

    def _outgoing(self, names: tuple[str, ...]) -> list[Outgoing[Any]]:
        everything = [*self._channels.values(), *self._retiring]
        for name in names:
            if name not in self._past and not any(channel.name == name for channel in everything):
                raise NoSuchChannelError(f"{name}: expected a bound name, got one that is not", channel=name)
        return [
            channel for channel in everything if isinstance(channel, Outgoing) and (not names or channel.name in names)
        ]

    def _tell_past(self, names: tuple[str, ...]) -> None:
        """A drain tells what peers have dropped of channels that are gone, once."""
        for name in names or list(self._past):
            count = self._past.get(name, 0)
            if count:
                self._past[name] = 0
                raise values_dropped(name, count)

    async def _each(self, channels: list[Outgoing[Any]], wait: Callable[[Outgoing[Any]], Awaitable[None]]) -> None:
        errors: list[NetchanError] = []

        async def one(channel: Outgoing[Any]) -> None:
            try:
                await wait(channel)
            except NetchanError as error:
                errors.append(error)

        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for channel in channels:
                nursery.start_soon(one, channel)
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]

    def _channel_statistics(self) -> dict[str, ChannelStatistics]:
        return {name: channel.statistics() for name, channel in self._channels.items()}


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
    if rest is None:
        raise failure
    raise BaseExceptionGroup("the block failed, and its body raised too", [rest, failure])


def in_use(name: str) -> ChannelNameInUseError:
    return ChannelNameInUseError(f"{name}: expected a name that is not bound, got one that is", channel=name)


def check_name(name: str) -> None:
    """`ValueError` unless the text can be a channel's name."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected a channel name (a str), got {name!r}")
    if not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= MAX_NAME:
        raise ValueError(f"expected a channel name of 1 to {MAX_NAME} printable bytes, got {name[:80]!r}")


def whole_number(what: str, value: object, least: int | None, most: int | None = None) -> None:
    """`TypeError` unless it is an int; `ValueError` below `least` or above `most`."""
    if type(value) is not int:
        raise TypeError(f"{what}: expected a whole number, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{what}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{what}: expected at most {most}, got {value}")


@attrs.frozen
class Mismatch:
    """Where two value types do not fit: the path to it, and a short text of each side's type there."""

    path: str
    own: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.path}{self.own} here, {self.theirs} there"

    def told_to_peer(self) -> str:
        """The same from the peer's point of view."""
        return f"{self.path}{self.theirs} here, {self.own} there"


def mismatch(own: Schema, theirs: bytes, *, own_sends: bool) -> Mismatch | None:
    """Where this side's type and the one that a peer has described do not fit, if they don't."""
    try:
        schema = Schema.from_bytes(theirs)
        where = difference(own, schema) if own_sends else difference(schema, own)
    except UnfitValue as error:
        return Mismatch("", str(own), f"something that is no type ({error})")
    if where is None:
        return None
    own_part, their_part = (where.sender, where.receiver) if own_sends else (where.receiver, where.sender)
    return Mismatch(f"{where.path}: " if where.path else "", own_part, their_part)


def codec_of(name: str, value_type: Any) -> Codec[Any]:
    """The codec of a channel. `ValueTypeError` for a type that cannot be carried."""
    try:
        return codec_for(value_type)
    except UnfitValue as error:
        raise ValueTypeError(f"{name}: {error}", channel=name) from None


def direction_of(name: str, end: Any, direction: Direction | None) -> Direction:
    """The direction that follows from the end that is handed over. `TypeError` if it is none, or not that."""
    ways = [
        way
        for way, kind in ((Direction.SEND, trio.abc.ReceiveChannel), (Direction.RECEIVE, trio.abc.SendChannel))
        if isinstance(end, kind)
    ]
    if isinstance(end, type) or not ways:
        raise TypeError(f"{name}: expected a trio.abc.SendChannel or trio.abc.ReceiveChannel, got {end!r}")
    if direction is None:
        if len(ways) == 2:
            raise TypeError(f"{name}: expected direction=, since {end!r} can both send and receive; got none")
        return ways[0]
    if direction not in ways:
        raise TypeError(f"{name}: expected an end for {direction}, got {end!r}")
    return direction
