"""Values in messages: short, on one line, and without trusting a user's `repr`."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from .._errors import printable
from .reading import ReceivedMap, ReceivedSet

__all__ = ["got", "safely", "short"]

_SHOWN_BYTES = 200  # of a byte string; more than the text of it that is shown


def got(value: Any) -> str:
    """What came, where something else was expected: its Python type and the value."""
    if value is None:
        return "None"
    name = "set" if type(value) is ReceivedSet else "dict" if type(value) is ReceivedMap else type(value).__name__
    return f"{name} {short(value)}"


def short(value: Any) -> str:
    """The value as Python writes it, in at most about 60 characters."""
    if type(value) in (bytes, bytearray):  # which are written as a whole before they are cut
        return printable(safely(reprlib.Repr().repr, value if len(value) < _SHOWN_BYTES else value[:_SHOWN_BYTES]), 60)
    return printable(safely(reprlib.Repr().repr, value), 60)


def safely(function: Callable[[Any], str], value: Any) -> str:
    """The text that `repr` or `str` makes, or "…": a user's may raise, and so may that of a very long int."""
    try:
        return function(value)
    except Exception:
        return "…"
