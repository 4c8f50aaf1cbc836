"""One stream and its tasks: a reader, a writer, and keepalive, around one session.

The reader feeds the session and hands its events on, at once and without waiting: what arrives is bounded by credit, so
nothing here needs to wait for the user's program. The writer is the only one who writes. Both are shielded from
cancellation, since a cancelled `send_all` would leave a stream on which nothing can be said any more: being cancelled
from outside means saying goodbye, which the deadline of the same scope bounds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Protocol

import attrs
import trio

from ._errors import Code, ConnectionLostError, NetchanError, ProtocolError, printable
from ._limits import Limits
from ._protocol.events import (
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
from ._protocol.session import Role, Session

__all__ = ["Binding", "Connection", "Owner"]

READ_SIZE = 256 * 2**10  # bytes
ACK_DELAY = 0.002  # seconds
ACK_TURNS = 3  # of the scheduler: a value wakes its receiver, that sends an answer, and the pump takes it


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
        self.bindings: dict[int, Binding] = {}
        self.failure: NetchanError | None = None
        """Why it ended, unless one side left in an orderly way."""
        self.peer_left = False
        self.lost = False
        """Nothing can be sent to the peer any more."""
        self.peer_name = _peer_name(stream)
        self._stream = stream
        self._limits = limits
        self._owner = owner
        self._scope = trio.CancelScope(shield=True)
        self._over = trio.Event()
        self._wake = trio.lowlevel.ParkingLot()
        self._late = trio.lowlevel.ParkingLot()
        self._acknowledging = False  # acknowledgements wait, for a moment, for data to ride along with
        self._heard = 0.0
        self._writing_since = math.inf

    def __repr__(self) -> str:
        return f"<{self.session.role.value}'s connection over {self._stream!r}>"

    def flush(self) -> None:
        """What the session has to say is written soon."""
        self._wake.unpark_all()

    def acknowledge(self, channel_id: int, *, soon: bool) -> None:
        """Tells what has been delivered on a channel: within a few turns of the scheduler, or within `ACK_DELAY`."""
        self.session.acknowledge(channel_id)
        if soon:
            self.session.hurry()
            self.flush()
        elif not self._acknowledging:
            self._acknowledging = True
            self._late.unpark_all()

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
                    nursery.start_soon(self._acknowledge_late)
                    async with trio.open_nursery() as both:
                        both.start_soon(self._write)
                        await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self._lose()
            with trio.move_on_after(self._limits.goodbye_timeout, shield=True):
                with contextlib.suppress(trio.BrokenResourceError, OSError):
                    await self._stream.aclose()
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
            while not session.gone:
                if session.only_acknowledges:  # an answer of the program, if it comes at once, takes them along
                    for _ in range(ACK_TURNS):
                        await trio.lowlevel.cancel_shielded_checkpoint()
                pieces = session.data_to_send()
                if pieces:
                    self._writing_since = trio.current_time()
                    await self._stream.send_all(b"".join(pieces))
                    self._writing_since = math.inf
                else:
                    await self._wake.park()
            # The peer sees the end of what we say, while its last words are still read: closing a socket with unread
            # input would reset it, and that can destroy our goodbye on its way.
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail(ConnectionLostError(f"expected a stream to write to, got: {_reason(error)}"))

    async def _acknowledge_late(self) -> None:
        while True:
            while not self._acknowledging:
                await self._late.park()
            await trio.sleep(ACK_DELAY)
            self._acknowledging = False
            self.session.hurry()
            self.flush()

    async def _read(self) -> None:
        while True:
            try:
                chunk = await self._stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._fail(ConnectionLostError(f"expected a goodbye, got: {_reason(error)}"))
                return
            if not chunk:
                if self.session.ended:
                    return
                self._fail(ConnectionLostError("expected a goodbye, got the end of the stream"))
                return
            self._heard = trio.current_time()
            for event in self.session.receive_data(chunk):
                self._dispatch(event)
            if self.peer_left:
                return
            if self.session.must_answer:
                self.flush()

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
                self.flush()  # for keepalive, which waits for it

    async def _keep_alive(self) -> None:
        """Asks a silent peer for a sign of life, and gives it up when none comes or when it takes nothing."""
        limits = self._limits
        with trio.move_on_after(limits.handshake_timeout):
            while not self.session.greeted:
                await self._wake.park()
        if not self.session.greeted:
            self._fail(ConnectionLostError(f"expected a hello within {limits.handshake_timeout:g} s, got none"))
            return
        tick = trio.current_time() + limits.keepalive
        asked = -math.inf  # when the peer was last heard before it was asked for a sign of life
        while True:
            patience = limits.keepalive_timeout if asked == self._heard else limits.keepalive
            await trio.sleep_until(min(tick, self._heard + patience))
            now = trio.current_time()
            if now >= tick:
                tick = now + limits.keepalive
                self._owner.on_tick()
                if now - self._writing_since >= limits.keepalive_timeout:
                    await self._give_up("a peer that reads", now - self._writing_since, lambda: self._writing_since)
            if now - self._heard >= patience:
                if asked != self._heard:
                    asked = self._heard
                    self.session.ping(0)
                    self.flush()
                else:
                    await self._give_up("a sign of life", now - self._heard, lambda: self._heard)

    async def _give_up(self, expected: str, seconds: float, sign: Callable[[], float]) -> None:
        """Ends the connection, unless `sign` changes after all.

        A deadline that passed while this process was stalled or stopped proves nothing: what was awaited may wait in
        the socket. So the verdict is put off a little, counted from now, for the reader and the writer to look.
        """
        before = sign()
        await trio.sleep(min(1.0, self._limits.keepalive))
        if sign() == before:
            self._fail(ConnectionLostError(f"expected {expected}, got none for {seconds:g} s"))


def _peer_name(stream: Any) -> str:
    """The peer's address, for a log line; or what the stream calls itself."""
    try:
        return str(getattr(stream, "transport_stream", stream).socket.getpeername())
    except (AttributeError, OSError):
        return repr(stream)


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return printable(f"{type(cause).__name__}: {cause}")
