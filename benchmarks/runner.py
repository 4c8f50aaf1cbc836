"""Runs measurements, each in fresh processes, the two of a pair right after each other: A B A B."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import attrs
import cattrs
import trio

from .cases import Case, Measured, Run, Sweep
from .measure import Sample
from .peers import PEERS
from .results import CaseResult, Results, SweepResult

__all__ = ["ROOT", "MeasurementError", "Plan", "measure", "run"]

ROOT = Path(__file__).parents[1]
TIMEOUT = 180  # seconds that one measurement may take
DIVISOR = 20  # by which a quick run has fewer values


class MeasurementError(Exception):
    """A measurement could not be made; the message says why."""


@attrs.frozen
class Plan:
    """What is to be run, and how often."""

    cases: tuple[Case, ...]
    sweeps: tuple[Sweep, ...]
    pairs: int
    quick: bool = False

    def work(self, run: Run) -> Run:
        return Run(run.peer, run.work.cut(DIVISOR)) if self.quick else run

    @property
    def rounds(self) -> int:
        """How often a sweep is run: it is for a picture, and long."""
        return min(self.pairs, 3)

    def runs(self) -> int:
        """How many measurements there are."""
        in_pairs = sum(1 if case.baseline is None else 2 for case in self.cases)
        return self.pairs * in_pairs + self.rounds * sum(len(sweep.points) for sweep in self.sweeps)


async def run(plan: Plan, results: Results, before: Callable[[str], object], after: Callable[[int], object]) -> None:
    """Fills in the results. `before` is told what comes now, `after` how many runs are done (or skipped)."""
    for case in plan.cases:
        result = results.cases[case.name] = CaseResult()
        runs = [case.subject] if case.baseline is None else [case.subject, case.baseline]
        into = [result.subject, result.baseline]
        result.skipped = await _rounds(plan, plan.pairs, case.name, runs, into, before, after)
    for sweep in plan.sweeps:
        swept = results.sweeps[sweep.name] = SweepResult([[] for _ in sweep.points])
        runs = [point.run for point in sweep.points]
        swept.skipped = await _rounds(plan, plan.rounds, sweep.name, runs, swept.points, before, after)


async def _rounds(
    plan: Plan,
    rounds: int,
    name: str,
    runs: list[Run],
    into: list[list[Measured]],
    before: Callable[[str], object],
    after: Callable[[int], object],
) -> str | None:
    """Each of the runs in turn, so many times; returns why it stopped before the end, if it did."""
    left = rounds * len(runs)
    try:
        _expect_installed(run.peer for run in runs)
        for _ in range(rounds):
            for run, measured in zip(runs, into, strict=False):
                before(f"{name}: {run.peer}")
                measured.append(await measure(plan.work(run)))
                left -= 1
                after(1)
    except MeasurementError as error:
        after(left)
        return str(error)
    return None


def _expect_installed(names: Iterable[str]) -> None:
    for name in names:
        reason = PEERS[name].missing()
        if reason is not None:
            raise MeasurementError(reason)


async def measure(run: Run, root: Path = ROOT) -> Measured:
    """One measurement, of the code in the checkout `root`. `MeasurementError` if its processes fail."""
    peer = PEERS[run.peer]
    try:
        with trio.fail_after(TIMEOUT):
            if peer.processes == 1:
                async with _process("alone", run, root) as alone:
                    return Measured(await alone.sample())
            # Both are started at once: the client imports what it needs while the server does.
            async with _process("serve", run, root) as server, _process("connect", run, root) as client:
                port = (await server.answer())["port"]
                await client.tell(str(port))
                measured = await client.sample()
                await server.tell("done")
                return Measured(measured, await server.sample())
    except trio.TooSlowError:
        raise MeasurementError(f"{run.peer} was not done in {TIMEOUT} s") from None


class _Process:
    """A measuring process. It answers in lines of JSON."""

    def __init__(self, process: trio.Process, errors: Any) -> None:
        self._process = process
        self._errors = errors
        self._text = b""

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

    async def sample(self) -> Sample:
        return cattrs.structure(await self.answer(), Sample)

    async def _last_words(self) -> str:
        await self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"


@contextlib.asynccontextmanager
async def _process(role: str, run: Run, root: Path) -> AsyncGenerator[_Process]:
    """Starts a measuring process. It may end by itself when the block is left normally; else it is killed."""
    module = f"{__package__}.peers.{PEERS[run.peer].module}"
    command = [sys.executable, "-m", f"{__package__}.process", role, module, run.work.to_json()]
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=root
        )
        try:
            yield _Process(process, errors)
            with trio.move_on_after(5):
                await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await pipe.aclose()
