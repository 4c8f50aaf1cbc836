"""One process of a measurement: `python -m benchmarks.engines.process <system> <worker, or -> <place> <numbers>`.

It says hello in a line of JSON when it is ready, goes on when it is told a line, and then says what it has measured.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

from .roles import PRODUCERS, WORKERS, Work, cpu_seconds


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def main(*arguments: str) -> None:
    system, worker, place, *numbers = arguments
    channels, values, workers = map(int, numbers)
    work = Work(place, channels, values, workers)
    before = 0.0

    async def go(hello: dict[str, Any]) -> None:
        nonlocal before
        say(hello)
        await trio.to_thread.run_sync(sys.stdin.readline)
        before = cpu_seconds()

    if worker == "-":
        seconds = await PRODUCERS[system](work, go)
        say({"seconds": seconds, "cpu": cpu_seconds() - before})
    else:
        taken = await WORKERS[system](work, int(worker), go)
        say({"taken": taken, "cpu": cpu_seconds() - before})


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
