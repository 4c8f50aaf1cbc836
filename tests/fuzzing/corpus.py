"""The corpus: inputs that together reach all that is known to be reachable. A file for each target, a line for each.

`minimised` keeps of many inputs the few, short ones first, that reach a transition from line to line of the package
that no other does, or reach it another number of times.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import trionetchan

__all__ = ["MAX_SIZE", "load", "minimised", "save"]

CORPUS = Path(__file__).with_name("corpus")
MAX_SIZE = 75_000  # bytes of the file of one target
_PACKAGE = str(Path(trionetchan.__file__).parent)
_Feature = tuple[Any, int, int, int]  # code, line before, line, about how many times


def load(name: str) -> list[bytes]:
    """The inputs of a target."""
    path = CORPUS / f"{name}.txt"
    return [bytes.fromhex(line) for line in path.read_text("ascii").split("\n") if line] if path.exists() else []


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Writes them, as many as there is room for, the shortest first; the number of bytes of the file."""
    text = ""
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        if len(text) + 2 * len(data) < MAX_SIZE:
            text += f"{data.hex()}\n"
    (CORPUS / f"{name}.txt").write_text(text, "ascii")
    return len(text)


def minimised(target: Callable[[bytes], None], inputs: Iterable[bytes], seconds: float) -> list[bytes] | None:
    """Those that are needed to reach all that they reach. None: it takes longer."""
    deadline = time.monotonic() + seconds
    kept: list[bytes] = []
    reached: set[_Feature] = set()
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        if time.monotonic() > deadline:
            return None
        features = _features(target, data)
        if not features <= reached:
            reached |= features
            kept.append(data)
    return kept


def _features(target: Callable[[bytes], None], data: bytes) -> set[_Feature]:
    """What an input reaches."""
    counts: Counter[tuple[Any, int, int]] = Counter()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        code, last = frame.f_code, 0

        def trace_line(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal last
            if event == "line":
                counts[code, last, frame.f_lineno] += 1
                last = frame.f_lineno
            return trace_line

        return trace_line

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Exception):  # who replays the corpus sees it
            target(data)
    finally:
        sys.settrace(before)
    return {(*transition, min(4, count.bit_length())) for transition, count in counts.items()}
