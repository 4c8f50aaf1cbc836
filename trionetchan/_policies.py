"""Ready-made answers to an exporter's two questions: who is there, and what they may bind. See `_identity`."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import os
from collections.abc import Collection, Mapping

from ._errors import AuthenticationError
from ._identity import Authenticate, Authorize, Credentials, check_token
from ._statistics import Direction

__all__ = ["TokenCheck", "allow_certificates", "any_of", "name_patterns", "same_user", "tokens"]


# Who is there


def allow_certificates(*patterns: str) -> Authenticate:
    """Accepts peers by their certificate. The principal is the first of its names that matches.

    The `ssl_context` must ask for certificates (`server_ssl_context(…, authority=…)` does): only those that it has
    verified count. Patterns are shell-style and match whole names of their own kind, case counts:
    ``"worker.example"``, ``"*.example"``, ``"spiffe://example/*"``, ``"*@example.org"``. Without patterns every
    certificate that the authorities have issued is accepted, so it is right only for an authority that issues to nobody
    else.
    """

    async def authenticate(credentials: Credentials) -> str | None:
        if credentials.certificate is None:
            raise AuthenticationError("expected a certificate, got none")
        names = credentials.certificate.names
        for name in names:
            if not patterns or any(_matches(name, pattern) for pattern in patterns):
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
        raise AuthenticationError("; ".join(filter(None, reasons)) or "none of the ways accepts it")

    return authenticate


# What they may bind


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


def _matches(name: str, pattern: str) -> bool:
    """A pattern is for names of its own kind only: "*.example" is no e-mail address of that domain."""
    return _kind(name) == _kind(pattern) and fnmatch.fnmatchcase(name, pattern)


def _kind(name: str) -> str:
    return "URI" if "://" in name else "e-mail" if "@" in name else "DNS"


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names)) or "any name"
