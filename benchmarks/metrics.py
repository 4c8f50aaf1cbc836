"""What being watched costs: throughput with metrics and spans, or with somebody who observes, and without, in turn.

    python -m benchmarks.metrics [metrics|observed] [PAIRS] [VALUES]

Each run is two fresh processes over loopback TCP: an exporter that sends integers, and an importer that takes them.
Metrics are exported each second, as text, by OpenTelemetry's own reader in a thread of the exporter's process; who
observes is a process that asks for a snapshot each second. Printed are the ratios of values a second (what a user sees;
noisy where others use the machine), and of the exporter's processor time for a value (less noisy), with the median and
the middle half.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

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


async def send(values: int, how: str) -> dict[str, float]:
    """The exporter's process: values a second, and seconds of processor time."""
    with ExitStack() as stack:
        if how == "metrics":
            from trionetchan.otel import spans

            stack.enter_context(spans())
        async with trio.open_nursery() as nursery:
            async with open_exporter(observable=how == "observed") as exporter:
                listeners: list[BoundListener] = await nursery.start(exporter.serve_tcp, 0)
                port = listeners[0].port
                if how == "metrics":
                    stack.callback(export_each_second(nursery, exporter))
                elif how == "observed":
                    nursery.start_soon(child, "observe", port)
                nursery.start_soon(child, "take", port)
                found = await _measure(exporter, values)
            nursery.cancel_scope.cancel()
    return found


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


async def _measure(exporter: Exporter, values: int) -> dict[str, float]:
    async with exporter.open_send_channel("numbers", int, max_buffer_size=WINDOW) as numbers:
        for number in range(2 * WINDOW):  # until both are at work
            await numbers.send(number)
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(values):
            await numbers.send(number)
        await exporter.drain("numbers")
        seconds = time.perf_counter() - began
        return {"rate": values / seconds, "cpu": time.process_time() - cpu}


def run(values: int, how: str) -> dict[str, float]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.metrics", "send", str(values), how]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def compare(how: str, pairs: int, values: int) -> None:
    """Runs in turn: which of a pair is first changes, too."""
    ratios: dict[str, list[float]] = {"rate": [], "cpu": []}
    for pair in range(pairs):
        found = {each: run(values, each) for each in ((how, "alone") if pair % 2 else ("alone", how))}
        for what, so_far in ratios.items():
            so_far.append(found[how][what] / found["alone"][what])
        print(f"pair {pair + 1}: rate {ratios['rate'][-1]:.3f}, processor time {ratios['cpu'][-1]:.3f}", flush=True)
    for what, so_far in (("rate", ratios["rate"]), ("processor time a value", ratios["cpu"])):
        low, median, high = statistics.quantiles(so_far, n=4)
        print(f"{how}: {what}, with / without: {median:.3f} ({low:.3f} to {high:.3f})")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["take", port]:
            trio.run(take, int(port))
        case ["observe", port]:
            trio.run(observe_on, int(port))
        case ["send", values, how]:
            print(json.dumps(trio.run(send, int(values), how)))
        case _:
            kind, *numbers = arguments or ["metrics"]
            sizes = [*map(int, numbers), *(11, 400_000)[len(numbers) :]]
            compare(kind, sizes[0], sizes[1])


if __name__ == "__main__":
    main(sys.argv[1:])
