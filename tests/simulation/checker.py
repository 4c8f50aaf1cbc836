"""Says what is wrong with a history. It knows the promises, and nothing of how they are kept.

What a history cannot tell it gives the benefit of the doubt: a value in a buffer may have been acknowledged, and one
that a lost importer had may have been taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from .account import Account, read
from .history import History
from .rules_of_calls import CALLS
from .rules_of_delivery import DELIVERY
from .rules_of_ends import ENDS

__all__ = ["Finding", "judge"]

_RULES: dict[str, Callable[[Account], Iterator[tuple[int, str]]]] = {**DELIVERY, **ENDS, **CALLS}


@attrs.frozen
class Finding:
    """Something that must not happen."""

    rule: str
    at: int
    """The index of the event that shows it."""
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def judge(history: History) -> list[Finding]:
    """All that is wrong, in the order in which it happened."""
    account = read(history)
    findings = [Finding(name, at, text) for name, rule in _RULES.items() for at, text in rule(account)]
    return sorted(findings, key=lambda finding: finding.at)
