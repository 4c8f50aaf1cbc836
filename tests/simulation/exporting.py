"""The program that exports: its senders and receivers, and one exporter after the other."""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import attrs
import trio

from trionetchan import Exporter, NetchanError, open_exporter

from .history import What
from .plan import ChannelPlan
from .scene import CANCELLED, Scene, from_value, to_value, type_of

__all__ = ["Exporting"]


class Exporting:
    """It lives until `finish` is set."""

    def __init__(self, scene: Scene) -> None:
        self.exporter: Exporter | None = None
        self.finish = trio.Event()
        self.hung_up: set[str] = set()
        self.over: dict[str, trio.Event] = {}
        """By the channels that are received from: nothing more comes."""
        self.stopping = False
        self.downtime = 0.0
        self._turn = trio.Event()  # this exporter's time is over
        self._scene = scene
        self._number = 0
        self._ends: dict[str, Any] = {}  # that the exporter gets
        self._given: dict[str, list[Any]] = {}  # clones that exporters before got

    @property
    def who(self) -> str:
        return f"exporter{self._number}"

    async def live(self) -> None:
        for channel in self._scene.plan.channels:
            self._open(channel)
        while True:
            await self._live_once()
            if self.finish.is_set():
                break
            await trio.sleep(self.downtime)
            self._number += 1
            self._turn = trio.Event()
        for channel in self._scene.plan.channels:
            if channel.down and channel.name in self._ends:
                self._find(channel, self._ends[channel.name])

    async def _live_once(self) -> None:
        scene = self._scene
        try:
            async with open_exporter(limits=scene.plan.limits) as exporter:
                scene.record(What.OPENED, self.who)
                for channel in scene.plan.channels:
                    if channel.name not in self.hung_up:
                        self._export(exporter, channel)
                self.exporter = exporter
                await self._turn.wait()
                if not self.finish.is_set():
                    await self._stop(exporter)
                self.count()
                self.stopping = not self.finish.is_set()
                scene.record(What.LEAVES, self.who)
            scene.record(What.LEFT, self.who)
        except Exception as error:
            scene.record(What.FAILED, self.who, error=type(error).__name__, text=str(error)[:200])
        finally:
            self.exporter = None
            self.stopping = False

    async def _stop(self, exporter: Exporter) -> None:
        self.stopping = True
        self._scene.record(What.STOPS, self.who)
        patience = self._scene.chance.choice([math.inf, math.inf, 1, 0])
        stop = functools.partial(exporter.stop, timeout=patience)
        if await self._scene.call("stop", stop) is CANCELLED or patience < math.inf:
            self._scene.record(What.NOT_STOPPED, self.who)
        else:
            self._scene.record(What.STOPPED, self.who)

    def restart(self, downtime: float) -> None:
        """Stops gracefully; the next one comes after so many seconds."""
        if self._scene.plan.restarts and not self._scene.healed.is_set():
            self.downtime = downtime
            self._turn.set()

    def leave(self) -> None:
        self.finish.set()
        self._turn.set()

    # Channels

    def _open(self, channel: ChannelPlan) -> None:
        scene, name = self._scene, channel.name
        scene.record(
            What.EXPORTED, channel=name, down=channel.down, buffer=channel.buffer, importers=channel.importers,
            window=channel.window, dead_letters=channel.dead_letters,
        )  # fmt: skip
        send, receive = trio.open_memory_channel[Any](channel.buffer)
        if channel.down:
            self._ends[name] = receive
            for number in range(channel.senders):
                scene.nursery.start_soon(self._send, channel, number, send.clone())
            send.close()
        else:
            self._ends[name] = send
            self.over[name] = trio.Event()
            scene.nursery.start_soon(self._receive, channel, receive)

    def _export(self, exporter: Exporter, channel: ChannelPlan) -> None:
        end = self._ends[channel.name]
        given = end.clone() if self._scene.plan.restarts else end
        self._given.setdefault(channel.name, []).append(given)
        if channel.down:
            letters = None
            if channel.dead_letters:
                letters, dead = trio.open_memory_channel[Any](math.inf)
                self._scene.nursery.start_soon(self._bury, channel, dead)
            exporter.export(channel.name, given, type_of(channel), window=channel.window, dead_letters=letters)
        else:
            exporter.export(channel.name, given, type_of(channel), window=channel.window, importers=channel.importers)

    async def _send(self, channel: ChannelPlan, sender: int, end: trio.MemorySendChannel[Any]) -> None:
        scene, name, who = self._scene, channel.name, f"{channel.name}/sender{sender}"
        number = 0
        with end:
            while number < channel.values:
                await scene.tap(who).take()
                value = sender * 1000 + number
                await scene.before_send()
                scene.record(What.SENDS, "exporter", name, who, value)
                try:
                    sent = await scene.call(who, end.send, to_value(channel, value))
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    scene.record(What.NOT_SENT, "exporter", name, who, value, why=type(error).__name__)
                    return
                if sent is CANCELLED:
                    scene.record(What.NOT_SENT, "exporter", name, who, value, why="cancelled")
                    scene.tap(who).let(1)
                    await trio.lowlevel.checkpoint()
                    continue
                scene.record(What.SENT, "exporter", name, who, value)
                number += 1
                await scene.pace(channel.pace)
            scene.record(What.CLOSED, "exporter", name, who)

    async def _receive(self, channel: ChannelPlan, end: trio.MemoryReceiveChannel[Any]) -> None:
        scene, name = self._scene, channel.name
        try:
            while True:
                await scene.tap(name).take()
                value = await scene.call(name, end.receive)
                if value is CANCELLED:
                    scene.tap(name).let(1)
                    await trio.lowlevel.checkpoint()
                    continue
                scene.record(What.RECEIVED, "exporter", name, name, from_value(channel, value))
                await scene.pace(channel.pace)
        except trio.EndOfChannel:
            scene.record(What.END, "exporter", name, name)
        except trio.ClosedResourceError:
            scene.record(What.BROKE, "exporter", name, name)
        finally:
            end.close()
            self.over[name].set()

    async def _bury(self, channel: ChannelPlan, dead: trio.MemoryReceiveChannel[Any]) -> None:
        async for value in dead:
            self._scene.record(What.DEAD_LETTER, "exporter", channel.name, value=from_value(channel, value))

    def _find(self, channel: ChannelPlan, end: trio.MemoryReceiveChannel[Any]) -> None:
        """What is left in an end of the program's own."""
        name = channel.name
        try:
            while True:
                value = from_value(channel, end.receive_nowait())
                self._scene.record(What.FOUND, "exporter", name, name, value)
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            end.close()

    # Calls

    def hang_up(self, name: str) -> None:
        if self.exporter is None or name in self.hung_up:
            return
        try:
            self._scene.record(What.HANGS_UP, self.who, name)
            self.exporter.hangup(name)
        except NetchanError:
            pass  # it has ended by itself
        except trio.ClosedResourceError:
            return
        self.hung_up.add(name)
        if self._scene.plan.restarts:
            end = self._ends.pop(name)
            for given in self._given[name]:  # an exporter that is left closes no end of a stream that is not complete
                given.close()
            (channel,) = (channel for channel in self._scene.plan.channels if channel.name == name)
            if channel.down:
                self._find(channel, end)
            else:
                end.close()

    def count(self) -> None:
        """Records the statistics."""
        if self.exporter is None:
            return
        with contextlib.suppress(trio.ClosedResourceError):  # it is being left
            for name, channel in self.exporter.statistics().channels.items():
                self._scene.record(What.COUNTED, self.who, name, **counts(channel))


def counts(channel: Any) -> dict[str, Any]:
    return attrs.asdict(channel, filter=lambda attribute, _: attribute.name not in ("direction", "value_type"))
