"""What is still there when everything has ended: counted, and compared with what was there before."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import cast

import attrs
import trio

from trionetchan import Exporter

from ..measure import resident_memory

__all__ = ["COLUMNS", "FEWEST", "Sample", "growth", "row", "sample"]

MIB = 2**20
OWN = "trionetchan"
FEWEST = 4  # samples from which anything can be said
MEMORY_SLACK = 4 * MIB  # bytes by which the resident memory may differ between the first and the last ones
BLOCKS_SLACK = 0.01  # of the blocks that were allocated
FEW_BLOCKS = 2000


@attrs.frozen(kw_only=True)
class Sample:
    """One look at the process, at rest."""

    seconds: float
    """Since the run began."""
    memory: float
    """Resident, in bytes."""
    traced: int
    """Bytes that Python has allocated, where that is traced."""
    blocks: int
    """How many pieces of memory Python has allocated."""
    tasks: int
    files: int
    connections: int
    sessions: int
    """Suspended ones."""
    objects: Counter[str] = attrs.field(factory=Counter[str])
    """Of our own classes, by name."""


def sample(seconds: float, exporter: Exporter) -> Sample:
    """Looks, after a garbage collection; what is free is given back to the system."""
    for _ in range(3):
        gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    blocks, traced = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
    told = exporter.statistics()
    return Sample(
        seconds=seconds,
        memory=resident_memory(),
        traced=traced,
        blocks=blocks,
        tasks=trio.lowlevel.current_statistics().tasks_living,
        files=len(os.listdir("/proc/self/fd")),
        connections=told.connections,
        sessions=told.suspended,
        objects=_own_objects(),
    )


def _own_objects() -> Counter[str]:
    found = Counter[str]()
    for each in gc.get_objects():
        kind = cast("type[object]", type(each))
        module = getattr(kind, "__module__", None)
        if isinstance(module, str) and module.partition(".")[0] == OWN and not issubclass(kind, type):
            found[f"{module}.{kind.__qualname__}"] += 1
    return found


def growth(samples: Sequence[Sample]) -> list[str]:
    """What has grown, in words, from the first half of the samples to the last third. Nothing may.

    What leaks is never as little again as it once was: so of objects the fewest of the last samples are compared with
    the most of the first ones. Caches fill and are emptied. Tasks, files, connections and sessions are none: of these
    there may not be one more at the end.
    """
    if len(samples) < FEWEST:
        return [f"expected at least {FEWEST} samples, got {len(samples)}: too short a run says nothing"]
    first, last = samples[: len(samples) // 2], samples[-max(2, len(samples) // 3) :]
    found: list[str] = []
    for name in ("tasks", "files", "connections", "sessions"):
        before, now = max(getattr(each, name) for each in first), getattr(last[-1], name)
        if now > before:
            found.append(f"{name}: at most {before} before, {now} now")
    for kind in sorted({*last[-1].objects}):
        before, now = max(each.objects[kind] for each in first), min(each.objects[kind] for each in last)
        if now > before:
            found.append(f"objects of {kind}: at most {before} before, at least {now} now")
    return [*found, *_grown_memory(first, last)]


def _grown_memory(first: Sequence[Sample], last: Sequence[Sample]) -> list[str]:
    """Memory is never quite the same: the samples in the middle are compared."""
    found: list[str] = []
    memory = [statistics.median(each.memory for each in part) for part in (first, last)]
    if memory[1] - memory[0] > MEMORY_SLACK:
        found.append(f"resident memory: {memory[0] / MIB:.1f} MiB before, {memory[1] / MIB:.1f} MiB now")
    blocks = [statistics.median(each.blocks for each in part) for part in (first, last)]
    if blocks[1] - blocks[0] > FEW_BLOCKS + BLOCKS_SLACK * blocks[0]:
        found.append(f"allocated blocks: {blocks[0]:,.0f} before, {blocks[1]:,.0f} now")
    return found


COLUMNS = ("s", "MiB", "traced MiB", "blocks", "tasks", "files", "conn.", "susp.", "our objects", "done")


def row(each: Sample, done: int) -> list[str]:
    """A sample as a row of the table."""
    return [
        f"{each.seconds:.0f}",
        f"{each.memory / MIB:.1f}",
        f"{each.traced / MIB:.2f}" if each.traced else "–",
        f"{each.blocks:,}",
        *map(str, (each.tasks, each.files, each.connections, each.sessions)),
        f"{each.objects.total():,}",
        f"{done:,}",
    ]
