"""A process that tries to serve a unix socket whenever it is told to, and says what came of it.

    starter.py PATH NAME

"start T" tries, at the monotonic time T: it answers "serving" or the error's class; who connects then finds one value,
the name, on the channel "name". "stop" ends it: "stopped". With "held" ("start held", "stop held") it waits before it
removes a socket file: "removing"; it goes on at the next line. A process that finds the directory locked says "locked
out", once for each start.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import Any

import trio

from trionetchan import open_exporter

PATH, NAME = sys.argv[1:]


class Watched:
    """In the place of two functions of the system, so that it can be seen, and decided, who comes first."""

    def __init__(self) -> None:
        self.hold = False
        self.locked_out = False
        self._unlink, self._flock = os.unlink, fcntl.flock
        setattr(os, "unlink", self.unlink)  # noqa: B010
        setattr(fcntl, "flock", self.flock)  # noqa: B010

    def unlink(self, path: Any) -> None:
        if self.hold:
            self.hold = False
            say("removing")
            sys.stdin.readline()
        os.sched_yield()  # a good moment for the others
        self._unlink(path)

    def flock(self, file: int, operation: int) -> None:
        try:
            self._flock(file, operation)
        except BlockingIOError:
            if not self.locked_out:
                self.locked_out = True
                say("locked out")
            raise


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def line() -> str:
    said: str = await trio.to_thread.run_sync(sys.stdin.readline)
    return said.strip()


async def serve(watched: Watched) -> None:
    """Until told to stop."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        exporter.open_send_channel("name", str, max_buffer_size=1).send_nowait(NAME)
        try:
            await nursery.start(exporter.serve_unix, PATH)
        except OSError as error:
            say(type(error).__name__)
        else:
            say("serving")
        watched.hold = await line() == "stop held"
        nursery.cancel_scope.cancel()
    say("stopped")


async def main() -> None:
    watched = Watched()
    while command := await line():
        when = command.removeprefix("start ")
        watched.hold = when == "held"
        watched.locked_out = False
        while when != "held" and time.monotonic() < float(when):
            """All that start at this time are awake then."""
        await serve(watched)


if __name__ == "__main__":
    trio.run(main)
