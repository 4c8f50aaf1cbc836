"""Measures a case: a server of its own, a producer, and workers, all fresh processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import rich.console
import rich.table

from ..children import Child, MeasurementError, child

__all__ = ["CASES", "Case", "Figures", "measure", "report"]

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Case:
    """So many importer processes and channels."""

    workers: int
    channels: int

    @property
    def name(self) -> str:
        return f"{self.workers} importers, {self.channels} channels"


CASES = [Case(workers, channels) for channels in (1, 8) for workers in (1, 4, 16)]


@attrs.frozen(kw_only=True)
class Figures:
    """Of one run: values a second, and µs of processor time for each value."""

    rate: float
    producer: float
    workers: float
    engine: float


async def measure(system: str, case: Case, values: int) -> Figures:
    """`values` in all. `MeasurementError` if it cannot be done."""
    if system == "listening":
        return await _measure(system, "-", None, case, values)
    with _server() as (url, process):
        return await _measure(system, url, process, case, values)


async def _measure(system: str, url: str, server: subprocess.Popen[bytes] | None, case: Case, values: int) -> Figures:
    each = values // case.channels
    numbers = [str(case.channels), str(each), str(case.workers)]
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(_process(system, "-", url, numbers))
        hello = await producer.answer()
        place = str(hello.get("port", url))
        workers = [
            await stack.enter_async_context(_process(system, str(worker), place, numbers))
            for worker in range(case.workers)
        ]
        for worker in workers:
            await worker.answer()
        before = _cpu_of(server)
        for process in (*workers, producer):
            await process.tell("go")
        done = await producer.answer()
        engine = _cpu_of(server) - before
        answers = [await worker.answer() for worker in workers]
    total = each * case.channels
    if sum(answer["taken"] for answer in answers) != total:
        raise MeasurementError(f"expected {total} values taken, got {sum(answer['taken'] for answer in answers)}")
    micro = 1e6 / total
    return Figures(
        rate=total / done["seconds"],
        producer=done["cpu"] * micro,
        workers=sum(answer["cpu"] for answer in answers) * micro,
        engine=engine * micro,
    )


@asynccontextmanager
async def _process(system: str, worker: str, place: str, numbers: Sequence[str]) -> AsyncGenerator[Child]:
    async with child("benchmarks.engines.process", system, worker, place, *numbers) as process:
        yield process


@contextmanager
def _server() -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    if PROGRAM is None:
        raise MeasurementError("there is neither redis-server nor valkey-server on PATH")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        command = [PROGRAM, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                for _ in range(200):
                    if _answers(path):
                        break
                    time.sleep(0.02)
                yield f"unix://{path}", process
            finally:
                process.kill()


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
    except OSError:
        return False
    return True


def _cpu_of(process: subprocess.Popen[bytes] | None) -> float:
    """Seconds of processor time."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def report(output: rich.console.Console, measured: dict[Case, dict[str, list[Figures]]]) -> None:
    """Medians, as one table."""
    table = rich.table.Table(title="values/s, and µs of processor time a value: producer + importers + engine")
    for column in ("case", "redis", "plain coredis", "ratio", "exporter that listens", "ratio"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case, systems in measured.items():
        best = {system: _median(figures) for system, figures in systems.items()}
        ours = best["redis"]
        row = [case.name, _shown(ours)]
        for system in ("coredis", "listening"):
            ratios = sorted(a.rate / b.rate for a, b in zip(systems["redis"], systems[system], strict=True))
            row += [_shown(best[system]), f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"]
        table.add_row(*row)
    output.print(table)


def _median(figures: list[Figures]) -> Figures:
    return sorted(figures, key=lambda each: each.rate)[len(figures) // 2]


def _shown(figures: Figures) -> str:
    parts = f"{figures.producer:.1f} + {figures.workers:.1f} + {figures.engine:.1f}"
    return f"{figures.rate:,.0f}  {parts}"
