"""The examples, as the processes that their users run."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
import trio
from programs import Program, running
from support import child_environment, until

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
MOST_LINES = 120

pytestmark = pytest.mark.bounded(60)


def start(name: str, *arguments: object) -> AbstractAsyncContextManager[Program]:
    """Runs an example."""
    return running(EXAMPLES / f"{name}.py", *arguments)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_is_short_and_says_how_to_use_it(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    usage = re.findall(rf"python {path.name} (\w+)", text.partition('"""\n\nfrom')[0])
    assert len(text.splitlines()) < MOST_LINES
    assert len(usage) >= 2
    assert usage == re.findall(r'case \["(\w+)"', text)
    with child_environment() as env:
        ran = subprocess.run(
            [sys.executable, str(path)], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", check=False
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(text[3:].partition("\n")[0])


def test_there_are_five_and_the_documents_name_them() -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    assert len(PROGRAMS) == 5
    assert {path.name for path in PROGRAMS} == {*re.findall(r"\(\.\./examples/(\w+\.py)\)", page)}


async def test_work_queue_gives_the_job_of_a_killed_worker_to_another(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.write_bytes(b"content")
    pipe = tmp_path / "pipe"  # whoever reads it waits until somebody writes
    os.mkfifo(pipe)
    async with start("work_queue", "serve", 0, pipe, ready, tmp_path / "missing") as server:
        port = await server.port()
        async with start("work_queue", "work", "127.0.0.1", port) as first:
            await until(lambda: f"at {pipe}" in first.errors)
            first.process.send_signal(signal.SIGKILL)
        assert server.output == ""
        async with start("work_queue", "work", "127.0.0.1", port) as second:
            await until(lambda: f"at {pipe}" in second.errors)
            await trio.Path(pipe).write_bytes(b"late")
    assert (server.process.returncode, second.process.returncode) == (0, 0), second.errors
    assert sorted(server.lines()) == sorted(
        [
            f"{hashlib.sha256(b'late').hexdigest()}  {pipe}",
            f"{hashlib.sha256(b'content').hexdigest()}  {ready}",
            f"No such file or directory  {tmp_path / 'missing'}",
        ]
    )


async def test_work_queue_ends_at_an_interrupt(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with (
        start("work_queue", "serve", 0, pipe) as server,
        start("work_queue", "work", "127.0.0.1", await server.port()) as worker,
    ):
        await until(lambda: "at " in worker.errors)
        worker.process.send_signal(signal.SIGINT)
        await worker.process.wait()
        server.process.send_signal(signal.SIGINT)
    assert (server.process.returncode, worker.process.returncode) == (0, 0)
    assert "Traceback" not in server.errors + worker.errors


async def test_log_collector_can_be_restarted_without_losing_a_line() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(start("log_collector", "collect", 0))
        port = await first.port()
        one, two = [
            await stack.enter_async_context(start("log_collector", "ship", "127.0.0.1", port, name))
            for name in ("one", "two")
        ]
        for shipper in (one, two):
            await shipper.feed("early\nälter\n")
        await until(lambda: first.output.count("\n") == 4)
        first.process.send_signal(signal.SIGINT)
        await first.process.wait()
        await one.feed("between\n")
        second = await stack.enter_async_context(start("log_collector", "collect", port))
        for shipper in (one, two):
            await shipper.feed("late")
            assert shipper.process.stdin is not None
            await shipper.process.stdin.aclose()
            await shipper.process.wait()
            assert shipper.process.returncode == 0, shipper.errors
        second.process.send_signal(signal.SIGTERM)
    assert (first.process.returncode, second.process.returncode) == (0, 0), first.errors + second.errors
    assert "Traceback" not in first.errors + second.errors
    said = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in [*first.lines(), *second.lines()]]
    assert sorted(said[:4]) == ["one: early", "one: älter", "two: early", "two: älter"]
    assert sorted(said[4:]) == ["one: between", "one: late", "two: late"]


async def test_request_and_reply_give_each_client_its_own_answers() -> None:
    async with start("request_reply", "serve", 0) as server:
        port = await server.port()
        numbers = {"first": range(1, 60), "second": range(60, 120)}
        async with (
            start("request_reply", "ask", "127.0.0.1", port, *numbers["first"]) as first,
            start("request_reply", "ask", "127.0.0.1", port, *numbers["second"]) as second,
        ):
            pass
        server.process.send_signal(signal.SIGINT)
    assert (first.process.returncode, second.process.returncode) == (0, 0), first.errors + second.errors
    assert server.process.returncode == 0
    assert "Traceback" not in server.errors
    for asked, client in zip(numbers.values(), (first, second), strict=True):
        answers = dict(line.split(": ") for line in client.lines())
        assert {*answers} == {*map(str, asked)}
        assert all([int(divisor) for divisor in answers[str(number)].split()] == divisors(number) for number in asked)


def divisors(number: int) -> list[int]:
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


async def test_telemetry_draws_what_everybody_measures_and_who_measures_survives_the_watcher() -> None:
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(start("telemetry", "watch", 0))
        port = await watcher.port()
        here, there = [
            await stack.enter_async_context(start("telemetry", "measure", "127.0.0.1", port, name))
            for name in ("here", "there")
        ]
        await until(
            lambda: {"here load:", "there load:", "here ms late:"} <= {*re.findall(r"\w+ .*?:", drawn(watcher))}
        )
        watcher.process.send_signal(signal.SIGINT)
        await watcher.process.wait()
        again = await stack.enter_async_context(start("telemetry", "watch", port))
        await until(lambda: "here load" in again.output)
        for program in (here, there, again):
            program.process.send_signal(signal.SIGINT)
            await program.process.wait()
    for program in (watcher, again, here, there):
        assert program.process.returncode == 0, program.errors
        assert "Traceback" not in program.errors


def drawn(watcher: Program) -> str:
    return watcher.output.replace("█", "").replace("  ", "")


async def test_pipeline_counts_every_word(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("to be or not to be\n" * 500, encoding="utf-8")
    async with (
        start("pipeline", "read", 0, tmp_path / "one", tmp_path / "two") as reader,
        start("pipeline", "count", "127.0.0.1", await reader.port(), 0) as counter,
        start("pipeline", "show", "127.0.0.1", await counter.port()) as shower,
    ):
        pass
    assert [each.process.returncode for each in (reader, counter, shower)] == [0, 0, 0]
    counts = {word: int(count.replace(",", "")) for count, word in (line.split() for line in shower.lines())}
    assert counts == {"to": 2000, "be": 2000, "or": 1000, "not": 1000, "words": 6000}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_pipeline_prints_no_total_when_a_stage_dies(tmp_path: Path, how: signal.Signals) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with (
        start("pipeline", "read", 0, pipe) as reader,
        start("pipeline", "count", "127.0.0.1", await reader.port(), 0) as counter,
        start("pipeline", "show", "127.0.0.1", await counter.port()) as shower,
        await trio.open_file(pipe, "w") as writing,
    ):
        await writing.write("a word\n")
        await writing.flush()
        reader.process.send_signal(how)
    assert shower.output == ""
    assert (counter.process.returncode, shower.process.returncode) == (1, 1)
    assert shower.errors.startswith("pipeline: ")
    assert "Traceback" not in counter.errors + shower.errors
