"""One stream and its tasks: a reader, a writer, and keepalive, between a peer's session and the stream's bytes.

The reader feeds the wire and hands its events on, at once and without waiting: what arrives is bounded by credit, so
nothing here needs to wait for the user's program. Both it and the writer are shielded from cancellation, since a
cancelled `send_all` would leave a stream on which nothing can be said any more: being cancelled from outside means
saying goodbye, which the deadline of the same scope bounds.

What is to be said goes to the socket at once, while it takes it (`flush`): handing it to another task would cost a
tenth of a round trip. Where the socket is full, and for every other kind of stream, it is the writer's.

How a connection stands is the state of its `Wire`; it is over when `wait_over` returns.
"""

from __future__ import annotations

import math

import trio

from .._errors import Code, ConnectionLostError, NetchanError, ProtocolError
from .._limits import Limits
from .._protocol.events import Event, Greeted, PeerLeft, Violated
from .._protocol.keepalive import Keepalive, Look
from .._protocol.wire import Wire
from .peer import Peer
from .tracing import tracer_for
from .transport import STREAM_ERRORS, Piece, reason, transport_over

__all__ = ["Connection"]

WRITE_SIZE = 512 * 2**10  # bytes handed to the stream at a time, about


class Connection:
    """One peer over one stream. `run` it; the peer binds channels meanwhile, and has `flush` write what it says."""

    def __init__(self, stream: trio.abc.Stream, peer: Peer, limits: Limits) -> None:
        self.peer = peer
        self._wire = Wire(peer.session, limits)
        self._transport = transport_over(stream)
        self._tracer = tracer_for(peer.session.role.value, self.peer_name)
        self._limits = limits
        self._keepalive = Keepalive(limits, trio.current_time())
        self._scope = trio.CancelScope(shield=True)
        self._greeted = trio.Event()
        self._over = trio.Event()
        self._unsent: list[Piece] = []  # the rest of a write that the socket did not take whole
        self._writer_waits = False  # the writer has nothing to do
        self._reading = False  # flushing is deferred while one chunk is processed
        self._wake_writer = trio.lowlevel.ParkingLot()
        peer.connect(self)

    def __repr__(self) -> str:
        return f"<{self.peer.session.role.value}'s connection over {self._transport!r}>"

    @property
    def peer_name(self) -> str:
        """The peer's address, for a log line; or what the stream calls itself."""
        return self._transport.peer_name

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
        self.peer.acknowledger.closed()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._limits.goodbye_timeout)
        self.flush()

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
                    nursery.start_soon(self.peer.acknowledger.run, self.flush)
                    async with trio.open_nursery() as both:
                        both.start_soon(self._write)
                        await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.peer.lose(None)
            self.peer.disconnect()
            try:
                with trio.move_on_after(self._limits.goodbye_timeout, shield=True):
                    await self._transport.aclose()
            finally:
                self._over.set()

    def _fail(self, failure: NetchanError) -> None:
        """The connection has ended, without a way to say so."""
        self.peer.lose(None if self._wire.ended else failure)
        self._scope.cancel()

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
        peer_left = False
        while not peer_left:
            try:
                chunk = await self._transport.receive()
            except STREAM_ERRORS as error:
                self._fail(ConnectionLostError(f"expected a goodbye, got: {reason(error)}"))
                return
            if not chunk:
                if not self._wire.ended:
                    self._fail(ConnectionLostError("expected a goodbye, got the end of the stream"))
                return
            self._keepalive.heard = trio.current_time()
            peer_left = self._take_in(chunk)
            del chunk  # nothing of it is held while the next is waited for
            self.flush()

    def _take_in(self, chunk: bytes) -> bool:
        """Whether the peer has said goodbye."""
        if self._tracer is not None:
            self._tracer.received(chunk)
        self._reading = True
        peer_left = False
        for event in self._wire.receive_data(chunk):
            if type(event) in _EVENTS_OF_THE_STREAM:
                peer_left = self._handle(event)
            else:
                self.peer.handle(event)
        self._reading = False
        return peer_left

    def _handle(self, event: Event) -> bool:
        """An event of the stream itself. Whether the peer has said goodbye."""
        match event:
            case PeerLeft(code, message):
                orderly = code is Code.FINISHED
                self.leave()
                self.peer.lose(None if orderly else ProtocolError(f"the peer ended the connection: {message}"))
                return True
            case Violated(message):
                self.leave()
                self.peer.lose(ProtocolError(message))
            case _:
                self._greeted.set()
                self.peer.greeted.set()
        return False

    # Keepalive

    async def _keep_alive(self) -> None:
        """Asks a silent peer for a sign of life, and gives it up when none comes or when it takes nothing."""
        limits = self._limits
        with trio.move_on_after(limits.handshake_timeout):
            await self._greeted.wait()
        if not self._greeted.is_set():
            self._fail(ConnectionLostError(f"expected a hello within {limits.handshake_timeout:g} s, got none"))
            return
        keepalive = self._keepalive
        while True:
            keepalive.progressed = self._transport.progressed
            await trio.sleep_until(keepalive.deadline)
            keepalive.progressed = self._transport.progressed
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


_EVENTS_OF_THE_STREAM = frozenset({Greeted, Violated, PeerLeft})
