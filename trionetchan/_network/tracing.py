"""A trace of all frames of a connection, on the logger `trionetchan.wire` at level DEBUG.

It reads the bytes of both directions once more, so it costs nothing where it is off; whether it is on is decided when a
connection begins. Values are not shown, only how many bytes there are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from .._errors import ProtocolError, printable
from .._protocol.frames import Data, Frame, FrameCutter, kind_name

__all__ = ["Tracer", "tracer_for"]

logger = logging.getLogger("trionetchan.wire")

MAX_FRAME_SIZE = 2**31  # the reader has checked it


class Tracer:
    """Logs the frames of one connection."""

    def __init__(self, peer_name: str) -> None:
        self._peer_name = peer_name
        self._cutters = {way: FrameCutter(MAX_FRAME_SIZE) for way in ("sent", "received")}

    def sent(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Bytes that are handed to the stream."""
        self._log("sent", b"".join(pieces))

    def received(self, chunk: bytes) -> None:
        """Bytes that have come."""
        self._log("received", chunk)

    def _log(self, way: str, data: bytes) -> None:
        try:
            for frame in self._cutters[way].cut(data):
                logger.debug("%s: %s %s", self._peer_name, way, _described(frame))
        except ProtocolError as error:
            logger.debug("%s: %s what is no frame: %s", self._peer_name, way, error)


def _described(frame: Frame) -> str:
    fields = [
        f"{name}={_shown(getattr(frame, name))}"
        for name in type(frame).__match_args__
        if not (isinstance(frame, Data) and name == "payload")
    ]
    if isinstance(frame, Data):
        fields.append(f"bytes={len(frame.payload)}")
    return f"{kind_name(frame)} {' '.join(fields)}".rstrip()


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return printable(repr(value))


def tracer_for(peer_name: str) -> Tracer | None:
    """A tracer, if the trace is on."""
    return Tracer(peer_name) if logger.isEnabledFor(logging.DEBUG) else None
