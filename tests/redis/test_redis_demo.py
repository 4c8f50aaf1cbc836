"""The demo on an engine, as its user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from redis_servers import RedisServer, free_port
from support import child_environment


def run_demo(folder: Path, engine: str) -> subprocess.CompletedProcess[str]:
    for number in range(5):
        (folder / f"{number}.txt").write_text("the quick brown fox\n" * 500)
    command = [sys.executable, "-m", "trionetchan", "demo", "--workers", "2", "--engine", engine, str(folder)]
    with child_environment() as environment:
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False)


def test_demo_on_an_engine_counts_the_same_and_leaves_little_behind(redis: RedisServer, tmp_path: Path) -> None:
    ran = run_demo(tmp_path, redis.url)
    assert ran.returncode == 0, ran.stderr
    assert "2 workers on unix://" in ran.stdout
    assert "one process counts the same" in ran.stdout
    left = [key for key in redis.tell("--scan", "--pattern", "trionetchan-demo-*").split() if ":record" not in key]
    assert left == []


def test_demo_says_that_there_is_no_engine(tmp_path: Path) -> None:
    ran = run_demo(tmp_path, f"redis://127.0.0.1:{free_port()}")
    assert ran.returncode == 1
    assert "expected an engine that answers" in ran.stderr
