"""Who can connect to the exporter, and over what lines."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import trio

from trionetchan import Exporter

from .history import What
from .line import Fault, Line, Quality, Way
from .plan import ImporterPlan
from .scene import Scene

__all__ = ["Network"]


class Network:
    """Lines between the importers, which are numbers here, and the exporter that there is."""

    def __init__(self, scene: Scene, exporter: Callable[[], Exporter | None]) -> None:
        self._scene = scene
        self._exporter = exporter
        self._lines: dict[int, Line] = {}
        self._all: list[Line] = []
        self._down_until: dict[int, float] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self.bytes_came = trio.Event()
        """The next bytes can be read."""

    async def connect(self, number: int, plan: ImporterPlan) -> trio.abc.Stream:
        """For `open_importer`."""
        await trio.lowlevel.checkpoint()
        while number in self._down_until:
            if plan.refused:
                raise ConnectionRefusedError("the network is down")
            await self._changed.park()
        exporter = self._exporter()
        if exporter is None:
            raise ConnectionRefusedError("there is no exporter")
        quality = Quality() if self._scene.healed.is_set() else plan.quality
        line = Line(random.Random(self._scene.chance.getrandbits(32)), quality, self._on_bytes)
        line.on_break = lambda fault: self._scene.record(What.FAULT, f"importer{number}", kind=fault.value)
        if quality.delay:
            self._scene.record(What.FAULT, f"importer{number}", kind="slow")
        self._lines[number] = line
        self._all.append(line)
        self._scene.nursery.start_soon(self._serve, exporter, line)
        return line.importer_end

    async def _serve(self, exporter: Exporter, line: Line) -> None:
        try:
            await exporter.serve_stream(line.exporter_end)
        except trio.ClosedResourceError:
            await line.exporter_end.aclose()

    def _on_bytes(self) -> None:
        came, self.bytes_came = self.bytes_came, trio.Event()
        came.set()

    def cut(self, number: int, fault: Fault, seconds: float, way: Way) -> None:
        """Breaks the line, and lets no other be made for so many seconds."""
        if number in self._lines and not self._scene.healed.is_set():
            self._go_down(number, seconds)
            self._lines[number].harm(fault, way)

    def cut_later(self, number: int, way: Way, count: int, fault: Fault) -> None:
        """Breaks the line when so many more bytes have gone this way."""
        if number in self._lines and not self._scene.healed.is_set():
            self._lines[number].cut_after(way, count, fault)

    def pause(self, number: int, seconds: float) -> None:
        """Nothing moves for so many seconds; then all goes on."""
        if number in self._lines and not self._scene.healed.is_set():
            self._scene.record(What.FAULT, f"importer{number}", kind="pause", seconds=seconds)
            self._scene.nursery.start_soon(self._pause, self._lines[number], seconds)

    async def _pause(self, line: Line, seconds: float) -> None:
        line.pause(True)
        await trio.sleep(seconds)
        line.pause(False)

    def _go_down(self, number: int, seconds: float) -> None:
        if seconds:
            self._scene.record(What.FAULT, f"importer{number}", kind="down", seconds=min(seconds, 1e9))
            until = self._down_until[number] = max(self._down_until.get(number, 0), trio.current_time() + seconds)
            if until < math.inf:
                self._scene.nursery.start_soon(self._come_up, number, until)

    async def _come_up(self, number: int, until: float) -> None:
        await trio.sleep_until(until)
        if self._down_until.get(number, math.inf) <= until:
            del self._down_until[number]
            self._changed.unpark_all()

    def heal(self) -> None:
        """From now on every line is a good one, and can be had at once."""
        self._down_until.clear()
        self._changed.unpark_all()
        for line in self._all:
            line.quality = Quality()
            line.cut_after(Way.UP, 2**60, Fault.RESET)
            line.pause(False)
            if line.fault is not None:
                line.harm(Fault.RESET)
