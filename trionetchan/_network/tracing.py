"""A trace of all frames of a connection, on the logger `trionetchan.wire` at level DEBUG.

It reads the bytes of both directions once more, so it costs nothing where it is off; whether it is on is decided when a
connection begins. Values are not shown, only how many bytes there are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import cast

from .._batch import batch_count
from .._errors import Code, ProtocolError, printable
from .._protocol.frames import Data, Frame, FrameCutter, kind_name

__all__ = ["Tracer", "tracer_for"]

logger = logging.getLogger("trionetchan.wire")

MAX_FRAME_SIZE = 2**31  # the reader has checked it


class Tracer:
    """Logs the frames of one connection."""

    def __init__(self, side: str, peer_name: str) -> None:
        self._who = f"{side}, {peer_name}"
        self._amid: set[tuple[str, int]] = set()  # the channels of which a batch has begun
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
                logger.debug("%s: %s %s", self._who, way, self._described(way, frame))
        except ProtocolError as error:
            logger.debug("%s: %s what is no frame: %s", self._who, way, error)

    def _described(self, way: str, frame: Frame) -> str:
        """The frame's kind and its fields; of values only their numbers and their size."""
        fields = {name: _shown(getattr(frame, name)) for name in type(frame).__match_args__}
        if isinstance(frame, Data):
            begins = (way, frame.channel) not in self._amid
            self._amid.discard((way, frame.channel))
            if frame.more:
                self._amid.add((way, frame.channel))
            fields["payload"] = f"{len(frame.payload)} bytes"
            fields["values"] = str(batch_count(frame.payload)) if begins else "more of the same"
        return " ".join([kind_name(frame), *(f"{name}={value}" for name, value in fields.items())])


def _shown(value: object) -> str:
    """Of bytes only how many: some are secret."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        parameters = cast("dict[str, object]", value)
        return "{" + ", ".join(f"{name!r}: {_shown(item)}" for name, item in parameters.items()) + "}"
    return value.name if isinstance(value, Code) else printable(repr(value))


def tracer_for(side: str, peer_name: str) -> Tracer | None:
    """A tracer, if the trace is on. `side`: whether this is the exporter or the importer."""
    return Tracer(side, peer_name) if logger.isEnabledFor(logging.DEBUG) else None
