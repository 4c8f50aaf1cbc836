"""Whether all that one value type can produce is acceptable to another; and if not, where they differ.

Decisions:

- A record fits a map if all its names and fields do; a map never fits a record. An array of known length fits a list.
- `Any` fits everything, both ways: there, values are checked one by one. Only a record or map within a key, or within
  an element of a set, does not fit it: untyped, it would arrive as a dict, which is not hashable.
- Recursive types are compared by assumption: a pair that is being compared further up is taken to fit.
- A comparison is bounded in steps and in depth, because a hostile schema can make many pairs. A step is a pair, or what
  takes as long: so a comparison takes a few milliseconds, whatever the peer sends. Work that is foreseen by a size
  alone is counted before it is begun.
- Texts are made at the end, of the one place that is reported: on the way there, nothing but numbers of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import attrs

from .._errors import UnfitValue, printable
from .schema import MAX_TYPE_DEPTH, SCALARS, Field, Kind, Node, Schema

__all__ = ["Difference", "difference", "examine"]

_MAX_STEPS = 8_000  # of one comparison: pairs of nodes, and what takes as long
_PARTS_A_STEP = 4  # fields, elements or members that are looked at by Python
_VALUES_A_STEP = 16  # names or literals that a set or dict is built of, or looked through for
_STEPS_A_UNIT = 100  # of the work that `examine` tells
_BYTES_A_UNIT = 256  # of a schema that is read
_MAX_PATH = 8  # parts of a path that a message shows


@attrs.frozen
class Difference:
    """Where a sender's type does not fit a receiver's: the path to it, and a short text of each type there.

    The path is "" where the types differ as a whole, else for example `element, field "weight"`.
    """

    path: str
    sender: str
    receiver: str

    def __str__(self) -> str:
        return self._told(f"{self.sender} sent, {self.receiver} received")

    def told_to_sender(self) -> str:
        """`field "weight": float here, text there`, where "here" is the sending side."""
        return self._told(f"{self.sender} here, {self.receiver} there")

    def told_to_receiver(self) -> str:
        """The same, where "here" is the receiving side."""
        return self._told(f"{self.receiver} here, {self.sender} there")

    def _told(self, text: str) -> str:
        return f"{self.path}: {text}" if self.path else text


def difference(sender: Schema | bytes, receiver: Schema | bytes) -> Difference | None:
    """None if all that the sender's type can produce is acceptable to the receiver's; else the first place where not.

    Bytes are a peer's description of its type. One that cannot be read, or that makes the comparison too long, is a
    difference too: this function does not raise.
    """
    return examine(sender, receiver)[0]


def examine(sender: Schema | bytes, receiver: Schema | bytes) -> tuple[Difference | None, int]:
    """The difference, and how much work it was to find: 1 for every 100 steps, and for every 256 bytes of schemas."""
    work = 1 + sum(len(schema) for schema in (sender, receiver) if isinstance(schema, bytes)) // _BYTES_A_UNIT
    if _same_bytes(sender, receiver):
        return None, work
    left, right = _readable(sender), _readable(receiver)
    if isinstance(left, str) or isinstance(right, str):
        return Difference("", str(left), str(right)), work
    comparison = _Comparison(left, right)
    try:
        place = comparison.compare(0, 0, False, 0)
        found = None if place is None else place.difference(left, right)
    except (RecursionError, _TooIntricate):
        found = Difference("", str(left), f"{right}, which is too intricate to compare")
    return found, work + min(comparison.steps, _MAX_STEPS) // _STEPS_A_UNIT


def _same_bytes(sender: Schema | bytes, receiver: Schema | bytes) -> bool:
    """Whether a peer has the very type that this side has: each type fits itself."""
    if isinstance(sender, bytes):
        return isinstance(receiver, Schema) and receiver.to_bytes() == sender
    return isinstance(receiver, bytes) and sender.to_bytes() == receiver


def _readable(schema: Schema | bytes) -> Schema | str:
    """The schema, or a text that says why it cannot be read."""
    if isinstance(schema, Schema):
        return schema
    try:
        return Schema.from_bytes(schema)
    except UnfitValue as error:
        return f"something that is no type ({error})"


class _TooIntricate(Exception):
    """The comparison takes too many steps."""


@attrs.define(eq=False)
class _Place:
    """A pair that does not fit; None: there is no such field. On the way out it gathers the path to it."""

    sender: int | None
    receiver: int | None
    may_be_absent: bool = False
    path: tuple[str | Field, ...] = ()  # the innermost part first

    def within(self, part: str | Field) -> _Place:
        self.path += (part,)
        return self

    def difference(self, left: Schema, right: Schema) -> Difference:
        path = [_label(part) for part in self.path[::-1]]
        if len(path) > _MAX_PATH:
            path[_MAX_PATH // 2 : -_MAX_PATH // 2] = ["…"]
        sender = "no such field" if self.sender is None else left.text(self.sender)
        if self.may_be_absent:
            sender = "a field that may be absent"
        receiver = "no such field" if self.receiver is None else right.text(self.receiver)
        return Difference(", ".join(path), sender, receiver)


@attrs.define(eq=False)
class _Comparison:
    """One comparison. `fitting`: pairs that fit, or are assumed to while they are being compared.

    An assumption that proves wrong is taken back, with all that was found to fit after it.
    """

    sender: Schema
    receiver: Schema
    fitting: dict[tuple[int, int, bool], None] = attrs.field(factory=dict[tuple[int, int, bool], None])
    differing: set[tuple[int, int, bool]] = attrs.field(factory=set[tuple[int, int, bool]])
    steps: int = 0
    _values: dict[tuple[bool, int], frozenset[_Typed]] = attrs.field(
        factory=dict[tuple[bool, int], "frozenset[_Typed]"]
    )
    _members: dict[int, _Members] = attrs.field(factory=dict[int, "_Members"])
    _takers: dict[int, _Taker] = attrs.field(factory=dict[int, "_Taker"])
    _records: dict[tuple[bool, int], _Record] = attrs.field(factory=dict[tuple[bool, int], "_Record"])
    _hashable: set[tuple[int, bool]] = attrs.field(factory=set[tuple[int, bool]])

    def compare(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        """Where node `s` of the sender does not fit node `r` of the receiver."""
        pair = (s, r, keyed)
        fitting = self.fitting
        if pair in fitting:
            return None
        if pair in self.differing:
            return _Place(s, r)
        self.count()
        if depth > MAX_TYPE_DEPTH:
            raise _TooIntricate
        known = len(fitting)
        fitting[pair] = None
        found = self.compare_new(s, r, keyed, depth + 1)
        if found is not None:
            while len(fitting) > known:
                fitting.popitem()
            self.differing.add(pair)
        return found

    def count(self, steps: int = 1) -> None:
        """Counts steps that are about to be taken, unless they are too many."""
        self.steps += steps
        if self.steps > _MAX_STEPS:
            raise _TooIntricate

    def compare_new(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        """A pair that was not compared yet: what does not depend on the shape of both."""
        kind, other = self.sender.nodes[s].kind, self.receiver.nodes[r].kind
        if kind is _ANY:
            return None
        if other is _ANY:
            return _Place(s, r) if self.has_unhashable_when_untyped(s, keyed) else None
        if kind is _UNION:
            return self.compare_members(s, r, keyed, depth)
        if kind in _LISTED:
            return None if self.takes(r, self.values_of(s)) else _Place(s, r)
        if other is _UNION:
            return self.compare_with_members(s, r, keyed, depth)
        if kind is not other:
            return self.compare_kinds(s, r, keyed, depth)
        compare_shapes = _SHAPES.get(kind)
        return None if compare_shapes is None else compare_shapes(self, s, r, keyed, depth)

    def compare_members(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        items = self.sender.nodes[s].items
        self.count(len(items) // _PARTS_A_STEP)
        for item in items:
            if found := self.compare(item, r, keyed, depth):
                return found
        return None

    def compare_with_members(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        """A node of the sender, and a union: one of its members must take it."""
        members = self.members(r)
        ours, theirs = self.sender.nodes[s], self.receiver.nodes
        tried: dict[int, _Place] = {}
        for item in self.likely_members(s, members) if ours.kind is _RECORD else ():
            if (found := self.compare(s, item, keyed, depth)) is None:
                return None
            tried[item] = found
        for kind in _FITTING_KINDS.get(ours.kind, (ours.kind, Kind.ANY)):
            others = members.by_kind.get(kind, ())
            self.count(len(others) // _PARTS_A_STEP)
            for item in others:
                if item not in tried:
                    if (found := self.compare(s, item, keyed, depth)) is None:
                        return None
                    tried[item] = found
        same_kind = [found for item, found in tried.items() if theirs[item].kind is ours.kind]
        return same_kind[0] if len(same_kind) == 1 else _Place(s, r)

    def compare_kinds(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        """Two kinds that may fit though they are not the same."""
        ours, theirs = self.sender.nodes[s], self.receiver.nodes[r]
        if ours.kind is Kind.RECORD and theirs.kind is Kind.MAP:
            return self.compare_record_with_map(s, r, keyed, depth)
        if ours.kind is Kind.TUPLE and theirs.kind is Kind.LIST:
            return self.compare_parts(ours.items, theirs.items * len(ours.items), keyed, depth)
        return _Place(s, r)

    def compare_tuples(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        ours, theirs = self.sender.nodes[s].items, self.receiver.nodes[r].items
        return self.compare_parts(ours, theirs, keyed, depth) if len(ours) == len(theirs) else _Place(s, r)

    def compare_lists(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        found = self.compare(self.sender.nodes[s].items[0], self.receiver.nodes[r].items[0], keyed, depth)
        return found and found.within("element")

    def compare_sets(self, s: int, r: int, _keyed: bool, depth: int) -> _Place | None:
        return self.compare_lists(s, r, True, depth)

    def compare_maps(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        ours, theirs = self.sender.nodes[s].items, self.receiver.nodes[r].items
        if found := self.compare(ours[0], theirs[0], True, depth):
            return found.within("key")
        found = self.compare(ours[1], theirs[1], keyed, depth)
        return found and found.within("value")

    def compare_parts(self, ours: Sequence[int], theirs: Sequence[int], keyed: bool, depth: int) -> _Place | None:
        self.count(len(ours) // _PARTS_A_STEP)
        for place, (s, r) in enumerate(zip(ours, theirs, strict=True)):
            if found := self.compare(s, r, keyed, depth):
                return found.within(f"element {place}")
        return None

    def compare_record_with_map(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        key, value = self.receiver.nodes[r].items
        self.count()
        if not self.takes(key, self.record(s).names):
            return _Place(s, r)
        fields = self.sender.nodes[s].fields
        self.count(len(fields) // _PARTS_A_STEP)
        for field in fields:
            if found := self.compare(field.node, value, keyed, depth):
                return found.within(field)
        return None

    def compare_records(self, s: int, r: int, keyed: bool, depth: int) -> _Place | None:
        """Names first: that is fast, and tells most records apart."""
        ours, theirs = self.record(s), self.record(r, of_receiver=True)
        self.count(1 + (len(ours.fields) + len(theirs.required)) // _VALUES_A_STEP)
        if not (theirs.open or ours.fields.keys() <= theirs.fields.keys()):
            name, field = next(item for item in ours.fields.items() if item[0] not in theirs.fields)
            return _Place(field.node, None).within(field)
        if not theirs.required.keys() <= ours.present:
            name, field = next(item for item in theirs.required.items() if item[0] not in ours.present)
            return _Place(None, field.node, may_be_absent=name in ours.fields).within(field)
        self.count(len(ours.fields) // _PARTS_A_STEP)
        for name, field in ours.fields.items():
            other = theirs.fields.get(name)
            if other is not None and (found := self.compare(field.node, other.node, keyed, depth)):
                return found.within(field)
        return None

    def record(self, index: int, *, of_receiver: bool = False) -> _Record:
        """What there is to look up in a record of the sender, or of the receiver."""
        found = self._records.get((of_receiver, index))
        if found is None:
            node = (self.receiver if of_receiver else self.sender).nodes[index]
            self.count(1 + len(node.fields) // 2)
            found = self._records[of_receiver, index] = _record_of(node)
        return found

    def members(self, r: int) -> _Members:
        """What there is to look up in a union of the receiver."""
        found = self._members.get(r)
        if found is None:
            found = self._members[r] = _Members()
            for item in dict.fromkeys(self.receiver.nodes[r].items):
                node = self.receiver.nodes[item]
                self.count()
                found.by_kind.setdefault(node.kind, []).append(item)
                for mark in self.marks(self.receiver, node):
                    found.by_mark.setdefault(mark, []).append(item)
        return found

    def marks(self, schema: Schema, node: Node) -> Iterator[tuple[object, ...]]:
        """What a record may be found by in a union: its name, its fields, and literals in them."""
        self.count(len(node.fields) // _PARTS_A_STEP)
        if node.kind is Kind.RECORD:
            yield (node.name,)
        for field in node.fields:
            yield field.name, None
            values = schema.nodes[field.node].values
            self.count(len(values) // _PARTS_A_STEP)
            for value in values:
                if type(value) is str or (type(value) is int and value.bit_length() <= 64):  # whose hash takes no time
                    yield field.name, type(value), value

    def likely_members(self, s: int, members: _Members) -> Sequence[int]:
        """Two sides that know the same union find the member at once."""
        marks = self.marks(self.sender, self.sender.nodes[s])
        found = (members.by_mark.get(mark, ()) for mark in marks)
        return min(filter(None, found), key=len, default=())

    def has_unhashable_when_untyped(self, s: int, keyed: bool) -> bool:
        """True if there is a record or map within a key: to an untyped receiver it would be a dict."""
        nodes = self.sender.nodes
        seen: set[tuple[int, bool]] = set()
        waiting = [(s, keyed)]
        while waiting:
            index, keyed = place = waiting.pop()
            if place in seen or place in self._hashable:
                continue
            seen.add(place)
            node = nodes[index]
            if keyed and node.kind in (Kind.RECORD, Kind.MAP):
                return True
            self.count(1 + (len(node.items) + len(node.fields)) // _PARTS_A_STEP)
            hashed_items = {Kind.SET: 1, Kind.MAP: 1}.get(node.kind, 0)  # a set's element, a map's key
            waiting += [(item, keyed or i < hashed_items) for i, item in enumerate(node.items)]
            waiting += [(field.node, False) for field in node.fields]
        self._hashable |= seen
        return False

    def values_of(self, index: int, *, of_receiver: bool = False) -> frozenset[_Typed]:
        """All the values of a node where they can be listed."""
        found = self._values.get((of_receiver, index))
        if found is None:
            node = (self.receiver if of_receiver else self.sender).nodes[index]
            self.count(1 + len(node.values) // _VALUES_A_STEP)
            values = _VALUES_OF.get(node.kind, node.values)
            found = self._values[of_receiver, index] = frozenset(zip(map(type, values), values, strict=True))
        return found

    def takes(self, r: int, values: frozenset[_Typed]) -> bool:
        """True if literal values are all acceptable to this node of the receiver."""
        taker = self._takers.get(r)
        if taker is None:
            taker = self._takers[r] = self.taker(r)
        self.count(1 + len(values) // _VALUES_A_STEP)
        return taker.types >= set(map(itemgetter(0), values - taker.values))

    def taker(self, r: int) -> _Taker:
        nodes = self.receiver.nodes
        items = tuple(dict.fromkeys(nodes[r].items)) if nodes[r].kind is Kind.UNION else (r,)
        kinds = {nodes[item].kind for item in items}
        types = {python for python, kind in SCALARS.items() if kind in kinds or Kind.ANY in kinds}
        literals = [self.values_of(item, of_receiver=True) for item in items if nodes[item].kind is Kind.LITERAL]
        self.count(1 + len(items) // _PARTS_A_STEP + sum(map(len, literals)) // _VALUES_A_STEP)
        return _Taker(types, frozenset[_Typed]().union(*literals))


_Typed = tuple[type, object]  # a value that tells True, 1 and 1.0 from each other: to Python they are equal


@attrs.frozen(eq=False)
class _Members:
    """Of a union: which are of a kind, and which records have something that others may not have."""

    by_kind: dict[Kind, list[int]] = attrs.field(factory=dict[Kind, list[int]])
    by_mark: dict[tuple[object, ...], list[int]] = attrs.field(factory=dict[tuple[object, ...], list[int]])


@attrs.frozen(eq=False)
class _Taker:
    """Which literal values a node takes: all of some types, and some values."""

    types: set[type]
    values: frozenset[_Typed]


@attrs.frozen(eq=False)
class _Record:
    """A record's fields by name, and more of them."""

    fields: Mapping[str, Field]
    required: Mapping[str, Field]  # what a receiver must get
    present: frozenset[str]  # what a sender always sends
    names: frozenset[_Typed]
    open: bool


def _record_of(node: Node) -> _Record:
    return _Record(
        {f.name: f for f in node.fields},
        {f.name: f for f in node.fields if not f.may_be_missing},
        frozenset(f.name for f in node.fields if not f.may_be_absent),
        frozenset((str, f.name) for f in node.fields),
        node.open,
    )


_ANY, _UNION, _RECORD = Kind.ANY, Kind.UNION, Kind.RECORD  # found faster than in the enum
_LISTED = frozenset({Kind.LITERAL, Kind.BOOL, Kind.NULL})  # kinds whose values can be listed
_VALUES_OF: Mapping[Kind, tuple[Any, ...]] = {Kind.BOOL: (False, True), Kind.NULL: (None,)}
_FITTING_KINDS = {  # of a union's members; all else fits its own kind, and any
    Kind.RECORD: (Kind.RECORD, Kind.MAP, Kind.ANY),
    Kind.TUPLE: (Kind.TUPLE, Kind.LIST, Kind.ANY),
}


_SHAPES: Mapping[Kind, Callable[[_Comparison, int, int, bool, int], _Place | None]] = {  # of one kind; others just fit
    Kind.LIST: _Comparison.compare_lists,
    Kind.TUPLE: _Comparison.compare_tuples,
    Kind.SET: _Comparison.compare_sets,
    Kind.MAP: _Comparison.compare_maps,
    Kind.RECORD: _Comparison.compare_records,
}


def _label(part: str | Field) -> str:
    return part if isinstance(part, str) else f'field "{printable(part.name)}"'
