"""Programs of the documents and examples, as processes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from support import child_environment, until


class Program:
    """A running program: its lines of output, and of standard error, as they come."""

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


@asynccontextmanager
async def running(path: Path, *arguments: object) -> AsyncGenerator[Program]:
    """Runs a Python program. A normal end of the block waits for its end; then all of its output has been read."""
    command = [sys.executable, str(path), *map(str, arguments)]
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
