"""Trio memory channels with a network in the middle.

An exporter publishes channels by name; an importer, in another process or on another machine, binds ends of its own
channels to those names; both use ordinary trio channel ends.
"""

from ._errors import (
    ChannelNameInUseError,
    ConnectionLostError,
    LimitError,
    NetchanError,
    NoSuchChannelError,
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
from ._importer import Delivery, Importer, open_importer, open_tcp_importer, open_unix_importer, open_websocket_importer
from ._limits import Limits
from ._network.listening import BoundListener
from ._peers import PeerConnected, PeerEvent, PeerEvents, PeerEventsLost, PeerGone, PeerResumed, PeerSuspended
from ._statistics import ChannelStatistics, Direction, ExporterStatistics, ImporterStatistics

__all__ = [
    "BoundListener",
    "ChannelNameInUseError",
    "ChannelStatistics",
    "ConnectionLostError",
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
    "ProtocolError",
    "RemoteValueError",
    "SessionLostError",
    "TooManyErrors",
    "TypeMismatchError",
    "ValueTypeError",
    "ValuesDroppedError",
    "WrongDirectionError",
    "open_exporter",
    "open_importer",
    "open_tcp_importer",
    "open_unix_importer",
    "open_websocket_importer",
]

__version__ = "0.1.0"
