"""Whether all that one value type can produce is acceptable to another; and if not, where they differ.

Decisions:

- A record fits a map if all its names and fields do; a map never fits a record. An array of known length fits a list.
- `Any` fits everything, both ways: there, values are checked one by one. Only a record or map within a key, or within
  an element of a set, does not fit it: untyped, it would arrive as a dict, which is not hashable.
- Recursive types are compared by assumption: a pair that is being compared further up is taken to fit.
- A comparison is bounded in steps and in depth, because a hostile schema can make many pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from .._errors import UnfitValue, printable
from .schema import MAX_TYPE_DEPTH, SCALARS, Field, Kind, Node, Schema, kind_of, typed

__all__ = ["Difference", "difference"]

_MAX_STEPS = 100_000  # pairs of nodes looked at in one comparison


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
    left, right = _readable(sender), _readable(receiver)
    if isinstance(left, str) or isinstance(right, str):
        return Difference("", str(left), str(right))
    try:
        return _Comparison(left, right).compare(0, 0, _Path())
    except (RecursionError, _TooIntricate):
        return Difference("", str(left), f"{right}, which is too intricate to compare")


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


@attrs.frozen
class _Path:
    """How a comparison came to a pair of nodes, and whether it is within a key or an element of a set."""

    steps: tuple[str, ...] = ()
    keyed: bool = False

    def to(self, step: str) -> _Path:
        return _Path((*self.steps, step), self.keyed)

    def into_key(self, keyed: bool = True) -> _Path:
        return _Path(self.steps, self.keyed or keyed)

    def __str__(self) -> str:
        return ", ".join(step for step in self.steps if step)


@attrs.define
class _Comparison:
    """One comparison. `fitting`: pairs that fit, or are assumed to while they are being compared.

    An assumption that proves wrong is taken back, with all that was found to fit after it.
    """

    sender: Schema
    receiver: Schema
    fitting: dict[tuple[int, int, bool], None] = attrs.field(factory=dict[tuple[int, int, bool], None])
    differing: set[tuple[int, int, bool]] = attrs.field(factory=set[tuple[int, int, bool]])
    literals: dict[int, set[tuple[type, object]]] = attrs.field(factory=dict[int, set[tuple[type, object]]])
    steps: int = 0

    def compare(self, s: int, r: int, path: _Path) -> Difference | None:
        """Where node `s` of the sender does not fit node `r` of the receiver."""
        pair = (s, r, path.keyed)
        if pair in self.fitting:
            return None
        if pair in self.differing:
            return self.differ(s, r, path)
        self.count_step(len(path.steps))
        known = len(self.fitting)
        self.fitting[pair] = None
        found = self.compare_new(s, r, path)
        if found is not None:
            while len(self.fitting) > known:
                self.fitting.popitem()
            self.differing.add(pair)
        return found

    def count_step(self, depth: int = 0) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS or depth > MAX_TYPE_DEPTH:
            raise _TooIntricate

    def differ(self, s: int | None, r: int | None, path: _Path) -> Difference:
        sender = "no such field" if s is None else self.sender.text(s)
        receiver = "no such field" if r is None else self.receiver.text(r)
        return Difference(str(path), sender, receiver)

    def compare_new(self, s: int, r: int, path: _Path) -> Difference | None:
        """A pair that was not compared yet: what does not depend on the shape of both."""
        ours, theirs = self.sender.nodes[s], self.receiver.nodes[r]
        if ours.kind is Kind.ANY:
            return None
        if theirs.kind is Kind.ANY:
            return self.differ(s, r, path) if self.has_unhashable_when_untyped(s, path.keyed) else None
        if ours.kind is Kind.UNION:
            return self.first(self.compare(item, r, path.to("")) for item in ours.items)
        if (values := _all_values(ours)) is not None:
            return None if all(self.accepts(r, value) for value in values) else self.differ(s, r, path)
        if theirs.kind is Kind.UNION:
            found = {item: self.compare(s, item, path.to("")) for item in theirs.items}
            if None in found.values():
                return None
            same_kind = [one for item, one in found.items() if self.receiver.nodes[item].kind is ours.kind]
            return same_kind[0] if len(same_kind) == 1 else self.differ(s, r, path)
        return self.compare_shapes(s, r, path)

    def compare_shapes(self, s: int, r: int, path: _Path) -> Difference | None:
        ours, theirs = self.sender.nodes[s], self.receiver.nodes[r]
        count = len(ours.items)
        match ours.kind, theirs.kind:
            case Kind.RECORD, Kind.RECORD:
                return self.compare_records(ours, theirs, path)
            case Kind.RECORD, Kind.MAP:
                if not all(self.accepts(theirs.items[0], field.name) for field in ours.fields):
                    return self.differ(s, r, path)
                return self.first(self.compare(f.node, theirs.items[1], path.to(_field_label(f))) for f in ours.fields)
            case Kind.TUPLE, Kind.LIST:
                return self.compare_parts(ours.items, theirs.items * count, _element_labels(count), path)
            case (Kind.TUPLE, Kind.TUPLE) if count == len(theirs.items):
                return self.compare_parts(ours.items, theirs.items, _element_labels(count), path)
            case (Kind.LIST, Kind.LIST) | (Kind.SET, Kind.SET):
                return self.compare_parts(ours.items, theirs.items, ["element"], path.into_key(ours.kind is Kind.SET))
            case Kind.MAP, Kind.MAP:
                key = self.compare(ours.items[0], theirs.items[0], path.into_key().to("key"))
                return key or self.compare(ours.items[1], theirs.items[1], path.to("value"))
            case _:
                same_scalar = ours.kind is theirs.kind and ours.kind in SCALARS.values()
                return None if same_scalar else self.differ(s, r, path)

    def compare_parts(
        self, ours: Sequence[int], theirs: Sequence[int], labels: Iterable[str], path: _Path
    ) -> Difference | None:
        return self.first(self.compare(s, r, path.to(label)) for s, r, label in zip(ours, theirs, labels, strict=True))

    def compare_records(self, ours: Node, theirs: Node, path: _Path) -> Difference | None:
        sent, wanted = {f.name: f for f in ours.fields}, {f.name: f for f in theirs.fields}
        for name, field in sent.items():
            if name in wanted:
                found = self.compare(field.node, wanted[name].node, path.to(_field_label(field)))
            else:
                found = None if theirs.open else self.differ(field.node, None, path.to(_field_label(field)))
            if found is not None:
                return found
        for name, field in wanted.items():
            if not field.may_be_missing and (name not in sent or sent[name].may_be_absent):
                found = self.differ(None, field.node, path.to(_field_label(field)))
                return attrs.evolve(found, sender="a field that may be absent") if name in sent else found
        return None

    def has_unhashable_when_untyped(self, s: int, keyed: bool) -> bool:
        """True if there is a record or map within a key: to an untyped receiver it would be a dict."""
        nodes = self.sender.nodes
        seen: set[tuple[int, bool]] = set()
        waiting = [(s, keyed)]
        while waiting:
            index, keyed = place = waiting.pop()
            if place in seen:
                continue
            self.count_step()
            seen.add(place)
            node = nodes[index]
            if keyed and node.kind in (Kind.RECORD, Kind.MAP):
                return True
            hashed_items = {Kind.SET: 1, Kind.MAP: 1}.get(node.kind, 0)  # a set's element, a map's key
            waiting += [(item, keyed or i < hashed_items) for i, item in enumerate(node.items)]
            waiting += [(field.node, False) for field in node.fields]
        return False

    def accepts(self, r: int, value: Any) -> bool:
        """True if a literal value is acceptable to this node of the receiver."""
        self.count_step()
        theirs = self.receiver.nodes[r]
        if theirs.kind is Kind.UNION:
            return any(self.accepts(item, value) for item in theirs.items)
        if theirs.kind is Kind.LITERAL:
            if r not in self.literals:
                self.literals[r] = set(map(typed, theirs.values))
            return typed(value) in self.literals[r]
        return theirs.kind in (Kind.ANY, kind_of(type(value)))

    @staticmethod
    def first(found: Iterable[Difference | None]) -> Difference | None:
        return next((one for one in found if one is not None), None)


def _element_labels(count: int) -> list[str]:
    return [f"element {i}" for i in range(count)]


def _field_label(field: Field) -> str:
    return f'field "{printable(field.name)}"'


def _all_values(node: Node) -> tuple[Any, ...] | None:
    """All the values that a node accepts, where they can be listed."""
    return {Kind.LITERAL: node.values, Kind.BOOL: (False, True), Kind.NULL: (None,)}.get(node.kind)
