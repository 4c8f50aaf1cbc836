"""Malformed frames: each ends its session with one error. `TRIONETCHAN_EXAMPLES` is a twentieth of their number."""

from __future__ import annotations

import os

import pytest

from .malformed import tried

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_each_malformed_frame_ends_its_session_with_one_error(part: int) -> None:
    count = 20 * EXAMPLES // PARTS
    result = tried(part * 10**9, count)
    assert result.malformed + result.limits == count
    assert result.sessions == count + result.left
