"""Target: the frames of a stream. The bytes are what follows the magic bytes."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from trionetchan._errors import LimitReached, ProtocolError
from trionetchan._protocol.frames import MAGIC, Close, Data, Frame, FrameCutter, Goodbye, Reject, decode, encode

from .checks import bounded_memory, check, chunks, small_fragments

__all__ = ["frames"]

MAX_FRAME_SIZE = 1000
MAX_MESSAGE = 1024  # characters of a message that are written


def frames(data: bytes) -> None:
    """The target."""
    with bounded_memory(2**16 + 200 * len(data)):
        _check_one(data)
        whole, error = _cut([MAGIC, data])
        for pieces in (chunks(MAGIC + data), [bytes([byte]) for byte in MAGIC + data[:300]] + [data[300:]]):
            again, same_error = _cut(pieces)
            check(whole == again, "other frames in other chunks", whole, again)
            check(error == same_error, "another error in other chunks", error, same_error)
        with small_fragments():
            parts, _ = _cut(chunks(MAGIC + data))
        _check_parts(whole, parts)
        for frame in whole:
            _check_written_again(frame)


def _check_one(data: bytes) -> None:
    """The bytes as one frame without the head."""
    try:
        frame = decode(data)
    except (ProtocolError, LimitReached) as error:
        check(str(error).isprintable(), "a message that no line of a log can take", str(error))
    else:
        _check_written_again(frame)


def _cut(pieces: Iterable[bytes], max_frame_size: int = MAX_FRAME_SIZE) -> tuple[list[Frame], str]:
    """The frames up to the first error, and what it says."""
    cutter = FrameCutter(max_frame_size)
    found: list[Frame] = []
    try:
        for piece in pieces:
            for frame in cutter.cut(piece):
                found.append(_kept(frame))  # noqa: PERF401 - those before an error count
            held = len(cutter._buffer)  # pyright: ignore[reportPrivateUsage]
            check(held <= max_frame_size + 9, "too much of a frame is held", held)
    except (ProtocolError, LimitReached) as error:
        return found, str(error)
    return found, ""


def _kept(frame: Frame) -> Frame:
    """With bytes of its own: the cutter's belong to the chunk."""
    return attrs.evolve(frame, payload=bytes(frame.payload)) if isinstance(frame, Data) else frame


def _joined(parts: list[Frame]) -> list[Frame]:
    """What comes in parts is put together, as far as it has come."""
    joined: list[Frame] = []
    for part in parts:
        last = joined[-1] if joined else None
        match last, part:
            case Data(channel, first, True, start), Data() if (channel, first) == (part.channel, part.first):
                joined[-1] = attrs.evolve(part, payload=bytes(start) + bytes(part.payload))
            case _:
                joined.append(part)
    return joined


def _check_parts(whole: list[Frame], parts: list[Frame]) -> None:
    """Of a frame that is not complete there may be parts; else there is no difference."""
    whole, parts = _joined(whole), _joined(parts)
    last = whole.pop() if whole else None
    check(parts[: len(whole)] == whole, "other frames in fragments", whole, parts)
    if last is not None:
        other = parts[len(whole)] if len(parts) > len(whole) else None
        if isinstance(last, Data) and isinstance(other, Data) and last.more:
            check(bytes(other.payload).startswith(bytes(last.payload)), "other payload in fragments", last, other)
        else:
            check(last == other, "another frame in fragments", last, other)


def _check_written_again(frame: Frame) -> None:
    """What was read can be written, and is read as the same."""
    frame = _kept(frame)
    again, error = _cut([MAGIC, encode(frame)], 2 * MAX_FRAME_SIZE + 12 * MAX_MESSAGE)
    if isinstance(frame, Reject | Close | Goodbye):  # it was made printable, which may have made it longer
        frame = attrs.evolve(frame, message=frame.message[:MAX_MESSAGE])
    check(again == [frame] and not error, "another frame when written and read again", frame, again, error)
