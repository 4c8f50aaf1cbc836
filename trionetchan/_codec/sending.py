"""The steps of sending: from values to what cbor2 writes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

from .columns import (
    Column,
    Step,
    convert_part,
    convert_parts,
    label_of_element,
    label_of_key,
    label_of_value,
    map_each,
    regrouped,
    require_few_collisions,
)
from .items import TO_TAG, map_tag, set_tag
from .schema import Kind, Node, python_types
from .steps import Conversion, Steps, literal_step, tuple_step
from .unions import choices_for_sending

__all__ = ["SENDING"]


def _send_tagged(steps: Steps, index: int, node: Node) -> Step:
    check, to_tag = steps.check(index, node.python), TO_TAG[node.kind]

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return map_each(to_tag, column)

    return step


def _send_literal(steps: Steps, index: int, node: Node) -> Step:
    return literal_step(steps, index, node.python, node.values)


def _send_array(steps: Steps, index: int, node: Node) -> Step:
    check, element = steps.check(index, *python_types(node)), steps.of(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        flat, done = convert_parts(element, column, column, depth, label_of_element)
        return column if done is flat else list(regrouped(done, map(len, column)))

    return step


def _send_tuple(steps: Steps, index: int, node: Node) -> Step:
    return tuple_step(steps, index, node, node.python, tuple)


def _send_set(steps: Steps, index: int, node: Node) -> Step:
    check, element = steps.check(index, *python_types(node)), steps.of(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        rows = map_each(require_few_collisions, map(list, column))
        _, done = convert_parts(element, rows, rows, depth, label_of_element)
        return list(map(set_tag, regrouped(done, map(len, rows))))

    return step


def _send_map(steps: Steps, index: int, node: Node) -> Step:
    check, key, value = steps.check(index, dict), steps.of(node.items[0]), steps.of(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> Any:
        if set(map(type, keys)) <= {str, bytes}:
            return dict(zip(keys, values, strict=True))
        return map_tag(list(chain.from_iterable(zip(keys, values, strict=True))))

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys, keys_done = convert_parts(key, column, column, depth, label_of_key)
        values, values_done = convert_parts(value, column, (row.values() for row in column), depth, label_of_value)
        plain = set(map(type, keys_done)) <= {str, bytes}
        if plain and keys_done is keys and values_done is values:
            return column
        if not plain:
            map_each(require_few_collisions, map(list, column))
        sizes = list(map(len, column))
        return list(map(build, regrouped(keys_done, sizes), regrouped(values_done, sizes)))

    return step


def _send_object(steps: Steps, index: int, node: Node) -> Step:
    check = steps.check(index, node.python)
    names = [field.name for field in node.fields]
    parts = [(attrgetter(f.attribute), steps.of(f.node), f'field "{f.name}"') for f in node.fields]

    def step(column: Column, depth: int) -> Column:
        check(column)
        done = [convert_part(inner, map_each(get, column), depth, label) for get, inner, label in parts]
        return list(map(dict, map(zip, repeat(names), zip(*done, strict=True)))) if done else [{} for _ in column]

    return step


SENDING = Conversion(
    {
        **dict.fromkeys(TO_TAG, _send_tagged),
        Kind.LITERAL: _send_literal,
        Kind.LIST: _send_array,
        Kind.TUPLE: _send_tuple,
        Kind.SET: _send_set,
        Kind.MAP: _send_map,
        Kind.RECORD: _send_object,
    },
    choices_for_sending,
)
