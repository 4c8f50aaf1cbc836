"""What is promised of values that the program acknowledges by itself, whatever carries them."""

from __future__ import annotations

import pytest
import trio
from places import Place
from support import take, take_all


@pytest.mark.promise(49, 50)
async def test_values_are_settled_once_and_in_any_order(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
        for number in range(3):
            await send.send(number)
        await exporter.sync("numbers", timeout=1) if place.name == "listening" else None
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            deliveries = await take(receive, 3)
            assert [(each.value, each.redelivered) for each in deliveries] == [(0, False), (1, False), (2, False)]
            for place_in_list in (2, 0, 1):
                await deliveries[place_in_list].ack()
            await exporter.drain(timeout=5)
            with pytest.raises(RuntimeError):
                await deliveries[0].ack()
            with pytest.raises(RuntimeError):
                await deliveries[0].reject()


@pytest.mark.promise(49, 51)
async def test_what_is_not_settled_returns_when_its_holder_goes(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
        for number in range(4):
            await send.send(number)
        async with place.importer() as first:
            receive = await first.open_receive_channel("numbers", int, acknowledge="manual", window=3)
            deliveries = await take(receive, 3)
            await deliveries[1].ack()
        with pytest.raises(trio.ClosedResourceError):
            await deliveries[0].ack()
        async with place.importer() as second:
            receive = await second.open_receive_channel("numbers", int, acknowledge="manual")
            again = await take(receive, 3)
            assert [each.value for each in again] == [0, 2, 3]
            assert [each.redelivered for each in again[:2]] == [True, True]


@pytest.mark.promise(51)
async def test_rejected_value_is_dealt_again(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
        async with place.importer() as importer:
            await send.send(7)
            await exporter.sync("numbers", timeout=1) if place.name == "never" else None
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            delivery = await receive.receive()
            await delivery.reject()
            again = await receive.receive()
            assert (again.value, again.redelivered) == (7, True)
            await again.ack()
            await exporter.drain(timeout=5)


@pytest.mark.promise(52)
async def test_what_comes_back_too_often_goes_to_the_dead_letters(place: Place) -> None:
    letters, dead = trio.open_memory_channel[int](10)
    async with place.exporter(max_redeliveries=2) as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=5, dead_letters=letters)
        await send.send(13)
        await send.send(14)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            async with receive:
                while not dead.statistics().current_buffer_used:
                    with trio.move_on_after(0.2):
                        delivery = await receive.receive()
                        await (delivery.reject() if delivery.value == 13 else delivery.ack())
        assert await dead.receive() == 13
        await exporter.drain(timeout=5)
        send.close()
        async with place.importer() as importer:
            assert await take_all(await importer.open_receive_channel("numbers", int)) == []
        exporter.hangup("numbers")
        assert await take_all(dead) == []


@pytest.mark.promise(53)
async def test_credit_counts_and_the_end_follow_the_settlement(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(6):
            await send.send(number)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual", count=4, window=2)
            got: list[int] = []
            async for delivery in receive:
                got.append(delivery.value)
                await delivery.ack()
            assert got == [0, 1, 2, 3]
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            send.close()
            last = await take(receive, 2)
            with trio.move_on_after(0.2) as waited:
                await receive.receive()
            assert waited.cancelled_caught
            for delivery in last:
                await delivery.ack()
            assert await take_all(receive) == []
