"""The tests' own proxy and lines do what they say: else a cut that harms nothing would pass for one survived."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from proxy import Fault, Line, Network, Plan, Proxy, Way, open_proxy
from support import put, serve_tcp, take_all

from trionetchan import open_exporter, open_importer, open_tcp_importer

TEXT = bytes(range(256)) * 40
BOTH_WAYS = [Way.UP, Way.DOWN]


@asynccontextmanager
async def pair(plan: Plan, *, seed: int = 0) -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream, Proxy]]:
    """A client, what it is connected to through a proxy, and that."""
    targets, target = trio.open_memory_channel[trio.SocketStream](1)
    over = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await targets.send(stream)
        await over.wait()

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with (
            open_proxy(port, lambda _number: plan, seed=seed) as proxy,
            await trio.open_tcp_stream("127.0.0.1", proxy.port) as client,
        ):
            yield client, await target.receive(), proxy
        over.set()
        nursery.cancel_scope.cancel()


async def read(stream: trio.abc.ReceiveStream) -> tuple[bytes, str]:
    """What can be read, and what comes then."""
    heard = bytearray()
    try:
        while chunk := await stream.receive_some():
            heard += chunk
    except trio.BrokenResourceError:
        return bytes(heard), "error"
    return bytes(heard), "end"


async def write(stream: trio.abc.SendStream, text: bytes) -> str:
    try:
        await stream.send_all(text)
    except trio.BrokenResourceError:
        return "error"
    return "sent"


# TCP


async def test_proxy_carries_both_ways_and_half_closes() -> None:
    async with pair(Plan(slice_size=700, delay=0.0001)) as (client, target, _), trio.open_nursery() as nursery:
        for stream in (client, target):
            nursery.start_soon(write, stream, TEXT)
        received = bytearray()
        while len(received) < len(TEXT):
            received += await client.receive_some(1000)
        assert received == TEXT
        await client.send_eof()
        assert await read(target) == (TEXT, "end")
        await target.send_all(b"more")
        await target.send_eof()
        assert await read(client) == (b"more", "end")


@pytest.mark.parametrize("after", [0, 1, 5000])
@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_proxy_ends_after_so_many_bytes(way: Way, after: int) -> None:
    async with pair(Plan(fault=Fault.END, way=way, after=after)) as (client, target, _):
        writer, reader = (client, target) if way is Way.UP else (target, client)
        assert await write(writer, TEXT) == "sent"
        assert await read(reader) == (TEXT[:after], "end")
        assert await read(writer) == (b"", "end")
        assert await write(reader, b"this is lost") == "sent"


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_proxy_resets_both_sides(way: Way) -> None:
    async with pair(Plan(fault=Fault.RESET, way=way, after=100)) as (client, target, _):
        writer, reader = (client, target) if way is Way.UP else (target, client)
        await write(writer, TEXT)
        heard, then = await read(reader)
        assert TEXT[:100].startswith(heard)
        assert then == "error"
        assert await read(writer) == (b"", "error")


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_proxy_stalls_both_ways(way: Way, nursery: trio.Nursery) -> None:
    """What is written fills the buffers of the system, and no more."""
    async with pair(Plan(fault=Fault.STALL, way=way, after=100)) as (client, target, _):
        writer, reader = (client, target) if way is Way.UP else (target, client)
        await write(writer, TEXT)
        received = bytearray()
        while len(received) < 100:
            received += await reader.receive_some()
        assert received == TEXT[:100]
        for stream in (client, target):
            with trio.move_on_after(0.05) as nothing_comes:
                await stream.receive_some()
            assert nothing_comes.cancelled_caught
            with trio.move_on_after(0.05) as full:
                while True:
                    await stream.send_all(bytes(2**20))
            assert full.cancelled_caught


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_proxy_swallows_both_ways(way: Way) -> None:
    async with pair(Plan(fault=Fault.SWALLOW, way=way, after=100)) as (client, target, _):
        writer, reader = (client, target) if way is Way.UP else (target, client)
        await write(writer, TEXT)
        received = bytearray()
        while len(received) < 100:
            received += await reader.receive_some()
        assert received == TEXT[:100]
        for stream in (client, target):
            await stream.send_all(bytes(2**25))  # more than any buffer holds
            with trio.move_on_after(0.05) as nothing_comes:
                await stream.receive_some()
            assert nothing_comes.cancelled_caught


@pytest.mark.parametrize("way", BOTH_WAYS)
@pytest.mark.parametrize("by_command", [False, True])
async def test_proxy_limits_the_rate(way: Way, by_command: bool) -> None:
    limited = Plan(rate=50_000)
    async with pair(Plan() if by_command else limited) as (client, target, proxy), trio.open_nursery() as nursery:
        writer, reader = (client, target) if way is Way.UP else (target, client)
        if by_command:
            await writer.send_all(b"?")  # it is carried by now
            await reader.receive_some()
            proxy.carry_as(limited)
        start = trio.current_time()
        nursery.start_soon(write, writer, TEXT)
        heard = bytearray()
        while len(heard) < len(TEXT):
            heard += await reader.receive_some()
        assert heard == TEXT
        assert trio.current_time() - start > 0.9 * len(TEXT) / limited.rate - 0.02


@pytest.mark.parametrize("way", BOTH_WAYS)
async def test_proxy_holds_one_direction_and_lets_go(way: Way) -> None:
    async with pair(Plan()) as (client, target, proxy):
        writer, reader = (client, target) if way is Way.UP else (target, client)
        await writer.send_all(b"?")
        await reader.receive_some()
        proxy.hold(way)
        await writer.send_all(TEXT)
        await reader.send_all(b"back")
        assert await writer.receive_some() == b"back"
        with trio.move_on_after(0.05) as nothing_comes:
            await reader.receive_some()
        assert nothing_comes.cancelled_caught
        proxy.let_go()
        heard = bytearray()
        while len(heard) < len(TEXT):
            heard += await reader.receive_some()
        assert heard == TEXT


@pytest.mark.parametrize("fault", Fault)
async def test_proxy_harms_on_command_all_there_are_and_none_to_come(fault: Fault, nursery: trio.Nursery) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for chunk in stream:
                await stream.send_all(chunk)

    async def said(stream: trio.SocketStream) -> bytes:
        await stream.send_all(b"hello")
        return bytes(await stream.receive_some())

    listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, echo, 0)
    async with open_proxy(listeners[0].socket.getsockname()[1]) as proxy:
        first, second, third = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(3)]
        async with first, second, third:
            for stream in (first, second):
                assert await said(stream) == b"hello"
            proxy.harm(fault)
            for stream in (first, second):
                with trio.move_on_after(0.05) as silent:
                    heard, then = await read(stream)
                    assert heard == b""
                    assert then == {Fault.RESET: "error", Fault.END: "end"}[fault]
                assert silent.cancelled_caught == (fault in (Fault.STALL, Fault.SWALLOW))
            fourth = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            assert await said(fourth) == b"hello"
            await fourth.aclose()
    assert proxy.accepted == 4
    nursery.cancel_scope.cancel()


async def test_proxy_to_nobody_resets() -> None:
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, exporter)
        nursery.cancel_scope.cancel()
    async with open_proxy(port) as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
        assert await read(client) == (b"", "error")


async def test_proxy_between_exporter_and_importer(nursery: trio.Nursery) -> None:
    """Slices and delays change nothing."""
    values = list(range(300))
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        async with (
            open_proxy(port, lambda _number: Plan(slice_size=50, delay=0.0001)) as proxy,
            open_tcp_importer("127.0.0.1", proxy.port) as importer,
        ):
            nursery.start_soon(put, exporter.open_send_channel("jobs", int), values)
            assert await take_all(await importer.open_receive_channel("jobs", int)) == values
        assert proxy.accepted == 1


# In memory


async def test_line_is_a_stream() -> None:
    """Trio's own rules for streams hold."""

    async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        line = Line()
        return line.importer_end, line.exporter_end

    async def make_clogged() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        line = Line(capacity=1000)
        await line.importer_end.send_all(bytes(1000))
        await line.exporter_end.send_all(bytes(1000))
        return line.importer_end, line.exporter_end

    await trio.testing.check_half_closeable_stream(make, make_clogged)


@pytest.mark.parametrize("capacity", [3, 100_000])
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("way", BOTH_WAYS)
@pytest.mark.parametrize("after", [0, 1, 5000, len(TEXT)])
async def test_line_breaks_at_the_byte(
    autojump_clock: trio.testing.MockClock, fault: Fault, way: Way, after: int, capacity: int
) -> None:
    """Up to there all is received, whatever the writer was told; then comes what was planned, for both sides."""
    line = Line(Plan(fault=fault, way=way, after=after, slice_size=600, delay=0.1), capacity=capacity)
    writer, reader = line.importer_end, line.exporter_end
    if way is Way.DOWN:
        writer, reader = reader, writer
    said: list[str] = []
    heard = bytearray()

    async def say() -> None:
        said.append(await write(writer, TEXT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        with trio.move_on_after(1000):
            while len(heard) < after:
                heard += await reader.receive_some()
            for stream in (reader, writer):
                assert await read(stream) == (b"", {Fault.RESET: "error", Fault.END: "end"}[fault])
        nursery.cancel_scope.cancel()
    assert (trio.current_time() >= 1000) == (fault in (Fault.STALL, Fault.SWALLOW))
    assert heard == TEXT[:after]
    assert line.carried(way) == after
    expected = {Fault.RESET: ["error"], Fault.END: ["sent"], Fault.STALL: [], Fault.SWALLOW: ["sent"]}
    assert said == (["error"] if (fault, after) == (Fault.END, 0) else expected[fault])


@pytest.mark.parametrize("fault", Fault)
async def test_line_breaks_on_command(autojump_clock: trio.testing.MockClock, fault: Fault) -> None:
    """What was not read yet is read, or was lost on its way: that is for the seed to say."""
    lost = set[bool]()
    for seed in range(20):
        line = Line(seed=seed)
        await line.importer_end.send_all(b"up")
        line.harm(fault)
        with trio.move_on_after(1) as silent:
            heard, then = await read(line.exporter_end)
            assert then == {Fault.RESET: "error", Fault.END: "end"}[fault]
            lost.add(not heard)
            with pytest.raises(trio.BrokenResourceError):
                await line.importer_end.send_all(b"more")
        assert silent.cancelled_caught == (fault in (Fault.STALL, Fault.SWALLOW))
        await line.importer_end.aclose()  # and the other side is not told
        with trio.move_on_after(1) as silent:
            await read(line.exporter_end)
        assert silent.cancelled_caught == (fault in (Fault.STALL, Fault.SWALLOW))
    assert lost == {Fault.RESET: {True, False}, Fault.END: {False}}.get(fault, set())


async def test_closing_a_stalled_line_wakes_its_writer() -> None:
    line = Line()
    line.harm(Fault.STALL)
    async with trio.open_nursery() as nursery:

        async def say() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await line.importer_end.send_all(b"text")

        nursery.start_soon(say)
        await trio.testing.wait_all_tasks_blocked()
        await line.importer_end.aclose()


@pytest.mark.parametrize("refuses", [False, True])
async def test_network(autojump_clock: trio.testing.MockClock, refuses: bool) -> None:
    plans = [Plan(), Plan(fault=Fault.END, way=Way.DOWN, after=10)]
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        network = Network(nursery, exporter, plans, refuses=refuses)
        async with open_importer(await network.connect()) as importer:
            send = exporter.open_send_channel("jobs", int)
            nursery.start_soon(put, send, range(100))
            assert await take_all(await importer.open_receive_channel("jobs", int)) == [*range(100)]
        async with await network.connect() as stream:
            heard, then = await read(stream)
            assert (len(heard), then) == (10, "end")
        network.go_down(Fault.END)
        if refuses:
            with pytest.raises(OSError, match="down"):
                await network.connect()
        else:
            with trio.move_on_after(5) as waits:
                await network.connect()
            assert waits.cancelled_caught
        network.come_up()
        async with await network.connect() as stream:
            await stream.send_all(b"these bytes begin no connection")
            assert (await read(stream))[1] == "end"
        assert (network.attempts, len(network.lines)) == (4, 3)
        assert [line.plan for line in network.lines] == [*plans, Plan()]


async def test_lines_carry_a_connection_in_slices(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever the sizes, as with every other stream."""
    values = [bytes([number]) * (number * 20) for number in range(60)]
    for seed in range(5):
        async with trio.open_nursery() as nursery, open_exporter() as exporter:
            network = Network(nursery, exporter, [Plan(slice_size=100, delay=0.01)], seed=seed, capacity=500)
            async with open_importer(await network.connect()) as importer:
                down, up = exporter.open_send_channel("down", bytes), exporter.open_receive_channel("up", bytes)
                from_down = await importer.open_receive_channel("down", bytes)
                nursery.start_soon(put, down, values)
                nursery.start_soon(put, await importer.open_send_channel("up", bytes), values)
                assert await take_all(from_down) == values
                assert await take_all(up) == values
