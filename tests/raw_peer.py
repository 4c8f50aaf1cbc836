"""A peer that writes any bytes. Frames are made and read by the second implementation, not by what is under test."""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

import trio
from second_frames import (
    ACCEPT,
    ACK,
    CLOSE,
    DATA,
    GOODBYE,
    HELLO,
    IMPORT,
    MAGIC,
    PING,
    PONG,
    POSITION,
    REDELIVERED,
    REJECT,
    RESUME,
    RESUMED,
    SEEN,
    SETTLE,
    Field,
    FrameCutter,
    Parameters,
    read_frame,
)
from second_session import encode, frame, head

from trionetchan import Exporter

__all__ = [
    "BEGINS",
    "ID",
    "INT",
    "KINDS",
    "NONCE",
    "RESUMES",
    "SECRET",
    "Act",
    "Fields",
    "RawPeer",
    "Step",
    "accept",
    "ack",
    "body",
    "close",
    "data",
    "goodbye",
    "hello",
    "import_",
    "ping",
    "play",
    "proof",
    "reject",
    "settle",
]

Fields = tuple[Field, ...]
KINDS = {
    HELLO: "HELLO",
    IMPORT: "IMPORT",
    ACCEPT: "ACCEPT",
    REJECT: "REJECT",
    DATA: "DATA",
    ACK: "ACK",
    SETTLE: "SETTLE",
    CLOSE: "CLOSE",
    PING: "PING",
    PONG: "PONG",
    GOODBYE: "GOODBYE",
    RESUME: "RESUME",
    RESUMED: "RESUMED",
    POSITION: "POSITION",
    SEEN: "SEEN",
    REDELIVERED: "REDELIVERED",
}
INT = b"\x81\x81\x03"  # the schema of int
ID, SECRET, NONCE = bytes(range(16)), bytes(range(32)), bytes(range(1, 17))
RESUMES: Parameters = {"resume": 30_000, "nonce": NONCE, "session": ID}
BEGINS: Parameters = RESUMES | {"secret": SECRET}
STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


# Bytes


def body(content: bytes) -> bytes:
    """These bytes as the content of a frame's byte string."""
    return encode(content)


def hello(version: int = 1, parameters: Parameters | None = None) -> bytes:
    return MAGIC + frame(HELLO, version, parameters or Parameters())


def import_(
    channel: int,
    name: str,
    *,
    receives: bool = True,
    window: int = 5,
    count: int | None = None,
    schema: bytes = INT,
    settles: bool = False,
) -> bytes:
    return frame(IMPORT, channel, name, receives, window, count, schema, *([True] if settles else []))


def accept(channel: int, window: int = 64, schema: bytes = INT) -> bytes:
    return frame(ACCEPT, channel, window, schema)


def reject(channel: int, code: int, message: str = "") -> bytes:
    return frame(REJECT, channel, code, message)


def data(channel: int, first: int, *values: Field, more: bool = False) -> bytes:
    """A batch of values in one frame."""
    return frame(DATA, channel, first, more, head(4, len(values)) + b"".join(map(encode, values)))


def ack(channel: int, delivered: int, value_limit: int, byte_limit: int) -> bytes:
    return frame(ACK, channel, delivered, value_limit, byte_limit)


def settle(channel: int, *ranges: int, outcome: int = 0) -> bytes:
    return frame(SETTLE, channel, [*ranges], outcome)


def close(channel: int, count: int = 0, code: int = 0, message: str = "") -> bytes:
    return frame(CLOSE, channel, count, code, message)


def ping(token: int = 0) -> bytes:
    return frame(PING, token)


def goodbye(code: int = 0, message: str = "") -> bytes:
    return frame(GOODBYE, code, message)


def proof(
    purpose: bytes,
    importer_nonce: bytes,
    exporter_nonce: bytes,
    epoch: int = 0,
    key: bytes = SECRET,
    session: bytes = ID,
) -> bytes:
    """Of a session, in an epoch with this secret."""
    nonces = importer_nonce + exporter_nonce
    text = b"trionetchan resume 1 " + purpose + b"\0" + session + epoch.to_bytes(8, "big") + nonces
    return hmac.new(key, text, hashlib.sha256).digest()


# The peer


class _Line:
    """One stream of a peer, and what came on it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.heard: list[tuple[int, Fields]] = []
        self.cutter = FrameCutter(2**30)
        self.next: deque[tuple[int, Fields]] = deque()

    def cut(self, chunk: bytes) -> None:
        for content in self.cutter.feed(chunk):
            self.next.append(read_frame(content))


class RawPeer:
    """One side of a stream, or of several: `reconnect` opens the next one, on which all goes on."""

    def __init__(self, dial: Callable[[], Awaitable[trio.abc.Stream]], exporter: Exporter | None = None) -> None:
        self.dial = dial
        self._exporter = exporter
        self.notes: dict[str, bytes] = {}
        """What a step has learnt that a later one needs."""
        self.positions: dict[int, int] = {}
        """How many values it says that it has had, by channel, when it resumes in the end."""
        self._lines: list[_Line] = []

    @property
    def exporter(self) -> Exporter:
        """That it connects to."""
        assert self._exporter is not None
        return self._exporter

    @property
    def stream(self) -> trio.abc.Stream:
        return self._lines[-1].stream

    @property
    def heard(self) -> list[tuple[int, Fields]]:
        """All that was heard on this stream, in order."""
        return self._lines[-1].heard

    @property
    def heard_ever(self) -> list[tuple[int, Fields]]:
        """What was heard on any stream."""
        return [item for line in self._lines for item in line.heard]

    @property
    def nonce(self) -> bytes:
        """The exporter's, on this stream."""
        parameters = cast("Parameters", next(fields for kind, fields in self.heard if kind == HELLO)[1])
        return cast("bytes", parameters["nonce"])

    @property
    def address(self) -> tuple[str, int]:
        """Of the exporter, where it has one in TCP."""
        stream = self.stream
        assert isinstance(stream, trio.SocketStream)
        host, port = stream.socket.getpeername()[:2]
        return str(host), int(port)

    async def connect(self) -> None:
        """Opens another stream, and leaves the one before as it is."""
        self.go_on_with(await self.dial())

    def go_on_with(self, stream: trio.abc.Stream) -> None:
        """All goes on on this stream."""
        self._lines.append(_Line(stream))

    def go_back(self) -> None:
        """All goes on on the first stream."""
        self._lines.append(self._lines.pop(0))

    async def say(self, *parts: bytes) -> None:
        """Writes these bytes, in one chunk, as far as the other side takes them."""
        with suppress(*STREAM_ERRORS):
            await self.stream.send_all(b"".join(parts))

    async def hear(self, kind: int) -> Fields:
        """The fields of the next frame of this kind; all others before it are only kept in `heard`."""
        line = self._lines[-1]
        while True:
            while not line.next:
                chunk = await line.stream.receive_some()
                assert chunk, f"expected {KINDS[kind]}, got the end of the stream after {line.heard}"
                line.cut(bytes(chunk))
            found = line.next.popleft()
            line.heard.append(found)
            if found[0] == kind:
                return found[1]

    async def hear_all(self) -> None:
        """Reads to the end of the stream."""
        line = self._lines[-1]
        with suppress(*STREAM_ERRORS):
            while chunk := await line.stream.receive_some():
                line.cut(bytes(chunk))
        line.heard += line.next
        line.next.clear()

    async def drain(self) -> bytes:
        """Reads to the end of the stream what need not be frames."""
        found = b""
        with suppress(*STREAM_ERRORS):
            while chunk := await self.stream.receive_some():
                found += chunk
        return found

    async def end(self) -> None:
        """Ends the stream, without a word."""
        with suppress(*STREAM_ERRORS):
            await self.stream.aclose()

    def reset(self) -> None:
        """Breaks the connection with a TCP reset."""
        stream = self.stream
        assert isinstance(stream, trio.SocketStream)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    async def close_all(self) -> None:
        with trio.CancelScope(shield=True):
            for line in self._lines:
                await trio.aclose_forcefully(line.stream)


Act = Callable[[RawPeer], Awaitable[None]]
"""What a peer does besides writing bytes."""
Step = bytes | Act
"""Bytes that the peer writes, or what else it does."""


async def play(peer: RawPeer, steps: Sequence[Step]) -> None:
    """Does these steps, one after the other."""
    for step in steps:
        if isinstance(step, bytes):
            await peer.say(step)
        else:
            await step(peer)
