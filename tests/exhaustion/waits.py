"""Calls that wait until values are dealt with: drain, sync and stop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio
import trio.testing

from trionetchan import ConnectionLostError, Exporter, Importer

from .stage import LIMITS, Stage
from .trial import Call, Own

__all__ = ["WAITS"]

VALUES = 5
BREAKS = ["nothing", "reset", "end of the stream", "stall"]
GONE = ("lost for good", "goodbye of the importer", "importer leaves", "goodbye of the exporter")


async def take(stage: Stage, receive: trio.abc.ReceiveChannel[int], every: float = 0) -> None:
    """Takes all that comes, with so many seconds between two values."""
    with contextlib.suppress(trio.ClosedResourceError):
        async for value in receive:
            stage.got.append(value)
            await trio.sleep(every)


class Waiting(Call):
    """A drain or sync of a channel that is just being read to its end."""

    common: ClassVar[Sequence[str]] = [*BREAKS, "lost for good", "goodbye of the importer", "importer leaves"]
    own: ClassVar[Mapping[str, Own]] = {
        "value": lambda self, stage: self.put(stage),
        "end": lambda self, stage: self.send.close(),
        "receiver gone": lambda self, stage: self.receive.close(),
        "hang-up": lambda self, stage: self.hang_up(stage),
    }
    drains: ClassVar[bool]
    idle: ClassVar[bool] = False
    """Whether all is acknowledged before, so that a value may just be handed to a pump that waits."""

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.receive: trio.MemoryReceiveChannel[int]
        self.covered = 0

    def put(self, stage: Stage) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.send.send_nowait(stage.sent)
            stage.sent += 1

    def here(self, stage: Stage) -> Exporter | Importer:
        """Which side waits."""
        raise NotImplementedError

    def hang_up(self, stage: Stage) -> None:
        self.here(stage).hangup("values")

    async def bind(self, stage: Stage) -> None:
        raise NotImplementedError

    async def prepare(self, stage: Stage) -> None:
        await self.bind(stage)
        for _ in range(VALUES):
            self.put(stage)
        await trio.testing.wait_all_tasks_blocked()
        stage.nursery.start_soon(
            take, stage, self.receive, 0 if self.drains else 0.01
        )  # a sync is to see each by itself
        if self.idle:
            await trio.testing.wait_all_tasks_blocked()
        self.watch(stage)

    def watch(self, stage: Stage) -> None:
        """Notes how many values have been sent when a drain begins to look at the channel, or how many peers have been
        handed when a sync does: these it has to cover."""
        here: Any = self.here(stage)
        channel = here._registry.bound("values")
        waits = channel._waits
        drain, sync = waits.drain, waits.sync

        async def watched_drain(*arguments: Any) -> None:
            self.covered = stage.sent
            await drain(*arguments)

        async def watched_sync(*arguments: Any) -> None:
            self.covered = channel.statistics().sent
            await sync(*arguments)

        waits.drain, waits.sync = watched_drain, watched_sync

    async def make(self, stage: Stage) -> None:
        here = self.here(stage)
        await (here.drain() if self.drains else here.sync())
        if "values" in here.statistics().channels:
            channel = here.statistics().channels["values"]
            assert channel.acknowledged >= self.covered, "it has returned too early"
            if self.drains and stage.event != "value":
                assert (channel.unacknowledged, channel.waiting) == (0, 0)

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        assert stage.outcome in ("returned", "cancelled", *self.errors(stage)), stage.outcome
        if stage.event == "hang-up":
            assert stage.got == [*range(len(stage.got))]
            await self.check_dropped(stage)
            return
        await self.go_on(stage)
        await stage.settle()
        if stage.event in ("receiver gone", "importer leaves", "goodbye of the importer", "lost for good"):
            lost = stage.event in ("lost for good", "goodbye of the importer")
            self.check_some_again(stage, twice=lost)
        else:
            assert stage.got == [*range(stage.sent)], stage.got

    def check_some_again(self, stage: Stage, *, twice: bool) -> None:
        """All of them; one may come twice that was taken, and not acknowledged before its taker was lost."""
        assert sorted({*stage.got}) == [*range(stage.sent)], stage.got
        assert len(stage.got) <= stage.sent + (2 if twice else 0), stage.got

    def errors(self, stage: Stage) -> Sequence[str]:
        return {
            "hang-up": ["ValuesDroppedError"],
            "lost for good": ["ConnectionLostError"],
            "goodbye of the importer": ["ConnectionLostError"],
        }.get(stage.event, [])

    async def check_dropped(self, stage: Stage) -> None:
        raise NotImplementedError

    async def go_on(self, stage: Stage) -> None:
        raise NotImplementedError


class ExporterWaits(Waiting):
    def here(self, stage: Stage) -> Exporter:
        return stage.exporter

    async def bind(self, stage: Stage) -> None:
        self.send = stage.exporter.open_send_channel("values", int, max_buffer_size=20)
        self.receive = await stage.importer.open_receive_channel("values", int, window=2)

    async def relieve(self, stage: Stage) -> None:
        await stage.settle()
        if not stage.done.is_set():
            assert stage.event in ("receiver gone", "lost for good", "goodbye of the importer", "importer leaves")
            await self.bind_anew(stage)

    async def bind_anew(self, stage: Stage) -> None:
        importer = await stage.next_importer()
        if "values" not in importer.statistics().channels:
            receive = await importer.open_receive_channel("values", int)
            stage.nursery.start_soon(take, stage, receive)

    async def check_dropped(self, stage: Stage) -> None:
        assert len(stage.got) + stage.exporter.statistics().dropped == stage.sent

    async def go_on(self, stage: Stage) -> None:
        if stage.event in ("receiver gone", "lost for good", "goodbye of the importer", "importer leaves"):
            await self.bind_anew(stage)
        await stage.exporter.drain()
        await stage.exporter.sync()
        if stage.event != "end":
            channel = stage.exporter.statistics().channels["values"]
            assert (channel.acknowledged, channel.unacknowledged, channel.waiting) == (stage.sent, 0, 0)
            assert channel.dropped == 0


class DrainOfExporter(ExporterWaits):
    name = "exporter.drain"
    drains = True


class DrainOfIdleExporter(DrainOfExporter):
    name = "exporter.drain, at rest"
    idle = True


class SyncOfExporter(ExporterWaits):
    name = "exporter.sync"
    drains = False


class ImporterWaits(Waiting):
    common: ClassVar[Sequence[str]] = [*BREAKS, "lost for good", "goodbye of the exporter", "exporter leaves"]

    def here(self, stage: Stage) -> Importer:
        return stage.importer

    async def bind(self, stage: Stage) -> None:
        self.receive = stage.exporter.open_receive_channel("values", int, window=2)
        self.send = await stage.importer.open_send_channel("values", int, max_buffer_size=20)

    def errors(self, stage: Stage) -> Sequence[str]:
        return {
            "hang-up": ["ValuesDroppedError"],
            "receiver gone": ["ValuesDroppedError"],
            "lost for good": ["ConnectionLostError"],
            "goodbye of the exporter": ["ConnectionLostError"],
            "exporter leaves": ["ConnectionLostError"],
        }.get(stage.event, [])

    async def check_dropped(self, stage: Stage) -> None:
        assert "values" not in stage.importer.statistics().channels

    async def check(self, stage: Stage) -> None:
        if stage.event in ("receiver gone", "lost for good", "goodbye of the exporter", "exporter leaves"):
            await stage.settle()
            assert stage.outcome in ("returned", "cancelled", *self.errors(stage)), stage.outcome
            assert stage.got == [*range(len(stage.got))]
            if stage.event == "receiver gone":
                assert "values" not in stage.importer.statistics().channels
            else:
                assert isinstance(stage.importing.error, ConnectionLostError)
        else:
            await super().check(stage)

    async def go_on(self, stage: Stage) -> None:
        await stage.importer.drain()
        await stage.importer.sync()
        if stage.event != "end":
            channel = stage.importer.statistics().channels["values"]
            assert (channel.acknowledged, channel.unacknowledged, channel.waiting) == (stage.sent, 0, 0)
            assert channel.dropped == 0


class DrainOfImporter(ImporterWaits):
    name = "importer.drain"
    drains = True


class DrainOfIdleImporter(DrainOfImporter):
    name = "importer.drain, at rest"
    idle = True


class SyncOfImporter(ImporterWaits):
    name = "importer.sync"
    drains = False


class Stop(Call):
    """A stop, with values on their way in both directions: each is delivered, or known to be not."""

    name = "exporter.stop"
    common: ClassVar[Sequence[str]] = [*BREAKS, "lost for good", "goodbye of the importer", "importer leaves"]
    own: ClassVar[Mapping[str, Own]] = {
        "value": lambda self, stage: self.put(stage),
        "value of the importer": lambda self, stage: self.put_up(),
        "receiver gone": lambda self, stage: self.receive.close(),
        "hang-up by the exporter": lambda self, stage: self.hang_up(stage),
    }

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.receive: trio.MemoryReceiveChannel[int]
        self.up: trio.MemorySendChannel[int]
        self.results: trio.MemoryReceiveChannel[int]
        self.sent_up = 0

    def put(self, stage: Stage) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            self.send.send_nowait(stage.sent)
            stage.sent += 1

    def put_up(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            self.up.send_nowait(self.sent_up)
            self.sent_up += 1

    def hang_up(self, stage: Stage) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            stage.exporter.hangup("values")

    async def prepare(self, stage: Stage) -> None:
        self.send = stage.exporter.open_send_channel("values", int, max_buffer_size=20)
        self.receive = await stage.importer.open_receive_channel("values", int, window=2)
        self.results = stage.exporter.open_receive_channel("results", int, max_buffer_size=20)
        self.up = await stage.importer.open_send_channel("results", int, max_buffer_size=20)
        for _ in range(VALUES):
            self.put(stage)
            self.put_up()
        await trio.testing.wait_all_tasks_blocked()
        stage.nursery.start_soon(take, stage, self.receive, 0.01)

    async def make(self, stage: Stage) -> None:
        await stage.exporter.stop()
        if stage.event in ("nothing", "value", "value of the importer"):
            channel = stage.exporter.statistics().channels["values"]
            assert channel.sent == channel.acknowledged, "it has not waited"

    async def relieve(self, stage: Stage) -> None:
        """An importer whose connection broke is waited for, though it is not let in again."""
        assert stage.event in BREAKS, "the call hangs"
        await trio.sleep(LIMITS.resume_timeout)

    async def check(self, stage: Stage) -> None:
        await trio.sleep(LIMITS.resume_timeout + 4)  # an importer that was cut off tries so long to come back
        assert stage.outcome in ("returned", "cancelled"), stage.outcome
        arrived: list[int] = []
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                arrived.append(self.results.receive_nowait())
        assert arrived == [*range(len(arrived))]
        statistics = stage.exporter.statistics()
        assert statistics.connections == 0
        assert statistics.suspended == 0
        assert stage.got == [*range(len(stage.got))]
        channel = statistics.channels.get("values")
        left = statistics.dropped + (channel.waiting if channel else 0)
        known = len(stage.got) + left
        # A value may have been taken, and its acknowledgement cut off: what is still there may have been delivered.
        doubtful = 2 if stage.event != "nothing" or stage.outcome == "cancelled" else 0
        assert stage.sent <= known <= stage.sent + doubtful, (known, stage.sent)
        if stage.event not in ("importer leaves", "goodbye of the importer"):
            assert isinstance(stage.importing.error, ConnectionLostError)


WAITS: Sequence[type[Call]] = [
    DrainOfExporter,
    DrainOfIdleExporter,
    SyncOfExporter,
    DrainOfImporter,
    DrainOfIdleImporter,
    SyncOfImporter,
    Stop,
]
