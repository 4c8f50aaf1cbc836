"""The steps of receiving: from what cbor2 has read to values. What arrives may be anything."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

import attrs

from .columns import (
    Column,
    Step,
    convert_part,
    convert_parts,
    keys_of,
    label_of_element,
    label_of_key,
    label_of_value,
    map_each,
    regrouped,
    require_distinct,
    require_few_collisions,
)
from .reading import ReceivedMap, ReceivedSet
from .schema import Kind, Node
from .steps import Conversion, Steps, literal_step, record_step, tuple_step
from .unions import choices_for_receiving

__all__ = ["RECEIVING"]


def _receive_bytes(steps: Steps, index: int, node: Node) -> Step:
    check = steps.check(index, bytes)

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return column if node.python is bytes else list(map(bytearray, column))

    return step


def _receive_literal(steps: Steps, index: int, node: Node) -> Step:
    return literal_step(steps, index, node.values, node.python)


def _receive_array(steps: Steps, index: int, node: Node) -> Step:
    check, element = steps.check(index, list), steps.of(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        flat, done = convert_parts(element, column, column, depth, label_of_element)
        if node.python is tuple:
            return list(map(tuple, regrouped(done, map(len, column))))
        return column if done is flat else list(regrouped(done, map(len, column)))

    return step


def _receive_tuple(steps: Steps, index: int, node: Node) -> Step:
    def build(row: tuple[Any, ...]) -> Any:
        return node.python(*row)

    return tuple_step(steps, index, node, list, tuple if node.python is tuple else build)


def _receive_set(steps: Steps, index: int, node: Node) -> Step:
    check, element = steps.check(index, ReceivedSet), steps.of(node.items[0])
    build = node.python if node.python in (set, frozenset) else frozenset

    def distinct(elements: Sequence[Any]) -> Any:
        return require_distinct(build(require_few_collisions(elements)), elements)

    def step(column: Column, depth: int) -> Column:
        check(column)
        _, done = convert_parts(element, column, column, depth, label_of_element)
        return map_each(distinct, regrouped(done, map(len, column)))

    return step


def _receive_map(steps: Steps, index: int, node: Node) -> Step:
    check, key, value = steps.check(index, dict, ReceivedMap), steps.of(node.items[0]), steps.of(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
        return cast(
            "dict[Any, Any]", require_distinct(dict(zip(require_few_collisions(keys), values, strict=True)), keys)
        )

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys = list(map(keys_of, column))
        values = [row[1::2] if type(row) is ReceivedMap else row.values() for row in column]
        flat_keys, keys_done = convert_parts(key, column, keys, depth, label_of_key)
        flat_values, values_done = convert_parts(value, column, values, depth, label_of_value)
        if keys_done is flat_keys and values_done is flat_values and set(map(type, column)) == {dict}:
            return column
        sizes = list(map(len, keys))
        return map_each(build, regrouped(keys_done, sizes), regrouped(values_done, sizes))

    return step


def _receive_object(steps: Steps, index: int, node: Node) -> Step:
    cls, count = node.python, len(node.fields)
    check = steps.check(index, dict)
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

    with_missing = record_step(steps, index, node, build)
    names = [field.name for field in node.fields]
    if not names or others or not _takes_in_order(cls, names):
        return with_missing
    fields = [(itemgetter(f.name), steps.of(f.node), f'field "{f.name}"') for f in node.fields]

    def step(column: Column, depth: int) -> Column:
        check(column)
        if set(map(len, column)) != {count}:
            return with_missing(column, depth)
        try:
            parts = [list(map(get, column)) for get, _, _ in fields]
        except KeyError:
            return with_missing(column, depth)
        return map_each(
            cls, *(convert_part(inner, part, depth, name) for (_, inner, name), part in zip(fields, parts, strict=True))
        )

    return step


def _takes_in_order(cls: type, names: list[str]) -> bool:
    """Does the class take just these arguments, by position?"""
    try:
        found = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return False
    return [p.name for p in found] == names and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in found)


RECEIVING = Conversion(
    {
        Kind.BYTES: _receive_bytes,
        Kind.LITERAL: _receive_literal,
        Kind.LIST: _receive_array,
        Kind.TUPLE: _receive_tuple,
        Kind.SET: _receive_set,
        Kind.MAP: _receive_map,
        Kind.RECORD: _receive_object,
    },
    choices_for_receiving,
)
