"""Makes all that is left to chance, and each clock, follow from a seed."""

from __future__ import annotations

import contextlib
import importlib
import random
import secrets
from collections.abc import Generator
from typing import Any

import trio

from trionetchan import _lease as lease

__all__ = ["determined"]


@contextlib.contextmanager
def determined(seed: int) -> Generator[None]:
    """Until the block ends, the same happens for the same seed, in any process.

    trio shuffles the tasks of one turn of its scheduler by the seed (it sorts them before, so that the addresses of
    objects have no part in it). The library's secrets and its pauses before it connects again come from the seed too,
    and the clock that goes on while a machine sleeps is trio's, which is the simulation's.
    """
    turns, bits = random.Random(f"turns {seed}"), random.Random(f"bits {seed}")
    core = importlib.import_module("trio._core._run")
    before = random.getstate()

    def booted_time(_clock: int) -> float:
        return trio.current_time()

    replaced: list[tuple[Any, str, Any]] = [
        (core, "_r", turns),
        (core, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (secrets, "token_bytes", bits.randbytes),
        (lease, "_booted_time", booted_time),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, value in replaced:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        stack.callback(random.setstate, before)
        random.seed(f"pauses {seed}")
        yield
