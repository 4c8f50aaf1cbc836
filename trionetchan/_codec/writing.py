"""CBOR bytes of what the steps of sending have made; of a value that would become too large, only the beginning.

Decisions:

- What shares its parts may be endless written out: so the bytes are counted as they come.
- Making a cbor2 encoder takes as long as writing a small value: so a few are kept.
"""

from __future__ import annotations

from typing import Any

import attrs
import cbor2

from .._errors import TooLargeValue

__all__ = ["write"]

_MAX_KEPT = 8  # encoders


@attrs.define(eq=False)
class _Sink:
    """The file that an encoder writes to."""

    parts: list[bytes] = attrs.field(factory=list[bytes])
    room: int = 0  # bytes

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise TooLargeValue("too large to be written")
        self.parts.append(data)
        return len(data)


_kept: list[tuple[_Sink, cbor2.CBOREncoder]] = []


def write(column: list[Any], max_size: int) -> bytes:
    """The array of these items. `TooLargeValue` if it has more bytes."""
    try:
        sink, encoder = _kept.pop()  # taken: other threads may be writing too
    except IndexError:
        sink = _Sink()
        encoder = cbor2.CBOREncoder(sink)  # type: ignore[arg-type]
    sink.room = max_size
    encoder.encode(column)  # after an error, the encoder is not used again
    parts, sink.parts = sink.parts, []
    if len(_kept) < _MAX_KEPT:
        _kept.append((sink, encoder))
    return b"".join(parts) if len(parts) > 1 else parts[0]
