"""This checkout beside another one, such as the commit before: the same cases in turn, and the ratios pair by pair.

The machines on which this runs are shared: two runs of the same code may differ by a tenth. So the two of a pair run
right after each other, every other pair in the reverse order, and what counts is the median of the ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .cases import Case, Measured
from .results import Spread
from .runner import ROOT, Plan, measure

__all__ = ["compare_checkouts"]


async def compare_checkouts(plan: Plan, other: Path, say: Callable[[str], object]) -> None:
    """Says, for each case, how many times as good this checkout is; processor time is what it needs, less is better."""
    say(f"{'case':32} {'this / other':>12}  {'spread':>12}   processor time, serving and connecting")
    for case in plan.cases:
        pairs: list[tuple[Measured, Measured]] = []
        for number in range(plan.pairs):
            roots = [ROOT, other] if number % 2 == 0 else [other, ROOT]
            found = {root: await measure(plan.work(case.subject), root) for root in roots}
            pairs.append((found[ROOT], found[other]))
        for line in _lines(case, pairs):
            say(line)


def _lines(case: Case, pairs: list[tuple[Measured, Measured]]) -> list[str]:
    work = case.subject.work
    serving, connecting = (
        Spread.of([here.cpu_per_value()[side] / (there.cpu_per_value()[side] or 1.0) for here, there in pairs])
        for side in (0, 1)
    )
    lines: list[str] = []
    for row in case.rows:
        quantity = row.quantity
        ratios = [quantity.of(here, work) / quantity.of(there, work) for here, there in pairs]
        better = Spread.of(ratios if quantity.more_is_better else [1 / ratio for ratio in ratios])
        name = f"{case.name} {quantity}" if len(case.rows) > 1 else case.name
        spread = f"{better.low:.2f} to {better.high:.2f}"
        lines.append(f"{name:32} {better.median:12.3f}  {spread:>12}   {serving.median:.2f} {connecting.median:.2f}")
    return lines
