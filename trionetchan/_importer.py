"""The side that connects to an exporter and binds ends of its own channels to the names there."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import attrs
import trio

from ._binding import Importing
from ._channels.deliveries import Delivery
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._errors import (
    Code,
    ConnectionLostError,
    LimitError,
    NetchanError,
    SessionLostError,
)
from ._identity import Token, check_token
from ._instruments import operation
from ._limits import Limits
from ._network import dialing
from ._network.connection import Connection
from ._network.peer import Peer, Request, new_key
from ._network.transport import STREAM_ERRORS, reason
from ._opening import Opening
from ._protocol.events import ImportRequested
from ._protocol.session import Role
from ._rebinding import Binding, OwnerOfBindings, Rebinding, Wanted, attach, check_schema, refusal_of
from ._statistics import ImporterStatistics

__all__ = [
    "Delivery",
    "Importer",
    "open_importer",
    "open_tcp_importer",
    "open_unix_importer",
    "open_websocket_importer",
]

T = TypeVar("T")


def open_importer(
    stream: trio.abc.Stream | Callable[[], Awaitable[trio.abc.Stream]],
    *,
    token: str | None = None,
    allow_plain_token: bool = False,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Opens an importer over a stream, which belongs to it from now on; use it with `async with`.

    Entering does not wait for the exporter; what is wrong shows at the first `import_`. Leaving normally waits, under
    the caller's cancel scope, until what was accepted from the program (each `send` that has returned) is
    acknowledged; a `send` that is still blocked, or comes later, raises `BrokenResourceError`. Then it says goodbye,
    within `goodbye_timeout`. The exporter sees the end of a channel whose send ends are closed; those that are still
    open then, and all when an exception leaves the block, count as crashed.

    Given a callable that opens a stream, it calls that at once, and again when the connection breaks without a goodbye:
    for `resume_timeout` at most, as long as it raises `OSError` or the stream it returns breaks. Then every channel
    goes on where it was: nothing is lost, nothing comes twice, and the program notices a pause.

    `token` says who this is, to an exporter that wants to know (see `tokens`): 1 to 1,024 bytes of UTF-8. `ValueError`
    for a stream on which others may be able to read it, which is every one but TLS and unix sockets, unless
    `allow_plain_token`.

    The block's body is cancelled, and the block raises `ConnectionLostError` when the stream ends without a goodbye or
    the exporter leaves while a bound channel is unfinished; `SessionLostError`, which is one, when the session could
    not be resumed; `ProtocolError` when the exporter breaks the protocol; `RemoteValueError` when it sends what does
    not fit; `ValueTypeError` or `LimitError` when this program does; `TooManyErrors` when `errors` is left unread;
    `AuthenticationError` when the exporter does not accept this importer.
    """
    shown = _token(token, allow_plain=allow_plain_token)

    async def block() -> AsyncGenerator[Importer]:
        if isinstance(stream, trio.abc.Stream):
            async with _importer_over(stream, shown, limits) as importer:
                yield importer
        else:
            async with _importer_by(dialing.by_calling(stream), shown, limits) as importer:
                yield importer

    return Opening("open_importer", block)


def open_tcp_importer(
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    token: str | None = None,
    allow_plain_token: bool = False,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Connects over TCP, with TLS if there is an `ssl_context`, and opens an importer as `open_importer` does.

    `OSError` at once if nobody listens there, `ValueError` for an `ssl_context` that is made for servers.
    `server_hostname` is the name that the certificate must have; `host` unless told. When the connection breaks, it
    connects again, for `resume_timeout` at most, and every channel goes on where it was. A `token` goes over TLS only,
    else `ValueError`, unless `allow_plain_token`.
    """
    shown = _token(token, allow_plain=allow_plain_token)

    async def block() -> AsyncGenerator[Importer]:
        dial = dialing.tcp(host, port, ssl_context, server_hostname, limits.handshake_timeout)
        async with _importer_by(dial, shown, limits) as importer:
            yield importer

    return Opening("open_tcp_importer", block)


def open_unix_importer(
    path: str | os.PathLike[str],
    *,
    token: str | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Connects to a unix socket and opens an importer as `open_importer` does. `OSError` if nobody listens there.

    When the connection breaks, it connects again, as `open_tcp_importer` does.
    """
    shown = _token(token, allow_plain=False)

    async def block() -> AsyncGenerator[Importer]:
        async with _importer_by(dialing.unix(path), shown, limits) as importer:
            yield importer

    return Opening("open_unix_importer", block)


def open_websocket_importer(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    token: str | None = None,
    allow_plain_token: bool = False,
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractAsyncContextManager[Importer]:
    """Connects over WebSocket and opens an importer as `open_importer` does. Needs the `websocket` extra.

    The URL begins with `ws://`, or with `wss://` for TLS; `ssl_context` is for the latter, and the default one unless
    told. `OSError` at once if nobody listens there, `ProtocolError` if it is no exporter that serves WebSocket, or it
    refuses; `ConnectionLostError` if there is no answer; `ValueError` for another URL, or an `ssl_context` that does
    not go with it. When the connection breaks, it connects again, as `open_tcp_importer` does. A `token` goes over TLS
    only, else `ValueError`, unless `allow_plain_token`.
    """
    shown = _token(token, allow_plain=allow_plain_token)

    async def block() -> AsyncGenerator[Importer]:
        from ._network.websocket import dial

        async with _importer_by(dial(url, ssl_context, limits), shown, limits) as importer:
            yield importer

    return Opening("open_websocket_importer", block)


def _token(text: str | None, *, allow_plain: bool) -> Token | None:
    return None if text is None else Token(check_token(text), allow_plain)


def _importer_over(
    stream: trio.abc.Stream, token: Token | None, limits: Limits
) -> AbstractAsyncContextManager[Importer]:
    dialing.check_may_show(token, stream)
    return Importer(stream, None, token, limits)._block()  # pyright: ignore[reportPrivateUsage]


@contextlib.asynccontextmanager
async def _importer_by(dial: dialing.Dial, token: Token | None, limits: Limits) -> AsyncGenerator[Importer]:
    dial = dialing.checked(dial, token)
    async with dial() as stream, Importer(stream, dial, token, limits)._block() as importer:  # pyright: ignore[reportPrivateUsage]
        yield importer


class Importer(Importing):
    """Binds ends of local channels to names of one exporter. Made by `open_importer` and its kin.

    Longer than other classes because it is the public contract: most of it are signatures and docstrings.
    """

    def __init__(self, stream: trio.abc.Stream, dial: dialing.Dial | None, token: Token | None, limits: Limits) -> None:
        if dial is None:
            limits = attrs.evolve(limits, restart_timeout=0)
        super().__init__(limits)
        self._dial = dial
        self._token = token
        self._peer = self._new_peer()
        self._connection = self._connect(stream, self._peer)
        self._rebinding = Rebinding(
            limits,
            OwnerOfBindings(
                log=self._log,
                peer=lambda: self._peer,
                new_peer=self._new_peer,
                connect=self._connect,
                adopt=self._adopt,
                failed=self._fail,
                run=lambda run: self._nursery.start_soon(self._run_shielded, run),
            ),
        )
        self._resumed = 0

    # Binding

    async def _bind_name(self, wanted: Wanted) -> Channel:
        """Asks the exporter, or the next one if it restarts."""
        while True:
            peer = await self._rebinding.wait_for_peer()
            if wanted.settles:
                await _wait_knows_settle(peer, wanted.name)
            channel = await self._ask(wanted, peer)
            if channel is not None:
                return channel

    async def _ask(self, wanted: Wanted, peer: Peer) -> Channel | None:
        """Asks for a name and binds the end. None: the exporter restarts, and the next one is to be asked."""
        if peer.lost:
            raise self._lost(wanted.name)
        request = wanted.ask(peer, wanted.count)
        try:
            await request.answered.wait()
            if peer.restarting:
                peer.withdraw(request)
                return None
            return self._bind(wanted, request)
        except BaseException:
            peer.withdraw(request)
            raise

    def _bind(self, wanted: Wanted, request: Request) -> Channel:
        """Takes the answer and binds the end, without a checkpoint in between: one without the other cannot be."""
        name = wanted.name
        self._check_binds()
        answer = self._peer.take(request)
        if answer is None or self._peer.lost:
            raise self._lost(name)
        if answer.link is None:
            raise refusal_of(answer, name)
        check_schema(wanted, answer)
        channel = self._channel_for(wanted)
        self._start_channel(channel)
        self._rebinding.add(Binding(wanted, channel, answer.link, wanted.count))
        attach(channel, answer.link)
        return channel

    # What the exporter does

    def _on_peer_left(self, channel: Channel, code: Code | None, message: str) -> None:
        if code in (None, Code.RESTARTING):
            if self._peer.restarting or not self._peer.lost:
                if channel.ended:
                    self._rebinding.forget(channel)
                    self._sweep(channel)
                return  # else it is bound anew, or was
            code = None
        else:
            self._rebinding.forget(channel)
        if isinstance(channel, Outgoing):
            self._on_receiver_left(channel, code, message)
        else:
            self._on_sender_left(channel.name, code, message)

    # The connection

    def _start(self) -> None:
        self._nursery.start_soon(self._run_connection)

    async def _run_connection(self) -> None:
        await self._run_shielded(self._carry)
        if self._peer.failure is not None:
            self._fail(self._peer.failure)

    async def _carry(self) -> None:
        """Carries the session over its first stream, and over others as long as they can be had in time."""
        await self._connection.run()
        while self._dial is not None:
            if self._peer.suspended:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._give_up_in_time, nursery.cancel_scope)
                    await self._resume(self._dial)
                    nursery.cancel_scope.cancel()
            elif not self._peer.restarting or not await self._rebinding.carry(self._dial):
                return

    async def _give_up_in_time(self, attempts: trio.CancelScope) -> None:
        """Ends the session unless it is resumed in time."""
        peer = self._peer
        began, time, failure = trio.current_time(), peer.session.resume_time, peer.failure
        self._log.warning("the connection broke, and is to be resumed within %g s: %s", time, failure)
        changed = peer.changed
        with contextlib.suppress(trio.TooSlowError), operation("resume", side="importer"), trio.fail_after(time):
            await changed.wait()
        if peer.suspended and not changed.is_set():
            peer.lose(SessionLostError(f"expected the connection to be resumed within {time:g} s, got: {failure}"))
            attempts.cancel()
        elif not peer.lost:
            self._resumed += 1
            self._log.warning("the connection is resumed after %.3f s", trio.current_time() - began)

    async def _resume(self, dial: dialing.Dial) -> None:
        """Tries until a stream carries the session again; returns when that has ended."""
        for pause in dialing.pauses():
            await trio.sleep(pause)
            try:
                async with dial() as stream:
                    self._connection = self._connect(stream, self._peer)
                    await self._connection.run()
            except (*STREAM_ERRORS, ConnectionLostError) as error:
                self._log.info("the exporter cannot be reached: %s", reason(error))
                continue
            except Exception as error:  # a mistake of the program, in the callable that it has given
                self._fail(error)
                self._peer.lose(None)
                return
            if self._connection.greeted or self._peer.lost:
                return

    def _lost(self, name: str) -> NetchanError:
        failure = self._peer.failure
        if failure is not None:
            return failure
        return ConnectionLostError(
            f"{name}: expected the exporter to finish the channel, got its goodbye", channel=name
        )

    def _new_peer(self) -> Peer:
        resumable = self._dial is not None and self._limits.resume_timeout > 0
        return Peer(Role.IMPORTER, self._limits, _PeerOwner(tick=self._tick), new_key() if resumable else None)

    def _connect(self, stream: trio.abc.Stream, peer: Peer) -> Connection:
        shown = None if self._token is None else self._token.text.encode()
        return Connection(stream, peer, self._limits, token=shown)

    def _adopt(self, peer: Peer, connection: Connection) -> None:
        """The exporter's next incarnation has answered."""
        self._peer, self._connection = peer, connection

    async def _finish(self) -> None:
        await super()._finish()
        while self._rebinding.owes:
            await self._rebinding.wait_settled()
            await super()._finish()

    def _on_channel_ended(self, channel: Channel) -> None:
        self._rebinding.forget(channel)
        super()._on_channel_ended(channel)

    async def _end_channels(self) -> None:
        failure = self._failure
        if isinstance(failure, SessionLostError):
            for _ in range(2):  # a value may have been handed to a pump that has not run since
                await trio.lowlevel.checkpoint()
            for channel in self._registry.everything():
                if isinstance(channel, Outgoing):
                    unconfirmed, unsent = channel.take_undelivered()
                    failure.unconfirmed.setdefault(channel.name, []).extend(unconfirmed)
                    failure.unsent.setdefault(channel.name, []).extend(unsent)
        await super()._end_channels()

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(self._limits.goodbye_timeout):
            while self._peer.suspended:
                await self._peer.changed.wait()
        if self._peer.suspended:
            self._peer.lose(None)
        self._connection.leave()
        await self._connection.wait_over()
        self._report.close()

    def statistics(self) -> ImporterStatistics:
        """A snapshot: channels by name."""
        self._check_open()
        return ImporterStatistics(channels=self._registry.statistics(), resumed=self._resumed)


async def _wait_knows_settle(peer: Peer, name: str) -> None:
    """An exporter that does not know it would take it for an ordinary import."""
    await peer.greeted.wait()
    if not (peer.lost or peer.session.peer_knows_settle):
        expected = "an exporter that lets importers settle values one by one (acknowledge='manual')"
        raise LimitError(f"{name}: expected {expected}, got one of an older version", channel=name)


@attrs.frozen(kw_only=True)
class _PeerOwner:
    """The importer as its peer sees it: the port `PeerOwner`."""

    tick: Callable[[], None]

    def import_requested(self, peer: Peer, request: ImportRequested, /) -> None:
        raise AssertionError("the session lets only importers ask")

    def reached(self, limit: str, /) -> None:
        """The block raises what is wrong."""

    def grew(self) -> None:
        """What is held of the exporter is bounded by the channels that this side has opened."""

    def peer_changed(self, peer: Peer, address: str | None, /) -> None:
        """There is one exporter, and the block says how it stands."""
