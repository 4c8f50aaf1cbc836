"""The side that connects to an exporter and binds ends of its own channels to the names there."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar, overload

import attrs
import trio
from typing_extensions import TypeForm

from ._arguments import check_name, codec_of, direction_of, settles, whole_number
from ._channels.deliveries import Delivery
from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel, in_use
from ._endpoint import Endpoint
from ._errors import (
    Code,
    ConnectionLostError,
    LimitError,
    NetchanError,
    RemoteValueError,
    SessionLostError,
    TooManyErrors,
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
from ._protocol.frames import MAX_COUNT
from ._protocol.session import Role
from ._rebinding import Binding, OwnerOfBindings, Rebinding, Wanted, attach, check_schema, refusal_of
from ._statistics import Direction, ImporterStatistics

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


class Importer(Endpoint):
    """Binds ends of local channels to names of one exporter. Made by `open_importer` and its kin.

    Longer than other classes because it is the public contract: most of it are signatures and docstrings.
    """

    _last_word = Code.RECEIVER_GONE  # what it has not acknowledged goes to other importers

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
        self._asking: set[str] = set()  # names of imports that wait for an answer
        self._report, self._errors = trio.open_memory_channel[NetchanError](limits.max_unread_errors)

    @property
    def errors(self) -> trio.MemoryReceiveChannel[NetchanError]:
        """Why sending channels of this importer broke; each exception has `.channel`.

        When more than `max_unread_errors` wait here unread, the importer shuts down: the block raises `TooManyErrors`.
        """
        return self._errors

    # Binding

    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[T] | trio.abc.ReceiveChannel[T],
        value_type: TypeForm[T],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["delivered"] = "delivered",
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Delivery[T]],
        value_type: TypeForm[T],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["manual"],
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Any] | trio.abc.ReceiveChannel[Any],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["delivered"] = "delivered",
    ) -> None: ...
    @overload
    async def import_(
        self,
        name: str,
        end: trio.abc.SendChannel[Delivery[Any]],
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["manual"],
    ) -> None: ...
    async def import_(
        self,
        name: str,
        end: Any,
        value_type: Any = Any,
        *,
        direction: Direction | None = None,
        window: int = 64,
        count: int | None = None,
        acknowledge: Literal["delivered", "manual"] = "delivered",
    ) -> None:
        """Binds one end of a channel, whose other end the caller keeps, to a name of the exporter; waits for its
        answer.

        A send end is received into, a receive end is sent from. From its return on the end belongs to the importer.
        `window`: how many values may be unacknowledged; the smaller of the two sides' counts. `count`: after so many
        values the import ends as if finished; None is unbounded. `acknowledge`: "delivered", when the local end has a
        value; "manual", the end gets a `Delivery` of each, which the program settles with `ack` or `reject`. `window`
        and `count` are then of settled values; the end comes when no importer has an unsettled one any more.

        `NoSuchChannelError`, `PermissionDeniedError`, `WrongDirectionError`, `TypeMismatchError`,
        `ChannelNameInUseError` (bound by this importer already), `ValueTypeError` (a type that cannot be carried),
        `LimitError` (also for "manual" with an exporter of an older version), and what ends the connection.
        `ValueError` for "manual" where this side sends. Failed or cancelled, it withdraws and leaves the end to the
        caller, open.
        """
        direction = direction_of(name, end, direction)
        await self._import(name, end, direction, value_type, window, count, acknowledge)

    @overload
    async def open_send_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemorySendChannel[T]: ...
    @overload
    async def open_send_channel(
        self, name: str, *, window: int = 64, count: int | None = None, max_buffer_size: float = 0
    ) -> trio.MemorySendChannel[Any]: ...
    async def open_send_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
    ) -> trio.MemorySendChannel[Any]:
        """Opens a memory channel, binds it to the name, and returns the end that sends. Else as `import_`."""
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            await self._import(name, receive, Direction.SEND, value_type, window, count)
        except BaseException:
            send.close()
            receive.close()
            raise
        return send

    @overload
    async def open_receive_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["delivered"] = "delivered",
    ) -> trio.MemoryReceiveChannel[T]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        value_type: TypeForm[T],
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["manual"],
    ) -> trio.MemoryReceiveChannel[Delivery[T]]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["delivered"] = "delivered",
    ) -> trio.MemoryReceiveChannel[Any]: ...
    @overload
    async def open_receive_channel(
        self,
        name: str,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["manual"],
    ) -> trio.MemoryReceiveChannel[Delivery[Any]]: ...
    async def open_receive_channel(
        self,
        name: str,
        value_type: Any = Any,
        *,
        window: int = 64,
        count: int | None = None,
        max_buffer_size: float = 0,
        acknowledge: Literal["delivered", "manual"] = "delivered",
    ) -> trio.MemoryReceiveChannel[Any]:
        """Opens a memory channel, binds it to the name, and returns the end where values arrive. Else as `import_`.

        When the block is over and the channel is not, the end raises `ClosedResourceError`. A `clone()` of it is the
        program's own: it would wait.
        """
        send, receive = trio.open_memory_channel[Any](max_buffer_size)
        try:
            channel = await self._import(name, send, Direction.RECEIVE, value_type, window, count, acknowledge)
        except BaseException:
            send.close()
            receive.close()
            raise
        self._opened[channel] = receive
        return receive

    async def _import(
        self,
        name: str,
        end: Any,
        direction: Direction,
        value_type: Any,
        window: int,
        count: int | None,
        acknowledge: str = "delivered",
    ) -> Channel:
        check_name(name)
        whole_number("window", window, None)
        if count is not None:
            whole_number("count", count, 0, MAX_COUNT)
        manual = settles(name, acknowledge, direction)
        wanted = Wanted(name, end, direction, codec_of(name, value_type), max(1, window), count, manual)
        self._check_binds()
        with operation("import", channel=name), self._call():
            self._check_name_free(name)
            self._asking.add(name)
            try:
                while True:
                    peer = await self._rebinding.wait_for_peer()
                    if manual:
                        await _wait_knows_settle(peer, name)
                    channel = await self._ask(wanted, peer)
                    if channel is not None:
                        return channel
            finally:
                self._asking.discard(name)
        raise AssertionError("a call that was ended has raised")

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

    def _check_name_free(self, name: str) -> None:
        old = self._registry.get(name)
        if isinstance(old, Outgoing) and old.sender_closed:
            self._registry.retire(old, "it has finished")  # it goes on without its name
        if name in self._asking:
            raise in_use(name)
        self._registry.check_free(name)

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

    def _channel_for(self, wanted: Wanted) -> Channel:
        if wanted.direction is Direction.RECEIVE:
            return Incoming(wanted.name, wanted.end, wanted.codec, window=wanted.window, importers=1, owner=self._owner)
        return Outgoing(
            wanted.name,
            wanted.end,
            wanted.codec,
            window=wanted.window,
            count=wanted.count,
            limits=self._limits,
            owner=self._owner,
        )

    async def _run_channel(self, channel: Channel) -> None:
        await super()._run_channel(channel)
        self._registry.retire(channel, "it has ended")
        self._sweep(channel)

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

    def _on_receiver_left(self, channel: Outgoing[Any], code: Code | None, message: str) -> None:
        """The exporter has said its last word on a sending channel, or is lost."""
        name = channel.name
        self._registry.retire(channel, "it has ended")
        if not channel.ended and not channel.complete and code is not Code.COUNT_REACHED:
            if code is None:  # its end stays as it is until the body has unwound
                self._fail(self._lost(name))
            else:
                undelivered = channel.waiting
                channel.abandon(message, by_peer=True)
                kind, what = _BREAKS.get(code, (NetchanError, "the exporter closed it"))
                detail = f" ({message})" if message else ""
                self._tell(kind(f"{name}: {what}{detail}; {undelivered} values were not delivered", channel=name))
        self._sweep(channel)

    def _on_sender_left(self, name: str, code: Code | None, message: str) -> None:
        """The exporter is done with a receiving channel; only in an orderly way is that an end."""
        if code is None:
            self._fail(self._lost(name))
        elif code is Code.VALUE_REFUSED:
            self._fail(RemoteValueError(message, channel=name))
        elif code is Code.LIMIT:
            self._fail(LimitError(message, channel=name))

    def _tell(self, error: NetchanError) -> None:
        """Why a sender of this program gets a bare `BrokenResourceError`."""
        self._log.warning("%s", error)
        try:
            self._report.send_nowait(error)
        except trio.WouldBlock:
            waiting: list[NetchanError] = []
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    waiting.append(self._errors.receive_nowait())
            limit = self._limits.max_unread_errors
            self._fail(
                TooManyErrors(
                    f"expected at most {limit} unread errors, got one more: {error}", errors=[*waiting, error]
                )
            )
        except trio.BrokenResourceError:
            pass  # the program has closed `errors`: it does not want to know

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


_BREAKS: dict[Code, tuple[type[NetchanError], str]] = {
    Code.HUNG_UP: (NetchanError, "hung up by the exporter"),
    Code.RECEIVER_GONE: (NetchanError, "the exporter's receiver is gone"),
    Code.VALUE_REFUSED: (RemoteValueError, "the exporter refused a value"),
    Code.LIMIT: (LimitError, "a limit was reached"),
}
