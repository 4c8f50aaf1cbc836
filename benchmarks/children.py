"""The processes that measure, as their parent sees them: it tells them lines, and they answer in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import trio

__all__ = ["ROOT", "Child", "MeasurementError", "child"]

ROOT = Path(__file__).parents[1]


class MeasurementError(Exception):
    """A measurement could not be made; the message says why."""


class Child:
    """A measuring process. It answers in lines of JSON."""

    def __init__(self, process: trio.Process, errors: Any) -> None:
        self._process = process
        self._errors = errors
        self._text = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended: its answer says so
            await self._process.stdin.send_all(line.encode() + b"\n")

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._text:
            chunk = await self._process.stdout.receive_some()
            if not chunk:
                raise MeasurementError(f"a measuring process failed: {await self._last_words()}")
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        answer = cast("dict[str, Any]", json.loads(line))
        if "unable" in answer:
            raise MeasurementError(answer["unable"])
        return answer

    async def ask(self, line: str) -> dict[str, Any]:
        await self.tell(line)
        return await self.answer()

    async def _last_words(self) -> str:
        await self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"


@contextlib.asynccontextmanager
async def child(*arguments: str, root: Path = ROOT) -> AsyncGenerator[Child]:
    """Runs `python -m …`, of the checkout `root`. It may end by itself when the block is left normally; else it is
    killed."""
    command = [sys.executable, "-m", *arguments]
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=root
        )
        try:
            yield Child(process, errors)
            with trio.move_on_after(5):
                await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()
