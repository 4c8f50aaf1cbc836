"""A second reader of the wire protocol, version 1, written from its page (protocol.md) alone.

It reads schemas and values, and tells whether two types fit; second_frames reads the frames. Names in brackets are
rules of the page.

The plain form of a value is a tuple that begins with the name of its kind, and can be compared and hashed:
("null", None), ("bool", True), ("integer", 1), ("float", its hexadecimal text, or "nan"), ("text", "a"),
("bytes", b""), ("decimal", text), ("uuid", bytes), ("duration", microseconds), ("date", day number, None, 0),
("datetime", local microseconds, offset in minutes or None, mark), ("time", microseconds, offset or None, mark),
("list", values), ("tuple", values), ("set", frozenset of values), ("map", frozenset of (key, value)),
("record", frozenset of (name, value)). What *any* takes is a list or a map, never a tuple or a record.
"""

import datetime
import decimal
import math
import re
import struct
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from second_frames import MAGIC, Cursor, FrameCutter, FrameError, ReadError, cut_stream, read_frame, utf8

__all__ = [
    "MAGIC",
    "FrameCutter",
    "FrameError",
    "Schema",
    "SchemaError",
    "ValueRefused",
    "check_batch",
    "check_value",
    "cut_stream",
    "fits",
    "read_frame",
    "read_schema",
]


class SchemaError(ReadError):
    """Bytes that are no schema."""


class ValueRefused(ReadError):
    """Bytes that are no value of the type."""


# --- Items: values whose type is not known yet ---

Clock = tuple[int, int | None, int]  # days or microseconds, offset in minutes, mark
Scalar = None | bool | int | float | str | bytes | Clock
Plain = tuple[object, ...]
DEEPEST = 64  # containers [V-36]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """An item that was read: one of the rows of the page's table of items."""

    kind: str
    value: Scalar = None
    parts: tuple["Item", ...] = ()  # of an array, a set, a map (key, value, key, value, ...)
    is_cbor_map: bool = False  # a map in the first form


class ItemReader(Cursor):
    """Reads items as "Values" says, with only these tags."""

    def __init__(self, data: bytes, tags: frozenset[int]) -> None:
        super().__init__(data)
        self.tags = tags

    def read(self, depth: int = 0) -> Item:
        """One item; depth: how many containers it is in."""
        major, information, argument = self.head()
        if major == 0:
            return Item("integer", argument)
        if major == 1:
            return Item("integer", -1 - argument)
        if major == 2:
            return Item("bytes", self.take(argument))
        if major == 3:
            return Item("text", utf8(self.take(argument)))
        if major == 4:
            return Item("array", parts=self.parts(argument, depth))
        if major == 5:
            return self.cbor_map(argument, depth)
        if major == 6:
            return self.tagged(argument, depth)
        return self.simple(information, argument)

    def parts(self, count: int, depth: int, each: int = 1) -> tuple[Item, ...]:
        """What a container at this depth holds."""
        if depth >= DEEPEST:
            raise ReadError("containers are nested too deep")
        return tuple([self.read(depth + 1) for _ in range(self.count(count, each))])

    def cbor_map(self, argument: int, depth: int) -> Item:
        parts = self.parts(argument, depth, 2)
        if any(key.kind not in ("text", "bytes") for key in parts[::2]):
            raise ReadError("a map with a key that is no text or bytes")
        check_distinct(parts[::2])
        return Item("map", parts=parts, is_cbor_map=True)

    def simple(self, information: int, argument: int) -> Item:
        if information in (20, 21):
            return Item("bool", information == 21)
        if information == 22:
            return Item("null")
        if information < 25:
            raise ReadError("a simple value that is not read")
        size, form = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[information]
        numbers: tuple[float] = struct.unpack(form, argument.to_bytes(size, "big"))
        return Item("float", numbers[0])

    def tagged(self, tag: int, depth: int) -> Item:
        if tag not in self.tags:
            raise ReadError(f"tag {tag} is not read")
        if tag in (2, 3):
            number = int.from_bytes(self.take(self.sized(2)), "big")
            return Item("integer", number if tag == 2 else -1 - number)
        if tag == 27:
            return self.named(depth)
        if tag == 37:
            content = self.take(self.sized(2))
            if len(content) != 16:
                raise ReadError("a UUID that has not 16 bytes")
            return Item("uuid", content)
        if tag == 258:
            parts = self.parts(self.sized(4), depth)
            check_distinct(parts)
            return Item("set", parts=parts)
        text = self.text()
        if tag == 0:
            return Item("datetime", read_datetime(text, with_offset=True, mark=0))
        return Item("date", (read_date(text), None, 0))

    def named(self, depth: int) -> Item:
        """The array in tag 27 [V-10]."""
        count, name = self.sized(4), self.text()
        if name == "map" and count == 2:
            parts = self.parts(self.sized(4), depth)
            if len(parts) % 2:
                raise ReadError("a key without a value")
            check_distinct(parts[::2])
            return Item("map", parts=parts)
        if name == "duration" and count == 2:
            return Item("duration", read_duration(self.integer()))
        if name == "decimal" and count == 2:
            return Item("decimal", read_decimal(self.text()))
        if name not in ("local-datetime", "time") or count not in (2, 3):
            raise ReadError("an array in tag 27 that means nothing")
        text = self.text()
        mark = self.integer() if count == 3 else 0
        if mark not in (0, 1):
            raise ReadError("a mark that is neither 0 nor 1")
        if name == "time":
            return Item("time", read_time(text, mark))
        return Item("datetime", read_datetime(text, with_offset=False, mark=mark))

    def text(self) -> str:
        return utf8(self.take(self.sized(3)))

    def integer(self) -> int:
        item = self.read(DEEPEST)
        if item.kind != "integer" or not isinstance(item.value, int):
            raise ReadError("no integer")
        return item.value


# --- Texts of dates, times, decimals ---

DATE = re.compile("([0-9]{4})-([0-9]{2})-([0-9]{2})")
CLOCK = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?(Z|[+-][0-9]{2}:[0-9]{2})?")
PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?")
SCIENTIFIC = re.compile(r"-?([0-9])(?:\.([0-9]+))?E([+-])(0|[1-9][0-9]{0,17})")
NO_NUMBER = re.compile("-?(?:Infinity|s?NaN(?:[1-9][0-9]*)?)")
DAY = 86_400_000_000  # microseconds
MINUTE = 60_000_000
LARGEST_EXPONENT = 999_999


def read_date(text: str) -> int:
    match = DATE.fullmatch(text)
    if not match:
        raise ReadError("no date")
    try:
        return datetime.date(int(match[1]), int(match[2]), int(match[3])).toordinal()
    except ValueError:
        raise ReadError("no such day") from None


def read_clock(text: str) -> tuple[int, int | None]:
    """Microseconds and, if there is one, the offset in minutes."""
    match = CLOCK.fullmatch(text)
    if not match:
        raise ReadError("no time")
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ReadError("no such time")
    microseconds = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((match[4] or "").ljust(6, "0"))
    if match[5] is None:
        return microseconds, None
    return microseconds, read_offset(match[5])


def read_offset(text: str) -> int:
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:])
    if hours > 23 or minutes > 59:
        raise ReadError("no such offset")
    return (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)


def read_datetime(text: str, with_offset: bool, mark: int) -> Clock:
    if text[10:11] != "T":
        raise ReadError("no date and time")
    microseconds, offset = read_clock(text[11:])
    if (offset is not None) != with_offset:
        raise ReadError("an offset too many, or none")
    return read_date(text[:10]) * DAY + microseconds, offset, mark


def read_time(text: str, mark: int) -> Clock:
    microseconds, offset = read_clock(text)
    return microseconds, offset, mark


def read_duration(microseconds: int) -> int:
    if not -999_999_999 * DAY <= microseconds < 1_000_000_000 * DAY:
        raise ReadError("a duration that is too long")
    return microseconds


def read_decimal(text: str) -> str:
    """The text, if it is what to-scientific-string makes of some decimal [V-21, V-22]."""
    if NO_NUMBER.fullmatch(text):
        return text
    if match := PLAIN_DECIMAL.fullmatch(text):
        fraction = match[2] or ""
        digits = (match[1] + fraction).lstrip("0") or "0"
        exponent = -len(fraction)
        if exponent + len(digits) - 1 >= -6 and exponent >= -LARGEST_EXPONENT:
            return text
    elif match := SCIENTIFIC.fullmatch(text):
        others = match[2] or ""
        adjusted = int(match[3] + match[4])
        exponent = adjusted - len(others)
        is_plain = exponent <= 0 and adjusted >= -6
        if not is_plain and abs(exponent) <= LARGEST_EXPONENT and not (match[1] == "0" and others):
            return text
    raise ReadError("no decimal as to-scientific-string writes it")


# --- Equality of keys and elements ---


def same(item: Item) -> Hashable:
    """What is equal for two items if, and only if, they are equal [V-31 to V-35]; an error if there is a NaN."""
    kind, value = item.kind, item.value
    if kind == "array":
        return "array", tuple([same(part) for part in item.parts])
    if kind == "set":
        return "set", frozenset([same(part) for part in item.parts])
    if kind == "map":
        return "map", frozenset([(same(key), same(part)) for key, part in pairs(item)])
    if kind in ("datetime", "time", "date") and isinstance(value, tuple):
        return kind, value[1] is None, value[0] - (value[1] or 0) * MINUTE
    if kind == "decimal" and isinstance(value, str):
        number = decimal.Decimal(value)
        if number.is_nan():
            raise ReadError("NaN in a key or an element")
        return "number", number
    if isinstance(value, float) and math.isnan(value):
        raise ReadError("NaN in a key or an element")
    return "number" if isinstance(value, (bool, int, float)) and kind != "duration" else kind, value


def pairs(item: Item) -> Iterator[tuple[Item, Item]]:
    return zip(item.parts[::2], item.parts[1::2], strict=True)


def check_distinct(items: Sequence[Item]) -> None:
    if len({same(item) for item in items}) != len(items):
        raise ReadError("a key or an element twice")


# --- Schemas ---

LITERALS = ("null", "bool", "integer", "float", "text", "bytes")
SCALARS = (*LITERALS, "datetime", "date", "time", "duration", "decimal", "uuid")  # kinds 1 to 12
ANY, NULL, BOOL, LITERAL, LIST, TUPLE, SET, MAP, RECORD, UNION = 0, 1, 2, 13, 14, 15, 16, 17, 18, 19
MOST_NODES = 512
SCHEMA_TAGS = frozenset((2, 3))
VALUE_TAGS = frozenset((0, 2, 3, 27, 37, 258, 1004))


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a schema."""

    kind: int
    parts: tuple[int, ...] = ()
    values: frozenset[tuple[str, Scalar]] = frozenset()  # of a literal, with their kinds
    is_open: bool = False
    fields: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])  # name: flags, node


@dataclass(frozen=True, slots=True)
class Schema:
    """The type of a channel's values."""

    nodes: tuple[Node, ...]


def read_schema(data: bytes) -> Schema:
    """What a schema says, or SchemaError."""
    try:
        if len(data) > 32_768:
            raise ReadError("more than 32,768 bytes")
        reader = ItemReader(data, SCHEMA_TAGS)
        top = reader.read()
        reader.end()
        if top.kind != "array" or not 1 <= len(top.parts) <= MOST_NODES:
            raise ReadError("no array of 1 to 512 nodes")
        nodes = tuple([read_node(item, len(top.parts)) for item in top.parts])
        for node in nodes:
            if node.kind == UNION and any(nodes[part].kind == UNION for part in node.parts):
                raise ReadError("a union directly in a union")
    except ReadError as error:
        raise SchemaError(str(error)) from None
    return Schema(nodes)


def read_node(item: Item, count: int) -> Node:
    if item.kind != "array" or not item.parts:
        raise ReadError("a node that is no array, or an empty one")
    kind, rest = integer_of(item.parts[0]), item.parts[1:]
    if kind == LITERAL:
        return Node(kind, values=literal_values(rest))
    if kind == RECORD:
        return read_record(rest, count)
    least, most = node_size(kind)
    if not least <= len(rest) <= most:
        raise ReadError("a node with too many or too few parts")
    return Node(kind, parts=tuple([reference(part, count) for part in rest]))


def node_size(kind: int) -> tuple[int, int]:
    """How many parts a node of this kind has, at least and at most."""
    if 0 <= kind <= 12:
        return 0, 0
    sizes = {LIST: (1, 1), TUPLE: (0, MOST_NODES), SET: (1, 1), MAP: (2, 2), UNION: (1, MOST_NODES)}
    if kind not in sizes:
        raise ReadError("a kind of node that is not known")
    return sizes[kind]


def integer_of(item: Item) -> int:
    if item.kind != "integer" or not isinstance(item.value, int):
        raise ReadError("no integer")
    return item.value


def reference(item: Item, count: int) -> int:
    place = integer_of(item)
    if not 0 <= place < count:
        raise ReadError("a reference to no node")
    return place


def literal_values(items: Sequence[Item]) -> frozenset[tuple[str, Scalar]]:
    if not items:
        raise ReadError("a literal without values")
    for item in items:
        if item.kind not in LITERALS or (isinstance(item.value, float) and math.isnan(item.value)):
            raise ReadError("a literal that may not be one")
    return frozenset([(item.kind, item.value) for item in items])


def read_record(rest: Sequence[Item], count: int) -> Node:
    if len(rest) < 2:
        raise ReadError("a record that is too short")
    name_of(rest[0])
    is_open = rest[1].value
    if not isinstance(is_open, bool):
        raise ReadError("open is no bool")
    fields: dict[str, tuple[int, int]] = {}
    for item in rest[2:]:
        if item.kind != "array" or len(item.parts) != 3:
            raise ReadError("a field of a record that is no array of three")
        name, flags = name_of(item.parts[0]), integer_of(item.parts[1])
        if name in fields or flags not in (0, 2, 3):
            raise ReadError("a field twice, or with other flags")
        fields[name] = flags, reference(item.parts[2], count)
    return Node(RECORD, parts=tuple([node for _, node in fields.values()]), is_open=is_open, fields=fields)


def name_of(item: Item) -> str:
    if item.kind != "text" or not isinstance(item.value, str) or len(item.value) > 256:
        raise ReadError("a name that is no text of at most 256 characters")
    return item.value


# --- Values of a type ---


class Checker:
    """Takes items as values of the nodes of a schema. What was found is remembered, so unions cost no more [V-30]."""

    def __init__(self, schema: Schema) -> None:
        self.nodes = schema.nodes
        self.known: dict[tuple[int, int, bool], Plain | None] = {}

    def take(self, item: Item, place: int, keyed: bool) -> Plain:
        """The plain form of an item, whose tree the caller keeps; keyed: it is within a key or an element."""
        question = id(item), place, keyed
        if question not in self.known:
            try:
                self.known[question] = self.look(item, self.nodes[place], keyed)
            except ValueRefused:
                self.known[question] = None
        answer = self.known[question]
        if answer is None:
            raise ValueRefused(f"{item.kind} does not fit node {place}")
        return answer

    def look(self, item: Item, node: Node, keyed: bool) -> Plain:
        if node.kind == ANY:
            return self.take_any(item, keyed)
        if node.kind == LITERAL and (item.kind, item.value) in node.values:
            return plain_scalar(item)
        if node.kind == UNION:
            return self.union(item, node, keyed)
        if node.kind == RECORD and item.is_cbor_map:
            return self.record(item, node, keyed)
        if node.kind in (LIST, TUPLE) and item.kind == "array":
            return self.array(item, node, keyed)
        if node.kind == SET and item.kind == "set":
            return "set", frozenset([self.take(part, node.parts[0], True) for part in item.parts])
        if node.kind == MAP and item.kind == "map":
            keys, values = node.parts
            return "map", frozenset(
                [(self.take(key, keys, True), self.take(value, values, keyed)) for key, value in pairs(item)]
            )
        if 1 <= node.kind <= 12 and item.kind == SCALARS[node.kind - 1]:
            return plain_scalar(item)
        raise ValueRefused(f"{item.kind} does not fit")

    def take_any(self, item: Item, keyed: bool) -> Plain:
        if item.kind == "array":
            return "list", tuple([self.take_any(part, keyed) for part in item.parts])
        if item.kind == "set":
            return "set", frozenset([self.take_any(part, True) for part in item.parts])
        if item.kind != "map":
            return plain_scalar(item)
        if keyed:
            raise ValueRefused("a map in a key or an element, where any does not take one")
        return "map", frozenset([(self.take_any(key, True), self.take_any(part, False)) for key, part in pairs(item)])

    def union(self, item: Item, node: Node, keyed: bool) -> Plain:
        for member in node.parts:
            try:
                return self.take(item, member, keyed)
            except ValueRefused:
                continue
        raise ValueRefused("no member of the union takes it")

    def array(self, item: Item, node: Node, keyed: bool) -> Plain:
        if node.kind == LIST:
            return "list", tuple([self.take(part, node.parts[0], keyed) for part in item.parts])
        if len(item.parts) != len(node.parts):
            raise ValueRefused("another number of elements")
        return "tuple", tuple(
            [self.take(part, place, keyed) for part, place in zip(item.parts, node.parts, strict=True)]
        )

    def record(self, item: Item, node: Node, keyed: bool) -> Plain:
        found: dict[str, Plain] = {}
        for key, value in pairs(item):
            if not isinstance(key.value, str):
                raise ValueRefused("a key of a record that is no text")
            if key.value in node.fields:
                found[key.value] = self.take(value, node.fields[key.value][1], keyed)
            elif node.is_open:
                self.take_any(value, False)
            else:
                raise ValueRefused("a field that the record does not have")
        if any(flags == 0 and name not in found for name, (flags, _) in node.fields.items()):
            raise ValueRefused("a field is missing")
        return "record", frozenset(found.items())


def plain_scalar(item: Item) -> Plain:
    if isinstance(item.value, tuple):
        return item.kind, *item.value
    if isinstance(item.value, float):
        return item.kind, "nan" if math.isnan(item.value) else item.value.hex()
    return item.kind, item.value


def check_value(schema: Schema, item: bytes) -> object:
    """The plain form of one encoded value, or ValueRefused."""
    reader = ItemReader(item, VALUE_TAGS)
    try:
        tree = reader.read()
        reader.end()
    except ReadError as error:
        raise ValueRefused(str(error)) from None
    return Checker(schema).take(tree, 0, False)


def check_batch(schema: Schema, payload: bytes) -> list[object]:
    """The plain forms of the values of a payload, or ValueRefused."""
    reader = ItemReader(payload, VALUE_TAGS)
    try:
        trees = [reader.read() for _ in range(reader.count(reader.sized(4)))]
        reader.end()
    except ReadError as error:
        raise ValueRefused(str(error)) from None
    if not trees:
        raise ValueRefused("a batch without values")
    checker = Checker(schema)
    return [checker.take(tree, 0, False) for tree in trees]


# --- What fits ---

Pair = tuple[int, int, bool]  # sender's node, receiver's node, keyed
Needs = list[list[Pair]]  # of each list, one pair must fit
NEVER: Needs = [[]]


def fits(sender: Schema, receiver: Schema) -> bool:
    """Whether all that the sender's type can produce is acceptable to the receiver's."""
    compare = Comparison(sender.nodes, receiver.nodes)
    table: dict[Pair, Needs] = {}
    asked_by: dict[Pair, list[Pair]] = {}
    waiting: list[Pair] = [(0, 0, False)]
    while waiting:
        pair = waiting.pop()
        if pair in table:
            continue
        table[pair] = compare.needs(*pair)
        for need in [need for needs in table[pair] for need in needs]:
            asked_by.setdefault(need, []).append(pair)
            waiting.append(need)
    # All pairs are taken to fit, until one of their needs is not met [S-12].
    unfit: set[Pair] = set()
    waiting = list(table)
    while waiting:
        pair = waiting.pop()
        if pair not in unfit and any(unfit.issuperset(needs) for needs in table[pair]):
            unfit.add(pair)
            waiting.extend(asked_by.get(pair, []))
    return (0, 0, False) not in unfit


class Comparison:
    """The rules of "What fits", one pair at a time."""

    def __init__(self, sender: tuple[Node, ...], receiver: tuple[Node, ...]) -> None:
        self.sender = sender
        self.receiver = receiver

    def needs(self, s: int, r: int, keyed: bool) -> Needs:
        mine, theirs = self.sender[s], self.receiver[r]
        if mine.kind == ANY:
            return []
        if theirs.kind == ANY:
            return NEVER if self.has_map_in_key(s, keyed) else []
        if mine.kind == UNION:
            return [[(member, r, keyed)] for member in mine.parts]
        if mine.kind in (NULL, BOOL, LITERAL):
            return [] if all(self.taken(value, r) for value in own_values(mine)) else NEVER
        if theirs.kind == UNION:
            return [[(s, member, keyed) for member in theirs.parts]]
        return self.by_kinds(mine, theirs, keyed)

    def by_kinds(self, mine: Node, theirs: Node, keyed: bool) -> Needs:
        kinds = mine.kind, theirs.kind
        if kinds == (TUPLE, LIST):
            return [[(part, theirs.parts[0], keyed)] for part in mine.parts]
        if kinds == (RECORD, MAP):
            if not all(self.taken(("text", name), theirs.parts[0]) for name in mine.fields):
                return NEVER
            return [[(part, theirs.parts[1], keyed)] for part in mine.parts]
        if kinds == (RECORD, RECORD):
            return record_needs(mine, theirs, keyed)
        if mine.kind != theirs.kind or len(mine.parts) != len(theirs.parts):
            return NEVER
        needs: Needs = []
        for i, (own, other) in enumerate(zip(mine.parts, theirs.parts, strict=True)):
            is_key = mine.kind == SET or (mine.kind == MAP and i == 0)
            needs.append([(own, other, keyed or is_key)])
        return needs

    def taken(self, value: tuple[str, Scalar], place: int) -> bool:
        node = self.receiver[place]
        if node.kind == UNION:
            return any(self.taken(value, member) for member in node.parts)
        if node.kind == LITERAL:
            return value in node.values
        return node.kind == ANY or (1 <= node.kind <= 6 and LITERALS[node.kind - 1] == value[0])

    def has_map_in_key(self, start: int, keyed: bool) -> bool:
        """Whether a record or a map is within a key or an element of the sender's node [S-7]."""
        seen: set[tuple[int, bool]] = set()
        waiting = [(start, keyed)]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            node, inside = self.sender[here[0]], here[1]
            if inside and node.kind in (RECORD, MAP):
                return True
            for i, part in enumerate(node.parts):
                waiting.append((part, inside or node.kind == SET or (node.kind == MAP and i == 0)))
        return False


def own_values(node: Node) -> frozenset[tuple[str, Scalar]]:
    if node.kind == NULL:
        return frozenset([("null", None)])
    return node.values if node.kind == LITERAL else frozenset([("bool", False), ("bool", True)])


def record_needs(mine: Node, theirs: Node, keyed: bool) -> Needs:
    if not theirs.is_open and not mine.fields.keys() <= theirs.fields.keys():
        return NEVER
    for name, (flags, _) in theirs.fields.items():
        if flags == 0 and (name not in mine.fields or mine.fields[name][0] == 3):
            return NEVER
    return [[(part, theirs.fields[name][1], keyed)] for name, (_, part) in mine.fields.items() if name in theirs.fields]
