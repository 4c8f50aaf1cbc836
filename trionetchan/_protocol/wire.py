"""One side of a stream: magic, frames, hello, pings and goodbye. What dies with a stream; a session outlives it.

Feed what arrives to `receive_data` and handle the events it returns; send whatever `data_to_send` has. No I/O, no
clock, no trio.

    state        to                       what happens
    CONNECTING   GREETED                  the peer's hello is read; until then nothing else is, but a goodbye
    GREETED      LEAVING                  `leave`; or the peer said goodbye; or it broke the protocol
    CONNECTING   LEAVING                  the same
    LEAVING      OVER                     the goodbye is handed out; it is the last frame

From LEAVING on nothing is read, and what this side had to say before is still written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from .._errors import Code, ProtocolError
from .._limits import Limits
from .events import Event, Greeted, PeerLeft, Violated
from .frames import MAGIC, VERSION, Frame, FrameCutter, Goodbye, Hello, Ping, Pong, encode, kind_name
from .outbox import FRAME_SIZE, Piece
from .session import Session

__all__ = ["Wire", "WireState"]


class WireState(enum.Enum):
    """How one side of a stream stands."""

    CONNECTING = "connecting"
    GREETED = "greeted"
    LEAVING = "leaving"
    OVER = "over"


class _UnsupportedVersion(ProtocolError):
    """The peer speaks another version."""


class Wire:
    """A stream of bytes to and from a session."""

    def __init__(self, session: Session, limits: Limits) -> None:
        self.session = session
        self.state = WireState.CONNECTING
        self._cutter = FrameCutter(limits.max_frame_size)
        self._own: list[Piece] = [MAGIC, encode(Hello(VERSION, parameters(limits)))]
        self._pong: Pong | None = None
        self._goodbye = Goodbye(Code.FINISHED, "")

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

    # Bytes out

    @property
    def must_answer(self) -> bool:
        """Whether there is something to say that does not wait."""
        if self._own or self._pong is not None or self.session.outbox.must_answer:
            return self.state is not WireState.OVER
        return self._goodbye_is_due

    @property
    def _goodbye_is_due(self) -> bool:
        return self.state is WireState.LEAVING and not self.session.has_unsaid

    def data_to_send(self, size: int = FRAME_SIZE) -> list[Piece]:
        """The next pieces to send, in order, about `size` bytes in all; none when there is nothing to say."""
        if self.over:
            return []
        pieces, self._own = self._own, []
        if self._pong is not None:
            pieces.append(encode(self._pong))
            self._pong = None
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
        try:
            for frame in self._cutter.cut(data):
                event = self._receive(frame)
                if event is not None:
                    yield event
                    if self.ended:
                        return
        except ProtocolError as error:
            unsupported = isinstance(error, _UnsupportedVersion)
            self._stop(Code.UNSUPPORTED_VERSION if unsupported else Code.PROTOCOL_ERROR, str(error))
            yield Violated(str(error))

    def _receive(self, frame: Frame) -> Event | None:
        if self.state is WireState.GREETED and not isinstance(frame, _OWN_FRAMES):
            return self.session.receive(frame)
        match frame:
            case Goodbye(code, message):
                self._stop(Code.FINISHED)
                return PeerLeft(code, message)
            case Hello():
                return self._greet(frame)
            case _ if self.state is WireState.CONNECTING:
                raise ProtocolError(f"expected HELLO first, got {kind_name(frame)}")
            case Ping(token):
                self._pong = Pong(token)  # one at a time: a peer that floods is answered once
            case _:
                pass  # a pong: any byte is a sign of life, and this is nothing more
        return None

    def _greet(self, hello: Hello) -> Greeted:
        if self.state is not WireState.CONNECTING:
            raise ProtocolError("expected one HELLO, got a second")
        if hello.version != VERSION:
            raise _UnsupportedVersion(f"expected protocol version {VERSION}, got version {hello.version}")
        self.session.greet(_checked(hello.parameters))
        self.state = WireState.GREETED
        return Greeted()

    def _stop(self, code: Code, message: str = "") -> None:
        """The peer takes no more data."""
        self.session.outbox.drop_data()
        self.leave(code, message)


_OWN_FRAMES = (Hello, Ping, Pong, Goodbye)


def parameters(limits: Limits) -> dict[str, int]:
    """What a side says of itself in its hello."""
    return {
        "frame": limits.max_frame_size,
        "value": limits.max_value_size,
        "buffer": limits.max_buffered_bytes,
        "keepalive": int(min(limits.keepalive, 1e9) * 1000),
        "resume": 0,
        "settle": 1,
    }


def _checked(parameters: dict[str, int]) -> dict[str, int]:
    """The parameters of a peer's hello, with what it left out."""
    peer = {"frame": 64 * 2**10, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0, "settle": 0} | parameters
    for name, least in ("frame", 64 * 2**10), ("value", 1), ("buffer", 1):
        if peer[name] < least:
            raise ProtocolError(f"expected a parameter {name!r} of at least {least}, got {peer[name]}")
    return peer
