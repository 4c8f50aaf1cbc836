"""The blocks of both sides, entered and left, and a stream that is served."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import trio
from proxy import Fault, Line, Network
from support import take_all

from trionetchan import ConnectionLostError, Importer, NoSuchChannelError, open_exporter, open_importer

from .stage import LIMITS, Stage
from .trial import Call, Own

__all__ = ["BLOCKS"]

VALUES = 5
BREAKS: Mapping[str, Own] = {
    "reset of its line": lambda self, stage: self.harm(Fault.RESET),
    "end of its line": lambda self, stage: self.harm(Fault.END),
    "stall of its line": lambda self, stage: self.harm(Fault.STALL),
}


class ServeStream(Call):
    """Whose importer is cut off when it is cancelled; another one gets the rest."""

    name = "exporter.serve_stream"
    common: ClassVar[Sequence[str]] = ["nothing"]
    own: ClassVar[Mapping[str, Own]] = {
        **BREAKS,
        "value": lambda self, stage: self.put(stage),
        "its importer leaves": lambda self, stage: self.worker.cancel(),
        "hang-up by the exporter": lambda self, stage: stage.exporter.hangup("jobs"),
    }

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.line = Line()
        self.worker = trio.CancelScope()

    def harm(self, fault: Fault) -> None:
        self.line.harm(fault)

    def put(self, stage: Stage) -> None:
        self.send.send_nowait(stage.sent)
        stage.sent += 1

    async def prepare(self, stage: Stage) -> None:
        self.send = stage.exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for _ in range(VALUES):
            self.put(stage)
        stage.nursery.start_soon(self.work, stage)

    async def work(self, stage: Stage) -> None:
        with contextlib.suppress(ConnectionLostError, NoSuchChannelError), self.worker:
            async with open_importer(self.line.importer_end, limits=LIMITS) as importer:
                async for value in await importer.open_receive_channel("jobs", int, window=1):
                    stage.got.append(value)

    async def make(self, stage: Stage) -> None:
        await stage.exporter.serve_stream(self.line.exporter_end)

    async def relieve(self, stage: Stage) -> None:
        self.worker.cancel()

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        assert stage.outcome in ("returned", "cancelled")
        statistics = stage.exporter.statistics()
        assert (statistics.connections, statistics.suspended) == (1, 0)  # the other importer's
        if stage.event == "hang-up by the exporter":
            # A value may have been taken, and its acknowledgement cut off.
            assert stage.sent <= len(stage.got) + statistics.dropped <= stage.sent + 1
            return
        self.send.close()
        before = [*stage.got]
        rest = await take_all(await stage.importer.open_receive_channel("jobs", int))
        assert rest == [*range(rest[0], stage.sent)] if rest else len(before) == stage.sent
        assert before == [*range(len(before))]
        assert len(before) <= stage.sent - len(rest) + 1  # at most one twice
        assert len(before) + len(rest) >= stage.sent


class _Listener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts lines in memory. Those that it has not accepted break when it is closed, as the system has it."""

    def __init__(self) -> None:
        self._arrive, self._lines = trio.open_memory_channel[Line](10)

    def connect(self, line: Line) -> None:
        try:
            self._arrive.send_nowait(line)
        except trio.BrokenResourceError:
            line.harm(Fault.RESET)

    async def accept(self) -> trio.abc.Stream:
        return (await self._lines.receive()).exporter_end

    async def aclose(self) -> None:
        with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):
            while True:
                self._lines.receive_nowait().harm(Fault.RESET)
        self._lines.close()
        await trio.lowlevel.checkpoint()


class ServeListeners(ServeStream):
    """Whose importers are cut off when it is cancelled; serve_tcp and serve_unix are made of it."""

    name = "exporter.serve_listeners"
    own: ClassVar[Mapping[str, Own]] = {
        **ServeStream.own,
        "another importer connects": lambda self, stage: self.listener.connect(self.another),
    }

    def __init__(self) -> None:
        super().__init__()
        self.listener = _Listener()
        self.another = Line()
        self.silent = trio.CancelScope()

    async def prepare(self, stage: Stage) -> None:
        await super().prepare(stage)
        self.listener.connect(self.line)
        if stage.event == "another importer connects":
            stage.nursery.start_soon(self.be_silent)

    async def be_silent(self) -> None:
        """An importer that binds nothing, until it is sent away."""
        with contextlib.suppress(ConnectionLostError), self.silent:
            async with open_importer(self.another.importer_end, limits=LIMITS):
                await trio.sleep_forever()

    async def make(self, stage: Stage) -> None:
        await stage.exporter.serve_listeners([self.listener])

    async def relieve(self, stage: Stage) -> None:
        stage.scope.cancel()

    async def check(self, stage: Stage) -> None:
        self.silent.cancel()
        await super().check(stage)
        line = Line()
        self.listener.connect(line)
        assert line.fault is Fault.RESET, "the listener is not closed"


class BlockOfImporter(Call):
    """What was accepted comes in order and without a gap; an end comes only behind all of it."""

    common: ClassVar[Sequence[str]] = ["nothing", "goodbye of the exporter", "exporter leaves"]
    own: ClassVar[Mapping[str, Own]] = {
        **BREAKS,
        "hang-up by the exporter": lambda self, stage: self.hang_up(stage),
        "receiver gone": lambda self, stage: self.results.close(),
    }

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.results: trio.MemoryReceiveChannel[int]
        self.own_network: Network

    def harm(self, fault: Fault) -> None:
        if self.own_network.lines:
            self.own_network.cut(fault)

    def hang_up(self, stage: Stage) -> None:
        with contextlib.suppress(NoSuchChannelError):  # it has ended
            stage.exporter.hangup("results")

    async def prepare(self, stage: Stage) -> None:
        self.results = stage.exporter.open_receive_channel("results", int, max_buffer_size=50)
        self.own_network = Network(stage.nursery, stage.exporter)

    def opening(self, stage: Stage) -> Any:
        raise NotImplementedError

    async def make(self, stage: Stage) -> None:
        async with self.opening(stage) as importer:
            await self.use(importer)

    async def use(self, importer: Importer) -> None:
        async with await importer.open_send_channel("results", int, window=2) as send:
            for value in range(VALUES):
                await send.send(value)
                self.accepted.append(value)
        await importer.drain()

    async def check(self, stage: Stage) -> None:
        await trio.sleep(LIMITS.resume_timeout + 4)
        got, end = self.take_now()
        assert got == [*range(len(got))]
        if end and stage.event != "hang-up by the exporter":
            assert len(got) >= len(self.accepted), "an end before all that was accepted"
        if stage.outcome == "returned" and stage.event in ("nothing", *BREAKS):
            assert (got, end) == ([*range(VALUES)], True)
        if stage.event in ("nothing", *BREAKS):
            assert stage.outcome in ("returned", "cancelled") or stage.event in BREAKS
            statistics = stage.exporter.statistics()
            assert (statistics.connections, statistics.suspended) == (1, 0)  # the other importer's
            if not end:
                await self.check_next(stage)

    def take_now(self) -> tuple[list[int], bool]:
        got: list[int] = []
        while True:
            try:
                got.append(self.results.receive_nowait())
            except (trio.WouldBlock, trio.ClosedResourceError):
                return got, False
            except trio.EndOfChannel:
                return got, True

    async def check_next(self, stage: Stage) -> None:
        """The next importer adopts its share, if it left one; and the exporter sees the end."""
        async with await stage.importer.open_send_channel("results", int) as send:
            await send.send(99)
        await stage.settle()
        assert self.take_now() == ([99], True)


class BlockOfImporterOverStream(BlockOfImporter):
    name = "open_importer, over a stream"

    def opening(self, stage: Stage) -> Any:
        line = Line()
        self.own_network.lines.append(line)
        stage.nursery.start_soon(stage.exporter.serve_stream, line.exporter_end)
        return open_importer(line.importer_end, limits=LIMITS)


class BlockOfImporterThatConnects(BlockOfImporter):
    name = "open_importer, by a callable"

    def opening(self, stage: Stage) -> Any:
        return open_importer(self.own_network.connect, limits=LIMITS)


class BlockOfExporter(Call):
    """Its importer sees an end only if it got all that was accepted; else its connection is lost."""

    name = "open_exporter"
    common: ClassVar[Sequence[str]] = ["nothing"]
    own: ClassVar[Mapping[str, Own]] = {
        **BREAKS,
        "its importer leaves": lambda self, stage: self.worker.cancel(),
        "receiver gone": lambda self, stage: self.receive.close() if self.receive else None,
    }

    def __init__(self) -> None:
        self.line = Line()
        self.worker = trio.CancelScope()
        self.receive: trio.MemoryReceiveChannel[int] | None = None
        self.accepted: list[int] = []
        self.ended = ""

    def harm(self, fault: Fault) -> None:
        self.line.harm(fault)

    async def prepare(self, stage: Stage) -> None:
        stage.nursery.start_soon(self.work, stage)

    async def work(self, stage: Stage) -> None:
        try:
            with self.worker:
                async with open_importer(self.line.importer_end, limits=LIMITS) as importer:
                    self.receive = await importer.open_receive_channel("jobs", int, window=2)
                    async for value in self.receive:
                        stage.got.append(value)
                    self.ended = "end"
        except ConnectionLostError:
            self.ended = "lost"
        except trio.ClosedResourceError:
            self.ended = "closed"

    async def make(self, stage: Stage) -> None:
        async with open_exporter(limits=LIMITS) as exporter:
            stage.nursery.start_soon(self.serve, exporter)
            async with exporter.open_send_channel("jobs", int) as send:
                for value in range(VALUES):
                    await send.send(value)
                    self.accepted.append(value)
            with trio.move_on_after(30):  # there may be no importer any more
                await exporter.drain()

    async def serve(self, exporter: Any) -> None:
        with contextlib.suppress(trio.ClosedResourceError):  # the block may be over before this begins
            await exporter.serve_stream(self.line.exporter_end)
        await trio.aclose_forcefully(self.line.exporter_end)

    async def relieve(self, stage: Stage) -> None:
        await trio.sleep(100)
        if not stage.done.is_set():
            assert stage.event in ("its importer leaves", "receiver gone", *BREAKS), "the call hangs"
            stage.scope.cancel()

    async def check(self, stage: Stage) -> None:
        await trio.sleep(2 * LIMITS.handshake_timeout)  # it may be in the middle of a hello
        assert stage.got == [*range(len(stage.got))]
        if self.ended == "end":
            assert len(stage.got) >= len(self.accepted), "an end before all that was accepted"
        if stage.outcome == "returned" and stage.event == "nothing":
            assert (self.ended, stage.got) == ("end", self.accepted)
        assert self.ended or self.worker.cancel_called, "its importer hangs"


BLOCKS: Sequence[type[Call]] = [
    ServeStream,
    ServeListeners,
    BlockOfImporterOverStream,
    BlockOfImporterThatConnects,
    BlockOfExporter,
]
