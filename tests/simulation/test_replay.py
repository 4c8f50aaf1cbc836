"""The same seed is the same history, in any process; and a seed that fails says how to see it again."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import trio
import trio.testing
from support import child_environment

from trionetchan import open_exporter

from .checker import Finding
from .plan import draw
from .running import Verdict, simulate
from .world import run

SEEDS = range(0, 300, 10)
TOP = Path(__file__).parents[2]
PROGRAM = f"""
import hashlib, sys
sys.path[:0] = [{str(TOP)!r}, {str(TOP / "tests")!r}]
from simulation.plan import draw
from simulation.world import run
for seed in {SEEDS!r}:
    print(hashlib.sha256(bytes(run(draw(seed)))).hexdigest())
"""


def test_the_same_history_in_each_process() -> None:
    here = [hashlib.sha256(bytes(run(draw(seed)))).hexdigest() for seed in SEEDS]
    assert len({*here}) == len(here)
    for hash_seed in (1, 2):
        with child_environment(PYTHONHASHSEED=hash_seed) as env:
            there = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.split() == here


async def test_an_exporter_has_its_connections_in_the_order_in_which_they_came() -> None:
    """It says goodbye in this order: in that of a set, which is one of addresses, no two runs would be the same."""
    known: list[object] = []
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        for _ in range(20):
            _, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            await trio.testing.wait_all_tasks_blocked()
            known += [connection for connection in exporter._connections if connection not in known]
        assert [*exporter._connections] == known
        assert len(known) == 20
        nursery.cancel_scope.cancel()


def test_a_replay_by_hand() -> None:
    with child_environment() as env:
        command = [sys.executable, "-m", "tests.simulation", "3"]
        shown = subprocess.run(command, env=env, capture_output=True, text=True, cwd=TOP, check=True).stdout
    assert simulate(3).history.text() in shown
    assert shown.endswith("nothing is wrong\nreplay: python -m tests.simulation 3\n")


def test_a_report_shows_what_led_to_the_last_finding() -> None:
    verdict = simulate(3)
    number = len(verdict.history.events) // 2
    failed = Verdict(verdict.plan, verdict.history, [Finding("lost", number, "down: [1]")])
    report = failed.report(5)
    assert str(verdict.history.events[number]) in report
    assert report.endswith("lost: down: [1]\nreplay: python -m tests.simulation 3")
    assert f"({number} events before)" in report
