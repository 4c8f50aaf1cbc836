"""Who is at the other end of a connection: what a peer shows of itself, and what the program makes of it.

An exporter asks two questions, and the program answers both, each with an async callable:

- `authenticate=`, once for each connection: what a peer shows (`Credentials`) becomes the name of a *principal*, a
  `str`; or the peer is refused, by None, or by an `AuthenticationError` that says why.
- `authorize=`, once for each import: may this principal bind this channel, in this direction?

Both run while nothing of the peer is served: nothing more is read of a connection until it is authenticated, and an
import has no answer until it is authorized. What they raise refuses the peer, and is logged as a mistake of the
program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from ._limits import MAX_TOKEN_SIZE
from ._statistics import Direction

__all__ = [
    "ANONYMOUS",
    "Authenticate",
    "Authorize",
    "Certificate",
    "Credentials",
    "Identity",
    "Token",
    "UnixUser",
    "certificate_of",
    "check_token",
]

ANONYMOUS = "anonymous"
"""The principal of every peer of an exporter that authenticates none."""


@attrs.frozen(kw_only=True)
class Certificate:
    """The certificate of a peer, which TLS has verified against the authorities of the `ssl_context`."""

    names: tuple[str, ...]
    """Its subject's names: of the alternative names those of DNS (`worker.example`), URIs (`spiffe://example/worker`)
    and e-mail addresses, in this order; without any, its common name."""
    fingerprint: str
    """SHA-256 of the whole certificate, in hexadecimal digits."""


@attrs.frozen(kw_only=True)
class UnixUser:
    """The process at the other end of a unix socket, as the kernel tells: who it was when it connected."""

    uid: int
    gid: int
    pid: int


@attrs.frozen(kw_only=True)
class Credentials:
    """What a peer shows of itself. Made by the library; given to `authenticate`."""

    address: str
    """Where it comes from, for a log line: host and port, or "a unix socket"."""
    certificate: Certificate | None = None
    """None: no TLS, or none was asked for (`ssl_context.verify_mode`), or the peer has sent none."""
    token: str | None = attrs.field(default=None, repr=False)
    """What the importer was opened with, as `token=`."""
    unix_user: UnixUser | None = None
    """None: no unix socket, or a system that does not tell (all but Linux)."""
    confidential: bool = False
    """Whether nobody on the way can read or change what is said: TLS, or a unix socket."""


Authenticate = Callable[[Credentials], Awaitable[str | None]]
"""Turns what a peer shows into the name of a principal, or refuses: None, or an `AuthenticationError` that says why.
That goes to the log `trionetchan.audit`, never to the peer."""

Authorize = Callable[[str, str, Direction], Awaitable[bool]]
"""Whether a principal may bind a channel: principal, channel name, and direction as the exporter sees it:
`Direction.SEND`, the exporter sends and the principal would receive."""


@attrs.frozen
class Identity:
    """As whom an importer has begun its session. Private."""

    principal: str | None = None
    """None: nobody has asked."""
    stream: str = ""
    """What the stream showed of it, where nobody has asked: so a principal may come back with a new certificate."""


@attrs.frozen
class Token:
    """What an importer shows. Private."""

    text: str = attrs.field(repr=False)
    allow_plain: bool
    """Whether it may go over a stream that others may be able to read."""


def check_token(token: object) -> str:
    """`TypeError` or `ValueError` unless it can be one. Messages do not show it."""
    if not isinstance(token, str):
        raise TypeError(f"token: expected a str, got {type(token).__name__}")
    try:
        size = len(token.encode())
    except UnicodeEncodeError:
        raise ValueError("token: expected a str that can be UTF-8, got one with a lone surrogate") from None
    if not 1 <= size <= MAX_TOKEN_SIZE:
        raise ValueError(f"token: expected 1 to {MAX_TOKEN_SIZE} bytes, got {size}")
    return token


def certificate_of(fields: Mapping[str, Any], encoded: bytes) -> Certificate:
    """Of what `ssl.SSLObject.getpeercert` says of it, in both forms."""
    alternatives: list[tuple[str, str]] = list(fields.get("subjectAltName", ()))
    names = [name for kind in ("DNS", "URI", "email") for of, name in alternatives if of == kind]
    if not alternatives:
        names = [value for part in fields.get("subject", ()) for key, value in part if key == "commonName"]
    return Certificate(names=tuple(names), fingerprint=hashlib.sha256(encoded).hexdigest())
