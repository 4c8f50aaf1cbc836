"""Trio memory channels with a network in the middle.

An exporter publishes channels by name; an importer, in another process or on another machine, binds ends of its own
channels to those names; both use ordinary trio channel ends.
"""

from ._errors import (
    AuthenticationError,
    ChannelNameInUseError,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
    PermissionDeniedError,
    ProtocolError,
    RemoteValueError,
    SessionLostError,
    TooManyErrors,
    TypeMismatchError,
    ValuesDroppedError,
    ValueTypeError,
    WrongDirectionError,
)
from ._exporter import Exporter, open_exporter
from ._identity import (
    Authenticate,
    Authorize,
    Certificate,
    Credentials,
    UnixUser,
)
from ._importer import Delivery, Importer, open_importer, open_tcp_importer, open_unix_importer, open_websocket_importer
from ._limits import Limits
from ._network.listening import BoundListener
from ._network.tls import client_ssl_context, server_ssl_context
from ._peers import PeerConnected, PeerEvent, PeerEvents, PeerEventsLost, PeerGone, PeerResumed, PeerSuspended
from ._policies import allow_certificates, any_of, name_patterns, same_user, tokens
from ._statistics import ChannelStatistics, Direction, ExporterStatistics, ImporterStatistics

__all__ = [
    "Authenticate",
    "AuthenticationError",
    "Authorize",
    "BoundListener",
    "Certificate",
    "ChannelNameInUseError",
    "ChannelStatistics",
    "ConnectionLostError",
    "Credentials",
    "Delivery",
    "Direction",
    "Exporter",
    "ExporterStatistics",
    "Importer",
    "ImporterStatistics",
    "LimitError",
    "Limits",
    "NetchanError",
    "NoSuchChannelError",
    "PeerConnected",
    "PeerEvent",
    "PeerEvents",
    "PeerEventsLost",
    "PeerGone",
    "PeerResumed",
    "PeerSuspended",
    "PermissionDeniedError",
    "ProtocolError",
    "RemoteValueError",
    "SessionLostError",
    "TooManyErrors",
    "TypeMismatchError",
    "UnixUser",
    "ValueTypeError",
    "ValuesDroppedError",
    "WrongDirectionError",
    "allow_certificates",
    "any_of",
    "client_ssl_context",
    "name_patterns",
    "open_exporter",
    "open_importer",
    "open_tcp_importer",
    "open_unix_importer",
    "open_websocket_importer",
    "same_user",
    "server_ssl_context",
    "tokens",
]

__version__ = "0.1.0"
