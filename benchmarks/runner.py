"""Runs measurements, each in fresh processes, the two of a pair right after each other: A B A B."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import cattrs
import trio

from .cases import Case, Measured, Run, Sweep
from .children import ROOT, Child, MeasurementError, child
from .measure import Sample
from .peers import PEERS
from .results import CaseResult, Results, SweepResult

__all__ = ["ROOT", "MeasurementError", "Plan", "measure", "run"]

TIMEOUT = 180  # seconds that one measurement may take
DIVISOR = 20  # by which a quick run has fewer values


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
                    return Measured(await _sample(alone))
            # Both are started at once: the client imports what it needs while the server does.
            async with _process("serve", run, root) as server, _process("connect", run, root) as client:
                port = (await server.answer())["port"]
                await client.tell(str(port))
                measured = await _sample(client)
                await server.tell("done")
                return Measured(measured, await _sample(server))
    except trio.TooSlowError:
        raise MeasurementError(f"{run.peer} was not done in {TIMEOUT} s") from None


def _process(role: str, run: Run, root: Path) -> AbstractAsyncContextManager[Child]:
    module = f"{__package__}.peers.{PEERS[run.peer].module}"
    return child(f"{__package__}.process", role, module, run.work.to_json(), root=root)


async def _sample(process: Child) -> Sample:
    return cattrs.structure(await process.answer(), Sample)
