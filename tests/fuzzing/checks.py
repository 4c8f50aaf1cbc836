"""What all targets check with: a bound on memory, and when two values are the same."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import FrameType
from typing import Any, cast

import attrs

from trionetchan._protocol import frames

__all__ = ["bounded_memory", "bounded_work", "check", "chunks", "same", "small_fragments"]

SMALL_FRAGMENT = 80  # above all that stands before a payload


def check(condition: object, complaint: str, *about: object) -> None:
    """`AssertionError` with the complaint unless the condition holds; also where Python leaves out `assert`."""
    if not condition:
        raise AssertionError(": ".join([complaint, *map(repr, about)]))


@contextmanager
def bounded_memory(allowed: int) -> Generator[None]:
    """`AssertionError` if Python objects of more bytes than that are made at a time."""
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    check(peak - before <= allowed, f"expected at most {allowed} bytes allocated, got {peak - before}")


@contextmanager
def bounded_work(allowed: int) -> Generator[None]:
    """`AssertionError` if functions are called more often than that. Unlike time, it is the same on each run."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
    check(calls <= allowed, f"expected at most {allowed} calls of functions, got {calls}")


@contextmanager
def small_fragments() -> Generator[None]:
    """Large frames are passed on in parts as soon as very little of them has come."""
    usual = frames.FRAGMENT
    frames.FRAGMENT = SMALL_FRAGMENT
    try:
        yield
    finally:
        frames.FRAGMENT = usual


def chunks(data: bytes) -> Iterator[bytes]:
    """The data in pieces of many sizes; the same pieces each time."""
    state = zlib.crc32(data)
    position = 0
    while position < len(data):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        size = 1 + (state >> 16) % (8 if state >> 31 else 200)
        yield data[position : position + size]
        position += size


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in all that they are: types, signs of zeros, NaN and order included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if attrs.has(cast("Any", type(one))):
        return same(attrs.asdict(one, recurse=False), attrs.asdict(other, recurse=False))
    if isinstance(one, dict):
        return same([*one.items()], [*other.items()])
    if isinstance(one, list | tuple):
        one_items, other_items = cast("list[Any]", one), cast("list[Any]", other)
        return len(one_items) == len(other_items) and all(map(same, one_items, other_items))
    if isinstance(one, set | frozenset):
        return same(sorted(cast("set[Any]", one), key=repr), sorted(cast("set[Any]", other), key=repr))
    if hasattr(one, "utcoffset"):
        return repr(one) == repr(other)
    return bool(one == other)
