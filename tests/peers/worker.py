"""An importer that says what it does: PORT DIRECTION WINDOW HOLD KEEPALIVE RESUME.

DIRECTION "receive": takes the integers of "jobs"; for each, "got N T", with the monotonic time at which it came.
DIRECTION "send": sends 0, 1, … to "results", as fast as it goes; "sent N" when a send has returned, and "confirmed N"
when a `sync` has returned that was called when N values had been sent.

After HOLD values (-1: never) it says "holds" and waits for a line on its standard input. At the end it says "end", or
the error's name; then, of a lost session, the values of "results" that it holds.
"""

from __future__ import annotations

import os
import sys
import time

import trio

from trionetchan import ConnectionLostError, Importer, Limits, SessionLostError, open_tcp_importer


def say(text: object) -> None:
    print(text, flush=True)


async def hold() -> None:
    say("holds")
    async with trio.lowlevel.FdStream(os.dup(0)) as told:
        await told.receive_some(1)


async def receive_jobs(importer: Importer, window: int, held: int) -> None:
    jobs = await importer.open_receive_channel("jobs", int, window=window)
    say("bound")
    for taken in range(sys.maxsize):
        if taken == held:
            await hold()
        try:
            value = await jobs.receive()
        except trio.EndOfChannel:
            return
        say(f"got {value} {time.monotonic()}")


async def send_results(importer: Importer, window: int, held: int) -> None:
    results = await importer.open_send_channel("results", int, window=window, max_buffer_size=5)
    say("bound")
    for number in range(sys.maxsize):
        if number == held:
            await hold()
        await results.send(number)
        say(f"sent {number}")
        if number % 50 == 49:
            await importer.sync()
            say(f"confirmed {number - 5}")  # what the channel buffers need not have been handed over


async def main(port: int, direction: str, window: int, held: int, keepalive: float, resume: float) -> None:
    limits = Limits(keepalive=keepalive, keepalive_timeout=keepalive, resume_timeout=resume)
    try:
        async with open_tcp_importer("127.0.0.1", port, limits=limits) as importer:
            await (receive_jobs if direction == "receive" else send_results)(importer, window, held)
        say("end")
    except SessionLostError as error:
        say("SessionLostError")
        for values in (error.unconfirmed, error.unsent):
            say(" ".join(map(str, values.get("results", []))))
    except ConnectionLostError as error:
        say(f"{type(error).__name__} {error}")


if __name__ == "__main__":
    arguments = sys.argv
    numbers = (int(arguments[3]), int(arguments[4]), float(arguments[5]), float(arguments[6]))
    trio.run(main, int(arguments[1]), arguments[2], *numbers)
