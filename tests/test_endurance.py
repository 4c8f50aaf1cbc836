"""The endurance run works: a short one, end to end; and it sees what grows, and what is lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import pytest
import rich.console
import trio

from benchmarks.endurance import command
from benchmarks.endurance.runner import Course, run
from benchmarks.endurance.samples import BLOCKS_SLACK, FEWEST, MIB, Sample, growth
from benchmarks.endurance.scenarios import counted, hung_up, stream_up
from benchmarks.endurance.world import BrokenPromiseError, World
from trionetchan._network.connection import Connection

FLAT = Sample(
    seconds=1,
    memory=50 * MIB,
    traced=0,
    blocks=100_000,
    tasks=10,
    files=10,
    connections=0,
    sessions=0,
    objects=Counter({"trionetchan.Exporter": 1}),
)
GROWING: dict[str, Callable[[int], Sample]] = {
    "tasks": lambda number: attrs.evolve(FLAT, tasks=10 + number // 4),
    "files": lambda number: attrs.evolve(FLAT, files=10 + number // 4),
    "connections": lambda number: attrs.evolve(FLAT, connections=number // 4),
    "sessions": lambda number: attrs.evolve(FLAT, sessions=number // 4),
    "objects of trionetchan.Exporter": lambda number: attrs.evolve(
        FLAT, objects=Counter({"trionetchan.Exporter": 1 + number // 4})
    ),
    "resident memory": lambda number: attrs.evolve(FLAT, memory=(50 + number) * MIB),
    "allocated blocks": lambda number: attrs.evolve(FLAT, blocks=math.ceil(100_000 * (1 + number * BLOCKS_SLACK))),
}


def test_what_is_flat_does_not_grow() -> None:
    assert growth([FLAT] * FEWEST) == []
    assert growth([sample(number % 3) for sample in GROWING.values() for number in range(12)]) == []


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_is_told(name: str) -> None:
    (told,) = growth([GROWING[name](number) for number in range(12)])
    assert told.startswith(name)


def test_few_samples_say_nothing() -> None:
    (told,) = growth([FLAT] * (FEWEST - 1))
    assert "too short" in told


def course(*scenarios: Callable[[World], Awaitable[None]]) -> Course:
    return Course(seconds=0.5, round_seconds=0.2, scenarios={**dict.fromkeys(scenarios, 1)}, processes=False)


def test_short_run_holds() -> None:
    """The whole is for CI; here are the scenarios that need no real time to end."""
    short = course(counted, hung_up)
    trio.run(run, short)
    assert growth(short.samples) == []
    assert short.tally["jobs"] > 0
    assert short.tally["counted imports"] > 0
    assert short.tally["hang-ups"] > 0


def test_leak_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    run_connection = Connection.run

    async def run_and_keep(self: Connection) -> None:
        kept.append(self)
        await run_connection(self)

    monkeypatch.setattr(Connection, "run", run_and_keep)
    leaking = course(counted)
    trio.run(run, leaking)
    assert any("objects of trionetchan._network.connection.Connection" in told for told in growth(leaking.samples))


def test_lost_value_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(world: World) -> None:
        raise BrokenPromiseError("a value was lost")

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(run, course(stream_up, wrong))
    assert caught.group_contains(BrokenPromiseError, match="a value was lost")


@pytest.mark.parametrize(
    ("samples", "fails", "status", "verdict"),
    [
        ([FLAT] * FEWEST, False, 0, "nothing was lost, nothing grows"),
        ([GROWING["tasks"](number) for number in range(12)], False, 1, "something grows"),
        ([FLAT] * FEWEST, True, 1, "a promise was broken"),
    ],
)
def test_command_tells_the_verdict(
    monkeypatch: pytest.MonkeyPatch, samples: list[Sample], fails: bool, status: int, verdict: str
) -> None:
    async def run_as_planned(course: Course) -> None:
        for sample in samples:
            course.samples.append(sample)
            course.on_sample(sample, 7)
        await trio.lowlevel.checkpoint()
        if fails:
            raise BrokenPromiseError("a value was lost")

    monkeypatch.setattr(command, "run", run_as_planned)
    console = rich.console.Console(record=True, width=160)
    assert command.endure(console, seconds=1, round_seconds=1, seed=0, traced=False) == status
    printed = console.export_text()
    assert printed.splitlines()[-1] == f"verdict: {verdict}"
    assert ("a value was lost" in printed) == fails
    assert sum(line.split()[-1:] == ["7"] for line in printed.splitlines()) == len(samples)
