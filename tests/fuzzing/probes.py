"""Frames around what is right just then: made by looking at the session that they are for.

By chance a frame seldom names the next number; so what is looked at behind that would seldom be reached.
"""

from __future__ import annotations

from collections.abc import Iterator

from trionetchan._cbor import ARRAY, BYTES, head
from trionetchan._errors import Code
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Accept,
    Ack,
    Close,
    Data,
    Frame,
    Goodbye,
    Hello,
    Import,
    Parameters,
    Ping,
    Position,
    Redelivered,
    Reject,
    Resume,
    Resumed,
    Seen,
    Settle,
    encode,
)

from .building import NAMES, one_of_each
from .program import Program
from .session_target import SCENARIOS, Start, begun

__all__ = ["probes"]

_MANY = 2**62
_PAYLOADS = (
    *(
        b"",
        b"\x80",
        b"\x81\0",
        b"\x82\0\0",
        b"\x83\0\0\0",
        head(ARRAY, 9) + bytes(9),
        head(ARRAY, 40) + bytes(40),
        b"\0",
    ),
    *(head(ARRAY, 1) + head(BYTES, size) + bytes(size) for size in (300, 900, 1100)),
    *(head(ARRAY, 2) + 2 * (head(BYTES, size) + bytes(size)) for size in (100, 300, 2500)),
)


def probes() -> list[bytes]:
    """Inputs of the session's target."""
    found: list[bytes] = []
    for number, scenario in enumerate(SCENARIOS):
        program = begun(scenario)
        start = bytes([number])
        if scenario.start is Start.SILENT:
            found += [start + MAGIC + encode(frame) for frame in _hellos(program)]
            continue
        dialogues = [[frame] for frame in _hellos(program)] + [*_of_session(program)]
        if scenario.start is not Start.RESUMING:  # there, no frame of a channel may come
            dialogues += _of_channels(program)
        found += [start + b"".join(map(encode, frames)) for frames in dialogues]
        found += [start + frame for frame in one_of_each()]
        found.append(start + MAGIC + encode(Hello(VERSION, {"resume": 1})))
    return found


def _hellos(program: Program) -> Iterator[Frame]:
    resuming: Parameters = {"resume": 30_000, "nonce": bytes(16)}
    begun_with: Parameters = {"session": bytes(16), "secret": bytes(32)}
    yield Hello(VERSION, {})
    yield Hello(VERSION + 1, {})
    for name in ("frame", "value", "buffer"):
        yield Hello(VERSION, {name: 0})
    for size in (0, 1, 1024, 1025):
        yield Hello(VERSION, {"token": bytes(size)})
    yield Hello(VERSION, resuming)
    yield Hello(VERSION, resuming | {"session": bytes(range(16))})
    yield Hello(VERSION, resuming | begun_with)
    yield from (Ping(1), Goodbye(Code.LIMIT, "x" * 1100))


def _of_session(program: Program) -> Iterator[list[Frame]]:
    """Frames that are for no channel that there is, and those that go on with a session."""
    outbox, following = program.session.outbox, program.session._next_id  # pyright: ignore[reportPrivateUsage]
    seen = outbox._forgotten + outbox.unseen  # pyright: ignore[reportPrivateUsage]
    for told in (0, seen - 1, seen, seen + 1, _MANY):
        yield [Seen(max(0, told))]
    asked: list[tuple[int, int | None, bool]] = [(8, None, True), (0, None, True), (_MANY, 3, False), (1, 0, True)]
    for name in NAMES:
        for window, count, receives in asked:
            yield [Import(following, name, receives, window, count, b"\x81\x81\0", receives and window > 8)]
    yield [Import(following, "a", True, 8, None, b"", True), Import(following + 1, "a", False, 8, None, b"", True)]
    yield [Import(following + place, f"a{place}", True, 1, None, b"") for place in range(14)]
    yield [Ping(1), Ping(2), Data(following, 0, False, b"\x81\0")]
    sends = [channel for channel in program.session._channels.values() if channel.writing is not None]  # pyright: ignore[reportPrivateUsage]
    for back in (-1, 0, 1, 2):
        positions = [Position(channel.id, max(0, channel.sender.written - back)) for channel in sends]
        for known in (bytes(range(16)), bytes(16)):
            for told in (max(0, seen - back), seen + 1):
                for order in (positions, positions[::-1]):
                    yield [Resume(known, 0, bytes(32), told, len(order)), *order, Ping(5), Seen(seen)]
                    yield [Resumed(bytes(32), told, len(order)), *order, Ping(5), Seen(seen)]


def _of_channels(program: Program) -> Iterator[list[Frame]]:
    """Frames for each channel, with numbers around those that are right."""
    for channel in program.session._channels.values():  # pyright: ignore[reportPrivateUsage]
        if channel.receiver is not None:
            yield from _to_receiver(channel.id, channel.receiver.received)
        if channel.writing is not None:
            window = channel.sender
            yield from _to_sender(channel.id, {window.acknowledged, window.written}, channel.count or 0)
        yield [Accept(channel.id, 0, b"")]
        yield [Accept(channel.id, 100, b"\x81\x81\0"), Ack(channel.id, 1, 99, 9999)]
        yield [Reject(channel.id, Code.LIMIT, "no"), Ack(channel.id, 0, 0, 0)]
        yield [Close(channel.id, 0, Code.WITHDRAWN, ""), Close(channel.id, 0, Code.FINISHED, "")]


def _to_receiver(channel: int, received: int) -> Iterator[list[Frame]]:
    for payload in _PAYLOADS:
        yield [Data(channel, received, False, payload)]
        yield [Data(channel, received, True, payload[:3]), Data(channel, received, False, payload[3:])]
        yield [Data(channel, received, True, payload), Close(channel, received, Code.HUNG_UP, "")]
        for count in (0, 1, 2):
            yield [Redelivered(channel, received, count), Data(channel, received, False, payload)]
    yield [Data(channel, received + place, False, b"\x81\0") for place in range(20)]
    yield [Data(channel, received + 1, False, b"\x81\0")]
    yield [Redelivered(channel, received, 1), Redelivered(channel, received, 1)]
    for code in Code:
        yield [Close(channel, received, code, ""), Data(channel, received, False, b"\x81\0")]
        yield [Close(channel, received + 1, code, "")]


def _to_sender(channel: int, around: set[int], count: int) -> Iterator[list[Frame]]:
    numbers = sorted({number for near in around for number in range(max(0, near - 3), near + 2)} | {0, _MANY})
    for number in numbers:
        yield [Ack(channel, number, number + 8, 10_000)]
        yield [Ack(channel, 0, number, 0)]
        for settled in ((number, 1), (number, 0), (number, 2), (number, 1, number, 1), (0, number), (number, 1, 0, 1)):
            yield [Settle(channel, settled, number % 2 == 0)]
        yield [Settle(channel, (number, 1), True), Settle(channel, (number, 1), True)]
        for code in (Code.FINISHED, Code.RECEIVER_GONE, Code.COUNT_REACHED):
            yield [Close(channel, number, code, ""), Ack(channel, number, 0, 0)]
    yield [Close(channel, count, Code.COUNT_REACHED, "")]
    yield [Settle(channel, (0, 1) * 256, True)]
