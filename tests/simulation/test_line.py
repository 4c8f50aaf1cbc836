"""The line does to its ends what it says."""

from __future__ import annotations

import contextlib
import random

import pytest
import trio
import trio.testing

from .line import Fault, Line, Quality, Way


def a_line(**quality: float) -> Line:
    return Line(random.Random(0), Quality(**quality), lambda: None)


async def test_it_is_a_stream() -> None:
    async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        line = a_line(capacity=50_000, slice_size=50_000)
        return line.importer_end, line.exporter_end

    await trio.testing.check_half_closeable_stream(make, None)


async def test_what_is_said_to_have_failed_may_have_arrived(autojump_clock: trio.testing.MockClock) -> None:
    kept = 0
    for seed in range(20):
        line = Line(random.Random(seed), Quality(), lambda: None)
        line.cut_after(Way.UP, 3, Fault.RESET)
        with pytest.raises(trio.BrokenResourceError):
            await line.importer_end.send_all(b"all")
        with contextlib.suppress(trio.BrokenResourceError):
            kept += await line.exporter_end.receive_some() == b"all"
        with pytest.raises(trio.BrokenResourceError):
            await line.exporter_end.receive_some()
    assert 0 < kept < 20


async def test_an_end_loses_the_rest(autojump_clock: trio.testing.MockClock) -> None:
    line = a_line()
    line.cut_after(Way.DOWN, 2, Fault.END)
    await line.exporter_end.send_all(b"abc")
    assert await line.importer_end.receive_some() == b"ab"
    assert await line.importer_end.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await line.exporter_end.send_all(b"d")


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.SWALLOW])
async def test_silence(autojump_clock: trio.testing.MockClock, fault: Fault) -> None:
    line = a_line(capacity=5)
    line.harm(fault)
    with trio.move_on_after(100) as writing:
        await line.importer_end.send_all(bytes(10))
    assert writing.cancelled_caught is (fault is Fault.STALL)
    with trio.move_on_after(100) as reading:
        await line.exporter_end.receive_some()
    assert reading.cancelled_caught


async def test_half_and_one_way(autojump_clock: trio.testing.MockClock) -> None:
    line = a_line()
    line.harm(Fault.HALF)
    await line.importer_end.send_all(b"into nothing")
    with pytest.raises(trio.BrokenResourceError):
        await line.exporter_end.receive_some()
    await line.exporter_end.aclose()
    await line.importer_end.send_all(b"into nothing, still")
    line = a_line()
    line.harm(Fault.ONE_WAY, Way.UP)
    await line.importer_end.send_all(b"into nothing")
    await line.exporter_end.send_all(b"heard")
    assert await line.importer_end.receive_some() == b"heard"


async def test_a_pause_ends(autojump_clock: trio.testing.MockClock) -> None:
    line = a_line()
    line.pause(True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.importer_end.send_all, b"later")
        with trio.move_on_after(5) as early:
            await line.exporter_end.receive_some()
        assert early.cancelled_caught
        line.pause(False)
        assert await line.exporter_end.receive_some() == b"later"
