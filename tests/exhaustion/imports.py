"""Imports that are cancelled: bound and returned, or without any trace."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio
from support import take_all

from trionetchan import ConnectionLostError, Delivery, Exporter, Importer, NetchanError, NoSuchChannelError

from .stage import Stage
from .trial import Call, Own
from .waits import take

__all__ = ["IMPORTS"]

BREAKS = ["nothing", "reset", "end of the stream", "stall", "lost for good", "connected again"]
LEAVES = ["goodbye of the exporter", "exporter leaves", "goodbye of the importer", "importer leaves"]
EXPORTER_GOES = ("goodbye of the exporter", "exporter leaves")
VALUES = 6


class ReceivingImport(Call):
    """Of a name that has values: each comes once and in order, to this import or to the next."""

    common: ClassVar[Sequence[str]] = [*BREAKS, *LEAVES]
    own: ClassVar[Mapping[str, Own]] = {
        "value": lambda self, stage: self.put(stage),
        "end": lambda self, stage: self.send.close(),
        "hang-up by the exporter": lambda self, stage: stage.exporter.hangup("jobs"),
        "hang-up by the importer": lambda self, stage: self.hang_up(stage),
        "exporter restarts": lambda self, stage: stage.restart(self.publish, self.not_dealt),
    }

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.source: trio.MemoryReceiveChannel[int]
        self.kept: Any = None

    def put(self, stage: Stage) -> None:
        self.send.send_nowait(stage.sent)
        stage.sent += 1

    def hang_up(self, stage: Stage) -> None:
        try:
            stage.importer.hangup("jobs")
        except NoSuchChannelError:
            pass
        else:
            self.hung_up = True

    hung_up = False

    async def prepare(self, stage: Stage) -> None:
        self.send, self.source = trio.open_memory_channel[int](20)
        self.publish(stage.exporter, keeps=stage.event == "exporter restarts")
        for _ in range(VALUES):
            self.put(stage)

    def publish(self, exporter: Exporter, *, keeps: bool = False) -> None:
        """`keeps`: the program has a clone, for another exporter."""
        exporter.export("jobs", self.source.clone() if keeps else self.source, int)

    def not_dealt(self) -> int:
        return self.source.statistics().current_buffer_used

    async def make(self, stage: Stage) -> None:
        await self.bind(stage.importer)

    async def bind(self, importer: Importer) -> None:
        raise NotImplementedError

    def check_end_is_open(self) -> None:
        """The end that was handed over is its caller's."""

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        if stage.outcome == "cancelled":
            self.check_end_is_open()
        if stage.event in EXPORTER_GOES:
            await self.check_exporter_gone(stage)
        elif stage.event == "exporter restarts" and stage.outcome == "returned":
            await self.check_restarted(stage)
        elif stage.event == "hang-up by the exporter":
            await self.check_hung_up(stage)
        else:
            await self.check_all_come(stage)

    async def check_exporter_gone(self, stage: Stage) -> None:
        """A goodbye breaks what is bound; nobody sees an end."""
        if stage.outcome == "returned":
            await self.look_for_no_end()
        await stage.importing.end()
        lost = isinstance(stage.importing.error, ConnectionLostError)
        assert lost if stage.outcome == "returned" else (lost or stage.importing.error is None)
        assert stage.outcome in ("returned", "cancelled", "ConnectionLostError", "NoSuchChannelError")

    async def check_restarted(self, stage: Stage) -> None:
        """The old exporter waits for what it has dealt; the new one has the rest."""
        stage.nursery.start_soon(take, stage, self.kept)
        await stage.restarted.wait()
        self.send.close()
        await stage.exporter.drain()
        await stage.settle()
        # What it had dealt to an import that was withdrawn, its answer not taken before the stop, is lost with it.
        assert stage.got == [*range(stage.lost, stage.sent)], stage.got
        assert "jobs" not in stage.importer.statistics().channels

    async def look_for_no_end(self) -> None:
        with trio.move_on_after(60):
            while True:
                try:
                    await self.kept.receive()
                except trio.EndOfChannel:
                    raise AssertionError("a broken stream was taken for a complete one") from None
                except trio.ClosedResourceError:
                    return

    async def check_hung_up(self, stage: Stage) -> None:
        assert stage.outcome in ("returned", "cancelled", "NoSuchChannelError")
        if stage.outcome == "returned":
            stage.got += [value async for value in self.kept]
        await stage.settle()
        statistics = stage.exporter.statistics()
        assert "jobs" not in statistics.channels
        assert len(stage.got) + statistics.dropped == stage.sent
        assert stage.got == [*range(len(stage.got))]
        assert "jobs" not in stage.importer.statistics().channels

    async def check_all_come(self, stage: Stage) -> None:
        bound = stage.outcome == "returned" and not stage.importing.over.is_set() and not self.hung_up
        if not bound:
            assert stage.outcome in ("cancelled", "returned") or stage.event in (
                "lost for good",
                "goodbye of the importer",
                "importer leaves",
                "exporter restarts",  # one that is stopping refuses imports
            )
            if stage.event == "exporter restarts":
                await stage.restarted.wait()
            self.check_no_trace(stage)
            importer = await stage.next_importer()
            await self.bind(importer)
        self.send.close()
        stage.got += await take_all(self.kept)
        assert stage.got == [*range(stage.lost, stage.sent)], stage.got
        await stage.settle()
        await stage.exporter.drain()
        statistics = stage.exporter.statistics()
        assert statistics.dropped == 0
        if "jobs" in statistics.channels:
            channel = statistics.channels["jobs"]
            assert (channel.unacknowledged, channel.waiting) == (0, 0)
            assert channel.acknowledged == stage.sent - stage.lost, (channel, stage.lost)

    def check_no_trace(self, stage: Stage) -> None:
        """The exporter is as it was."""
        channel = stage.exporter.statistics().channels["jobs"]
        assert (channel.peers, channel.unacknowledged, channel.acknowledged, channel.dropped) == (0, 0, 0, 0), channel
        assert channel.waiting == stage.sent - stage.lost
        if not stage.importing.over.is_set():
            assert "jobs" not in stage.importer.statistics().channels


class ImportThatReceives(ReceivingImport):
    name = "import_, receiving"

    def __init__(self) -> None:
        super().__init__()
        self.handed, self.kept = trio.open_memory_channel[int](0)

    async def bind(self, importer: Importer) -> None:
        if self.hung_up or importer_has_ended(self.handed):
            self.handed, self.kept = trio.open_memory_channel[int](0)
        await importer.import_("jobs", self.handed, int)

    def check_end_is_open(self) -> None:
        self.handed.clone().close()
        assert self.kept.statistics().current_buffer_used == 0


def importer_has_ended(end: trio.MemorySendChannel[Any] | trio.MemoryReceiveChannel[Any]) -> bool:
    """Whether an end was closed, by the importer that it was bound to."""
    try:
        end.clone().close()
    except trio.ClosedResourceError:
        return True
    return False


class OpenReceiveChannel(ReceivingImport):
    name = "open_receive_channel"

    async def bind(self, importer: Importer) -> None:
        self.kept = await importer.open_receive_channel("jobs", int, window=4)


class SlowOpenReceiveChannel(OpenReceiveChannel):
    """Whose answer is read together with what follows it."""

    name = "open_receive_channel, slow line"
    delay = 0.01


class CountedImport(ReceivingImport):
    """Two values at a time."""

    name = "open_receive_channel, counted"
    own: ClassVar[Mapping[str, Own]] = {
        event: own for event, own in ReceivingImport.own.items() if event != "exporter restarts"
    }

    async def bind(self, importer: Importer) -> None:
        self.kept = _Counted(importer, await importer.open_receive_channel("jobs", int, count=2))

    async def check_exporter_gone(self, stage: Stage) -> None:
        """An import that has got its count is over; before that it is broken."""
        if stage.outcome == "returned":
            got: list[int] = []
            with contextlib.suppress(trio.EndOfChannel, trio.ClosedResourceError):
                got.append(await self.kept.receive())
                got.append(await self.kept.receive())
            assert got == [*range(len(got))]
            await stage.importing.end()
            assert isinstance(stage.importing.error, ConnectionLostError) == (len(got) < 2)
        else:
            await super().check_exporter_gone(stage)


class _Counted:
    """All values, of as many counted imports as it takes."""

    def __init__(self, importer: Importer, receive: trio.MemoryReceiveChannel[int]) -> None:
        self._importer, self._receive, self._left = importer, receive, 2

    async def receive(self) -> int:
        return await self._receive.receive()

    def __aiter__(self) -> _Counted:
        return self

    async def __anext__(self) -> int:
        while True:
            try:
                value = await self._receive.receive()
            except trio.EndOfChannel:
                if self._left:
                    raise StopAsyncIteration from None
                try:
                    self._receive = await self._importer.open_receive_channel("jobs", int, count=2)
                except NoSuchChannelError:  # hung up meanwhile
                    raise StopAsyncIteration from None
                self._left = 2
            else:
                self._left -= 1
                return value


class ManualImport(ReceivingImport):
    """Whose values the program settles."""

    name = "open_receive_channel, manual"

    async def bind(self, importer: Importer) -> None:
        self.kept = _Settled(await importer.open_receive_channel("jobs", int, window=2, acknowledge="manual"))


class _Settled:
    def __init__(self, receive: trio.MemoryReceiveChannel[Delivery[int]]) -> None:
        self._receive = receive

    def __aiter__(self) -> _Settled:
        return self

    async def receive(self) -> int:
        delivery = await self._receive.receive()
        await delivery.ack()
        return delivery.value

    async def __anext__(self) -> int:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class ImportOfNoName(OpenReceiveChannel):
    """Which is refused, or is exported just now."""

    name = "open_receive_channel, refused"
    common: ClassVar[Sequence[str]] = ["nothing", "reset", "end of the stream", "stall"]
    own: ClassVar[Mapping[str, Own]] = {"exported": lambda self, stage: self.export(stage)}
    exported = False

    def export(self, stage: Stage) -> None:
        self.exported = True
        self.send, self.source = trio.open_memory_channel[int](20)
        self.publish(stage.exporter, keeps=stage.event == "exporter restarts")
        for _ in range(VALUES):
            self.put(stage)

    async def prepare(self, stage: Stage) -> None:
        pass

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        assert stage.outcome in ("cancelled", "NoSuchChannelError") or (self.exported and stage.outcome == "returned")
        if not self.exported:
            self.export(stage)
        if stage.outcome == "NoSuchChannelError":
            stage.outcome = "cancelled"  # from here on it is the same
        await self.check_all_come(stage)


class SendingImport(Call):
    """Into a name that waits for one importer: the import that was withdrawn was none."""

    common: ClassVar[Sequence[str]] = [*BREAKS, *LEAVES]
    own: ClassVar[Mapping[str, Own]] = {
        "receiver gone": lambda self, stage: self.results.close(),
        "hang-up by the exporter": lambda self, stage: stage.exporter.hangup("results"),
        "exporter restarts": lambda self, stage: stage.restart(self.publish, lambda: 0),
    }

    def __init__(self) -> None:
        self.into, self.results = trio.open_memory_channel[int](20)
        self.first_into: trio.MemorySendChannel[int]
        self.send: Any = None

    async def prepare(self, stage: Stage) -> None:
        self.publish(stage.exporter, keeps=stage.event == "exporter restarts")

    def publish(self, exporter: Exporter, *, keeps: bool = False) -> None:
        """`keeps`: the program has a clone, for another exporter."""
        if keeps:
            self.first_into = self.into.clone()
        exporter.export("results", self.first_into if keeps else self.into, int)

    async def make(self, stage: Stage) -> None:
        await self.bind(stage.importer)

    async def bind(self, importer: Importer) -> None:
        raise NotImplementedError

    def check_end_is_open(self) -> None:
        """The end that was handed over is its caller's, with all values."""

    def put_all(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # the exporter may have hung up already
            for value in range(3):
                self.send.send_nowait(value)

    def take_now(self) -> tuple[list[int], bool]:
        """What has arrived, and whether that is all."""
        values: list[int] = []
        while True:
            try:
                values.append(self.results.receive_nowait())
            except (trio.WouldBlock, trio.ClosedResourceError):
                return values, False
            except trio.EndOfChannel:
                return values, True

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        if stage.outcome == "cancelled":
            self.check_end_is_open()
        if stage.event in EXPORTER_GOES:
            await self.check_exporter_gone(stage)
        elif stage.event in ("receiver gone", "hang-up by the exporter"):
            await self.check_receiver_gone(stage)
        else:
            await self.check_all_come(stage)

    async def check_exporter_gone(self, stage: Stage) -> None:
        assert stage.outcome in ("returned", "cancelled", "ConnectionLostError", "NoSuchChannelError")
        assert not self.take_now()[1], "an end"
        await stage.importing.end()
        lost = isinstance(stage.importing.error, ConnectionLostError)
        assert lost if stage.outcome == "returned" else (lost or stage.importing.error is None)

    async def check_receiver_gone(self, stage: Stage) -> None:
        """The sender hears of it; a call that did not return tells nobody."""
        assert stage.outcome in ("returned", "cancelled", "NoSuchChannelError")
        await stage.settle()
        errors: list[NetchanError] = []
        try:
            while True:
                errors.append(stage.importer.errors.receive_nowait())
        except trio.WouldBlock:
            pass
        assert len(errors) == (stage.outcome == "returned")
        assert "results" not in stage.importer.statistics().channels
        if stage.outcome == "returned":
            try:
                await self.send.send(0)
            except trio.BrokenResourceError:
                return
            raise AssertionError("a send into nothing has returned")

    async def check_all_come(self, stage: Stage) -> None:
        bound = stage.outcome == "returned" and not stage.importing.over.is_set()
        if stage.outcome == "returned" and not bound:
            await self.check_adopted(stage)
            return
        if not bound:
            assert stage.outcome == "cancelled" or stage.event in (
                "lost for good",
                "goodbye of the importer",
                "importer leaves",
                "exporter restarts",  # one that is stopping refuses imports
            )
            if stage.event == "exporter restarts":
                await stage.restarted.wait()
            assert self.take_now() == ([], False)
            assert stage.exporter.statistics().channels["results"].peers == 0
            if not stage.importing.over.is_set():
                assert "results" not in stage.importer.statistics().channels
            await self.bind(await stage.next_importer())
        if stage.event == "exporter restarts":
            await stage.restarted.wait()
            self.first_into.close()  # the exporter that was stopped has left it open, as the channel is not finished
        await self.finish()
        await stage.settle()
        assert self.take_now() == ([0, 1, 2], True)
        assert stage.exporter.statistics().dropped == 0

    async def finish(self) -> None:
        self.send.close()

    async def check_adopted(self, stage: Stage) -> None:
        """Its importer has gone, with the end open: what came is in order, and the next one goes on with its share."""
        values, end = self.take_now()
        assert values == [*range(len(values))]
        assert not end
        if stage.event == "importer leaves":
            assert values == [0, 1, 2]
        importer = await stage.next_importer()
        async with await importer.open_send_channel("results", int) as send:
            await send.send(99)
        await stage.settle()
        assert self.take_now() == ([99], True)


class ImportThatSends(SendingImport):
    name = "import_, sending"

    def __init__(self) -> None:
        super().__init__()
        self.send, self.handed = trio.open_memory_channel[int](10)
        self.put_all()

    async def bind(self, importer: Importer) -> None:
        await importer.import_("results", self.handed, int)

    def check_end_is_open(self) -> None:
        self.handed.clone().close()
        assert self.handed.statistics().current_buffer_used == 3


class SlowImportThatSends(ImportThatSends):
    """Whose answer is read together with what follows it."""

    name = "import_, sending, slow line"
    delay = 0.01


class OpenSendChannel(SendingImport):
    name = "open_send_channel"

    async def bind(self, importer: Importer) -> None:
        self.send = await importer.open_send_channel("results", int, window=2, max_buffer_size=10)
        self.put_all()


IMPORTS: Sequence[type[Call]] = [
    ImportThatReceives,
    OpenReceiveChannel,
    SlowOpenReceiveChannel,
    CountedImport,
    ManualImport,
    ImportOfNoName,
    ImportThatSends,
    SlowImportThatSends,
    OpenSendChannel,
]
