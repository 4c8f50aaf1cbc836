"""What a measurement does: the task, the values, and how both sides of a pair make and check them."""

from __future__ import annotations

import enum
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import cattrs
import cbor2

__all__ = ["CODECS", "KINDS", "Codec", "Kind", "Record", "Task", "Values", "Work"]


class Task(enum.StrEnum):
    """What is done."""

    STREAM = "stream"
    """Values in one direction, as fast as they go."""
    ROUND_TRIP = "round trip"
    """A small value there and back, one at a time."""
    BESIDE_BULK = "round trip beside bulk"
    """The same, while another channel of the connection moves large bytes."""
    IMPORTERS = "importers"
    """Values dealt to importers that compete for them, each with a connection of its own."""
    MEMORY = "memory"
    """What idle connections and idle channels take."""


class Kind(enum.StrEnum):
    """Which values are sent."""

    INTEGERS = "integers"
    RECORDS = "records"
    LISTS = "lists"
    BYTES = "bytes"


@attrs.frozen
class Record:
    """A value with three fields."""

    id: int
    name: str
    weight: float


@attrs.frozen
class Values:
    """The values of one kind: their type, a few examples that are sent in turn, and what a rate is counted in."""

    type: Any
    make: Callable[[], Sequence[Any]]
    units: int = 1
    unit: str = "values"


LIST_LENGTH = 256
BULK = 2**20
LARGE = 16 * 2**20  # bytes of one value of the bulk beside a round trip

KINDS: dict[Kind, Values] = {
    Kind.INTEGERS: Values(int, lambda: range(1024)),
    Kind.RECORDS: Values(Record, lambda: [Record(number, f"record {number}", number / 8) for number in range(1024)]),
    Kind.LISTS: Values(
        list[int],
        lambda: [list(range(start, start + LIST_LENGTH)) for start in range(64)],
        units=LIST_LENGTH,
        unit="elements",
    ),
    Kind.BYTES: Values(bytes, lambda: [os.urandom(BULK)], units=BULK, unit="bytes"),
}


@attrs.frozen
class Codec:
    """How a peer that carries bytes carries a value: typed both ways where the kind is a class, else CBOR as it is."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _record_codec() -> Codec:
    # The hooks are looked up once: this is the fastest way that cattrs has.
    converter = cattrs.Converter()
    unstructure = converter.get_unstructure_hook(Record)
    structure = converter.get_structure_hook(Record)
    dumps, loads = cbor2.dumps, cbor2.loads
    return Codec(lambda value: dumps(unstructure(value)), lambda data: structure(loads(data), Record))


CODECS: dict[Kind, Callable[[], Codec]] = {
    Kind.INTEGERS: lambda: Codec(cbor2.dumps, cbor2.loads),
    Kind.RECORDS: _record_codec,
    Kind.LISTS: lambda: Codec(cbor2.dumps, cbor2.loads),
    Kind.BYTES: lambda: Codec(bytes, bytes),  # both return the very object
}


@attrs.frozen(kw_only=True)
class Work:
    """One measurement's work. Both of its processes are told the same."""

    task: Task = Task.STREAM
    kind: Kind = Kind.INTEGERS
    count: int
    """How many values (or round trips, or idle connections and channels) are measured."""
    window: int = 64
    buffer: int = 0
    """The size of the memory channel at each end."""
    importers: int = 1
    channels: int = 1
    """How many channels are bound on the connection; one of them is used."""
    minimum: int = 200
    """How far `count` may be cut."""

    @property
    def warmup(self) -> int:
        """How many values go before the measured ones."""
        return min(max(self.count // 10, 1), 10_000)

    @property
    def total(self) -> int:
        return self.warmup + self.count

    @property
    def values(self) -> Values:
        return KINDS[self.kind]

    @functools.cached_property
    def examples(self) -> Sequence[Any]:
        return self.values.make()

    def codec(self) -> Codec:
        return CODECS[self.kind]()

    def sequence(self) -> Iterator[Any]:
        """The examples in turn, without end."""
        return itertools.cycle(self.examples)

    def check(self, last: object) -> None:
        """`RuntimeError` unless this is the last value that was to come."""
        expected = self.examples[(self.total - 1) % len(self.examples)]
        # Bytes are made at random, by each process for itself.
        if len(last) != BULK if isinstance(last, bytes) else last != expected:
            raise RuntimeError(f"expected {expected!r} as the last of {self.total} values, got {last!r}")

    def cut(self, divisor: int) -> Work:
        """The same work with fewer values."""
        return attrs.evolve(self, count=max(self.count // divisor, min(self.minimum, self.count)))

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @staticmethod
    def from_json(text: str) -> Work:
        return cattrs.structure(json.loads(text), Work)
