"""The benchmark suite works: one small case, end to end. What it measures is not looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support import child_environment

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
