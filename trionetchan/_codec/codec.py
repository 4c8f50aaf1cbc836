"""Values of one type to CBOR bytes and back, strictly: what arrives equals what was sent, or it is refused.

Decisions:

- A codec is built from the schema of its type, once, when a name is bound; what the schema says is what is checked.
- It is a tree of steps on columns (`_columns`), one for each node, from values to what cbor2 writes (`_items`) or back.
- Types are exact. Nothing is coerced, no subclass passes, no unknown field.
- `Any` is the union of all that CBOR carries unchanged. Where a value must be hashable, that is tuple and frozenset.
- Of a union's members, one is chosen by a look at the value. Only where that leaves several are they tried, and those
  are never recursive.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar, cast

import attrs
import cbor2
import typing_extensions

from .._errors import UnfitValue, printable
from .columns import (
    Column,
    Misfit,
    Step,
    bounded_hashes,
    each,
    element_label,
    key_label,
    keys_of,
    many_parts,
    nested,
    one_part,
    regrouped,
    type_check,
    value_label,
    whole,
)
from .describe import describe, python_types
from .items import (
    COPY_ONCE,
    NEVER_COPY,
    TO_TAG,
    Bag,
    Pairs,
    got,
    join,
    lead,
    load,
    map_tag,
    quietly,
    set_tag,
    short,
    split,
)
from .schema import SCALARS, Heads, Kind, Node, Schema, heads, reaches

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")


@attrs.frozen
class Codec(Generic[T]):
    """The values of one type, a batch at a time. `codec_for` makes it."""

    value_type: Any
    schema: Schema = attrs.field(repr=str)
    _encoder: Step = attrs.field(repr=False, eq=False)
    _decoder: Step = attrs.field(repr=False, eq=False)

    def encode(self, values: list[T]) -> bytes:
        """One CBOR array of the values. `UnfitValue` if one does not fit, naming the part; then there is no result."""
        try:
            column = self._encoder(values, 0)
            if self.schema.nodes[0].kind is Kind.BYTES and sum(map(len, column)) > COPY_ONCE * len(column):
                return join(column)
            return cbor2.dumps(column)
        except Exception as error:
            raise _unfit(error) from None

    def encode_parts(self, values: list[T]) -> tuple[bytes, bytes]:
        """The same in two parts, one behind the other: a large bytes value stays where it is."""
        value: object = values[0] if len(values) == 1 and self.schema.nodes[0].python is bytes else None
        if type(value) is bytes and len(value) > NEVER_COPY:
            return lead(value), value
        return b"", self.encode(values)

    def decode(self, payload: bytes) -> list[T]:
        """The inverse, safe on what anybody sends: `UnfitValue` for whatever is wrong with it."""
        try:
            bulk = self.schema.nodes[0].kind is Kind.BYTES and len(payload) > COPY_ONCE
            column = split(payload) if bulk else load(payload)
            return self._decoder(column, 0)
        except Exception as error:
            raise _unfit(error) from None


def codec_for(value_type: Any) -> Codec[Any]:
    """A codec for a type. `UnfitValue` names the part of it that cannot be carried: `Job.callback: a function …`."""
    try:
        hash(value_type)
    except TypeError:
        return _make_codec.__wrapped__(value_type)
    return _make_codec(value_type)


@functools.lru_cache(maxsize=256)  # a thousand channels of one type share its codec
def _make_codec(value_type: Any) -> Codec[Any]:
    schema = describe(value_type)
    sending = _Coding(schema, _SENDING, _sent_choices)
    receiving = _Coding(schema, _RECEIVING, _received_choices)
    return Codec(value_type, schema, sending.step(0), receiving.step(0))


def _unfit(error: Exception) -> UnfitValue:
    if isinstance(error, UnfitValue):
        return UnfitValue(str(error))
    if isinstance(error, RecursionError):
        return UnfitValue("too deeply nested")
    return UnfitValue(printable(f"{type(error).__name__}: {quietly(str, error)}"))


# Steps

_WIRE_KINDS: dict[type, Kind] = {**SCALARS, list: Kind.LIST, dict: Kind.MAP, Pairs: Kind.MAP, Bag: Kind.SET}


@attrs.frozen
class _Choices:
    """Which members of a union a value may be of, at a look."""

    members: dict[type, list[int]]  # by the exact type of the value
    others: list[int]  # of all other types
    tests: dict[int, Callable[[Any], bool]] = attrs.field(
        factory=dict[int, Callable[[Any], bool]]
    )  # where there are several

    def of(self, value: object) -> list[int]:
        found = self.members.get(type(value), self.others)
        return [item for item in found if self.tests[item](value)] if len(found) > 1 and self.tests else found


@attrs.define
class _Coding:
    """The steps of one direction, made from a schema: `makers` and `choices` say which direction it is."""

    schema: Schema
    makers: dict[Kind, Callable[[_Coding, int, Node], Step]]
    choices: Callable[[Schema, Node], _Choices]
    untyped: bool = False
    steps: dict[int, Step] = attrs.field(factory=dict[int, Step])

    def step(self, index: int) -> Step:
        if index not in self.steps:
            self.steps[index] = lambda column, depth: self.steps[index](column, depth)  # for who needs it before it is
            self.steps[index] = self.make(index, self.schema.nodes[index])
        return self.steps[index]

    def make(self, index: int, node: Node) -> Step:
        if node.kind is Kind.ANY:
            return _Coding(_anything(), self.makers, self.choices, untyped=True).step(1 if node.hashed else 0)
        if node.kind is Kind.UNION:
            return self.union(index, node)
        if node.kind not in _CONTAINERS:
            return self.makers.get(node.kind, _scalar)(self, index, node)
        parts = (*node.items, *(field.node for field in node.fields))
        recursive = any(reaches(self.schema.nodes, part, index) for part in parts)
        if node.kind is Kind.RECORD and typing_extensions.is_typeddict(node.python):
            return nested(self.record(index, node, dict), shared=recursive)
        return nested(self.makers[node.kind](self, index, node), shared=recursive)

    def check(self, index: int, *accepted: type) -> Callable[[Column], None]:
        return type_check(self.schema.text(index), accepted)

    def keeps(self, node: Node, python: type) -> bool:
        """Do values of this type stay as they are in a step for this node?"""
        return (
            node.python is python and node.kind in SCALARS.values() and self.makers.get(node.kind) is not _send_tagged
        )

    def record(self, index: int, node: Node, build: Callable[..., Any]) -> Step:
        """Any record of named parts, some of which may be missing: from dicts to what is built of the parts."""
        check = self.check(index, dict)
        allowed = {field.name for field in node.fields}
        required = {field.name for field in node.fields if not field.may_be_missing}
        steps = [(f.name, f.attribute, f'field "{f.name}"', self.step(f.node)) for f in node.fields]

        def step(column: Column, depth: int) -> Column:
            check(column)
            for i, row in enumerate(column):
                if not required <= row.keys() <= allowed:
                    wrong = sorted(map(short, row.keys() ^ (allowed if row.keys() - allowed else required)))[:3]
                    raise Misfit(i, f"fields unknown or missing: {', '.join(wrong)}")
            built: list[dict[str, Any]] = [{} for _ in column]
            for name, attribute, part, inner in steps:
                places = [i for i, row in enumerate(column) if name in row]
                try:
                    done = one_part(inner, [column[i][name] for i in places], depth, part)
                except Misfit as misfit:
                    misfit.index = places[misfit.index]
                    raise
                for i, value in zip(places, done, strict=True):
                    built[i][attribute] = value
            return each(build, built)

        return step

    def union(self, index: int, node: Node) -> Step:
        choices = self.choices(self.schema, node)
        sole = {python: found[0] for python, found in choices.members.items() if len(found) == 1}
        plain = {python for python, member in sole.items() if self.keeps(self.schema.nodes[member], python)}
        steps = {member: self.step(member) for member in node.items}
        text = self.schema.text(index)

        def choose(value: Any, place: int, depth: int) -> int:
            found = choices.of(value)
            if len(found) == 1:
                return found[0]
            for member in found:
                try:
                    steps[member]([value], depth)
                except Misfit:
                    continue
                return member
            if self.untyped:
                raise Misfit(place, f"{got(value)} would not arrive as it is: give the channel a value type")
            raise Misfit(place, f"expected {text}, got {got(value)}")

        def step(column: Column, depth: int) -> Column:
            kinds = set(map(type, column))
            if kinds <= plain:
                return column
            if len(kinds) == 1 and (only := sole.get(kinds.pop())) is not None:
                return steps[only](column, depth)
            groups: dict[int, list[int]] = {}
            for place, (kind, value) in enumerate(zip(map(type, column), column, strict=True)):
                member = sole.get(kind)
                groups.setdefault(choose(value, place, depth) if member is None else member, []).append(place)
            result = list(column)
            changed = False
            for member, places in groups.items():
                group = [column[place] for place in places]
                try:
                    done = steps[member](group, depth)
                except Misfit as misfit:
                    misfit.index = places[misfit.index]
                    raise
                if done is not group:
                    changed = True
                    for place, value in zip(places, done, strict=True):
                        result[place] = value
            return result if changed else column

        return step


_CONTAINERS = frozenset({Kind.LIST, Kind.TUPLE, Kind.SET, Kind.MAP, Kind.RECORD})


def _anything() -> Schema:
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


def _scalar(coding: _Coding, index: int, node: Node) -> Step:
    check = coding.check(index, node.python)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return column

    return step


def _table(coding: _Coding, index: int, before: Sequence[object], after: Sequence[object]) -> Step:
    """Literals: from one form to the other. True, 1 and 1.0 are one key to Python: hence the types."""
    table = {(type(value), value): other for value, other in zip(before, after, strict=True)}
    check = coding.check(index, *(type(value) for value in before))
    text = coding.schema.text(index)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        try:
            return [table[type(value), value] for value in column]
        except KeyError:
            place = next(i for i, value in enumerate(column) if (type(value), value) not in table)
            raise Misfit(place, f"expected {text}, got {got(column[place])}") from None

    return step


def _fixed(coding: _Coding, index: int, node: Node, accepted: type, build: Callable[[Any], Any]) -> Step:
    """Tuples of known length, NamedTuples among them."""
    check = coding.check(index, accepted)
    steps = [(coding.step(item), f"element {i}") for i, item in enumerate(node.items)]

    def step(column: Column, depth: int) -> Column:
        check(column)
        for place, value in enumerate(column):
            if len(value) != len(steps):
                raise Misfit(place, f"expected {len(steps)} elements, got {len(value)}")
        columns = zip(*column, strict=True)
        done = [one_part(inner, list(part), depth, name) for (inner, name), part in zip(steps, columns, strict=True)]
        return each(build, zip(*done, strict=True) if done else ([()] * len(column)))

    return step


# Values to CBOR


def _sent_choices(schema: Schema, node: Node) -> _Choices:
    others = [item for item in node.items if schema.nodes[item].kind is Kind.ANY]
    members: dict[type, list[int]] = {}
    for item in node.items:
        if item not in others:
            for python in python_types(schema.nodes[item]):
                members.setdefault(python, []).append(item)
    return _Choices({python: found + others for python, found in members.items()}, others)


def _send_tagged(coding: _Coding, index: int, node: Node) -> Step:
    check, to_tag = coding.check(index, node.python), TO_TAG[node.kind]

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return each(to_tag, column)

    return step


def _send_literal(coding: _Coding, index: int, node: Node) -> Step:
    return _table(coding, index, node.python, node.values)


def _send_array(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, *python_types(node)), coding.step(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        flat, done = many_parts(element, column, column, depth, element_label)
        return column if done is flat else list(regrouped(done, map(len, column)))

    return step


def _send_tuple(coding: _Coding, index: int, node: Node) -> Step:
    return _fixed(coding, index, node, node.python, tuple)


def _send_set(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, *python_types(node)), coding.step(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        rows = each(bounded_hashes, map(list, column))
        _, done = many_parts(element, rows, rows, depth, element_label)
        return list(map(set_tag, regrouped(done, map(len, rows))))

    return step


def _send_map(coding: _Coding, index: int, node: Node) -> Step:
    check, key, value = coding.check(index, dict), coding.step(node.items[0]), coding.step(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> Any:
        if set(map(type, keys)) <= {str, bytes}:
            return dict(zip(keys, values, strict=True))
        return map_tag(list(chain.from_iterable(zip(keys, values, strict=True))))

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys, keys_done = many_parts(key, column, column, depth, key_label)
        values, values_done = many_parts(value, column, (row.values() for row in column), depth, value_label)
        plain = set(map(type, keys_done)) <= {str, bytes}
        if plain and keys_done is keys and values_done is values:
            return column
        if not plain:
            each(bounded_hashes, map(list, column))
        sizes = list(map(len, column))
        return list(map(build, regrouped(keys_done, sizes), regrouped(values_done, sizes)))

    return step


def _send_object(coding: _Coding, index: int, node: Node) -> Step:
    check = coding.check(index, node.python)
    names = [field.name for field in node.fields]
    steps = [(attrgetter(f.attribute), coding.step(f.node), f'field "{f.name}"') for f in node.fields]

    def step(column: Column, depth: int) -> Column:
        check(column)
        done = [one_part(inner, each(get, column), depth, part) for get, inner, part in steps]
        return list(map(dict, map(zip, repeat(names), zip(*done, strict=True)))) if done else [{} for _ in column]

    return step


_SENDING: dict[Kind, Callable[[_Coding, int, Node], Step]] = {
    **dict.fromkeys(TO_TAG, _send_tagged),
    Kind.LITERAL: _send_literal,
    Kind.LIST: _send_array,
    Kind.TUPLE: _send_tuple,
    Kind.SET: _send_set,
    Kind.MAP: _send_map,
    Kind.RECORD: _send_object,
}


# CBOR to values


def _received_choices(schema: Schema, node: Node) -> _Choices:
    members: dict[Kind, list[int]] = {kind: [] for kind in Kind}
    for item in node.items:
        for kind in heads(schema.nodes, item) or Kind:
            members[kind].append(item)
    tests = {item: _test(schema, item) for item in node.items}
    return _Choices({python: members[kind] for python, kind in _WIRE_KINDS.items()}, [], tests)


def _test(schema: Schema, index: int) -> Callable[[Any], bool]:
    """May data of the right kind be of this node, at a look? What `told_apart` counts on."""
    node = schema.nodes[index]

    def within(value: object, expected: Heads) -> bool:
        kind = _WIRE_KINDS.get(type(value))
        if kind is None or kind not in expected:
            return not expected
        values = expected[kind]
        return values is None or value in values

    if node.kind is Kind.LITERAL:
        return lambda value: within(value, heads(schema.nodes, index))
    if node.kind is Kind.TUPLE:
        return lambda value: len(value) == len(node.items)
    if node.kind is not Kind.RECORD:
        return lambda _value: True
    required = {field.name for field in node.fields if not field.may_be_missing}
    parts = {field.name: heads(schema.nodes, field.node) for field in node.fields}

    def test(row: dict[str, Any] | Pairs) -> bool:
        if isinstance(row, Pairs) or not required <= row.keys() <= parts.keys():
            return False
        return all(within(value, parts[name]) for name, value in row.items())

    return test


def _receive_bytes(coding: _Coding, index: int, node: Node) -> Step:
    check = coding.check(index, bytes)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return column if node.python is bytes else list(map(bytearray, column))

    return step


def _receive_literal(coding: _Coding, index: int, node: Node) -> Step:
    return _table(coding, index, node.values, node.python)


def _receive_array(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, list), coding.step(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        flat, done = many_parts(element, column, column, depth, element_label)
        if node.python is tuple:
            return list(map(tuple, regrouped(done, map(len, column))))
        return column if done is flat else list(regrouped(done, map(len, column)))

    return step


def _receive_tuple(coding: _Coding, index: int, node: Node) -> Step:
    def build(row: tuple[Any, ...]) -> Any:
        return node.python(*row)

    return _fixed(coding, index, node, list, tuple if node.python is tuple else build)


def _receive_set(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, Bag), coding.step(node.items[0])
    build = node.python if node.python in (set, frozenset) else frozenset

    def distinct(elements: Sequence[Any]) -> Any:
        return whole(build(bounded_hashes(elements)), elements)

    def step(column: Column, depth: int) -> Column:
        check(column)
        _, done = many_parts(element, column, column, depth, element_label)
        return each(distinct, regrouped(done, map(len, column)))

    return step


def _receive_map(coding: _Coding, index: int, node: Node) -> Step:
    check, key, value = coding.check(index, dict, Pairs), coding.step(node.items[0]), coding.step(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
        return cast("dict[Any, Any]", whole(dict(zip(bounded_hashes(keys), values, strict=True)), keys))

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys = list(map(keys_of, column))
        values = [row[1::2] if type(row) is Pairs else row.values() for row in column]
        flat_keys, keys_done = many_parts(key, column, keys, depth, key_label)
        flat_values, values_done = many_parts(value, column, values, depth, value_label)
        if keys_done is flat_keys and values_done is flat_values and set(map(type, column)) == {dict}:
            return column
        sizes = list(map(len, keys))
        return each(build, regrouped(keys_done, sizes), regrouped(values_done, sizes))

    return step


def _receive_object(coding: _Coding, index: int, node: Node) -> Step:
    cls, count = node.python, len(node.fields)
    check = coding.check(index, dict)
    arguments = {f.attribute: f.name for f in node.fields if f.init}
    if not attrs.has(cls):
        arguments = {name: name for name in arguments}
    others = [f.attribute for f in node.fields if not f.init]

    def build(parts: dict[str, Any]) -> Any:
        value = cls(**{name: parts[attribute] for attribute, name in arguments.items() if attribute in parts})
        for attribute in others:  # it was not the constructor's, but it is part of the value that was sent
            if attribute in parts:
                object.__setattr__(value, attribute, parts[attribute])
        return value

    slowly = coding.record(index, node, build)
    names = [field.name for field in node.fields]
    if not names or others or not _takes_in_order(cls, names):
        return slowly
    steps = [(itemgetter(f.name), coding.step(f.node), f'field "{f.name}"') for f in node.fields]

    def step(column: Column, depth: int) -> Column:
        check(column)
        if set(map(len, column)) != {count}:
            return slowly(column, depth)
        try:
            parts = [list(map(get, column)) for get, _, _ in steps]
        except KeyError:
            return slowly(column, depth)
        return each(
            cls, *(one_part(inner, part, depth, name) for (_, inner, name), part in zip(steps, parts, strict=True))
        )

    return step


def _takes_in_order(cls: type, names: list[str]) -> bool:
    """Does the class take just these arguments, by position?"""
    try:
        found = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    return [p.name for p in found] == names and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in found)


_RECEIVING: dict[Kind, Callable[[_Coding, int, Node], Step]] = {
    Kind.BYTES: _receive_bytes,
    Kind.LITERAL: _receive_literal,
    Kind.LIST: _receive_array,
    Kind.TUPLE: _receive_tuple,
    Kind.SET: _receive_set,
    Kind.MAP: _receive_map,
    Kind.RECORD: _receive_object,
}
