"""No test depends on the environment it finds, and none leaves a process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support import KEPT, PEERS, child_environment

TESTS = Path(__file__).parent
HOSTILE = {
    "CI": "true",
    "COLUMNS": "20",
    "FORCE_COLOR": "1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "LANG": "C",
    "LC_ALL": "C",
    "NO_COLOR": "1",
    "PYTEST_ADDOPTS": "-p no:cacheprovider",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONDEVMODE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
    "SSLKEYLOGFILE": "/missing/file",
    "TERM": "dumb",
    "TRIONETCHAN_EXAMPLES": "10",
    "TZ": "Pacific/Kiritimati",
}
SOME_TESTS = (
    "cli/test_demo.py::test_interrupt_ends_all_processes_at_once",
    "cli/test_demo.py::test_counts_every_word_once",
    "cli/test_demo.py::test_bundles_hold_all_text_and_are_not_small_without_need",
    "test_environment.py::test_a_directory_of_a_test_has_room_for_unix_sockets",
    "test_promises.py",
    "test_readme.py::test_links_lead_somewhere_on_pypi_too",
)


def test_part_of_the_tests_in_a_hostile_environment(tmp_path: Path) -> None:
    temporary = tmp_path / ("long" * 20)
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-x", *(str(TESTS / name) for name in SOME_TESTS)]
    with child_environment(**HOSTILE) as env:
        env["TMPDIR"] = str(temporary)
        ran = subprocess.run(
            command, cwd=TESTS.parent, env=env, capture_output=True, encoding="utf-8", timeout=120, check=False
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_directory_of_a_test_has_room_for_unix_sockets(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "a socket"))


def test_child_gets_the_same_environment_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    with child_environment(COLUMNS=200) as env:
        assert {*env} - {*KEPT} == {"LANG", "TMPDIR", "PYTHONPATH", "TRIONETCHAN_LIFELINE", "COLUMNS"}
        assert (env["LANG"], env["COLUMNS"]) == ("C.UTF-8", "200")


PARENT = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {"import signal; print('here', flush=True); signal.pause()"!r}])
"""


async def said_and_gone(process: trio.Process) -> bytes:
    """All that a process and those that it started say: their output ends when the last of them has."""
    assert process.stdout is not None
    return b"".join([chunk async for chunk in process.stdout])


async def test_what_a_test_started_ends_with_the_test() -> None:
    with child_environment() as env:
        process = await trio.lowlevel.open_process([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=env)
        assert process.stdout is not None
        assert await process.stdout.receive_some() == b"here\n"
        await process.wait()  # what it has started lives on
    async with process.stdout:
        assert await said_and_gone(process) == b""


async def test_what_a_test_started_ends_with_a_killed_test_run() -> None:
    run = f"""
import signal, subprocess, sys
from support import child_environment
with child_environment() as env:
    subprocess.run([sys.executable, "-c", {PARENT!r}], env=env)
    signal.pause()
"""
    with child_environment() as env:
        env["PYTHONPATH"] += os.pathsep + str(TESTS)
        process = await trio.lowlevel.open_process([sys.executable, "-c", run], stdout=subprocess.PIPE, env=env)
        assert process.stdout is not None
        async with process.stdout:
            assert await process.stdout.receive_some() == b"here\n"
            process.send_signal(signal.SIGKILL)
            assert await said_and_gone(process) == b""
        await process.wait()


def test_programs_of_the_tests_are_started_with_an_environment() -> None:
    """Whoever starts a process in a test goes through `child_environment`."""
    starts = ("subprocess.run(", "subprocess.Popen(", "open_process(", "run_process(")
    for path in [*TESTS.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and PEERS not in path.parents:
            assert not any(start in text for start in starts) or "child_environment(" in text, path
