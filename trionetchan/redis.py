"""The same channels on an engine that people run already: Redis (7.0 or later) or Valkey. Needs the `redis` extra.

    async with open_redis_exporter("redis://localhost") as exporter:
        jobs = exporter.open_send_channel("jobs", Job)

    async with open_redis_importer("redis://localhost") as importer:
        jobs = await importer.open_receive_channel("jobs", Job)

Exporters and importers are both clients of the engine; there may be any number of each for a name, on any number of
machines. A value is the engine's once it has it, and survives every process of ours. What else is different from one
exporter that listens is in docs/redis.md.
"""

from __future__ import annotations

import functools
import math
import ssl
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from ._binding import Importing
from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._channels.waits import values_dropped
from ._codec import Codec, Schema, difference
from ._endpoint import BlockState, Endpoint, Owner
from ._errors import Code, ConnectionLostError, NetchanError, TypeMismatchError, WrongDirectionError
from ._limits import Limits
from ._opening import Opening
from ._publishing import Publishing
from ._rebinding import Wanted
from ._statistics import Direction, ExporterStatistics, ImporterStatistics

try:
    from ._redis.engine import Engine, EngineSettings, open_engine
except ImportError as error:
    raise ImportError("trionetchan.redis needs coredis: pip install 'trionetchan[redis]'") from error
from ._redis.member import Found, Terms
from ._redis.names import Keys, keys_of
from ._redis.receiving import ReceiveLink
from ._redis.sending import SendLink

__all__ = ["RedisExporter", "RedisImporter", "open_redis_exporter", "open_redis_importer"]

WINDOW = 1024  # values that an exporter may have taken and the engine not yet have
EVERYTHING = 2**53  # above the number of any value

Link = SendLink | ReceiveLink


def open_redis_exporter(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    namespace: str = "trionetchan",
    max_backlog: int = 2**16,
    lease: float = 30.0,
    replicas: int = 0,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[RedisExporter]:
    """Connects to the engine and opens an exporter there; use it with `async with`.

    `url`: `redis://[user[:password]@]host[:port][/db]`, `rediss://…` for TLS (with `ssl_context`, or the default one),
    `unix:///path`, `redis+cluster://host:port,host:port`, `redis+sentinel://host:port,host:port/service`. `namespace`:
    what the names of all keys begin with. `max_backlog`: how many values of a channel may be in the engine; above that
    senders wait. `lease`: after how many seconds without a sign of life what a process holds goes to others.
    `replicas`: how many replicas must have a value before it counts as the engine's.

    Leaving the block normally waits, under the caller's cancel scope, until the engine has what was accepted from the
    program (each `send` that has returned). Importers see the end of a channel whose send ends are closed in every
    exporter of it. Ends that are still open then count as crashed: importers wait for the next exporter.

    `OSError` at once if the engine cannot be reached, `ValueError` for another URL. The block raises
    `ConnectionLostError` when the engine cannot be reached for `limits.resume_timeout`, or has lost what it had
    confirmed; `TypeMismatchError` or `WrongDirectionError` when another exporter of the name has another type; and
    what `open_exporter`'s does.
    """
    settings = _settings(namespace, lease, replicas, limits)
    if max_backlog < 1:
        raise ValueError(f"max_backlog: expected at least 1, got {max_backlog}")

    async def block() -> AsyncGenerator[RedisExporter]:
        async with (
            open_engine(url, ssl_context, settings) as engine,
            RedisExporter(engine, max_backlog, limits)._block() as exporter,  # pyright: ignore[reportPrivateUsage]
        ):
            yield exporter

    return Opening("open_redis_exporter", block)


def open_redis_importer(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    namespace: str = "trionetchan",
    wait_for_export: float = 1.0,
    lease: float = 30.0,
    replicas: int = 0,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[RedisImporter]:
    """Connects to the engine and opens an importer there; use it with `async with`. Arguments as of
    `open_redis_exporter`.

    `wait_for_export`: for how many seconds an import waits for a name that nobody has exported yet, before
    `NoSuchChannelError`. Leaving waits as leaving an exporter does; what was not acknowledged goes to other importers.

    `OSError` at once if the engine cannot be reached, `ValueError` for another URL. The block raises
    `ConnectionLostError` when the engine cannot be reached for `limits.resume_timeout`, or has lost what it had
    confirmed, and what `open_importer`'s does.
    """
    settings = _settings(namespace, lease, replicas, limits)

    async def block() -> AsyncGenerator[RedisImporter]:
        async with (
            open_engine(url, ssl_context, settings) as engine,
            RedisImporter(engine, wait_for_export, limits)._block() as importer,  # pyright: ignore[reportPrivateUsage]
        ):
            yield importer

    return Opening("open_redis_importer", block)


def _settings(namespace: str, lease: float, replicas: int, limits: Limits) -> EngineSettings:
    if not 0 < lease < math.inf:
        raise ValueError(f"lease: expected a number of seconds above 0, got {lease}")
    if not namespace or not set(namespace).isdisjoint("{}"):
        raise ValueError(f"namespace: expected a text without braces, got {namespace!r}")
    return EngineSettings(namespace=namespace, lease=lease, outage_timeout=limits.resume_timeout, replicas=replicas)


class _OnEngine(Endpoint):
    """What exporters and importers on an engine have in common: their links, and what waits for the engine."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        super().__init__(limits)
        self._engine = engine
        self._links: dict[Channel, Link] = {}
        self._present: set[Link] = set()  # not left yet
        self._hanging_up: dict[str, set[trio.Event]] = {}  # names of which the link had left before

    def _start(self) -> None:
        self._nursery.start_soon(self._run_shielded, self._look_for_gone_receivers)

    async def _look_for_gone_receivers(self) -> None:
        while self._state in (BlockState.OPEN, BlockState.FINISHING):  # it may run for the first time after that
            await trio.sleep(self._limits.keepalive)  # trio has no event for it
            self._tick()

    def _keys(self, name: str) -> Keys:
        return keys_of(self._engine.settings.namespace, name)

    def _sending_link(self, name: str, terms: Terms, window: int) -> SendLink:
        limits = self._limits
        return SendLink(
            self._engine,
            self._keys(name),
            terms,
            window=min(window, limits.max_window),
            max_value_size=limits.max_value_size,
            max_bytes=limits.max_buffered_bytes,
        )

    def _receiving_link(
        self, name: str, terms: Terms, window: int, count: int | None = None, *, dead_letters: bool = False
    ) -> ReceiveLink:
        limits, keys = self._limits, self._keys(name)
        return ReceiveLink(
            self._engine,
            (dead_letters and keys.dead_letters) or keys,
            terms,
            window=min(max(1, window), limits.max_window),
            count=count,
            max_bytes=limits.max_buffered_bytes,
        )

    def _attach(self, channel: Channel, link: Link) -> None:
        """Binds a channel to a link, without a checkpoint."""
        self._links[channel] = link
        self._present.add(link)
        if isinstance(channel, Outgoing):
            assert isinstance(link, SendLink)
            channel.attach(link)
            link.attach(channel)
        else:
            assert isinstance(link, ReceiveLink)
            channel.attach(link)
            link.attach(channel, unbuffered=channel.unbuffered)

    async def _carry(self, link: Link, *, register: bool) -> None:
        """The task of a link."""

        async def run() -> None:
            if register:
                await self._wait_left(link)
                await link.register()
            await link.run()

        try:
            await self._run_shielded(run)
        finally:
            self._present.discard(link)

    async def _wait_left(self, link: Link) -> None:
        """A name that is bound anew at once must not meet what was bound to it before."""
        ended = {other for channel, other in self._links.items() if channel.ended}
        for other in [*self._present]:
            if other is not link and other.name == link.name and (other.closing or other in ended):
                await other.done.wait()
        for done in [*self._hanging_up.get(link.name, ())]:
            await done.wait()

    async def _hang_up(self, link: SendLink) -> None:
        """Takes a name away whose link has left already, or is about to."""
        done = trio.Event()
        self._hanging_up.setdefault(link.name, set()).add(done)
        try:
            await link.done.wait()
            await link.hang_up()
        finally:
            self._hanging_up[link.name].discard(done)
            if not self._hanging_up[link.name]:
                del self._hanging_up[link.name]
            done.set()

    def _sweep(self, channel: Channel) -> None:
        super()._sweep(channel)
        if channel not in self._registry.everything():
            self._links.pop(channel, None)

    @property
    def _stands(self) -> bool:
        return self._state is BlockState.OPEN and self._failure is None

    async def _wait_registered(self, names: Iterable[str]) -> None:
        for channel, link in list(self._links.items()):
            if not names or channel.name in names:
                await link.registered.wait()

    # Drain and sync: what the engine has is not yet an importer's

    def _sending(self, names: Iterable[str]) -> list[SendLink]:
        return [
            link
            for channel, link in self._links.items()
            if isinstance(link, SendLink) and (not names or channel.name in names)
        ]

    async def drain(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until every value sent into the named channels, or all, has been acknowledged by an importer.

        As of an exporter that listens. What others have sent into the same channels before is waited for, too.
        """
        with self._call(), trio.fail_after(timeout):
            while True:
                await self._registry.drain(names)
                links = self._sending(names)
                if not await self._wait_acknowledged(links):
                    return

    async def sync(self, *names: str, timeout: float = math.inf) -> None:
        """Waits until the values that the engine has been handed, when it is called, are acknowledged by importers.

        As of an exporter that listens. What others have sent into the same channels before is waited for, too. Of a
        name that has just been exported, it waits until the engine knows it.
        """
        with self._call(), trio.fail_after(timeout):
            await self._registry.sync(names)
            await self._wait_registered(names)
            await self._wait_acknowledged(self._sending(names))

    async def _wait_acknowledged(self, links: list[SendLink]) -> bool:
        """Waits until what the engine has of these links is acknowledged. Whether it has got more meanwhile."""
        for link in links:
            await link.registered.wait()
        numbers = {link: link.last for link in links}
        errors: list[NetchanError] = []

        async def wait(link: SendLink) -> None:
            try:
                count = await link.wait_acknowledged(numbers[link])
                if count:
                    errors.append(values_dropped(link.name, count))
            except NetchanError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(wait, link)
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]
        return any(link.last != numbers[link] or link.unacknowledged for link in links)

    # The end

    async def _say_goodbye(self) -> None:
        links = list(self._present)
        for link in links:
            if isinstance(link, SendLink):
                link.abandon()
            else:
                link.close(Code.FINISHED)
        with trio.move_on_after(self._limits.goodbye_timeout):
            for link in links:
                await link.done.wait()


class RedisExporter(_OnEngine, Publishing):
    """Publishes channels by name on an engine. Made by `open_redis_exporter`."""

    _last_word = None

    def __init__(self, engine: Engine, max_backlog: int, limits: Limits) -> None:
        super().__init__(engine, limits)
        self._max_backlog = max_backlog
        self._terms: dict[Channel, Terms] = {}

    def _export_outgoing(self, name: str, end: Any, codec: Codec[Any], window: int, dead_letters: Any) -> None:
        channel = Outgoing(name, end, codec, window=window, limits=self._limits, owner=self._owner)
        record = self._record(codec, sends=True, window=window, expected=1, letters=dead_letters is not None)
        terms = Terms(produces=True, check=_check_of_exporter(name, codec, sends=True), record=record)
        self._start_channel(channel)
        link = self._sending_link(name, terms, min(WINDOW, self._max_backlog))
        self._attach(channel, link)
        if dead_letters is None:
            self._nursery.start_soon(lambda: self._carry(link, register=True))
        else:
            self._nursery.start_soon(self._carry_with_dead_letters, link, dead_letters, codec)

    def _export_incoming(self, name: str, end: Any, codec: Codec[Any], window: int, importers: int | None) -> None:
        channel = Incoming(name, end, codec, window=window, importers=1, owner=self._owner)
        record = self._record(codec, sends=False, window=window, expected=importers or 0)
        self._terms[channel] = Terms(produces=False, check=_check_of_exporter(name, codec, sends=False), record=record)
        self._start_channel(channel)
        self._receive(channel)

    def _receive(self, channel: Incoming[Any]) -> None:
        link = self._receiving_link(channel.name, self._terms[channel], channel.window)
        self._attach(channel, link)
        self._nursery.start_soon(lambda: self._carry(link, register=True))

    def _record(
        self, codec: Codec[Any], *, sends: bool, window: int, expected: int, letters: bool = False
    ) -> list[bytes | str | int]:
        fields: dict[str, bytes | int] = {
            "schema": codec.schema.to_bytes(),
            "sends": int(sends),
            "window": max(1, window),
            "expected": expected,
            "max_backlog": self._max_backlog,
            "max_redeliveries": self._limits.max_redeliveries,
            "dead_letters": int(letters),
            "last": 0,
            "largest": 1,
            "dealt": 0,
        }
        return [each for field in fields.items() for each in field]

    # Dead letters: a channel of their own in the engine

    async def _carry_with_dead_letters(self, link: SendLink, end: Any, codec: Codec[Any]) -> None:
        """Receives the dead letters of a channel, until it is over and they are delivered."""
        name = link.name
        owner = Owner(log=self._log, failed=self._fail, peer_left=_ignore, channel_ended=_ignore)
        channel = Incoming(name, end, codec, window=64, importers=1, owner=owner)
        record = self._record(codec, sends=True, window=64, expected=0)
        terms = Terms(produces=False, check=lambda _: None, record=record)
        letters = self._receiving_link(name, terms, 64, dead_letters=True)
        self._present.add(letters)
        channel.attach(letters)
        letters.attach(channel, unbuffered=channel.unbuffered)

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                await letters.register()
                nursery.start_soon(letters.run)
                await self._carry(link, register=True)
                if self._stands:
                    await link.wait_acknowledged(EVERYTHING)
                    await letters.wait_acknowledged(EVERYTHING)
                channel.finish(Code.FINISHED)

        await self._run_shielded(run)

    # What happens in the engine

    def _on_peer_left(self, channel: Channel, code: Code | None, message: str) -> None:
        if isinstance(channel, Incoming):
            if code is Code.VALUE_REFUSED:
                self._log.warning("a value of an importer was refused: %s", message)
            if code in (Code.VALUE_REFUSED, Code.WITHDRAWN) and self._stands and not channel.ended:
                self._receive(channel)
            return
        if code in (Code.HUNG_UP, Code.RECEIVER_GONE) and not channel.ended:
            self._log.warning("channel %r: another exporter has hung it up", channel.name)
            self._registry.retire(channel, "it was hung up by another exporter")
            channel.abandon("another exporter hung it up", by_peer=True)
        self._give_up(channel)
        self._sweep(channel)

    def _sweep(self, channel: Channel) -> None:
        super()._sweep(channel)
        if channel not in self._links:
            self._terms.pop(channel, None)

    def hangup(self, name: str) -> None:
        """Takes the name away in the engine, for all exporters and importers of it. Else as an exporter that listens.

        What is in the engine and not acknowledged is dropped, and counted.
        """
        self._check_open()
        link = self._links.get(self._registry.bound(name))
        has_left = isinstance(link, SendLink) and link.closing
        super().hangup(name)
        if has_left and isinstance(link, SendLink):
            self._nursery.start_soon(self._run_shielded, functools.partial(self._hang_up, link))

    def statistics(self) -> ExporterStatistics:
        """A snapshot. `acknowledged`: the engine has it; `resumed`: how often the engine was out of reach."""
        self._check_open()
        return ExporterStatistics(
            channels=self._registry.statistics(),
            connections=1,
            suspended=0,
            resumed=self._engine.outages,
            dropped=self._registry.dropped + self._engine.dropped,
            limits={},
            principals={},
            refused=0,
            denied=0,
        )


class RedisImporter(_OnEngine, Importing):
    """Binds ends of local channels to names on an engine. Made by `open_redis_importer`."""

    def __init__(self, engine: Engine, wait_for_export: float, limits: Limits) -> None:
        super().__init__(engine, limits)
        self._wait_for_export = wait_for_export
        self._bound: dict[Channel, tuple[Wanted, int]] = {}  # and the window

    async def _bind_name(self, wanted: Wanted) -> Channel:
        link = self._link_of(wanted, self._terms_of(wanted), wanted.window, wanted.count)
        try:
            await self._wait_left(link)
            found = await link.register()
            self._check_binds()
        except BaseException:
            self._nursery.start_soon(self._run_shielded, link.withdraw)
            raise
        link.window = min(link.window, max(1, found.window))
        channel = self._channel_for(wanted)
        self._bound[channel] = wanted, link.window
        self._start_channel(channel)
        self._attach(channel, link)
        self._nursery.start_soon(lambda: self._carry(link, register=False))
        return channel

    def _terms_of(self, wanted: Wanted) -> Terms:
        return Terms(
            produces=wanted.direction is Direction.SEND,
            settles=wanted.settles,
            check=_check_of_importer(wanted),
            patience=self._wait_for_export,
        )

    def _link_of(self, wanted: Wanted, terms: Terms, window: int, count: int | None) -> Link:
        if terms.produces:
            return self._sending_link(wanted.name, terms, window)
        return self._receiving_link(wanted.name, terms, window, count)

    def _on_peer_left(self, channel: Channel, code: Code | None, message: str) -> None:
        if isinstance(channel, Outgoing):
            self._on_receiver_left(channel, code, message)
        elif code is Code.WITHDRAWN:
            if self._stands and not channel.ended:
                self._receive_again(channel)
        else:
            self._on_sender_left(channel.name, code, message)

    def _receive_again(self, channel: Incoming[Any]) -> None:
        """The lease was over; what it held is others'."""
        wanted, window = self._bound[channel]
        old = self._links[channel]
        assert isinstance(old, ReceiveLink)
        self._log.warning("channel %r: its lease was over, and what it held went to others", channel.name)
        link = self._receiving_link(wanted.name, self._terms_of(wanted), window, old.to_deliver)
        self._attach(channel, link)
        self._nursery.start_soon(lambda: self._carry(link, register=True))

    def _sweep(self, channel: Channel) -> None:
        super()._sweep(channel)
        if channel not in self._links:
            self._bound.pop(channel, None)

    def _lost(self, name: str) -> NetchanError:
        return ConnectionLostError(f"{name}: expected the engine to keep the channel, got no word of it", channel=name)

    async def _say_goodbye(self) -> None:
        await super()._say_goodbye()
        self._report.close()

    def statistics(self) -> ImporterStatistics:
        """A snapshot. `acknowledged`: the engine has it; `resumed`: how often the engine was out of reach."""
        self._check_open()
        return ImporterStatistics(channels=self._registry.statistics(), resumed=self._engine.outages)


def _ignore(*_: object) -> None:
    """Nobody needs to be told."""


def _check_of_exporter(name: str, codec: Codec[Any], *, sends: bool) -> Any:
    """Exporters of one name must agree: importers have been compared with what the first of them said."""

    def check(found: Found) -> None:
        if found.sends != sends:
            way = "send" if sends else "receive"
            raise WrongDirectionError(
                f"{name}: expected all exporters to {way}, got another that does not", channel=name
            )
        theirs = Schema.from_bytes(found.schema)
        where = difference(codec.schema, theirs) if sends else difference(theirs, codec.schema)
        if where is not None:
            told = where.told_to_sender() if sends else where.told_to_receiver()
            raise TypeMismatchError(f"{name}: {told}, which another exporter has said", channel=name)

    return check


def _check_of_importer(wanted: Wanted) -> Any:
    name, own, sends = wanted.name, wanted.codec.schema, wanted.direction is Direction.SEND

    def check(found: Found) -> None:
        if found.sends == sends:
            way = "send" if sends else "receive"
            message = f"{name}: expected the two sides in opposite directions, got both that {way}"
            raise WrongDirectionError(message, channel=name)
        theirs = Schema.from_bytes(found.schema)
        where = difference(own, theirs) if sends else difference(theirs, own)
        if where is not None:
            told = where.told_to_sender() if sends else where.told_to_receiver()
            raise TypeMismatchError(f"{name}: {told}", channel=name)

    return check
