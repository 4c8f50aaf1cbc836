"""A program that uses a session, and checks what the session tells it.

What it does with a channel depends on the first letter of the channel's name, so that a peer can have any of it:

    a (and all others)   delivers and acknowledges all at once; sends while it may
    u                    delivers to a task that never has its turn: nothing is confirmed
    k                    delivers nothing
    s                    sends a little and says that this is all
    h                    hangs up as soon as it is bound
    w, r                 does not answer an import; refuses it
    c                    closes when the first values have come

It does the same for the same events, whatever the chunks in which the bytes came, and writes at these moments only.
"""

from __future__ import annotations

from collections import Counter

from trionetchan._batch import batch_count
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    LimitExceeded,
    PeerLeft,
    RedeliveredNext,
    Rejected,
    ResumeRequested,
    SessionResumed,
    Settled,
    TurnOver,
    ValuesReceived,
    Violated,
)
from trionetchan._protocol.outbox import _cost  # pyright: ignore[reportPrivateUsage]
from trionetchan._protocol.resuming import Nonces, SessionKey
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.window import ReceiveWindow
from trionetchan._protocol.wire import Wire

from .checks import check
from .ends import End

__all__ = ["ENDS", "LIMITS", "Credulous", "Program"]

LIMITS = Limits(max_frame_size=64 * 2**10, max_value_size=1000, max_buffered_bytes=400, max_channels=12, max_window=16)
ENDS = (Violated, LimitExceeded, PeerLeft)
_ID, _SECRET = bytes(range(16)), bytes(range(32))


def _has_part(receiver: ReceiveWindow | None) -> bool:
    return receiver is not None and bool(receiver._partial)  # pyright: ignore[reportPrivateUsage]


class Credulous(SessionKey):
    """Takes any proof for right: what stands behind a right one can be reached without making one."""

    def check_importer(self, epoch: int, proof: bytes, nonces: Nonces) -> bool:
        return True

    def check_exporter(self, proof: bytes, nonces: Nonces) -> bool:
        return True


class Program:
    """One side: a session over one stream after the other. `AssertionError` for whatever must not be."""

    def __init__(self, role: Role, *, credulous: bool = False) -> None:
        self.role = role
        self.session = Session(role, LIMITS)
        self.events: list[Event] = []
        self.said = b""
        self.ended = False
        self.ends: dict[int, End] = {}
        self._key_type = Credulous if credulous else SessionKey
        self._key: SessionKey | None = self._key_type(_ID, _SECRET) if role is Role.IMPORTER else None
        self._streams = 0
        self.wire = self._new_wire()

    def _new_wire(self) -> Wire:
        self._streams += 1
        nonce = self.role.value.encode()[:8] + self._streams.to_bytes(8, "big")
        if self.role is Role.IMPORTER:
            return Wire(self.session, LIMITS, nonce=nonce, key=self._key, resumes=self._streams > 1)
        session = self.session if self._streams == 1 else Session(self.role, LIMITS)
        return Wire(session, LIMITS, nonce=nonce)

    # The stream

    @property
    def goes_on(self) -> bool:
        """Whether the session is kept when its stream breaks."""
        return not self.ended and self.session.resume_time > 0

    def next_stream(self) -> None:
        """The old one broke."""
        self.write()
        self.wire.abandon()
        self.wire = self._new_wire()

    def request(self, name: str, *, receives: bool, count: int | None = None, settles: bool = False) -> None:
        """Asks to bind a name."""
        number = self.session.request(
            name, receives=receives, window=8, count=count, schema=b"\x81\x81\0", settles=settles
        )
        self.ends[number] = End(number, name, sends=not receives, count=count)

    def feed(self, data: bytes) -> None:
        """What the peer says."""
        for event in self.wire.receive_data(data):
            check(not self.ended, "an event behind the end", event)
            self.events.append(event)
            self.ended = isinstance(event, ENDS)
            self._handle(event)
            if not isinstance(event, TurnOver):  # it comes once in so much work of one chunk
                self.write()
        check(self.ended == self.wire.ended, "expected the wire to end with its last event", self.events[-1:])
        if not self.ended:  # what was too much has been seen, and counted, then
            self._check_memory()

    def write(self) -> None:
        """All that there is to say."""
        while pieces := self.wire.data_to_send():
            self.said += b"".join(pieces)

    def _check_memory(self) -> None:
        """What was advertised, and not more, is held for the peer."""
        held = len(self.wire._cutter._buffer)  # pyright: ignore[reportPrivateUsage]
        check(held <= LIMITS.max_frame_size + 9, "too much of a frame is held", held)
        channels = self.session._channels  # pyright: ignore[reportPrivateUsage]
        check(self.role is Role.IMPORTER or len(channels) <= LIMITS.max_channels, "too many channels", len(channels))
        for channel in channels.values():
            if channel.receiver is not None:
                partial = len(channel.receiver._partial)  # pyright: ignore[reportPrivateUsage]
                most = LIMITS.max_value_size + 1 + LIMITS.max_buffered_bytes
                check(partial <= most, "too much of a value is held", partial)
                check(channel.receiver.received <= channel.receiver.value_limit, "more values than granted", channel)
                check(channel.receiver.buffered_bytes <= most, "too many bytes are held", channel)
        self._check_accounts()

    def _check_accounts(self) -> None:
        """What is counted beside what there is, to be asked for quickly, is right."""
        session, outbox = self.session, self.session.outbox
        waiting, kept = outbox._control, outbox._kept  # pyright: ignore[reportPrivateUsage]
        check(outbox.waiting_bytes == sum(map(_cost, waiting)), "counted wrong: what waits", outbox.waiting_bytes)
        check(outbox.unseen_bytes == sum(map(_cost, kept)), "counted wrong: what is kept", outbox.unseen_bytes)
        channels = session._channels  # pyright: ignore[reportPrivateUsage]
        receivers = [channel.receiver for channel in channels.values() if channel.receiver is not None]
        if self.role is Role.EXPORTER:
            names = Counter(channel.name for channel in channels.values())
            check(session._names == names, "counted wrong: names", names)  # pyright: ignore[reportPrivateUsage]
        allotted = sum(receiver.byte_window for receiver in receivers if receiver.widened)
        check(session._allotted == allotted, "counted wrong: bytes", allotted)  # pyright: ignore[reportPrivateUsage]
        partly = {number for number, channel in channels.items() if _has_part(channel.receiver)}
        check(session.unfinished.keys() == partly, "counted wrong: unfinished values", session.unfinished, partly)

    # The events

    def _handle(self, event: Event) -> None:
        match event:
            case Greeted():
                self._begin()
            case ResumeRequested():
                self._resume(event)
            case SessionResumed():
                check(self._streams > 1, "a session is resumed on its first stream")
            case ImportRequested():
                self._answer(event)
            case Accepted(channel):
                check(not self.ends[channel].bound, "accepted twice", event)
                self.ends[channel].bind(self.session)
            case Rejected(channel):
                end = self.ends.pop(channel)
                check(not end.bound, "rejected what is bound", event)
            case ValuesReceived(channel, payload, count):
                check(count and batch_count(payload) == count, "another count than that of the batch", event)
                self.ends[channel].take(self.session, payload, count)
            case RedeliveredNext(channel):
                check(self.session.receiver(channel).settles, "values come back to a channel that does not settle")
            case Acknowledged(channel, count):
                self.ends[channel].on_acknowledged(self.session, count)
            case Settled():
                self.ends[event.channel].on_settled(self.session, event)
            case Closed():
                self._on_closed(event)
            case Violated(message) | PeerLeft(_, message) | LimitExceeded(_, message):
                check(message.isprintable(), "a message that no line of a log can take", message)
            case TurnOver():
                pass
        for number in [number for number, end in self.ends.items() if end.over]:
            del self.ends[number]

    def _begin(self) -> None:
        if self.role is Role.EXPORTER and self._streams > 1:  # this importer begins anew
            self.session = self.wire.session
            self.ends.clear()
        if self.role is Role.EXPORTER:
            key = self.wire.key
            self._key = None if key is None else self._key_type(key.id, key.secret)

    def _resume(self, request: ResumeRequested) -> None:
        key = self._key
        known = key is not None and self.goes_on and (request.session == key.id or isinstance(key, Credulous))
        if known and key is not None and key.check_importer(request.epoch, request.proof, request.nonces):
            self.wire.resume(self.session, key)
        else:
            self.wire.refuse("no such session")
            self.ended = True

    def _answer(self, event: ImportRequested) -> None:
        check(self.role is Role.EXPORTER and event.channel not in self.ends, "an import that cannot be", event)
        end = End(event.channel, event.name, sends=event.receives, count=event.count)
        if end.name.startswith("r"):
            self.session.reject(event.channel, Code.NO_SUCH_CHANNEL, "none")
            return
        self.ends[event.channel] = end
        if not end.name.startswith("w"):
            self.session.accept(event.channel, window=8, schema=b"\x81\x81\0")
            end.bind(self.session)

    def _on_closed(self, event: Closed) -> None:
        end = self.ends[event.channel]
        check(not end.told, "closed twice", event)
        end.told = True
        if not end.bound:
            del self.ends[event.channel]
        elif end.sends:
            end.on_acknowledged(self.session, event.count)
            end.over = True
        elif not end.closed:
            end.on_sender_closed(self.session)
