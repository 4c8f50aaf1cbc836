"""Which unions are allowed, and how a member is chosen for a value."""

from __future__ import annotations

import pytest
from value_types import Box, Level, Right

from trionetchan._codec.describe import describe
from trionetchan._errors import UnfitValue


def test_what_a_receiver_would_take_for_one_key_is_no_key() -> None:
    for value_type in (
        set[Right | float],
        dict[Right | bool, int],
        set[Box[Right] | Box[float]],
        set[Box[Right | float]],
    ):
        with pytest.raises(UnfitValue, match="cannot be told apart in a key or an element of a set"):
            describe(value_type)
    assert describe(set[Level | str]) != describe(set[Right | str])
    assert describe(list[Right | float]) != describe(set[bool | int | float | tuple[int | float]])
