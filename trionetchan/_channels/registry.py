"""The channels of an exporter or importer by name, those that have lost their names, and drain and sync over them.

A channel has its name until it is hung up, or has ended; then the name is free, and the channel goes on without it
until its last peer is told. Of a name that has ended two things are remembered: why, for the next who asks for it, and
how many values peers have dropped that no drain has told of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .._errors import ChannelNameInUseError, NetchanError, NoSuchChannelError
from .._statistics import ChannelStatistics
from .incoming import Incoming
from .outgoing import Outgoing
from .waits import values_dropped

__all__ = ["Channel", "Registry"]

Channel = Outgoing[Any] | Incoming[Any]

MAX_PAST = 10_000  # ended names that are remembered


@attrs.define
class _Past:
    """A name that has ended."""

    why: str
    unreported_drops: int = 0


class Registry:
    """Channels by name."""

    def __init__(self) -> None:
        self._named: dict[str, Channel] = {}
        self._retired: list[Channel] = []  # without a name any more, and not done yet
        self._past: dict[str, _Past] = {}
        self._dropped = 0  # of channels that are gone

    # Names

    def get(self, name: str) -> Channel | None:
        """The channel of that name."""
        return self._named.get(name)

    def everything(self) -> list[Channel]:
        """All channels, with a name or without."""
        return [*self._named.values(), *self._retired]

    def check_free(self, name: str) -> None:
        """`ChannelNameInUseError` if the name is bound."""
        if name in self._named:
            raise in_use(name)

    def bound(self, name: str) -> Channel:
        """The channel of that name, or `NoSuchChannelError`."""
        channel = self._named.get(name)
        if channel is None:
            raise NoSuchChannelError(
                f"{name}: expected a name that is bound here, got one that {self.why_not(name)}", channel=name
            )
        return channel

    def why_not(self, name: str) -> str:
        """Why a name is not bound: `is not any more: …`, or `is not`."""
        past = self._past.get(name)
        return "is not" if past is None else f"is not any more: {past.why}"

    def add(self, channel: Channel) -> None:
        """One more channel, whose name is free."""
        self._named[channel.name] = channel

    def retire(self, channel: Channel, why: str) -> None:
        """Frees the channel's name. `why` is a text for people."""
        name = channel.name
        if self._named.get(name) is channel:
            del self._named[name]
            self._retired.append(channel)
            self._past.setdefault(name, _Past(why)).why = why
            if len(self._past) > MAX_PAST:
                del self._past[next(iter(self._past))]

    def is_retired(self, channel: Channel) -> bool:
        """Whether the channel goes on without its name."""
        return channel in self._retired

    def sweep(self, channel: Channel) -> bool:
        """Forgets a channel without a name, if it is done. Whether it is."""
        if channel not in self._retired or not channel.done:
            return False
        self._retired.remove(channel)
        if isinstance(channel, Outgoing):
            self._dropped += channel.dropped
            past = self._past.get(channel.name)
            if past is not None:
                past.unreported_drops += channel.unreported_drops
        else:
            self._dropped += channel.counts.dropped + channel.counts.undelivered
        return True

    # Drain, sync, statistics

    async def drain(self, names: tuple[str, ...]) -> None:
        """Drains the named channels, or all. Of channels that are gone it tells, once, what peers have dropped."""
        await self._each(names, lambda channel: channel.drain())
        for name in names or list(self._past):
            past = self._past.get(name)
            if past is not None and past.unreported_drops:
                count, past.unreported_drops = past.unreported_drops, 0
                raise values_dropped(name, count)

    async def sync(self, names: tuple[str, ...]) -> None:
        """Syncs the named channels, or all."""
        await self._each(names, lambda channel: channel.sync())

    def _outgoing(self, names: tuple[str, ...]) -> list[Outgoing[Any]]:
        everything = self.everything()
        for name in names:
            if name not in self._past and not any(channel.name == name for channel in everything):
                raise NoSuchChannelError(
                    f"{name}: expected a name that is bound here, got one that is not", channel=name
                )
        return [
            channel for channel in everything if isinstance(channel, Outgoing) and (not names or channel.name in names)
        ]

    async def _each(self, names: tuple[str, ...], wait: Callable[[Outgoing[Any]], Awaitable[None]]) -> None:
        errors: list[NetchanError] = []

        async def one(channel: Outgoing[Any]) -> None:
            try:
                await wait(channel)
            except NetchanError as error:
                errors.append(error)

        channels = self._outgoing(names)
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for channel in channels:
                nursery.start_soon(one, channel)
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]

    @property
    def dropped(self) -> int:
        """How many values were dropped in all."""
        return self._dropped + sum(
            channel.dropped if isinstance(channel, Outgoing) else channel.counts.dropped + channel.counts.undelivered
            for channel in self.everything()
        )

    def statistics(self) -> dict[str, ChannelStatistics]:
        """Of the channels that have a name."""
        return {name: channel.statistics() for name, channel in self._named.items()}


def in_use(name: str) -> ChannelNameInUseError:
    """For a name that is bound already."""
    return ChannelNameInUseError(f"{name}: expected a name that is not bound, got one that is", channel=name)
