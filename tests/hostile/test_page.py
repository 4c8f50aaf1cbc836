"""The page on hostile peers is that of the cases."""

from __future__ import annotations

from all_cases import PAGE, with_tables


def test_tables_are_those_of_the_cases() -> None:
    """If not: run `all_cases.py`."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page)
    assert page.count("\n| 1a | ") == page.count("\n| e1a | ") == 1
