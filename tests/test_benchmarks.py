"""The benchmark suite works: one small case, end to end. What it measures is not looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import child_environment

from benchmarks.hostile.cases import CASES
from benchmarks.hostile.outcome import MIB, Outcome, Stretch

ROOT = Path(__file__).parents[1]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    with child_environment() as env:
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False
        )


def test_case_is_measured_reported_and_compared(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    first = run("defaults", "--quick", "--pairs", 2, "--json", file)
    assert first.returncode == 0, first.stderr
    assert "skipped" not in first.stdout
    case = json.loads(file.read_text(encoding="utf-8"))["cases"]["defaults"]
    assert [len(case["subject"]), len(case["baseline"])] == [2, 2]
    for measured in case["subject"]:
        assert measured["client"]["values"] == measured["server"]["values"] > 0

    again = run("--show", file, "--compare", file)
    (row,) = [line for line in again.stdout.splitlines() if line.split()[:1] == ["defaults"] and "≥" in line]
    assert row.split()[-1] == "1.00"


def test_two_checkouts_are_compared(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for part in ("trionetchan", "benchmarks"):
        shutil.copytree(ROOT / part, other / part, ignore=shutil.ignore_patterns("__pycache__"))
    result = run("defaults", "--quick", "--pairs", 1, "--against", other)
    assert result.returncode == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.split()[:1] == ["defaults"]]
    assert float(row.split()[1]) > 0


def test_unknown_case_is_an_error() -> None:
    result = run("defualts")
    assert result.returncode == 1
    assert "'defualts'" in result.stderr


# Hostile peers


def test_hostile_peers_are_measured() -> None:
    """A table comes of it; whether bars are held in so short a time is not looked at."""
    result = run("hostile", "pings", "cycles", "--seconds", 0.2)
    rows = {
        line.split()[0]: line.split()
        for line in result.stdout.splitlines()
        if line.split()[-1:] in (["held"], ["missed"])
    }
    assert rows.keys() == {"pings", "cycles"}, result.stdout + result.stderr
    assert result.returncode == (1 if any(row[-1] == "missed" for row in rows.values()) else 0)
    for row in rows.values():
        assert all(float(rate.replace(",", "")) > 0 for rate in (row[1], row[3]))  # alone, and beside the control


def test_unknown_attack_is_an_error() -> None:
    result = run("hostile", "pigns")
    assert result.returncode == 1
    assert "'pigns'" in result.stderr


STATE: dict[str, Any] = {
    "connections": 1,
    "suspended": 0,
    "tasks": 20,
    "files": 12,
    "limits": {},
    "lines": 0,
    "tracebacks": 0,
    "first_traceback": "",
}
GOOD = Outcome(
    seconds=10,
    alone=Stretch(rate=1000, gap=0.1),
    attacked=Stretch(rate=450, gap=0.2),
    control=Stretch(rate=900, gap=0.1),
    memory=(100 * MIB, 132 * MIB, 104 * MIB),
    before=STATE,
    after=STATE | {"lines": 111},
    settled=0,
    tally={"longest": 3.0},
    failed=None,
)
MISSED = {
    "of the rate": attrs.evolve(GOOD, attacked=Stretch(rate=440, gap=0.1)),
    "a gap of": attrs.evolve(GOOD, attacked=Stretch(rate=900, gap=0.21)),
    "more memory": attrs.evolve(GOOD, memory=(100 * MIB, 133 * MIB, 100 * MIB)),
    "MiB kept": attrs.evolve(GOOD, memory=(100 * MIB, 120 * MIB, 105 * MIB)),
    "5.0 MiB kept": attrs.evolve(GOOD, memory=(100 * MIB, 120 * MIB, 120 * MIB), held=5.0),
    "lines in the log": attrs.evolve(GOOD, after=STATE | {"lines": 112}),
    "a connection lasted": attrs.evolve(GOOD, tally={"longest": 3.1}),
    "exception": attrs.evolve(GOOD, failed="ValueError"),
    "traceback": attrs.evolve(GOOD, after=STATE | {"tracebacks": 1}),
    "suspended left": attrs.evolve(GOOD, after=STATE | {"suspended": 1}),
    "tasks left": attrs.evolve(GOOD, after=STATE | {"tasks": 21}),
}


def test_bars_are_held_at_the_bar() -> None:
    assert GOOD.misses(CASES["pings"]) == []
    freed = attrs.evolve(GOOD, memory=(100 * MIB, 120 * MIB, 120 * MIB), held=4.0)
    assert freed.misses(CASES["pings"]) == []


@pytest.mark.parametrize("words", MISSED)
def test_missed_bar_is_told(words: str) -> None:
    (told,) = MISSED[words].misses(CASES["pings"])
    assert words in told
