"""What the original's own tests show, as behaviour; a name ends in that of the original's test where it has one."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from support import Medium, connect, connected, put, serve_tcp, take, take_all, until

from trionetchan import (
    ChannelNameInUseError,
    NoSuchChannelError,
    TypeMismatchError,
    WrongDirectionError,
    open_exporter,
    open_tcp_importer,
)

COUNT = 10
both_media = pytest.mark.parametrize("medium", ["memory", "tcp"])


@both_media
@pytest.mark.promise(2)
async def test_values_go_from_exporter_to_importer__export_send_import_receive(
    nursery: trio.Nursery, medium: Medium
) -> None:
    async with connected(nursery, medium) as (exporter, importer):
        send = exporter.open_send_channel("exported", int)
        receive = await importer.open_receive_channel("exported", int, window=1)
        nursery.start_soon(put, send, range(COUNT))
        assert await take(receive, COUNT) == list(range(COUNT))
        assert await take_all(receive) == []


@both_media
async def test_values_go_from_importer_to_exporter__export_receive_import_send(
    nursery: trio.Nursery, medium: Medium
) -> None:
    async with connected(nursery, medium) as (exporter, importer):
        receive = exporter.open_receive_channel("exported", int)
        send = await importer.open_send_channel("exported", int, window=1)
        nursery.start_soon(put, send, range(COUNT))
        assert await take_all(receive) == list(range(COUNT))


@both_media
async def test_ends_that_the_program_opened_itself(nursery: trio.Nursery, medium: Medium) -> None:
    """`export` and `import_` take one end; the direction follows from the end."""
    async with connected(nursery, medium) as (exporter, importer):
        send, out = trio.open_memory_channel[str](0)
        into, receive = trio.open_memory_channel[str](0)
        exporter.export("down", out, str)
        await importer.import_("down", into, str)
        nursery.start_soon(put, send, ["a", "b"])
        assert await take_all(receive) == ["a", "b"]

        send, out = trio.open_memory_channel[str](0)
        into, receive = trio.open_memory_channel[str](0)
        exporter.export("up", into, str)
        await importer.import_("up", out, str)
        nursery.start_soon(put, send, ["c", "d"])
        assert await take_all(receive) == ["c", "d"]


@pytest.mark.promise(17)
async def test_closing_the_export_ends_the_importers_loop__closing_export_send_import_receive(
    nursery: trio.Nursery,
) -> None:
    """What is buffered is delivered first, then `EndOfChannel`."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("exported", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        send.close()
        receive = await importer.open_receive_channel("exported", int)
        assert await take_all(receive) == list(range(COUNT))


@pytest.mark.promise(17)
async def test_closing_the_import_ends_the_exporters_loop__closing_import_send_export_receive(
    nursery: trio.Nursery,
) -> None:
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("exported", int, max_buffer_size=2)
        send = await importer.open_send_channel("exported", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        send.close()
        assert await take_all(receive) == list(range(COUNT))


@pytest.mark.parametrize("name", ["exportedd", "Exported", "exported "])
async def test_import_of_a_bad_name_is_refused_at_the_call__error_for_illegal_channel(
    nursery: trio.Nursery, name: str
) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("exported", int)
        with pytest.raises(NoSuchChannelError) as caught:
            await importer.open_receive_channel(name, int)
        assert caught.value.channel == name
        assert not importer.errors.statistics().current_buffer_used


@both_media
@pytest.mark.promise(35, 38)
async def test_export_drain_waits_for_receipt__export_drain(nursery: trio.Nursery, medium: Medium) -> None:
    """Drain waits for the values in the buffer too, and times out while no one takes them."""
    async with connected(nursery, medium) as (exporter, importer):
        send = exporter.open_send_channel("exported", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        with pytest.raises(trio.TooSlowError):
            await exporter.drain(timeout=0.01)
        receive = await importer.open_receive_channel("exported", int, window=1)
        async with trio.open_nursery() as inner:
            inner.start_soon(take, receive, COUNT)
            await exporter.drain(timeout=10)
        assert exporter.statistics().channels["exported"].acknowledged == COUNT


@both_media
@pytest.mark.promise(37)
async def test_export_sync_waits_for_what_was_sent__export_sync(nursery: trio.Nursery, medium: Medium) -> None:
    """Sync waits for what had been handed over when it was called, and for nothing after."""
    async with connected(nursery, medium) as (exporter, importer):
        send = exporter.open_send_channel("exported", int, max_buffer_size=COUNT)
        receive = await importer.open_receive_channel("exported", int, window=2)
        for value in range(COUNT):
            send.send_nowait(value)
        await until(lambda: exporter.statistics().channels["exported"].sent == 2)
        with pytest.raises(trio.TooSlowError):
            await exporter.sync(timeout=0.01)
        async with trio.open_nursery() as inner:
            inner.start_soon(exporter.sync)
            await trio.testing.wait_all_tasks_blocked()
            assert await take(receive, 3) == [0, 1, 2]
        assert exporter.statistics().channels["exported"].sent < COUNT


@pytest.mark.promise(32, 34)
async def test_export_hangup__export_hangup(nursery: trio.Nursery) -> None:
    """The importer's loop ends; another channel of the same connection does not notice."""
    async with connected(nursery) as (exporter, importer):
        first, other = (exporter.open_send_channel(name, int) for name in ("first", "other"))
        first_receive, other_receive = [await importer.open_receive_channel(name, int) for name in ("first", "other")]
        await first.send(1)
        assert await first_receive.receive() == 1
        exporter.hangup("first")
        assert await take_all(first_receive) == []
        with pytest.raises(trio.BrokenResourceError):
            await first.send(2)
        await other.send(3)
        assert await other_receive.receive() == 3


@pytest.mark.promise(32, 34)
async def test_import_hangup__import_hangup(nursery: trio.Nursery) -> None:
    """The importer hangs up what it sends: the exporter's loop ends, the other channel goes on."""
    async with connected(nursery) as (exporter, importer):
        first, other = (exporter.open_receive_channel(name, int) for name in ("first", "other"))
        first_send, other_send = [await importer.open_send_channel(name, int) for name in ("first", "other")]
        await first_send.send(1)
        assert await first.receive() == 1
        importer.hangup("first")
        assert await take_all(first) == []
        with pytest.raises(trio.BrokenResourceError):
            await first_send.send(2)
        await other_send.send(3)
        assert await other.receive() == 3


@pytest.mark.promise(21, 33)
async def test_hangup_of_a_receiving_export_breaks_the_importers_sender(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("jobs", int)
        send = await importer.open_send_channel("jobs", int)
        exporter.hangup("jobs")
        assert await take_all(receive) == []
        error = await importer.errors.receive()
        assert error.channel == "jobs"
        with pytest.raises(trio.BrokenResourceError):
            await send.send(1)


@pytest.mark.promise(8, 33)
async def test_hangup_of_a_receiving_import_returns_the_values(nursery: trio.Nursery) -> None:
    """What it had not acknowledged goes to the next import, in order; the exporter's sender goes on."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=COUNT)
        receive = await importer.open_receive_channel("jobs", int, window=4)
        for value in range(COUNT):
            send.send_nowait(value)
        assert await receive.receive() == 0
        await trio.testing.wait_all_tasks_blocked()
        importer.hangup("jobs")
        assert await take_all(receive) == []
        again = await importer.open_receive_channel("jobs", int)
        send.close()
        assert await take_all(again) == list(range(1, COUNT))


@pytest.mark.promise(32)
async def test_hangup_of_a_name_that_is_not_bound(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        for side in (exporter, importer):
            with pytest.raises(NoSuchChannelError) as caught:
                side.hangup("nothing")
            assert caught.value.channel == "nothing"
        with pytest.raises(NoSuchChannelError):
            importer.hangup("jobs")  # exported, but not imported here


@pytest.mark.promise(34)
async def test_name_is_free_at_once_after_a_hangup(nursery: trio.Nursery) -> None:
    """Late frames of the old binding never reach the new one."""
    async with connected(nursery) as (exporter, importer):
        for value in range(5):
            send = exporter.open_send_channel("jobs", int, max_buffer_size=9)
            receive = await importer.open_receive_channel("jobs", int)
            for offset in range(9):
                send.send_nowait(value * 10 + offset)
            assert await receive.receive() == value * 10
            if value % 2:
                importer.hangup("jobs")
            exporter.hangup("jobs")
            rest = await take_all(receive)
            assert rest == list(range(value * 10 + 1, value * 10 + 1 + len(rest)))


@pytest.mark.promise(44)
async def test_many_channels_at_once__independent_sends(nursery: trio.Nursery) -> None:
    """A channel that no one reads holds up none of the others."""
    async with connected(nursery, "tcp") as (exporter, importer):
        stuck = exporter.open_send_channel("stuck", int, max_buffer_size=math.inf)
        await importer.open_receive_channel("stuck", int, window=8)
        for value in range(100):
            stuck.send_nowait(value)
        got: dict[int, list[int]] = {}

        async def receiver(index: int) -> None:
            channel = await importer.open_receive_channel(f"channel {index}", int, window=2)
            got[index] = await take_all(channel)

        async with trio.open_nursery() as inner:
            for index in range(20):
                inner.start_soon(put, exporter.open_send_channel(f"channel {index}", int), range(index, 50))
                inner.start_soon(receiver, index)
        assert got == {index: list(range(index, 50)) for index in range(20)}


@both_media
async def test_request_and_answer_channels_on_one_connection__cross_connection(
    nursery: trio.Nursery, medium: Medium
) -> None:
    """The original's cross-connection test: both sides send and both receive, in both directions of export."""
    async with connected(nursery, medium) as (exporter, importer):
        down, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        from_down = await importer.open_receive_channel("down", int)
        to_up = await importer.open_send_channel("up", int)

        async def echo() -> None:
            async with to_up:
                async for value in from_down:
                    await to_up.send(value * value)

        nursery.start_soon(echo)
        nursery.start_soon(put, down, range(COUNT))
        assert await take_all(up) == [value * value for value in range(COUNT)]


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.promise(4)
async def test_importers_window_bounds_what_is_on_the_way__export_flow_control(
    nursery: trio.Nursery, window: int
) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("exported", int, max_buffer_size=100)
        receive = await importer.open_receive_channel("exported", int, window=window)
        for value in range(100):
            send.send_nowait(value)
        for taken in range(90):
            await trio.testing.wait_all_tasks_blocked()
            statistics = exporter.statistics().channels["exported"]
            assert taken < statistics.sent <= taken + window
            assert statistics.unacknowledged <= window
            assert send.statistics().current_buffer_used == 100 - statistics.sent
            assert await receive.receive() == taken


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.promise(4)
async def test_exporters_window_bounds_what_is_on_the_way__import_flow_control(
    nursery: trio.Nursery, window: int
) -> None:
    """The smaller of the two sides' windows counts."""
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("exported", int, window=window)
        send = await importer.open_send_channel("exported", int, window=64, max_buffer_size=100)
        for value in range(100):
            send.send_nowait(value)
        for taken in range(90):
            await trio.testing.wait_all_tasks_blocked()
            statistics = importer.statistics().channels["exported"]
            assert taken < statistics.sent <= taken + window
            assert statistics.unacknowledged <= window
            assert await receive.receive() == taken
        assert await take(receive, 10) == list(range(90, 100))  # leaving waits for them


@pytest.mark.promise(4)
@pytest.mark.parametrize("window", [0, -1, -(2**60)])
async def test_window_below_one_is_one(nursery: trio.Nursery, window: int) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("exported", int)
        receive = await importer.open_receive_channel("exported", int, window=window)
        nursery.start_soon(put, send, range(COUNT))
        await trio.testing.wait_all_tasks_blocked()
        assert exporter.statistics().channels["exported"].sent == 1
        assert await take_all(receive) == list(range(COUNT))


@pytest.mark.promise(24)
async def test_import_of_n_values_receiving__import_n_values(nursery: trio.Nursery) -> None:
    """After `count` values the import ends; not one more is taken, and the rest goes to the next import."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("exported", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        send.close()
        for first in (0, 3, 6):
            receive = await importer.open_receive_channel("exported", int, count=3)
            assert await take_all(receive) == [first, first + 1, first + 2]
        assert await take_all(await importer.open_receive_channel("exported", int, count=3)) == [9]


@pytest.mark.promise(24)
async def test_import_of_n_values_sending__import_n_values(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("exported", int, importers=2)
        for first in (0, 3):
            send = await importer.open_send_channel("exported", int, count=3)
            for value in range(first, first + 3):
                await send.send(value)
            assert await take(receive, 3) == [first, first + 1, first + 2]
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BrokenResourceError):
                await send.send(99)
        assert await take_all(receive) == []


@pytest.mark.promise(24)
async def test_import_of_no_values_ends_at_once(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("down", int, max_buffer_size=1)
        send.send_nowait(1)
        assert await take_all(await importer.open_receive_channel("down", int, count=0)) == []
        assert await (await importer.open_receive_channel("down", int, count=1)).receive() == 1
        up = exporter.open_receive_channel("up", int)
        to_up = await importer.open_send_channel("up", int, count=0)
        assert await take_all(up) == []
        with pytest.raises(trio.BrokenResourceError):
            await to_up.send(1)


async def test_negative_count_is_a_value_error(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("exported", int)
        with pytest.raises(ValueError, match="-1"):
            await importer.open_receive_channel("exported", int, count=-1)


@pytest.mark.promise(24)
@pytest.mark.parametrize("count", [2**31, 2**53, 2**62, 2**64 - 1, 2**64, 2**70])
async def test_count_of_any_size(nursery: trio.Nursery, count: int) -> None:
    """It is taken or refused at the call; the connection, and the channels beside it, do not notice."""
    async with connected(nursery) as (exporter, importer):
        send, other = exporter.open_send_channel("exported", int), exporter.open_send_channel("other", int)
        other_receive = await importer.open_receive_channel("other", int)
        try:
            receive = await importer.open_receive_channel("exported", int, count=count)
        except ValueError:
            receive = await importer.open_receive_channel("exported", int)
        await send.send(1)
        assert await receive.receive() == 1
        await other.send(2)
        assert await other_receive.receive() == 2


@both_media
@pytest.mark.promise(2, 3, 9)
async def test_several_importers_share_the_values(nursery: trio.Nursery, medium: Medium) -> None:
    """A value has exactly one receiver; each importer gets its values in order."""
    count, workers = 200, 5
    got: list[list[int]] = [[] for _ in range(workers)]

    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        port = await serve_tcp(nursery, exporter) if medium == "tcp" else None
        async with trio.open_nursery() as inner:

            async def work(index: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
                opening = connect(nursery, exporter) if port is None else open_tcp_importer("127.0.0.1", port)
                async with opening as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=1)
                    task_status.started()
                    async for value in receive:
                        got[index].append(value)

            for index in range(workers):
                await inner.start(work, index)
            await put(send, range(count))
    assert sorted(value for values in got for value in values) == list(range(count))
    assert all(values == sorted(values) and values for values in got)


@pytest.mark.promise(22)
async def test_several_importers_send_into_one_export(nursery: trio.Nursery) -> None:
    """The exporter's loop ends when every one of the `importers` has finished, not before."""
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, importers=3)

        async def work(first: int) -> None:
            async with connect(nursery, exporter) as importer:
                await put(await importer.open_send_channel("results", int), range(first, first + COUNT))

        async def work_one_after_another() -> None:
            for first in (0, 100, 200):
                await work(first)

        nursery.start_soon(work_one_after_another)
        assert sorted(await take_all(receive)) == [first + i for first in (0, 100, 200) for i in range(COUNT)]


@pytest.mark.promise(35, 37, 38)
async def test_importer_drain_and_sync(nursery: trio.Nursery) -> None:
    async with connected(nursery, "tcp") as (exporter, importer):
        receive = exporter.open_receive_channel("results", int)
        send = await importer.open_send_channel("results", int, max_buffer_size=COUNT)
        for value in range(COUNT):
            send.send_nowait(value)
        with pytest.raises(trio.TooSlowError):
            await importer.drain(timeout=0.01)
        with pytest.raises(trio.TooSlowError):
            await importer.sync("results", timeout=0.01)
        nursery.start_soon(take, receive, COUNT)
        await importer.drain("results", timeout=10)
        assert importer.statistics().channels["results"].acknowledged == COUNT
        await importer.sync()


@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_a_name_is_bound_once(nursery: trio.Nursery, side: str) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        with pytest.raises(ChannelNameInUseError) as caught:
            if side == "exporter":
                exporter.open_receive_channel("jobs", str)
            else:
                await importer.open_receive_channel("jobs", int)
                await importer.open_receive_channel("jobs", int)
        assert caught.value.channel == "jobs"


@pytest.mark.promise(12)
async def test_direction_and_type_are_checked_at_the_import(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        with pytest.raises(WrongDirectionError):
            await importer.open_send_channel("jobs", int)
        with pytest.raises(TypeMismatchError):
            await importer.open_receive_channel("jobs", str)
        receive = await importer.open_receive_channel("jobs", int)
        await send.send(1)
        assert await receive.receive() == 1


async def test_an_importer_may_be_there_before_the_exports(nursery: trio.Nursery) -> None:
    """A refusal leaves the connection as it was; the import succeeds once the name is exported."""
    async with connected(nursery) as (exporter, importer):
        for _ in range(5):
            with pytest.raises(NoSuchChannelError):
                await importer.open_receive_channel("late", int)
        send = exporter.open_send_channel("late", int)
        receive = await importer.open_receive_channel("late", int)
        await send.send(1)
        assert await receive.receive() == 1


async def test_one_importer_of_two_exporters_and_two_importers_of_one(nursery: trio.Nursery) -> None:
    """A program may hold several exporters and several importers, even on the same port."""
    async with open_exporter() as one, open_exporter() as two:
        ports = [await serve_tcp(nursery, one), await serve_tcp(nursery, two)]
        sends = [exporter.open_send_channel("jobs", int) for exporter in (one, two)]
        async with (
            open_tcp_importer("127.0.0.1", ports[0]) as a,
            open_tcp_importer("127.0.0.1", ports[0]) as b,
            open_tcp_importer("127.0.0.1", ports[1]) as c,
        ):
            receives = [await importer.open_receive_channel("jobs", int, count=1) for importer in (a, b, c)]
            await sends[0].send(1)
            await sends[0].send(2)
            await sends[1].send(3)
            assert sorted([await receive.receive() for receive in receives]) == [1, 2, 3]
