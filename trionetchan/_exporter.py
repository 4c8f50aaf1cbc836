"""The side that publishes channels by name, and serves any number of importers on any number of streams."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import attrs
import trio

from ._access import Access
from ._arguments import whole_number
from ._channels.dead_letters import DeadLetters
from ._channels.incoming import Incoming
from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._codec import Codec, Comparisons
from ._endpoint import BlockState
from ._errors import Code, LimitReached
from ._identity import Authenticate, Authorize
from ._limits import Limits
from ._network.admission import Admission, Guest
from ._network.connection import Connection
from ._network.links import ReceiveLink, SendLink
from ._network.listening import BoundListener, PatientListener, exposure, listen_tcp, listen_unix
from ._network.peer import Peer
from ._network.sessions import Sessions
from ._network.transport import check_ssl_context
from ._observation import STATISTICS
from ._observing import Observatory, Observer
from ._opening import Opening
from ._peers import PeerEvents, Peers
from ._protocol.events import ImportRequested
from ._protocol.session import Role
from ._publishing import Publishing
from ._statistics import ExporterStatistics
from ._stopping import Accepting, bring_to_rest, give_back, say_farewell, tell_unfinished

__all__ = ["Exporter", "open_exporter"]

T = TypeVar("T")

logger = logging.getLogger("trionetchan")


def open_exporter(
    *,
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    limits: Limits = Limits(),  # noqa: B008
    observable: bool = False,
) -> AbstractAsyncContextManager[Exporter]:
    """Opens an exporter; use it with `async with`.

    `authenticate` is asked once for each connection, and `authorize` once for each import: see `Authenticate`,
    `Authorize`, and the ready-made ones. Without `authenticate` whoever connects is served; the principal is
    "anonymous". Without `authorize` whoever is served may bind every name. A peer that is refused gets
    `AuthenticationError`, and an import `PermissionDeniedError`, in the same words whether there is such a channel.
    Both have `handshake_timeout` to answer; late, or with an exception, they refuse. They hold for all that is served.

    `observable`: importers may ask how it stands, as the command line does: it has a channel `$statistics` then. See
    `trionetchan.observation` for what is told.

    Leaving the block normally waits, under the caller's cancel scope, until what was accepted from the program (each
    `send` that has returned) is acknowledged by the importers there are; a `send` that is still blocked, or comes
    later, raises `BrokenResourceError`. What nobody is there to take is dropped, counted and logged. Then it says
    goodbye, which takes `goodbye_timeout` at most. Importers see the end of a channel whose send ends are closed; ends
    that are still open then, and all ends when an exception leaves the block, count as crashed: importers fail.

    The block raises `ValueTypeError` or `LimitError` when the program sends a value that does not fit, and what a
    foreign end raises. No peer can make it raise.
    """

    async def block() -> AsyncGenerator[Exporter]:
        made = Exporter(authenticate, authorize, limits, observable)
        async with made._block() as exporter:  # pyright: ignore[reportPrivateUsage]
            yield exporter

    return Opening("open_exporter", block)


class Exporter(Publishing):
    """Publishes channels by name. Made by `open_exporter`.

    Longer than other classes because it is the public contract: most of it are signatures and docstrings.
    """

    _last_word = None  # to its importers, a channel that is bound and not finished is broken by the goodbye

    def __init__(
        self, authenticate: Authenticate | None, authorize: Authorize | None, limits: Limits, observable: bool
    ) -> None:
        super().__init__(limits)
        self._connections: dict[Connection, None] = {}  # in the order of their coming: each run is like the last
        self._serving: set[trio.CancelScope] = set()
        self._accepting = Accepting()
        self._comparisons = Comparisons()
        self._limits_reached = Counter[str]()
        self._sessions = Sessions(limits, self._on_limit, self._log)
        self._admission = Admission(limits, self._on_limit, self._log)
        self._access = Access(
            authenticate,
            authorize,
            limits,
            log=self._log,
            decided=self._on_import,
            reached=self._on_limit,
            run=self._run_beside,
        )
        self._peers = Peers()
        self._as_peer_owner = _PeerOwner(
            import_requested=self._access.ask,
            tick=self._tick,
            reached=self._on_limit,
            grew=self._on_growth,
            peer_changed=self._peers.changed,
        )
        self._observatory = self._new_observatory() if observable else None

    def _run_beside(self, run: Callable[[], Awaitable[None]]) -> None:
        """A background task."""
        self._nursery.start_soon(self._run_shielded, run)

    def _new_observatory(self) -> Observatory:
        observer = Observer(self._peers, self.statistics, self._registry.bound)
        return Observatory(self._limits, self._log, observer.take, self._run_beside)

    def _export_outgoing(self, name: str, end: Any, codec: Codec[Any], window: int, dead_letters: Any) -> None:
        letters = None
        if dead_letters is not None:
            letters = DeadLetters(name, dead_letters, codec)
            self._nursery.start_soon(self._run_shielded, letters.run)
        self._start_channel(
            Outgoing(name, end, codec, window=window, limits=self._limits, owner=self._owner, dead_letters=letters)
        )

    def _export_incoming(self, name: str, end: Any, codec: Codec[Any], window: int, importers: int | None) -> None:
        most = self._limits.max_total_bytes
        self._start_channel(
            Incoming(name, end, codec, window=window, importers=importers, owner=self._owner, max_lost_bytes=most)
        )

    # What peers do

    def _on_import(self, peer: Peer, request: ImportRequested) -> None:
        """An importer asks to bind a name, and may."""
        refusal = self._refusal(peer, request)
        if refusal is not None:
            peer.reject(request, *refusal)
            return
        channel = self._registry.get(request.name)
        if channel is None:
            assert self._observatory is not None
            channel = self._observatory.open()
        link = peer.accept(request, window=channel.window, schema=channel.codec.schema.to_bytes())
        if isinstance(channel, Outgoing):
            assert isinstance(link, SendLink)
            channel.attach(link)
            link.attach(channel)
        else:
            assert isinstance(link, ReceiveLink)
            channel.attach(link)
            link.attach(channel, unbuffered=channel.unbuffered)

    def _refusal(self, peer: Peer, request: ImportRequested) -> tuple[Code, str] | None:
        """Why an import is refused, if it is."""
        name = request.name
        channel = self._registry.get(name)
        if name == STATISTICS and self._observatory is not None:
            channel = self._observatory.sample
        if self._accepting.stopped:
            return Code.NO_SUCH_CHANNEL, f"{name}: expected an exporter that serves, got one that is stopping"
        if channel is None or channel.ended or not self._serves:
            why = "is not" if channel is not None else self._registry.why_not(name)
            return Code.NO_SUCH_CHANNEL, f"{name}: expected a name that is exported, got one that {why}"
        sends = isinstance(channel, Outgoing)
        if sends != request.receives:
            way = "send" if sends else "receive"
            return Code.WRONG_DIRECTION, f"{name}: expected the two sides in opposite directions, got both that {way}"
        own = channel.codec.schema
        types = (own, request.schema) if sends else (request.schema, own)
        where, work = self._comparisons.compare(*types)
        peer.session.costs.compare(work)
        if where is not None:
            told = where.told_to_receiver() if sends else where.told_to_sender()
            return Code.TYPE_MISMATCH, f"{name}: {told}"
        return None

    def _on_limit(self, limit: str) -> None:
        self._limits_reached[limit] += 1

    def _on_growth(self) -> None:
        """If too much is held of all importers, the one of which most is held goes."""
        peers = {connection.peer: connection for connection in self._connections}
        held = {
            peer: peer.session.buffered_bytes for peer in [*peers, *self._sessions.suspended_peers] if not peer.lost
        }
        total, most = sum(held.values()), self._limits.max_total_bytes
        if total > most:
            largest = max(held, key=held.__getitem__)
            expected = f"values of at most {most} bytes that wait to be delivered, of all importers"
            why = LimitReached("max_total_bytes", f"expected {expected}, got {total}, most of them yours")
            if largest in peers:
                peers[largest].exceed(why)
            else:
                self._sessions.drop(largest, why)

    def _on_peer_left(self, channel: Channel, code: Code | None, message: str) -> None:
        if isinstance(channel, Outgoing):
            self._give_up(channel)
            self._sweep(channel)
        elif code is Code.VALUE_REFUSED:
            channel.counts.dropped += 1
            self._log.warning("a value of an importer was refused: %s", message)

    # Serving

    async def serve_tcp(
        self,
        port: int,
        *,
        host: str | bytes | None = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[list[BoundListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves importers over TCP, with TLS if there is an `ssl_context`, until cancelled or the block is left.

        Start it with `nursery.start`: the started value is the list of listeners, which know their `port` and
        `address`; port 0 takes a free port. Loopback unless told otherwise; `host=None` is every interface. `OSError`
        if the address cannot be had, `ValueError` for an `ssl_context` that is made for clients. Where other machines
        can connect, and TLS or authentication is missing, one warning says so. Cancelling says goodbye to its
        importers, within `goodbye_timeout`.
        """
        with self._until_left():
            listeners = await self._listen(port, host, ssl_context)
            await self._serve(listeners, lambda: task_status.started(listeners))

    async def serve_websocket(
        self,
        port: int,
        *,
        host: str | bytes | None = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
        origins: Collection[str] | None = None,
        task_status: trio.TaskStatus[list[BoundListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves importers over WebSocket, as `serve_tcp` does over TCP: browsers too. Needs the `websocket` extra.

        The path is `/`. `origins` says which web pages may have their browser connect: those of each origin in it, such
        as "https://example.org"; "*" is all pages. A client that names no origin, which no browser does, may always
        connect; so may a page of this very host and port, as long as they are told by an address or `localhost`.
        """
        from ._network.websocket import Acceptor, checked_origins

        checked = checked_origins(origins)

        async def open_and_serve(guest: Guest) -> None:
            serve = functools.partial(self._carry, guest)
            await Acceptor(serve, checked, self._limits, self._log, self._on_limit)(guest.stream)

        with self._until_left():
            listeners = await self._listen(port, host, ssl_context)
            admit = functools.partial(self._admission.serve, serve=open_and_serve, goodbye=False)
            await self._serve(listeners, lambda: task_status.started(listeners), admit)

    async def serve_unix(
        self,
        path: str | os.PathLike[str],
        *,
        task_status: trio.TaskStatus[list[BoundListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves importers over a unix socket, as `serve_tcp` does. A stale socket file is replaced, a live one refused
        (`OSError`), also when several processes start at the same time; the file is removed when done."""
        with self._until_left():
            listeners = [await listen_unix(os.fspath(path))]
            await self._serve(listeners, lambda: task_status.started(listeners))

    async def serve_listeners(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[list[trio.abc.Listener[Any]]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves importers that these listeners accept, as `serve_tcp` does; closes the listeners when done.

        While the process has no file descriptor left, which is logged, importers wait to be accepted.
        """
        with self._until_left():
            patient = [PatientListener(listener) for listener in listeners]
            await self._serve(patient, lambda: task_status.started(list(listeners)))

    async def _listen(
        self, port: int, host: str | bytes | None, ssl_context: ssl.SSLContext | None
    ) -> list[BoundListener]:
        if ssl_context is not None:
            check_ssl_context(ssl_context, server=True)
        listeners = await listen_tcp(port, host, ssl_context)
        lacking = exposure(listeners, ssl_context, knows=self._access.authenticates is not None)
        if lacking is not None:
            logger.warning("%s: see the security page of the documentation", lacking)
        return listeners

    @contextlib.contextmanager
    def _until_left(self) -> Generator[None]:
        """Cancels what is inside when the block is left."""
        if self._accepting.stopped:
            raise trio.ClosedResourceError("expected an exporter that serves, got one that is stopped")
        if not self._serves:  # what made the block fail, the block itself raises, once
            raise trio.ClosedResourceError("expected an open exporter, got one whose block is left or has failed")
        with trio.CancelScope() as scope:
            self._serving.add(scope)
            try:
                yield
            finally:
                self._serving.discard(scope)

    @property
    def _serves(self) -> bool:
        return self._state in (BlockState.OPEN, BlockState.FINISHING) and self._failure is None

    async def _serve(
        self,
        listeners: Sequence[PatientListener],
        started: Callable[[], None],
        serve: Callable[[trio.abc.Stream], Awaitable[None]] | None = None,
    ) -> None:
        async def accept(task_status: trio.TaskStatus[Any]) -> None:
            with self._accepting.until_stopped():
                await trio.serve_listeners(
                    serve or self.serve_stream, list(listeners), handler_nursery=connections, task_status=task_status
                )

        for listener in listeners:
            listener.make_room, listener.log = self._admission.make_room, self._log
        if self._accepting.stopped:
            for listener in listeners:
                await listener.aclose()
            raise trio.ClosedResourceError("expected an exporter that serves, got one that is stopped")
        async with trio.open_nursery() as connections:
            await connections.start(accept)
            started()

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serves the importer at the other end of this stream; returns when the connection has ended.

        The stream is closed then. Whatever the peer does, nothing is raised; why a connection failed is logged. After
        `stop`, while the block is being left, or when it has failed, it closes the stream and returns. Cancelling says
        goodbye, within `goodbye_timeout`.
        """
        if self._state is BlockState.LEFT and self._failure is None:
            self._check_open()
        await self._admission.serve(stream, self._serve_guest)

    async def _serve_guest(self, guest: Guest) -> None:
        await self._carry(guest, guest.stream)

    async def _carry(self, guest: Guest, stream: trio.abc.Stream) -> None:
        """Serves an importer that was let in; `stream` may be one over its own."""
        if not self._serves or self._accepting.stopped:
            await trio.aclose_forcefully(stream)
            return
        peer = Peer(Role.EXPORTER, self._limits, self._as_peer_owner)
        connection = Connection(
            stream,
            peer,
            self._limits,
            sessions=self._sessions,
            authenticate=self._access.authenticates,
            since=guest.since,
        )
        guest.has_greeted = lambda: connection.greeted or connection.peer is not peer
        guest.end = connection.drop
        self._connections[connection] = None
        try:
            await connection.run()
        except Exception:
            self._log.exception("the connection with %s ended", connection)
        finally:
            self._connections.pop(connection, None)
            self._after(connection, guest)

    def _after(self, connection: Connection, guest: Guest) -> None:
        """A connection has ended: its session with it, or it waits for another."""
        peer = connection.peer
        if connection.fenced:
            return
        if peer.suspended:
            self._log.warning(
                "the connection with %s broke, its session waits %g s for another: %s",
                connection.peer_name,
                peer.session.resume_time,
                peer.failure,
            )
            waiting = self._sessions.suspend(peer, connection.peer_name, guest.address)
            if peer.session.buffered_bytes:  # else it adds nothing, and to count takes a while
                self._on_growth()
            self._nursery.start_soon(self._run_shielded, functools.partial(self._sessions.keep, waiting))
        elif peer.lost:
            self._sessions.forget(peer)
            if peer.failure is not None:
                self._log.warning("the connection with %s ended: %s", connection.peer_name, peer.failure)

    # Stopping

    async def stop(self, *, timeout: float = math.inf) -> None:
        """Stops serving, in an orderly way; the block stays open, and leaving it is as ever.

        Nobody is accepted any more, and imports are refused. Nothing more goes to importers; what they hold they
        acknowledge or give back. What arrives from now on is not taken, and stays with them; what had arrived is
        delivered. When all that is done, or after `timeout` seconds, which is logged, a goodbye is said on all
        connections. Importers with a `restart_timeout` wait for the next exporter at the same address; others fail if
        a channel of theirs is unfinished. `serve_…` returns. What was not dealt is still in the channel; once the block
        is left, it is dropped.

        Cancelling it says the goodbye at once, within `goodbye_timeout`.
        """
        patience = trio.move_on_after(timeout)
        with self._call():
            channels = self._registry.everything()
            self._accepting.stop()
            try:
                with patience:
                    await bring_to_rest(channels)
                if patience.cancelled_caught:
                    tell_unfinished(channels, timeout)
            finally:
                with trio.CancelScope(shield=True):
                    await self._accepting.wait_over()
                    await give_back(channels, self._limits.goodbye_timeout)
                    await say_farewell(list(self._connections), self._limits.goodbye_timeout)
                    self._sessions.end_suspended()

    async def _say_goodbye(self) -> None:
        for scope in list(self._serving):
            scope.cancel()
        connections = list(self._connections)
        for connection in connections:
            connection.leave()
        for connection in connections:
            await connection.wait_over()
        self._sessions.end()
        self._access.tell()
        self._peers.end()

    def peers(self, *, max_events: int = 10_000) -> PeerEvents:
        """Who comes and goes: use it with `async for`. First come those that are there, each as `PeerConnected`.

        Then `PeerConnected`, `PeerSuspended`, `PeerResumed` and `PeerGone`, as it happens, in order. It ends when the
        block is left, behind the events that leaving brings. Each call has its own events. At most `max_events` wait
        to be read: the oldest give way, and a `PeerEventsLost` says how many. Nothing waits for the reader.
        `ClosedResourceError` if the block is left; `ValueError` for `max_events` below 1.
        """
        self._check_open()
        whole_number("max_events", max_events, 1)
        return self._peers.subscribe(max_events)

    def statistics(self) -> ExporterStatistics:
        """A snapshot: channels by name, connections open now, sessions, values dropped in all."""
        self._check_open()
        return ExporterStatistics(
            channels=self._registry.statistics(),
            connections=len(self._connections),
            suspended=self._sessions.suspended,
            resumed=self._sessions.resumed,
            dropped=self._registry.dropped,
            limits=dict(self._limits_reached),
            principals=self._principals(),
            refused=self._access.refused,
            denied=self._access.denied,
        )

    def _principals(self) -> Counter[str]:
        known = (connection.peer.identity.principal for connection in self._connections)
        return Counter(principal for principal in known if principal is not None)


@attrs.frozen(kw_only=True)
class _PeerOwner:
    """The exporter as a peer sees it: the port `PeerOwner` made of the exporter's private methods."""

    import_requested: Callable[[Peer, ImportRequested], None]
    tick: Callable[[], None]
    reached: Callable[[str], None]
    grew: Callable[[], None]
    peer_changed: Callable[[Peer, str | None], None]
