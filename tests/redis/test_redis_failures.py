"""The engine fails, or the way to it: programs see a pause or a clear error, and no value is lost or comes twice.

`TRIONETCHAN_EXAMPLES=1000` restarts the engine 20 times, and cuts 100 times as many connections, instead of a few.
"""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from proxy import Fault, Plan, Way, open_proxy
from redis_servers import DURABLE, RedisServer, free_port, redis_server
from support import peer, put, take, take_all

from trionetchan import ConnectionLostError, Limits
from trionetchan._redis import engine
from trionetchan.redis import RedisExporter, RedisImporter, open_redis_exporter, open_redis_importer

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
RESTARTS = max(2, EXAMPLES // 50)
SEEDS = range(max(3, EXAMPLES // 10))
OUTAGE = 10 if EXAMPLES else 0.5  # seconds


@asynccontextmanager
async def both(url: str, **options: Any) -> AsyncGenerator[tuple[RedisExporter, RedisImporter]]:
    async with open_redis_exporter(url, **options) as exporter, open_redis_importer(url, **options) as importer:
        yield exporter, importer


async def harm_while_values_flow(url: str, harm: Any, *, most: int = 100_000, **options: Any) -> None:
    """Every value arrives, once and in order, while `harm` does its work and as long as that takes."""
    async with both(url, **options) as (exporter, importer):
        send = exporter.open_send_channel("numbers", int)
        await exporter.sync()
        receive = await importer.open_receive_channel("numbers", int)
        harmed = False

        async def produce() -> None:
            async with send:
                for number in range(most):
                    await send.send(number)
                    if harmed:
                        break

        async def harm_them() -> None:
            nonlocal harmed
            await harm()
            harmed = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            nursery.start_soon(harm_them)
            got = await take_all(receive)
        await exporter.drain()
        assert got == [*range(len(got))]
        assert exporter.statistics().channels["numbers"].sent == len(got)


@pytest.mark.bounded(60 + 20 * RESTARTS)
async def test_engine_that_is_killed_and_restarted_is_a_pause() -> None:
    with redis_server(*DURABLE) as server:

        async def restart() -> None:
            for _ in range(RESTARTS):
                await trio.sleep(0.3)
                server.kill()
                await trio.sleep(0.1)
                await trio.to_thread.run_sync(server.start)
            await trio.sleep(0.3)

        await harm_while_values_flow(server.url, restart, most=10**9)


@pytest.mark.promise(54)
@pytest.mark.bounded(60)
@pytest.mark.parametrize("seed", SEEDS)
async def test_connections_that_are_cut_anywhere_are_a_pause(seed: int) -> None:
    chance = random.Random(seed)

    def plan(_number: int) -> Plan:
        after = int(2 ** chance.uniform(11, 15))
        return Plan(fault=chance.choice([Fault.RESET, Fault.END]), way=chance.choice([*Way]), after=after)

    with redis_server(port=(port := free_port())):
        async with open_proxy(port, plan, seed=seed) as proxy:

            async def wait() -> None:
                while proxy.accepted < 12:  # noqa: ASYNC110
                    await trio.sleep(0.01)

            await harm_while_values_flow(f"redis://127.0.0.1:{proxy.port}", wait, most=10**9)


@pytest.mark.bounded(60)
@pytest.mark.parametrize("seed", SEEDS)
async def test_value_whose_confirmation_was_lost_is_not_added_twice(seed: int) -> None:
    """The connections of the exporter are cut within what the engine answers."""
    chance = random.Random(seed)

    def plan(_number: int) -> Plan:
        return Plan(fault=Fault.RESET, way=Way.DOWN, after=chance.randrange(300, 900))

    with redis_server(port=(port := free_port())) as server:
        async with open_proxy(port, plan, seed=seed) as proxy:
            async with open_redis_exporter(f"redis://127.0.0.1:{proxy.port}") as exporter:
                send = exporter.open_send_channel("numbers", int)
                sent = 0
                while proxy.accepted < 20:
                    await send.send(sent)
                    sent += 1
                    await trio.sleep(0.002)
                send.close()
            async with open_redis_importer(server.url) as importer:
                assert await take_all(await importer.open_receive_channel("numbers", int)) == [*range(sent)]


@pytest.mark.bounded(60)
async def test_network_that_is_gone_for_a_while_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "REPLY_TIMEOUT", 1.0)
    with redis_server(port=(port := free_port())):
        async with open_proxy(port) as proxy:

            async def go() -> None:
                await trio.sleep(0.2)
                proxy.harm(Fault.SWALLOW)
                target, proxy.target = proxy.target, free_port()
                await trio.sleep(OUTAGE)
                proxy.target = target
                await trio.sleep(2)

            await harm_while_values_flow(f"redis://127.0.0.1:{proxy.port}", go, most=10**9)


@pytest.mark.bounded(60)
async def test_engine_that_hangs_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "REPLY_TIMEOUT", 0.5)
    with redis_server() as server:

        async def hang() -> None:
            await trio.sleep(0.2)
            server.signal(signal.SIGSTOP)
            await trio.sleep(1.2)
            server.signal(signal.SIGCONT)
            await trio.sleep(0.5)

        await harm_while_values_flow(server.url, hang, most=10**9)


async def test_engine_that_stays_away_is_an_error() -> None:
    with redis_server() as server, pytest.raises(ConnectionLostError, match=r"numbers: .* within 0.3 s"):
        async with open_redis_exporter(server.url, limits=Limits(resume_timeout=0.3), lease=1) as exporter:
            exporter.open_send_channel("numbers", int)
            await exporter.sync()
            with pytest.raises(ConnectionLostError, match=r"numbers: .* within 0.3 s"):
                opening = open_redis_importer(server.url, limits=Limits(resume_timeout=0.3), lease=1)
                async with opening as importer:
                    await importer.open_receive_channel("numbers", int)
                    server.kill()
                    await trio.sleep_forever()
            await trio.sleep_forever()


async def test_engine_that_lost_everything_is_an_error() -> None:
    with redis_server() as server:  # without any durability
        for who in ("exporter", "importer"):
            with pytest.raises((ConnectionLostError, BaseExceptionGroup)) as raised:  # of one block, or of both
                async with both(server.url, namespace=who, lease=1) as (exporter, importer):
                    send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
                    await exporter.sync()
                    receive = await importer.open_receive_channel("numbers", int)
                    await send.send(1)
                    assert await receive.receive() == 1
                    await exporter.drain()
                    server.kill()
                    server.start()
                    if who == "exporter":
                        await send.send(2)
                    await trio.sleep_forever()
            assert "expected the engine to keep" in repr(raised.value)


async def test_engine_that_forgot_values_that_it_had_confirmed_is_an_error() -> None:
    with redis_server() as server, pytest.raises(ConnectionLostError, match="lost 2 values"):
        async with open_redis_exporter(server.url) as exporter:
            send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
            for number in range(3):
                await send.send(number)
            with pytest.raises(trio.TooSlowError):
                await exporter.drain(timeout=0.3)
            (member,) = server.tell("hkeys", "trionetchan:{numbers}:produced").split()
            server.tell("hset", "trionetchan:{numbers}:produced", member, "1")  # as an older copy would say
            await send.send(3)
            await trio.sleep_forever()


async def test_engine_that_is_full_is_a_pause_until_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as server:
        async with both(server.url) as (exporter, importer):
            send = exporter.open_send_channel("blobs", bytes)
            await exporter.sync()
            blobs = [bytes([number]) * 10**6 for number in range(40)]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(put, send, blobs)
                while "OOM" not in caplog.text:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                receive = await trio_import(importer)
                assert await take_all(receive) == blobs


async def trio_import(importer: RedisImporter) -> trio.MemoryReceiveChannel[bytes]:
    return await importer.open_receive_channel("blobs", bytes)


async def test_backlog_that_is_full_makes_senders_wait(redis: RedisServer, namespace: str) -> None:
    async with open_redis_exporter(redis.url, namespace=namespace, max_backlog=10) as exporter:
        send = exporter.open_send_channel("numbers", int)
        sent = 0
        with trio.move_on_after(0.5):
            for number in range(100):
                await send.send(number)
                sent += 1
        assert 10 <= sent <= 21  # in the engine, and taken for it
        assert redis.tell("xlen", f"{namespace}:{{numbers}}:stream") == "10"
        async with open_redis_importer(redis.url, namespace=namespace) as importer:
            receive = await importer.open_receive_channel("numbers", int)
            assert await take(receive, sent) == [*range(sent)]


@pytest.mark.promise(58)
@pytest.mark.bounded(30)
async def test_stopped_worker_loses_what_it_held_and_goes_on(redis: RedisServer, namespace: str) -> None:
    async with open_redis_exporter(redis.url, namespace=namespace, lease=0.5) as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        await exporter.sync()
        async with peer("redis_holder", redis.url, namespace, 0.5) as stopped:
            for number in range(3):
                await send.send(number)
            assert await stopped.line() == "got 0"
            stopped.process.send_signal(signal.SIGSTOP)
            async with open_redis_importer(redis.url, namespace=namespace, lease=0.5) as other:
                receive = await other.open_receive_channel("jobs", int, max_buffer_size=10)
                assert await take(receive, 3) == [0, 1, 2]
                await exporter.drain()
                stopped.process.send_signal(signal.SIGCONT)
                await trio.sleep(0.5)  # in which it hears of it
                await stopped.tell("ack")
                assert await stopped.line() == "gone"
                receive.close()
                other.hangup("jobs") if "jobs" in other.statistics().channels else None
                await send.send(3)
                assert await stopped.line() == "got 3"


@pytest.mark.bounded(30)
async def test_engine_that_was_stopped_costs_nobody_its_lease() -> None:
    """What the engine gets then, it gets at once, and one member before the other."""
    with redis_server() as server:
        async with both(server.url, lease=1.2) as (exporter, importer), AsyncExitStack() as stack:
            send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
            await exporter.sync()
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            await send.send(1)
            delivery = await receive.receive()
            for _ in range(4):
                other = await stack.enter_async_context(open_redis_exporter(server.url, lease=1.2))
                other.open_send_channel("numbers", int)
                await trio.sleep(0.1)
            await trio.sleep(1.5)  # all are in touch for longer than the lease
            server.signal(signal.SIGSTOP)
            await trio.sleep(1.5)
            server.signal(signal.SIGCONT)
            await trio.sleep(0.3)
            await delivery.ack()
            await exporter.drain()
            assert server.tell("hget", "trionetchan:{numbers}:record", "redelivered") == ""


@pytest.mark.bounded(30)
async def test_outage_of_the_engine_costs_nobody_its_lease() -> None:
    with redis_server(*DURABLE) as server:
        async with both(server.url, lease=1.5) as (exporter, importer):
            send = exporter.open_send_channel("numbers", int, max_buffer_size=5)
            await exporter.sync()
            receive = await importer.open_receive_channel("numbers", int, acknowledge="manual")
            await send.send(1)
            delivery = await receive.receive()
            server.kill()
            await trio.sleep(2)
            async with open_redis_importer_when_there(server) as other:
                second = await other.open_receive_channel("numbers", int)
                with trio.move_on_after(1) as waited:
                    await second.receive()
                assert waited.cancelled_caught
                await delivery.ack()
                await exporter.drain()


def open_redis_importer_when_there(server: RedisServer) -> Any:
    server.start()
    return open_redis_importer(server.url, lease=1.5)


async def test_cancelled_block_leaves_in_good_order(redis: RedisServer, namespace: str) -> None:
    async with open_redis_exporter(redis.url, namespace=namespace) as exporter:
        receive = exporter.open_receive_channel("numbers", int, max_buffer_size=10)
        await exporter.sync()
        with trio.move_on_after(0.5):
            async with open_redis_importer(redis.url, namespace=namespace) as importer:
                send = await importer.open_send_channel("numbers", int, max_buffer_size=10)
                await put(send, [1, 2])
                await trio.sleep_forever()
        with trio.move_on_after(0.3):
            async with open_redis_importer(redis.url, namespace=namespace) as importer:
                await trio.sleep_forever()
        assert await take_all(receive) == [1, 2]


async def test_engine_that_is_not_there_is_an_os_error_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "coredis")
    with pytest.raises(OSError, match="expected an engine that answers"):
        async with open_redis_exporter(f"redis://127.0.0.1:{free_port()}"):
            raise AssertionError
    for url in ("http://localhost", "redis+nothing://localhost", "redis+sentinel://localhost"):
        with pytest.raises(ValueError, match="expected"):
            async with open_redis_importer(url):
                raise AssertionError
