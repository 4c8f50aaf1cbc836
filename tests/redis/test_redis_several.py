"""Several exporters of a name, one after the other and beside each other: what an exporter that listens cannot have."""

from __future__ import annotations

import pytest
import trio
from redis_servers import RedisServer
from support import put, take, take_all

from trionetchan import TypeMismatchError, WrongDirectionError
from trionetchan.redis import open_redis_exporter, open_redis_importer


async def test_the_end_comes_when_all_exporters_have_finished(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_exporter(redis.url, namespace=namespace) as first,
        open_redis_exporter(redis.url, namespace=namespace) as second,
        open_redis_importer(redis.url, namespace=namespace) as importer,
    ):
        one = first.open_send_channel("numbers", int, max_buffer_size=5)
        two = second.open_send_channel("numbers", int, max_buffer_size=5)
        await first.sync()
        await second.sync()
        receive = await importer.open_receive_channel("numbers", int)
        await put(one, [1, 2])
        assert await take(receive, 2) == [1, 2]
        with trio.move_on_after(0.2) as waited:
            await receive.receive()
        assert waited.cancelled_caught
        await put(two, [3])
        assert await take_all(receive) == [3]


async def test_exporters_that_receive_compete(redis: RedisServer, namespace: str) -> None:
    got: list[int] = []

    async def collect(receive: trio.MemoryReceiveChannel[int]) -> None:
        got.extend([number async for number in receive])

    async with (
        open_redis_exporter(redis.url, namespace=namespace) as first,
        open_redis_exporter(redis.url, namespace=namespace) as second,
        open_redis_importer(redis.url, namespace=namespace) as importer,
        trio.open_nursery() as nursery,
    ):
        for exporter in (first, second):
            nursery.start_soon(collect, exporter.open_receive_channel("results", int, window=2))
            await exporter.sync()
        await put(await importer.open_send_channel("results", int), range(100))
    assert sorted(got) == [*range(100)]


@pytest.mark.promise(11)
async def test_the_next_exporter_goes_on_where_a_crashed_one_was(redis: RedisServer, namespace: str) -> None:
    async with open_redis_importer(redis.url, namespace=namespace, wait_for_export=5) as importer:
        with pytest.raises(ZeroDivisionError):
            async with open_redis_exporter(redis.url, namespace=namespace) as exporter:
                send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
                await send.send(1)
                await trio.sleep(0.2)
                raise ZeroDivisionError
        receive = await importer.open_receive_channel("numbers", int)
        assert await receive.receive() == 1
        with trio.move_on_after(0.2) as waited:
            await receive.receive()
        assert waited.cancelled_caught
        async with open_redis_exporter(redis.url, namespace=namespace) as exporter:
            await put(exporter.open_send_channel("numbers", int, max_buffer_size=5), [2])
        assert await take_all(receive) == [2]


async def test_exporters_of_a_name_must_agree(redis: RedisServer, namespace: str) -> None:
    async with open_redis_exporter(redis.url, namespace=namespace) as first:
        first.open_send_channel("numbers", int | None)
        await first.sync()
        with pytest.raises(TypeMismatchError, match="another exporter"):
            async with open_redis_exporter(redis.url, namespace=namespace) as second:
                second.open_send_channel("numbers", str)
                await trio.sleep_forever()
        with pytest.raises(WrongDirectionError, match="expected all exporters"):
            async with open_redis_exporter(redis.url, namespace=namespace) as second:
                second.open_receive_channel("numbers", int)
                await trio.sleep_forever()
        async with open_redis_exporter(redis.url, namespace=namespace) as second:
            second.open_send_channel("numbers", int)  # all of it fits what the first has said
            await second.sync()


async def test_hang_up_takes_the_name_from_all(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_exporter(redis.url, namespace=namespace) as first,
        open_redis_exporter(redis.url, namespace=namespace) as second,
    ):
        first.open_send_channel("numbers", int)
        send = second.open_send_channel("numbers", int)
        await first.sync()
        await second.sync()
        first.hangup("numbers")
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await send.send(1)
                await trio.sleep(0.01)


async def test_values_outlive_their_exporter(redis: RedisServer, namespace: str) -> None:
    async with open_redis_exporter(redis.url, namespace=namespace) as exporter:
        await put(exporter.open_send_channel("numbers", int, max_buffer_size=5), [1, 2, 3])
    async with open_redis_importer(redis.url, namespace=namespace) as importer:
        assert await take_all(await importer.open_receive_channel("numbers", int)) == [1, 2, 3]


async def test_import_waits_for_its_export(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_importer(redis.url, namespace=namespace, wait_for_export=8) as importer,
        trio.open_nursery() as nursery,
    ):

        async def export_later() -> None:
            await trio.sleep(0.3)
            async with open_redis_exporter(redis.url, namespace=namespace) as exporter:
                await put(exporter.open_send_channel("numbers", int), [1])

        nursery.start_soon(export_later)
        assert await take_all(await importer.open_receive_channel("numbers", int)) == [1]


async def test_little_is_left_of_a_channel_that_is_over(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_exporter(redis.url, namespace=namespace) as exporter,
        open_redis_importer(redis.url, namespace=namespace) as importer,
    ):
        for name in ("finished", "hung up"):
            send = exporter.open_send_channel(name, int, max_buffer_size=5)
            await exporter.sync()
            receive = await importer.open_receive_channel(name, int)
            if name == "finished":
                await put(send, [1])
            else:
                exporter.hangup(name)
            await take_all(receive)
    await trio.sleep(0.1)
    for key in redis.tell("--scan", "--pattern", f"{namespace}:*").splitlines():
        assert int(redis.tell("pttl", key)) > 0, key  # a day at most


@pytest.mark.promise(34)
async def test_name_is_bound_anew_while_its_old_binding_is_still_leaving(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_exporter(redis.url, namespace=namespace) as exporter,
        open_redis_importer(redis.url, namespace=namespace) as importer,
    ):
        for number in range(6):
            send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
            await send.send(-1)
            if number % 3 == 1:
                await trio.sleep(0.02)
            if number % 3 == 2:
                send.close()
            exporter.hangup("numbers")
            send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
            await exporter.sync()
            receive = await importer.open_receive_channel("numbers", int)
            await send.send(number)
            assert await receive.receive() == number
            exporter.hangup("numbers")
            assert await take_all(receive) == []


@pytest.mark.promise(34)
async def test_name_that_is_received_into_is_bound_anew_at_once(redis: RedisServer, namespace: str) -> None:
    async with (
        open_redis_exporter(redis.url, namespace=namespace) as exporter,
        open_redis_importer(redis.url, namespace=namespace) as importer,
    ):
        for number in range(3):
            exporter.open_receive_channel("numbers", int)
            await exporter.sync()
            feed = await importer.open_send_channel("numbers", int, max_buffer_size=5)
            await feed.send(-1)
            await trio.sleep(0.05)  # the exporter waits in the `send` of its end
            exporter.hangup("numbers")
            receive = exporter.open_receive_channel("numbers", int)
            await exporter.sync()
            assert (await importer.errors.receive()).channel == "numbers"
            await put(await importer.open_send_channel("numbers", int), [number])
            assert await take_all(receive) == [number]


async def test_blocks_that_are_left_at_once_end(redis: RedisServer, namespace: str) -> None:
    for _ in range(15):  # which task runs first is left to chance
        async with open_redis_exporter(redis.url, namespace=namespace):
            pass
        async with open_redis_importer(redis.url, namespace=namespace):
            pass
