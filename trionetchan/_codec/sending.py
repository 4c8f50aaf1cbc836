"""The steps of sending: from values to what cbor2 writes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

import typing_extensions

from .._errors import UnfitValue
from .columns import (
    Column,
    Step,
    Unsure,
    convert_elements,
    convert_part,
    convert_parts,
    label_of_element,
    label_of_key,
    label_of_value,
    map_each,
    regrouped,
)
from .describe import describe
from .hints import is_record
from .items import FREE_DEPTH, MAX_VALUE_DEPTH, TO_TAG, map_tag, set_tag
from .keys import all_plain, require_distinct_data, require_few_collisions
from .messages import got
from .schema import Kind, Node, python_types
from .shapes import literal_step, mapped_step, record_step, tuple_step, union_step
from .steps import Conversion, Steps
from .unions import choices_for_sending
from .walk import is_far

__all__ = ["SENDING"]

_LIST = frozenset({list})
_PLAIN_KEYS = frozenset({str, bytes})


def _send_tagged(steps: Steps, index: int, node: Node) -> Step:
    return mapped_step(steps, index, node.python, TO_TAG[node.kind])


def _send_literal(steps: Steps, index: int, node: Node) -> Step:
    return literal_step(steps, index, node.python, node.values)


def _send_list(steps: Steps, index: int, node: Node) -> Step:
    """Arrays of any length: list, tuple[…, ...], Sequence."""
    accepted = python_types(node)
    check, element = steps.check(index, accepted), steps.of(node.items[0])

    def convert(column: Column, depth: int) -> Column:
        check(column)
        flat, done = convert_parts(element.column, column, column, depth, label_of_element)
        return column if done is flat else list(regrouped(done, map(len, column)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or (depth >= FREE_DEPTH and is_far(depth)):
            raise Unsure
        return convert_elements(element, value if type(value) in _LIST else list(value), depth + 1)

    return Step(convert, one)


def _send_tuple(steps: Steps, index: int, node: Node) -> Step:
    return tuple_step(steps, index, node, node.python, tuple)


def _send_set(steps: Steps, index: int, node: Node) -> Step:
    accepted = python_types(node)
    check, element = steps.check(index, accepted), steps.of(node.items[0])

    def convert(column: Column, depth: int) -> Column:
        check(column)
        rows = map_each(require_few_collisions, map(list, column))
        flat, done = convert_parts(element.column, rows, rows, depth, label_of_element)
        if not all_plain(flat):
            map_each(require_distinct_data, rows, regrouped(done, map(len, rows)))
        return list(map(set_tag, regrouped(done, map(len, rows))))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or (depth >= FREE_DEPTH and is_far(depth)):
            raise Unsure
        elements = list(value)
        require_few_collisions(elements)
        done = convert_elements(element, elements, depth + 1)
        require_distinct_data(elements, done)
        return set_tag(done)

    return Step(convert, one)


def _send_map(steps: Steps, index: int, node: Node) -> Step:
    accepted = frozenset({dict})
    check = steps.check(index, accepted)
    key_step, value_step = map(steps.of, node.items)

    def convert(column: Column, depth: int) -> Column:
        check(column)
        keys, keys_done = convert_parts(key_step.column, column, column, depth, label_of_key)
        rows = (row.values() for row in column)
        values, values_done = convert_parts(value_step.column, column, rows, depth, label_of_value)
        plain = set(map(type, keys_done)) <= _PLAIN_KEYS
        if plain and keys_done is keys and values_done is values:
            return column
        sizes = list(map(len, column))
        if not plain:
            own_keys = map_each(require_few_collisions, map(list, column))
            map_each(require_distinct_data, own_keys, regrouped(keys_done, sizes))
        return list(map(_written_map, regrouped(keys_done, sizes), regrouped(values_done, sizes)))

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or (depth >= FREE_DEPTH and is_far(depth)):
            raise Unsure
        keys, values = list(value), list(value.values())
        keys_done = convert_elements(key_step, keys, depth + 1)
        values_done = convert_elements(value_step, values, depth + 1)
        if not set(map(type, keys_done)) <= _PLAIN_KEYS:
            require_few_collisions(keys)
            require_distinct_data(keys, keys_done)
        elif keys_done is keys and values_done is values:
            return value
        return _written_map(keys_done, values_done)

    return Step(convert, one)


def _written_map(keys: Sequence[Any], values: Sequence[Any]) -> Any:
    if set(map(type, keys)) <= _PLAIN_KEYS:
        return dict(zip(keys, values, strict=True))
    return map_tag(list(chain.from_iterable(zip(keys, values, strict=True))))


def _send_record(steps: Steps, index: int, node: Node) -> Step:
    if typing_extensions.is_typeddict(node.python):
        return record_step(steps, index, node, dict)
    return _send_object(steps, index, node)


def _send_object(steps: Steps, index: int, node: Node) -> Step:
    accepted = python_types(node)
    check = steps.check(index, accepted)
    names = [field.name for field in node.fields]
    fields = [(field.name, attrgetter(field.attribute), steps.of(field.node)) for field in node.fields]
    parts = [(get, step.column, f'field "{name}"') for name, get, step in fields]
    shortcuts = [(name, get, step.unchanged, step.one) for name, get, step in fields]

    def convert(column: Column, depth: int) -> Column:
        check(column)
        done = [convert_part(step, map_each(get, column), depth, label) for get, step, label in parts]
        return list(map(dict, map(zip, repeat(names), zip(*done, strict=True)))) if done else [{} for _ in column]

    def one(value: Any, depth: int) -> Any:
        if type(value) not in accepted or (depth >= FREE_DEPTH and is_far(depth)):
            raise Unsure
        row: dict[str, Any] = {}
        for name, get, unchanged, inner in shortcuts:
            part = get(value)
            row[name] = part if type(part) in unchanged else inner(part, depth + 1)
        return row

    return Step(convert, one)


def _complaint_of_untyped(value: object) -> str:
    try:
        found = describe(type(value)).nodes[0]
        reason = "" if found.kind is not Kind.ANY else "object cannot be carried"
    except UnfitValue as error:
        reason = str(error)
    complaint = f"{got(value)} would not arrive as it is"
    if not reason:
        return f"{complaint}: give the channel a value type for it"
    if is_record(type(value)):
        return f"{complaint}, and no value type can carry it: {reason}"
    return f"{complaint}, and no value type can carry it. {_CARRIED}"


_CARRIED = (
    "Without a value type, a channel carries None, bool, int, float, str, bytes, dates and times, Decimal, UUID, and"
    " lists, sets and dicts of them; with one, also tuples, enums, attrs classes and dataclasses"
)

SENDING = Conversion(
    {
        **dict.fromkeys(TO_TAG, _send_tagged),
        Kind.LITERAL: _send_literal,
        Kind.LIST: _send_list,
        Kind.TUPLE: _send_tuple,
        Kind.SET: _send_set,
        Kind.MAP: _send_map,
        Kind.UNION: union_step,
        Kind.RECORD: _send_record,
    },
    choices_for_sending,
    _complaint_of_untyped,
    f"more than {MAX_VALUE_DEPTH} levels of nesting: it holds itself, or is nested too deeply",
    is_far,
    counted=True,
)
