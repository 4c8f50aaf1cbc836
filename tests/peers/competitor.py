"""Receives integers of "jobs" and prints each; after COUNT of them it parks, or hangs up: PORT WINDOW COUNT ACTION."""

from __future__ import annotations

import sys

import trio

from trionetchan import Limits, open_tcp_importer


async def main(port: int, window: int, count: int, action: str) -> None:
    async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
        receive = await importer.open_receive_channel("jobs", int, window=window)
        print("bound", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        taken = 0
        async for value in receive:
            print(value, flush=True)
            taken += 1
            if taken == count and action == "park":
                await trio.sleep_forever()
            elif taken == count and action == "hang up":
                importer.hangup("jobs")
    print("end", flush=True)


trio.run(main, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
