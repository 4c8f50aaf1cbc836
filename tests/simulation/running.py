"""Simulates seeds and has the checker judge them."""

from __future__ import annotations

import attrs

from .checker import Finding, judge
from .history import History
from .plan import Plan, draw
from .world import run

__all__ = ["Verdict", "simulate", "simulate_plan"]

SHOWN = 60  # events of a history that failed


@attrs.frozen
class Verdict:
    """What came of one simulation."""

    plan: Plan
    history: History
    findings: list[Finding]

    def report(self, shown: int | None = SHOWN) -> str:
        """For people: what is wrong, how to see it again, and what happened up to there."""
        found = [str(finding) for finding in self.findings[:10]] or ["nothing is wrong"]
        last = max((finding.at for finding in self.findings), default=len(self.history.events))
        behind = self.history.events[: last + 5]
        text = History(behind).text(shown)
        return "\n".join([text, "", *found, f"replay: python -m tests.simulation {self.plan.seed}"])


def simulate(seed: int) -> Verdict:
    """Runs the plan of a seed. What the simulation raises says how to see it again."""
    return simulate_plan(draw(seed))


def simulate_plan(plan: Plan) -> Verdict:
    try:
        history = run(plan)
    except BaseException as error:
        error.add_note(f"replay: python -m tests.simulation {plan.seed}")
        raise
    return Verdict(plan, history, judge(history))
