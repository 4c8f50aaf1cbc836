"""Mutants: small changes of a module's text, each of which is likely a bug. One change at a time.

What is not changed: texts, what an error says, annotations, docstrings and `__all__`: nothing depends on them that a
test should look at.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import cast

import attrs

__all__ = ["Mutant", "mutants_of", "sampled"]

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">"),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<"),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "+",
    ast.Pow: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitOr: "&",
    ast.BitAnd: "|",
    ast.BitXor: "&",
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@attrs.frozen(order=True)
class Mutant:
    """In this file, the bytes from `start` to `end` are replaced."""

    file: str
    start: int
    end: int
    new: bytes
    line: int = attrs.field(eq=False)
    last_line: int = attrs.field(eq=False)
    old: bytes = attrs.field(eq=False)

    def __str__(self) -> str:
        old, new = (" ".join(text.decode().split()) for text in (self.old, self.new))
        return f"{self.file}:{self.line}: {old} → {new}"

    def apply(self, source: bytes) -> bytes:
        """The changed text."""
        assert source[self.start : self.end] == self.old
        return source[: self.start] + self.new + source[self.end :]


def mutants_of(file: str, source: bytes) -> list[Mutant]:
    """All mutants of a module, in the order in which they stand in it."""
    return sorted(set(_Finder(file, source).found()))


def sampled(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them, evenly from beginning to end."""
    if count >= len(mutants):
        return list(mutants)
    step = len(mutants) / count
    first = Random(seed).random() * step
    return [mutants[int(first + place * step)] for place in range(count)]


class _Finder:
    """Goes through a module and finds what can be changed."""

    def __init__(self, file: str, source: bytes) -> None:
        self._file = file
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = [0, 0]

    def found(self) -> Iterator[Mutant]:
        yield from self._each(ast.parse(self._source))

    def _each(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.stmt):
            if _is_nothing_to_test(node):
                return
            # A statement is covered where its first line is; of one that holds others, only the head is changed.
            self._lines = [node.lineno, node.lineno if hasattr(node, "body") else node.end_lineno or node.lineno]
            yield from self._statement(node)
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return  # a text; or what must be so, as with `assert`
        elif isinstance(node, ast.expr):
            yield from self._expression(node)
            if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
                return  # a number with its sign is one
        lines = self._lines
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params", "bases"):
                continue
            for child in cast("list[object]", value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST) and not isinstance(node, ast.Raise):
                    self._lines = lines
                    yield from self._each(child)

    def _statement(self, node: ast.stmt) -> Iterator[Mutant]:
        match node:
            case ast.Expr(ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
                yield self._replaced(node, "pass")
            case ast.Raise() | ast.Delete() | ast.AugAssign():
                yield self._replaced(node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield self._replaced(node, "pass")
            case ast.Return(ast.Constant()):
                pass  # it is changed as a number, or as True and False
            case ast.Return(value) if value is not None:
                yield self._replaced(node, "return None")
            case ast.Return() | ast.Continue():
                yield self._replaced(node, "pass")
            case ast.Break():
                yield self._replaced(node, "continue")
            case ast.If(test) | ast.While(test) if not isinstance(test, ast.Compare | ast.UnaryOp):
                yield self._replaced(test, f"not ({self._text(test)})")
            case _:
                pass
        if isinstance(node, ast.AugAssign):
            yield from self._operator(node.target, node.op, node.value, "=")

    def _expression(self, node: ast.expr) -> Iterator[Mutant]:
        match node:
            case ast.Compare(left, operators, right):
                for before, operator, after in zip([left, *right], operators, right, strict=False):
                    for new in COMPARISONS[type(operator)]:
                        yield self._between(before, after, new)
            case ast.BoolOp(operator, values):
                for before, after in pairwise(values):
                    yield self._between(before, after, "or" if isinstance(operator, ast.And) else "and")
            case ast.UnaryOp(ast.Not(), operand):
                yield self._replaced(node, f"bool({self._text(operand)})")
            case ast.UnaryOp(ast.USub(), operand):
                yield self._replaced(node, self._text(operand))
            case ast.BinOp(left, operator, right) if not _is_type(node):
                yield from self._operator(left, operator, right)
            case ast.IfExp(test) if not isinstance(test, ast.Compare | ast.UnaryOp):
                yield self._replaced(test, f"not ({self._text(test)})")
            case ast.Constant(bool() as value):
                yield self._replaced(node, str(not value))
            case ast.Constant(int() | float() as value):
                yield self._replaced(node, str(value + 1))
            case ast.Call(ast.Name(name) as function) if name in FUNCTIONS:
                yield self._replaced(function, FUNCTIONS[name])
            case _:
                pass

    def _operator(self, left: ast.expr, operator: ast.operator, right: ast.expr, tail: str = "") -> Iterator[Mutant]:
        if type(operator) in OPERATORS:
            yield self._between(left, right, OPERATORS[type(operator)] + tail)

    # Places in the text

    def _at(self, line: int | None, column: int | None) -> int:
        assert line is not None
        assert column is not None
        return self._starts[line - 1] + column

    def _text(self, node: ast.expr) -> str:
        start = self._at(node.lineno, node.col_offset)
        return self._source[start : self._at(node.end_lineno, node.end_col_offset)].decode()

    def _replaced(self, node: ast.expr | ast.stmt, new: str) -> Mutant:
        return self._mutant(self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset), new)

    def _between(self, left: ast.expr, right: ast.expr, new: str) -> Mutant:
        """Another operator: what stands between two operands but for brackets."""
        start, end = self._at(left.end_lineno, left.end_col_offset), self._at(right.lineno, right.col_offset)
        text = self._source[start:end]
        inside = text.strip(b"() \n\t")
        start += text.index(inside)
        return self._mutant(start, start + len(inside), new)

    def _mutant(self, start: int, end: int, new: str) -> Mutant:
        first, last = self._lines
        return Mutant(self._file, start, end, new.encode(), first, last, self._source[start:end])


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_type(node: ast.BinOp) -> bool:
    """Whether it is a union of types, such as `Role | None`."""
    if not isinstance(node.op, ast.BitOr):
        return False
    return any(
        _is_none(side) or (isinstance(side, ast.Name | ast.Subscript) and ast.unparse(side)[0].isupper())
        for side in (node.left, node.right)
    )


def _is_nothing_to_test(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Expr(ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name("__all__")]):
            return True
        case ast.Assign(value=ast.Call(ast.Name("TypeVar"))):
            return True
        case _:
            return False
