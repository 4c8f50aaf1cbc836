"""Draws docs/pictures/metrics-dashboard.png: what a dashboard shows of a work queue whose workers come and go.

    python -m benchmarks.dashboard FILE

An exporter deals jobs to workers over TCP; one worker leaves with jobs in its hands, and later two more come. The
figures are those of `trionetchan.otel.export_metrics`, read as a scraper reads them, four times a second.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import attrs
import matplotlib
import matplotlib.pyplot as plt
import trio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from trionetchan import BoundListener, Limits, open_exporter, open_tcp_importer
from trionetchan.otel import export_metrics

SECONDS, INTERVAL = 20, 0.25
LEAVES_AT, COME_AT = 6, 12  # seconds
JOB, JOBS_A_SECOND = 0.05, 45  # two workers do fewer
COUNTERS = ("sent", "acknowledged", "redelivered")
GAUGES = ("peers", "unacknowledged", "waiting")


@attrs.define
class Seen:
    """Of each metric its values, in order of time."""

    times: list[float] = attrs.field(factory=list[float])
    values: dict[str, list[float]] = attrs.field(factory=dict[str, list[float]])

    def look(self, reader: InMemoryMetricReader, time: float) -> None:
        data: Any = reader.get_metrics_data()
        found = {
            metric.name.rpartition(".")[2]: sum(point.value for point in metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("trionetchan.channel.")
        }
        self.times.append(time)
        for name in (*COUNTERS, *GAUGES):
            self.values.setdefault(name, []).append(found.get(name, 0))

    def rate(self, name: str) -> list[float]:
        """A second, over the last two seconds: as `rate(…[2s])`."""
        values, back = self.values[name], int(2 / INTERVAL)
        first = [max(0, place - back) for place in range(len(values))]
        return [
            (values[place] - values[start]) / max(INTERVAL, (place - start) * INTERVAL)
            for place, start in enumerate(first)
        ]


async def work(port: int, scope: trio.CancelScope) -> None:
    """A worker, which acknowledges each job when it is done; cancelled, it leaves with some in its hands."""
    with scope:
        async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
            jobs = await importer.open_receive_channel("jobs", int, window=8, acknowledge="manual")
            async for job in jobs:
                await trio.sleep(JOB)
                await job.ack()


async def watch() -> Seen:
    reader, seen = InMemoryMetricReader(), Seen()
    provider = MeterProvider([reader])
    async with trio.open_nursery() as serving, open_exporter() as exporter, trio.open_nursery() as nursery:
        listeners: list[BoundListener] = await serving.start(exporter.serve_tcp, 0)
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=2_000)
        export = functools.partial(export_metrics, exporter, meter_provider=provider, interval=INTERVAL / 2)
        await nursery.start(export)
        scopes = [trio.CancelScope() for _ in range(5)]
        for scope in scopes[:3]:
            nursery.start_soon(work, listeners[0].port, scope)

        async def come_and_go() -> None:
            await trio.sleep(LEAVES_AT)
            scopes[0].cancel()
            await trio.sleep(COME_AT - LEAVES_AT)
            for scope in scopes[3:]:
                nursery.start_soon(work, listeners[0].port, scope)

        async def produce() -> None:
            number = 0
            while True:
                await jobs.send(number)
                number += 1
                await trio.sleep_until(began + number / JOBS_A_SECOND)

        began = trio.current_time()
        nursery.start_soon(come_and_go)
        nursery.start_soon(produce)
        while (time := trio.current_time() - began) < SECONDS:
            seen.look(reader, time)
            await trio.sleep(INTERVAL)
        nursery.cancel_scope.cancel()
    return seen


def draw(seen: Seen, path: Path) -> None:
    matplotlib.use("Agg")
    figure, places = plt.subplots(2, 2, figsize=(10, 5.6), sharex=True, layout="constrained")
    panels = [
        ("values a second", {"sent": seen.rate("sent"), "acknowledged": seen.rate("acknowledged")}),
        ("waiting", {"waiting": seen.values["waiting"]}),
        ("with importers", {"unacknowledged": seen.values["unacknowledged"]}),
        ("importers, and values that came back", {name: seen.values[name] for name in ("peers", "redelivered")}),
    ]
    for place, (title, lines) in zip(places.flat, panels, strict=True):
        for name, values in lines.items():
            place.plot(seen.times, values, label=name, linewidth=1.6)
        for time in (LEAVES_AT, COME_AT):
            place.axvline(time, color="grey", linewidth=0.8, linestyle=":")
        place.set_title(title, fontsize=10, loc="left")
        place.set_ylim(bottom=0)
        place.grid(alpha=0.25)
        place.legend(fontsize=8, loc="best", frameon=False)
    for place in places[1]:
        place.set_xlabel("seconds")
    figure.suptitle(
        "a work queue: one of three workers leaves at 6 s, with jobs in its hands; two come at 12 s", fontsize=11
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(trio.run(watch), Path(sys.argv[1]))
