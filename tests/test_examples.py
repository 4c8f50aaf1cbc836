"""The examples, as the processes that their users run."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from support import child_environment, until

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
MOST_LINES = 120


class Program:
    """A running example: its lines of output, and of standard error, as they come."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = self.errors = ""

    async def collect(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._collect, "output", self.process.stdout)
            nursery.start_soon(self._collect, "errors", self.process.stderr)

    async def _collect(self, where: str, stream: trio.abc.ReceiveStream | None) -> None:
        assert stream is not None
        async with stream:
            async for chunk in stream:
                setattr(self, where, getattr(self, where) + chunk.decode())

    async def port(self) -> int:
        """The port that it says it serves."""
        await until(lambda: re.search(r"port \d+\n", self.errors) is not None)
        return int(re.findall(r"port (\d+)\n", self.errors)[0])

    async def feed(self, text: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(text.encode())

    def lines(self) -> list[str]:
        return self.output.splitlines()


Start = Callable[..., AbstractAsyncContextManager[Program]]


@asynccontextmanager
async def start(name: str, *arguments: object) -> AsyncGenerator[Program]:
    """Runs an example. A normal end of the block waits for its end; then all of its output has been read."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    pipe = subprocess.PIPE
    with child_environment() as env:
        process = await trio.lowlevel.open_process(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
        program = Program(process)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(program.collect)
                yield program
                await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                if process.stdin is not None:
                    await process.stdin.aclose()


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
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(start("log_collector", "collect", 0))
        port = await first.port()
        one, two = [
            await running.enter_async_context(start("log_collector", "ship", "127.0.0.1", port, name))
            for name in ("one", "two")
        ]
        for shipper in (one, two):
            await shipper.feed("early\nälter\n")
        await until(lambda: first.output.count("\n") == 4)
        first.process.send_signal(signal.SIGINT)
        await first.process.wait()
        await one.feed("between\n")
        second = await running.enter_async_context(start("log_collector", "collect", port))
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
    async with AsyncExitStack() as running:
        watcher = await running.enter_async_context(start("telemetry", "watch", 0))
        port = await watcher.port()
        here, there = [
            await running.enter_async_context(start("telemetry", "measure", "127.0.0.1", port, name))
            for name in ("here", "there")
        ]
        await until(
            lambda: {"here load:", "there load:", "here ms late:"} <= {*re.findall(r"\w+ .*?:", drawn(watcher))}
        )
        watcher.process.send_signal(signal.SIGINT)
        await watcher.process.wait()
        again = await running.enter_async_context(start("telemetry", "watch", port))
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


async def test_pipeline_prints_no_total_when_a_stage_dies(tmp_path: Path) -> None:
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
        reader.process.send_signal(signal.SIGTERM)  # it fails: nothing it had is complete
    assert shower.output == ""
    assert (counter.process.returncode, shower.process.returncode) == (1, 1)
    assert shower.errors.startswith("pipeline: ")
    assert "Traceback" not in counter.errors + shower.errors
