"""A worker that is a process, and is killed: `python -m benchmarks.endurance.worker PORT SEED`."""

from __future__ import annotations

import random
import sys

import trio

from trionetchan import ConnectionLostError, open_tcp_importer

from .jobs import work
from .world import HOST, limits_of


async def main(port: int, seed: int) -> None:
    try:
        async with open_tcp_importer(HOST, port, limits=limits_of(1)) as importer:
            print("connected", flush=True)
            await work(importer, random.Random(seed), rejects=True)
    except (ConnectionLostError, OSError):
        pass


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
