"""What being watched costs: throughput with metrics and spans, or with somebody who observes, and without, in turn.

    python -m benchmarks.metrics [metrics|observed] [PAIRS] [VALUES]

An exporter sends integers over loopback TCP to an importer in a process of its own, in slices of so many values: one
slice with, one without, and so on. Metrics are exported each second, as text, by OpenTelemetry's own reader in a thread
of the exporter's process; who observes is a process that asks for a snapshot each second. Printed are the ratios of
neighbours, with the median and the middle half: of values a second (what a user sees; noisy where others use the
machine), and of the exporter's processor time for a value (less noisy).
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager

import trio

from trionetchan import BoundListener, Exporter, open_exporter, open_tcp_importer

WINDOW = 1024


async def take(port: int) -> None:
    """The importer's process."""
    async with open_tcp_importer("127.0.0.1", port) as importer:
        numbers = await importer.open_receive_channel("numbers", int, window=WINDOW, max_buffer_size=WINDOW)
        async for _ in numbers:
            pass


async def observe_on(port: int) -> None:
    """A process that observes, as `trionetchan top` does."""
    from trionetchan.observation import observe

    async with open_tcp_importer("127.0.0.1", port) as importer:
        while True:
            await observe(importer)
            await trio.sleep(1)


async def measure(how: str, pairs: int, values: int) -> None:
    ratios: dict[str, list[float]] = {"rate": [], "cpu": []}
    with ExitStack() as stack:
        if how == "metrics":
            from trionetchan.otel import spans

            stack.enter_context(spans())
        async with trio.open_nursery() as nursery:
            async with open_exporter(observable=True) as exporter:
                listeners: list[BoundListener] = await nursery.start(exporter.serve_tcp, 0)
                port = listeners[0].port
                nursery.start_soon(child, "take", port)
                async with exporter.open_send_channel("numbers", int, max_buffer_size=WINDOW) as numbers:
                    await one_slice(exporter, numbers, values)  # until all is at work
                    for pair in range(pairs):
                        found: dict[bool, dict[str, float]] = {}
                        for watched in (True, False) if pair % 2 else (False, True):
                            async with being_watched(how if watched else "", exporter, port):
                                found[watched] = await one_slice(exporter, numbers, values)
                        for what, so_far in ratios.items():
                            so_far.append(found[True][what] / found[False][what])
            nursery.cancel_scope.cancel()
    for what, so_far in (("rate", ratios["rate"]), ("processor time a value", ratios["cpu"])):
        low, median, high = statistics.quantiles(so_far, n=4)
        print(f"{how}: {what}, with / without: {median:.3f} ({low:.3f} to {high:.3f})")


@asynccontextmanager
async def being_watched(how: str, exporter: Exporter, port: int) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        if how == "metrics":
            stop = export_each_second(nursery, exporter)
            yield
            await trio.to_thread.run_sync(stop)
        elif how == "observed":
            nursery.start_soon(child, "observe", port)
            yield
        else:
            yield
        nursery.cancel_scope.cancel()


async def one_slice(exporter: Exporter, numbers: trio.MemorySendChannel[int], values: int) -> dict[str, float]:
    """Values a second, and seconds of this process's processor time."""
    for number in range(2 * WINDOW):
        await numbers.send(number)
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(values):
        await numbers.send(number)
    await exporter.drain("numbers")
    return {"rate": values / (time.perf_counter() - began), "cpu": time.process_time() - cpu}


async def child(what: str, port: int) -> None:
    await trio.run_process([sys.executable, "-m", "benchmarks.metrics", what, str(port)], check=False)


def export_each_second(nursery: trio.Nursery, exporter: Exporter) -> Callable[[], None]:
    """What ends it is returned."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    from trionetchan.otel import export_metrics

    exporting = ConsoleMetricExporter(out=io.StringIO())
    provider = MeterProvider([PeriodicExportingMetricReader(exporting, export_interval_millis=1_000)])
    nursery.start_soon(lambda: export_metrics(exporter, meter_provider=provider))
    return provider.shutdown


def main(arguments: list[str]) -> None:
    match arguments:
        case ["take", port]:
            trio.run(take, int(port))
        case ["observe", port]:
            trio.run(observe_on, int(port))
        case _:
            kind, *numbers = arguments or ["metrics"]
            sizes = [*map(int, numbers), *(10, 1_000_000)[len(numbers) :]]
            trio.run(measure, kind, sizes[0], sizes[1])


if __name__ == "__main__":
    main(sys.argv[1:])
