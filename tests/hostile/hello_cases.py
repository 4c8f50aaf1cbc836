"""Wire cases 1 to 10: how a connection begins."""

from __future__ import annotations

import random
import ssl

import pytest
from cases import Case, broken, ignored, late, suspended
from raw_peer import BEGINS, data, goodbye, hello, import_, ping
from second_frames import ACCEPT, HELLO, MAGIC, RESUME, Parameters
from second_session import frame
from steps import dribbles, ends, fills_descriptors, floods_connections, frame_of, half_closes, hears

from trionetchan import Limits

__all__ = ["HELLO_CASES"]


def tls_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HTTP = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
START = r"expected a stream that starts with b'\xd9\xd9\xf7', got "
QUICK = Limits(handshake_timeout=0.1)
NO_HELLO = "expected a hello within 0.1 s, got none"
FEW = Limits(max_connections=4)
FEW_OF_AN_ADDRESS = Limits(max_connections_per_address=4)


def first(number: str, does: str, *chunks: bytes, says: str, code: str = "PROTOCOL_ERROR") -> Case:
    """Bytes with which a stream does not begin."""
    return broken(number, does, *chunks, says=says, code=code, hello=False)


def parameters(number: str, does: str, entries: bytes, says: str) -> Case:
    """A hello with this map."""
    return first(number, does, MAGIC + frame_of(b"\x00", b"\x01", entries), says=says)


def parameter(number: str, does: str, name: str, item: bytes, says: str) -> Case:
    entry = bytes([0x60 | len(name)]) + name.encode() + item
    return parameters(number, does, b"\xa1" + entry, says)


HELLO_CASES: list[Case] = [
    first("1a", "begins with ones", b"\xff" * 1000, says=START + "b'" + r"\xff" * 16 + "'"),
    first("1b", "begins with zeros", bytes(1000), says=START + "b'" + r"\x00" * 16 + "'"),
    first("1c", "begins with the tag, and a wrong third byte", b"\xd9\xd9\xf8", says=START + r"b'\xd9\xd9\xf8'"),
    first("1d", "begins with a line of text", b"EHLO example.org\r\n", says=START + "b'EHLO example.org'"),
    first("1e", "begins with 100,000 random bytes", random.Random(1).randbytes(100_000), says=START + "…"),
    first("1f", "begins with one wrong byte", b"x", says=START + "b'x'"),
    first("2a", "sends an HTTP request", HTTP, says=START + "b'GET / HTTP/1.1\\r\\n'"),
    first(
        "2b", "says hello in TLS, on a plain port", tls_hello(), says=START + "…the other side uses TLS, and this side…"
    ),
    first("2c", "wants to upgrade to WebSocket, on a plain port", UPGRADE, says=START + "b'GET / HTTP/1.1\\r\\n'"),
    first("2d", "says hello in SSH", b"SSH-2.0-OpenSSH_9.6\r\n", says=START + "b'SSH-2.0-OpenSSH_'"),
    first(
        "3a",
        "speaks version 2",
        hello(2),
        says="expected protocol version 1, got version 2",
        code="UNSUPPORTED_VERSION",
    ),
    first(
        "3b",
        "speaks version 0",
        hello(0),
        says="expected protocol version 1, got version 0",
        code="UNSUPPORTED_VERSION",
    ),
    first(
        "3c",
        "speaks version 2^62",
        hello(2**62),
        says=f"expected protocol version 1, got version {2**62}",
        code="UNSUPPORTED_VERSION",
    ),
    first(
        "3d",
        "speaks version 2, with parameters that are no map",
        MAGIC + frame_of(b"\x00", b"\x02", b"\x80"),
        says="expected a map of at most 64 parameters, got major type 4, length 0",
    ),
    first(
        "4a", "asks for a channel before its hello", MAGIC + import_(0, "jobs"), says="expected HELLO first, got IMPORT"
    ),
    first("4b", "sends values before its hello", MAGIC + data(0, 0, 1), says="expected HELLO first, got DATA"),
    first("4c", "pings before its hello", MAGIC + ping(), says="expected HELLO first, got PING"),
    first(
        "4d",
        "resumes a session before its hello",
        MAGIC + frame(RESUME, bytes(16), 0, bytes(32), 0, 0),
        says="expected HELLO first, got RESUME",
    ),
    ignored("4e", "says goodbye before its hello", MAGIC + goodbye(), hello=False, leaves=True),
    broken("5a", "says hello twice", hello()[3:], says="expected one HELLO, got a second"),
    broken(
        "5b",
        "says hello again when a channel is bound",
        import_(0, "jobs"),
        hears(ACCEPT),
        hello()[3:],
        says="expected one HELLO, got a second",
    ),
    broken(
        "5c",
        "begins the stream anew, first bytes included",
        hello(),
        says="expected the head of a frame (a byte string), got the byte 0xd9",
    ),
    late(
        "6a",
        "says hello one byte at a time",
        hears(HELLO),
        dribbles(hello(1, BEGINS)),
        says=NO_HELLO,
        limits=QUICK,
        hello=False,
    ),
    late("7a", "stays silent", says=NO_HELLO, limits=QUICK, hello=False),
    late("7b", "says the first three bytes, and no more", MAGIC, says=NO_HELLO, limits=QUICK, hello=False),
    late("7c", "says half of its hello", hello(1, BEGINS)[:50], says=NO_HELLO, limits=QUICK, hello=False),
    suspended(
        "7d",
        "connects, and ends its direction at once",
        half_closes,
        says="expected a goodbye, got the end of the stream",
        hello=False,
        resumable=False,
    ),
    suspended(
        "7e",
        "connects, and goes",
        ends,
        says="expected a goodbye, got the end of the stream",
        hello=False,
        resumable=False,
    ),
    ignored(
        "8a",
        "opens 20 connections more where 4 are allowed, all silent; the last one is served",
        floods_connections(20),
        hello(),
        hears(HELLO),
        hello=False,
        limit="max_connections",
        times=18,
        limits=Limits(max_connections=4),
        log="…",
        lines=20,
    ),
    ignored(
        "8b",
        "opens 20 connections more where 4 are allowed from its address, all silent; the last one is served",
        floods_connections(20),
        hello(),
        hears(HELLO),
        hello=False,
        limit="max_connections_per_address",
        times=18,
        limits=Limits(max_connections_per_address=4),
        log="…",
        lines=20,
    ),
    ignored(
        "9a",
        "connects when the process has no file descriptor left, and is served when it has one again",
        fills_descriptors,
        hello=False,
        log="cannot accept importers for now: …expected a free file descriptor for one more connection, got none…",
    ),
    parameter(
        "10a", "reads frames of 0 bytes", "frame", b"\x00", "expected a parameter 'frame' of at least 65536, got 0"
    ),
    parameter(
        "10b",
        "reads frames of 65,535 bytes",
        "frame",
        b"\x19\xff\xff",
        "expected a parameter 'frame' of at least 65536, got 65535",
    ),
    parameter("10c", "reads frames of -1 bytes", "frame", b"\x20", "expected an unsigned integer, got the byte 0x20"),
    parameter(
        "10d",
        "reads frames of 2^64-1 bytes",
        "frame",
        b"\x1b" + b"\xff" * 8,
        f"expected an integer up to 2^62, got {2**64 - 1}",
    ),
    parameter(
        "10e",
        "reads frames of 2^64 bytes, a bignum",
        "frame",
        b"\xc2\x49\x01" + bytes(8),
        "expected an unsigned integer, got the byte 0xc2",
    ),
    parameter("10f", "takes values of 0 bytes", "value", b"\x00", "expected a parameter 'value' of at least 1, got 0"),
    parameter(
        "10g", "has a buffer of 0 bytes", "buffer", b"\x00", "expected a parameter 'buffer' of at least 1, got 0"
    ),
    parameter("10h", "has a nonce of 15 bytes", "nonce", b"\x4f" + bytes(15), "expected 16 bytes, got 15"),
    parameter("10i", "has a secret of 33 bytes", "secret", b"\x58\x21" + bytes(33), "expected 32 bytes, got 33"),
    parameter("10j", "says a size as text", "frame", b"\x6565536", "expected an unsigned integer, got the byte 0x65"),
    parameters(
        "10k",
        "has 65 parameters",
        b"\xb8\x41" + b"".join(b"\x62" + b"%02d" % number + b"\x00" for number in range(65)),
        "expected a map of at most 64 parameters, got major type 5, length 65",
    ),
    ignored("10l", "keeps its sessions for 2^62 ms", hello(1, BEGINS | {"resume": 2**62}), hears(HELLO), hello=False),
    ignored(
        "10m",
        "takes values, and has a buffer, of 2^62 bytes",
        hello(1, Parameters(value=2**62, buffer=2**62)),
        hears(HELLO),
        import_(0, "jobs"),
        hears(ACCEPT),
        hello=False,
    ),
]
