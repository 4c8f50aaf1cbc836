"""Who the peer of one stream is. Until that is known, little is read of it, and nothing is done for it.

An exporter reads at most `MAX_STRANGER_SIZE` bytes before it knows: the hello, and of a session that is resumed the
RESUME. With an `authenticate`, it then waits for that, and reads nothing meanwhile; the time for the handshake bounds
it. An importer has chosen whom it connects to, and TLS has checked that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from .._errors import ProtocolError
from .._identity import Credentials, Identity
from .transport import READ_SIZE, Transport

__all__ = ["Identification"]

STRANGER_READ_SIZE = 16 * 2**10  # bytes read at a time
MAX_STRANGER_SIZE = 64 * 2**10  # bytes read in all


class Identification:
    """Of one peer. `authenticate` returns the principal or raises; without it, whoever comes is known by the hello.

    `known`: it is from the start, to an importer.
    """

    def __init__(
        self, transport: Transport, authenticate: Callable[[Credentials], Awaitable[str]] | None, *, known: bool
    ) -> None:
        self.done = known
        """Whether the peer is known."""
        self.asks = False
        """Whether `authenticate` is asked just now."""
        self._transport = transport
        self._authenticate = authenticate
        self._principal: str | None = None
        self._read = 0

    @property
    def read_size(self) -> int:
        """How many bytes may be read now."""
        return READ_SIZE if self.done else STRANGER_READ_SIZE

    @property
    def identity(self) -> Identity:
        """As whom the peer begins a session, or goes on with one."""
        if self._principal is not None:
            return Identity(self._principal)
        shown = self._transport.credentials
        return Identity(stream=f"confidential: {shown.confidential}, certificate: {shown.certificate}")

    def has_read(self, size: int) -> ProtocolError | None:
        """So many bytes were read, and have been looked at. What is wrong with that."""
        if self.done:
            return None
        self._read += size
        if self._read < MAX_STRANGER_SIZE:
            return None
        return ProtocolError(f"expected a hello within {MAX_STRANGER_SIZE} bytes, got more without one")

    async def identify(self, token: bytes | None) -> None:
        """Finds out who it is, by what the stream and the hello show. `AuthenticationError`: nobody who is accepted."""
        if self._authenticate is not None:
            text = None if token is None else token.decode(errors="replace")
            self.asks = True
            self._principal = await self._authenticate(attrs.evolve(self._transport.credentials, token=text))
            self.asks = False
        self.done = True
