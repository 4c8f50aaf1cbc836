"""Live telemetry of any number of programs, drawn in a terminal: only the latest values count.

    python telemetry.py watch PORT               draws what arrives, until Ctrl-C
    python telemetry.py measure HOST PORT NAME   measures, and sends ten times a second, until Ctrl-C

A value that cannot go at once is left out: the next one is better. So a watcher that is slow, or being restarted, never
holds up who measures, and nothing old piles up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from trionetchan import Limits, NetchanError, open_exporter, open_tcp_importer

INTERVAL, REFRESH = 0.1, 0.2  # seconds between two measurements, and between two pictures
WIDTH, HEIGHT = 60, 4  # of a plot, in characters
BLOCKS = " ▁▂▃▄▅▆▇█"


@attrs.frozen
class Sample:
    """What one program has measured, by the name of the quantity."""

    source: str
    values: dict[str, float]


Recent = defaultdict[str, deque[float]]


def plot(values: Sequence[float]) -> list[str]:
    """The lines of a plot, from above; its highest column is the largest value, its foot is 0."""
    scale = HEIGHT * 8 / (max(values, default=0) or 1)
    eighths = [round(value * scale) for value in values]
    return ["".join(BLOCKS[min(max(each - row * 8, 0), 8)] for each in eighths) for row in reversed(range(HEIGHT))]


def picture(recent: Recent) -> str:
    lines: list[str] = []
    for name, values in sorted(recent.items()):
        *above, foot = plot(values)
        lines += [*above, f"{foot:{WIDTH}} {name}: {values[-1]:.2f} (at most {max(values):.2f})"]
    return "\n".join(lines)


async def watch(port: int) -> None:
    """Draws the latest values of everybody."""
    recent = Recent(functools.partial(deque[float], maxlen=WIDTH))
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        samples = exporter.open_receive_channel("samples", Sample, importers=None)  # who measures comes and goes
        [listener] = await nursery.start(exporter.serve_tcp, port)
        print(f"watching at port {listener.port}", file=sys.stderr, flush=True)
        nursery.start_soon(draw, recent)
        async for sample in samples:
            for quantity, value in sample.values.items():
                recent[f"{sample.source} {quantity}"].append(value)


async def draw(recent: Recent) -> None:
    clear = "\033[H\033[J" if sys.stdout.isatty() else ""
    while True:
        await trio.sleep(REFRESH)
        print(f"{clear}{picture(recent)}", flush=True)


async def measure(host: str, port: int, source: str) -> None:
    """Sends the load of this machine, and how late its clock wakes this program."""
    while True:  # whatever becomes of the watcher
        with contextlib.suppress(NetchanError, OSError):
            async with open_tcp_importer(host, port, limits=Limits(resume_timeout=1)) as importer:
                # window=1: a value goes when the one before has arrived, so what is drawn is never older than that.
                samples = await importer.open_send_channel("samples", Sample, window=1)
                while True:
                    began = time.perf_counter()
                    await trio.sleep(INTERVAL)
                    late = (time.perf_counter() - began - INTERVAL) * 1000
                    sample = Sample(source, {"load": os.getloadavg()[0], "ms late": late})
                    with contextlib.suppress(trio.WouldBlock):
                        samples.send_nowait(sample)
        await trio.sleep(1)


async def until_signal(run: Callable[[], Awaitable[None]]) -> None:
    """Runs it to its end, or until Ctrl-C or SIGTERM cancels it."""

    async def cancel_on_signal() -> None:
        await anext(signals)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_signal)
            await run()
            nursery.cancel_scope.cancel()


def main() -> None:
    match sys.argv[1:]:
        case ["watch", port]:
            trio.run(until_signal, functools.partial(watch, int(port)))
        case ["measure", host, port, source]:
            trio.run(until_signal, functools.partial(measure, host, int(port), source))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
