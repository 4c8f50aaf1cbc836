"""The command: prints samples as they come, and a verdict."""

from __future__ import annotations

import traceback
import tracemalloc

import rich.console
import trio

from .runner import Course, run
from .samples import COLUMNS, Sample, growth, row

__all__ = ["endure"]

WIDTHS = (6, 7, 11, 9, 6, 6, 6, 6, 12, 10)


def endure(console: rich.console.Console, *, seconds: float, round_seconds: float, seed: int, traced: bool) -> int:
    """Runs it, and prints what came of it; the exit status."""

    def show(sample: Sample, done: int) -> None:
        _print_row(console, row(sample, done))

    course = Course(seconds=seconds, round_seconds=round_seconds, seed=seed, on_sample=show)
    if traced:
        tracemalloc.start()
    console.print(f"Rounds of {round_seconds:g} s, for {seconds:g} s; at rest after each:")
    _print_row(console, [*COLUMNS])
    failed = False
    try:
        trio.run(run, course)
    except KeyboardInterrupt:
        console.print("broken off; what was counted until then:")
    except BaseException as error:
        console.print("".join(traceback.format_exception(error)), soft_wrap=True)
        failed = True
    console.print("\n" + ", ".join(f"{count:,} {name}" for name, count in sorted(course.tally.items())), soft_wrap=True)
    for line in course.grown_lines:
        console.print(f"allocated since: {line}", soft_wrap=True)
    grown = growth(course.samples)
    for line in grown:
        console.print(f"grown: {line}", soft_wrap=True)
    verdict = "a promise was broken" if failed else "something grows" if grown else "nothing was lost, nothing grows"
    console.print(f"verdict: {verdict}")
    return 1 if failed or grown else 0


def _print_row(console: rich.console.Console, cells: list[str]) -> None:
    console.print(" ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)), soft_wrap=True)
