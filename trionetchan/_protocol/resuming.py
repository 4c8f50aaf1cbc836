"""How a session goes on over a new stream: who may resume it, and what each side says it has.

The importer gives its session an id and a secret, in the hello of its first stream. A new stream resumes the session
when the importer proves that it knows the secret, which itself is not sent again: by an HMAC over the id, the epoch and
a nonce of each side, so that no proof can be used twice. The exporter proves the same, in the other role.

Each resume begins a new epoch, with a secret that is derived from the last one and the nonces. The importer may not
have learned that its resume was accepted, as the stream broke again; so an exporter takes a proof of the last epoch,
too, until the importer has said anything in the new one.

So a resume that was long under way, on a stream that the importer has given up, could come after a later one with a
proof that still counts. It is told by the order in which the exporter said its hellos: the importer has read the hello
of a stream on which it resumes before it opens the next.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs

__all__ = ["ID_SIZE", "NONCE_SIZE", "PROOF_SIZE", "SECRET_SIZE", "Nonces", "SessionKey"]

ID_SIZE = 16  # bytes
NONCE_SIZE = 16
SECRET_SIZE = 32
PROOF_SIZE = 32

_LABEL = b"trionetchan resume 1 "


@attrs.frozen
class Nonces:
    """What each side has said in the hello of this stream, and in no other."""

    importer: bytes
    exporter: bytes
    order: int = attrs.field(default=0, eq=False)
    """A larger number for each stream on which this exporter says hello."""


@attrs.define
class _Epoch:
    number: int
    secret: bytes = attrs.field(repr=False)

    def derive(self, purpose: bytes, session_id: bytes, nonces: Nonces) -> bytes:
        text = b"".join((session_id, self.number.to_bytes(8, "big"), nonces.importer, nonces.exporter))
        return hmac.digest(self.secret, _LABEL + purpose + b"\0" + text, hashlib.sha256)


class SessionKey:
    """The id of a session, and what proves that a new stream may resume it."""

    def __init__(self, session_id: bytes, secret: bytes) -> None:
        self.id = session_id
        self._current = _Epoch(0, secret)
        self._next: _Epoch | None = None  # begun by a resume of which the importer may not know
        self._order = 0  # of the stream that was last proved to be this session's

    @property
    def secret(self) -> bytes:
        """What both sides know; the importer says it once, when it begins the session."""
        return self._current.secret

    @property
    def epoch(self) -> int:
        """How many times the session was resumed, as far as both sides know."""
        return self._current.number

    def importer_proof(self, nonces: Nonces) -> bytes:
        """What the importer shows."""
        return self._current.derive(b"importer", self.id, nonces)

    def check_importer(self, epoch: int, proof: bytes, nonces: Nonces) -> bool:
        """Whether an importer that shows this knows the secret, and has not shown it on a later stream.

        Changes nothing if it does not.
        """
        if nonces.order < self._order:
            return False
        for candidate in (self._next, self._current):
            if candidate is not None and candidate.number == epoch:
                if not hmac.compare_digest(candidate.derive(b"importer", self.id, nonces), proof):
                    return False
                self._current, self._next = candidate, None
                self._order = nonces.order
                return True
        return False

    def exporter_proof(self, nonces: Nonces) -> bytes:
        """What the exporter shows, after `check_importer`."""
        return self._current.derive(b"exporter", self.id, nonces)

    def check_exporter(self, proof: bytes, nonces: Nonces) -> bool:
        """Whether an exporter that shows this knows the secret."""
        return hmac.compare_digest(self.exporter_proof(nonces), proof)

    def begin_epoch(self, nonces: Nonces) -> None:
        """A resume was accepted; the last epoch counts until `confirm`."""
        self._next = _Epoch(self._current.number + 1, self._current.derive(b"next", self.id, nonces))

    def confirm(self) -> None:
        """The other side knows the new epoch."""
        if self._next is not None:
            self._current, self._next = self._next, None
