"""Every simulation ends well: see docs/simulation.md.

`TRIONETCHAN_EXAMPLES` is how many seeds there are, instead of `USUAL`.
"""

from __future__ import annotations

import os

import pytest

from .running import simulate

USUAL = 1000
EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0") or USUAL
PARTS = 30  # that can run in parallel


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part: int) -> None:
    for seed in range(part, EXAMPLES, PARTS):
        verdict = simulate(seed)
        if verdict.findings:
            pytest.fail(verdict.report(), pytrace=False)
