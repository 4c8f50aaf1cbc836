"""What a run of the suite comes to: samples as they were measured, with where and when; ratios are read off them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import cattrs

from .cases import CASES, SWEEPS, Case, Measured, Row, Sweep
from .peers import PEERS

__all__ = ["CaseResult", "Figure", "Results", "Spread", "Surroundings", "SweepResult"]

FORMAT = 1
LIBRARIES = ("trionetchan", "trio", "cbor2", "attrs", "cattrs")


@attrs.frozen
class Spread:
    """The median of some numbers, and how far they lie apart."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(numbers: Sequence[float]) -> Spread:
        return Spread(statistics.median(numbers), min(numbers), max(numbers))


@attrs.frozen
class Figure:
    """One row's outcome. `result` is the ratio, pair by pair, or the number itself where there is no baseline."""

    subject: float
    baseline: float | None
    result: Spread
    row: Row

    def reaches(self, aim: float) -> bool:
        return self.result.median >= aim if self.row.quantity.more_is_better else self.result.median <= aim


@attrs.define
class CaseResult:
    """The pairs of one case. Without a baseline the second list stays empty."""

    subject: list[Measured] = attrs.field(factory=list[Measured])
    baseline: list[Measured] = attrs.field(factory=list[Measured])
    skipped: str | None = None
    """Why it was not measured, or not to the end."""

    def figures(self, case: Case) -> list[Figure]:
        """What is in each row of the case; nothing if nothing was measured."""
        if (case.baseline is not None and not self.baseline) or not self.subject:
            return []
        figures: list[Figure] = []
        for row in case.rows:
            ours = [row.quantity.of(measured, case.subject.work) for measured in self.subject]
            if case.baseline is None:
                figures.append(Figure(statistics.median(ours), None, Spread.of(ours), row))
                continue
            theirs = [row.quantity.of(measured, case.baseline.work) for measured in self.baseline]
            ratios = [one / other for one, other in zip(ours, theirs, strict=False)]  # the last pair may lack one
            figures.append(Figure(statistics.median(ours), statistics.median(theirs), Spread.of(ratios), row))
        return figures


@attrs.define
class SweepResult:
    """The rounds of a sweep: what was measured at each of its points, in their order."""

    points: list[list[Measured]]
    skipped: str | None = None

    def curves(self, sweep: Sweep) -> dict[str, list[tuple[int, Spread]]]:
        """Rates by curve: where on it, and how many values a second."""
        curves: dict[str, list[tuple[int, Spread]]] = {}
        for point, measured in zip(sweep.points, self.points, strict=True):
            if measured:
                rates = [one.client.values / one.client.seconds for one in measured]
                curves.setdefault(point.curve, []).append((point.x, Spread.of(rates)))
        return curves


@attrs.frozen
class Surroundings:
    """Where and when it was measured."""

    date: str
    system: str
    processor: str
    processors: int
    python: str
    versions: dict[str, str]
    load: list[float]
    """The machine's load average before the first measurement: above 0 it was not alone."""

    @staticmethod
    def here() -> Surroundings:
        distributions = [*LIBRARIES, *(peer.distribution for peer in PEERS.values() if peer.distribution)]
        return Surroundings(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            system=f"{platform.system()} {platform.release()}",
            processor=_processor(),
            processors=os.cpu_count() or 1,
            python=f"{platform.python_implementation()} {platform.python_version()}",
            versions={name: version for name in distributions if (version := _version(name))},
            load=list(os.getloadavg()),
        )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@attrs.define
class Results:
    """All that was measured."""

    surroundings: Surroundings
    quick: bool
    pairs: int
    cases: dict[str, CaseResult] = attrs.field(factory=dict[str, CaseResult])
    sweeps: dict[str, SweepResult] = attrs.field(factory=dict[str, SweepResult])
    format: int = FORMAT

    def skipped(self) -> dict[str, str]:
        """Why cases and sweeps were not measured, or not to the end."""
        reasons = [(name, case.skipped) for name, case in self.cases.items()]
        reasons += [(name, sweep.skipped) for name, sweep in self.sweeps.items()]
        return {name: reason for name, reason in reasons if reason}

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(cattrs.unstructure(self), indent=1) + "\n")

    @staticmethod
    def read(path: Path) -> Results:
        """`ValueError` if the file is not one that `write` has written. Cases that are no more are left out."""
        try:
            results = cattrs.structure(json.loads(path.read_text()), Results)
        except (LookupError, TypeError, ValueError, cattrs.BaseValidationError) as error:
            raise ValueError(f"{path}: expected results of this suite, got something else") from error
        if results.format != FORMAT:
            raise ValueError(f"{path}: expected results of format {FORMAT}, got format {results.format}")
        results.cases = {name: result for name, result in results.cases.items() if name in CASES}
        results.sweeps = {
            name: result
            for name, result in results.sweeps.items()
            if name in SWEEPS and len(result.points) == len(SWEEPS[name].points)
        }
        return results
