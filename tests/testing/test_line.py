"""The stream of the testing kit is a stream by trio's own rules, and fails exactly as it was told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trionetchan.testing import Line, Way

TEXT = bytes(range(256)) * 40
BOTH_WAYS = ["to_exporter", "to_importer"]
Ends = tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]


def ends(line: Line, way: str) -> Ends:
    """The end that writes in this direction, and the one that reads."""
    both = (line.importer_end, line.exporter_end)
    return both if way == "to_exporter" else (both[1], both[0])


def way_of(line: Line, way: str) -> Way:
    return line.to_exporter if way == "to_exporter" else line.to_importer


async def read(stream: trio.abc.ReceiveStream) -> tuple[bytes, str]:
    """What can be read, and what comes then."""
    heard = bytearray()
    try:
        while chunk := await stream.receive_some():
            heard += chunk
    except trio.BrokenResourceError:
        return bytes(heard), "error"
    return bytes(heard), "end"


async def write(stream: trio.abc.SendStream, data: bytes) -> str:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return "error"
    return "sent"


async def blocks(function: Callable[..., Awaitable[object]], *arguments: object) -> bool:
    with trio.move_on_after(100) as waited:
        await function(*arguments)
    return waited.cancelled_caught


def make(**options: float) -> Callable[[], Awaitable[Ends]]:
    async def make_ends() -> Ends:
        line = Line(**options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return line.importer_end, line.exporter_end

    return make_ends


def make_clogged(**options: float) -> Callable[[], Awaitable[Ends]]:
    async def make_ends() -> Ends:
        line = Line(capacity=1000, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await line.importer_end.send_all(bytes(1000))
        await line.exporter_end.send_all(bytes(1000))
        return line.importer_end, line.exporter_end

    return make_ends


OPTIONS: list[dict[str, float]] = [{}, {"slice_size": 3000}, {"delay": 0.01}]


@pytest.mark.parametrize("options", OPTIONS)
async def test_is_a_two_way_stream_by_trios_rules(
    options: dict[str, float], autojump_clock: trio.testing.MockClock
) -> None:
    await trio.testing.check_two_way_stream(make(**options), make_clogged(**options))


@pytest.mark.parametrize("options", OPTIONS)
async def test_is_a_half_closeable_stream_by_trios_rules(
    options: dict[str, float], autojump_clock: trio.testing.MockClock
) -> None:
    await trio.testing.check_half_closeable_stream(make(**options), make_clogged(**options))


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_writer_waits_when_the_capacity_is_used(way: str, autojump_clock: trio.testing.MockClock) -> None:
    line = Line(capacity=1000)
    writer, reader = ends(line, way)
    await writer.wait_send_all_might_not_block()
    assert await blocks(writer.send_all, bytes(1001))
    assert way_of(line, way).carried == 1000
    assert await blocks(writer.wait_send_all_might_not_block)
    assert await reader.receive_some(1) == b"\0"
    await writer.wait_send_all_might_not_block()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.send_all, TEXT)
        heard = bytearray()
        while len(heard) < 999 + len(TEXT):
            heard += await reader.receive_some()
    assert heard == bytes(999) + TEXT


@pytest.mark.parametrize("size", [1, 100])
async def test_slices(size: int) -> None:
    line = Line(slice_size=size)
    await line.importer_end.send_all(TEXT[:150])
    chunks = [await line.exporter_end.receive_some() for _ in range(-(-150 // size))]
    assert b"".join(chunks) == TEXT[:150]
    assert {len(chunk) for chunk in chunks[:-1]} == {size}
    line.to_exporter.slice_size = None
    await line.importer_end.send_all(TEXT)
    assert await line.exporter_end.receive_some() == TEXT


async def test_delay_is_of_each_byte_and_not_of_their_sum(autojump_clock: trio.testing.MockClock) -> None:
    line = Line(delay=2)
    assert (line.to_exporter.delay, line.to_importer.delay) == (2, 2)
    start = trio.current_time()
    await line.importer_end.send_all(b"one")
    await trio.sleep(1)
    await line.importer_end.send_all(b"two")
    assert await line.exporter_end.receive_some() == b"one"
    assert trio.current_time() - start == pytest.approx(2)
    assert await line.exporter_end.receive_some() == b"two"
    assert trio.current_time() - start == pytest.approx(3)


# Cuts


@pytest.mark.parametrize("capacity", [3, 100_000])
@pytest.mark.parametrize("way", BOTH_WAYS)
@pytest.mark.parametrize("after", [0, 1, 5000, len(TEXT)])
@pytest.mark.parametrize("how", ["reset", "end"])
async def test_cut_at_the_byte(
    how: str, after: int, way: str, capacity: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Exactly so many bytes arrive, and then an error or an end, for both sides; the writer is told of a reset."""
    line = Line(capacity=capacity)
    writer, reader = ends(line, way)
    way_of(line, way).cut("reset" if how == "reset" else "end", after=after)
    said: list[str] = []

    async def say() -> None:
        said.append(await write(writer, TEXT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        assert await read(reader) == (TEXT[:after], "error" if how == "reset" else "end")
        assert await read(writer) == (b"", "error" if how == "reset" else "end")
    assert said == ["error" if how == "reset" or after == 0 else "sent"]
    assert await write(writer, b"more") == await write(reader, b"more") == "error"
    assert line.is_cut


@pytest.mark.parametrize("stalled", [False, True])
async def test_reset_loses_what_is_on_its_way_and_an_end_does_not(stalled: bool) -> None:
    reset, end = Line(), Line()
    for line in (reset, end):
        for stream in (line.importer_end, line.exporter_end):
            await stream.send_all(TEXT)
        if stalled:
            line.stall()
    reset.cut()
    reset.cut("end")  # it has been cut
    end.cut("end")
    for stream in (reset.importer_end, reset.exporter_end):
        assert await read(stream) == (b"", "error")
    for stream in (end.importer_end, end.exporter_end):
        assert await read(stream) == (TEXT, "end")


async def test_cut_wakes_those_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    for how, told in (("reset", "error"), ("end", "sent")):
        line = Line(capacity=10)
        said: dict[str, object] = {}

        async def say(line: Line = line, said: dict[str, object] = said) -> None:
            said["wrote"] = await write(line.importer_end, TEXT)

        async def hear(line: Line = line, said: dict[str, object] = said) -> None:
            said["heard"] = await read(line.importer_end)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            nursery.start_soon(hear)
            await trio.testing.wait_all_tasks_blocked()
            line.cut("reset" if how == "reset" else "end")
        assert said == {"wrote": told, "heard": (b"", "error" if how == "reset" else "end")}


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_one_direction_ends_and_the_other_goes_on(way: str) -> None:
    line = Line(capacity=2000)
    writer, reader = ends(line, way)
    way_of(line, way).end(after=1000)
    assert await write(writer, TEXT) == await write(writer, TEXT) == "sent"  # it is not told
    assert await read(reader) == (TEXT[:1000], "end")
    assert await write(reader, TEXT[:500]) == "sent"
    assert await writer.receive_some() == TEXT[:500]
    assert not line.is_cut


# Stalls


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_one_direction_stalls_and_goes_on(way: str, autojump_clock: trio.testing.MockClock) -> None:
    line = Line(capacity=3000)
    writer, reader = ends(line, way)
    way_of(line, way).stall(after=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.send_all, TEXT)
        await trio.testing.wait_all_tasks_blocked()
        assert way_of(line, way).carried == 3000  # what its capacity takes
        assert await blocks(reader.receive_some)
        await reader.send_all(b"back")
        assert await writer.receive_some() == b"back"
        way_of(line, way).go_on()
        heard = bytearray()
        while len(heard) < len(TEXT):
            heard += await reader.receive_some()
        assert heard == TEXT


async def test_nobody_is_told_what_happens_at_the_other_end_of_a_stalled_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line(capacity=100)
    line.stall()
    await line.importer_end.aclose()
    assert line.is_closed
    assert await blocks(line.exporter_end.receive_some)
    assert await blocks(line.exporter_end.send_all, TEXT)
    async with trio.open_nursery() as nursery:
        said: list[str] = []

        async def say() -> None:
            said.append(await write(line.exporter_end, TEXT))

        nursery.start_soon(say)
        await trio.testing.wait_all_tasks_blocked()
        line.go_on()
    assert said == ["error"]
    assert await read(line.exporter_end) == (b"", "end")


async def test_closing_a_stalled_line_wakes_its_own_writer_and_reader() -> None:
    line = Line(capacity=1)
    line.stall()
    async with trio.open_nursery() as nursery:

        async def raises(function: Callable[..., Awaitable[object]], *arguments: object) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await function(*arguments)

        nursery.start_soon(raises, line.importer_end.send_all, TEXT)
        nursery.start_soon(raises, line.importer_end.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        await line.importer_end.aclose()


@pytest.mark.parametrize("options", [{"capacity": 0}, {"slice_size": 0}, {"delay": -1}])
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}: expected at least"):
        Line(**options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected a number of bytes, got -1"):
        Line().to_exporter.stall(after=-1)
