"""Values of one type to CBOR bytes and back, strictly: what arrives equals what was sent, or it is refused.

Decisions:

- A codec is built from the schema of its type, once, when a name is bound; what the schema says is what is checked.
- It works on columns. All values of a batch are checked at once, then the first fields of all, then all elements of all
  lists: `set(map(type, column))` is the cheapest check there is, and little of it is Python code that runs per value.
  A part that does not fit says its place in its column; each floor above translates that into its own.
- Types are exact. Nothing is coerced, no subclass passes, no unknown field, no tag that is not listed here.
- Between here and cbor2 there are None, bool, int, float, str, bytes, list, dict with text and bytes keys, and tags:
  0 aware datetime, 37 UUID, 258 set, 1004 date, 27 [name, …] for all else: "local-datetime", "time", "duration",
  "decimal", "map" (a dict with other keys, as a list of keys and values in turn).
- So no set or dict is built of keys that a peer chose before it was checked that few of them share a hash.
- `Any` is the union of all that CBOR carries unchanged. Where a value must be hashable, that is tuple and frozenset.
"""

from __future__ import annotations

import functools
import inspect
import io
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice, repeat
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import attrs
import cbor2
import typing_extensions

from ._errors import UnfitValue, printable
from ._schema import SCALARS, Heads, Kind, Node, Schema, describe, heads, python_types, reaches

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")

Column = list[Any]
Step = Callable[[Column, int], Column]  # a column of values, and how deep it is, to a column of as many others

_MAX_DEPTH = 64  # containers in each other
_MAX_CBOR_DEPTH = 1 + 3 * _MAX_DEPTH + 2  # the batch; a map with other keys is a tag and two arrays
_MAX_COLLISIONS = 64  # keys of one hash
_MAX_EXPONENT = 999_999  # of a Decimal: what Python's default context allows; an int() of more would take for ever
_COPY_ONCE = 4096  # mean size of bytes values from which they are joined and cut by hand


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
            if self.schema.nodes[0].kind is Kind.BYTES and sum(map(len, column)) > _COPY_ONCE * len(column):
                return _join(column)
            return cbor2.dumps(column)
        except Exception as error:
            raise _unfit(error) from None

    def decode(self, payload: bytes) -> list[T]:
        """The inverse, safe on what anybody sends: `UnfitValue` for whatever is wrong with it."""
        try:
            bulk = self.schema.nodes[0].kind is Kind.BYTES and len(payload) > _COPY_ONCE
            column = _split(payload) if bulk else _load(payload)
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
    return UnfitValue(printable(f"{type(error).__name__}: {_quietly(str, error)}"))


class _Misfit(UnfitValue):
    """Something in a column does not fit. On its way up it gathers the path to it."""

    def __init__(self, index: int, complaint: str) -> None:
        super().__init__(complaint)
        self.index = index
        self.complaint = complaint
        self.path: list[str] = []

    def __str__(self) -> str:
        path = self.path[::-1]
        if len(path) > 8:
            path[4:-4] = ["…"]
        return f"{', '.join(path)}: {self.complaint}" if path else self.complaint


def _quietly(function: Callable[[Any], str], value: Any) -> str:
    """A user's repr or str may raise; so does that of an int of thousands of digits."""
    try:
        return function(value)
    except Exception:
        return "…"


def _got(value: Any) -> str:
    name = "set" if isinstance(value, _Bag) else "dict" if isinstance(value, _Pairs) else type(value).__name__
    return "None" if value is None else f"{name} {_short(value)}"


def _short(value: Any) -> str:
    return printable(_quietly(reprlib.Repr().repr, value), 60)


# CBOR


class _Bag(list[Any]):
    """A set as it comes: its elements, not hashed yet."""


class _Pairs(list[Any]):
    """A map as it comes, where keys are not only text and bytes: keys and values in turn."""


def _load(payload: bytes) -> Column:
    stream = io.BytesIO(payload)
    decoder = cbor2.CBORDecoder(
        stream,
        tag_hook=_refused,
        semantic_decoders=_TAGS,
        max_depth=_MAX_CBOR_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    column: Column = decoder.decode()
    if type(column) is not list or stream.read(1):
        raise UnfitValue("not one array of values")
    return column


def _refused(_value: Any, _immutable: bool) -> Any:
    raise ValueError("a tag that no value has")


def _demand(fact: object) -> None:
    if not fact:
        raise ValueError("malformed")


_DAY = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d{1,6})?"
_OFFSET = r"(?:Z|[+-]\d\d:\d\d)"


def _parsed(text: Any, pattern: str, parse: Callable[[str], Any], fold: Any = 0) -> Any:
    _demand(type(text) is str and re.fullmatch(pattern, text, re.ASCII) and type(fold) is int and fold in (0, 1))
    value = parse(text)
    return value.replace(fold=1) if fold else value


def _from_instant(text: Any, _immutable: bool) -> datetime:
    return cast("datetime", _parsed(text, f"{_DAY}T{_CLOCK}{_OFFSET}", datetime.fromisoformat))


def _from_date(text: Any, _immutable: bool) -> date:
    return cast("date", _parsed(text, _DAY, date.fromisoformat))


def _from_uuid(data: Any, _immutable: bool) -> UUID:
    _demand(type(data) is bytes)
    return UUID(bytes=data)


def _from_set(elements: Any, _immutable: bool) -> _Bag:
    _demand(type(elements) is list)
    return _Bag(cast("list[Any]", elements))


def _from_named(entry: Any, _immutable: bool) -> Any:
    _demand(type(entry) is list and len(entry) in (2, 3))
    name, argument, *fold = cast("list[Any]", entry)
    if name in ("local-datetime", "time"):
        pattern, parse = (f"{_DAY}T{_CLOCK}", datetime) if name == "local-datetime" else (f"{_CLOCK}{_OFFSET}?", time)
        return _parsed(argument, pattern, parse.fromisoformat, *fold)
    _demand(not fold)
    if name == "duration":
        _demand(type(argument) is int)
        return timedelta(microseconds=argument)
    if name == "decimal":
        _demand(type(argument) is str)
        value = Decimal(argument)
        _demand(_decimal_text(value) == argument)
        return value
    _demand(name == "map" and type(argument) is list and len(argument) % 2 == 0)
    return _Pairs(argument)


# All that cbor2 would decode by itself is named; it leaves the rest to tag_hook. 2 and 3, large ints, are left to it.
_TAGS: dict[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys((1, 4, 5, 25, 28, 29, 30, 35, 36, 52, 54, 100, 256, 260, 261, 43000, 55799), _refused),
    0: _from_instant,
    27: _from_named,
    37: _from_uuid,
    258: _from_set,
    1004: _from_date,
}


def _named(name: str, argument: Any, fold: int = 0) -> cbor2.CBORTag:
    return cbor2.CBORTag(27, [name, argument, 1] if fold else [name, argument])


def _has_offset(value: datetime | time) -> bool:
    offset = value.utcoffset()
    if value.tzinfo is not None and (offset is None or offset % timedelta(minutes=1)):
        raise ValueError(f"{_short(value)}: its UTC offset cannot be carried, it is none of whole minutes")
    return offset is not None


def _datetime_tag(value: datetime) -> cbor2.CBORTag:
    if _has_offset(value):
        return cbor2.CBORTag(0, value.isoformat())
    return _named("local-datetime", value.isoformat(), value.fold)


def _time_tag(value: time) -> cbor2.CBORTag:
    _has_offset(value)
    return _named("time", value.isoformat(), value.fold)


def _duration_tag(value: timedelta) -> cbor2.CBORTag:
    return _named("duration", value // timedelta(microseconds=1))


def _decimal_text(value: Decimal) -> str:
    if value.is_finite() and abs(value.as_tuple().exponent) > _MAX_EXPONENT:  # type: ignore[arg-type]
        raise ValueError(f"the exponent of a Decimal is beyond {_MAX_EXPONENT}")
    return str(value)


_TO_TAG: dict[Kind, Callable[[Any], Any]] = {
    Kind.DATETIME: _datetime_tag,
    Kind.DATE: lambda value: cbor2.CBORTag(1004, value.isoformat()),
    Kind.TIME: _time_tag,
    Kind.DURATION: _duration_tag,
    Kind.DECIMAL: lambda value: _named("decimal", _decimal_text(value)),
    Kind.UUID: lambda value: cbor2.CBORTag(37, value.bytes),
}


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    size = (argument.bit_length() + 7) // 8
    code = 0 if size < 2 else 1 if size < 3 else 2 if size < 5 else 3
    return bytes((major << 5 | 24 + code,)) + argument.to_bytes(1 << code)


def _join(column: Sequence[bytes | bytearray]) -> bytes:
    """An array of large byte strings, copied once: cbor2 is ten times as slow."""
    return b"".join([_head(4, len(column)), *chain.from_iterable((_head(2, len(value)), value) for value in column)])


def _split(payload: bytes) -> Column:
    """The inverse; what is not an array of large byte strings and nothing else is left to cbor2."""

    def head(major: int, at: int) -> tuple[int, int]:
        code = payload[at] - (major << 5)
        if 0 <= code < 24:
            return code, at + 1
        _demand(24 <= code < 28)
        end = at + 1 + (1 << code - 24)
        return int.from_bytes(payload[at + 1 : end]), end

    try:
        count, at = head(4, 0)
        _demand(count * _COPY_ONCE < len(payload))
        column: Column = []
        for _ in range(count):
            size, at = head(2, at)
            column.append(payload[at : at + size])
            at += size
        _demand(at == len(payload))
    except (IndexError, ValueError):
        return _load(payload)
    return column


# Steps


def _check(expected: str, accepted: Iterable[type]) -> Callable[[Column], None]:
    """A check that the types in a column are exactly these."""
    allowed = frozenset(accepted)

    def check(column: Column) -> None:
        if not set(map(type, column)) <= allowed:
            index = next(i for i, value in enumerate(column) if type(value) not in allowed)
            raise _Misfit(index, f"expected {expected}, got {_got(column[index])}")

    return check


def _each(function: Callable[..., Any], *columns: Iterable[Any]) -> Column:
    """`map`, where it may fail."""
    columns = tuple(map(list, columns))
    try:
        return list(map(function, *columns))
    except Exception:
        for index, row in enumerate(zip(*columns, strict=True)):
            try:
                function(*row)
            except Exception as error:
                complaint = _quietly(str, error) or type(error).__name__
                raise _Misfit(index, printable(complaint)) from None
        raise


def _part(step: Step, column: Column, depth: int, part: str) -> Column:
    """One part of every value: a field, an element of a tuple."""
    try:
        return step(column, depth + 1)
    except _Misfit as misfit:
        misfit.path.append(part)
        raise


def _parts(
    step: Step, column: Column, rows: Iterable[Iterable[Any]], depth: int, label: Callable[[Any, int], str]
) -> tuple[Column, Column]:
    """Many parts of every value, one after the other; and what became of them: the very same column if nothing did."""
    flat = list(chain.from_iterable(rows))
    try:
        return flat, step(flat, depth + 1)
    except _Misfit as misfit:
        index = misfit.index
        for misfit.index, row in enumerate(column):
            size = len(row) // 2 if type(row) is _Pairs else len(row)
            if index < size:
                misfit.path.append(label(row, index))
                break
            index -= size
        raise


def _element(_row: Any, index: int) -> str:
    return f"element {index}"


def _keys_of(row: Any) -> list[Any]:
    return list(row[::2] if type(row) is _Pairs else row)


def _key(row: Any, index: int) -> str:
    return f"key {_short(_keys_of(row)[index])}"


def _value(row: Any, index: int) -> str:
    return f"value of {_short(_keys_of(row)[index])}"


def _regrouped(flat: Iterable[Any], sizes: Iterable[int]) -> Iterator[list[Any]]:
    rest = iter(flat)
    return (list(islice(rest, size)) for size in sizes)


def _hashes(keys: Sequence[Any]) -> Sequence[Any]:
    """Keys whose hashing takes bounded time. The sender's are held to it too: what leaves must be able to arrive."""
    if len(keys) > _MAX_COLLISIONS and max(Counter(map(hash, keys)).values()) > _MAX_COLLISIONS:
        raise ValueError("too many keys or elements of one hash")
    return keys


def _whole(built: Any, keys: Sequence[Any]) -> Any:
    if len(built) != len(keys):
        raise ValueError("a key or element twice")
    return built


def _nested(step: Step, *, shared: bool) -> Step:
    """A step for a container: bounds depth, and ends the descent where there are no values left."""

    def nested(column: Column, depth: int) -> Column:
        if not column:
            return column
        if depth >= _MAX_DEPTH:
            raise _Misfit(0, f"more than {_MAX_DEPTH} levels of nesting")
        if shared and len(column) > 64:
            # a value that holds itself more than once would grow at every level: look at each object once
            single = {id(value): value for value in column}
            if 2 * len(single) < len(column):
                done = dict(zip(single, step(list(single.values()), depth), strict=True))
                return [done[id(value)] for value in column]
        return step(column, depth)

    return nested


_WIRE_KINDS: dict[type, Kind] = {**SCALARS, list: Kind.LIST, dict: Kind.MAP, _Pairs: Kind.MAP, _Bag: Kind.SET}


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
            return _nested(self.record(index, node, dict), shared=recursive)
        return _nested(self.makers[node.kind](self, index, node), shared=recursive)

    def check(self, index: int, *accepted: type) -> Callable[[Column], None]:
        return _check(self.schema.text(index), accepted)

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
                    wrong = sorted(map(_short, row.keys() ^ (allowed if row.keys() - allowed else required)))[:3]
                    raise _Misfit(i, f"fields unknown or missing: {', '.join(wrong)}")
            built: list[dict[str, Any]] = [{} for _ in column]
            for name, attribute, part, inner in steps:
                places = [i for i, row in enumerate(column) if name in row]
                try:
                    done = _part(inner, [column[i][name] for i in places], depth, part)
                except _Misfit as misfit:
                    misfit.index = places[misfit.index]
                    raise
                for i, value in zip(places, done, strict=True):
                    built[i][attribute] = value
            return _each(build, built)

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
                except _Misfit:
                    continue
                return member
            if self.untyped:
                raise _Misfit(place, f"{_got(value)} would not arrive as it is: give the channel a value type")
            raise _Misfit(place, f"expected {text}, got {_got(value)}")

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
                except _Misfit as misfit:
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
            raise _Misfit(place, f"expected {text}, got {_got(column[place])}") from None

    return step


def _fixed(coding: _Coding, index: int, node: Node, accepted: type, build: Callable[[Any], Any]) -> Step:
    """Tuples of known length, NamedTuples among them."""
    check = coding.check(index, accepted)
    steps = [(coding.step(item), f"element {i}") for i, item in enumerate(node.items)]

    def step(column: Column, depth: int) -> Column:
        check(column)
        for place, value in enumerate(column):
            if len(value) != len(steps):
                raise _Misfit(place, f"expected {len(steps)} elements, got {len(value)}")
        columns = zip(*column, strict=True)
        done = [_part(inner, list(part), depth, name) for (inner, name), part in zip(steps, columns, strict=True)]
        return _each(build, zip(*done, strict=True) if done else ([()] * len(column)))

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
    check, to_tag = coding.check(index, node.python), _TO_TAG[node.kind]

    def step(column: Column, _depth: int) -> Column:
        check(column)
        return _each(to_tag, column)

    return step


def _send_literal(coding: _Coding, index: int, node: Node) -> Step:
    return _table(coding, index, node.python, node.values)


def _send_array(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, *python_types(node)), coding.step(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        flat, done = _parts(element, column, column, depth, _element)
        return column if done is flat else list(_regrouped(done, map(len, column)))

    return step


def _send_tuple(coding: _Coding, index: int, node: Node) -> Step:
    return _fixed(coding, index, node, node.python, tuple)


def _send_set(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, *python_types(node)), coding.step(node.items[0])

    def step(column: Column, depth: int) -> Column:
        check(column)
        rows = _each(_hashes, map(list, column))
        _, done = _parts(element, rows, rows, depth, _element)
        return [cbor2.CBORTag(258, row) for row in _regrouped(done, map(len, rows))]

    return step


def _send_map(coding: _Coding, index: int, node: Node) -> Step:
    check, key, value = coding.check(index, dict), coding.step(node.items[0]), coding.step(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> Any:
        if set(map(type, keys)) <= {str, bytes}:
            return dict(zip(keys, values, strict=True))
        return _named("map", list(chain.from_iterable(zip(keys, values, strict=True))))

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys, keys_done = _parts(key, column, column, depth, _key)
        values, values_done = _parts(value, column, (row.values() for row in column), depth, _value)
        plain = set(map(type, keys_done)) <= {str, bytes}
        if plain and keys_done is keys and values_done is values:
            return column
        if not plain:
            _each(_hashes, map(list, column))
        sizes = list(map(len, column))
        return list(map(build, _regrouped(keys_done, sizes), _regrouped(values_done, sizes)))

    return step


def _send_object(coding: _Coding, index: int, node: Node) -> Step:
    check = coding.check(index, node.python)
    names = [field.name for field in node.fields]
    steps = [(attrgetter(f.attribute), coding.step(f.node), f'field "{f.name}"') for f in node.fields]

    def step(column: Column, depth: int) -> Column:
        check(column)
        done = [_part(inner, _each(get, column), depth, part) for get, inner, part in steps]
        return list(map(dict, map(zip, repeat(names), zip(*done, strict=True)))) if done else [{} for _ in column]

    return step


_SENDING: dict[Kind, Callable[[_Coding, int, Node], Step]] = {
    **dict.fromkeys(_TO_TAG, _send_tagged),
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

    def test(row: dict[str, Any] | _Pairs) -> bool:
        if isinstance(row, _Pairs) or not required <= row.keys() <= parts.keys():
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
        flat, done = _parts(element, column, column, depth, _element)
        if node.python is tuple:
            return list(map(tuple, _regrouped(done, map(len, column))))
        return column if done is flat else list(_regrouped(done, map(len, column)))

    return step


def _receive_tuple(coding: _Coding, index: int, node: Node) -> Step:
    def build(row: tuple[Any, ...]) -> Any:
        return node.python(*row)

    return _fixed(coding, index, node, list, tuple if node.python is tuple else build)


def _receive_set(coding: _Coding, index: int, node: Node) -> Step:
    check, element = coding.check(index, _Bag), coding.step(node.items[0])
    build = node.python if node.python in (set, frozenset) else frozenset

    def distinct(elements: Sequence[Any]) -> Any:
        return _whole(build(_hashes(elements)), elements)

    def step(column: Column, depth: int) -> Column:
        check(column)
        _, done = _parts(element, column, column, depth, _element)
        return _each(distinct, _regrouped(done, map(len, column)))

    return step


def _receive_map(coding: _Coding, index: int, node: Node) -> Step:
    check, key, value = coding.check(index, dict, _Pairs), coding.step(node.items[0]), coding.step(node.items[1])

    def build(keys: Sequence[Any], values: Sequence[Any]) -> dict[Any, Any]:
        return cast("dict[Any, Any]", _whole(dict(zip(_hashes(keys), values, strict=True)), keys))

    def step(column: Column, depth: int) -> Column:
        check(column)
        keys = list(map(_keys_of, column))
        values = [row[1::2] if type(row) is _Pairs else row.values() for row in column]
        flat_keys, keys_done = _parts(key, column, keys, depth, _key)
        flat_values, values_done = _parts(value, column, values, depth, _value)
        if keys_done is flat_keys and values_done is flat_values and set(map(type, column)) == {dict}:
            return column
        sizes = list(map(len, keys))
        return _each(build, _regrouped(keys_done, sizes), _regrouped(values_done, sizes))

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
        return _each(
            cls, *(_part(inner, part, depth, name) for (_, inner, name), part in zip(steps, parts, strict=True))
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
