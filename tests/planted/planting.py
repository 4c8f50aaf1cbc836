"""Plants bugs one by one, and wants the test of each to fail: with the bug, and only with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .bugs import Bug
from .copied import Copy, Outcome, preload

__all__ = ["plant", "verdict"]

NOT_BY_THE_TEST = ("ImportError", "ModuleNotFoundError", "SyntaxError", "NameError", "fixture ")
"""How a test fails that was not even begun, or whose bug is none that could be shipped."""


def plant(bugs: Sequence[Bug]) -> bool:
    """Prints a table: each bug, the test that saw it, and how. Whether all were seen."""
    preload()
    tests = [f"tests/{bug.test}" for bug in bugs]
    all_seen = True
    with Copy() as copy:
        without = copy.run(list(dict.fromkeys(tests))).wait()
        if without.broken:
            print(without.broken)
            return False
        for bug, test in zip(bugs, tests, strict=True):
            begun = time.monotonic()
            copy.change(f"trionetchan/{bug.file}", bug.apply)
            outcome = copy.run([test, "-x"]).wait()
            copy.restore()
            seen, how = verdict(test, without, outcome)
            all_seen = all_seen and seen
            seconds = time.monotonic() - begun
            print(f"{'seen' if seen else 'NOT SEEN':8} {bug.name:38} {seconds:5.1f} s  {bug.test}")
            print(f"{'':8} {bug.what}: {how}" if seen else f"{'':8} {how}", flush=True)
    print(f"{len(bugs)} bugs, {'each seen by its test' if all_seen else 'but not each was seen'}")
    return all_seen


def verdict(test: str, without: Outcome, outcome: Outcome) -> tuple[bool, str]:
    """Whether this test has seen the bug, and how; or why not."""
    failed = [f"{name}: {why}" for name, why in without.failed.items() if _is_of(name, test)]
    if failed:
        return False, f"the test fails without the bug, too: {failed[0]}"
    if not any(_is_of(name, test) for name in without.seconds):
        return False, "there is no such test"
    if outcome.broken:
        return outcome.endless, outcome.broken
    if not outcome.failed:
        return False, f"{outcome.passed} tests passed"
    why = " ".join(next(iter(outcome.failed.values())).split())
    return not why.startswith(NOT_BY_THE_TEST), why[:100]


def _is_of(name: str, test: str) -> bool:
    return name == test or name.startswith(f"{test}[")
