"""Takes one value of "jobs", has three more on the way, sends one into "results", and stays until it is killed."""

from __future__ import annotations

import sys

import trio

from trionetchan import Limits, open_tcp_importer


async def main(port: int) -> None:
    async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
        results = await importer.open_send_channel("results", int)
        jobs = await importer.open_receive_channel("jobs", int, window=3)
        await results.send(0)
        print("took", await jobs.receive(), flush=True)
        await trio.sleep_forever()


trio.run(main, int(sys.argv[1]))
