"""Changes bytes as a hostile peer would: it knows CBOR and lies about it.

Most random changes of bytes break a length, and whatever stands behind that is not looked at. So the bytes are taken
apart, as far as they are CBOR, one thing is changed, and the lengths around it are made right again, or one is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs

__all__ = ["NUMBERS", "Item", "lies", "made_item", "mutated", "parsed", "written"]

UINT, NINT, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 23, 24, 255, 256, 400, 401, 1000, 1001, 4096),
    *(65535, 65536, 2**31, 2**32 - 1, 2**53, 2**62, 2**62 + 1, 2**63 - 1, 2**64 - 1),
)
_TAGS = (0, 1, 2, 3, 4, 5, 25, 27, 28, 29, 30, 35, 36, 37, 52, 100, 256, 258, 260, 1004, 43000, 55799)
_TEXTS = (
    *("", "a", "x", "\0", "\x85", "é", "\U0001f600", "map", "decimal", "duration", "time", "local-datetime"),
    *("1E+5", "NaN", "sNaN", "-0", "1E+999999999", "9" * 5000, "Infinity", "12:00:00", "23:59:59.999999+23:59"),
    *("2024-02-29", "2024-02-29T23:59:60Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999"),
    *("frame", "value", "buffer", "resume", "settle", "session", "secret", "nonce", "restart"),
)
_MAX_DEPTH = 40
_WIDTHS = (0, 1, 2, 4, 8)
_LIES = (2**17, 2**40, 2**63)


@attrs.define(eq=False)
class Item:
    """A CBOR item. A byte string that holds items has them as its parts."""

    major: int
    argument: int = 0
    content: bytes = b""
    parts: list[Item] = attrs.field(factory=list["Item"])
    width: int = 0  # bytes of the argument, at least
    lie: int | None = None  # what the head says instead of the right length
    nested: bool = False


def parsed(data: bytes, depth: int = 0) -> tuple[list[Item], bytes]:
    """The items at the start of the data, and what is none."""
    items: list[Item] = []
    position = 0
    while position < len(data):
        try:
            item, position = _parse(data, position, depth)
        except (IndexError, ValueError):
            break
        items.append(item)
    return items, data[position:]


def _parse(data: bytes, position: int, depth: int) -> tuple[Item, int]:
    first = data[position]
    major, short = first >> 5, first & 31
    if short > 27 or depth > _MAX_DEPTH:
        raise ValueError
    width = 1 << short - 24 if short >= 24 else 0
    end = position + 1 + width
    if end > len(data):
        raise IndexError
    argument = int.from_bytes(data[position + 1 : end], "big") if width else short
    item = Item(major, argument, width=width)
    if major in (BYTES, TEXT):
        if end + argument > len(data):
            raise IndexError
        item.content, end = data[end : end + argument], end + argument
        if major == BYTES and item.content:
            item.parts, rest = parsed(item.content, depth + 1)
            item.nested = not rest and item.parts[0].major in (ARRAY, MAP)
            item.parts = item.parts if item.nested else []
    else:
        if argument > len(data) and major in (ARRAY, MAP):
            raise IndexError
        for _ in range({ARRAY: argument, MAP: 2 * argument, TAG: 1}.get(major, 0)):
            part, end = _parse(data, end, depth + 1)
            item.parts.append(part)
    return item, end


def written(items: list[Item]) -> bytes:
    """The bytes of these items."""
    return b"".join(map(_write, items))


def _write(item: Item) -> bytes:
    content = written(item.parts) if item.parts or item.nested else item.content
    argument = item.argument
    if item.major in (BYTES, TEXT):
        argument = len(content)
    elif item.major in (ARRAY, MAP):
        argument = len(item.parts) >> (item.major == MAP)
    if item.lie is not None:
        argument = item.lie
    return _head(item.major, argument, item.width) + content


def _head(major: int, argument: int, width: int) -> bytes:
    least = 0 if argument < 24 else next(w for w in _WIDTHS[1:] if argument < 1 << 8 * w)
    width = max(width, least)
    if not width:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | 23 + _WIDTHS.index(width)]) + argument.to_bytes(width, "big")


def made_item(random: Random, depth: int = 3) -> Item:
    """Any item."""
    major = random.choice((UINT, UINT, NINT, BYTES, TEXT, ARRAY, ARRAY, MAP, TAG, SIMPLE) if depth else (UINT, TEXT))
    item = Item(major, random.choice(NUMBERS))
    if major == BYTES:
        item.content = random.choice((b"", b"\0", b"\x81\0", bytes(16), bytes(32), bytes(300)))
    elif major == TEXT:
        item.content = random.choice(_TEXTS).encode()
    elif major in (ARRAY, MAP):
        count = random.choice((0, 1, 2, 2, 3, 4)) << (major == MAP)
        item.parts = [made_item(random, depth - 1) for _ in range(count)]
    elif major == TAG:
        item.argument, item.parts = random.choice(_TAGS), [made_item(random, depth - 1)]
    elif major == SIMPLE:
        item.argument = random.choice((20, 21, 22, 23, 0x7E00, 0x7C00, 0x3FF0 << 48, 0x7FF8 << 48, 255))
    return item


def lies(data: bytes) -> Iterator[bytes]:
    """The data once for each head in it, which says that much more belongs to it than there is."""
    items, rest = parsed(data)
    for where, place in list(_all(items)):
        for lie in _LIES:
            where[place].lie = lie
            yield written(items) + rest
        where[place].lie = None


# One change


def _all(items: list[Item]) -> Iterator[tuple[list[Item], int]]:
    """Each item: the list that it is in, and its place there."""
    for place, item in enumerate(items):
        yield items, place
        yield from _all(item.parts)


def _replace(random: Random, items: list[Item], place: int) -> None:
    items[place] = made_item(random)


def _insert(random: Random, items: list[Item], place: int) -> None:
    items.insert(place, made_item(random))


def _remove(random: Random, items: list[Item], place: int) -> None:
    del items[place]


def _repeat(random: Random, items: list[Item], place: int) -> None:
    items[place:place] = [items[place]] * random.choice((1, 1, 1, 2, 20))


def _swap(random: Random, items: list[Item], place: int) -> None:
    other = random.randrange(len(items))
    items[place], items[other] = items[other], items[place]


def _renumber(random: Random, items: list[Item], place: int) -> None:
    item = items[place]
    item.argument = random.choice((max(0, item.argument - 1), min(2**64 - 1, item.argument + 1), *NUMBERS))


def _lie(random: Random, items: list[Item], place: int) -> None:
    items[place].lie = random.choice(NUMBERS)


def _widen(random: Random, items: list[Item], place: int) -> None:
    items[place].width = random.choice(_WIDTHS)


def _retype(random: Random, items: list[Item], place: int) -> None:
    items[place].major = random.randrange(8)


def _wrap(random: Random, items: list[Item], place: int) -> None:
    for _ in range(random.choice((1, 1, 2, 10, 70))):
        major = random.choice((ARRAY, ARRAY, TAG, BYTES))
        items[place] = Item(major, random.choice(_TAGS), parts=[items[place]], nested=major == BYTES)


def _refill(random: Random, items: list[Item], place: int) -> None:
    item = items[place]
    if item.major in (BYTES, TEXT):
        content = bytearray(item.content or b"x")
        content[random.randrange(len(content))] = random.randrange(256)
        item.content, item.parts, item.nested = bytes(content) * random.choice((1, 1, 2, 40)), [], False
    else:
        _renumber(random, items, place)


_CHANGES: tuple[Callable[[Random, list[Item], int], Any], ...] = (
    *(_replace, _insert, _remove, _repeat, _swap, _renumber, _renumber, _lie, _widen, _retype, _wrap, _refill),
)


def _mutated_bytes(random: Random, data: bytes) -> bytes:
    """A change that knows nothing of CBOR."""
    changed = bytearray(data)
    place = random.randrange(len(changed) + 1)
    match random.randrange(4):
        case 0 if place < len(changed):
            changed[place] = random.randrange(256)
        case 1:
            del changed[place : place + random.choice((1, 1, 2, 10))]
        case 2:
            changed[place:place] = bytes(random.randrange(256) for _ in range(random.choice((1, 1, 2, 9))))
        case _:
            del changed[place:]
    return bytes(changed)


def mutated(random: Random, data: bytes) -> bytes:
    """The data with one change, or a few."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        items, rest = parsed(data)
        if not items or random.random() < 0.2:
            data = _mutated_bytes(random, data)
            continue
        where, place = random.choice([*_all(items)])
        random.choice(_CHANGES)(random, where, place)
        data = written(items) + rest
    return data
