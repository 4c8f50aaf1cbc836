"""Who is at the other end of a connection, and what they may bind: what a peer shows, and ready-made checks of it.

An exporter asks two questions, and the program answers both, each with an async callable:

- `authenticate=`, once for each connection: what a peer shows (`Credentials`) becomes the name of a *principal*, a
  `str`; or the peer is refused, by None, or by an `AuthenticationError` that says why.
- `authorize=`, once for each import: may this principal bind this channel, in this direction?

Both run while nothing of the peer is served: nothing more is read of a connection until it is authenticated, and an
import has no answer until it is authorized. What they raise refuses the peer, and is logged as a mistake of the
program.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import attrs

from ._errors import AuthenticationError
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
    "allow_certificates",
    "any_of",
    "certificate_of",
    "check_token",
    "name_patterns",
    "same_user",
    "tokens",
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


# Ready-made: who is there


def allow_certificates(*patterns: str) -> Authenticate:
    """Accepts peers by their certificate. The principal is the first of its names that matches.

    The `ssl_context` must ask for certificates (`server_ssl_context(…, authority=…)` does): only those that it has
    verified count. Patterns are shell-style and match whole names, case counts: "worker.example", "*.example",
    "spiffe://example/*". Without patterns every certificate that the authorities have issued is accepted, so it is
    right only for an authority that issues to nobody else.
    """

    async def authenticate(credentials: Credentials) -> str | None:
        if credentials.certificate is None:
            raise AuthenticationError("expected a certificate, got none")
        names = credentials.certificate.names
        for name in names:
            if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                return name
        raise AuthenticationError(f"expected a certificate of {_listed(patterns)}, got one of {_listed(names)}")

    return authenticate


def tokens(principals: Mapping[str, str], *, allow_plain: bool = False) -> Authenticate:
    """Accepts peers by a token; `principals` says whose each one is: `{token: principal}`.

    A token that came over a stream that others may be able to read is refused, right or wrong: over TLS and unix
    sockets only, unless `allow_plain`. Every check takes the same time, whatever is shown: in its length, and in how
    much of it is right. Only digests of the tokens are kept. `ValueError` for a token that is empty or longer than
    1,024 bytes.

    Make tokens with `secrets.token_urlsafe()`: what people can remember, others can guess.
    """
    return TokenCheck(principals, allow_plain=allow_plain)


class TokenCheck:
    """What `tokens` returns."""

    def __init__(self, principals: Mapping[str, str], *, allow_plain: bool) -> None:
        for token in principals:
            check_token(token)
        self._key = os.urandom(32)
        self._digests = [self._digest(token) for token in principals]
        self._principals = [None, *principals.values()]
        self._allow_plain = allow_plain

    async def __call__(self, credentials: Credentials) -> str | None:
        """The principal. `AuthenticationError` says why not."""
        if not (credentials.confidential or self._allow_plain):
            raise AuthenticationError("expected a token over TLS or a unix socket, got a stream that others may read")
        principal = self.whose(credentials.token)
        if principal is None:
            raise AuthenticationError(f"expected a token, got {'none' if credentials.token is None else 'a wrong one'}")
        return principal

    def whose(self, token: str | None) -> str | None:
        """Whose token it is. It takes the same steps for each: no branch here depends on a token."""
        shown = self._digest(token or "")  # the empty one is nobody's
        position = 0
        for number, digest in enumerate(self._digests, 1):
            position += number * hmac.compare_digest(digest, shown)
        return self._principals[position]

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(), hashlib.sha256)


def same_user() -> Authenticate:
    """Accepts peers over a unix socket whose process runs as the user of this one. The principal is "uid 1000", with
    that user's number.

    The kernel tells, so there is nothing to guess or to steal. Linux only: elsewhere nobody is accepted.
    """
    own = os.geteuid() if hasattr(os, "geteuid") else None

    async def authenticate(credentials: Credentials) -> str | None:
        user = credentials.unix_user
        if user is None:
            raise AuthenticationError("expected a unix socket whose user the system tells, got none")
        if user.uid != own:
            raise AuthenticationError(f"expected the user uid {own}, got uid {user.uid}")
        return f"uid {user.uid}"

    return authenticate


def any_of(*ways: Authenticate) -> Authenticate:
    """Accepts whom one of these accepts. They are asked in this order, and the first that accepts names the
    principal."""

    async def authenticate(credentials: Credentials) -> str | None:
        reasons: list[str] = []
        for way in ways:
            try:
                principal = await way(credentials)
            except AuthenticationError as error:
                reasons.append(str(error))
            else:
                if principal is not None:
                    return principal
        raise AuthenticationError("; ".join(reasons))

    return authenticate


# Ready-made: what they may bind


def name_patterns(allowed: Mapping[str, Mapping[str, Direction | None]]) -> Authorize:
    """Allows by patterns: `{principal: {channel: direction}}`, where principal and channel are shell-style patterns.

    The direction is the exporter's: `Direction.SEND`, those principals may receive from such a channel;
    `Direction.RECEIVE`, they may send into it; None, both. What no pattern allows is denied. For example::

        name_patterns({
            "*.workers.example": {"jobs": Direction.SEND, "results": Direction.RECEIVE},
            "admin.example": {"*": None},
        })
    """
    rules = [
        (principal, channel, direction)
        for principal, channels in allowed.items()
        for channel, direction in channels.items()
    ]

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        return any(
            allowed_direction in (None, direction)
            and fnmatch.fnmatchcase(principal, principals)
            and fnmatch.fnmatchcase(name, channels)
            for principals, channels, allowed_direction in rules
        )

    return authorize


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names)) or "any name"


# For the rest of the house


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
