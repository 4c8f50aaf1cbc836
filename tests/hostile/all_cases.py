"""All wire cases, and the tables of them in `docs/hostile-peers.md`. Run as a program, it writes these anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cases import ENDED, Case, Outcome
from channel_cases import CHANNEL_CASES
from exporter_cases import EXPORTER_CASES, ExporterCase
from flood_cases import FLOOD_CASES
from frame_cases import FRAME_CASES
from hello_cases import HELLO_CASES
from identity_cases import IDENTITY_CASES
from resume_cases import RESUME_CASES
from tls_cases import TLS_CASES
from value_cases import VALUE_CASES

__all__ = ["CASES", "PAGE", "numbers_of", "with_tables"]

PAGE = Path(__file__).parents[2] / "docs" / "hostile-peers.md"


def place(number: str) -> tuple[int, str]:
    """What cases are sorted by."""
    return fault(number), number


def fault(number: str) -> int:
    return int("".join(filter(str.isdigit, number)))


CASES: list[Case] = sorted(
    [
        *HELLO_CASES,
        *FRAME_CASES,
        *VALUE_CASES,
        *CHANNEL_CASES,
        *FLOOD_CASES,
        *TLS_CASES,
        *RESUME_CASES,
        *IDENTITY_CASES,
    ],
    key=lambda case: place(case.number),
)
SORTED_EXPORTER_CASES: list[ExporterCase] = sorted(EXPORTER_CASES, key=lambda case: place(case.number))


def numbers_of(cases: Iterable[Case]) -> set[int]:
    """The faults that these cases are about."""
    return {fault(case.number) for case in cases}


# The tables


def shown(text: str) -> str:
    """Text of a peer, or a message, as a code span that may stand in a table."""
    if not text or text == "…":
        return text
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    mark = "``" if "`" in safe else "`"
    return mark + (f" {safe} " if mark == "``" else safe).replace("|", "\\|") + mark


def outcome(case: Case) -> str:
    """The letter; and that of a session that can't be resumed."""
    if case.outcome is Outcome.S and not case.resumable:
        return "S, and its session ends"
    return case.outcome.name


def heard(case: Case) -> str:
    if case.hears is None:
        return ""
    message = shown(case.hears.message)
    return f"{case.hears.kind} {case.hears.code}" + (f": {message}" if message else "")


def logged(case: Case) -> str:
    if case.hears is not None and case.log == ENDED + case.hears.message:
        return "the same"
    return shown(case.log.removeprefix(ENDED))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def importer_table() -> str:
    head = ("", "a hostile importer …", "outcome", "it hears", "log", "limit")
    return table(
        head,
        (
            (case.number, case.does, outcome(case), heard(case), logged(case), case.limit and f"`{case.limit}`")
            for case in CASES
        ),
    )


def exporter_table() -> str:
    return table(
        ("", "a hostile exporter …", "leaves the importer's block", "message"),
        (
            (case.number, case.does, f"`{case.raises.__name__}`" if case.raises else "nothing", shown(case.says))
            for case in SORTED_EXPORTER_CASES
        ),
    )


def with_tables(page: str) -> str:
    """The page, with its two tables as they must be."""
    tables = iter([importer_table(), exporter_table()])
    return re.sub(r"^\|  ?\| a hostile.*\n(?:\|.*\n)*", lambda _: next(tables), page, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
