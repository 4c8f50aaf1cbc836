"""One stream and its tasks: a reader, a writer, and keepalive, around one session.

The reader feeds the session and hands its events on, at once and without waiting: what arrives is bounded by credit, so
nothing here needs to wait for the user's program. Both it and the writer are shielded from cancellation, since a
cancelled `send_all` would leave a stream on which nothing can be said any more: being cancelled from outside means
saying goodbye, which the deadline of the same scope bounds.

What is to be said goes to the socket at once, while it takes it (`flush`): handing it to another task would cost a
tenth of a round trip. Where the socket is full, and for every other kind of stream, it is the writer's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from .._errors import Code, ConnectionLostError, NetchanError, ProtocolError
from .._limits import Limits
from .._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    PeerLeft,
    Rejected,
    ValuesReceived,
    Violated,
)
from .._protocol.session import Role, Session
from .._protocol.window import Batch
from .acknowledging import Acknowledger
from .transport import STREAM_ERRORS as LOST
from .transport import Piece, transport_over
from .transport import reason as _reason

__all__ = ["Binding", "Connection", "Owner"]

WRITE_SIZE = 512 * 2**10  # bytes handed to the stream at a time, about


class Binding(Protocol):
    """A channel as bound on one connection. None of its methods waits."""

    def on_values(self, payload: bytes, count: int) -> None: ...
    def on_acknowledged(self, count: int) -> None: ...
    def on_closed(self, code: Code, message: str, count: int) -> None: ...
    def on_lost(self) -> None: ...


@attrs.frozen(kw_only=True)
class Owner:
    """What the exporter or importer does with its connection's events. None of it waits."""

    on_import: Callable[[Connection, ImportRequested], None] | None = None
    on_answer: Callable[[Accepted | Rejected], None] | None = None
    on_tick: Callable[[], None]
    on_lost: Callable[[], None]


class Connection:
    """One peer over one stream. `run` it; then bind channels, by session commands followed by `flush`."""

    def __init__(self, stream: trio.abc.Stream, role: Role, limits: Limits, owner: Owner) -> None:
        self.session = Session(role, limits)
        self._acknowledger = Acknowledger(self.session)
        self.bindings: dict[int, Binding] = {}
        self.failure: NetchanError | None = None
        """Why it ended, unless one side left in an orderly way."""
        self.peer_left = False
        self.lost = False
        """Nothing can be sent to the peer any more."""
        self._transport = transport_over(stream)
        self.peer_name = self._transport.peer_name
        self._limits = limits
        self._owner = owner
        self._scope = trio.CancelScope(shield=True)
        self._over = trio.Event()
        self._rest: list[Piece] = []  # of what was written at once
        self._writer_waits = False  # it has nothing to do
        self._reading = False  # what there is to say now, and what comes of the rest that was read, go together
        self._wake = trio.lowlevel.ParkingLot()
        self._greeted = trio.Event()
        self._heard = 0.0
        self._writing_since = math.inf

    def __repr__(self) -> str:
        return f"<{self.session.role.value}'s connection over {self._transport!r}>"

    def flush(self) -> None:
        """Writes what the session has to say: a portion at once, if it can; the writer does the rest."""
        if self._writer_waits and not self._reading and self.session.must_answer:
            self._rest = self._transport.send_nowait(self.session.data_to_send(WRITE_SIZE))
            if self._rest or self.session.must_answer or self.session.gone:
                self._writer_waits = False
                self._wake.unpark()

    def send(self, channel_id: int, batch: Batch) -> None:
        """Sends values, for which there is credit."""
        self.session.send(channel_id, batch)
        self._acknowledger.sent()
        self.flush()

    def acknowledge(self, channel_id: int, *, now: bool, last: bool) -> None:
        """Tells what was delivered on a channel, in time: see `Acknowledger.delivered`."""
        if self._acknowledger.delivered(channel_id, now=now, last=last):
            self.flush()

    def leave(self, code: Code = Code.FINISHED, message: str = "") -> None:
        """Says goodbye, behind what is queued, for at most `goodbye_timeout`; then the connection ends."""
        self.session.leave(code, message)
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._limits.goodbye_timeout)
        self.flush()

    async def wait_over(self) -> None:
        """Waits until the stream is closed and every binding knows."""
        await self._over.wait()

    async def run(self) -> None:
        """Carries the connection until it has ended; `failure` says why. Cancelling it makes it say goodbye."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry)
            try:
                await self._over.wait()
            except trio.Cancelled:
                self.leave()
                raise

    async def _carry(self) -> None:
        self._heard = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_alive)
                    nursery.start_soon(self._acknowledger.run, self.flush)
                    async with trio.open_nursery() as both:
                        both.start_soon(self._write)
                        await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self._lose()
            with trio.move_on_after(self._limits.goodbye_timeout, shield=True):
                await self._transport.aclose()
            self._over.set()

    def _fail(self, failure: NetchanError) -> None:
        """The connection has ended, without a way to say so."""
        if not self.session.ended:
            self.failure = failure
        self._scope.cancel()

    def _lose(self) -> None:
        self.lost = True
        self._owner.on_lost()
        bindings, self.bindings = self.bindings, {}
        for binding in bindings.values():
            binding.on_lost()

    async def _write(self) -> None:
        session = self.session
        try:
            while self._rest or not session.gone:
                pieces = self._rest or session.data_to_send(WRITE_SIZE)
                self._rest = []
                if pieces:
                    self._writing_since = trio.current_time()
                    await self._transport.send_all(pieces)
                    self._writing_since = math.inf
                else:
                    self._writer_waits = True
                    await self._wake.park()
            # The peer sees the end of what we say, while its last words are still read: closing a socket with unread
            # input would reset it, and that can destroy our goodbye on its way.
            await self._transport.send_eof()
        except LOST as error:
            self._fail(ConnectionLostError(f"expected a stream to write to, got: {_reason(error)}"))

    async def _read(self) -> None:
        while True:
            try:
                chunk = await self._transport.receive()
            except LOST as error:
                self._fail(ConnectionLostError(f"expected a goodbye, got: {_reason(error)}"))
                return
            if not chunk:
                if self.session.ended:
                    return
                self._fail(ConnectionLostError("expected a goodbye, got the end of the stream"))
                return
            self._heard = trio.current_time()
            self._take_in(chunk)
            del chunk  # nothing of it is held while the next is waited for
            self.flush()
            if self.peer_left:
                return

    def _take_in(self, chunk: bytes) -> None:
        self._reading = True
        for event in self.session.receive_data(chunk):
            self._dispatch(event)
        self._reading = False

    def _dispatch(self, event: Event) -> None:
        match event:
            case ValuesReceived(channel, payload, count):
                self.bindings[channel].on_values(payload, count)
            case Acknowledged(channel, count):
                self.bindings[channel].on_acknowledged(count)
            case Closed(channel, code, message, count):
                self.bindings[channel].on_closed(code, message, count)
            case ImportRequested():
                assert self._owner.on_import is not None  # the session lets only importers ask
                self._owner.on_import(self, event)
            case Accepted() | Rejected():
                assert self._owner.on_answer is not None
                self._owner.on_answer(event)
            case PeerLeft(code, message):
                self.peer_left = True
                if code is not Code.FINISHED:
                    self.failure = ProtocolError(f"the peer ended the connection: {message}")
                self.leave()
                self._lose()
            case Violated(message):
                self.failure = ProtocolError(message)
                self.leave()
                self._lose()
            case Greeted():
                self._greeted.set()

    async def _keep_alive(self) -> None:
        """Asks a silent peer for a sign of life, and gives it up when none comes or when it takes nothing."""
        limits = self._limits
        with trio.move_on_after(limits.handshake_timeout):
            await self._greeted.wait()
        if not self.session.greeted:
            self._fail(ConnectionLostError(f"expected a hello within {limits.handshake_timeout:g} s, got none"))
            return
        tick = trio.current_time() + limits.keepalive
        asked = -math.inf  # when the peer was last heard before it was asked for a sign of life
        while True:
            patience = limits.keepalive_timeout if asked == self._last_sign else limits.keepalive
            await trio.sleep_until(min(tick, self._last_sign + patience))
            now = trio.current_time()
            if now >= tick:
                tick = now + limits.keepalive
                self._owner.on_tick()
                if now - self._writes_since >= limits.keepalive_timeout:
                    await self._give_up("a peer that reads", now - self._writes_since, lambda: self._writes_since)
            if now - self._last_sign >= patience:
                if asked != self._last_sign:
                    asked = self._last_sign
                    self.session.ping(0)
                    self.flush()
                else:
                    await self._give_up("a sign of life", now - self._last_sign, lambda: self._last_sign)

    @property
    def _last_sign(self) -> float:
        """When the peer was last seen to live: on a slow link, our question waits behind what the peer still takes."""
        return max(self._heard, self._transport.progressed)

    @property
    def _writes_since(self) -> float:
        return max(self._writing_since, self._transport.progressed)

    async def _give_up(self, expected: str, seconds: float, sign: Callable[[], float]) -> None:
        """Ends the connection, unless `sign` changes after all.

        A deadline that passed while this process was stalled or stopped proves nothing: what was awaited may wait in
        the socket. So the verdict is put off a little, counted from now, for the reader and the writer to look.
        """
        before = sign()
        await trio.sleep(min(1.0, self._limits.keepalive))
        if sign() == before:
            self._fail(ConnectionLostError(f"expected {expected}, got none for {seconds:g} s"))
