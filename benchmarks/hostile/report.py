"""The table."""

from __future__ import annotations

import rich.box
import rich.console
import rich.table

from .cases import CASES, Case
from .outcome import Outcome

__all__ = ["list_cases", "report"]

WORDS = 3  # goodbyes that are shown of each case
HEADINGS = (
    "values/s alone",
    "attacked",
    "control",
    "ratio alone",
    "control",
    "gap s",
    "control",
    "MiB most",
    "kept",
    "held",
    "drops",
    "first s",
    "longest s",
    "gone after",
    "log lines",
    "limits",
    "",
)


def report(console: rich.console.Console, outcomes: dict[str, Outcome], skipped: dict[str, str]) -> bool:
    """Prints what was measured, and which bars were missed. Whether none was."""
    table = rich.table.Table("case", box=rich.box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", overflow="fold")
    for name, outcome in outcomes.items():
        table.add_row(name, *_cells(outcome), "missed" if outcome.misses(CASES[name]) else "held")
    console.print(
        "Healthy importer: alone; beside the attack; beside a process that is as busy as the attacker, and does no "
        "harm (control). The bar is half of the control's rate, and a gap of 0.2 s."
    )
    console.print(table)
    for name, outcome in outcomes.items():
        _explain(console, CASES[name], outcome)
    for name, reason in skipped.items():
        console.print(f"{name}: not measured: {reason}", soft_wrap=True)
    return not any(outcome.misses(CASES[name]) for name, outcome in outcomes.items())


def list_cases(console: rich.console.Console) -> None:
    """Prints the names of all cases, and what each is."""
    table = rich.table.Table("name", "what", "dropped within", box=rich.box.SIMPLE_HEAD)
    for case in CASES.values():
        table.add_row(case.name, case.title, f"{case.dropped_within:g} s" if case.dropped_within else "")
    console.print(table)


def _cells(outcome: Outcome) -> list[str]:
    tally = outcome.tally
    first = tally["first_drop"]
    return [
        *(f"{stretch.rate:,.0f}" for stretch in (outcome.alone, outcome.attacked, outcome.control)),
        f"{outcome.ratio_alone:.2f}",
        f"{outcome.ratio:.2f}",
        f"{outcome.attacked.gap:.3f}",
        f"{outcome.control.gap:.3f}",
        f"{outcome.grown:+.1f}",
        f"{outcome.kept:+.1f}",
        "" if outcome.held is None else f"{outcome.held:+.1f}",
        f"{tally['drops']:,} of {tally['connections']:,}",
        "" if first is None else f"{first:.2f}",
        f"{tally['longest']:.2f}",
        f"{outcome.settled:.1f}",
        f"{outcome.lines:,}",
        ", ".join(f"{name} {count:,}" for name, count in outcome.after["limits"].items()),
    ]


def _explain(console: rich.console.Console, case: Case, outcome: Outcome) -> None:
    for miss in outcome.misses(case):
        console.print(f"{case.name}: {miss}", soft_wrap=True)
    words = sorted(outcome.tally["words"].items(), key=lambda item: item[1], reverse=True)
    for said, count in words[:WORDS]:
        console.print(f"{case.name}: was told {count:,} times: {said[:200]}", soft_wrap=True)
