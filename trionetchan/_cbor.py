"""The few things about CBOR's structure that the protocol itself needs: heads, and where an item ends.

Frames are cut, and batches counted and split, by heads alone, so that nothing of a peer is decoded before its size is
known. Values are the business of the value codec; here they stay bytes.
"""

from __future__ import annotations

from ._errors import ProtocolError

__all__ = [
    "ARRAY",
    "BYTES",
    "MAP",
    "TEXT",
    "UINT",
    "Buffer",
    "has_more_items",
    "head",
    "read_head",
    "skip",
]

UINT, NINT, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)

Buffer = bytes | bytearray | memoryview


def head(major: int, argument: int) -> bytes:
    """The shortest head of an item of that major type."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument < 0x100:
        return bytes((major << 5 | 24, argument))
    if argument < 0x10000:
        return (major << 21 | 25 << 16 | argument).to_bytes(3, "big")
    if argument < 0x100000000:
        return (major << 37 | 26 << 32 | argument).to_bytes(5, "big")
    return (major << 69 | 27 << 64 | argument).to_bytes(9, "big")


def read_head(data: Buffer, position: int) -> tuple[int, int, int]:
    """Major type, argument, and the position behind the head.

    `IndexError` when the data ends within the head; `ProtocolError` on an indefinite length or a reserved head. (The
    argument of major type 7 is that of a simple value or the bits of a float, and means nothing here.)
    """
    first = data[position]
    argument = first & 31
    position += 1
    if argument < 24:
        return first >> 5, argument, position
    if argument > 27:
        raise ProtocolError(f"expected a definite CBOR item, got the initial byte 0x{first:02x}")
    end = position + (1 << argument - 24)
    if end > len(data):
        raise IndexError
    return first >> 5, int.from_bytes(data[position:end], "big"), end


def skip(data: Buffer, position: int, max_depth: int = 400) -> int:
    """The position behind the item that starts at `position`.

    `ProtocolError` when it is cut short, of indefinite length, or deeper than `max_depth`.
    """
    open_counts = [1]  # how many items are still owed on each level
    size = len(data)
    try:
        while 0 < len(open_counts) <= max_depth:
            open_counts[-1] -= 1
            major, argument, position = read_head(data, position)
            owed = 0
            if major in (BYTES, TEXT):
                position += argument
            elif major == ARRAY:
                owed = argument
            elif major == MAP:
                owed = 2 * argument
            elif major == TAG:
                owed = 1
            if position > size or owed > size - position:
                break
            if owed:
                open_counts.append(owed)
            while open_counts and not open_counts[-1]:
                open_counts.pop()
    except IndexError:
        pass
    if len(open_counts) > max_depth:
        raise ProtocolError(f"expected at most {max_depth} nested CBOR items, got more")
    if open_counts:
        raise ProtocolError("expected a whole CBOR item, got one that is cut short")
    return position


def has_more_items(data: Buffer, most: int) -> bool:
    """Whether more than so many heads of items stand one behind the other, as far as the data is right."""
    position = 0
    try:
        for _ in range(most):
            major, argument, position = read_head(data, position)
            if major in (BYTES, TEXT):
                position += argument
    except (IndexError, ProtocolError):
        return False
    return position < len(data)
