"""Frames, schemas and batches that are right, or nearly: what the changes start from."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from trionetchan._cbor import ARRAY, head
from trionetchan._errors import Code
from trionetchan._protocol.frames import (
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
    Pong,
    Position,
    Redelivered,
    Reject,
    Resume,
    Resumed,
    Seen,
    Settle,
    encode,
)

from .mutation import made_item, written

__all__ = ["NAMES", "made_batch", "made_frame", "made_frames", "made_schema", "one_of_each"]

NAMES = ("ask", "unconfirmed", "keep", "stop", "hangup", "wait", "refuse", "closes", "é")
"""Names of channels; the program under test treats each in another way: see `program`."""
_FEW = (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 40)
_MANY = (*_FEW, *_FEW, 100, 400, 10_000, 2**32, 2**62)
_SCHEMAS = (b"", b"\x81\x81\0", b"\x81\x81\3", bytes(40))


def made_batch(random: Random) -> bytes:
    """A payload of DATA."""
    count = random.choice((1, 1, 1, 2, 3, 20))
    if random.random() < 0.7:
        return head(ARRAY, count) + b"".join(random.choice((b"\0", b"\x20", b"\x42ab")) for _ in range(count))
    return head(ARRAY, count) + written([made_item(random) for _ in range(count)])


def _parameters(random: Random) -> Parameters:
    said: Parameters = {name: random.choice(_MANY) for name in ("keepalive", "settle", "restart", "frame", "buffer")}
    said |= {"resume": 30_000, "nonce": bytes(16), "session": bytes(16), "secret": bytes(32)}
    said |= {"token": bytes(random.choice((1, 1, 100, 1024, 1025, 0)))}
    return {name: value for name, value in said.items() if random.random() < 0.5}


_MAKERS: dict[type[Frame], Callable[[Random], Frame]] = {
    Hello: lambda r: Hello(r.choice((VERSION, VERSION, 0, 2)), _parameters(r)),
    Import: lambda r: Import(
        r.choice(_FEW),
        r.choice(NAMES),
        r.random() < 0.5,
        r.choice(_MANY),
        r.choice((None, r.choice(_FEW))),
        r.choice(_SCHEMAS),
        r.random() < 0.3,
    ),
    Accept: lambda r: Accept(r.choice(_FEW), r.choice(_MANY), r.choice(_SCHEMAS)),
    Reject: lambda r: Reject(r.choice(_FEW), r.choice([*Code]), r.choice(("", "no", "\0"))),
    Data: lambda r: Data(r.choice(_FEW), r.choice(_FEW), r.random() < 0.2, made_batch(r)),
    Ack: lambda r: Ack(r.choice(_FEW), r.choice(_FEW), r.choice(_MANY), r.choice(_MANY)),
    Settle: lambda r: Settle(
        r.choice(_FEW), tuple(r.choice(_FEW) for _ in range(2 * r.choice((1, 1, 2, 5)))), r.random() < 0.5
    ),
    Close: lambda r: Close(r.choice(_FEW), r.choice(_FEW), r.choice([*Code]), r.choice(("", "why"))),
    Ping: lambda r: Ping(r.choice(_MANY)),
    Pong: lambda r: Pong(r.choice(_MANY)),
    Goodbye: lambda r: Goodbye(r.choice([*Code]), "bye"),
    Resume: lambda r: Resume(bytes(16), r.choice(_FEW), bytes(32), r.choice(_FEW), r.choice(_FEW)),
    Resumed: lambda r: Resumed(bytes(32), r.choice(_FEW), r.choice(_FEW)),
    Position: lambda r: Position(r.choice(_FEW), r.choice(_FEW)),
    Seen: lambda r: Seen(r.choice(_FEW)),
    Redelivered: lambda r: Redelivered(r.choice(_FEW), r.choice(_FEW), r.choice(_FEW)),
}
_COMMON = (Import, Data, Data, Data, Ack, Ack, Settle, Close, Redelivered, Accept, Position)


def made_frame(random: Random) -> bytes:
    """A frame that can be read; whether it may come now is another matter."""
    kind = random.choice(_COMMON if random.random() < 0.7 else [*_MAKERS])
    return encode(_MAKERS[kind](random))


def one_of_each() -> list[bytes]:
    """A frame of each kind."""
    return [encode(make(Random(0))) for make in _MAKERS.values()]


def made_frames(random: Random) -> bytes:
    """A few of them."""
    return b"".join(made_frame(random) for _ in range(random.choice((1, 1, 2, 3, 5, 8))))


def made_schema(random: Random) -> bytes:
    """A table of nodes; each of a known kind, and most of the right size."""
    count = random.choice((1, 1, 2, 3, 5, 8))
    return head(ARRAY, count) + b"".join(_made_node(random, count) for _ in range(count))


def _made_node(random: Random, count: int) -> bytes:
    kind = random.choice((0, 1, 3, 5, 6, 13, 14, 15, 16, 17, 18, 18, 19, random.randrange(21)))
    nodes = [head(0, random.randrange(count)) for _ in range(5)]
    rest: list[bytes] = []
    if kind == 13:
        rest = [random.choice((b"\1", b"\x61a", b"\xf4", b"\xf6", b"\x41a", b"\xf9\x3c\0")) for _ in range(2)]
    elif kind == 18:
        fields = [b"\x83\x61" + bytes([97 + n]) + random.choice((b"\0", b"\2", b"\3")) + nodes[n] for n in range(3)]
        rest = [b"\x61R", random.choice((b"\xf4", b"\xf5")), *fields[: random.randrange(4)]]
    elif kind >= 14:
        rest = nodes[: {14: 1, 16: 1, 17: 2}.get(kind, random.choice((0, 1, 2, 5)))]
    return head(ARRAY, 1 + len(rest)) + head(0, kind) + b"".join(rest)
