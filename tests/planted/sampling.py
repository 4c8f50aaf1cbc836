"""Mutation testing: of all mutants of two rooms a sample, each with the unit tests that run the changed lines."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from .copied import ROOT, Copy, Outcome, Run, preload
from .mutants import Mutant, mutants_of, sampled

__all__ = ["ROOMS", "TESTS", "all_mutants", "sample"]

ROOMS = ("_protocol", "_channels")
TESTS = ("tests/protocol", "tests/channels")
OPTIONS = ("-x", "--hypothesis-seed=0")
OWN_TESTS = {  # where they are not named after the module
    "dead_letters": "deliveries",
    "overdue": "costs",
    "resuming": "session_key",
}
LEFT_OUT = (  # these take longer than all others of a changed line, or start processes
    "tests/channels/test_competing.py::test_one_is_killed_and_one_hangs_up",
    "tests/channels/test_cancellation.py::test_cancelled_serve_itself",
    "tests/channels/test_fan_in.py::test_the_end_comes_exactly_when_promised",
    "tests/protocol/test_resuming.py::test_cut_at_every_byte_and_again_in_the_resume",
    "tests/protocol/test_handshake.py::test_an_importer_that_never_says_what_it_has_seen_is_refused_in_the_end",
)


def all_mutants(rooms: Sequence[str] = ROOMS) -> list[Mutant]:
    """Of all modules of these rooms."""
    files = sorted(path for room in rooms for path in (ROOT / "trionetchan" / room).glob("*.py"))
    return [mutant for path in files for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_bytes())]


@attrs.frozen
class Measured:
    """What the tests did without a change."""

    tests_of: dict[tuple[str, int], set[str]]
    """The tests that run a line of a file."""
    seconds: dict[str, float]
    """How long each test took."""

    def save(self, path: Path) -> None:
        """For another sample of the same code and tests."""
        lines = [(file, line, sorted(tests)) for (file, line), tests in self.tests_of.items()]
        path.write_text(json.dumps([lines, self.seconds]), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Measured:
        lines, seconds = json.loads(path.read_text("utf-8"))
        return cls({(file, line): {*tests} for file, line, tests in lines}, seconds)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """The tests that may see it: of each test function one set of parameters first, the quickest first.

        A line that is run by the import is seen by whatever runs a line of that file.
        """
        tests: set[str] = set()
        for line in range(mutant.line, mutant.last_line + 1):
            tests |= self.tests_of.get((mutant.file, line), set())
        if not tests or "" in tests:
            tests = {test for (file, _), others in self.tests_of.items() if file == mutant.file for test in others}
        by_function = defaultdict[str, list[str]](list)
        tests = {test for test in tests if test and not test.startswith(LEFT_OUT)}
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            by_function[test.partition("[")[0]].append(test)
        rounds = [(place, self.seconds[test], test) for each in by_function.values() for place, test in enumerate(each)]
        return [test for _, _, test in sorted(rounds)]


def measure(copy: Copy, tests: Sequence[str]) -> Measured:
    """Runs the tests with nothing changed; which of them runs which line."""
    data = copy.root / ".coverage"
    coverage = [f"--cov=trionetchan.{room}" for room in ROOMS]
    coverage += [f"--deselect={test}" for test in LEFT_OUT]
    coverage += ["--cov-context=test", "--cov-report=", "--cov-fail-under=0"]
    outcome = copy.run([*tests, *coverage, *OPTIONS], longest=300).wait()
    if outcome.seen or not outcome.passed:
        sys.exit(
            f"the tests must pass with nothing changed, but: {outcome.failed or outcome.broken or 'there is none'}"
        )
    read: Any = importlib.import_module("coverage").CoverageData(str(data))
    read.read()
    tests_of: dict[tuple[str, int], set[str]] = {}
    for path in read.measured_files():
        file = str(Path(path).relative_to(copy.root))
        for line, contexts in read.contexts_by_lineno(path).items():
            tests_of[file, line] = {context.partition("|")[0] for context in contexts}
    return Measured(tests_of, outcome.seconds)


def sample(
    count: int, seed: int, jobs: int, *, chosen: str = "", tests: Sequence[str] = TESTS, kept: Path | None = None
) -> Iterator[str]:
    """Tries so many mutants, of those whose text has `chosen` in it; a line for each survivor, and one in the end.

    Each is tried with the tests of its module, and those that run the changed line.

    `kept`: a file for what was measured; if it is there, nothing is measured again.
    """
    preload()
    mutants = sampled([mutant for mutant in all_mutants() if chosen in str(mutant)], count, seed)
    copies = [Copy() for _ in range(jobs)]
    try:
        measured = Measured.load(kept) if kept is not None and kept.exists() else measure(copies[0], tests)
        if kept is not None:
            measured.save(kept)
        yield f"{len(mutants)} mutants, {len(measured.seconds)} tests"
        killed = 0
        begun = time.monotonic()
        for number, (mutant, outcome) in enumerate(_tried(mutants, copies, measured), 1):
            killed += outcome.seen
            if not outcome.seen:
                seen_by = f"{outcome.passed} tests" if outcome.passed else "no test runs it"
                yield f"survived: {mutant} ({seen_by})"
            if not number % 25:
                yield f"… {number} tried, {killed} killed, {time.monotonic() - begun:.0f} s"
        yield f"killed {killed} of {len(mutants)}: {100 * killed / max(1, len(mutants)):.1f} %"
    finally:
        for copy in copies:
            copy.__exit__(None, None, None)


def _tried(mutants: Sequence[Mutant], copies: list[Copy], measured: Measured) -> Iterator[tuple[Mutant, Outcome]]:
    """Each mutant and what came of it, in a copy that is free."""
    free, waiting = list(copies), list(reversed(mutants))
    running: dict[Copy, tuple[Mutant, _Stages]] = {}
    while waiting or running:
        while free and waiting:
            copy, mutant = free.pop(), waiting.pop()
            copy.change(mutant.file, mutant.apply)
            running[copy] = mutant, _Stages(copy, mutant, measured)
        for copy, (mutant, stages) in list(running.items()):
            outcome = stages.poll()
            if outcome is not None:
                del running[copy]
                copy.restore()
                free.append(copy)
                yield mutant, outcome
        time.sleep(0.05)


def own_tests(mutant: Mutant) -> list[str]:
    """The file of tests that is named after the module, if there is one; it sees most."""
    module = Path(mutant.file)
    path = f"tests/{module.parent.name.lstrip('_')}/test_{OWN_TESTS.get(module.stem, module.stem)}.py"
    return [path] if (ROOT / path).exists() else []


class _Stages:
    """First the module's own tests, and if they see nothing, all others that run the changed lines."""

    def __init__(self, copy: Copy, mutant: Mutant, measured: Measured) -> None:
        own = own_tests(mutant)
        others = [
            test for test in measured.tests_for(mutant) if not test.startswith(tuple(f"{path}::" for path in own))
        ]
        files = sorted({test.partition("::")[0] for test in others})
        stages = [(own, None)] * bool(own) + [(files, others)] * bool(others)
        self._copy = copy
        self._waiting = [([*files, *OPTIONS], wanted) for files, wanted in stages]
        self._passed = 0
        self._run: Run | None = None

    def poll(self) -> Outcome | None:
        """What came of it, when all is over."""
        if self._run is not None:
            outcome = self._run.poll()
            if outcome is None or outcome.seen:
                return outcome
            self._passed += outcome.passed
        if not self._waiting:
            return Outcome(passed=self._passed)
        self._run = self._copy.run(*self._waiting.pop(0))
        return None
