"""An exporter, and a crowd that comes to it, in one process, which may have many files: WHAT COUNT.

share: so many importers at once; each takes a value and keeps it until all have one, then as many as come.
silent: so many connections that say nothing, and then an importer.
cycles: so many connections that come, say more or less, and go.

Prints what came of it, as a line of JSON; "unable", and why, where so many files are not allowed.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import logging
import os
import resource
import struct
import sys
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import cbor2
import trio
import trio.testing

from trionetchan import BoundListener, Exporter, Limits, open_exporter, open_tcp_importer

HOST = "127.0.0.1"
EACH = 5  # values for each importer
SPARE = 200  # files
AT_ONCE = 50  # connections that are being made
WARM = 100  # cycles before the baseline
LIMITS = Limits(max_connections_per_address=20_000, max_connections=20_000, handshake_timeout=300)


class Unable(Exception):
    """This system does not allow it."""


def allow_files(count: int) -> None:
    needed = count + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != hard < needed:
        raise Unable(f"{needed} open files are needed, {hard} are allowed (ulimit -Hn)")
    if resource.RLIM_INFINITY != soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextlib.asynccontextmanager
async def served(limits: Limits = LIMITS) -> AsyncGenerator[tuple[Exporter, int]]:
    async with open_exporter(limits=limits) as exporter, trio.open_nursery() as nursery:
        listeners: list[BoundListener] = await nursery.start(exporter.serve_tcp, 0)
        yield exporter, listeners[0].port
        nursery.cancel_scope.cancel()


async def until_connections(exporter: Exporter, count: int) -> None:
    while (exporter.statistics().connections, exporter.statistics().suspended) != (count, 0):  # noqa: ASYNC110
        await trio.sleep(0.01)


# A share for each


async def share(count: int) -> dict[str, Any]:
    allow_files(2 * count)
    taken: list[list[int]] = [[] for _ in range(count)]
    all_have_one = trio.Event()
    connecting = trio.CapacityLimiter(AT_ONCE)

    async def take(mine: list[int], port: int, task_status: trio.TaskStatus[None]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with connecting:
                importer = await stack.enter_async_context(open_tcp_importer(HOST, port))
                values = await importer.open_receive_channel("jobs", int, window=1)
            task_status.started()
            async for value in values:
                mine.append(value)
                if all(taken):
                    all_have_one.set()
                await all_have_one.wait()

    async with served() as (exporter, port):
        send = exporter.open_send_channel("jobs", int)
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for mine in taken:
                    starting.start_soon(lambda mine: nursery.start(take, mine, port), mine)
            async with send:
                for value in range(EACH * count):
                    await send.send(value)
    values = sorted(itertools.chain.from_iterable(taken))
    return {"once": values == [*range(EACH * count)], "shares": [min(map(len, taken)), max(map(len, taken))]}


# Silence


async def silent(count: int) -> dict[str, Any]:
    allow_files(2 * count)
    async with served() as (exporter, port), contextlib.AsyncExitStack() as stack:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=1)
        await send.send(1)
        for _ in range(count):
            await stack.enter_async_context(await trio.open_tcp_stream(HOST, port))
        await until_connections(exporter, count)
        start = trio.current_time()
        async with open_tcp_importer(HOST, port) as importer:
            value = await (await importer.open_receive_channel("jobs", int)).receive()
            seconds = trio.current_time() - start
        await until_connections(exporter, count)
        send.close()
        return {"value": value, "seconds": seconds}


# Coming and going


def hello(**parameters: int | bytes) -> bytes:
    content = cbor2.dumps([0, 1, parameters])
    return b"\xd9\xd9\xf7" + cbor2.dumps(content)


async def come_and_go(number: int, port: int) -> None:
    async with await trio.open_tcp_stream(HOST, port) as stream:
        match number % 5:
            case 0:
                pass
            case 1:
                await stream.send_all(hello()[:-2])
            case 2:
                await stream.send_all(b"no hello at all")
            case 3:
                await stream.send_all(hello())
                await stream.receive_some()
            case _:  # leaves a session behind
                keys = {"nonce": os.urandom(16), "session": os.urandom(16), "secret": os.urandom(32)}
                await stream.send_all(
                    hello(resume=1000, **keys) + cbor2.dumps(cbor2.dumps([1, 0, "up", False, 1, None, b"\x81\x81\x03"]))
                )
                await stream.receive_some()
        if number % 2:
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()


async def cycles(count: int) -> dict[str, Any]:
    # Not for importers: under so short a lease each would ask for a sign of life forty times a second.
    async with served(attrs.evolve(LIMITS, resume_timeout=0.1)) as (exporter, port):
        receive = exporter.open_receive_channel("up", int, importers=None)

        async def go(first: int, end: int) -> dict[str, int]:
            async with trio.open_nursery() as nursery:
                for start in range(AT_ONCE):
                    nursery.start_soon(some, range(first + start, end, AT_ONCE))
            await until_connections(exporter, 0)
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            return {
                "descriptors": len(os.listdir("/dev/fd")),
                "tasks": trio.lowlevel.current_statistics().tasks_living,
                "objects": len(gc.get_objects()),
                "peers": exporter.statistics().channels["up"].peers,
            }

        async def some(numbers: range) -> None:
            for number in numbers:
                await come_and_go(number, port)

        before = await go(0, WARM)
        after = await go(WARM, WARM + count)
        receive.close()
        return {"before": before, "after": after}


if __name__ == "__main__":
    logging.disable()
    what = {"share": share, "silent": silent, "cycles": cycles}[sys.argv[1]]
    try:
        print(json.dumps(trio.run(what, int(sys.argv[2]))))
    except Unable as error:
        print(json.dumps({"unable": str(error)}))
