"""One stream and its tasks: a reader, a writer, and keepalive, between a peer's session and the stream's bytes.

The reader feeds the wire and hands its events on, at once and without waiting: what arrives is bounded by credit, so
nothing here needs to wait for the user's program. Both it and the writer are shielded from cancellation, since a
cancelled `send_all` would leave a stream on which nothing can be said any more: being cancelled from outside means
saying goodbye, which the deadline of the same scope bounds.

What is to be said goes to the socket at once, while it takes it (`flush`): handing it to another task would cost a
tenth of a round trip. Where the socket is full, and for every other kind of stream, it is the writer's.

How a connection stands is the state of its `Wire`; it is over when `wait_over` returns. What it carries may change
once: on an exporter it begins with a peer of its own, and goes on with that of the session that is resumed.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from .._errors import (
    AuthenticationError,
    Code,
    ConnectionLostError,
    LimitError,
    LimitReached,
    NetchanError,
    ProtocolError,
)
from .._identity import Credentials, Identity
from .._lease import Instant, now
from .._limits import Limits
from .._protocol.costs import Judge
from .._protocol.events import (
    Event,
    Greeted,
    LimitExceeded,
    PeerLeft,
    ResumeRequested,
    SessionResumed,
    TurnOver,
    Violated,
)
from .._protocol.keepalive import DOUBT, Keepalive, Look
from .._protocol.overdue import Unfinished
from .._protocol.resuming import NONCE_SIZE
from .._protocol.session import Role
from .._protocol.wire import Wire
from .identification import Identification
from .peer import Peer
from .tracing import tracer_for
from .transport import STREAM_ERRORS, Piece, reason, transport_over

__all__ = ["Connection"]

PINGS_PER_LEASE = 4
SHORTEST_INTERVAL = 0.02  # seconds between them
MAX_PINGS = 8  # without an answer, that are remembered
MAX_DISCARDED = 32 * 2**20  # bytes that are read after the end: more than can be on the way
COUNTED_SIZE = 2**20  # bytes of values after which is counted what is held of the peer
WRITE_SIZE = 512 * 2**10  # bytes handed to the stream at a time, about


class Sessions(Protocol):
    """What an exporter's connection needs to know of the sessions that can be resumed."""

    def add(self, peer: Peer, /) -> bool:
        """A session begins. Whether its id is its own."""
        ...

    def find(self, request: ResumeRequested, identity: Identity, /) -> Peer | None:
        """The session that is asked for, if that is proved."""
        ...

    def went_on(self) -> None:
        """A session is resumed."""
        ...


class Connection:
    """One peer over one stream. `run` it; the peer binds channels meanwhile, and has `flush` write what it says.

    An importer's begins the peer's session or goes on with it, and shows the `token`. An exporter's does what the
    importer wants, if it is given the `sessions`; with `authenticate`, which returns the principal, only for whom that
    accepts. `since`: when its time for the handshake began, if that is not now. It is long because reading, writing and
    keepalive share one stream.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: Peer,
        limits: Limits,
        *,
        sessions: Sessions | None = None,
        authenticate: Callable[[Credentials], Awaitable[str]] | None = None,
        token: bytes | None = None,
        since: float | None = None,
    ) -> None:
        self.peer = peer
        self.fenced = False
        """Whether another connection has taken over."""
        nonce = secrets.token_bytes(NONCE_SIZE) if sessions is not None or peer.key is not None else None
        self._transport = transport_over(stream)
        self._wire = Wire(peer.session, limits, nonce=nonce, key=peer.key, resumes=peer.begun, token=token)
        peer.begun = True
        self._sessions = sessions
        self._identification = Identification(self._transport, authenticate, known=sessions is None)
        self.peer_name = self._transport.peer_name
        """The peer's address, for a log line; or what the stream calls itself."""
        self._tracer = tracer_for(peer.session.role.value, self.peer_name)
        self._limits = limits
        self._judge = Judge(limits)
        self._unfinished = Unfinished(limits)
        self._doubted = math.inf  # a deadline that had passed before it was looked at
        self._keepalive = Keepalive(limits, trio.current_time() if since is None else since)
        self._scope = trio.CancelScope(shield=True)
        self._greeted = trio.Event()
        self._over = trio.Event()
        self._began = now()
        self._asked = 0  # how many pings
        self._pings: dict[int, Instant] = {}  # when those were sent that keep the lease
        self._unsent: list[Piece] = []  # the rest of a write that the socket did not take whole
        self._writer_waits = False  # the writer has nothing to do
        self._reading = False  # flushing is deferred while one chunk is processed
        self._wake_writer = trio.lowlevel.ParkingLot()
        if not peer.suspended:  # else when it carries the session
            peer.connect(self)

    def __repr__(self) -> str:
        return f"<{self.peer.session.role.value}'s connection over {self._transport!r}>"

    @property
    def greeted(self) -> bool:
        """Whether it has carried the session."""
        return self._greeted.is_set()

    def flush(self) -> None:
        """Writes what there is to say: a portion at once, if it can; the writer does the rest."""
        wire = self._wire
        if self._writer_waits and not self._reading and wire.must_answer:
            self._unsent = self._transport.send_nowait(self._next_pieces())
            if self._unsent or wire.must_answer or wire.over:
                self._writer_waits = False
                self._wake_writer.unpark()

    def leave(self, code: Code = Code.FINISHED, message: str = "") -> None:
        """Says goodbye, behind what is queued, for at most `goodbye_timeout`; then the connection ends."""
        self._wire.leave(code, message)
        self._identification.give_up()
        self.peer.acknowledger.closed()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._limits.goodbye_timeout)
        self.flush()

    def drop(self, failure: LimitError) -> None:
        """Ends it at once, because of this. The goodbye goes only if the socket takes it without waiting."""
        self.leave(Code.LIMIT, str(failure))
        self.peer.lose(failure)
        self._scope.cancel()

    def fence(self) -> None:
        """Nothing more is read or written: another connection carries the session."""
        self.fenced = True
        self._wire.abandon()
        self._scope.cancel()

    async def wait_greeted(self) -> None:
        """Waits until it carries the session."""
        await self._greeted.wait()

    async def wait_over(self) -> None:
        """Waits until the stream is closed and every link knows."""
        await self._over.wait()

    async def run(self) -> None:
        """Carries the connection until it has ended; `peer.failure` says why. Cancelling it makes it say goodbye."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry)
            try:
                await self._over.wait()
            except trio.Cancelled:
                self.leave()
                raise

    async def _carry(self) -> None:
        self._keepalive.heard = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_alive)
                    nursery.start_soon(self._acknowledge)
                    async with trio.open_nursery() as both:
                        both.start_soon(self._write)
                        await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.peer.disconnect(self, None)
            try:
                with trio.move_on_after(self._limits.goodbye_timeout, shield=True):
                    await self._transport.aclose()
            finally:
                self._over.set()

    def _fail(self, failure: NetchanError) -> None:
        """The stream has broken."""
        self.peer.disconnect(self, None if self._wire.ended else failure)
        self._wire.abandon()
        self._scope.cancel()

    async def _acknowledge(self) -> None:
        await self._greeted.wait()
        await self.peer.acknowledger.run(self.flush)

    # Writing

    def _next_pieces(self) -> list[Piece]:
        pieces = self._wire.data_to_send(WRITE_SIZE)
        if self.peer.session.outbox.left_over:
            self.peer.acknowledger.left_over()
        if self._tracer is not None:
            self._tracer.sent(pieces)
        return pieces

    async def _write(self) -> None:
        wire = self._wire
        try:
            while self._unsent or not wire.over:
                pieces = self._unsent or self._next_pieces()
                self._unsent = []
                if pieces:
                    self._keepalive.writing_since = trio.current_time()
                    await self._transport.send_all(pieces)
                    self._keepalive.writing_since = math.inf
                else:
                    self._writer_waits = True
                    await self._wake_writer.park()
            # The peer sees the end of what we say, while its last words are still read: closing a socket with unread
            # input would reset it, and that can destroy our goodbye on its way.
            await self._transport.send_eof()
        except STREAM_ERRORS as error:
            self._fail(ConnectionLostError(f"expected a stream to write to, got: {reason(error)}"))

    # Reading

    async def _read(self) -> None:
        """Reads until the peer says goodbye or is silent for good; and after this side's, what is on its way."""
        peer_left = False
        discarded = 0
        while not peer_left and discarded < MAX_DISCARDED:
            try:
                chunk = await self._next_chunk()
            except STREAM_ERRORS as error:
                self._fail(ConnectionLostError(f"expected a goodbye, got: {reason(error)}"))
                return
            if not chunk:
                if not self._wire.ended:
                    self._fail(ConnectionLostError("expected a goodbye, got the end of the stream"))
                return
            if self._tracer is not None:
                self._tracer.received(chunk)
            if self._wire.ended:
                discarded += len(chunk)
                continue
            self._keepalive.heard = trio.current_time()
            peer_left = await self._take_in(chunk)
            self._look_at_stranger(len(chunk))
            del chunk  # nothing of it is held while the next is waited for
            self.flush()
            if self._judge.pause:
                await trio.sleep(self._judge.pause)

    async def _next_chunk(self) -> bytes:
        """What comes next; empty at the end of the stream. The session ends when something is overdue."""
        deadline = self._unfinished.deadline
        if deadline <= trio.current_time() and deadline != self._doubted:  # this process stood still: it may be here
            self._doubted = deadline
            deadline = trio.current_time() + DOUBT
        while True:
            with trio.CancelScope(deadline=deadline):
                return await self._transport.receive(self._identification.read_size)
            self._exceeded(self._unfinished.reason)
            deadline = math.inf

    async def _take_in(self, chunk: bytes) -> bool:
        """Whether the peer has said goodbye. In between, the others have their turn."""
        self._reading = True
        peer_left = False
        for event in self._wire.receive_data(chunk):
            kind = type(event)
            if kind is TurnOver:
                await self._end_turn()
            elif kind in _EVENTS_OF_THE_STREAM:
                if kind in _BEGINNINGS and not self._identification.done:
                    await self._identify()
                    if self._wire.ended:
                        break
                peer_left = self._handle(event)
            else:
                self.peer.handle(event)
        self._reading = False
        since = self._pings.pop(self._wire.answered, None)
        if since is not None:
            self.peer.renew_lease(since)
        self._look_at_costs()
        return peer_left

    async def _identify(self) -> None:
        """Nothing of the session is begun before it is known who wants to; and nothing more is read meanwhile."""
        self._reading = False
        self.flush()
        try:
            await self._identification.identify(self._wire.token)
        except AuthenticationError as error:
            self._turn_away(error)
        self._keepalive.heard = trio.current_time()  # what has come and is not read is a sign of life, too
        self._reading = True

    def _turn_away(self, error: AuthenticationError) -> None:
        """The peer is told, and its connection ends."""
        self.leave(Code.UNAUTHENTICATED, str(error))
        self.peer.lose(error)

    def _look_at_stranger(self, size: int) -> None:
        """Much has come of a peer of which nobody knows yet who it is."""
        error = self._identification.has_read(size)
        if error is not None and not self._wire.ended:
            self.leave(Code.PROTOCOL_ERROR, str(error))
            self.peer.lose(error)

    async def _end_turn(self) -> None:
        self._reading = False
        self._look_at_costs()
        self.flush()
        await trio.sleep(self._judge.pause)
        self._keepalive.heard = trio.current_time()  # what has come and is not read is a sign of life, too
        self._reading = True

    def _look_at_costs(self) -> None:
        """What the peer has cost since the last look."""
        wire, session = self._wire, self.peer.session
        if wire.ended:
            self._unfinished.look(None, {}, 0)
            return
        self._unfinished.look(wire.in_the_middle, session.unfinished, self._keepalive.heard)
        costs = session.costs
        while costs.reached:
            self.peer.reached(costs.reached.pop())
        error = self._judge.look(costs, trio.current_time())
        if costs.arrived >= COUNTED_SIZE:
            costs.arrived = 0
            self.peer.grew()
            error = error or session.exceeds_buffer
        if error is not None and not wire.ended:
            self._exceeded(error)

    def exceed(self, error: LimitReached) -> None:
        """The peer has reached a limit: it is told, and its connection ends."""
        if not self._wire.ended:
            self._exceeded(error)
            self.flush()

    def _exceeded(self, error: LimitReached) -> None:
        self._handle(self._wire.exceeded(error))
        self._unfinished.look(None, {}, 0)

    def _handle(self, event: Event) -> bool:
        """An event of the stream itself. Whether the peer has said goodbye."""
        match event:
            case PeerLeft(code, message):
                self.leave()
                self._peer_has_left(code, message)
                return True
            case Violated(message):
                self.leave()
                self.peer.lose(ProtocolError(message))
            case LimitExceeded(limit, message):
                self.leave()
                self.peer.reached(limit)
                self.peer.lose(LimitError(message))
            case ResumeRequested():
                self._resume(event)
            case SessionResumed():
                self._go_on()
            case _:
                self._begin()
        return False

    def _peer_has_left(self, code: Code, message: str) -> None:
        if code is Code.SESSION_LOST:
            self.peer.refused(message)
        elif code in (Code.FINISHED, Code.RESTARTING):
            asked = self.peer.session.role is Role.IMPORTER and self._limits.restart_timeout > 0
            self.peer.lose(None, restarting=code is Code.RESTARTING and asked)
        elif code is Code.LIMIT and self.peer.suspended:
            pass  # the exporter has not looked at what this stream was to go on with: another attempt may be let in
        elif code is Code.LIMIT:
            self.peer.lose(LimitError(f"the peer ended the connection: {message}"))
        elif code is Code.UNAUTHENTICATED and self._sessions is None:
            self.peer.lose(AuthenticationError(message))
        else:
            self.peer.lose(ProtocolError(f"the peer ended the connection: {message}"))

    # Going on with a session

    def _begin(self) -> None:
        """The handshake is done, and the session begins."""
        self.peer.key = self._wire.key
        if self._sessions is not None:
            self.peer.identity = self._identification.identity
        if self.peer.key is not None:
            if self._sessions is None:
                self.peer.renew_lease(self._began)
            else:
                self._register(self._sessions)
        self._carries()

    def _register(self, sessions: Sessions) -> None:
        """An importer's session that can be resumed."""
        if not sessions.add(self.peer):
            message = "expected an id for the session that is its own, got one in use"
            self.peer.key = None
            self.leave(Code.PROTOCOL_ERROR, message)
            self.peer.lose(ProtocolError(message))

    def _carries(self) -> None:
        """From now on this stream carries the session."""
        if self.peer.suspended:
            self.peer.connect(self)
        self._greeted.set()
        self.peer.greeted.set()
        self.peer.carried(self.peer_name)

    def _resume(self, request: ResumeRequested) -> None:
        """An importer wants this stream to carry its session. The proof first; then the old stream ends."""
        peer = None if self._sessions is None else self._sessions.find(request, self._identification.identity)
        if peer is None or peer.key is None:
            self._wire.refuse("expected a session that can be resumed, got one that is not here")
            self.leave()
            return
        self.peer.disconnect(self, None)
        self.peer = peer
        peer.connect(self)
        self._wire.resume(peer.session, peer.key)

    def _go_on(self) -> None:
        """The session goes on where it was."""
        if self._sessions is None:
            self.peer.renew_lease(self._began)
        else:
            self._sessions.went_on()
        self._carries()

    # Keepalive

    async def _keep_alive(self) -> None:
        """Asks a silent peer for a sign of life, and gives it up when none comes or when it takes nothing."""
        limits = self._limits
        with trio.move_on_at(self._keepalive.greeted_by):
            await self._greeted.wait()
        if not self._greeted.is_set():
            within = f"within {limits.handshake_timeout:g} s"
            if self._identification.asks:
                self._turn_away(AuthenticationError(f"expected to know who this is {within}, got no answer"))
            else:
                self._fail(ConnectionLostError(f"expected a hello {within}, got none"))
            return
        lease_due = trio.current_time() if self.peer.lease is not None else math.inf
        keepalive = self._keepalive
        while True:
            keepalive.progressed = self._transport.progressed
            await trio.sleep_until(min(keepalive.deadline, lease_due))
            keepalive.progressed = self._transport.progressed
            if trio.current_time() >= lease_due:
                lease_due = self._ask_for_lease()
            match keepalive.look(trio.current_time()):
                case Look.TICK:
                    self.peer.tick()
                case Look.ASK:
                    self._wire.ping(0)
                    self.flush()
                case Look.GIVE_UP:
                    self._fail(ConnectionLostError(keepalive.reason))
                case Look.NOTHING:
                    pass

    def _ask_for_lease(self) -> float:
        """Asks for a sign of life, under which values are delivered. When to ask again."""
        self._asked += 1
        self._pings[self._asked] = now()
        self._pings.pop(self._asked - MAX_PINGS, None)
        self._wire.ping(self._asked)
        self.flush()
        return trio.current_time() + max(self.peer.session.resume_time / PINGS_PER_LEASE, SHORTEST_INTERVAL)


_BEGINNINGS = frozenset({Greeted, ResumeRequested})
_EVENTS_OF_THE_STREAM = frozenset({Greeted, ResumeRequested, SessionResumed, Violated, LimitExceeded, PeerLeft})
