"""What hostile peers say: frames of the protocol, built from its page (docs/protocol.md), and not by the library.

What the library would never write is written here as easily as what it would.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

__all__ = [
    "ACCEPT",
    "ACK",
    "ANY",
    "BYTES",
    "CLOSE",
    "DATA",
    "FINISHED",
    "GOODBYE",
    "HELLO",
    "IMPORT",
    "INT",
    "MAGIC",
    "PING",
    "POSITION",
    "REDELIVERED",
    "REJECT",
    "RESUME",
    "SEEN",
    "SETTLE",
    "WITHDRAWN",
    "Item",
    "bind",
    "encode",
    "frame",
    "hello",
    "keys",
    "many_records",
]

HELLO, IMPORT, ACCEPT, REJECT, DATA, ACK, SETTLE, CLOSE, PING, PONG, GOODBYE = range(11)
RESUME, RESUMED, POSITION, SEEN, REDELIVERED = range(11, 16)
FINISHED, WITHDRAWN = 0, 4  # codes of a CLOSE
MAGIC = b"\xd9\xd9\xf7"
ANY, INT, BYTES = b"\x81\x81\x00", b"\x81\x81\x03", b"\x81\x81\x06"  # schemas
RECORD, UNION = 18, 19

Item = None | bool | int | str | bytes | Sequence["Item"] | Mapping[str, "Item"]


def head(major: int, argument: int) -> bytes:
    """The head of a CBOR item."""
    if argument < 24:
        return bytes([major << 5 | argument])
    power = next(power for power in range(4) if argument < 1 << (8 << power))
    return bytes([major << 5 | 24 + power]) + argument.to_bytes(1 << power, "big")


def encode(item: Item) -> bytes:
    """An item as CBOR."""
    if item is None or isinstance(item, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[item]
    if isinstance(item, int):
        return head(0, item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, Mapping):
        return head(5, len(item)) + b"".join(encode(key) + encode(value) for key, value in item.items())
    return head(4, len(item)) + b"".join(map(encode, item))


def frame(*fields: Item) -> bytes:
    """A frame: its kind, and its fields."""
    return encode(encode(fields))


def hello(**parameters: int | bytes) -> bytes:
    """What is said first."""
    return MAGIC + frame(HELLO, 1, parameters)


def keys() -> dict[str, int | bytes]:
    """The parameters of a hello that begins a session which can be resumed."""
    return {"resume": 30_000, "nonce": os.urandom(16), "session": os.urandom(16), "secret": os.urandom(32)}


def bind(channel: int, name: str, *, receives: bool, schema: bytes = ANY, settles: bool = False) -> bytes:
    """An IMPORT, with a window of 64."""
    return frame(IMPORT, channel, name, receives, 64, None, schema, *([True] if settles else []))


def many_records(variant: int) -> bytes:
    """A schema of about 6 KB that takes long to compare, though it fits: a union of records, each of which fits a map,
    and is compared with each other member of the receiver's union before. What is within them makes long texts."""
    numbers: list[Item] = [[f"{name:x}", 0, 1] for name in range(16)]
    maps: list[Item] = [[f"{name:x}", 0, 2] for name in range(16)]
    record: Item = [RECORD, "", False, [f"{variant:x}", 0, 3]]
    inner: list[Item] = [[3], [RECORD, "", False, *numbers], [RECORD, "", False, *maps]]
    return encode([[UNION, *range(4, 484)], *inner, *[record] * 480])
