"""This library: an exporter in one process, importers in the other."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import attrs
import trio

from trionetchan import Exporter, Importer, open_exporter, open_tcp_importer

from ..measure import (
    Client,
    Sample,
    Server,
    Stopwatch,
    allow_files,
    expect_end,
    receive_all,
    resident_memory,
    round_trips,
)
from ..work import LARGE, Task

__all__ = ["connect", "serve"]

HOST = "127.0.0.1"
ACCUSTOM = 50  # idle things made before the memory is looked at: what is made once is made by then


# The exporter


def serve(server: Server) -> None:
    trio.run(_serve, server)


async def _serve(server: Server) -> None:
    allow_files(server.work.importers + server.work.count * (server.work.task is Task.MEMORY))
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(exporter.serve_tcp, 0)
        async with trio.open_nursery() as work:
            await work.start(_SERVERS[server.work.task], exporter, server)
            server.announce(listeners[0].socket.getsockname()[1])
        await trio.to_thread.run_sync(server.wait_until_done)
        nursery.cancel_scope.cancel()


async def _serve_stream(
    exporter: Exporter, server: Server, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    work = server.work
    idle = [exporter.open_send_channel(f"idle {number}", int) for number in range(1, work.channels)]
    send = exporter.open_send_channel("values", work.values.type, max_buffer_size=work.buffer)
    task_status.started()
    while exporter.statistics().channels["values"].peers < work.importers:  # noqa: ASYNC110 - nothing tells of a peer
        await trio.sleep(0.01)
    async with send:
        for value in server.values():
            await send.send(value)
        await exporter.drain("values")
        server.stop()  # the end of many connections is not a cost of the values
    for end in idle:
        end.close()


async def _serve_round_trips(
    exporter: Exporter, server: Server, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    requests = exporter.open_receive_channel("requests", int, max_buffer_size=server.work.buffer)
    replies = exporter.open_send_channel("replies", int, max_buffer_size=server.work.buffer)
    task_status.started()
    async with replies:
        async for number in requests:
            await replies.send(number)


async def _serve_beside_bulk(
    exporter: Exporter, server: Server, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    bulk = exporter.open_send_channel("bulk", bytes)
    large = bytes(LARGE)

    async def send_bulk() -> None:
        async with bulk:
            while True:
                await bulk.send(large)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_bulk)
        await _serve_round_trips(exporter, server, task_status=task_status)
        nursery.cancel_scope.cancel()


async def _serve_memory(
    exporter: Exporter,
    server: Server,  # noqa: ARG001 - as the others
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers each number with this process's memory before it exports that many idle channels more."""
    requests = exporter.open_receive_channel("requests", int)
    replies = exporter.open_send_channel("replies", int)
    task_status.started()
    idle: list[trio.MemorySendChannel[int]] = []
    async with replies:
        async for number in requests:
            memory = resident_memory()
            idle += [exporter.open_send_channel(f"idle {len(idle) + more}", int) for more in range(number)]
            await replies.send(memory)
    for end in idle:
        end.close()


_SERVERS: dict[Task, Callable[..., Awaitable[None]]] = {
    Task.STREAM: _serve_stream,
    Task.IMPORTERS: _serve_stream,
    Task.ROUND_TRIP: _serve_round_trips,
    Task.BESIDE_BULK: _serve_beside_bulk,
    Task.MEMORY: _serve_memory,
}


# The importers


def connect(client: Client) -> Sample:
    return trio.run(_CLIENTS[client.work.task], client)


async def _stream(client: Client) -> Sample:
    work = client.work
    async with open_tcp_importer(HOST, client.port) as importer:
        idle = [await importer.open_receive_channel(f"idle {number}", int) for number in range(1, work.channels)]
        receive = await importer.open_receive_channel(
            "values", work.values.type, window=work.window, max_buffer_size=work.buffer
        )
        sample = await receive_all(receive.__anext__, work)
        await expect_end(receive)
        for end in idle:
            end.close()
    return sample


async def _importers(client: Client) -> Sample:
    work = client.work
    allow_files(work.importers)
    watch = Stopwatch()
    samples: list[Sample] = []
    taken = 0
    connecting = trio.CapacityLimiter(32)

    async def take() -> None:
        nonlocal taken
        async with contextlib.AsyncExitStack() as stack:
            async with connecting:
                importer = await stack.enter_async_context(open_tcp_importer(HOST, client.port))
                receive = await importer.open_receive_channel(
                    "values", work.values.type, window=work.window, max_buffer_size=work.buffer
                )
            async for _ in receive:
                taken += 1
                if taken == work.warmup:
                    watch.start()
                elif taken == work.total:
                    samples.append(watch.stop(work.count))

    async with trio.open_nursery() as nursery:
        for _ in range(work.importers):
            nursery.start_soon(take)
    if taken != work.total:
        raise RuntimeError(f"expected {work.total} values, got {taken}")
    return samples[0]


async def _asking(
    importer: Importer, buffer: int = 0
) -> tuple[trio.MemorySendChannel[int], Callable[[int], Awaitable[int]]]:
    requests = await importer.open_send_channel("requests", int, max_buffer_size=buffer)
    replies = await importer.open_receive_channel("replies", int, max_buffer_size=buffer)

    async def ask(number: int) -> int:
        await requests.send(number)
        return await replies.receive()

    return requests, ask


async def _round_trips(client: Client) -> Sample:
    async with open_tcp_importer(HOST, client.port) as importer:
        requests, ask = await _asking(importer, client.work.buffer)
        async with requests:
            return await round_trips(ask, client.work)


async def _beside_bulk(client: Client) -> Sample:
    arrived = 0

    async def take(bulk: trio.MemoryReceiveChannel[bytes]) -> None:
        nonlocal arrived
        async for value in bulk:
            if len(value) != LARGE:
                raise RuntimeError(f"expected {LARGE} bytes, got {len(value)}")
            arrived += 1

    async with open_tcp_importer(HOST, client.port) as importer, trio.open_nursery() as nursery:
        requests, ask = await _asking(importer)
        nursery.start_soon(take, await importer.open_receive_channel("bulk", bytes))
        async with requests:
            while not arrived:
                await ask(0)
            before = arrived
            sample = await round_trips(ask, client.work)
            if arrived - before < 3:
                raise RuntimeError(f"expected bulk beside the round trips, only {arrived - before} values came")
        importer.hangup("bulk")
    return sample


async def _memory(client: Client) -> Sample:
    count = client.work.count
    allow_files(count + ACCUSTOM)
    watch = Stopwatch()
    taken: dict[str, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        importer = await stack.enter_async_context(open_tcp_importer(HOST, client.port))
        requests, ask = await _asking(importer)

        async def add_connections(more: int) -> None:
            # All blocks are this task's: what a task of the program takes is not the connection's.
            for _ in range(more):
                await stack.enter_async_context(open_tcp_importer(HOST, client.port))
            await trio.sleep(0.5)  # for the hellos

        async def add_channels(more: int) -> None:
            for _ in range(more):
                ends.append(await importer.open_receive_channel(f"idle {len(ends)}", int))

        ends: list[trio.MemoryReceiveChannel[int]] = []
        await add_connections(ACCUSTOM)
        there, here = await ask(0), resident_memory()
        await add_connections(count)
        taken["connection, exporter"] = (await ask(ACCUSTOM) - there) / count
        taken["connection, importer"] = (resident_memory() - here) / count
        await add_channels(ACCUSTOM)
        there, here = await ask(count), resident_memory()
        await add_channels(count)
        taken["channel, exporter"] = (await ask(0) - there) / count
        taken["channel, importer"] = (resident_memory() - here) / count
        sample = attrs.evolve(watch.stop(count), memory=taken)
        for end in ends:
            end.close()
        requests.close()
    return sample


_CLIENTS: dict[Task, Callable[[Client], Awaitable[Sample]]] = {
    Task.STREAM: _stream,
    Task.IMPORTERS: _importers,
    Task.ROUND_TRIP: _round_trips,
    Task.BESIDE_BULK: _beside_bulk,
    Task.MEMORY: _memory,
}
