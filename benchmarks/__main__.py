"""The command line of the suite."""

from __future__ import annotations

import fnmatch
import functools
import sys
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import rich.console
import rich.progress
import trio

from .cases import CASES, SWEEPS
from .engines import runner as engines
from .engines.roles import SYSTEMS
from .hostile.cases import CASES as ATTACKS
from .hostile.outcome import Outcome
from .hostile.report import list_cases as list_attacks
from .hostile.report import report as report_attacks
from .hostile.runner import run as attack
from .peers import PEERS
from .report import list_cases, report
from .results import Results, Surroundings
from .runner import MeasurementError, Plan, run
from .versus import compare_checkouts

__all__ = ["main"]

PAIRS = 5
app = cyclopts.App(name="python -m benchmarks", help_format="plaintext", result_action="return_value")
# A file or a pipe has no width: the tables are not to be folded there.
output = rich.console.Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
wide_output = rich.console.Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 230)
errors = rich.console.Console(highlight=False, markup=False, stderr=True)
AtLeastOne = cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))


class UsageError(Exception):
    """The arguments make no sense; the message says why."""


@app.default
def benchmark(
    *cases: str,
    peer: tuple[str, ...] = (),
    pairs: Annotated[int | None, AtLeastOne] = None,
    json: Path | None = None,
    compare: Path | None = None,
    against: Path | None = None,
    show: Path | None = None,
    pictures: Path | None = None,
    quick: bool = False,
    list_: Annotated[bool, cyclopts.Parameter(name="--list")] = False,
) -> int:
    """Measure trionetchan beside what else there is, and print the ratios.

    Two processes over loopback TCP, fresh ones for each measurement; the two of a pair run right after each other.

    Parameters
    ----------
    cases
        Names of cases or sweeps, or patterns of them such as "peer-*"; all cases unless given.
    peer
        Only cases that are measured against this peer; may be given several times.
    pairs
        How many times each pair is run: 5 unless given, 1 in a quick run.
    json
        Write all that was measured to this file.
    compare
        Compare with an earlier file of --json: how many times the ratio is what it was.
    against
        Measure the cases in another checkout too, in turn with this one, and print how many times as fast this one is.
    show
        Measure nothing, show this earlier file.
    pictures
        Draw pictures into this directory. The sweeps for them are run too, unless cases are named.
    quick
        Few values: it shows that everything works, the numbers mean little.
    list_
        List the cases and sweeps.
    """
    if list_:
        list_cases(output)
        return 0
    try:
        earlier = Results.read(compare) if compare else None
        if show:
            results = Results.read(show)
        else:
            plan = _plan(cases, peer, sweeps=pictures is not None, pairs=pairs or (1 if quick else PAIRS), quick=quick)
            if against:
                trio.run(functools.partial(compare_checkouts, plan, against.resolve(), output.print))
                return 0
            results = _measure(plan)
    except (OSError, MeasurementError, UsageError, ValueError) as error:
        errors.print(f"benchmarks: {error}", soft_wrap=True)
        return 1
    if json:
        results.write(json)
    report(output, results, earlier)
    if pictures:
        _draw(results, pictures)
    return 0


@app.command
def hostile(
    *cases: str,
    seconds: float = 30,
    list_: Annotated[bool, cyclopts.Parameter(name="--list")] = False,
) -> int:
    """Attack an exporter, and measure what a healthy importer keeps. Exit status 1 when a bar is missed.

    Parameters
    ----------
    cases
        Names of attacks, or patterns of them such as "tls-*"; all unless given.
    seconds
        How long each attack lasts.
    list_
        List the attacks.
    """
    if list_:
        list_attacks(output)
        return 0
    chosen = [name for name in ATTACKS if not cases or any(fnmatch.fnmatchcase(name, case) for case in cases)]
    for case in cases:
        if not fnmatch.filter(ATTACKS, case):
            errors.print(f"benchmarks: no attack {case!r}; --list shows them")
            return 1
    outcomes: dict[str, Outcome] = {}
    skipped: dict[str, str] = {}
    try:
        for name in chosen:
            errors.print(f"{name} …")
            try:
                outcomes[name] = trio.run(attack, ATTACKS[name], seconds)
            except MeasurementError as error:
                skipped[name] = str(error)
    except KeyboardInterrupt:
        errors.print("broken off; what was measured until then:")
    return 0 if report_attacks(wide_output, outcomes, skipped) and not skipped else 1


@app.command
def endurance(
    *,
    seconds: float = 3600,
    round_: Annotated[float | None, cyclopts.Parameter(name="--round")] = None,
    seed: int = 0,
    traced: bool = False,
) -> int:
    """Let everything come and go for long: nothing may get lost, and nothing may grow. Exit status 1 if it does.

    Importers come, leave, are cancelled, fail and are killed; connections are cut, stall and are resumed; channels are
    exported, hung up, refused and bound again; exporters restart; strangers send garbage. Beside that a work queue
    checks that each job is done. In rounds: between two, when all of that has ended, what is still there is counted.

    Parameters
    ----------
    seconds
        How long it lasts. Half a minute shows that nothing grows with each connection; an hour, what grows slowly.
    round_
        How many seconds a round lasts; by default a sixtieth of the whole, 2 at least.
    seed
        Decides what comes and goes. How the tasks meet it does not decide: sockets and processes are real.
    traced
        Also trace where memory is allocated, which is slower, and print the lines that have allocated most since.
    """
    from .endurance.command import endure

    return endure(output, seconds=seconds, round_seconds=round_ or max(2, seconds / 60), seed=seed, traced=traced)


def redis(*, pairs: Annotated[int, AtLeastOne] = 3, values: Annotated[int, AtLeastOne] = 100_000) -> int:
    """Measure channels on Redis beside plain coredis code that promises the same, and an exporter that listens.

    Each case has a server of its own, a producer, and 1, 4 or 16 importer processes, on one channel or eight.

    Parameters
    ----------
    pairs
        How many times each is run, in turn.
    values
        How many integers are carried in each run.
    """
    measured: dict[engines.Case, dict[str, list[engines.Figures]]] = {}
    try:
        for case in engines.CASES:
            errors.print(f"{case.name} …")
            measured[case] = {system: [] for system in SYSTEMS}
            for _ in range(pairs):
                for system in SYSTEMS:
                    measured[case][system].append(trio.run(engines.measure, system, case, values))
    except MeasurementError as error:
        errors.print(f"benchmarks: {error}", soft_wrap=True)
        return 1
    engines.report(wide_output, measured)
    return 0


def _plan(names: tuple[str, ...], peers: tuple[str, ...], *, sweeps: bool, pairs: int, quick: bool) -> Plan:
    for peer in peers:
        if peer not in PEERS:
            raise UsageError(f"no peer {peer!r}; there are {', '.join(PEERS)}")
    for name in names:
        if not fnmatch.filter([*CASES, *SWEEPS], name):
            raise UsageError(f"no case {name!r}; --list shows them")

    def named(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in names)

    chosen = [case for case in CASES.values() if not names or named(case.name)]
    if peers:
        chosen = [case for case in chosen if case.baseline is not None and case.baseline.peer in peers]
    swept = [sweep for sweep in SWEEPS.values() if (named(sweep.name) if names else sweeps and not peers)]
    if not chosen and not swept:
        raise UsageError("no case has that name and that peer")
    return Plan(tuple(chosen), tuple(swept), pairs, quick)


def _measure(plan: Plan) -> Results:
    """Runs the plan with a progress bar; what there is when the user breaks it off is returned too."""
    results = Results(Surroundings.here(), plan.quick, plan.pairs)
    columns = (
        rich.progress.TextColumn("{task.description:32}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    # It is redrawn between measurements only: the cores are for those.
    with rich.progress.Progress(*columns, console=errors, auto_refresh=False) as progress:
        task = progress.add_task("", total=plan.runs())

        def before(what: str) -> None:
            progress.update(task, description=what, refresh=True)

        def after(runs: int) -> None:
            progress.update(task, advance=runs, refresh=True)

        try:
            trio.run(functools.partial(run, plan, results, before, after))
        except KeyboardInterrupt:
            errors.print("broken off; what was measured until then:")
    return results


def _draw(results: Results, directory: Path) -> None:
    try:
        from .pictures import draw
    except ModuleNotFoundError as error:
        errors.print(f"no pictures: {error.name} is not installed")
        return
    for file in draw(results, directory):
        output.print(file, soft_wrap=True)


def main() -> int:
    status: Any = app()
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
