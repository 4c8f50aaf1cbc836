"""The value codec beside two libraries that could do its work: cattrs over cbor2, and msgspec over MessagePack.

    python -m benchmarks.codecs            the table of docs/decisions/0001-own-codec.md
    python -m benchmarks.codecs --quick    does it still work?

One process and no network: a list of values becomes the bytes of one batch, and the bytes become the values. Everybody
takes the same values, in turn, in many short rounds. cattrs is used in its faster mode (its errors name no path then),
with hooks that coerce nothing. Neither library looks at the types of what it writes; this one does.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import cyclopts
import rich.box
import rich.console
import rich.table

from trionetchan._codec import codec_for

__all__ = ["main"]

ROUNDS = 15
ROUND_TIME = 0.02  # seconds that one measurement takes
OURS = "trionetchan"
output = rich.console.Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)


@attrs.define
class Record:
    """The value that most programs send."""

    number: int
    text: str
    weight: float


@attrs.frozen
class Case:
    """Batches of so many values of one type."""

    name: str
    value_type: Any
    values: list[Any]


@attrs.frozen
class Rival:
    """One way from a batch of values to bytes, and back."""

    name: str
    encode: Callable[[list[Any]], bytes]
    decode: Callable[[bytes], list[Any]]


def cases() -> Iterator[Case]:
    """What is measured."""
    for count in (1, 4, 64):
        yield Case(f"record, {count} a batch", Record, [Record(1000 * i, f"record {i}", i / 3) for i in range(count)])
    yield Case("list[int] of 256, 1 a batch", list[int], [[1000 * i for i in range(256)]])


def trionetchan(value_type: Any) -> Rival:
    """The codec of this library."""
    codec = codec_for(value_type)
    return Rival(OURS, codec.encode, codec.decode)


def cattrs_over_cbor2(value_type: Any) -> Rival:
    """cattrs, made as strict as this library where it reads."""
    import cattrs
    import cbor2

    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    for scalar in (int, str, float):
        converter.register_structure_hook(scalar, _exactly)
    unstructure = converter.get_unstructure_hook(list[value_type])
    structure = converter.get_structure_hook(list[value_type])
    return Rival(
        "cattrs, cbor2",
        lambda values: cbor2.dumps(unstructure(values)),
        lambda payload: structure(cbor2.loads(payload), list[value_type]),
    )


def _exactly(value: Any, scalar: type) -> Any:
    if type(value) is not scalar:
        raise TypeError(f"expected {scalar.__name__}, got {value!r}")
    return value


def msgspec_over_messagepack(value_type: Any) -> Rival:
    """msgspec, with the program's own classes."""
    import msgspec

    batch: Any = list.__class_getitem__(value_type)  # written as list[value_type], type checkers expect a type
    return Rival("msgspec", msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(batch).decode)


MAKERS = (trionetchan, cattrs_over_cbor2, msgspec_over_messagepack)


def installed() -> list[Callable[[Any], Rival]]:
    """What makes those that are here, this library first; says why another is not."""
    makers: list[Callable[[Any], Rival]] = []
    for make in MAKERS:
        try:
            make(Record)
        except ModuleNotFoundError as error:
            output.print(f"{make.__name__} is skipped: {error.name} is not installed (the `bench` extra has it)")
        else:
            makers.append(make)
    return makers


def seconds(call: Callable[[], object], repetitions: int) -> float:
    """How long so many calls take."""
    start = time.perf_counter()
    for _ in itertools.repeat(None, repetitions):
        call()
    return time.perf_counter() - start


def measure(calls: dict[str, Callable[[], object]], rounds: int, round_time: float) -> dict[str, list[float]]:
    """Seconds a call, of each, round by round; in each round all take their turn."""
    repetitions = {name: 1 + int(round_time / max(seconds(call, 10) / 10, 1e-9)) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call, repetitions[name]) / repetitions[name])
    return times


def add_rows(table: rich.table.Table, case: Case, contenders: list[Rival], rounds: int, round_time: float) -> None:
    """One row for writing and one for reading: µs a value, and how many times ours is theirs, round by round."""
    written = {rival.name: rival.encode(case.values) for rival in contenders}
    for rival in contenders:
        assert rival.decode(written[rival.name]) == case.values, rival.name
    ways: dict[str, dict[str, Callable[[], object]]] = {
        "write": {rival.name: functools.partial(rival.encode, case.values) for rival in contenders},
        "read": {rival.name: functools.partial(rival.decode, written[rival.name]) for rival in contenders},
    }
    for way, calls in ways.items():
        times = measure(calls, rounds, round_time)
        cells = [f"{statistics.median(times[OURS]) * 1e6 / len(case.values):.2f}"]
        for rival in contenders[1:]:
            ratios = [ours / theirs for ours, theirs in zip(times[OURS], times[rival.name], strict=True)]
            cells += [
                f"{statistics.median(times[rival.name]) * 1e6 / len(case.values):.2f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            ]
        table.add_row(case.name, way, *cells)


def codecs(*, quick: bool = False) -> int:
    """Measure the value codec beside cattrs and msgspec; print µs a value, and how many times ours is theirs.

    Parameters
    ----------
    quick
        One short round: it shows that everything works, the numbers mean little.
    """
    rounds, round_time = (1, 0.001) if quick else (ROUNDS, ROUND_TIME)
    makers = installed()
    table = rich.table.Table("µs a value", "", OURS, box=rich.box.SIMPLE)
    for make in makers[1:]:
        table.add_column(make(Record).name, justify="right")
        table.add_column("ours / theirs", justify="right")
    for case in cases():
        add_rows(table, case, [make(case.value_type) for make in makers], rounds, round_time)
    output.print(table)
    return 0


def main() -> int:
    app = cyclopts.App(name="python -m benchmarks.codecs", help_format="plaintext", result_action="return_value")
    app.default(codecs)
    status: Any = app()
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
