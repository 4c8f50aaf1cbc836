"""One side of a connection between two machines. It says what happens to it.

    namespaced.py exporter COUNT KEEPALIVE RESUME
    namespaced.py importer ADDRESS PORT WINDOW KEEPALIVE RESUME

The exporter says its port, sends 0, 1, … to "jobs", receives "results" ("result N"), and says at each change how many
sessions are suspended ("suspended N"); when all is acknowledged, "drained REDELIVERED DROPPED", and it leaves at a
line on its standard input. The importer says each job ("got N"), and sends it back as a result.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import trio

from trionetchan import BoundListener, Exporter, Limits, SessionLostError, open_exporter, open_tcp_importer

PACE = 0.003  # seconds between two values


def say(*words: object) -> None:
    print(*words, flush=True)


def limits(keepalive: str, resume: str) -> Limits:
    seconds = float(keepalive)
    # An attempt to connect is given up early: the system repeats a lost packet only after a second, and then later.
    return Limits(keepalive=seconds, keepalive_timeout=seconds, handshake_timeout=0.5, resume_timeout=float(resume))


async def tell_suspended(exporter: Exporter) -> None:
    told = 0
    while True:
        suspended = exporter.statistics().suspended
        if suspended != told:
            say("suspended", suspended)
            told = suspended
        await trio.sleep(0.01)


async def tell_results(exporter: Exporter) -> None:
    async for result in exporter.open_receive_channel("results", int, importers=None):
        say("result", result)


async def export(count: str, keepalive: str, resume: str) -> None:
    async with open_exporter(limits=limits(keepalive, resume)) as exporter, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[list[BoundListener]]) -> None:
            await exporter.serve_tcp(0, host="0.0.0.0", task_status=task_status)

        [listener] = await nursery.start(serve)
        say(listener.port)
        nursery.start_soon(tell_suspended, exporter)
        nursery.start_soon(tell_results, exporter)
        async with exporter.open_send_channel("jobs", int) as jobs:
            for number in range(int(count)):
                await jobs.send(number)
                await trio.sleep(PACE)
            await exporter.drain("jobs")
            statistics = exporter.statistics()
            say("drained", statistics.channels["jobs"].redelivered, statistics.dropped)
        async with trio.lowlevel.FdStream(os.dup(0)) as told:
            await told.receive_some(1)
        nursery.cancel_scope.cancel()


async def import_(address: str, port: str, window: str, keepalive: str, resume: str) -> None:
    try:
        async with (
            open_tcp_importer(address, int(port), limits=limits(keepalive, resume)) as importer,
            await importer.open_send_channel("results", int) as results,
        ):
            async for number in await importer.open_receive_channel("jobs", int, window=int(window)):
                say("got", number)
                await results.send(number)
            await importer.drain("results")
            say("end", importer.statistics().resumed)
    except SessionLostError:
        say("lost")


if __name__ == "__main__":
    sides: dict[str, Any] = {"exporter": export, "importer": import_}
    trio.run(sides[sys.argv[1]], *sys.argv[2:])
