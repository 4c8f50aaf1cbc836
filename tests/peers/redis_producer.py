"""An importer on Redis that sends numbers without end. Prints `safe <number>` when all up to it are acknowledged.

Arguments: URL, namespace, lease, the first number.
"""

from __future__ import annotations

import itertools
import sys

import trio

from trionetchan.redis import open_redis_importer


async def main(*arguments: str) -> None:
    url, namespace, lease, first = arguments
    opening = open_redis_importer(url, namespace=namespace, lease=float(lease), wait_for_export=10)
    async with opening as importer:
        send = await importer.open_send_channel("results", int)
        for number in itertools.count(int(first)):
            await send.send(number)
            if number % 10 == 9:
                await importer.drain()
                print("safe", number, flush=True)


trio.run(main, *sys.argv[1:])
