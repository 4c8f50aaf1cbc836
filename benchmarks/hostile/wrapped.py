"""What hostile peers do below the protocol: with TLS, and with WebSocket."""

from __future__ import annotations

import contextlib
import ssl

import trio

from .line import Line, Target
from .words import PING, frame, hello

__all__ = ["stalled_handshake", "tiny_records", "websocket_bytes", "websocket_head", "websocket_pings"]

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: trionetchan.1\r\n\r\n"
)
RECORDS = 2000  # sent at a time
MASK = b"\0\0\0\0"  # masked, as a client must; by zeros, which change nothing


def _client() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A client that trusts everyone, and what comes in and goes out below it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(incoming, outgoing), incoming, outgoing


async def tiny_records(target: Target) -> None:
    """A TLS record for each byte."""
    tls, incoming, outgoing = _client()
    async with target.connect(target.tls) as line:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await line.say(outgoing.read())
                incoming.write(await line.read())
            else:
                break
        tls.write(hello())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.drain)
            while True:
                await line.say(_records(tls, outgoing, frame(PING, 1)))


def _records(tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, data: bytes) -> bytes:
    """The data, again and again, one byte in each record."""
    for place in list(range(len(data))) * (RECORDS // len(data)):
        tls.write(data[place : place + 1])
    return outgoing.read()


async def stalled_handshake(target: Target) -> None:
    """Half of what a TLS client says first."""
    tls, _, outgoing = _client()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    first = outgoing.read()
    async with target.connect(target.tls) as line:
        await line.say(first[: len(first) // 2])
        await line.hold()


async def _upgrade(line: Line) -> None:
    await line.say(UPGRADE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await line.read()


async def websocket_pings(target: Target) -> None:
    """Pings of the WebSocket."""
    async with target.connect(target.websocket) as line:
        await _upgrade(line)
        await line.say(_messages(hello()))
        await line.flood((b"\x89\x80" + MASK) * 20_000)


async def websocket_bytes(target: Target) -> None:
    """A WebSocket message for each byte."""
    async with target.connect(target.websocket) as line:
        await _upgrade(line)
        await line.say(_messages(hello()))
        await line.flood(_messages(frame(PING, 1)) * 3000)


async def websocket_head(target: Target) -> None:
    """A request that goes on, one header and then the next, and never ends."""
    async with target.connect(target.websocket) as line:
        await line.say(UPGRADE[:-2])
        await line.shout(b"X: x\r\n", 0.05)


def _messages(data: bytes) -> bytes:
    """Binary messages of one byte each."""
    return b"".join(b"\x82\x81" + MASK + data[place : place + 1] for place in range(len(data)))
