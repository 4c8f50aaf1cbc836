"""What is promised of ends, shares, hang-ups, drain and sync, whatever carries the values."""

from __future__ import annotations

import pytest
import trio
from places import Place
from support import put, take, take_all

from trionetchan import ChannelNameInUseError, NoSuchChannelError, TooManyErrors, ValuesDroppedError


@pytest.mark.promise(18)
async def test_end_waits_for_what_another_importer_holds(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
        async with place.importer() as first, place.importer() as second:
            held = await first.open_receive_channel("numbers", int, window=1, acknowledge="manual")
            await send.send(1)
            delivery = await held.receive()
            receive = await second.open_receive_channel("numbers", int)
            send.close()
            with trio.move_on_after(0.2) as waited:
                await receive.receive()
            assert waited.cancelled_caught
            await delivery.ack()
            assert await take_all(receive) == []
            assert await take_all(held) == []


@pytest.mark.promise(19)
async def test_import_of_a_finished_name_gets_the_rest_and_the_end(place: Place) -> None:
    async with place.exporter() as exporter:
        await put(exporter.open_send_channel("numbers", int, max_buffer_size=5), [1, 2, 3])
        async with place.importer() as importer:
            assert await take_all(await importer.open_receive_channel("numbers", int)) == [1, 2, 3]
            assert await take_all(await importer.open_receive_channel("numbers", int)) == []


@pytest.mark.promise(19)
async def test_finished_name_may_be_exported_anew(place: Place) -> None:
    async with place.exporter() as exporter:
        await put(exporter.open_send_channel("numbers", int, max_buffer_size=5), [1])
        async with place.importer() as importer:
            assert await take_all(await importer.open_receive_channel("numbers", int)) == [1]
            await exporter.drain()
            await put(exporter.open_send_channel("numbers", str, max_buffer_size=5), ["a"])
            await exporter.sync() if place.name == "listening" else await trio.sleep(0.1)
            assert await take_all(await importer.open_receive_channel("numbers", str)) == ["a"]


@pytest.mark.promise(20, 8)
async def test_values_of_a_receiver_that_goes_come_back_first_and_in_order(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=20)
        for number in range(10):
            await send.send(number)
        async with place.importer() as first:
            receive = await first.open_receive_channel("numbers", int, window=4)
            assert await receive.receive() == 0
            await first.sync()
            receive.close()
            await send.send(10)
            await trio.sleep(0.1)
        async with place.importer() as second:
            receive = await second.open_receive_channel("numbers", int, max_buffer_size=20)
            assert await take(receive, 10) == [*range(1, 11)]


@pytest.mark.promise(21)
async def test_sender_whose_receiver_is_gone_is_told_why(place: Place) -> None:
    async with place.exporter(keepalive=0.1) as exporter:
        receive = exporter.open_receive_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            send = await importer.open_send_channel("numbers", int)
            receive.close()
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await send.send(1)
                    await trio.sleep(0.01)
            error = await importer.errors.receive()
            assert error.channel == "numbers"


@pytest.mark.promise(20, 21)
async def test_gone_receiver_is_noticed_without_another_value(place: Place) -> None:
    async with place.exporter(keepalive=0.1) as exporter:
        receive = exporter.open_receive_channel("numbers", int)
        await exporter.sync()
        async with place.importer(keepalive=0.1) as importer:
            await importer.open_send_channel("numbers", int)
            receive.close()
            assert (await importer.errors.receive()).channel == "numbers"


@pytest.mark.promise(22)
async def test_fan_in_ends_when_as_many_as_expected_have_finished(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int, importers=2, max_buffer_size=10)
        await exporter.sync()
        async with place.importer() as importer:
            await put(await importer.open_send_channel("numbers", int), [1])
            assert await receive.receive() == 1
            with trio.move_on_after(0.2) as waited:
                await receive.receive()
            assert waited.cancelled_caught
        async with place.importer() as importer:
            await put(await importer.open_send_channel("numbers", int), [2])
        assert await take_all(receive) == [2]


@pytest.mark.promise(23, 31)
async def test_fan_in_that_lost_a_sender_waits_for_another(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int, max_buffer_size=10)
        await exporter.sync()
        with pytest.raises(ZeroDivisionError):
            async with place.importer() as importer:
                send = await importer.open_send_channel("numbers", int)
                await send.send(1)
                await importer.sync()
                raise ZeroDivisionError
        assert await receive.receive() == 1
        with trio.move_on_after(0.2) as waited:
            await receive.receive()
        assert waited.cancelled_caught
        async with place.importer() as importer:
            await put(await importer.open_send_channel("numbers", int), [2])
        assert await take_all(receive) == [2]


@pytest.mark.promise(24)
async def test_counted_import_receives_just_so_many(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(7):
            await send.send(number)
        async with place.importer() as importer:
            assert await take_all(await importer.open_receive_channel("numbers", int, count=3)) == [0, 1, 2]
            assert await take_all(await importer.open_receive_channel("numbers", int, count=2)) == [3, 4]
            assert await take_all(await importer.open_receive_channel("numbers", int, count=0)) == []
            receive = await importer.open_receive_channel("numbers", int)
            assert await take(receive, 2) == [5, 6]


@pytest.mark.promise(24)
async def test_counted_import_sends_just_so_many(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int, max_buffer_size=10)
        await exporter.sync()
        async with place.importer() as importer:
            send = await importer.open_send_channel("numbers", int, count=2)
            with pytest.raises(trio.BrokenResourceError):
                for number in range(10):
                    await send.send(number)
            assert await take_all(receive) == [0, 1]


@pytest.mark.promise(25, 26)
async def test_leaving_delivers_what_was_accepted(place: Place, nursery: trio.Nursery) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int, max_buffer_size=100)
        await exporter.sync()
        async with place.importer() as importer:
            send = await importer.open_send_channel("numbers", int, max_buffer_size=50)
            for number in range(50):
                await send.send(number)
            send.close()
        assert await take_all(receive) == [*range(50)]


@pytest.mark.promise(29)
async def test_values_that_arrived_before_their_sender_left_are_delivered(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            send = await importer.open_send_channel("numbers", int, max_buffer_size=5)
            with trio.move_on_after(0.3):
                await put(send, [1, 2, 3])
                await trio.sleep_forever()
            receive2 = receive.clone()
            assert await take_all(receive2) == [1, 2, 3]


@pytest.mark.promise(32)
async def test_hang_up_of_an_export_ends_its_imports(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        with pytest.raises(NoSuchChannelError):
            exporter.hangup("letters")
        await exporter.sync()
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int)
            exporter.hangup("numbers")
            assert await take_all(receive) == []
            with pytest.raises(trio.BrokenResourceError):
                await send.send(1)
            with pytest.raises(NoSuchChannelError, match="hung up"):
                await importer.open_receive_channel("numbers", int)


@pytest.mark.promise(32, 48)
async def test_hang_up_of_a_fan_in_breaks_its_senders(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            send = await importer.open_send_channel("numbers", int)
            exporter.hangup("numbers")
            assert (await importer.errors.receive()).channel == "numbers"
            with pytest.raises(trio.BrokenResourceError):
                await send.send(1)
            assert await take_all(receive) == []
        with pytest.raises(TooManyErrors):
            async with place.importer(max_unread_errors=0) as importer:
                exporter.open_receive_channel("more", int)
                await exporter.sync()
                await importer.open_send_channel("more", int)
                exporter.hangup("more")
                await trio.sleep_forever()


@pytest.mark.promise(33)
async def test_hang_up_of_a_receiving_import_returns_its_values(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(4):
            await send.send(number)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int)
            assert await receive.receive() == 0
            importer.hangup("numbers")
            assert await take_all(receive) == []
            again = await importer.open_receive_channel("numbers", int)
            assert await take(again, 3) == [1, 2, 3]


@pytest.mark.promise(33, 38)
async def test_hang_up_of_an_export_drops_and_a_drain_says_so(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(4):
            await send.send(number)
        errors: list[ValuesDroppedError] = []

        async def drain() -> None:
            try:
                await exporter.drain("numbers")
            except ValuesDroppedError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.sleep(0.2)
            exporter.hangup("numbers")
        assert [error.count for error in errors] == [4]
        assert exporter.statistics().dropped == 4


@pytest.mark.promise(34)
async def test_name_can_be_bound_anew_at_once_after_a_hang_up(place: Place) -> None:
    async with place.exporter() as exporter, place.importer() as importer:
        for number in range(5):
            send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
            other = exporter.open_send_channel(f"other {number}", int, max_buffer_size=5)
            await exporter.sync()
            receive = await importer.open_receive_channel("numbers", int)
            await send.send(number)
            assert await receive.receive() == number
            exporter.hangup("numbers")
            assert await take_all(receive) == []
            await put(other, [number])
            assert await take_all(await importer.open_receive_channel(f"other {number}", int)) == [number]


async def test_a_name_is_bound_once_by_one_importer_or_exporter(place: Place) -> None:
    async with place.exporter() as exporter:
        exporter.open_send_channel("numbers", int)
        with pytest.raises(ChannelNameInUseError):
            exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            await importer.open_receive_channel("numbers", int)
            with pytest.raises(ChannelNameInUseError):
                await importer.open_receive_channel("numbers", int)


@pytest.mark.promise(35, 36)
async def test_drain_waits_for_every_value(place: Place, nursery: trio.Nursery) -> None:
    got: list[int] = []

    async def work(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for number in receive:
            await trio.sleep(0.002)
            got.append(number)

    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            nursery.start_soon(work, await importer.open_receive_channel("numbers", int, window=2))
            for turn in range(4):
                for number in range(10):
                    await send.send(number)
                await exporter.drain("numbers")
                assert len(got) >= 10 * (turn + 1) - 1  # the last is in the task's hands
            send.close()
            await exporter.drain()
            await trio.sleep(0.1)


@pytest.mark.promise(37, 38)
async def test_sync_waits_for_what_was_handed_over(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
        await exporter.sync()
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual", window=10)
            await send.send(1)
            delivery = await receive.receive()
            with pytest.raises(trio.TooSlowError):
                await exporter.sync(timeout=0.1)
            with pytest.raises(trio.TooSlowError):
                await exporter.drain(timeout=0.1)
            await delivery.ack()
            await exporter.sync(timeout=5)
            await exporter.drain(timeout=5)


@pytest.mark.promise(39)
async def test_blocked_sender_that_is_cancelled_does_not_hold_up_a_drain(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        with trio.move_on_after(0.05):
            while True:
                await send.send(1)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, max_buffer_size=10_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exporter.drain)
            assert receive.statistics().current_buffer_used >= 0


@pytest.mark.promise(40, 41)
async def test_cancelled_import_leaves_the_end_open_and_no_trace(place: Place) -> None:
    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            ours, theirs = trio.open_memory_channel[int](5)
            with trio.CancelScope() as scope:
                scope.cancel()
                await importer.import_("numbers", theirs, int)
            assert scope.cancelled_caught
            await ours.send(1)
            await trio.sleep(0.1)
            await importer.import_("numbers", theirs, int)
            ours.close()
            assert await take_all(receive) == [1]


@pytest.mark.promise(44)
async def test_channel_that_nobody_reads_does_not_hold_up_another(place: Place) -> None:
    async with place.exporter() as exporter:
        lazy = exporter.open_send_channel("lazy", int, max_buffer_size=1000)
        busy = exporter.open_send_channel("busy", int)
        for number in range(1000):
            await lazy.send(number)
        await exporter.sync("busy")
        async with place.importer() as importer:
            await importer.open_receive_channel("lazy", int)
            receive = await importer.open_receive_channel("busy", int)
            for number in range(100):
                await busy.send(number)
                assert await receive.receive() == number


@pytest.mark.promise(30)
async def test_closing_twice_is_harmless(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int)
            for _ in range(2):
                send.close()
                await send.aclose()
                receive.close()
                await receive.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await exporter.drain()
    with pytest.raises(trio.ClosedResourceError):
        await importer.import_("numbers", send, int)


async def test_statistics_count_both_sides(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int)
            for number in range(5):
                await send.send(number)
                await receive.receive()
            await exporter.drain()
            sent, received = exporter.statistics().channels["numbers"], importer.statistics().channels["numbers"]
            assert (sent.sent, sent.acknowledged, sent.unacknowledged, sent.waiting) == (5, 5, 0, 0)
            assert (received.received, received.dropped) == (5, 0)
            assert sent.bytes_sent > 0
            assert sent.bytes_sent <= received.bytes_received
