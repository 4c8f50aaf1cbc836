"""The errors of trionetchan, and the codes that stand for them on the wire.

Two kinds live here. The `NetchanError` tree is public: what a program that uses the library sees. `Code` is what one
side tells the other in a REJECT, CLOSE or GOODBYE frame; the shell translates between the two, once, at its edge.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

__all__ = [
    "AuthenticationError",
    "ChannelNameInUseError",
    "Code",
    "ConnectionLostError",
    "LimitError",
    "LimitReached",
    "NetchanError",
    "NoSuchChannelError",
    "PermissionDeniedError",
    "ProtocolError",
    "RemoteValueError",
    "SessionLostError",
    "TooManyErrors",
    "TypeMismatchError",
    "UnfitValue",
    "ValueTypeError",
    "ValuesDroppedError",
    "WrongDirectionError",
    "printable",
]


class Code(enum.IntEnum):
    """Why a request was refused, a channel closed or a session ended. The numbers are the wire's."""

    FINISHED = 0  # the sender is done (CLOSE), or a plain goodbye (GOODBYE)
    HUNG_UP = 1
    RECEIVER_GONE = 2
    VALUE_REFUSED = 3
    WITHDRAWN = 4
    COUNT_REACHED = 5
    LIMIT = 6
    NO_SUCH_CHANNEL = 7
    WRONG_DIRECTION = 8
    TYPE_MISMATCH = 9
    PROTOCOL_ERROR = 10
    UNSUPPORTED_VERSION = 11
    SESSION_LOST = 12
    RESTARTING = 13
    UNAUTHENTICATED = 14
    PERMISSION_DENIED = 15


class NetchanError(Exception):
    """The base of all errors of this library. `.channel` is the name of the channel concerned, if one is."""

    channel: str | None

    def __init__(self, message: str, *, channel: str | None = None) -> None:
        super().__init__(message)
        self.channel = channel


class ChannelNameInUseError(NetchanError):
    """The name is bound already, by this exporter or this importer."""


class NoSuchChannelError(NetchanError):
    """The exporter has no channel of that name; or the name that was to be hung up is not bound here."""


class WrongDirectionError(NetchanError):
    """Both sides would send on that channel, or both receive."""


class TypeMismatchError(NetchanError):
    """The value types of the two sides do not fit; the message says where they differ."""


class ValueTypeError(NetchanError):
    """A local value does not fit its channel's value type, or a value type cannot be carried."""


class RemoteValueError(NetchanError):
    """A value that arrived does not fit its channel's value type."""


class ValuesDroppedError(NetchanError):
    """Values that a drain or sync covered were dropped: hung up, refused, or without a receiver. `.count` of them."""

    count: int

    def __init__(self, message: str, *, channel: str | None = None, count: int) -> None:
        super().__init__(message, channel=channel)
        self.count = count


class LimitError(NetchanError):
    """A limit, of this side or of the peer, stands in the way."""


class AuthenticationError(NetchanError):
    """The exporter does not accept what this importer shows of itself: certificate, token, user. It has said no more.

    A program's own `authenticate` may raise it, to refuse a peer and to say why in the log `trionetchan.audit`.
    """


class PermissionDeniedError(NetchanError):
    """This importer may not bind that name in that direction; whether there is such a channel, it is not told."""


class ProtocolError(NetchanError):
    """The peer broke the protocol; its connection has ended."""


class ConnectionLostError(NetchanError):
    """The connection ended before what it carried was finished."""


class SessionLostError(ConnectionLostError):
    """A session ended that could have been resumed: not in time, or the exporter does not have it any more.

    What this side had sent, by the name of the channel, oldest first: `unconfirmed` values may have been delivered or
    not; `unsent` ones have never reached the exporter. Both are complete when the block raises this.
    """

    unconfirmed: dict[str, list[Any]]
    unsent: dict[str, list[Any]]

    def __init__(self, message: str, *, channel: str | None = None) -> None:
        super().__init__(message, channel=channel)
        self.unconfirmed = {}
        self.unsent = {}


class TooManyErrors(NetchanError):
    """`importer.errors` was left unread; `.errors` are the exceptions that waited there, and the one too many."""

    errors: Sequence[NetchanError]

    def __init__(self, message: str, *, errors: Sequence[NetchanError]) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class LimitReached(LimitError):
    """The peer has reached a limit of this side, whose field of `Limits` is `.limit`. Private: it ends a connection."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(f"{message} ({limit})")
        self.limit = limit


class UnfitValue(Exception):
    """A value, or a type, that a value codec cannot carry. Private: the shell adds the channel and makes it public."""


class TooLargeValue(UnfitValue):
    """A value that is larger than any that may be sent. Private: it becomes a `LimitError`."""


def printable(text: str, limit: int = 200) -> str:
    """Text from a peer, fit for a log line or a message: escaped, and cut at `limit` characters."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return cut.encode("unicode_escape", "backslashreplace").decode("ascii") if not cut.isprintable() else cut
