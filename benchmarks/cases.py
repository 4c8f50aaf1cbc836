"""What is measured, as data: cases with their goals, and sweeps for pictures."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from .measure import Sample
from .peers import LOCAL, OURS, PEERS
from .work import Kind, Task, Work

__all__ = ["CASES", "SWEEPS", "Case", "Measured", "Point", "Quantity", "Row", "Run", "Sweep"]


@attrs.frozen
class Run:
    """A peer at a piece of work."""

    peer: str
    work: Work


@attrs.frozen
class Measured:
    """What came of a run: the sample of the process that measures, and of the one that serves."""

    client: Sample
    server: Sample | None = None

    def cpu_per_value(self) -> tuple[float, float]:
        """Processor seconds of the process that serves (0 if there is one process only) and of the other one."""
        serving = self.server.cpu / self.server.values if self.server else 0.0
        return serving, self.client.cpu / self.client.values


class Quantity(enum.StrEnum):
    """What is read off a measurement, in which unit; of all but rates less is better."""

    RATE = "/s"
    P50 = "µs p50"
    P99 = "µs p99"
    CONNECTION_EXPORTER = "connection, exporter"
    CONNECTION_IMPORTER = "connection, importer"
    CHANNEL_EXPORTER = "channel, exporter"
    CHANNEL_IMPORTER = "channel, importer"

    @property
    def more_is_better(self) -> bool:
        return self is Quantity.RATE

    def of(self, measured: Measured, work: Work) -> float:
        """Values (elements, bytes) a second; microseconds; or KiB."""
        sample = measured.client
        if self is Quantity.RATE:
            return sample.values * work.values.units / sample.seconds
        if self is Quantity.P50:
            return sample.percentiles[50] * 1e6
        if self is Quantity.P99:
            return sample.percentiles[99] * 1e6
        return sample.memory[self.value] / 1024


@attrs.frozen
class Row:
    """One number of a case, and how good it is to be: a ratio to the baseline, or without one the number itself."""

    quantity: Quantity
    goal: float | None = None
    stretch: float | None = None


@attrs.frozen
class Case:
    """What is run beside what."""

    name: str
    title: str
    subject: Run
    baseline: Run | None
    rows: tuple[Row, ...]


@attrs.frozen
class Point:
    """One run of a sweep: a curve's name, and where on it."""

    curve: str
    x: int
    run: Run


@attrs.frozen
class Sweep:
    """Runs over a range, for a picture."""

    name: str
    title: str
    points: tuple[Point, ...]


def _rate(goal: float | None = None, stretch: float | None = None) -> tuple[Row, ...]:
    return (Row(Quantity.RATE, goal, stretch),)


INTEGERS = Work(count=200_000, window=1024, buffer=1024)
UNBUFFERED = Work(count=100_000, window=1024)
DEFAULTS = Work(count=100_000)
RECORDS = Work(kind=Kind.RECORDS, count=100_000, window=1024, buffer=1024)
LISTS = Work(kind=Kind.LISTS, count=10_000, window=1024, buffer=1024)
BULK = Work(kind=Kind.BYTES, count=1000, minimum=50)
ROUND_TRIPS = Work(task=Task.ROUND_TRIP, count=4000)
MANY = Work(task=Task.IMPORTERS, count=50_000, window=64, buffer=64, importers=1000, minimum=2000)
ONE_BUSY = Work(count=100_000, window=1024, buffer=1024, channels=1000)
MEMORY = Work(task=Task.MEMORY, count=1000, minimum=1000)


def _same(name: str, title: str, work: Work, peer: str, rows: Sequence[Row]) -> Case:
    """The same work for this library and for a peer."""
    return Case(name, title, Run(OURS, work), Run(peer, work), tuple(rows))


GOALS = (
    _same(
        "integers",
        "integers, window and buffers 1024; a local channel of that buffer",
        INTEGERS,
        LOCAL,
        _rate(1.4, 1.6),
    ),
    _same(
        "unbuffered", "integers, window 1024, buffers 0; a local channel of size 0", UNBUFFERED, LOCAL, _rate(0.8, 0.95)
    ),
    _same("defaults", "integers at the defaults; a local channel of size 0", DEFAULTS, LOCAL, _rate(0.65, 0.85)),
    _same(
        "records",
        "attrs values, window and buffers 1024; a local channel of that buffer",
        RECORDS,
        LOCAL,
        _rate(1.15, 1.4),
    ),
    _same("frames", "integers; a trio stream with a frame for each", INTEGERS, "trio-stream", _rate(2.2, 2.5)),
    _same(
        "frames-records", "attrs values; a trio stream with a frame for each", RECORDS, "trio-stream", _rate(1.8, 2.2)
    ),
    *(
        _same(
            f"go-{window}",
            f"attrs values at window {window}; Go's netchan, structs, at the same",
            Work(kind=Kind.RECORDS, count=20_000 if window < 100 else 50_000, window=window, buffer=window),
            "go-netchan",
            _rate(1.0, 1.5),
        )
        for window in (10, 100, 1000)
    ),
    _same(
        "lists",
        "lists of 256 integers, validated; blocking pyzmq, the same lists unvalidated",
        LISTS,
        "zmq-blocking",
        _rate(0.7, 1.0),
    ),
    Case(
        "lists-integers",
        "elements of lists of 256 integers, validated; blocking pyzmq, single integers",
        Run(OURS, LISTS),
        Run("zmq-blocking", attrs.evolve(INTEGERS, count=400_000)),
        _rate(6, 10),
    ),
    _same(
        "round-trip",
        "a number there and back over a pair of channels; a trio stream's ping-pong",
        ROUND_TRIPS,
        "trio-stream",
        (Row(Quantity.P50, 2.2, 1.8), Row(Quantity.P99, 4, 2.5)),
    ),
    _same("bulk", "1 MiB bytes; bare bytes over a trio stream", BULK, "trio-stream", _rate(0.55, 0.75)),
    Case(
        "beside-bulk",
        "a number there and back while another channel moves 16 MiB bytes",
        Run(OURS, Work(task=Task.BESIDE_BULK, count=500, minimum=50)),
        None,
        (Row(Quantity.P50), Row(Quantity.P99, 20_000, 5_000)),
    ),
    Case(
        "importers",
        "1,000 importers of one name, all together; one importer",
        Run(OURS, MANY),
        Run(OURS, attrs.evolve(MANY, importers=1)),
        _rate(0.5, 0.8),
    ),
    Case(
        "channels",
        "1,000 channels on a connection, one busy; only that one",
        Run(OURS, ONE_BUSY),
        Run(OURS, attrs.evolve(ONE_BUSY, channels=1)),
        _rate(0.95),
    ),
    Case(
        "memory",
        "what an idle connection, and an idle bound channel, take (resident memory, KiB)",
        Run(OURS, MEMORY),
        None,
        (
            Row(Quantity.CONNECTION_EXPORTER, 48, 24),
            Row(Quantity.CONNECTION_IMPORTER, 48, 24),
            Row(Quantity.CHANNEL_EXPORTER, 8, 4),
            Row(Quantity.CHANNEL_IMPORTER, 8, 4),
        ),
    ),
    Case(
        "long",
        "10⁶ integers, window and buffers 1024; 10⁵",
        Run(OURS, attrs.evolve(INTEGERS, count=1_000_000)),
        Run(OURS, attrs.evolve(INTEGERS, count=100_000)),
        _rate(0.95),
    ),
)

# Each peer at the same work, without a goal. The slower ones get fewer values: they are as fast with more.
FEWER = {"pynng": 10, "trio-websocket": 4, "grpc": 10, "zmq-asyncio": 2, "trio-stream": 2}

BESIDE = tuple(
    case
    for peer in PEERS.values()
    if peer.name != OURS and Task.ROUND_TRIP in peer.tasks
    for case in (
        Case(
            f"peer-{peer.name}",
            f"integers, window and buffers 1024; {peer.name}",
            Run(OURS, attrs.evolve(INTEGERS, count=100_000)),
            Run(peer.name, attrs.evolve(INTEGERS, count=100_000 // FEWER.get(peer.name, 1))),
            _rate(),
        ),
        _same(
            f"peer-{peer.name}-round-trip",
            f"a number there and back; {peer.name}",
            attrs.evolve(ROUND_TRIPS, count=2000),
            peer.name,
            (Row(Quantity.P50), Row(Quantity.P99)),
        ),
    )
)

CASES = {case.name: case for case in (*GOALS, *BESIDE)}

SWEEPS = {
    sweep.name: sweep
    for sweep in (
        Sweep(
            "windows",
            "integers by window and buffers",
            (
                *(
                    Point(
                        f"buffers {buffer}",
                        window,
                        # A small window is slow, and as slow over fewer values.
                        Run(OURS, Work(count=min(1000 * window, 50_000), window=window, buffer=buffer)),
                    )
                    for buffer in (0, 64, 1024)
                    for window in (1, 4, 16, 64, 256, 1024)
                ),
                *(
                    Point(f"local, buffer {buffer}", 1024, Run(LOCAL, Work(count=50_000, buffer=buffer)))
                    for buffer in (0, 1024)
                ),
            ),
        ),
        Sweep(
            "importers",
            "integers by number of importers",
            tuple(
                Point("all together", number, Run(OURS, attrs.evolve(MANY, importers=number)))
                for number in (1, 10, 100, 1000)
            ),
        ),
        Sweep(
            "channels",
            "integers on one of many channels",
            tuple(
                Point("one busy", number, Run(OURS, attrs.evolve(ONE_BUSY, channels=number)))
                for number in (1, 10, 100, 1000)
            ),
        ),
    )
}
