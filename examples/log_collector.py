"""Lines of many programs, on many machines, in one place: fan-in.

    python log_collector.py collect PORT                         prints the lines of all that ship, until Ctrl-C
    some-program 2>&1 | python log_collector.py ship HOST PORT NAME    sends each line of its input, and copies none

What ships waits when the collector is slow, and goes on where it was when the connection breaks or the collector is
restarted (Ctrl-C, and start it again at the same port within a minute): no line is lost, none comes twice.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import attrs
import trio

from trionetchan import ConnectionLostError, Limits, open_exporter, open_tcp_importer


@attrs.frozen
class Line:
    """A line of text, who sent it, and when (seconds since 1970) by the clock over there."""

    source: str
    time: float
    text: str


async def collect(port: int) -> None:
    """Prints what arrives, until it is interrupted; then tells those that ship to wait for the next collector."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        # importers=None: those that ship come and go, and none of them is the last.
        lines = exporter.open_receive_channel("lines", Line, importers=None)
        [listener] = await nursery.start(exporter.serve_tcp, port)
        print(f"collecting at port {listener.port}", file=sys.stderr, flush=True)

        async def show() -> None:
            async for line in lines:
                moment = time.strftime("%H:%M:%S", time.localtime(line.time))
                print(f"{moment} {line.source}: {line.text}", flush=True)

        nursery.start_soon(show)
        await interrupted()
        await exporter.stop()  # what has arrived is printed and acknowledged; the rest stays with those that ship
        exporter.hangup("lines")  # nobody sends any more: this ends `show`


async def ship(host: str, port: int, source: str) -> None:
    """Sends the lines of the standard input, and returns when all have arrived."""
    async with (
        open_tcp_importer(host, port, limits=Limits(restart_timeout=60)) as importer,
        await importer.open_send_channel("lines", Line, window=256) as lines,
        aclosing(lines_of_input()) as texts,
    ):
        async for text in texts:
            await lines.send(Line(source, time.time(), text))
        # Leaving the blocks closes `lines` and waits until the collector has acknowledged all of it.


async def lines_of_input() -> AsyncGenerator[str]:
    """The lines of the standard input, be it a file, a pipe or a terminal: a thread reads, so that nothing waits."""
    rest = b""
    while chunk := await trio.to_thread.run_sync(os.read, 0, 2**16, abandon_on_cancel=True):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def interrupted() -> None:
    """Returns at Ctrl-C or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)


async def until_interrupted(run: Callable[[], Awaitable[None]]) -> None:
    """Runs it to its end, or until Ctrl-C or SIGTERM cancels it."""

    async def cancel() -> None:
        await interrupted()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        await run()
        nursery.cancel_scope.cancel()


def main() -> None:
    match sys.argv[1:]:
        case ["collect", port]:
            trio.run(collect, int(port))
        case ["ship", host, port, source]:
            why = ""
            try:
                trio.run(until_interrupted, functools.partial(ship, host, int(port), source))
            except* (ConnectionLostError, OSError) as group:
                why = str(group.exceptions[0])
            sys.exit(why or 0)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
