"""An importer on Redis that holds each job until it is told `ack` on its standard input.

It prints `got <number>`, and `gone` where the `ack` was too late. Arguments: URL, namespace, lease.
"""

from __future__ import annotations

import sys

import trio

from trionetchan.redis import open_redis_importer


async def main(*arguments: str) -> None:
    url, namespace, lease = arguments
    async with open_redis_importer(url, namespace=namespace, lease=float(lease), wait_for_export=10) as importer:
        jobs = await importer.open_receive_channel("jobs", int, acknowledge="manual", window=3)
        async for job in jobs:
            print("got", job.value, flush=True)
            await trio.to_thread.run_sync(sys.stdin.readline)
            try:
                await job.ack()
            except trio.BrokenResourceError:
                print("gone", flush=True)


trio.run(main, *sys.argv[1:])
