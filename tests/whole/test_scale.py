"""Many importers, and many who are none: each importer gets its share, and nothing is left of those who have gone.

Small numbers; with `TRIONETCHAN_EXAMPLES` of 1,000 or more those of the promise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support import PEERS, child_environment

FULL = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0") >= 1000
TIMEOUT = 540 if FULL else 60  # seconds
STRAY_OBJECTS = 100  # that come and go by themselves


def crowd(what: str, count: int) -> dict[str, Any]:
    """Runs it in a process of its own, which may have as many files as it needs."""
    command = [sys.executable, str(PEERS / "crowd.py"), what, str(count)]
    with child_environment() as env:
        ran = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False)
    assert ran.returncode == 0, ran.stderr
    came: dict[str, Any] = json.loads(ran.stdout)
    if "unable" in came:
        pytest.skip(came["unable"])
    return came


def test_each_of_many_importers_gets_its_share_and_each_value_comes_once() -> None:
    came = crowd("share", 1000 if FULL else 50)
    assert came["once"]
    assert came["shares"][0] >= 1


def test_silent_connections_do_not_keep_an_importer_waiting() -> None:
    came = crowd("silent", 2000 if FULL else 100)
    assert came["value"] == 1
    if FULL:  # it is the promise; a small number shows no delay, and the machine may be busy
        assert came["seconds"] <= 1


def test_nothing_is_left_of_connections_that_come_and_go() -> None:
    came = crowd("cycles", 10_000 if FULL else 300)
    before, after = came["before"], came["after"]
    assert after.pop("objects") <= before.pop("objects") + STRAY_OBJECTS
    assert after == before
