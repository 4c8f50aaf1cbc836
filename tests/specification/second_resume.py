"""A second session that goes on over other streams, for the vectors "resumes"; written from the page."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import cast

from second_frames import (
    ACCEPT,
    CLOSE,
    GOODBYE,
    HELLO,
    IMPORT,
    MAGIC,
    PING,
    PONG,
    POSITION,
    REJECT,
    RESUME,
    RESUMED,
    SEEN,
    SETTLE,
    Field,
    FrameCutter,
    FrameError,
    Parameters,
)  # fmt: skip
from second_session import HUNG_UP, WITHDRAWN, Channel, Event, Session, frame

SESSION_LOST = 12
CONTROL = {IMPORT, ACCEPT, REJECT, SETTLE, CLOSE}
OF_A_STREAM = {HELLO, PING, PONG, GOODBYE}
Written = tuple[int, int, tuple[Field, ...]]  # a control frame


class Resumable(Session):
    """One side of a session, and of one stream of it at a time."""

    def __init__(self, exporter: bool, limits: dict[str, int], session: bytes, secret: bytes) -> None:
        super().__init__(exporter, limits)
        self.out, self.left = b"", True  # until there is a stream
        self.id, self.epoch, self.secret = session, 0, secret
        self.begun: tuple[int, bytes] | None = None  # the epoch that the importer may not know of
        self.resumable = limits["resume"] > 0  # until the peer says otherwise
        self.kept: list[Written] = []  # control frames that the peer may not have
        self.forgotten = self.handled = self.told = 0
        self.streams = 0
        self.state = ""
        self.unsaid: list[Written] = []  # while nothing of the session may be said
        self.seen, self.positions, self.missing = 0, dict[int, int](), 0

    # --- Streams ---

    def stream(self, nonce: bytes) -> None:
        """A new one, with this nonce of this side [R-1]."""
        self.cutter, self.left, self.nonce = FrameCutter(self.limits["frame"]), False, nonce
        self.streams += 1
        said: Parameters = {**self.own}
        if self.limits["resume"]:
            said["nonce"] = nonce
            if not self.exporter:
                said["session"] = self.id
                if self.streams == 1:
                    said["secret"] = self.secret
        self.state = "at first"
        self.out = MAGIC + frame(HELLO, 1, said)

    def one_frame(self, kind: int, fields: tuple[Field, ...]) -> list[Event]:
        """As in the table of R-14."""
        if self.state == "at first" and kind in (HELLO, GOODBYE):
            return self.greeted(cast("Parameters", fields[1])) if kind == HELLO else super().one_frame(kind, fields)
        if self.state == "at first" or kind == HELLO:
            raise FrameError("HELLO must come first, and once")
        if kind in OF_A_STREAM:
            return super().one_frame(kind, fields)
        if self.state == "goes on":
            return self.of_the_session(kind, fields)
        if (self.state, kind) == ("waits", RESUME if self.exporter else RESUMED):
            return self.requested(*fields) if self.exporter else self.answered(*fields)
        if (self.state, kind) == ("counts", POSITION):
            return self.position(*cast("tuple[int, int]", fields))
        raise FrameError(f"frame {kind} in a handshake that {self.state}")

    def greeted(self, said: Parameters) -> list[Event]:
        nonce, session, secret = said.get("nonce"), said.get("session"), said.get("secret")
        whole = bool(self.limits["resume"] and said.get("resume") and nonce)  # of both sides
        if self.exporter:
            resumes = whole and session is not None and secret is None
            whole = whole and session is not None
        else:
            resumes = self.streams > 1
            if resumes and not whole:
                self.leave(SESSION_LOST, "the session is not here")
                return [{"event": "PeerLeft", "code": SESSION_LOST}]
        self.peer_nonce = cast("bytes", nonce)
        if not resumes:
            self.state, self.resumable = "goes on", whole
            if whole and self.exporter:
                self.id, self.secret = cast("bytes", session), cast("bytes", secret)
            return self.hello(1, said)
        self.state, self.asked = "waits", session
        if not self.exporter:
            named = self.named()
            self.out += frame(RESUME, self.id, self.epoch, self.f(b"importer"), self.handled, len(named))
            self.say_positions(named)
        return []

    # --- Proofs ---

    def f(self, purpose: bytes, of: tuple[int, bytes] | None = None) -> bytes:
        """[R-15]"""
        epoch, secret = of or (self.epoch, self.secret)
        nonces = self.peer_nonce + self.nonce if self.exporter else self.nonce + self.peer_nonce
        text = b"trionetchan resume 1 " + purpose + b"\0" + self.id + epoch.to_bytes(8, "big") + nonces
        return hmac.new(secret, text, hashlib.sha256).digest()

    def requested(self, *fields: Field) -> list[Event]:
        session, epoch, proof, seen, channels = cast("tuple[bytes, int, bytes, int, int]", fields)
        if session != self.asked:
            raise FrameError("RESUME of another session than that of HELLO")
        of = next((of for of in (self.begun, (self.epoch, self.secret)) if of and of[0] == epoch), None)
        if session != self.id or of is None or proof != self.f(b"importer", of):
            self.leave(SESSION_LOST, "no such session")
            return []
        (self.epoch, self.secret), self.begun = of, None
        return self.count(seen, channels)

    def answered(self, *fields: Field) -> list[Event]:
        proof, seen, channels = cast("tuple[bytes, int, int]", fields)
        if proof != self.f(b"exporter"):
            raise FrameError("an exporter without the secret")
        return self.count(seen, channels)

    # --- What the peer has ---

    def count(self, seen: int, channels: int) -> list[Event]:
        self.state, self.seen, self.positions, self.missing = "counts", seen, {}, channels
        return self.counted()

    def position(self, number: int, received: int) -> list[Event]:
        if number <= max(self.positions, default=-1):
            raise FrameError("channels that are not in order")
        channel = self.channels.get(number)
        if channel is None or channel.state in ("REQUESTED", "ASKED", "CLOSED"):
            unknown = channel is None and not self.exporter
            if received or unknown or (channel is not None and channel.receives and channel.state != "CLOSED"):
                raise FrameError("values of a channel on which nothing was sent")
        elif channel.receives or received not in self.ends(channel):
            raise FrameError("a position that cannot be")
        self.positions[number] = received
        self.missing -= 1
        return self.counted()

    def ends(self, channel: Channel) -> set[int]:
        """Where batches end, from what is acknowledged on."""
        ends = [0]
        for _, count, _ in channel.written:
            ends.append(ends[-1] + count)
        return {end for end in ends if end >= channel.settled}

    def counted(self) -> list[Event]:
        if self.missing:
            return []
        self.check_seen(self.seen)
        unseen = self.kept[self.seen - self.forgotten :]
        for number, received in self.positions.items():
            channel = self.channels.get(number)
            is_seen = not any((kind, of) == (CLOSE, number) for kind, of, _ in unseen)
            if channel is not None and channel.state == "SENT" and is_seen and received != channel.values:
                raise FrameError("a CLOSE that came before the values")
        self.kept = []
        self.forgotten = self.seen
        if self.exporter:
            named = self.named()
            self.out += frame(RESUMED, self.f(b"exporter"), self.handled, len(named))
            self.say_positions(named)
            self.begun = self.epoch + 1, self.f(b"next")
        else:
            self.epoch, self.secret = self.epoch + 1, self.f(b"next")
        self.told = self.handled
        self.go_back(unseen)
        return [{"event": "SessionResumed"}]

    def named(self) -> dict[int, int]:
        """[R-24]"""
        receiving = {number: of for number, of in self.channels.items() if of.receives and of.state != "CLOSED"}
        return {number: of.values for number, of in sorted(receiving.items())}

    def say_positions(self, named: dict[int, int]) -> None:
        for number, received in named.items():
            self.out += frame(POSITION, number, received)

    # --- Going back ---

    def go_back(self, unseen: Iterable[Written]) -> None:
        """[R-29 to R-34]"""
        self.state = "goes on"
        waited, self.unsaid = self.unsaid, []
        closes = {number for kind, number, _ in unseen if kind == CLOSE}
        for number, channel in self.channels.items():
            if channel.state in ("SENDING", "SENT") and not channel.receives:
                if number in closes:
                    channel.state = "SENDING"
                self.rewind(channel, self.positions.get(number))
        for kind, number, fields in [*unseen, *waited]:
            channel = self.channels[number]
            if kind != CLOSE or channel.receives or channel.state == "CLOSED":  # of a sender it follows the data
                self.say(kind, number, *fields)
        for number, channel in self.channels.items():
            if channel.receives and channel.state in ("RECEIVING", "SETTLING"):
                channel.size -= len(channel.part)
                channel.part = b""
                if channel.settled:
                    self.do_acknowledge(number)

    def rewind(self, channel: Channel, received: int | None) -> None:
        again: list[tuple[bytes, int, bool]] = []
        while received is not None and channel.values > received:
            payload, count, came_back = channel.written.pop()
            channel.values -= count
            channel.size -= len(payload)
            again.insert(0, (payload, count, came_back))
        hung_up = channel.closing is not None and channel.closing[0] in (HUNG_UP, WITHDRAWN)
        channel.queue = [] if received is None or hung_up else [*again, *channel.queue]
        if received is None:
            channel.closing = None  # the receiver has said, or will, what there is to say

    # --- The session ---

    def of_the_session(self, kind: int, fields: tuple[Field, ...]) -> list[Event]:
        if self.begun is not None:
            (self.epoch, self.secret), self.begun = self.begun, None
        if kind == SEEN and self.resumable:
            self.check_seen(cast("int", fields[0]))
            del self.kept[: cast("int", fields[0]) - self.forgotten]
            self.forgotten = cast("int", fields[0])
            return []
        events = super().one_frame(kind, fields)
        self.handled += kind in CONTROL
        return events

    def check_seen(self, count: int) -> None:
        if not self.forgotten <= count <= self.forgotten + len(self.kept):
            raise FrameError("control frames seen that were never said, or are forgotten")

    def say(self, kind: int, number: int, *fields: Field) -> None:
        if self.state != "goes on" and not (self.state == "at first" and self.streams == 1):
            self.unsaid.append((kind, number, fields))
            return
        super().say(kind, number, *fields)
        if self.resumable:
            self.kept.append((kind, number, fields))

    def do_acknowledge(self, number: int) -> None:
        if self.state == "goes on":
            super().do_acknowledge(number)

    def do_close(self, number: int, code: int, message: str) -> None:
        super().do_close(number, code, message)
        if code in (HUNG_UP, WITHDRAWN):
            self.channels[number].queue = []

    def write_data(self) -> None:
        if self.state == "goes on":
            super().write_data()

    def taken(self) -> bytes:
        if self.state == "goes on" and self.resumable and self.handled - self.told >= 16:
            self.told = self.handled
            self.out += frame(SEEN, self.told)
        return super().taken()
