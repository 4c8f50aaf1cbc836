"""Each promise is either shown on both engines, or stands in the table of docs/redis.md with what is true instead."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
ON_ENGINES = [*(TESTS / "conformance").glob("test_*.py"), *(TESTS / "redis").glob("test_*.py")]


def numbers_of(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def promised() -> set[int]:
    return {int(each) for each in re.findall(r"^(\d+)\. ", (DOCS / "promises.md").read_text("utf-8"), re.MULTILINE)}


def excepted() -> set[int]:
    _, _, section = (DOCS / "redis.md").read_text("utf-8").partition("## What is different")
    rows = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
    return {number for row in rows for number in numbers_of(row)}


def shown() -> set[int]:
    found: set[int] = set()
    for path in ON_ENGINES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "promise":
                found.update(ast.literal_eval(argument) for argument in node.args)
    return found


def test_every_promise_is_shown_on_both_engines_or_excepted() -> None:
    assert promised() - shown() - excepted() == set()


def test_every_exception_is_a_promise() -> None:
    assert excepted() <= promised()
