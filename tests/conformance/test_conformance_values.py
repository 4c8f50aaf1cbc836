"""What is promised of values, types and windows, whatever carries them."""

from __future__ import annotations

import attrs
import pytest
import trio
from places import Place
from support import put, take, take_all

from trionetchan import (
    Direction,
    LimitError,
    NoSuchChannelError,
    RemoteValueError,
    TypeMismatchError,
    ValueTypeError,
    WrongDirectionError,
)


@attrs.frozen
class Job:
    number: int
    name: str


@attrs.frozen
class HeavyJob:
    number: int
    name: str
    weight: float


@pytest.mark.promise(2, 17)
@pytest.mark.parametrize("buffer", [0, 16])
async def test_values_arrive_in_order_and_then_the_end(place: Place, nursery: trio.Nursery, buffer: int) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=buffer)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, max_buffer_size=buffer)
            nursery.start_soon(put, send, range(500))
            assert await take_all(receive) == [*range(500)]


@pytest.mark.promise(12, 13)
async def test_typed_values_arrive_as_they_were(place: Place, nursery: trio.Nursery) -> None:
    jobs = [Job(number, f"job {number}") for number in range(50)]
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("jobs", Job)
        async with place.importer() as importer:
            nursery.start_soon(put, send, jobs)
            assert await take_all(await importer.open_receive_channel("jobs", Job)) == jobs


async def test_large_values_and_small_ones(place: Place, nursery: trio.Nursery) -> None:
    values = [b"x" * size for size in (0, 1, 100_000, 3, 5_000_000, 7)]
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("blobs", bytes)
        async with place.importer() as importer:
            nursery.start_soon(put, send, values)
            assert await take_all(await importer.open_receive_channel("blobs", bytes)) == values


@pytest.mark.promise(3)
async def test_each_value_has_one_receiver(place: Place, nursery: trio.Nursery) -> None:
    got: list[int] = []

    async def work() -> None:
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int, window=4)
            got.extend([number async for number in receive])

    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with trio.open_nursery() as workers:
            for _ in range(3):
                workers.start_soon(work)
            await put(send, range(300))
    assert sorted(got) == [*range(300)]


@pytest.mark.promise(3, 7)
async def test_fan_in_brings_every_value_of_every_importer(place: Place, nursery: trio.Nursery) -> None:
    async def work(number: int) -> None:
        async with place.importer() as importer:
            send = await importer.open_send_channel("results", int)
            await put(send, range(number * 100, number * 100 + 100))

    async with place.exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, importers=3)
        await exporter.sync()
        for number in range(3):
            nursery.start_soon(work, number)
        got = await take_all(receive)
    assert sorted(got) == [*range(300)]
    assert all([x for x in got if x // 100 == n] == [*range(n * 100, n * 100 + 100)] for n in range(3))


@pytest.mark.promise(4)
async def test_window_bounds_what_an_importer_holds(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=100)
        async with place.importer() as importer:
            receive = await importer.open_receive_channel(
                "numbers", int, window=3, max_buffer_size=100, acknowledge="manual"
            )
            for number in range(20):
                await send.send(number)
            held = await take(receive, 3)
            await trio.sleep(0.1)
            assert receive.statistics().current_buffer_used == 0
            await held[1].ack()
            assert (await receive.receive()).value == 3


@pytest.mark.promise(7)
async def test_values_wait_for_their_importer(place: Place, nursery: trio.Nursery) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for number in range(5):
            await send.send(number)
        await exporter.sync("numbers") if place.name == "listening" else await trio.sleep(0.2)
        async with place.importer() as importer:
            assert await take(await importer.open_receive_channel("numbers", int), 5) == [*range(5)]


@pytest.mark.promise(12)
async def test_types_are_compared_at_the_import(place: Place) -> None:
    async with place.exporter() as exporter:
        exporter.open_send_channel("jobs", Job)
        exporter.open_receive_channel("heavy", HeavyJob)
        await exporter.sync()
        async with place.importer() as importer:
            with pytest.raises(TypeMismatchError, match="weight"):
                await importer.open_receive_channel("jobs", HeavyJob)
            with pytest.raises(TypeMismatchError, match="weight"):
                await importer.open_send_channel("heavy", Job)
            await importer.open_receive_channel("jobs", Job)


async def test_unknown_names_and_wrong_directions(place: Place) -> None:
    async with place.exporter() as exporter:
        exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            with pytest.raises(NoSuchChannelError, match="nothing"):
                await importer.open_receive_channel("nothing", int)
            with pytest.raises(WrongDirectionError, match="numbers"):
                await importer.open_send_channel("numbers", int)


@pytest.mark.promise(14)
async def test_local_value_that_does_not_fit_raises_out_of_the_block(place: Place) -> None:
    with pytest.raises(ValueTypeError, match="numbers"):
        async with place.exporter() as exporter:
            send = exporter.open_send_channel("numbers", int)
            async with place.importer() as importer:
                receive = await importer.open_receive_channel("numbers", int, max_buffer_size=5)
                await send.send(1)
                assert await receive.receive() == 1
                await send.send("two")  # type: ignore[arg-type]
                await trio.sleep_forever()


@pytest.mark.promise(13)
async def test_value_that_is_too_large_raises_out_of_the_block(place: Place) -> None:
    with pytest.raises(LimitError, match="at most 1000 bytes"):
        async with place.exporter(max_value_size=1000) as exporter:
            send = exporter.open_send_channel("blobs", bytes)
            async with place.importer() as importer:
                await importer.open_receive_channel("blobs", bytes)
                await send.send(b"x" * 2000)
                await trio.sleep_forever()


def _positive(_instance: object, _attribute: object, value: int) -> None:
    if value < 0:
        raise ValueError("below 0")


@attrs.frozen
class Number:
    value: int


@attrs.frozen
class Positive:
    value: int = attrs.field(validator=_positive)


@pytest.mark.promise(15)
async def test_arrived_value_that_does_not_fit_fails_the_importer(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", Number, max_buffer_size=5)
        await send.send(Number(1))
        await send.send(Number(-1))
        got: list[int] = []
        with pytest.raises(RemoteValueError, match="numbers"):
            async with place.importer() as importer:
                receive = await importer.open_receive_channel("numbers", Positive, max_buffer_size=5)
                async for number in receive:
                    got.append(number.value)  # noqa: PERF401 - those before the failure count
        assert got == [1]
        async with place.importer() as importer:  # to whom it fits
            receive2 = await importer.open_receive_channel("numbers", Number)
            assert (await receive2.receive()).value == -1


@pytest.mark.promise(16)
async def test_value_that_is_refused_too_often_is_a_dead_letter(place: Place) -> None:
    letters, dead = trio.open_memory_channel[Number](10)
    async with place.exporter(max_redeliveries=1) as exporter:
        send = exporter.open_send_channel("numbers", Number, max_buffer_size=5, dead_letters=letters)
        await send.send(Number(-1))
        for _ in range(2):
            with pytest.raises(RemoteValueError):
                async with place.importer() as importer:
                    await importer.open_receive_channel("numbers", Positive)
                    await trio.sleep_forever()
        assert await dead.receive() == Number(-1)
        await exporter.drain()


async def test_directions_follow_the_end_that_is_handed_over(place: Place) -> None:
    async with place.exporter() as exporter:
        ours, theirs = trio.open_memory_channel[int](0)
        exporter.export("numbers", theirs, int, direction=Direction.SEND)
        await exporter.sync()
        async with place.importer() as importer:
            arrives, receive = trio.open_memory_channel[int](0)
            await importer.import_("numbers", arrives, int)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(put, ours, range(3))
                assert await take_all(receive) == [0, 1, 2]


@pytest.mark.promise(1, 6)
async def test_value_is_acknowledged_when_the_receiving_task_has_it_and_soon(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as importer:
            receive = await importer.open_receive_channel("numbers", int)
            for number in range(5):
                await send.send(number)
                with pytest.raises(trio.TooSlowError):
                    await exporter.drain(timeout=0.1)
                assert await receive.receive() == number
                await exporter.drain(timeout=5)  # of a window of 64 that is far from half


@pytest.mark.promise(5)
async def test_bytes_bound_what_an_importer_holds(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("blobs", bytes, max_buffer_size=10)
        for size in (600, 300, 300, 5000, 10):
            await send.send(b"x" * size)
        async with place.importer(max_buffered_bytes=1000) as importer:
            receive = await importer.open_receive_channel("blobs", bytes, max_buffer_size=10, acknowledge="manual")
            for sizes in ([600, 300], [300], [5000], [10]):
                held = await take(receive, len(sizes))
                assert [len(each.value) for each in held] == sizes
                await trio.sleep(0.1)
                assert receive.statistics().current_buffer_used == 0
                for delivery in held:
                    await delivery.ack()


@pytest.mark.promise(9)
async def test_slow_importer_does_not_starve_another(place: Place) -> None:
    async with place.exporter() as exporter:
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        async with place.importer() as slow, place.importer() as other:
            await slow.open_receive_channel("numbers", int)
            receive = await other.open_receive_channel("numbers", int)
            got: list[int] = []

            async def collect() -> None:
                while len(got) < 9:
                    got.append(await receive.receive())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect)
                for number in range(10):
                    await send.send(number)
                    await trio.sleep(0.05)
            assert got == sorted(got)
