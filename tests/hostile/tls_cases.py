"""Wire cases 61 to 65: TLS, and unix sockets."""

from __future__ import annotations

from typing import Any

import trio
import trustme
from cases import Case, broken, cut_off, late, suspended
from raw_peer import RawPeer, hello, import_
from server import Server, client_context
from steps import waits

from trionetchan import Limits

__all__ = ["TLS_CASES"]

STRANGERS = trustme.CA()
QUICK = Limits(handshake_timeout=0.1)
NOT_TLS = "bytes that are not TLS: the other side does not use TLS (no `ssl_context` there?) (SSLError: …"
GOT = "expected a goodbye, got: "
NO_HELLO = "expected a hello within 0.1 s, got none"


async def without_certificate(server: Server) -> trio.abc.Stream:
    return await server.dial(client_context())


async def with_a_strange_certificate(server: Server) -> trio.abc.Stream:
    return await server.dial(client_context(authority=STRANGERS))


async def without_tls(server: Server) -> trio.abc.Stream:
    return await server.dial_plain()


def below(peer: RawPeer) -> trio.abc.Stream:
    stream: Any = peer.stream
    below: trio.abc.Stream = stream.transport_stream
    return below


async def truncates(peer: RawPeer) -> None:
    """Ends the TCP connection without the goodbye of TLS."""
    await below(peer).aclose()


async def writes_below(peer: RawPeer) -> None:
    """Writes plain text where TLS is expected."""
    await below(peer).send_all(b"GET / HTTP/1.1\r\n\r\n")


TLS_CASES: list[Case] = [
    cut_off(
        "61a",
        "has no certificate, where one is required",
        hello(),
        says=GOT + "no certificate from the other side, and this side requires one (SSLError: …",
        dial=without_certificate,
        transport="mutual tls",
        hello=False,
    ),
    cut_off(
        "61b",
        "has a certificate of another authority",
        hello(),
        import_(0, "jobs"),
        says=GOT + "a certificate of an authority that this side does not know …",
        dial=with_a_strange_certificate,
        transport="mutual tls",
        hello=False,
    ),
    late(
        "62a",
        "stays silent where TLS is expected",
        says=NO_HELLO,
        dial=without_tls,
        transport="tls",
        hello=False,
        limits=QUICK,
    ),
    late(
        "62b",
        "begins the handshake of TLS, and goes no further",
        b"\x16\x03\x01\x02\x00\x01",
        says=NO_HELLO,
        dial=without_tls,
        transport="tls",
        hello=False,
        limits=QUICK,
    ),
    suspended(
        "63a",
        "ends the connection without the goodbye of TLS",
        waits,
        truncates,
        says=GOT + "the end of the stream, without the goodbye of TLS …",
        transport="tls",
    ),
    suspended(
        "63b",
        "ends the connection within a frame, without the goodbye of TLS",
        import_(0, "jobs")[:5],
        truncates,
        says=GOT + "the end of the stream, without the goodbye of TLS …",
        transport="tls",
    ),
    cut_off(
        "64a",
        "does not use TLS where it is expected",
        hello(),
        says=GOT + NOT_TLS,
        dial=without_tls,
        transport="tls",
        hello=False,
    ),
    cut_off(
        "64b",
        "sends an HTTP request where TLS is expected",
        b"GET / HTTP/1.1\r\n\r\n",
        says=GOT + NOT_TLS,
        dial=without_tls,
        transport="tls",
        hello=False,
    ),
    suspended(
        "64c",
        "writes plain text when the handshake of TLS is done",
        waits,
        writes_below,
        says=GOT + NOT_TLS,
        transport="tls",
    ),
    broken(
        "65a",
        "begins with other bytes, over a unix socket",
        b"x",
        says=r"expected a stream that starts with b'\xd9\xd9\xf7', got b'x'",
        transport="unix",
        hello=False,
        log=r"the connection with a unix socket ended: expected a stream that starts with b'\xd9\xd9\xf7', got b'x'",
    ),
]
