"""Observes the exporter, takes nothing of what it gets, and stays until it is killed."""

from __future__ import annotations

import sys

import trio

from trionetchan import Limits, open_tcp_importer
from trionetchan.observation import STATISTICS, Observation


async def main(port: int) -> None:
    async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
        await importer.open_receive_channel(STATISTICS, Observation, window=64)
        print("bound", flush=True)
        await trio.sleep_forever()


trio.run(main, int(sys.argv[1]))
