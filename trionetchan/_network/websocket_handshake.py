"""The HTTP part of a WebSocket: who may open one here, and what a server answers. RFC 6455, section 4.

A page of any web site may have a browser connect to any address that the browser reaches, this machine's own among
them. The browser tells where the page came from, in the header Origin, and that is what keeps strange pages out.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Collection
from http import HTTPStatus

import attrs
import trio
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from .._errors import printable
from .transport import Transport

__all__ = ["SUBPROTOCOL", "Address", "Refused", "Unfit", "accept", "checked_origins", "connect", "parse_url", "refuse"]

SUBPROTOCOL = "trionetchan.1"
MAX_HEAD_SIZE = 16 * 2**10  # bytes of a request or an answer, with all its headers
ANY_ORIGIN = "*"

END_OF_HEAD = b"\r\n\r\n"


class Unfit(Exception):
    """The other side does not open a WebSocket of this protocol; the message says what came instead."""


class Refused(Unfit):
    """This server does not want it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@attrs.frozen
class Address:
    """What a WebSocket's URL says."""

    secure: bool
    host: str
    port: int
    target: str
    """Path and query."""

    def __str__(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as in the header Host: without the port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """`ValueError` for what is no URL of a WebSocket."""
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "wss"
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not url.isascii() or not url.isprintable():
        raise ValueError(f"expected a URL like 'ws://127.0.0.1:8000/' or 'wss://example.org/', got {url!r}")
    if "@" in parts.netloc or "#" in url or " " in url:
        raise ValueError("expected a URL of a WebSocket without a user, a fragment and spaces, got one that has some")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(secure, parts.hostname, parts.port or (443 if secure else 80), target)


def checked_origins(origins: Collection[str] | None) -> frozenset[str] | None:
    """`TypeError` or `ValueError` for what cannot be a collection of origins."""
    if origins is None:
        return None
    if isinstance(origins, str):
        raise TypeError(f"origins: expected a collection of origins or None, got one text; write [{origins!r}]")
    for origin in origins:
        scheme, _, host = origin.partition("://")
        plain = scheme and host and not set("/?# ") & set(host)
        if origin not in (ANY_ORIGIN, "null") and not plain:
            raise ValueError(
                f"origins: expected one like 'https://example.org' (no path), 'null' or '*', got {origin!r}"
            )
    return frozenset(origin.lower() for origin in origins)


async def accept(transport: Transport, origins: frozenset[str] | None, *, secure: bool) -> bytes:
    """Answers a client's request; returns the bytes behind it. `Refused`, which is for `refuse`, and `Unfit`."""
    try:
        head, rest = await _read_head(transport, b"GET ")
    except OverflowError as error:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, str(error)) from None
    if not head.partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
        raise Refused(505, "expected HTTP/1.1, got another version")
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(head)
        request = next(handshake.events(), None)
    except RemoteProtocolError as error:
        status = error.event_hint.status_code if isinstance(error.event_hint, RejectConnection) else 400
        raise Refused(status, f"expected a request for a WebSocket, got one with a fault: {error}") from error
    except UnicodeError as error:  # wsproto does not expect it
        raise Refused(400, f"expected ASCII in the headers, got: {error}") from error
    if not isinstance(request, Request):
        raise Refused(400, "expected a request for a WebSocket, got something else")
    _check(request, origins, secure=secure)
    await transport.send_all([handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL))])
    return rest


def _check(request: Request, origins: frozenset[str] | None, *, secure: bool) -> None:
    headers = [(name, value.decode("latin-1")) for name, value in request.extra_headers]
    given = [value for name, value in headers if name == b"origin"]
    if given and not (len(given) == 1 and _is_allowed(given[0].lower(), request.host.lower(), origins, secure=secure)):
        named = printable(", ".join(given))
        raise Refused(403, f"expected an origin that may connect (`origins=`), got {named}")
    if request.target.partition("?")[0] != "/":
        raise Refused(404, f"expected the path /, got {printable(request.target)}")
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
        raise Refused(400, "expected a request without a body, got one with a body")
    offered = request.subprotocols
    if SUBPROTOCOL not in offered:
        raise Refused(400, f"expected the subprotocol {SUBPROTOCOL}, got {printable(', '.join(offered)) or 'none'}")


def _is_allowed(origin: str, host: str, origins: frozenset[str] | None, *, secure: bool) -> bool:
    if origins is not None and (ANY_ORIGIN in origins or origin in origins):
        return True
    return origin == f"{'https' if secure else 'http'}://{host}" and _cannot_be_rebound(host)


def _cannot_be_rebound(authority: str) -> bool:
    """Whether a host is told by its address.

    Whoever owns a domain can have a name of it lead here after the page has come from elsewhere (DNS rebinding): to
    the browser both are one origin. So a name is trusted only if it is among the `origins`.
    """
    host = urllib.parse.urlsplit(f"//{authority}").hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


async def refuse(transport: Transport, refusal: Refused) -> None:
    """Writes the answer, and reads on until the client has gone: a reset would destroy the answer on its way.

    The caller bounds it.
    """
    body = f"{refusal}\n".encode()
    lines = [
        f"HTTP/1.1 {refusal.status:d} {HTTPStatus(refusal.status).phrase}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        *(["Sec-WebSocket-Version: 13"] if refusal.status == HTTPStatus.UPGRADE_REQUIRED else []),
    ]
    await transport.send_all(["\r\n".join(lines).encode() + END_OF_HEAD + body])
    await transport.send_eof()
    while await transport.receive():
        await trio.lowlevel.checkpoint_if_cancelled()  # also if each read finds something


async def connect(transport: Transport, address: Address) -> tuple[bytes, str | None]:
    """Asks a server for a WebSocket; returns the bytes behind its answer, and the subprotocol that it has chosen."""
    handshake = H11Handshake(ConnectionType.CLIENT)
    try:
        request = handshake.send(Request(host=address.authority, target=address.target, subprotocols=[SUBPROTOCOL]))
    except (LocalProtocolError, UnicodeError) as error:
        raise Unfit(f"expected a host that HTTP can name, got: {error}") from error
    await transport.send_all([request])
    try:
        head, rest = await _read_head(transport, b"HTTP/1.")
        handshake.receive_data(head)
        answer = next(handshake.events(), None)
        if isinstance(answer, RejectConnection):
            raise Unfit(f"expected 101 Switching Protocols, got {_told(handshake, answer, rest)}")
    except (OverflowError, RemoteProtocolError, UnicodeError) as error:
        raise Unfit(f"expected an answer that opens a WebSocket, got: {error}") from error
    if not isinstance(answer, AcceptConnection):
        raise Unfit("expected an answer that opens a WebSocket, got another")
    return rest, answer.subprotocol


def _told(handshake: H11Handshake, answer: RejectConnection, rest: bytes) -> str:
    """The answer of a server that refuses, with as much of its text as came at once."""
    status = f"{answer.status_code} {_PHRASES.get(answer.status_code, '')}".rstrip()
    handshake.receive_data(rest)
    text = b"".join(event.data for event in handshake.events() if isinstance(event, RejectData))
    return f"{status}: {printable(text.decode('utf-8', 'replace').strip())}" if text else status


async def _read_head(transport: Transport, start: bytes) -> tuple[bytes, bytes]:
    """The head of an HTTP message, which begins so, and what has come behind it.

    `Refused` if it does not begin so, `OverflowError` if it is too large, `Unfit` if it does not end.
    """
    head = bytearray()
    while True:
        chunk = await transport.receive(MAX_HEAD_SIZE)  # no more: what has come behind it is kept for a stranger
        if not chunk:
            raise Unfit(f"expected the handshake of a WebSocket, got the end of the stream after {len(head)} bytes")
        searched = max(0, len(head) - len(END_OF_HEAD) + 1)
        head += chunk
        if not head.startswith(start[: len(head)]):
            raise Refused(400, f"expected HTTP that begins with {start.decode()!r}, got {bytes(head[:16])!r}")
        end = head.find(END_OF_HEAD, searched)
        size = len(head) if end < 0 else end + len(END_OF_HEAD)
        if size > MAX_HEAD_SIZE:
            raise OverflowError(f"expected headers of at most {MAX_HEAD_SIZE} bytes, got more")
        if end >= 0:
            return bytes(head[:size]), bytes(head[size:])


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
