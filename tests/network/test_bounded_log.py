"""What peers can have logged: so many lines a second, and the rest counted and told."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import math
from collections import Counter

import pytest
import trio
import trio.testing
from scripted import Scripted, data
from support import connect, until

from trionetchan import Limits, open_exporter
from trionetchan._allowance import Allowance
from trionetchan._errors import Code
from trionetchan._log import BoundedLog
from trionetchan._protocol.frames import Close

pytestmark = pytest.mark.promise(74)


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trionetchan")


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "trionetchan"]


def left_out(line: str) -> int:
    """How many lines this one says were left out."""
    count, _, rest = line.partition(" ")
    return int(count) if rest == "more lines like these were left out" else 0


# The log alone


async def test_a_second_has_so_many_lines(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = BoundedLog(3)
    for number in range(5):
        log.warning("line %d", number)
    assert written(caplog) == ["line 0", "line 1", "line 2"]
    assert log.left_out == 2
    caplog.clear()
    await trio.sleep(2)
    log.error("a later line")
    log.info("and one more")
    assert written(caplog) == ["2 more lines like these were left out", "a later line", "and one more"]
    assert log.left_out == 0
    log.info("the line that tells is paid for")
    assert log.left_out == 1


@pytest.mark.parametrize("rate", [1, 10])
async def test_a_flood_has_so_many_lines_a_second_and_all_others_are_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, rate: int
) -> None:
    log = BoundedLog(rate)
    seconds = Counter[int]()
    for number in range(3000):
        before = len(caplog.records)
        log.warning("line %d", number)
        seconds[math.floor(trio.current_time())] += len(caplog.records) - before
        await trio.sleep(0.01)
    log.tell()
    lines = written(caplog)
    told = sum(map(left_out, lines))
    shown = len([line for line in lines if line.startswith("line ")])
    assert shown + told == 3000
    assert len(lines) <= rate * 31 + 1
    assert shown >= rate * 29 / (2 if rate == 1 else 1) - 31
    assert max(seconds.values()) <= 2 * rate  # a burst, and what comes by and by
    assert all(count <= rate + 1 for second, count in seconds.items() if second)


def test_outside_of_trio_it_works_too(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(2)
    for _ in range(2):
        log.warning("a line")
    log.left_out += 5
    log.tell()
    assert written(caplog) == ["a line", "a line", "5 more lines like these were left out"]
    log.tell()
    assert len(written(caplog)) == 3


def test_a_line_below_the_level_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trionetchan")
    log = BoundedLog(1)
    for _ in range(100):
        log.info("nobody wants to know")
    log.warning("this matters")
    assert written(caplog) == ["this matters"]


def test_a_line_names_the_place_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    BoundedLog(1).warning("a line")
    assert caplog.records[-1].funcName == "test_a_line_names_the_place_that_wrote_it"


def test_a_mistake_has_one_traceback_however_often_it_is_made(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(10)
    for divisor in (0, 0, 0, 1):
        try:
            print(1 / divisor)
            print([0][divisor])
        except (ZeroDivisionError, IndexError):
            log.exception("the connection with %s ended", "somebody")
    assert written(caplog) == [
        "the connection with somebody ended",
        "the connection with somebody ended: ZeroDivisionError",
        "the connection with somebody ended: ZeroDivisionError",
        "the connection with somebody ended",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False, True]


def test_a_traceback_that_was_left_out_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    log = BoundedLog(1)
    log.warning("a line")
    for divisor in (1, 1):
        try:
            print([0][divisor])
        except IndexError:
            log.exception("a mistake")
        log._allowed = Allowance(1, 1)
    assert bool(caplog.records[-1].exc_info)


# What peers do


async def test_bad_connections_of_a_flood_are_counted(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_exporter(limits=Limits(max_log_lines=5)) as exporter:
        for _ in range(100):
            ours, theirs = trio.testing.memory_stream_pair()
            await ours.send_all(b"no hello at all")
            await ours.send_eof()
            await exporter.serve_stream(theirs)
        assert len(written(caplog)) == 5
    assert written(caplog)[5:] == ["95 more lines like these were left out"]


async def test_dropped_and_refused_values_are_counted(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that hangs up again and again has values of its own dropped, and has others refused."""
    async with open_exporter(limits=Limits(max_log_lines=4)) as exporter:
        exporter.open_receive_channel("results", int, importers=None)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        peer = Scripted(ours)
        await peer.greet()
        for channel in range(8):
            await peer.bind(channel, "results", receives=False)
            await peer.say(data(channel, 0, ["no number"]) if channel % 2 else data(channel, 0, [1, 2]))
            if channel % 2 == 0:
                await peer.say(Close(channel, 2, Code.HUNG_UP, ""))
            await peer.hear(Close)
        assert len(written(caplog)) == 4
        assert any("dropped" in line for line in written(caplog))
        assert any("refused" in line for line in written(caplog))
        await peer.stream.aclose()
        await until(lambda: exporter.statistics().connections == 0)
    assert any(map(left_out, written(caplog)))


async def test_other_blocks_have_their_own(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    async with open_exporter() as exporter, connect(nursery, exporter) as importer:
        assert exporter._log is not importer._log
