"""How a stream begins: the hellos, and going on with a session that an earlier stream has carried.

    importer                                    exporter
    HELLO session, secret, nonce, resume  ───►
                                          ◄───  HELLO nonce, resume
    begins a session; channels are bound

    HELLO session, nonce, resume          ───►
                                          ◄───  HELLO nonce, resume
    RESUME epoch, proof, seen, channels   ───►  checks the proof; ends the session's old stream, if there is one
    POSITION channel, received …          ───►  goes back to what the importer has
    goes back to what the exporter has    ◄───  RESUMED proof, seen, channels; POSITION channel, received …

Nothing else of the session is said on the new stream before its side has gone back. If this stream breaks, too, nothing
is lost: the next one goes back again.
"""

from __future__ import annotations

import itertools
from typing import cast

import attrs

from .._errors import ProtocolError
from .._limits import Limits
from .events import Event, Greeted, ResumeRequested, SessionResumed
from .frames import VERSION, Frame, Hello, Parameters, Position, Resume, Resumed, kind_name
from .resuming import Nonces, SessionKey
from .session import Session

__all__ = [
    "ExporterHandshake",
    "Handshake",
    "ImporterHandshake",
    "NoResumeError",
    "UnsupportedVersionError",
    "parameters",
]


class UnsupportedVersionError(ProtocolError):
    """The peer speaks another version."""


class NoResumeError(ProtocolError):
    """The exporter resumes no sessions; so it is not the one that had this session, or not any more."""


@attrs.define
class _PeerHas:
    """What the peer has of the session; so many positions are still to come."""

    seen: int
    missing: int
    last: int = -1  # the channel of the last one
    received: dict[int, int] = attrs.field(factory=dict[int, int])

    def add(self, position: Position, session: Session) -> None:
        """Keeps only what matters to the session: how many come is the peer's choice."""
        if position.channel <= self.last:
            got = f"channel {position.channel} after channel {self.last}"
            raise ProtocolError(f"expected POSITIONs in the order of the channels, each once, got {got}")
        if session.check_position(position.channel, position.received):
            self.received[position.channel] = position.received
        self.last = position.channel
        self.missing -= 1


class Handshake:
    """One side's. `nonce` is random and new for each stream; without one, or a `key`, there is nothing to resume."""

    def __init__(self, session: Session, limits: Limits, nonce: bytes | None, key: SessionKey | None) -> None:
        self.session = session
        self.key = key
        """What resumes the session. None: it cannot be resumed."""
        self.done = False
        """Whether frames of the session may come."""
        self.resumes = False
        """Whether it goes on with a session: nothing of that may be written before it has gone back."""
        self.said: list[Frame] = []
        """What is to be written."""
        self._limits = limits
        self._resume_time = milliseconds(limits.resume_timeout)
        self._nonce = nonce if self._resume_time else None
        self._peer: dict[str, int] | None = None  # the parameters of its hello
        self._nonces: Nonces | None = None
        self._peer_has: _PeerHas | None = None

    @property
    def greeted(self) -> bool:
        """Whether the peer's hello has come."""
        return self._peer is not None

    def _parameters(self) -> Parameters:
        said = parameters(self._limits, self.session.first_buffer)
        if self._nonce is not None:
            said |= {"resume": self._resume_time, "nonce": self._nonce}
        return said

    def receive(self, frame: Frame) -> Event | None:
        """What a frame brings. `ProtocolError` if the peer may not send it now."""
        match frame:
            case Hello(version, parameters):
                if self._peer is not None:
                    raise ProtocolError("expected one HELLO, got a second")
                if version != VERSION:
                    raise UnsupportedVersionError(f"expected protocol version {VERSION}, got version {version}")
                self._peer = _checked(parameters)
                return self._greet(self._peer, parameters)
            case _ if self._peer is None:
                raise ProtocolError(f"expected HELLO first, got {kind_name(frame)}")
            case Position() if self._peer_has is not None and not self.done:
                self._peer_has.add(frame, self.session)
                return self.go_on()
            case Resume() | Resumed() if self.resumes and self._nonces is not None and self._peer_has is None:
                return self._on_resume(frame, self._nonces)
            case _:
                raise ProtocolError(f"expected no {kind_name(frame)} now")

    def _greet(self, peer: dict[str, int], said: Parameters) -> Event | None:
        """The peer's hello has come."""
        raise NotImplementedError

    def _on_resume(self, frame: Resume | Resumed, nonces: Nonces) -> Event | None:
        """The peer wants to go on, or does."""
        raise NotImplementedError

    def _begin(self, peer: dict[str, int]) -> Greeted:
        self.session.greet(peer, resumable=self.key is not None)
        self.done = True
        return Greeted()

    def _peer_says(self, frame: Resume | Resumed) -> None:
        self._peer_has = _PeerHas(frame.seen, frame.channels)

    def go_on(self) -> SessionResumed | None:
        """Goes back to what the peer has, as soon as it has said all."""
        has = self._peer_has
        assert has is not None
        if has.missing:
            return None
        self.session.rewind(has.seen, has.received)
        self.resumes = False
        self.done = True
        return SessionResumed()


class ImporterHandshake(Handshake):
    """It begins a session with its key, or goes on with it."""

    def __init__(
        self,
        session: Session,
        limits: Limits,
        nonce: bytes | None,
        key: SessionKey | None,
        *,
        resumes: bool,
        token: bytes | None,
    ) -> None:
        super().__init__(session, limits, nonce, key)
        self.resumes = resumes
        said = self._parameters()
        if token is not None:
            said["token"] = token
        restart_time = milliseconds(limits.restart_timeout)
        if restart_time:
            said["restart"] = restart_time
        if self._nonce is not None and key is not None:
            said["session"] = key.id
            if not resumes:
                said["secret"] = key.secret
        self.said.append(Hello(VERSION, said))

    def _greet(self, peer: dict[str, int], said: Parameters) -> Event | None:
        nonce = said.get("nonce") if peer["resume"] else None
        if self._nonce is None or not isinstance(nonce, bytes):
            self.key = None
        if not self.resumes:
            return self._begin(peer)
        if self.key is None:
            raise NoResumeError("expected the exporter that has this session, got one that resumes none")
        self.session.greet(peer, resumable=True)
        self._nonces = nonces = Nonces(cast("bytes", self._nonce), cast("bytes", nonce))
        positions = self.session.positions
        proof = self.key.importer_proof(nonces)
        self.said.append(Resume(self.key.id, self.key.epoch, proof, self.session.seen, len(positions)))
        self.said += positions
        return None

    def _on_resume(self, frame: Resume | Resumed, nonces: Nonces) -> Event | None:
        assert self.key is not None
        if isinstance(frame, Resume):
            raise ProtocolError("expected no RESUME from an exporter")
        if not self.key.check_exporter(frame.proof, nonces):
            raise ProtocolError("expected the exporter that has this session, got one that cannot prove it")
        self._peer_says(frame)
        return self.go_on()

    def go_on(self) -> SessionResumed | None:
        resumed = super().go_on()
        if resumed is not None:
            assert self.key is not None and self._nonces is not None  # noqa: PT018
            self.key.begin_epoch(self._nonces)
            self.key.confirm()
        return resumed


class ExporterHandshake(Handshake):
    """It learns what the importer wants from the importer's hello."""

    token: bytes | None = None
    """What the importer shows of itself."""

    _orders = itertools.count(1)

    def __init__(self, session: Session, limits: Limits, nonce: bytes | None) -> None:
        super().__init__(session, limits, nonce, None)
        self._order = next(self._orders)
        self._session_id = b""  # that the importer's hello says
        self.said.append(Hello(VERSION, self._parameters()))

    def _greet(self, peer: dict[str, int], said: Parameters) -> Event | None:
        nonce, session_id, secret = said.get("nonce"), said.get("session"), said.get("secret")
        token = said.get("token")
        self.token = token if isinstance(token, bytes) else None
        if self._nonce is None or not peer["resume"] or not isinstance(nonce, bytes):
            return self._begin(peer)
        if not isinstance(session_id, bytes):
            return self._begin(peer)
        if isinstance(secret, bytes):
            self.key = SessionKey(session_id, secret)
            return self._begin(peer)
        self._session_id = session_id
        self._nonces = Nonces(nonce, self._nonce, self._order)
        self.resumes = True
        return None

    def _on_resume(self, frame: Resume | Resumed, nonces: Nonces) -> Event | None:
        if isinstance(frame, Resumed):
            raise ProtocolError("expected no RESUMED from an importer")
        if frame.session != self._session_id:
            raise ProtocolError("expected RESUME of the session that the hello names, got another")
        self._peer_says(frame)
        return ResumeRequested(frame.session, frame.epoch, frame.proof, nonces)

    def accept(self, session: Session, key: SessionKey) -> None:
        """Goes on with this session: the importer has proved that it is its own."""
        self.session, self.key = session, key

    def go_on(self) -> SessionResumed | None:
        resumed = super().go_on()
        if resumed is not None:
            assert self.key is not None and self._nonces is not None  # noqa: PT018
            positions = self.session.positions
            proof = self.key.exporter_proof(self._nonces)
            self.said += [Resumed(proof, self.session.seen, len(positions)), *positions]
            self.key.begin_epoch(self._nonces)
        return resumed


def parameters(limits: Limits, first_buffer: int) -> Parameters:
    """What a side that does not resume says of itself in its hello."""
    return {
        "frame": limits.max_frame_size,
        "value": limits.max_value_size,
        "buffer": first_buffer,
        "keepalive": milliseconds(limits.keepalive),
        "resume": 0,
        "settle": 1,
    }


def milliseconds(seconds: float) -> int:
    """As a hello says it."""
    return int(min(seconds, 1e9) * 1000)


def _checked(parameters: Parameters) -> dict[str, int]:
    """The numbers in a peer's hello, with what it left out."""
    numbers = ("keepalive", "resume", "settle", "restart")
    peer = {"frame": 64 * 2**10, "value": 2**20, "buffer": 2**20} | dict.fromkeys(numbers, 0)
    peer |= {name: value for name, value in parameters.items() if isinstance(value, int)}
    for name, least in ("frame", 64 * 2**10), ("value", 1), ("buffer", 1):
        if peer[name] < least:
            raise ProtocolError(f"expected a parameter {name!r} of at least {least}, got {peer[name]}")
    return peer
