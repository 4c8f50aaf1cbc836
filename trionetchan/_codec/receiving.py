"""The steps of receiving: from what cbor2 has read to values. What arrives may be anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, cast

import attrs
import typing_extensions

from .columns import (
    Column,
    Step,
    Unsure,
    convert_elements,
    convert_part,
    convert_parts,
    keys_of,
    label_of_element,
    label_of_key,
    label_of_value,
    map_each,
    regrouped,
)
from .items import MAX_VALUE_DEPTH
from .keys import require_distinct, require_distinct_data, require_few_collisions
from .messages import got
from .reading import ReceivedMap, ReceivedSet
from .schema import Kind, Node
from .shapes import literal_step, mapped_step, record_step, tuple_step, union_step
from .steps import Conversion, Steps, scalar_step
from .unions import choices_for_receiving

__all__ = ["RECEIVING"]


def _receive_bytes(steps: Steps, index: int, node: Node) -> Step:
    return scalar_step(steps, index, node) if node.python is bytes else mapped_step(steps, index, bytes, bytearray)


def _receive_literal(steps: Steps, index: int, node: Node) -> Step:
    return literal_step(steps, index, node.values, node.python)


def _receive_list(steps: Steps, index: int, node: Node) -> Step:
    """Arrays of any length: list, or tuple[…, ...]."""
    accepted = frozenset({list})
    check, element = steps.check(index, accepted), steps.of(node.items[0])
    to_tuple = node.python is tuple

    def convert(column: Column, depth: int) -> Column:
        check(column)
        flat, done = convert_parts(element.column, column, column, depth, label_of_element)
        if to_tuple:
            return list(map(tuple, regrouped(done, map(len, column))))
        return column if done is flat else list(regrouped(done, map(len, column)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        done = convert_elements(element, value, depth + 1)
        return tuple(done) if to_tuple else done

    return Step(convert, one)


def _receive_tuple(steps: Steps, index: int, node: Node) -> Step:
    def build(row: Sequence[Any]) -> Any:
        return node.python(*row)

    return tuple_step(steps, index, node, list, tuple if node.python is tuple else build)


def _receive_set(steps: Steps, index: int, node: Node) -> Step:
    accepted = frozenset({ReceivedSet})
    check, element = steps.check(index, accepted), steps.of(node.items[0])
    python = node.python if node.python in (set, frozenset) else frozenset

    def build(received: Sequence[Any], elements: Sequence[Any]) -> Any:
        require_distinct_data(received, received)
        return require_distinct(python(require_few_collisions(elements)), elements)

    def convert(column: Column, depth: int) -> Column:
        check(column)
        _, done = convert_parts(element.column, column, column, depth, label_of_element)
        return map_each(build, column, regrouped(done, map(len, column)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        return build(value, convert_elements(element, value, depth + 1))

    return Step(convert, one)


def _receive_map(steps: Steps, index: int, node: Node) -> Step:
    accepted = frozenset({dict, ReceivedMap})
    check = steps.check(index, accepted)
    key_step, value_step = map(steps.of, node.items)

    def build(received: Sequence[Any], keys: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
        require_distinct_data(received, received)
        built = dict(zip(require_few_collisions(keys), values, strict=True))
        return cast("dict[Any, Any]", require_distinct(built, keys))

    def convert(column: Column, depth: int) -> Column:
        check(column)
        keys, values = list(map(keys_of, column)), map(_values_of, column)
        flat_keys, keys_done = convert_parts(key_step.column, column, keys, depth, label_of_key)
        flat_values, values_done = convert_parts(value_step.column, column, values, depth, label_of_value)
        if keys_done is flat_keys and values_done is flat_values and set(map(type, column)) == {dict}:
            return column
        sizes = list(map(len, keys))
        return map_each(build, keys, regrouped(keys_done, sizes), regrouped(values_done, sizes))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        keys, values = keys_of(value), list(_values_of(value))
        keys_done = convert_elements(key_step, keys, depth + 1)
        values_done = convert_elements(value_step, values, depth + 1)
        if keys_done is keys and values_done is values and type(value) is not ReceivedMap:
            return value
        return build(keys, keys_done, values_done)

    return Step(convert, one)


def _values_of(row: Any) -> Any:
    return row[1::2] if type(row) is ReceivedMap else row.values()


def _receive_record(steps: Steps, index: int, node: Node) -> Step:
    if typing_extensions.is_typeddict(node.python):
        return record_step(steps, index, node, dict)
    return _receive_object(steps, index, node)


def _receive_object(steps: Steps, index: int, node: Node) -> Step:
    with_missing = record_step(steps, index, node, _builder(node))
    names = [field.name for field in node.fields]
    if not names or not all(field.init for field in node.fields) or not _takes_in_order(node.python, names):
        return with_missing
    cls, count = node.python, len(names)
    accepted = frozenset({dict})
    check = steps.check(index, accepted)
    inner = [steps.of(field.node) for field in node.fields]
    parts = [(itemgetter(name), step.column, f'field "{name}"') for name, step in zip(names, inner, strict=True)]
    shortcuts = [(name, step.unchanged, step.one) for name, step in zip(names, inner, strict=True)]

    def convert(column: Column, depth: int) -> Column:
        check(column)
        if set(map(len, column)) != {count}:
            return with_missing.column(column, depth)
        try:
            columns = [list(map(get, column)) for get, _, _ in parts]
        except KeyError:
            return with_missing.column(column, depth)
        done = [convert_part(step, part, depth, label) for (_, step, label), part in zip(parts, columns, strict=True)]
        return map_each(cls, *done)

    def one(row: Any, depth: int) -> Any:
        if type(row) not in accepted or depth >= MAX_VALUE_DEPTH:
            raise Unsure
        if len(row) != count:
            return with_missing.one(row, depth)
        values: list[Any] = []
        for name, unchanged, inner in shortcuts:
            value = row[name]
            values.append(value if type(value) in unchanged else inner(value, depth + 1))
        return cls(*values)

    return Step(convert, one)


def _builder(node: Node) -> Callable[[dict[str, Any]], Any]:
    """What makes an object of its attributes, by name; those that are missing have a default."""
    cls = node.python
    is_attrs = attrs.has(cls)
    arguments = {f.attribute: f.name if is_attrs else f.attribute for f in node.fields if f.init}
    others = [f.attribute for f in node.fields if not f.init]

    def build(parts: dict[str, Any]) -> Any:
        value = cls(**{name: parts[attribute] for attribute, name in arguments.items() if attribute in parts})
        for attribute in others:  # it was not the constructor's, but it is part of the value that was sent
            if attribute in parts:
                object.__setattr__(value, attribute, parts[attribute])
        return value

    return build


def _takes_in_order(cls: type, names: list[str]) -> bool:
    """True if the class takes exactly these arguments, by position."""
    try:
        found = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    return [p.name for p in found] == names and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in found)


def _complaint_of_untyped(value: object) -> str:
    return f"expected data of the kinds that a channel carries, got {got(value)}"


RECEIVING = Conversion(
    {
        Kind.BYTES: _receive_bytes,
        Kind.LITERAL: _receive_literal,
        Kind.LIST: _receive_list,
        Kind.TUPLE: _receive_tuple,
        Kind.SET: _receive_set,
        Kind.MAP: _receive_map,
        Kind.UNION: union_step,
        Kind.RECORD: _receive_record,
    },
    choices_for_receiving,
    _complaint_of_untyped,
    f"more than {MAX_VALUE_DEPTH} levels of nesting",
    lambda depth: depth >= MAX_VALUE_DEPTH,
    counted=False,
)
