"""Pairs of sessions that can be resumed, and streams between them, without a network."""

from __future__ import annotations

import attrs
from sides import events_of

from trionetchan._batch import Batch
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import Accepted, Event, Greeted, ImportRequested, ResumeRequested, SessionResumed
from trionetchan._protocol.frames import MAGIC, Data, Frame, FrameCutter, encode
from trionetchan._protocol.resuming import SessionKey
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.wire import Wire

__all__ = ["EXPORTER", "ID", "IMPORTER", "LIMITS", "SECRET", "Pair", "batch", "begun", "feed", "nonce", "said", "take"]

IMPORTER, EXPORTER = Role.IMPORTER, Role.EXPORTER
LIMITS = Limits(max_frame_size=64 * 2**10, max_value_size=1000, max_buffered_bytes=400, max_channels=8)
ID, SECRET = bytes(range(16)), bytes(range(32))


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


def batch(count: int, size: int = 1) -> Batch:
    return Batch(bytes([0x80 + count]) + (b"\x58" + bytes([size]) + bytes(size)) * count, count)


def take(wire: Wire) -> bytes:
    """All that a side has to write."""
    written = b""
    while pieces := wire.data_to_send():
        written += b"".join(pieces)
    return written


def said(wire: Wire) -> list[Frame]:
    """The same as frames."""
    data = take(wire).removeprefix(MAGIC)
    return [
        attrs.evolve(frame, payload=bytes(frame.payload)) if isinstance(frame, Data) else frame
        for frame in FrameCutter(2**20).cut(MAGIC + data)
    ]


def feed(wire: Wire, *frames: Frame) -> list[Event]:
    return list(events_of(wire, b"".join(map(encode, frames))))


class Pair:
    """Both sides of a session, with the keys that each has, over one stream after the other."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.sessions = {role: Session(role, limits) for role in Role}
        self.importer_key = SessionKey(ID, SECRET)
        self.exporter_key: SessionKey | None = None
        self.streams = 0
        self.wires: dict[Role, Wire] = {}

    @property
    def importer(self) -> Session:
        return self.sessions[IMPORTER]

    @property
    def exporter(self) -> Session:
        return self.sessions[EXPORTER]

    @property
    def nonces(self) -> tuple[bytes, bytes]:
        """The importer's and the exporter's on this stream."""
        return nonce(2 * self.streams), nonce(2 * self.streams + 1)

    def connect(self) -> None:
        """Another stream, of which nothing is carried yet."""
        self.streams += 1
        resumes = self.exporter_key is not None
        session = Session(EXPORTER, self.limits) if resumes else self.exporter
        nonces = self.nonces
        self.wires = {
            IMPORTER: Wire(self.importer, self.limits, nonce=nonces[0], key=self.importer_key, resumes=resumes),
            EXPORTER: Wire(session, self.limits, nonce=nonces[1]),
        }

    def carry(self, *, rounds: int = 100) -> list[Event]:
        """All that both sides say; imports of "x" and resumes are accepted, other imports refused."""
        events: list[Event] = []
        for _ in range(rounds):
            data = {role: take(wire) for role, wire in self.wires.items()}
            if not any(data.values()):
                break
            for role, wire in self.wires.items():
                for event in events_of(wire, data[role.other]):
                    self.answer(role, wire, event)
                    events.append(event)
        return events

    def answer(self, role: Role, wire: Wire, event: Event) -> None:
        """What the shell does with an event."""
        match event:
            case Greeted() | SessionResumed() if role is EXPORTER:
                self.exporter_key = wire.key
            case ResumeRequested():
                key = self.exporter_key
                assert key is not None
                assert key.check_importer(event.epoch, event.proof, event.nonces)
                wire.resume(self.exporter, key)
            case ImportRequested(channel, "x"):
                self.exporter.accept(channel, window=5, schema=b"")
            case ImportRequested(channel):
                self.exporter.reject(channel, Code.NO_SUCH_CHANNEL, "")
            case _:
                pass

    def open(self, *, importer_receives: bool, count: int | None = None) -> int:
        """One more channel, bound on both sides."""
        channel = self.importer.request("x", receives=importer_receives, window=5, count=count, schema=b"")
        assert Accepted(channel, b"") in self.carry()
        return channel

    def cut(self) -> None:
        """Both sides notice; what was not carried is lost."""
        for wire in self.wires.values():
            wire.abandon()

    def resume(self) -> list[Event]:
        """Another stream goes on."""
        self.cut()
        self.connect()
        return self.carry()

    def close(self, channel: int) -> None:
        """Both sides, in the orderly way; the importer receives."""
        self.exporter.close(channel, Code.FINISHED)
        self.carry()
        self.importer.close(channel, Code.FINISHED)
        self.carry()


def begun(limits: Limits = LIMITS) -> Pair:
    """A session that has begun on its first stream."""
    pair = Pair(limits)
    pair.connect()
    pair.carry()
    return pair
