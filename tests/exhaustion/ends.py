"""What a program does with the ends that it got, and with the values: send, receive, ack, reject."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
import trio
import trio.testing
from support import take_all

from trionetchan import Delivery, Exporter, NetchanError

from .stage import Stage
from .trial import Call, Own
from .waits import take

__all__ = ["ENDS"]

VALUES = 6
BREAKS = ["nothing", "reset", "end of the stream", "stall"]


class Using(Call):
    """A task that sends, or one that receives, over and over, until it is cancelled. Another one goes on."""

    common: ClassVar[Sequence[str]] = BREAKS
    exporter_sends: ClassVar[bool]

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.receive: trio.MemoryReceiveChannel[int]
        self.accepted: list[int] = []

    async def prepare(self, stage: Stage) -> None:
        if self.exporter_sends:
            self.send = stage.exporter.open_send_channel("values", int)
            self.receive = await stage.importer.open_receive_channel("values", int, window=2)
        else:
            self.receive = stage.exporter.open_receive_channel("values", int, window=2)
            self.send = await stage.importer.open_send_channel("values", int)

    async def put(self, first: int) -> None:
        for value in range(first, first + VALUES):
            await self.send.send(value)
            self.accepted.append(value)

    async def make(self, stage: Stage) -> None:
        raise NotImplementedError

    async def check(self, stage: Stage) -> None:
        raise NotImplementedError


class Sending(Using):
    async def prepare(self, stage: Stage) -> None:
        await super().prepare(stage)
        stage.nursery.start_soon(take, stage, self.receive)

    async def make(self, stage: Stage) -> None:
        await self.put(0)

    async def check(self, stage: Stage) -> None:
        """A `send` that was cancelled has not sent."""
        await self.put(100)
        self.send.close()
        await stage.settle()
        assert stage.got == self.accepted


class SendOnExporter(Sending):
    name = "send, on the exporter's end"
    exporter_sends = True


class SendOnImporter(Sending):
    """Whose exporter may restart meanwhile, when all that it has got is delivered, or at once."""

    name = "send, on the importer's end"
    exporter_sends = False
    own: ClassVar[Mapping[str, Own]] = {
        "exporter restarts": lambda self, stage: stage.restart(self.publish, lambda: 0),
        "exporter restarts at once": lambda self, stage: stage.restart(self.publish, lambda: 0, 0),
    }

    async def prepare(self, stage: Stage) -> None:
        if stage.event not in self.own:
            await super().prepare(stage)
            return
        self.into, self.receive = trio.open_memory_channel[int](0)
        self.publish(stage.exporter)
        self.send = await stage.importer.open_send_channel("values", int)
        stage.nursery.start_soon(self.take_slowly, stage)

    async def take_slowly(self, stage: Stage) -> None:
        """With some turns between two values, so that one is taken at any moment of a stop."""
        async for value in self.receive:
            stage.got.append(value)
            for _ in range(5 + value % 3):
                await trio.lowlevel.checkpoint()

    def publish(self, exporter: Exporter) -> None:
        exporter.export("values", self.into.clone(), int, window=2)

    async def check(self, stage: Stage) -> None:
        if stage.event in self.own:
            await stage.restarted.wait()
        await super().check(stage)


class Receiving(Using):
    async def prepare(self, stage: Stage) -> None:
        await super().prepare(stage)
        stage.nursery.start_soon(self.put, 0)
        await trio.testing.wait_all_tasks_blocked()  # values wait to be received

    async def make(self, stage: Stage) -> None:
        for _ in range(VALUES):
            stage.got.append(await self.receive.receive())

    async def check(self, stage: Stage) -> None:
        """A `receive` that was cancelled has not taken."""
        with trio.move_on_after(10):
            while len(stage.got) < VALUES:
                stage.got.append(await self.receive.receive())
        self.send.close()
        stage.got += await take_all(self.receive)
        assert stage.got == self.accepted == [*range(VALUES)]


class ReceiveOnImporter(Receiving):
    """Whose import may end while it receives: what was not received goes to the next one."""

    name = "receive, on the importer's end"
    exporter_sends = True
    common: ClassVar[Sequence[str]] = [*BREAKS, "importer leaves", "goodbye of the importer"]
    own: ClassVar[Mapping[str, Own]] = {"hang-up by the importer": lambda self, stage: stage.importer.hangup("values")}

    async def check(self, stage: Stage) -> None:
        if stage.event in BREAKS:
            await super().check(stage)
            return
        await stage.settle()
        assert stage.outcome in ("returned", "cancelled", "EndOfChannel", "ClosedResourceError"), stage.outcome
        importer = await stage.next_importer()
        receive = await importer.open_receive_channel("values", int)
        stage.nursery.start_soon(take, stage, receive)
        await stage.settle()
        assert stage.got == self.accepted == [*range(VALUES)], stage.got


class ReceiveOnExporter(Receiving):
    """Whose importer may leave meanwhile."""

    name = "receive, on the exporter's end"
    exporter_sends = False
    own: ClassVar[Mapping[str, Own]] = {"hang-up by the exporter": lambda self, stage: stage.exporter.hangup("values")}

    async def put(self, first: int) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await super().put(first)

    async def check(self, stage: Stage) -> None:
        if stage.event in BREAKS:
            await super().check(stage)
            return
        await stage.settle()
        assert stage.outcome in ("returned", "cancelled", "EndOfChannel"), stage.outcome
        assert stage.got == [*range(len(stage.got))]
        error = stage.importer.errors.receive_nowait()
        dropped = int(re.findall(r"(\d+) values", str(error))[0])
        # One more may be in a `send` that was broken, and is told, too.
        assert 0 <= len(stage.got) + dropped - len(self.accepted) <= 1, (stage.got, dropped, self.accepted)


class Settling(Call):
    """Of one of two values that the program has in its hands."""

    common: ClassVar[Sequence[str]] = [*BREAKS, "lost for good", "goodbye of the importer", "importer leaves"]
    own: ClassVar[Mapping[str, Own]] = {
        "value": lambda self, stage: self.put(stage),
        "end": lambda self, stage: self.send.close(),
        "hang-up by the exporter": lambda self, stage: stage.exporter.hangup("jobs"),
        "hang-up by the importer": lambda self, stage: stage.importer.hangup("jobs"),
        "receiver gone": lambda self, stage: self.receive.close(),
    }
    accepts: ClassVar[bool]

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[int]
        self.receive: trio.MemoryReceiveChannel[Delivery[int]]
        self.first: Delivery[int]
        self.second: Delivery[int]

    def put(self, stage: Stage) -> None:
        self.send.send_nowait(stage.sent)
        stage.sent += 1

    async def prepare(self, stage: Stage) -> None:
        self.send = stage.exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for _ in range(VALUES):
            self.put(stage)
        self.receive = await self.bind(stage)
        self.first, self.second = await self.receive.receive(), await self.receive.receive()

    async def bind(self, stage: Stage) -> trio.MemoryReceiveChannel[Delivery[int]]:
        importer = await stage.next_importer()
        return await importer.open_receive_channel("jobs", int, window=2, acknowledge="manual")

    async def make(self, stage: Stage) -> None:
        await (self.first.ack() if self.accepts else self.first.reject())

    async def check(self, stage: Stage) -> None:
        await stage.settle()
        gone = stage.event not in (*BREAKS, "value", "end")
        assert stage.outcome in ("returned", "cancelled", *(["BrokenResourceError", "ClosedResourceError"] * gone))
        if stage.outcome == "returned":
            with pytest.raises(RuntimeError):
                await self.first.ack()
        if stage.event == "hang-up by the exporter":
            await self.check_hung_up(stage)
            return
        if gone:
            await self.check_gone(stage)
            return
        if stage.outcome == "cancelled":  # it has settled nothing
            await (self.first.ack() if self.accepts else self.first.reject())
        await self.second.ack()
        stage.got += [1] if not self.accepts else [0, 1]
        self.send.close()
        async for delivery in self.receive:
            stage.got.append(delivery.value)
            assert delivery.redelivered == (delivery.value == 0)
            await delivery.ack()
        await self.check_settled(stage)
        assert sorted(stage.got) == [*range(stage.sent)]

    async def check_settled(self, stage: Stage) -> None:
        await stage.exporter.drain()
        assert stage.exporter.statistics().dropped == 0

    async def check_hung_up(self, stage: Stage) -> None:
        dropped = stage.exporter.statistics().dropped
        settled = stage.outcome == "returned" and self.accepts
        assert stage.sent - settled <= dropped <= stage.sent
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await self.second.ack()

    async def check_gone(self, stage: Stage) -> None:
        """What was not settled goes to the next importer. A word that was on its way may be lost with the session."""
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError, NetchanError)):
            await self.second.ack()
        receive = await self.bind(stage)
        self.send.close()
        async for delivery in receive:
            stage.got.append(delivery.value)
            assert delivery.redelivered or delivery.value > 1
            await delivery.ack()
        await self.check_settled(stage)
        heard = stage.outcome == "returned" and self.accepts and 0 not in stage.got
        assert stage.got == [*range(heard, stage.sent)]


class Ack(Settling):
    name = "Delivery.ack"
    accepts = True


class Reject(Settling):
    name = "Delivery.reject"
    accepts = False


ENDS: Sequence[type[Call]] = [SendOnExporter, SendOnImporter, ReceiveOnImporter, ReceiveOnExporter, Ack, Reject]
