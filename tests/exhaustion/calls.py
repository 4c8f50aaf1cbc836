"""All calls that are cancelled, and with what."""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import BLOCKS
from .ends import ENDS
from .imports import IMPORTS
from .trial import Call, events_of
from .waits import WAITS

__all__ = ["CALLS", "PAIRS"]

CALLS: Sequence[type[Call]] = [*IMPORTS, *WAITS, *ENDS, *BLOCKS]
PAIRS = [(call, event) for call in CALLS for event in events_of(call)]
