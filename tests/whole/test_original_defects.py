"""The original's defects, one test each, named after the defect: none of them is here."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from support import Medium, connect, connected, put, serve_tcp, take, take_all, until

from trionetchan import (
    ConnectionLostError,
    Limits,
    NoSuchChannelError,
    RemoteValueError,
    TypeMismatchError,
    ValueTypeError,
    open_exporter,
    open_importer,
    open_tcp_importer,
)

COUNT = 10
media = pytest.mark.parametrize("medium", ["memory", "tcp"])


# Loss


@media
@pytest.mark.promise(10, 28)
async def test_dead_client_steals_no_value(nursery: trio.Nursery, medium: Medium) -> None:
    """A client that was waiting for values when its connection broke takes none of those that come after."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        if medium == "memory":
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            stream: trio.abc.Stream = ours
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", await serve_tcp(nursery, exporter))
        with pytest.raises(ConnectionLostError):
            async with open_importer(stream) as dying:
                await dying.open_receive_channel("jobs", int)
                await stream.aclose()
                await trio.sleep_forever()
        await until(lambda: exporter.statistics().channels["jobs"].peers == 0)
        async with connect(nursery, exporter) as importer:
            nursery.start_soon(put, send, range(COUNT))
            receive = await importer.open_receive_channel("jobs", int)
            assert await take_all(receive) == list(range(COUNT))


@pytest.mark.promise(1, 6)
async def test_value_is_not_acknowledged_before_it_is_delivered(nursery: trio.Nursery) -> None:
    """Only the value that a receiver took is acknowledged; the others that arrived go to the next importer."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        send.close()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        with pytest.raises(ConnectionLostError):
            async with open_importer(ours) as dying:
                receive = await dying.open_receive_channel("jobs", int, window=5)
                assert await receive.receive() == 0
                await until(lambda: exporter.statistics().channels["jobs"].acknowledged == 1)
                await ours.aclose()
                await trio.sleep_forever()
        async with connect(nursery, exporter) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == list(range(1, COUNT))


@pytest.mark.promise(35, 36)
async def test_value_that_was_taken_and_not_sent_is_seen_by_drain(nursery: trio.Nursery) -> None:
    """The hand-over: a value leaves trio's records before the task that waited for it runs."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        for value in range(100):
            await trio.testing.wait_all_tasks_blocked()  # everyone waits, with nothing on the way
            send.send_nowait(value)  # handed to the waiting task, which has not run
            with pytest.raises(trio.TooSlowError):
                await exporter.drain(timeout=0)
            with trio.move_on_after(0) as scope:
                await exporter.drain()
            assert scope.cancelled_caught
            async with trio.open_nursery() as inner:
                inner.start_soon(take, receive, 1)
                await exporter.drain()
                assert exporter.statistics().channels["jobs"].acknowledged == value + 1


@pytest.mark.promise(37)
async def test_sync_waits_for_the_acknowledgement(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        await send.send(1)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.TooSlowError):
            await exporter.sync(timeout=0.01)
        async with trio.open_nursery() as inner:
            inner.start_soon(exporter.sync)
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().channels["jobs"].acknowledged == 0
            await receive.receive()
        assert exporter.statistics().channels["jobs"].acknowledged == 1


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
@pytest.mark.promise(24, 35)
async def test_importers_drain_after_a_counted_send_returns(nursery: trio.Nursery, count: int) -> None:
    """The last values of a window are acknowledged too."""
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("results", int, max_buffer_size=100)
        send = await importer.open_send_channel("results", int, count=count, window=4)
        for value in range(count):
            await send.send(value)
        await importer.drain(timeout=5)
        assert [receive.receive_nowait() for _ in range(count)] == list(range(count))


@pytest.mark.promise(35)
@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_drain_sees_senders_that_are_blocked(nursery: trio.Nursery, side: str) -> None:
    async with connected(nursery) as (exporter, importer):
        if side == "exporter":
            send = exporter.open_send_channel("values", int)
            receive = await importer.open_receive_channel("values", int, window=1)
            drain = exporter.drain
        else:
            receive = exporter.open_receive_channel("values", int, window=1)
            send = await importer.open_send_channel("values", int)
            drain = importer.drain
        drained = trio.Event()

        async def drainer() -> None:
            await drain()
            drained.set()

        async with trio.open_nursery() as inner:
            for value in range(5):
                inner.start_soon(send.send, value)
            await trio.testing.wait_all_tasks_blocked()
            inner.start_soon(drainer)
            for taken in range(5):
                await trio.testing.wait_all_tasks_blocked()
                assert not drained.is_set(), taken
                await receive.receive()


@pytest.mark.promise(39)
async def test_drain_without_importer_waits_for_blocked_senders(autojump_clock: trio.testing.MockClock) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("values", int)
        async with trio.open_nursery() as inner:
            inner.start_soon(send.send, 1)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.TooSlowError):
                await exporter.drain(timeout=20)
            inner.cancel_scope.cancel()
        await exporter.drain(timeout=20)  # the blocked sender was cancelled: nothing is left to wait for


async def test_drain_and_sync_do_not_poll(nursery: trio.Nursery, mock_clock: trio.testing.MockClock) -> None:
    """Both return while the clock stands still."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("values", int, max_buffer_size=4)
        receive = await importer.open_receive_channel("values", int)
        for value in range(4):
            send.send_nowait(value)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as inner:
            inner.start_soon(exporter.drain)
            inner.start_soon(exporter.sync)
            await trio.testing.wait_all_tasks_blocked()
            assert await take(receive, 4) == [0, 1, 2, 3]


# One channel kills the rest


@media
@pytest.mark.parametrize("side", ["exporter", "importer"])
@pytest.mark.promise(34)
async def test_data_for_a_channel_just_hung_up_harms_no_other(nursery: trio.Nursery, medium: Medium, side: str) -> None:
    """Values are on their way to a binding that is gone; the stream stays in step."""
    async with connected(nursery, medium) as (exporter, importer):
        other = exporter.open_send_channel("other", int)
        other_receive = await importer.open_receive_channel("other", int)
        for number in range(20):
            down = exporter.open_send_channel("down", bytes, max_buffer_size=50)
            up = exporter.open_receive_channel("up", bytes)
            down_receive = await importer.open_receive_channel("down", bytes)
            up_send = await importer.open_send_channel("up", bytes, max_buffer_size=50)
            for _ in range(50):
                down.send_nowait(bytes(5000))
                up_send.send_nowait(bytes(5000))
            await down_receive.receive()
            await up.receive()
            first, second = (exporter, importer) if side == "exporter" else (importer, exporter)
            first.hangup("down")
            first.hangup("up")
            await take_all(up)
            await take_all(down_receive)
            if side == "exporter":
                assert (await importer.errors.receive()).channel == "up"
            for name in ("down", "up"):
                if name in second.statistics().channels:
                    second.hangup(name)
            await other.send(number)
            assert await other_receive.receive() == number


async def test_import_of_a_mistyped_name_keeps_the_connection(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        with pytest.raises(NoSuchChannelError, match="jbos"):
            await importer.open_receive_channel("jbos", int)
        with pytest.raises(TypeMismatchError, match="jobs"):
            async with connect(nursery, exporter) as second:
                await second.open_receive_channel("jobs", str)
        await send.send(1)
        assert await receive.receive() == 1


@pytest.mark.promise(14)
async def test_value_that_does_not_encode_leaves_no_half_message(nursery: trio.Nursery) -> None:
    """The sender's program hears of it; the receiver got the values before it, and its stream is in step."""
    async with open_exporter() as exporter:
        receive, other = exporter.open_receive_channel("bad", int), exporter.open_receive_channel("good", int)
        with pytest.raises(ValueTypeError) as caught:
            async with connect(nursery, exporter) as importer:
                good = await importer.open_send_channel("good", int)
                bad = await importer.open_send_channel("bad", int)
                await bad.send(1)
                await good.send(2)
                await bad.send("three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                async with trio.open_nursery() as inner:
                    inner.start_soon(take, other, 1)
                    assert await receive.receive() == 1
                await trio.sleep_forever()
        assert caught.value.channel == "bad"
        assert exporter.statistics().connections == 0 or not exporter.statistics().dropped


@pytest.mark.promise(15)
async def test_value_of_the_wrong_type_is_a_named_error(nursery: trio.Nursery) -> None:
    """An untyped exporter sends what the importer's type does not take: the importer's block says so."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("bad")
        with pytest.raises(RemoteValueError, match="bad") as caught:
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("bad", int)
                await send.send("text")
                await trio.sleep_forever()
        assert caught.value.channel == "bad"


@pytest.mark.promise(20)
async def test_importer_that_closes_its_end_leaves_the_shared_channel(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int, importers=3)
        jobs = exporter.open_send_channel("jobs", int)
        async with connect(nursery, exporter) as one, connect(nursery, exporter) as two:
            first, second = [await i.open_send_channel("results", int) for i in (one, two)]
            gone, stays = [await i.open_receive_channel("jobs", int) for i in (one, two)]
            first.close()
            gone.close()
            await trio.testing.wait_all_tasks_blocked()
            for number in range(COUNT):
                await second.send(number)
                assert await results.receive() == number
                await jobs.send(number)
                assert await stays.receive() == number


@pytest.mark.promise(44)
@media
async def test_two_full_pipes_do_not_deadlock(nursery: trio.Nursery, medium: Medium) -> None:
    """Both sides send all they can at once, more than the stream between them holds."""
    size, number = 200_000, 40
    async with open_exporter() as exporter:
        if medium == "memory":
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            stream: trio.abc.Stream = ours
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", await serve_tcp(nursery, exporter))
        async with open_importer(stream) as importer:
            down, up = exporter.open_send_channel("down", bytes), exporter.open_receive_channel("up", bytes)
            from_down = await importer.open_receive_channel("down", bytes)
            to_up = await importer.open_send_channel("up", bytes)
            async with trio.open_nursery() as inner:
                inner.start_soon(put, down, [bytes([i]) * size for i in range(number)])
                inner.start_soon(put, to_up, [bytes([i]) * size for i in range(number)])
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert [value[0] for value in await take_all(up)] == list(range(number))
                assert [value[0] for value in await take_all(from_down)] == list(range(number))


# Hangs


@media
@pytest.mark.promise(28, 31)
async def test_clean_end_of_the_stream_leaves_no_receiver_blocked(nursery: trio.Nursery, medium: Medium) -> None:
    """The exporter's process ends: the importer's receiver wakes, and does not take it for the sender's end."""
    woken: list[BaseException] = []

    async def receiver(channel: trio.MemoryReceiveChannel[int]) -> None:
        try:
            await channel.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            woken.append(error)

    async with open_exporter() as exporter:
        if medium == "memory":
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            stream: trio.abc.Stream = ours
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", await serve_tcp(nursery, exporter))
        exporter.open_send_channel("jobs", int)
        async with trio.open_nursery() as inner:
            with pytest.raises(ConnectionLostError):
                async with open_importer(stream) as importer:
                    inner.start_soon(receiver, await importer.open_receive_channel("jobs", int))
                    await trio.testing.wait_all_tasks_blocked()
                    await stream.aclose()
                    await trio.sleep_forever()
    assert [type(error) for error in woken] == [trio.ClosedResourceError]


async def test_senders_do_not_leak_on_disconnect(nursery: trio.Nursery) -> None:
    """After 50 importers that vanished, the exporter has as many tasks as before."""
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int, max_buffer_size=4)
        exporter.open_receive_channel("results", int, importers=None)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(50):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)
            with pytest.raises(ConnectionLostError):
                async with open_importer(ours) as importer:
                    await importer.open_receive_channel("jobs", int)
                    await importer.open_send_channel("results", int)
                    await ours.aclose()
                    await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert exporter.statistics().connections == 0


@pytest.mark.promise(20, 33)
async def test_hangup_of_a_receiving_import_tells_the_exporter(nursery: trio.Nursery) -> None:
    """There is a receiver-gone message: the values go to the other importer, the peer is no longer counted."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=COUNT)
        async with connect(nursery, exporter) as one, connect(nursery, exporter) as two:
            await one.open_receive_channel("jobs", int)
            for value in range(COUNT):
                send.send_nowait(value)
            await trio.testing.wait_all_tasks_blocked()
            one.hangup("jobs")
            await trio.testing.wait_all_tasks_blocked()
            assert exporter.statistics().channels["jobs"].peers == 0
            send.close()
            assert await take_all(await two.open_receive_channel("jobs", int)) == list(range(COUNT))


@pytest.mark.promise(24)
async def test_loop_over_n_counted_values_ends_and_the_name_is_free(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=math.inf)
        for value in range(20):
            send.send_nowait(value)
        for first in range(0, 20, 4):
            receive = await importer.open_receive_channel("jobs", int, count=4)
            assert await take_all(receive) == list(range(first, first + 4))


@pytest.mark.promise(21)
async def test_errors_carry_the_channels_name(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        for name in ("one", "two"):
            exporter.open_receive_channel(name, int)
            await importer.open_send_channel(name, int)
        exporter.hangup("two")
        exporter.hangup("one")
        errors = await take(importer.errors, 2)
        assert {error.channel for error in errors} == {"one", "two"}
        assert all(str(error.channel) in str(error) for error in errors)


# A peer can crash the process


@pytest.mark.promise(15, 43)
async def test_bad_payload_from_an_importer_ends_that_channel_only(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """The importer is told, on its `errors`; nothing raises in the exporting program; it is logged and counted."""
    async with open_exporter() as exporter:
        results, other = (exporter.open_receive_channel(name, int, importers=2) for name in ("results", "other"))
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("results")
            other_send = await importer.open_send_channel("other", int)
            await send.send(1)
            assert await results.receive() == 1
            await send.send("text")
            error = await importer.errors.receive()
            assert error.channel == "results"
            with pytest.raises(trio.BrokenResourceError):
                await send.send(2)
            await other_send.send(3)
            assert await other.receive() == 3
    assert [record.name for record in caplog.records if "results" in record.getMessage()].count("trionetchan") >= 1


@pytest.mark.parametrize("window", [0, -1, 10**9, 2**60, 2**63, 2**64, 2**100])
async def test_window_of_any_size_is_harmless(nursery: trio.Nursery, window: int) -> None:
    """From below 1 to above 2^64, asked for on either side: clamped to `limits.max_window`."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("down", int)
        receive = await importer.open_receive_channel("down", int, window=window)
        up = exporter.open_receive_channel("up", int, window=window)
        to_up = await importer.open_send_channel("up", int, window=window)
        nursery.start_soon(put, send, range(COUNT))
        nursery.start_soon(put, to_up, range(COUNT))
        assert await take_all(receive) == list(range(COUNT))
        assert await take_all(up) == list(range(COUNT))


@pytest.mark.promise(4)
async def test_window_beyond_the_limit_is_clamped(nursery: trio.Nursery) -> None:
    async with connected(nursery, limits=Limits(max_window=5)) as (exporter, importer):
        send = exporter.open_send_channel("down", int, max_buffer_size=100)
        for value in range(100):
            send.send_nowait(value)
        await importer.open_receive_channel("down", int, window=2**60)
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().channels["down"].sent == 5


async def test_listener_tells_its_port_and_serving_can_be_stopped() -> None:
    """`nursery.start` gives the listeners; cancelling the nursery stops serving; the exporter lives on."""
    async with open_exporter() as exporter:
        exporter.open_receive_channel("results", int, importers=None)
        for _ in range(2):
            async with trio.open_nursery() as serving:
                port = await serve_tcp(serving, exporter)
                async with open_tcp_importer("127.0.0.1", port) as importer:
                    await importer.open_send_channel("results", int)
                serving.cancel_scope.cancel()
            with pytest.raises(OSError, match=str(port)):
                async with open_tcp_importer("127.0.0.1", port):
                    raise AssertionError("no one listens here")
