"""Large values: cut, bounded, dropped with their binding; and no channel holds up another."""

from __future__ import annotations

import tracemalloc

import pytest
import trio
import trio.testing
from support import Medium, connect, connected, put, serve_tcp, take_all, until

from trionetchan import Importer, LimitError, Limits, open_exporter, open_importer, open_tcp_importer
from trionetchan._codec.describe import describe
from trionetchan._protocol.frames import MAGIC, VERSION, Hello, Import, data_head, encode

MIB = 2**20


@pytest.mark.promise(5)
async def test_a_value_larger_than_the_byte_bound_travels_alone(nursery: trio.Nursery) -> None:
    """And small ones around it stay in order."""
    values = [b"a", bytes(300_000), b"b", b"c", bytes(300_000), bytes(300_000), b"d"]
    async with connected(nursery, "tcp", Limits(max_buffered_bytes=100_000)) as (exporter, importer):
        send = exporter.open_send_channel("blobs", bytes)
        receive = await importer.open_receive_channel("blobs", bytes)
        nursery.start_soon(put, send, values)
        assert await take_all(receive) == values


@pytest.mark.promise(5)
async def test_what_is_on_the_way_stays_within_the_advertised_bytes(nursery: trio.Nursery) -> None:
    async with connected(nursery, "tcp", Limits(max_buffered_bytes=100_000)) as (exporter, importer):
        send = exporter.open_send_channel("blobs", bytes, max_buffer_size=100)
        await importer.open_receive_channel("blobs", bytes, window=1000)  # nobody takes
        for _ in range(100):
            send.send_nowait(bytes(10_000))
        await until(lambda: exporter.statistics().channels["blobs"].unacknowledged >= 8)
        await trio.testing.wait_all_tasks_blocked(0.01)
        statistics = exporter.statistics().channels["blobs"]
        assert 80_000 < statistics.bytes_sent <= 100_000
        assert statistics.unacknowledged + statistics.waiting == 100


@pytest.mark.promise(11)
async def test_memory_does_not_grow_with_the_number_of_values(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("values", str)
        receive = await importer.open_receive_channel("values", str)

        async def carry(count: int) -> int:
            async def produce() -> None:
                for value in range(count):
                    await send.send(f"{value:100}")

            async with trio.open_nursery() as both:
                both.start_soon(produce)
                for _ in range(count):
                    await receive.receive()
            await exporter.drain()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        few = await carry(200)
        many = await carry(2000)
        tracemalloc.stop()
        assert many - few < 50_000  # a fifth of what the values take
        nursery.cancel_scope.cancel()


async def test_a_value_of_64_mib(nursery: trio.Nursery) -> None:
    value = bytes(64 * MIB - 16)
    async with connected(nursery, "tcp") as (exporter, importer):
        send = exporter.open_send_channel("blobs", bytes)
        receive = await importer.open_receive_channel("blobs", bytes)
        nursery.start_soon(put, send, [value])
        assert await take_all(receive) == [value]


async def test_a_value_over_the_own_limit_is_an_error_before_anything_is_sent(nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as inner:
        with pytest.raises(LimitError) as caught:
            async with (
                open_exporter(limits=Limits(max_value_size=1000)) as exporter,
                connect(inner, exporter) as importer,
            ):
                send = exporter.open_send_channel("blobs", bytes, max_buffer_size=9)
                receive = await importer.open_receive_channel("blobs", bytes)
                for value in (b"small", bytes(1001)):
                    send.send_nowait(value)
                assert await receive.receive() == b"small"
                await receive.receive()
        assert caught.value.channel == "blobs"
        assert "1000" in str(caught.value)
        inner.cancel_scope.cancel()


@pytest.mark.promise(43)
async def test_a_value_over_the_importers_limit_unbinds_only_that_importer(nursery: trio.Nursery) -> None:
    """Its receiver must not take it for an end; the value goes to the importer that can have it."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("blobs", bytes, max_buffer_size=9)
        for value in (b"small", bytes(1001), b"last"):
            send.send_nowait(value)
        with pytest.raises(LimitError) as caught:
            async with connect(nursery, exporter, Limits(max_value_size=1000)) as importer:
                receive = await importer.open_receive_channel("blobs", bytes)
                assert await receive.receive() == b"small"
                await receive.receive()
        assert caught.value.channel == "blobs"
        send.close()
        async with connect(nursery, exporter) as importer:
            assert await take_all(await importer.open_receive_channel("blobs", bytes)) == [bytes(1001), b"last"]


@pytest.mark.promise(21)
async def test_a_value_over_the_exporters_limit_breaks_the_importers_channel(nursery: trio.Nursery) -> None:
    async with open_exporter(limits=Limits(max_value_size=1000)) as exporter:
        receive = exporter.open_receive_channel("blobs", bytes, max_buffer_size=9)
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("blobs", bytes, max_buffer_size=9)
            send.send_nowait(b"small")
            send.send_nowait(bytes(1001))
            error = await importer.errors.receive()
            assert isinstance(error, LimitError)
            assert error.channel == "blobs"
            with pytest.raises(trio.BrokenResourceError):
                await send.send(b"more")
        assert await receive.receive() == b"small"


async def test_half_values_are_bounded_and_go_with_their_binding(nursery: trio.Nursery) -> None:
    """Ten importing peers in one, each half through a value of a MiB; then the connection is cut."""
    count, size = 10, MIB
    async with open_exporter(limits=Limits(max_value_size=size)) as exporter:
        for number in range(count):
            exporter.open_receive_channel(f"blobs {number}", bytes)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        schema = describe(bytes).to_bytes()
        await ours.send_all(MAGIC + encode(Hello(VERSION, {})))
        for number in range(count):
            await ours.send_all(encode(Import(number, f"blobs {number}", False, 64, None, schema)))
        await trio.testing.wait_all_tasks_blocked()
        tracemalloc.start()
        fragment = bytes(65_000)
        for piece in range(size // 2 // len(fragment)):
            for number in range(count):
                payload = b"\x81\x5a" + size.to_bytes(4, "big") + fragment if piece == 0 else fragment
                await ours.send_all(data_head(number, 0, True, len(payload)) + payload)
        await trio.testing.wait_all_tasks_blocked()
        held = tracemalloc.get_traced_memory()[0]
        assert count * size // 4 < held < count * size
        await ours.aclose()
        await trio.testing.wait_all_tasks_blocked()
        del ours, theirs
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert after < held / 10
        assert exporter.statistics().connections == 0


@pytest.mark.promise(11)
@pytest.mark.parametrize("medium", ["memory", "tcp"])
async def test_a_value_that_was_taken_is_not_held_by_its_connection(nursery: trio.Nursery, medium: Medium) -> None:
    size = 8 * MIB
    async with connected(nursery, medium) as (exporter, importer):
        send = exporter.open_send_channel("blobs", bytes)
        receive = await importer.open_receive_channel("blobs", bytes)
        tracemalloc.start()
        nursery.start_soon(send.send, bytes(size))
        assert len(await receive.receive()) == size
        await exporter.drain("blobs")
        await trio.testing.wait_all_tasks_blocked()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < size / 8
        send.close()


class SlowStream(trio.abc.Stream):
    """Takes so many bytes a second."""

    def __init__(self, stream: trio.abc.Stream, rate: float) -> None:
        self.stream = stream
        self.rate = rate

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(len(data) / self.rate)
        await self.stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


@pytest.mark.promise(46)
async def test_a_slow_link_is_not_a_silent_peer(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """A value takes ten times as long as a peer may be silent; all the while something of it is taken."""
    limits = Limits(keepalive=1, keepalive_timeout=3)
    ours, theirs = trio.testing.memory_stream_pair()
    async with open_exporter(limits=limits) as exporter:
        nursery.start_soon(exporter.serve_stream, SlowStream(theirs, 50_000))
        send = exporter.open_send_channel("blobs", bytes)
        async with send, open_importer(ours, limits=limits) as importer:
            receive = await importer.open_receive_channel("blobs", bytes)
            started = trio.current_time()
            nursery.start_soon(send.send, bytes(3 * MIB // 2))
            assert len(await receive.receive()) == 3 * MIB // 2
            assert trio.current_time() - started > 30
            send.close()


async def echo(importer: Importer, rounds: int) -> None:
    send = await importer.open_send_channel("ping", int, window=1)
    receive = await importer.open_receive_channel("pong", int, window=1)
    for value in range(rounds):
        await send.send(value)
        assert await receive.receive() == value


@pytest.mark.promise(45)
async def test_a_small_channel_goes_on_while_a_large_value_travels(nursery: trio.Nursery) -> None:
    """Round trips beside one value of 48 MiB, on the same connection: many are done before it has arrived."""
    rounds = 0
    async with open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        ping = exporter.open_receive_channel("ping", int)
        pong = exporter.open_send_channel("pong", int)
        blobs = exporter.open_send_channel("blobs", bytes)

        async def answer() -> None:
            async for value in ping:
                await pong.send(value)

        async with open_tcp_importer("127.0.0.1", port) as importer:
            send = await importer.open_send_channel("ping", int)
            receive = await importer.open_receive_channel("pong", int)
            large = await importer.open_receive_channel("blobs", bytes)
            nursery.start_soon(answer)
            nursery.start_soon(put, blobs, [bytes(48 * MIB)])
            arrived = trio.Event()

            async def take_large() -> None:
                assert len(await large.receive()) == 48 * MIB
                arrived.set()

            nursery.start_soon(take_large)
            while not arrived.is_set():
                await send.send(rounds)
                assert await receive.receive() == rounds
                rounds += 1
            nursery.cancel_scope.cancel()
    assert rounds > 10


@pytest.mark.promise(44)
async def test_a_channel_that_nobody_reads_holds_up_no_other(nursery: trio.Nursery) -> None:
    """Nor do a thousand idle ones."""
    async with connected(nursery, "tcp") as (exporter, importer):
        for number in range(1000):
            exporter.open_send_channel(f"idle {number}", int)
            await importer.open_receive_channel(f"idle {number}", int)
        stuck = exporter.open_send_channel("stuck", int, max_buffer_size=1000)
        await importer.open_receive_channel("stuck", int, window=10)
        for value in range(1000):
            stuck.send_nowait(value)
        send = exporter.open_send_channel("busy", int)
        receive = await importer.open_receive_channel("busy", int)
        nursery.start_soon(put, send, range(1000))
        assert await take_all(receive) == list(range(1000))
        nursery.cancel_scope.cancel()
