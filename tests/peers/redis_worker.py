"""An importer on Redis: prints each job that it gets, as `got <number>` or, redelivered, `again <number>`.

Arguments: URL, namespace, lease, window.
"""

from __future__ import annotations

import sys

import trio

from trionetchan.redis import open_redis_importer


async def main(*arguments: str) -> None:
    url, namespace, lease, window = arguments
    opening = open_redis_importer(url, namespace=namespace, lease=float(lease), wait_for_export=10)
    async with opening as importer:
        jobs = await importer.open_receive_channel("jobs", int, window=int(window), acknowledge="manual")
        async for job in jobs:
            print("again" if job.redelivered else "got", job.value, flush=True)
            await job.ack()
    print("end", flush=True)


trio.run(main, *sys.argv[1:])
