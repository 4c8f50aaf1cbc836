"""The steps of a codec: one for each node of a schema, for each direction.

`Any` is the union of all that CBOR carries unchanged. Where a value must be hashable, that is tuple and frozenset.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from .columns import Column, Step, Unsure, bounded_depth, type_check
from .schema import SCALARS, Kind, Node, Schema, reaches
from .unions import Choices

__all__ = ["Conversion", "Steps", "scalar_step"]

_CONTAINERS = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.MAP, Kind.RECORD})


@attrs.frozen(eq=False)
class Conversion:
    """One of the two directions, sending or receiving: what makes the step of each kind of node.

    Kinds that are not in `makers` are scalars that pass unchanged.
    """

    makers: Mapping[Kind, Callable[[Steps, int, Node], Step]]
    choices: Callable[[Schema, Node], Choices]
    complaint_of_untyped: Callable[[object], str]  # about a value that `Any` does not accept
    too_deep: str  # the complaint about too many levels
    is_far: Callable[[int], bool]  # by the depth of a container: whether it is left to the columns
    counted: bool  # whether what is converted is counted, since its parts may be shared

    def root_step(self, schema: Schema) -> Step:
        return Steps(schema, self).of(0)


@attrs.define(eq=False)
class Steps:
    """The steps for the nodes of one schema, made one by one."""

    schema: Schema
    conversion: Conversion
    untyped: bool = False
    made: dict[int, Step] = attrs.field(factory=dict[int, Step])

    def of(self, index: int) -> Step:
        if index not in self.made:
            # placeholder for recursive types: what is made meanwhile refers to the very object that is completed here
            step = self.made[index] = Step(
                lambda column, depth: step.column(column, depth), lambda value, depth: step.one(value, depth)
            )
            step.become(self.make(index, self.schema.nodes[index]))
        return self.made[index]

    def make(self, index: int, node: Node) -> Step:
        if node.kind is Kind.ANY:
            return _untyped_steps(self.conversion)[node.hashed]
        step = self.conversion.makers.get(node.kind, scalar_step)(self, index, node)
        if node.kind not in _CONTAINERS:
            return step
        parts = (*node.items, *(field.node for field in node.fields))
        recursive = any(reaches(self.schema.nodes, part, index) for part in parts)
        return bounded_depth(step, self.conversion.too_deep, recursive=recursive, counted=self.conversion.counted)

    def check(self, index: int, accepted: Iterable[type]) -> Callable[[Column], None]:
        return type_check(self.schema.text(index), accepted)


@functools.cache
def _untyped_steps(conversion: Conversion) -> tuple[Step, Step]:
    """The steps for `Any`, and for `Any` where it must be hashable."""
    steps = Steps(_untyped_schema(), conversion, untyped=True)
    return steps.of(0), steps.of(1)


def _untyped_schema() -> Schema:
    """What `Any` stands for: at 0, and where it must be hashable at 1."""
    scalars = [Node(kind, python=python) for python, kind in SCALARS.items()]
    common, first = tuple(range(2, 2 + len(scalars))), 2 + len(scalars)
    return Schema(
        (
            Node(Kind.UNION, (*common, first, first + 1, first + 2)),
            Node(Kind.UNION, (*common, first + 3, first + 4), hashed=True),
            *scalars,
            Node(Kind.LIST, (0,), python=list),
            Node(Kind.SET, (1,), python=set),
            Node(Kind.MAP, (1, 0), python=dict),
            Node(Kind.LIST, (1,), python=tuple),
            Node(Kind.SET, (1,), python=frozenset),
        )
    )


def scalar_step(steps: Steps, index: int, node: Node) -> Step:
    """Values that pass unchanged."""
    accepted = frozenset({node.python})
    check = steps.check(index, accepted)

    def convert(column: Column, _depth: int) -> Column:
        check(column)
        return column

    def one(value: Any, _depth: int) -> Any:
        if type(value) not in accepted:
            raise Unsure
        return value

    return Step(convert, one, accepted)
