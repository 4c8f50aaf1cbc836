"""The benchmarks of channels on an engine carry every value, whatever they measure."""

from __future__ import annotations

import pytest
import trio

from benchmarks.engines.runner import Case, measure


@pytest.mark.bounded(60)
@pytest.mark.parametrize("system", ["redis", "coredis"])
async def test_measurement_carries_every_value(system: str) -> None:
    figures = await measure(system, Case(2, 2), 400)  # raises where it does not
    assert figures.rate > 0
    assert min(figures.producer, figures.workers) > 0
    await trio.lowlevel.checkpoint()
