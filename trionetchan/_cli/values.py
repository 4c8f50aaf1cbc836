"""Values as lines of JSON and back, as the type of their channel says.

    type                    JSON
    None, bool, int, text   as they are
    float                   a number; "NaN", "Infinity", "-Infinity"
    bytes                   text: base64
    datetime, date, time    text: ISO 8601
    timedelta               text: "PT1.5S", in seconds
    Decimal, UUID           text
    list, tuple, set        an array
    dict                    an object; with other keys than text, an array of [key, value]
    attrs class and others  an object

Where that would not tell which member of a union a value is of, or what it is if its type is `Any`, the kind is written
with it: {"$bytes": "AAE="}. What is written is read back as the same value.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import UUID

from ..observation import TypeNode
from .show import escaped

__all__ = ["UNTYPED", "Misfit", "Values"]

UNTYPED = [TypeNode(kind="any")]


class Misfit(Exception):
    """A text that is no value of the type. The message begins with the way to the part that does not fit."""

    def within(self, part: str) -> Misfit:
        return Misfit(f"{part}{'' if str(self).startswith(('[', ':')) else '.'}{self}".replace(".:", ":"))


def _misfit(expected: str, got: object) -> Misfit:
    return Misfit(f": expected {expected}, got {_short(got)}")


def _short(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False, default=repr)
    return escaped(text if len(text) <= 60 else text[:59] + "…")


class Values:
    """The values of one type."""

    def __init__(self, nodes: Sequence[TypeNode] = UNTYPED) -> None:
        self._nodes = nodes

    def line(self, value: object) -> str:
        """A value as one line of JSON. What is not printable is escaped."""
        return escaped(json.dumps(self.write(value), ensure_ascii=False))

    def value(self, line: str) -> Any:
        """The value that a line of JSON stands for. `Misfit` if it stands for none."""
        try:
            data = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
            return self.read(data)
        except json.JSONDecodeError as error:
            raise Misfit(f"expected JSON, got {error.msg} at character {error.pos + 1}") from None
        except RecursionError:
            raise Misfit("expected a value, got one that is too deeply nested") from None
        except Misfit as error:
            raise Misfit(str(error).removeprefix(": ")) from None
        except ValueError as error:  # such as a number of more digits than Python reads
            raise Misfit(f"expected JSON, got: {error}") from None

    # Values to JSON

    def write(self, value: object, index: int = 0) -> Any:
        node = self._nodes[index]
        if node.kind == "union":
            return self._write_member(value, index)
        if node.kind == "any":
            return _write_any(value)
        if node.kind == "record":
            types = {field.name: field.type for field in node.fields}
            record = cast("Mapping[str, object]", value)
            return {name: self.write(part, types[name]) for name, part in record.items() if name in types}
        if node.kind == "map":
            pairs = cast("Mapping[object, object]", value).items()
            written = [[self.write(key, node.items[0]), self.write(part, node.items[1])] for key, part in pairs]
            return dict(written) if self._has_text_keys(node) else written
        if node.kind in ("list", "set"):
            return [self.write(element, node.items[0]) for element in cast("Sequence[object]", value)]
        if node.kind == "tuple":
            return [self.write(*part) for part in zip(cast("Sequence[object]", value), node.items, strict=True)]
        return _write_scalar(value)

    def _write_member(self, value: object, index: int) -> Any:
        item = next(item for item in self._nodes[index].items if self._is(value, item))
        written = self.write(value, item)
        try:
            if _same(self.read(written, index), value):
                return written
        except Misfit:
            pass
        return {f"${_kind_of(value)}": written}

    def _is(self, value: object, index: int) -> bool:
        """Whether a value may be of this type: a look at it, as the library takes, tells."""
        node = self._nodes[index]
        if node.kind == "literal":
            return any(_same(value, literal) for literal in node.values)
        if node.kind == "record" and isinstance(value, dict):
            fields = {field.name: field for field in node.fields}
            present = cast("dict[object, object]", value)
            if not node.ignores_others and not present.keys() <= fields.keys():
                return False
            return all(
                self._is(present[name], field.type) if name in present else field.may_be_missing
                for name, field in fields.items()
            )
        if node.kind == "tuple" and isinstance(value, list):
            parts = cast("list[object]", value)
            return len(parts) == len(node.items) and all(map(self._is, parts, node.items))
        if node.kind == "union":
            return any(self._is(value, item) for item in node.items)
        return node.kind == "any" or _kind_of(value) == {"tuple": "list", "record": "map"}.get(node.kind, node.kind)

    def _has_text_keys(self, node: TypeNode) -> bool:
        key = self._nodes[node.items[0]]
        return key.kind == "text" or (key.kind == "literal" and all(isinstance(value, str) for value in key.values))

    # JSON to values

    def read(self, data: Any, index: int = 0, *, exact: bool = False) -> Any:
        """`exact`: a whole number is no float, since there may be a member of a union that it fits better."""
        node = self._nodes[index]
        if node.kind == "union":
            return self._read_member(data, index)
        if node.kind == "any":
            return _read_any(data)
        if node.kind == "record":
            return self._read_record(data, node)
        if node.kind == "map":
            return self._read_map(data, node)
        if node.kind in ("list", "set", "tuple"):
            elements = self._read_elements(data, node)
            return set(map(_hashable, elements)) if node.kind == "set" else elements
        if node.kind == "literal":
            for value in node.values:
                if _same(_write_scalar(value), data):
                    return value
            raise _misfit(f"one of {', '.join(_short(_write_scalar(value)) for value in node.values)}", data)
        if node.kind == "float" and type(data) is int and not exact:
            return float(data)
        return _read_scalar(node.kind, data)

    def _read_member(self, data: Any, index: int) -> Any:
        """A value of a union: of the member that is named, or of the only one that it fits."""
        items = self._nodes[index].items
        kind, inner = _tagged(data)
        if kind is not None:
            named = [item for item in items if self._kinds(item) & {kind, "any"}]
            if named:
                items, data = named, inner if self._nodes[named[0]].kind != "any" else data
        if data is not None and len(items) > 1:
            items = [item for item in items if self._nodes[item].kind != "null"]
        for exact in (True, False):
            found, errors = self._try(data, items, exact=exact)
            if len(found) == 1:
                return found[0]
            if found:
                kinds = " or ".join(sorted({_kind_of(value) for value in found}))
                raise Misfit(f': may be {kinds}: say which, as {{"${_kind_of(found[0])}": {_short(data)}}}')
        if len(errors) == 1:
            raise errors[0]
        raise Misfit(
            ": fits no member of the union" + "".join(f"; {str(error).removeprefix(': ')}" for error in errors)
        )

    def _try(self, data: Any, items: Sequence[int], *, exact: bool) -> tuple[list[Any], list[Misfit]]:
        found: list[Any] = []
        errors: list[Misfit] = []
        for item in items:
            try:
                value = self.read(data, item, exact=exact)
            except Misfit as error:
                errors.append(error)
            else:
                if not any(_same(value, other) for other in found):
                    found.append(value)
        return found, errors

    def _kinds(self, index: int) -> set[str]:
        node = self._nodes[index]
        if node.kind == "literal":
            return {_kind_of(value) for value in node.values}
        return {{"tuple": "list", "record": "map"}.get(node.kind, node.kind)}

    def _read_record(self, data: Any, node: TypeNode) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _misfit(f"an object ({node.name or 'a record'})", data)
        given = cast("dict[str, Any]", data)
        fields = {field.name: field for field in node.fields}
        for name in given.keys() - fields.keys():
            if not node.ignores_others:
                raise Misfit(f": expected no field {_short(name)}")
        for name in fields.keys() - given.keys():
            if not fields[name].may_be_missing:
                raise Misfit(f": expected a field {_short(name)}, got none")
        return {
            name: _within(f"field {_short(name)}", self.read, part, fields[name].type)
            for name, part in given.items()
            if name in fields
        }

    def _read_map(self, data: Any, node: TypeNode) -> dict[Any, Any]:
        key_type, value_type = node.items
        if self._has_text_keys(node):
            if not isinstance(data, dict):
                raise _misfit("an object", data)
            pairs: Iterator[tuple[Any, Any]] = iter(cast("dict[str, Any]", data).items())
        else:
            pairs = _pairs(data)
        return {
            _hashable(_within(f"key {_short(key)}", self.read, key, key_type)): _within(
                f"value of {_short(key)}", self.read, part, value_type
            )
            for key, part in pairs
        }

    def _read_elements(self, data: Any, node: TypeNode) -> list[Any]:
        if not isinstance(data, list):
            raise _misfit("an array", data)
        given = cast("list[object]", data)
        if node.kind == "tuple" and len(given) != len(node.items):
            raise Misfit(f": expected an array of {len(node.items)}, got one of {len(given)}")
        types = node.items if node.kind == "tuple" else node.items * len(given)
        return [
            _within(f"element {place}", self.read, part, item)
            for place, (part, item) in enumerate(zip(given, types, strict=True))
        ]


def _within(part: str, read: Callable[[Any, int], Any], data: Any, index: int) -> Any:
    try:
        return read(data, index)
    except Misfit as error:
        raise error.within(part) from None


def _no_constant(name: str) -> None:
    raise Misfit(f'expected JSON, got {name}: write "{name}"')


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Misfit("expected each key of an object once, got one twice")
    return found


def _pairs(data: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(data, list):
        raise _misfit("an array of [key, value]", data)
    for pair in cast("list[object]", data):
        parts = _elements(pair)
        if len(parts) != 2:
            raise _misfit("[key, value]", pair)
        yield parts[0], parts[1]


def _elements(data: object) -> list[object]:
    """Of an array; of anything else none."""
    return cast("list[object]", data) if isinstance(data, list) else []


def _entries(data: object) -> dict[str, Any]:
    """Of an object; of anything else none."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _both(a: object, b: object, *types: type) -> bool:
    return isinstance(a, types) and isinstance(b, types)


def _same(a: object, b: object) -> bool:
    """Equal, and of the same types all through: 1 is neither True nor 1.0, and a NaN is a NaN."""
    if _both(a, b, set, frozenset):
        return cast("set[object]", a) == b
    if _both(a, b, list, tuple):
        left, right = cast("Sequence[object]", a), cast("Sequence[object]", b)
        return len(left) == len(right) and all(map(_same, left, right))
    if _both(a, b, dict):
        one, other = cast("dict[object, object]", a), cast("dict[object, object]", b)
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(a) is type(b) and (a == b or repr(a) == repr(b))


def _hashable(value: Any) -> Any:
    """The same for a key or an element of a set."""
    if isinstance(value, list):
        return tuple(map(_hashable, cast("list[object]", value)))
    if isinstance(value, set):
        return frozenset(cast("set[object]", value))
    if isinstance(value, dict):
        raise Misfit(": expected what can be a key or an element of a set, got an object")
    return value


# Scalars

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    bytes: "bytes",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "duration",
    Decimal: "decimal",
    UUID: "uuid",
    list: "list",
    tuple: "list",
    set: "set",
    frozenset: "set",
    dict: "map",
}
_NAMES = {
    "null": "null",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
    "bytes": "bytes (text: base64)",
    "datetime": "a datetime (text: 2026-01-31T12:00:00+00:00)",
    "date": "a date (text: 2026-01-31)",
    "time": "a time (text: 12:00:00)",
    "duration": "a duration (text: PT1.5S)",
    "decimal": "a decimal number (text: 1.50)",
    "uuid": "a UUID (text)",
}
_JSON = {"null": type(None), "bool": bool, "int": int, "float": float, "text": str}
FOLD = ";fold=1"  # behind a local time that comes twice, when clocks are put back: the second one
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _kind_of(value: object) -> str:
    return _KINDS[type(value)]


def _write_scalar(value: object) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return next(name for name, special in _SPECIAL.items() if repr(special) == repr(value))
        case bytes():
            return base64.b64encode(value).decode()
        case datetime() | time():
            return value.isoformat() + FOLD * value.fold
        case date():
            return value.isoformat()
        case timedelta():
            microseconds = value // timedelta(microseconds=1)
            seconds, rest = divmod(abs(microseconds), 1_000_000)
            return f"{'-' * (microseconds < 0)}PT{seconds}{f'.{rest:06}'.rstrip('0') if rest else ''}S"
        case Decimal() | UUID():
            return str(value)
        case _:
            return value


def _read_scalar(kind: str, data: Any) -> Any:
    if kind in _JSON and type(data) is _JSON[kind]:
        return data
    parse = _PARSERS.get(kind)
    if parse is not None and isinstance(data, str):
        try:
            return parse(data)
        except (ValueError, KeyError, ArithmeticError, InvalidOperation):
            pass
    raise _misfit(_NAMES[kind], data)


def _parse_datetime(text: str) -> datetime:
    if "T" not in text:
        raise ValueError
    return datetime.fromisoformat(text.removesuffix(FOLD)).replace(fold=text.endswith(FOLD))


def _parse_time(text: str) -> time:
    return time.fromisoformat(text.removesuffix(FOLD)).replace(fold=text.endswith(FOLD))


def _parse_duration(text: str) -> timedelta:
    found = re.fullmatch(r"(-?)PT(\d+)(?:\.(\d{1,6}))?S", text, re.ASCII)
    if found is None:
        raise ValueError
    value = timedelta(seconds=int(found[2]), microseconds=int((found[3] or "").ljust(6, "0")))
    return -value if found[1] else value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "float": _SPECIAL.__getitem__,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "datetime": _parse_datetime,
    "date": date.fromisoformat,
    "time": _parse_time,
    "duration": _parse_duration,
    "decimal": Decimal,
    "uuid": UUID,
}


# Values of any type


def _tagged(data: Any) -> tuple[str | None, Any]:
    """The kind that is written with a value, and the value."""
    entries = _entries(data)
    if len(entries) == 1:
        ((name, inner),) = entries.items()
        if name.startswith("$"):
            return name[1:], inner
    return None, data


def _write_any(value: object) -> Any:
    kind = _kind_of(value)
    if kind in ("null", "bool", "int", "text") or (isinstance(value, float) and math.isfinite(value)):
        return value
    if kind == "list":
        return [_write_any(element) for element in cast("Sequence[object]", value)]
    if kind == "set":
        return {"$set": [_write_any(element) for element in cast("frozenset[object]", value)]}
    if kind == "map":
        entries = cast("dict[Any, object]", value)
        tag_like = len(entries) == 1 and str(next(iter(entries))).startswith("$")
        if all(isinstance(key, str) for key in entries) and not tag_like:
            return {key: _write_any(part) for key, part in entries.items()}
        return {"$map": [[_write_any(key), _write_any(part)] for key, part in entries.items()]}
    return {f"${kind}": _write_scalar(value)}


def _read_any(data: Any) -> Any:
    kind, inner = _tagged(data)
    if kind is None:
        if isinstance(data, list):
            return [_read_any(element) for element in cast("list[object]", data)]
        if isinstance(data, dict):
            return {key: _read_any(part) for key, part in cast("dict[str, Any]", data).items()}
        return data
    if kind == "set" and isinstance(inner, list):
        return {_hashable(_read_any(element)) for element in cast("list[object]", inner)}
    if kind == "list" and isinstance(inner, list):
        return _read_any(inner)
    if kind == "map":
        return {_hashable(_read_any(key)): _read_any(part) for key, part in _pairs(inner)}
    if kind not in _NAMES:
        raise Misfit(f": expected one of {', '.join(f'${name}' for name in _NAMES)}, $set, $map, got ${escaped(kind)}")
    return _read_scalar(kind, inner)
