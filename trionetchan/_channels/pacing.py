"""How long a task waits for values to gather, and when that pays; one place for both directions.

A batch costs as much as a hundred values. Where the local end has room for what comes meanwhile, a task that streams
sleeps for `BATCH_DELAY` between two batches; a lone value, or a small end, is never made to wait so.
"""

from __future__ import annotations

__all__ = ["BATCH_DELAY", "MIN_STREAMING_BATCH", "may_sleep"]

BATCH_DELAY = 0.001  # seconds
MIN_STREAMING_BATCH = 16  # values: a smaller batch is no sign of a stream
LARGE_BUFFER = 512  # values that a stream brings in `BATCH_DELAY`, or more


def may_sleep(max_buffer_size: float) -> bool:
    """Whether an end of that size holds what a stream brings while a task sleeps."""
    return max_buffer_size >= LARGE_BUFFER
