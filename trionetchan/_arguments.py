"""What the public calls check of their arguments, before anything happens."""

from __future__ import annotations

from typing import Any

import trio

from ._codec import Codec, codec_for
from ._errors import UnfitValue, ValueTypeError
from ._limits import MAX_NAME_SIZE
from ._observation import RESERVED
from ._statistics import Direction

__all__ = ["check_dead_letters", "check_name", "check_own_name", "codec_of", "direction_of", "settles", "whole_number"]


def check_name(name: str) -> None:
    """`ValueError` unless the text can be a channel's name."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"expected a channel name (a str), got {name!r}")
    if not name.isprintable() or not 1 <= len(name.encode(errors="replace")) <= MAX_NAME_SIZE:
        raise ValueError(f"expected a channel name of 1 to {MAX_NAME_SIZE} printable bytes, got {name[:80]!r}")


def check_own_name(name: str) -> None:
    """The same for a name that is to be exported: some names are this library's own."""
    check_name(name)
    if name.startswith(RESERVED):
        raise ValueError(f"expected a channel name that does not begin with {RESERVED!r}, got {name[:80]!r}")


def whole_number(what: str, value: object, least: int | None, most: int | None = None) -> None:
    """`TypeError` unless it is an int; `ValueError` below `least` or above `most`."""
    if type(value) is not int:
        raise TypeError(f"{what}: expected a whole number, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{what}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{what}: expected at most {most}, got {value}")


def codec_of(name: str, value_type: Any) -> Codec[Any]:
    """The codec of a channel. `ValueTypeError` for a type that cannot be carried."""
    try:
        return codec_for(value_type)
    except UnfitValue as error:
        raise ValueTypeError(f"{name}: {error}", channel=name) from None


def direction_of(name: str, end: Any, direction: Direction | None) -> Direction:
    """The direction that follows from the end that is handed over. `TypeError` if it is none, or not that."""
    ways = [
        way
        for way, kind in ((Direction.SEND, trio.abc.ReceiveChannel), (Direction.RECEIVE, trio.abc.SendChannel))
        if isinstance(end, kind)
    ]
    if isinstance(end, type) or not ways:
        raise TypeError(f"{name}: expected a trio.abc.SendChannel or trio.abc.ReceiveChannel, got {end!r}")
    if direction is None:
        if len(ways) == 2:
            raise TypeError(f"{name}: expected direction=, since {end!r} can both send and receive; got none")
        return ways[0]
    if direction not in ways:
        raise TypeError(f"{name}: expected an end for {direction}, got {end!r}")
    return direction


def check_dead_letters(name: str, end: Any, direction: Direction) -> None:
    """`TypeError` for what is no end to send into, `ValueError` where this side does not send."""
    if end is None:
        return
    if isinstance(end, type) or not isinstance(end, trio.abc.SendChannel):
        raise TypeError(f"{name}: expected a trio.abc.SendChannel for dead letters (or None), got {end!r}")
    if direction is not Direction.SEND:
        raise ValueError(f"{name}: expected dead letters for a channel that sends from here, got one that receives")


def settles(name: str, acknowledge: str, direction: Direction) -> bool:
    """Whether the program settles each value by itself. `ValueError` for another word, or where this side sends."""
    if acknowledge not in ("delivered", "manual"):
        raise ValueError(f"{name}: expected acknowledge='delivered' or 'manual', got {acknowledge!r}")
    if acknowledge == "manual" and direction is not Direction.RECEIVE:
        raise ValueError(f"{name}: expected acknowledge='manual' for an end that receives, got it for one that sends")
    return acknowledge == "manual"
