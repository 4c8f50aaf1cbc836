"""Every numbered promise of docs/promises.md has a test that names it, and every number that a test names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PROMISES = TESTS.parent / "docs" / "promises.md"


def promised() -> list[int]:
    return [int(number) for number in re.findall(r"^(\d+)\. ", PROMISES.read_text(encoding="utf-8"), re.MULTILINE)]


def named() -> set[int]:
    numbers: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "promise":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant)
                    assert isinstance(argument.value, int)
                    numbers.add(argument.value)
    return numbers


def test_promises_are_numbered_without_gaps() -> None:
    assert promised() == list(range(1, len(promised()) + 1))


def test_every_promise_has_a_test_and_every_test_a_promise() -> None:
    assert named() == set(promised())
