"""What fits what, where it does not, and the promise that what fits is never refused."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import GenericAlias
from typing import Any, Literal, cast, get_args, get_origin
from uuid import UUID

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from value_types import (
    BASES,
    NAMES,
    TYPED,
    Animal,
    BadChain3,
    BigJob,
    BigJobDefault,
    Box,
    Cat,
    Chain,
    Chain2,
    Color,
    DataJob,
    Dog,
    HasJob,
    HasTextJob,
    Hue,
    Ints,
    Job,
    JobDict,
    Json,
    Level,
    Link,
    Pair,
    PartJob,
    Private,
    Right,
    TextJob,
    Typed,
    Work,
    carried,
    either,
    record_of,
    thorough,
    typed_dict_of,
)

from trionetchan._codec import compare, schema
from trionetchan._codec.codec import codec_for
from trionetchan._codec.compare import Difference, difference
from trionetchan._codec.describe import describe
from trionetchan._codec.schema import Field, Kind, Node, Schema
from trionetchan._errors import UnfitValue

FITS: list[tuple[Any, Any]] = [
    (int, int | None),
    (int, int | str),
    (int, Any),
    (Any, int),
    (Any, Job),
    (Job, Any),
    (list[Any], list[int]),
    (dict[str, Job], Mapping[str, Any]),
    (None, int | None),
    (None, Literal[None, 1]),  # noqa: PYI061
    (bool, Literal[True, False]),
    (Literal[True, False], bool),
    (bool, Literal[True, False, 1]),
    (int | None, str | int | None),
    (Literal[1, 2], int),
    (Literal[1, 2], Literal[1, 2, 3]),
    (Literal[1, "a"], int | str),
    (Literal[1, "a"], Literal["a", 1, None]),  # noqa: PYI061
    (Literal[1, 2], Literal[1] | Literal[2]),  # noqa: PYI030 - a union of two
    (Color, Hue),
    (Color, str),
    (Color, Literal["red", "blue", "x"]),
    (Literal["red"], Color),
    (Level, int),
    (Level, Right),
    (Right, int),
    (bytes, bytearray),
    (bytearray, bytes),
    (list[int], list[int | None]),
    (list[int], tuple[int, ...]),
    (tuple[int, ...], list[int]),
    (list[int], Sequence[int]),
    (tuple[int, int], list[int]),
    (tuple[int, str], list[int | str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[()], list[str]),
    (Pair, tuple[int, int]),
    (tuple[int, int], Pair),
    (set[int], frozenset[int]),
    (frozenset[int], set[int | str]),
    (dict[str, int], dict[str, float | int]),
    (dict[str, int], dict[str | int, int]),
    (dict[Color, int], dict[str, int]),
    (Job, Work),
    (Job, DataJob),
    (Job, Private),
    (DataJob, Job),
    (Private, Job),
    (Job, JobDict),
    (JobDict, Job),
    (JobDict, PartJob),
    (PartJob, DataJob),
    (Job, BigJobDefault),
    (Job, dict[str, int | float]),
    (JobDict, dict[str, Any]),
    (Job, dict[Literal["id", "weight", "x"], float | int]),
    (Job, Json),
    (list[Job], list[Work]),
    (Box[Job], Box[Work]),
    (Box[int], Box[int | None]),
    (Box[Color], Box[str]),
    (Chain, Link),
    (Chain, Chain2),
    (Chain2, Chain),
    (Chain | None, Chain2 | None),
    (Chain, Json),
    (Ints, Json),
    (Cat, Animal),
    (Cat, Cat | Dog),
    (Cat | Dog, Animal),
    (Cat | Dog, Dog | Cat | None),
    (datetime, datetime | date),
]

DIFFERS: list[tuple[Any, Any, str, str, str]] = [
    (int, str, "", "int", "text"),
    (str, int, "", "text", "int"),
    (int, float, "", "int", "float"),
    (float, int, "", "float", "int"),
    (bool, int, "", "bool", "int"),
    (int, bool, "", "int", "bool"),
    (int | None, int, "", "None", "int"),
    (int | str, int | None, "", "text", "int | None"),
    (None, int, "", "None", "int"),
    (int, Literal[1], "", "int", "Literal[1]"),
    (int, Level, "", "int", "Literal[1, 2]"),
    (str, Color, "", "text", "Literal['red', 'blue']"),
    (Literal[1, 2, 3], Literal[1, 2], "", "Literal[1, 2, 3]", "Literal[1, 2]"),
    (Literal[1, "a"], int, "", "Literal[1, 'a']", "int"),
    (Literal[True], Literal[1], "", "Literal[True]", "Literal[1]"),
    (bool, Literal[True], "", "bool", "Literal[True]"),
    (Hue, Color, "", "Literal['red', 'blue', 'green']", "Literal['red', 'blue']"),
    (Right, Level, "", "Literal[0, 1, 2, 3]", "Literal[1, 2]"),
    (bytes, str, "", "bytes", "text"),
    (datetime, date, "", "datetime", "date"),
    (timedelta, int, "", "timedelta", "int"),
    (Decimal, float, "", "Decimal", "float"),
    (UUID, bytes, "", "UUID", "bytes"),
    (list[int], list[str], "element", "int", "text"),
    (list[list[int]], list[list[str]], "element, element", "int", "text"),
    (list[int], tuple[int, int], "", "list[int]", "tuple[int, int]"),
    (tuple[int, int], tuple[int, int, int], "", "tuple[int, int]", "tuple[int, int, int]"),
    (tuple[int, str], tuple[int, int], "element 1", "text", "int"),
    (tuple[int, str], list[int], "element 1", "text", "int"),
    (tuple[int], tuple[()], "", "tuple[int]", "tuple[()]"),
    (list[int], set[int], "", "list[int]", "set[int]"),
    (set[int], list[int], "", "set[int]", "list[int]"),
    (set[int], set[str], "element", "int", "text"),
    (list[int], int, "", "list[int]", "int"),
    (dict[str, int], dict[str, str], "value", "int", "text"),
    (dict[int, int], dict[str, int], "key", "int", "text"),
    (dict[str, int], list[str], "", "dict[text, int]", "list[text]"),
    (dict[str, int], dict[Color, int], "key", "text", "Literal['red', 'blue']"),
    (Job, TextJob, 'field "weight"', "float", "text"),
    (HasJob, HasTextJob, 'field "job", field "weight"', "float", "text"),
    (list[Job], list[TextJob], 'element, field "weight"', "float", "text"),
    (dict[str, Job | None], dict[str, TextJob | None], 'value, field "weight"', "float", "text"),
    (Work, Job, 'field "id"', "None", "int"),
    (BigJob, Job, 'field "note"', "text", "no such field"),
    (Job, BigJob, 'field "note"', "no such field", "text"),
    (BigJobDefault, Job, 'field "note"', "text", "no such field"),
    (PartJob, Job, 'field "weight"', "a field that may be absent", "float"),
    (PartJob, JobDict, 'field "weight"', "a field that may be absent", "float"),
    (Job, dict[str, int], 'field "weight"', "float", "int"),
    (Job, dict[int, Any], "", "Job{id: int, weight: float}", "dict[int, Any]"),
    (Job, dict[Literal["id"], Any], "", "Job{id: int, weight: float}", "dict[Literal['id'], Any]"),
    (dict[str, Any], Job, "", "dict[text, Any]", "Job{id: int, weight: float}"),
    (Job, list[Any], "", "Job{id: int, weight: float}", "list[Any]"),
    (Box[int], Box[str], 'field "item"', "int", "text"),
    (Box[Box[int]], Box[Box[str]], 'field "item", field "item"', "int", "text"),
    (Link, Chain, 'field "value"', "text", "int"),
    (Chain, BadChain3, 'field "next", field "value"', "int", "text"),
    (Chain2, BadChain3, 'field "next", field "value"', "int", "text"),
    (Animal, Cat | Dog, "", "Animal{kind: text, lives: int}", "Cat{kind: Literal['cat'], lives: int} | Dog{"),
    (Cat | Dog, Cat, 'field "kind"', "Literal['dog']", "Literal['cat']"),
    (set[Job], Any, "", "set[Job{id: int, weight: float}]", "Any"),
    (list[dict[tuple[Job], str]], list[Any], "element", "dict[tuple[Job{id: int, weight: float}], text]", "Any"),
    (set[Job], set[Any], "element", "Job{id: int, weight: float}", "Any"),
    (dict[tuple[Job], int], dict[int | tuple[Any], int], "key, element 0", "Job{id: int, weight: float}", "Any"),
    (set[Box[Job]], set[Box[Any]], 'element, field "item"', "Job{id: int, weight: float}", "Any"),
    (Json, Ints, "", "bool", "int | list[int | list[…]]"),
]


@pytest.mark.promise(12)
@pytest.mark.parametrize(("sender", "receiver"), FITS, ids=str)
def test_what_fits(sender: Any, receiver: Any) -> None:
    assert difference(describe(sender), describe(receiver)) is None
    assert difference(over_the_wire(sender), over_the_wire(receiver)) is None


@pytest.mark.promise(12)
@pytest.mark.parametrize(("sender", "receiver", "path", "sent", "wanted"), DIFFERS, ids=str)
def test_what_does_not_fit(sender: Any, receiver: Any, path: str, sent: str, wanted: str) -> None:
    for read in (describe, over_the_wire):
        found = difference(read(sender), read(receiver))
        assert found is not None
        assert (found.path, found.sender) == (path, sent)
        assert found.receiver.startswith(wanted)


TYPES: list[Any] = [one for pair in FITS for one in pair] + [one for pair in DIFFERS for one in pair[:2]]


@pytest.mark.parametrize("value_type", TYPES, ids=str)
def test_every_type_fits_itself_and_anything_and_survives_the_wire(value_type: Any) -> None:
    schema = describe(value_type)
    wire = Schema.from_bytes(schema.to_bytes())
    assert wire == schema
    assert difference(schema, wire) is difference(wire, schema) is None
    assert difference(describe(object), schema) is None
    assert (difference(schema, describe(object)) is None) is (value_type not in KEYS)
    assert str(wire)
    assert len(str(schema)) <= 201


KEYS = [set[Job], dict[tuple[Job], int], list[dict[tuple[Job], str]], set[Box[Job]], set[Box[Any]]]


def over_the_wire(value_type: Any) -> Schema:
    return Schema.from_bytes(describe(value_type).to_bytes())


# The promise: what fits is never refused


def relative(data: st.DataObject, t: Any) -> Any:
    """Something like that type: more often than not wider."""
    other = data.draw(st.sampled_from(BASES)).type
    wider: list[Any] = [t, either(t, None), either(t, other), Any, list[Any]]
    origin, args = get_origin(t), get_args(t)
    if origin in (list, tuple, set, frozenset, dict, Box) and args:
        inner = tuple(arg if arg is ... else relative(data, arg) for arg in args)
        wider += [cast("Any", origin)[inner]] * 5
        if origin in (list, tuple):
            wider += [GenericAlias(list, inner[:1]), GenericAlias(tuple, (inner[0], ...))] * 2
        if origin in (set, frozenset):
            wider += [GenericAlias(set, inner), GenericAlias(frozenset, inner)]
    if t is not None and attrs.has(t) and t.__name__ == "Record":
        parts = [(Typed(relative(data, field.type), st.none()), data.draw(st.booleans())) for field in attrs.fields(t)]
        extra = [(Typed(other, st.none()), True)] * (len(parts) < len(NAMES))
        wider += [record_of([*parts, *extra]).type, typed_dict_of(parts).type] * 3
        wider.append(dict[str, Any])
    return data.draw(st.sampled_from(wider))


FITTED = {True: 0, False: 0}


@pytest.mark.promise(12)
@thorough
@given(TYPED, st.data())
def test_what_fits_is_never_refused(sender: Typed, data: st.DataObject) -> None:
    receiver = relative(data, sender.type) if data.draw(st.integers(0, 4)) else data.draw(TYPED).type
    if not carried(sender.type) or not carried(receiver):
        return
    ours, theirs = codec_for(sender.type), codec_for(receiver)
    fits = difference(ours.schema, Schema.from_bytes(theirs.schema.to_bytes())) is None
    FITTED[fits] += 1
    values = data.draw(st.lists(sender.values, max_size=4))
    payload = ours.encode(values)
    if fits:
        assert len(theirs.decode(payload)) == len(values)
    if difference(ours.schema, describe(Any)) is None:
        assert len(codec_for(Any).decode(payload)) == len(values)


@thorough
@given(TYPED, st.data())
def test_what_is_sent_arrives_equal(sender: Typed, data: st.DataObject) -> None:
    if not carried(sender.type):
        return
    codec = codec_for(sender.type)
    values = data.draw(st.lists(sender.values, max_size=4))
    # a set has no order, a NaN and an sNaN no equality: what it looks like, sorted, says all, types too
    assert looks(codec.decode(codec.encode(values))) == looks(values)


def looks(values: list[Any]) -> list[list[str]]:
    return [sorted(repr(value)) for value in values]


@pytest.mark.promise(12)
def test_a_difference_says_it_in_a_line() -> None:
    found = difference(describe(Job), describe(TextJob))
    assert found is not None
    assert found == Difference('field "weight"', "float", "text")
    assert str(found) == 'field "weight": float sent, text received'
    assert found.told_to_sender() == 'field "weight": float here, text there'
    assert found.told_to_receiver() == 'field "weight": text here, float there'
    whole = Difference("", "int", "text")
    assert str(whole) == "int sent, text received"
    assert whole.told_to_sender() == "int here, text there"
    assert whole.told_to_receiver() == "text here, int there"


@pytest.mark.promise(12)
def test_a_peers_type_may_be_given_as_it_arrived() -> None:
    job, text_job = describe(Job), describe(TextJob)
    assert difference(job, text_job.to_bytes()) == difference(job.to_bytes(), text_job) == difference(job, text_job)
    assert difference(job, job.to_bytes()) is difference(job.to_bytes(), job) is None


def test_a_type_that_cannot_be_read_is_a_difference() -> None:
    bad = cbor2.dumps([[14, 7]])
    reason = "something that is no type (malformed schema: a reference to a node that is not in the table)"
    assert difference(describe(int), bad) == Difference("", "int", reason)
    assert difference(bad, describe(int)) == Difference("", reason, "int")
    found = difference(describe(int), b"")
    assert found is not None
    assert found.told_to_sender().startswith("int here, something that is no type (malformed schema: ")


def test_a_receiver_may_ignore_fields_it_does_not_know() -> None:
    closed = describe(Job)
    opened = Schema((attrs.evolve(closed.nodes[0], open=True), *closed.nodes[1:]))
    assert difference(describe(BigJob), closed) is not None
    assert difference(describe(BigJob), opened) is None
    assert Schema.from_bytes(opened.to_bytes()) == opened


@thorough
@given(st.binary(max_size=60), st.sampled_from(TYPES), st.data())
def test_random_bytes_are_a_schema_or_refused(noise: bytes, value_type: Any, data: st.DataObject) -> None:
    good = bytearray(describe(value_type).to_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    for candidate in (noise, b"\x81" + noise, bytes(good)):
        try:
            schema = Schema.from_bytes(candidate)
        except UnfitValue:
            continue
        assert Schema.from_bytes(schema.to_bytes()) == schema or "nan" in str(schema)
        assert str(schema).isprintable()
        for other in (describe(value_type), describe(Json), schema):
            for pair in ((schema, other), (other, schema)):
                str(difference(*pair))


def _node(data: tuple[int, list[tuple[int, int]], list[Any]]) -> list[Any]:
    """A node that is well-formed in a table of five."""
    kind, parts, values = data
    items = [index for _, index in parts]
    if kind == Kind.LITERAL:
        return [kind, *values]
    if kind == Kind.RECORD:
        return [kind, "R", False, *([n, flags, i] for n, (flags, i) in zip(NAMES, parts, strict=False))]
    size = {Kind.LIST: 1, Kind.SET: 1, Kind.MAP: 2, Kind.TUPLE: len(items), Kind.UNION: len(items)}.get(Kind(kind), 0)
    return [kind, *items[:size]]


NODES = st.tuples(
    st.sampled_from([*range(1, 20), *range(13, 20)]),
    st.lists(st.tuples(st.sampled_from([0, 2, 3]), st.integers(0, 4)), min_size=2, max_size=3),
    st.lists(st.integers(0, 3) | st.sampled_from(["a", None, True]), min_size=1, max_size=4),
).map(_node)


@thorough
@given(st.lists(NODES, min_size=5, max_size=5), st.lists(NODES, min_size=5, max_size=5))
def test_any_two_schemas_can_be_compared(one: list[Any], other: list[Any]) -> None:
    try:
        left, right = (Schema.from_bytes(cbor2.dumps(table)) for table in (one, other))
    except UnfitValue:
        return
    assert difference(left, left) is None
    for found in (difference(left, right), difference(right, left)):
        assert found is None or str(found)


def test_a_comparison_has_a_limit_of_steps_and_of_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    def chain(length: int) -> Schema:
        return Schema.from_bytes(cbor2.dumps([*([14, i + 1] for i in range(length)), [3]]))

    assert difference(chain(100), chain(100)) is None
    found = difference(chain(101), chain(101))
    assert found is not None
    assert found.receiver.endswith(", which is too intricate to compare")
    monkeypatch.setattr(compare, "_MAX_STEPS", 50)
    assert difference(chain(49), chain(49)) is None
    assert difference(chain(50), chain(50)) is not None


def test_hostile_schemas_take_no_time() -> None:
    outcomes: set[bool] = set()

    def bounded(one: Schema, other: Schema) -> None:
        start = clock.process_time()
        outcomes.update("intricate" in str(found) for found in (difference(one, other), difference(other, one)))
        assert clock.process_time() - start < 8

    def cycle(length: int) -> Schema:
        return Schema.from_bytes(cbor2.dumps([[14, (i + 1) % length] for i in range(length)]))

    def unions(count: int, last: int) -> Schema:
        rows: list[Any] = []
        for i in range(count):
            rows += [[19, *(2 * j + 1 for j in range(count))], [14, 2 * ((i + 1) % count)]]
        return Schema.from_bytes(cbor2.dumps([*rows, [last]]))

    bounded(cycle(97), cycle(101))
    bounded(cycle(509), cycle(512))
    bounded(unions(100, 3), unions(99, 4))
    values = Schema.from_bytes(cbor2.dumps([[19, *range(1, 400)], *[[13, *range(50)]] * 399]))
    large = Schema.from_bytes(cbor2.dumps([[13, *range(50, 9000)]]))
    bounded(values, large)
    wide = Schema((Node(Kind.RECORD, name="R", fields=tuple(Field(str(i), 0) for i in range(2000))),))
    bounded(wide, wide)
    assert outcomes == {True, False}  # the limit was reached, and not by all


def tables(*rows: list[Any]) -> Schema:
    return Schema.from_bytes(cbor2.dumps(list(rows)))


def test_the_work_of_the_worst_comparisons_is_bounded_and_told() -> None:
    sender = tables([15, *range(1, 201)], *[[14, 201]] * 200, [3])
    receiver = tables([15, *[1] * 200], [19, *range(2, 203)], *[[14, 203]] * 200, [0], [4])  # only the last one fits
    many = tables([15, *[1] * 250], [13, *range(24, 10_000)])
    takers = tables([15, *range(1, 251)], *[[19, 251, 252]] * 250, [5], [3])
    for pair in ((sender, receiver), (many, takers)):
        found, work = compare.examine(*pair)
        assert found is not None
        assert found.receiver.endswith(", which is too intricate to compare")
        assert work == 1 + 8000 // 100


def test_two_sides_that_know_a_large_union_by_other_names_are_compared_fast() -> None:
    """The member is found by what it has in common with one, not by trying all of them."""

    def union(name: str, *, tagged: bool, count: int = 120) -> Schema:
        members = range(1, count + 1)
        fields = [["kind", 0, count + i] if tagged else [f"f{i}", 0, 0] for i in members]
        rows = [[18, f"{name}{i}", False, ["id", 0, 0], fields[i - 1]] for i in members]
        return tables(
            [19, *reversed(members)] if name == "A" else [19, *members], *rows, *([13, f"k{i}"] for i in members)
        )

    for tagged in (True, False):
        found, work = compare.examine(union("A", tagged=tagged), union("B", tagged=tagged))
        assert found is None
        assert work < 30


def test_a_text_is_not_made_longer_than_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = tables(*([15, *[0] * 60] for _ in range(400)))
    named = tables([18, "R" * 256, False, *([f"{i}" + "x" * 200, 0, 0] for i in range(100))])
    made = 0
    plain = schema._pieces  # pyright: ignore[reportPrivateUsage]

    def counted(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        return plain(*arguments)

    monkeypatch.setattr(schema, "_pieces", counted)
    for one in (wide, named):
        made = 0
        assert len(str(one)) == 201
        assert made < 200


def test_a_long_path_is_told_shortly() -> None:
    def nested(last: int) -> Schema:
        return tables(*([18, "", False, [f"f{i}", 0, i + 1]] for i in range(90)), [last])

    found = difference(nested(3), nested(4))
    assert found is not None
    assert found.path == 'field "f0", field "f1", field "f2", field "f3", …, ' + ", ".join(
        f'field "f{i}"' for i in range(86, 90)
    )
    assert (found.sender, found.receiver) == ("int", "float")


def test_the_same_bytes_fit_and_are_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(_data: bytes) -> Schema:
        raise AssertionError

    own = describe(Json)
    data = own.to_bytes()
    monkeypatch.setattr(Schema, "from_bytes", unread)
    assert difference(own, data) is difference(data, own) is None


def test_the_promise_was_put_to_the_test() -> None:
    """Enough of the random pairs fitted, and enough did not. (Runs after them.)"""
    if sum(FITTED.values()) >= 50:
        assert min(FITTED.values()) * 10 > sum(FITTED.values())
