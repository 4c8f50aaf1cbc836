"""The tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import rich.box
import rich.console
import rich.table

from .cases import CASES, SWEEPS, Case, Measured, Quantity
from .results import CaseResult, Figure, Results, Spread
from .work import Kind, Work

__all__ = ["list_cases", "report"]


def report(console: rich.console.Console, results: Results, earlier: Results | None) -> None:
    """Prints what was measured, what was not and why, and how it compares with earlier results."""
    here = results.surroundings
    console.print(
        f"{here.date}  {here.python}, {here.system}, {here.processors} × {here.processor}, load {here.load[0]:.1f}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in here.versions.items()), soft_wrap=True)
    if results.quick:
        console.print("A quick run: it shows that everything works, its numbers mean little.")
    if earlier is not None:
        console.print(f"× earlier: how many times what it was on {earlier.surroundings.date}")
        if earlier.quick != results.quick:
            console.print("One of the two was a quick run: they do not compare well.")
    if results.cases:
        console.print("\nBeside the baseline, pair by pair: medians, lowest and highest.")
        console.print(_ratios(results, earlier))
        console.print("Processor time for each value, in µs: the process that serves + the one that connects.")
        console.print(_processor_time(results, earlier))
    for name, sweep in results.sweeps.items():
        for curve, points in sweep.curves(SWEEPS[name]).items():
            rates = ", ".join(f"{x:,}: {spread.median / 1000:,.1f}" for x, spread in points)
            console.print(f"{SWEEPS[name].title}, {curve} (thousand/s): {rates}")
    for name, reason in results.skipped().items():
        console.print(f"{name}: skipped: {reason}", soft_wrap=True)


def list_cases(console: rich.console.Console) -> None:
    """Prints the names of all cases and sweeps, and what each is."""
    table = rich.table.Table("name", "what; what it is measured against", box=rich.box.SIMPLE_HEAD)
    for case in CASES.values():
        table.add_row(case.name, case.title)
    table.add_section()
    for sweep in SWEEPS.values():
        table.add_row(sweep.name, f"{sweep.title} (for a picture)")
    console.print(table)


def _ratios(results: Results, earlier: Results | None) -> rich.table.Table:
    table = rich.table.Table("case", box=rich.box.SIMPLE_HEAD)
    for heading in ("trionetchan", "baseline", "ratio", "spread", "goal", "stretch"):
        table.add_column(heading, justify="right")
    table.add_column("")
    if earlier is not None:
        table.add_column("× earlier", justify="right")
    for name, result in results.cases.items():
        case = CASES[name]
        before = _by_quantity(earlier, case)
        for figure in result.figures(case):
            quantity = figure.row.quantity
            is_ratio = figure.baseline is not None
            cells = [
                f"{name} {quantity}" if len(case.rows) > 1 else name,
                _amount(figure.subject, quantity, case.subject.work),
                _amount(figure.baseline, quantity, case.baseline.work) if is_ratio and case.baseline else "",
                f"{figure.result.median:.2f}" if is_ratio else "",
                _spread(figure.result, is_ratio),
                _aim(figure, figure.row.goal),
                _aim(figure, figure.row.stretch),
                _verdict(figure),
            ]
            if earlier is not None:
                old = before.get(quantity)
                cells.append(f"{figure.result.median / old.result.median:.2f}" if old else "")
            table.add_row(*cells)
    return table


def _processor_time(results: Results, earlier: Results | None) -> rich.table.Table:
    """It says more than a rate where the machine is busy with other things."""
    table = rich.table.Table("case", box=rich.box.SIMPLE_HEAD)
    for heading in ("trionetchan", "baseline", "ratio of sums"):
        table.add_column(heading, justify="right")
    if earlier is not None:
        table.add_column("× earlier", justify="right")
    for name, result in results.cases.items():
        if not result.subject:
            continue
        ours, theirs = _times(result.subject), _times(result.baseline)
        cells = [name, _sum(ours), _sum(theirs), f"{sum(ours) / sum(theirs):.2f}" if sum(theirs) else ""]
        if earlier is not None:
            old = earlier.cases.get(name, CaseResult())
            cells.append(f"{sum(ours) / sum(before):.2f}" if sum(before := _times(old.subject)) else "")
        table.add_row(*cells)
    return table


def _by_quantity(results: Results | None, case: Case) -> dict[Quantity, Figure]:
    if results is None or case.name not in results.cases:
        return {}
    return {figure.row.quantity: figure for figure in results.cases[case.name].figures(case)}


def _times(measured: Sequence[Measured]) -> tuple[float, float]:
    if not measured:
        return 0.0, 0.0
    serving, connecting = zip(*(one.cpu_per_value() for one in measured), strict=True)
    return statistics.median(serving) * 1e6, statistics.median(connecting) * 1e6


def _sum(times: tuple[float, float]) -> str:
    return " + ".join(f"{time:,.2f}" for time in times if time)


def _amount(number: float | None, quantity: Quantity, work: Work) -> str:
    if number is None:
        return ""
    if quantity is Quantity.RATE:
        if work.kind is Kind.BYTES:
            return f"{number / 2**30:.2f} GiB/s"
        return f"{number / 1e6:.2f} M/s" if number >= 1e6 else f"{number / 1e3:.1f} k/s"
    if quantity in (Quantity.P50, Quantity.P99):
        return f"{number:,.0f} µs"
    return f"{number:.1f} KiB"


def _spread(spread: Spread, is_ratio: bool) -> str:
    digits = 2 if is_ratio else 1
    return f"{spread.low:,.{digits}f} to {spread.high:,.{digits}f}"


def _aim(figure: Figure, aim: float | None) -> str:
    return "" if aim is None else f"{'≥' if figure.row.quantity.more_is_better else '≤'} {aim:,g}"


def _verdict(figure: Figure) -> str:
    if figure.row.stretch is not None and figure.reaches(figure.row.stretch):
        return "stretch"
    if figure.row.goal is None:
        return ""
    return "reached" if figure.reaches(figure.row.goal) else "missed"
