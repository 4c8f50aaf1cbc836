"""One side of a stream: magic, frames, handshake, pings and goodbye. What dies with a stream; a session outlives it.

Feed what arrives to `receive_data` and handle the events it returns; send whatever `data_to_send` has. No I/O, no
clock, no trio.

    state        to                       what happens
    CONNECTING   GREETED                  the handshake is done; until then nothing else is read, but a goodbye
    CONNECTING   RESUMED                  the same, and it went on with a session (on an exporter)
    RESUMED      GREETED                  the importer says something: it knows that the session goes on
    GREETED      LEAVING                  `leave`; or the peer said goodbye; or it broke the protocol
    (these)      LEAVING                  the same
    LEAVING      OVER                     the goodbye is handed out; it is the last frame

From LEAVING on nothing is read, and what this side had to say before is still written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from .._errors import Code, LimitReached, ProtocolError
from .._limits import Limits
from .events import Event, Greeted, LimitExceeded, PeerLeft, ResumeRequested, SessionResumed, TurnOver, Violated
from .frames import MAGIC, Frame, FrameCutter, Goodbye, Hello, Ping, Pong, Position, Resume, Resumed, encode
from .handshake import ExporterHandshake, Handshake, ImporterHandshake, NoResumeError, UnsupportedVersionError
from .outbox import FRAME_SIZE, Piece
from .resuming import SessionKey
from .session import Role, Session

__all__ = ["Wire", "WireState"]


class WireState(enum.Enum):
    """How one side of a stream stands."""

    CONNECTING = "connecting"
    RESUMED = "resumed"
    GREETED = "greeted"
    LEAVING = "leaving"
    OVER = "over"


class Wire:
    """A stream of bytes to and from a session.

    `nonce` is random, and new for each stream; without one, this side does not resume. An importer that does has a
    `key`, with which it begins its session or, if it `resumes`, goes on with it. `token`: what an importer shows.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        *,
        nonce: bytes | None = None,
        key: SessionKey | None = None,
        resumes: bool = False,
        token: bytes | None = None,
    ) -> None:
        self.state = WireState.CONNECTING
        self.session = session
        self.answered = -1
        """The token of the last ping that the peer has answered."""
        self._handshake: Handshake
        if session.role is Role.IMPORTER:
            self._handshake = ImporterHandshake(session, limits, nonce, key, resumes=resumes, token=token)
        else:
            self._handshake = ExporterHandshake(session, limits, nonce)
        self._cutter = FrameCutter(limits.max_frame_size)
        self._opening: list[Piece] = [MAGIC]
        self._own: list[Piece] = []
        self._pong: Pong | None = None
        self._goodbye = Goodbye(Code.FINISHED, "")

    @property
    def key(self) -> SessionKey | None:
        """What resumes the session, once the handshake is done. None: it cannot be resumed."""
        return self._handshake.key

    @property
    def token(self) -> bytes | None:
        """What the importer has shown of itself in its hello, to an exporter. None: nothing."""
        return self._handshake.token if isinstance(self._handshake, ExporterHandshake) else None

    @property
    def in_the_middle(self) -> int | None:
        """Which frame has come in part; None: none has."""
        return self._cutter.in_the_middle

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken from the peer."""
        return self.state is WireState.LEAVING or self.state is WireState.OVER

    @property
    def over(self) -> bool:
        """Whether the goodbye has been handed out: nothing more will come."""
        return self.state is WireState.OVER

    # Commands

    def ping(self, token: int) -> None:
        """Asks for a sign of life."""
        self._own.append(encode(Ping(token)))

    def leave(self, code: Code, message: str = "") -> None:
        """Says goodbye, behind all that is queued and all that waits to be confirmed.

        Nothing is taken from the peer any more.
        """
        if not self.ended:
            self.state = WireState.LEAVING
            self.session.hurry()
            self._goodbye = Goodbye(code, message)

    def exceeded(self, error: LimitReached) -> LimitExceeded:
        """The peer has reached a limit: says goodbye because of it, and takes no more data from the peer."""
        self._stop(Code.LIMIT, str(error))
        return LimitExceeded(error.limit, str(error))

    def abandon(self) -> None:
        """Nothing more is read or written: another stream carries the session."""
        self.state = WireState.OVER

    def resume(self, session: Session, key: SessionKey) -> None:
        """Accepts a `ResumeRequested`, whose proof is right: this stream carries that session from now on."""
        assert isinstance(self._handshake, ExporterHandshake)
        self.session = session
        self._handshake.accept(session, key)

    def refuse(self, message: str) -> None:
        """Refuses a `ResumeRequested`."""
        self.leave(Code.SESSION_LOST, message)

    # Bytes out

    @property
    def _carries(self) -> bool:
        """Whether the session may be written."""
        return not self._handshake.resumes

    @property
    def must_answer(self) -> bool:
        """Whether there is something to say that does not wait."""
        if self._own or self._pong is not None or self._opening or self._handshake.said:
            return self.state is not WireState.OVER
        if self._carries and self.session.outbox.must_answer:
            return self.state is not WireState.OVER
        return self._goodbye_is_due

    @property
    def _goodbye_is_due(self) -> bool:
        return self.state is WireState.LEAVING and not (self._carries and self.session.has_unsaid)

    def data_to_send(self, size: int = FRAME_SIZE) -> list[Piece]:
        """The next pieces to send, in order, about `size` bytes in all; none when there is nothing to say."""
        if self.over:
            return []
        pieces, self._opening = self._opening, []
        pieces += map(encode, self._handshake.said)
        self._handshake.said.clear()
        pieces += self._own
        self._own.clear()
        if self._pong is not None:
            pieces.append(encode(self._pong))
            self._pong = None
        if self._carries:
            pieces += self.session.data_to_send(size - sum(map(len, pieces)))
        if self.state is WireState.LEAVING and self._goodbye_is_due:
            pieces.append(encode(self._goodbye))
            self.state = WireState.OVER
        return pieces

    # Bytes in

    def receive_data(self, data: bytes | bytearray) -> Iterator[Event]:
        """What these bytes, in whatever chunks they come, bring. Nothing after `PeerLeft` or `Violated`.

        Frames are taken as the iterator goes on: commands given on an event find the state that belongs to it.
        """
        if self.ended:
            return
        self.session.costs.work = 0
        try:
            for frame in self._cutter.cut(data):
                if self.ended:  # it was left meanwhile
                    return
                event = self._receive(frame)
                if event is not None:
                    yield event
                    if self.ended:
                        return
                    if type(event) is ResumeRequested and (resumed := self._go_on()):
                        yield resumed
                costs = self.session.costs
                costs.work += 1
                if costs.turn_is_over:
                    costs.work = 0
                    yield TurnOver()
        except NoResumeError as error:
            self._stop(Code.SESSION_LOST, str(error))
            yield PeerLeft(Code.SESSION_LOST, str(error))
        except ProtocolError as error:
            unsupported = isinstance(error, UnsupportedVersionError)
            self._stop(Code.UNSUPPORTED_VERSION if unsupported else Code.PROTOCOL_ERROR, str(error))
            yield Violated(str(error))
        except LimitReached as error:
            yield self.exceeded(error)

    def _receive(self, frame: Frame) -> Event | None:
        if self.state is WireState.GREETED and not isinstance(frame, _OWN_FRAMES):
            return self.session.receive(frame, begun=self._cutter.goes_on)
        match frame:
            case Goodbye(code, message):
                self._stop(Code.FINISHED)
                return PeerLeft(code, message)
            case Ping(token) if self.state is not WireState.CONNECTING or self._handshake.greeted:
                self.session.costs.useless += 1
                self._pong = Pong(token)  # one at a time: a peer that floods is answered once
            case Pong(token) if self.state is not WireState.CONNECTING or self._handshake.greeted:
                self.session.costs.useless += 1
                self.answered = token
            case _ if self.state is WireState.RESUMED and not isinstance(frame, _OWN_FRAMES):
                assert self.key is not None
                self.key.confirm()
                self.state = WireState.GREETED
                return self.session.receive(frame)
            case _:
                event = self._handshake.receive(frame)
                self._enter(event)
                return event
        return None

    def _go_on(self) -> SessionResumed | None:
        """A resume was accepted."""
        assert isinstance(self._handshake, ExporterHandshake)
        event = self._handshake.go_on()
        self._enter(event)
        return event

    def _enter(self, event: Event | None) -> None:
        """The handshake has got so far."""
        if isinstance(event, SessionResumed) and self.session.role is Role.EXPORTER:
            self.state = WireState.RESUMED
        elif isinstance(event, Greeted | SessionResumed):
            self.state = WireState.GREETED

    def _stop(self, code: Code, message: str = "") -> None:
        """The peer takes no more data."""
        self.session.outbox.drop_data()
        self.leave(code, message)


_OWN_FRAMES = (Hello, Ping, Pong, Goodbye, Resume, Resumed, Position)
