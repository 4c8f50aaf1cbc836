"""An exporter that says which integers of "results" it gets, "got N", and deals those of "jobs": PORT WINDOW EVERY.

The port may be 0; the first line that it says is its port. It sleeps for EVERY seconds after each value.
"""

from __future__ import annotations

import sys

import trio

from trionetchan import BoundListener, open_exporter


def say(text: object) -> None:
    print(text, flush=True)


async def deal(jobs: trio.MemorySendChannel[int]) -> None:
    for number in range(sys.maxsize):
        await jobs.send(number)


async def main(port: int, window: int, every: float) -> None:
    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        results = exporter.open_receive_channel("results", int, window=window)
        nursery.start_soon(deal, exporter.open_send_channel("jobs", int))
        listeners: list[BoundListener] = await nursery.start(exporter.serve_tcp, port)
        say(listeners[0].port)
        async for value in results:
            say(f"got {value}")
            await trio.sleep(every)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
