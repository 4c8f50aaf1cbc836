"""The runner of planted bugs: each bug can be planted, a few are, and what it says is right.

All of them: `python -m tests.planted`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
from support import child_environment

from .bugs import BUGS, SAMPLE, Bug
from .copied import ROOT, Copy, Outcome
from .mutants import mutants_of, sampled
from .planting import verdict
from .sampling import all_mutants

TEST = "tests/test_it.py::test_it"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_can_be_planted_and_names_a_test(bug: Bug) -> None:
    source = (ROOT / "trionetchan" / bug.file).read_bytes()
    ast.parse(bug.apply(source))
    file, _, function = bug.test.partition("::")
    assert f"def {function}(" in (ROOT / "tests" / file).read_text("utf-8")


def test_names_are_unique_and_those_of_the_sample_are_among_them() -> None:
    names = [bug.name for bug in BUGS]
    assert len({*names}) == len(names) >= 25
    assert {*names} >= SAMPLE


def test_a_bug_whose_text_is_gone_or_there_twice_cannot_be_planted() -> None:
    bug = Bug("x", "", "x.py", "old", "new", "x")
    assert bug.apply(b"an old one") == b"an new one"
    for source in b"a new one", b"old and old":
        with pytest.raises(LookupError, match=r"expected once in x\.py, got"):
            bug.apply(source)


def test_a_few_bugs_are_seen() -> None:
    command = [sys.executable, "-m", "tests.planted", "--sample"]
    with child_environment() as env:
        ran = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=240, check=False
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(SAMPLE)} bugs, each seen by its test" in ran.stdout


GOOD = Outcome(passed=1, seconds={TEST: 0.1})


@pytest.mark.parametrize(
    ("without", "outcome", "seen", "how"),
    [
        (GOOD, Outcome(failed={TEST: "AssertionError: 1 == 2"}), True, "1 == 2"),
        (GOOD, Outcome(failed={f"{TEST}[a]": "trio.TooSlowError"}), True, "TooSlowError"),
        (GOOD, Outcome(broken="ended after 12 s", endless=True), True, "ended"),
        (GOOD, Outcome(passed=1), False, "1 tests passed"),
        (GOOD, Outcome(broken="SyntaxError"), False, "SyntaxError"),
        (GOOD, Outcome(failed={TEST: "NameError: name 'x' is not defined"}), False, "NameError"),
        (Outcome(failed={TEST: "no"}, seconds={TEST: 1}), Outcome(failed={TEST: "no"}), False, "without the bug, too"),
        (Outcome(), Outcome(), False, "no such test"),
    ],
)
def test_what_counts_as_seen(without: Outcome, outcome: Outcome, seen: bool, how: str) -> None:
    said = verdict(TEST, without, outcome)
    assert said[0] is seen
    assert how in said[1]


def test_a_copy_is_changed_and_restored_and_the_checkout_is_not() -> None:
    file = "trionetchan/_allowance.py"
    before = (ROOT / file).read_bytes()
    with Copy() as copy:
        path = copy.root / file
        compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-0.pyc"
        compiled.parent.mkdir()
        compiled.touch()
        copy.change(file, lambda source: source + b"# 1")
        copy.change(file, lambda source: source + b"2")
        assert path.read_bytes() == before + b"# 12"
        assert not compiled.exists()
        compiled.touch()
        copy.restore()
        assert path.read_bytes() == (ROOT / file).read_bytes() == before
        assert not compiled.exists()
    assert not copy.root.exists()


# Mutants

EXAMPLE = b'''"""Text."""
from x import y
__all__ = ["f"]
class C:
    a: int = 3
    def f(self, b: int | None = None) -> bool:
        """Text."""
        self.c += (b) * 2
        if not b and self.c:
            raise ValueError(f"expected {b + 1}")
        return min(b, -1) < self.c
'''
CHANGES = {
    "5: 3 → 4",
    "8: self.c += (b) * 2 → pass",
    "8: += → -=",
    "8: * → +",
    "8: 2 → 3",
    "9: not b and self.c → not (not b and self.c)",
    "9: not b → bool(b)",
    "9: and → or",
    '10: raise ValueError(f"expected {b + 1}") → pass',
    "11: return min(b, -1) < self.c → return None",
    "11: min → max",
    "11: -1 → 1",
    "11: < → <=",
    "11: < → >",
}


def changes() -> Iterator[str]:
    for mutant in mutants_of("x.py", EXAMPLE):
        yield str(mutant).removeprefix("x.py:")


def test_what_is_changed_and_what_not() -> None:
    found = list(changes())
    assert len(found) == len({*found})
    assert {*found} == CHANGES


def test_mutants_of_the_package_are_python_and_differ() -> None:
    chosen = sampled(all_mutants(), 40, 0)
    for mutant in chosen:
        source = (ROOT / mutant.file).read_bytes()
        changed = mutant.apply(source)
        assert changed != source
        ast.parse(changed)
    assert len({mutant.file for mutant in chosen}) > 10


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_even_and_repeatable(seed: int) -> None:
    mutants = all_mutants(["_channels"])
    chosen = sampled(mutants, 100, seed)
    assert chosen == sampled(mutants, 100, seed)
    assert len({*chosen}) == 100
    places = [mutants.index(mutant) for mutant in chosen]
    step = len(mutants) / 100
    assert all(step - 1 <= after - before <= step + 1 for before, after in pairwise(places))
    assert sampled(mutants, 10**6, seed) == mutants
