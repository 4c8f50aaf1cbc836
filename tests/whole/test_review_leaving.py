"""Leaving a block: what is said then, what is raised, what is waited for."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing
from scripted import seeded
from support import connect, connected

from trionetchan import ConnectionLostError, open_exporter, open_importer


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_count_that_is_reached_is_no_error(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """`errors` and the log say nothing of a counted import that has had its values."""
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("jobs", int, max_buffer_size=10, importers=None)
        errors = importer.errors
        send = await importer.open_send_channel("jobs", int, count=count, max_buffer_size=10)
        for value in range(count):
            await send.send(value)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert receive.statistics().current_buffer_used == count
        assert not errors.statistics().current_buffer_used
        with pytest.raises(trio.BrokenResourceError):
            await send.send(1)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await send.send(1)
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("window", [1, 2, 64])
async def test_count_that_is_reached_while_the_block_is_left(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, window: int
) -> None:
    """All 10 values that were to be sent are sent: nothing is lost, so nothing is to be warned of; it is an end."""
    got: list[int] = []

    async def receiver(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for value in receive:
            got.append(value)
            await trio.sleep(0.1)
        got.append(-1)

    async with trio.open_nursery() as nursery, open_exporter() as exporter, trio.open_nursery() as inner:
        inner.start_soon(receiver, exporter.open_receive_channel("jobs", int))
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("jobs", int, count=10, max_buffer_size=10, window=window)
            for value in range(10):
                send.send_nowait(value)
            errors = importer.errors
        await trio.sleep(5)
        inner.cancel_scope.cancel()
    assert got == [*range(10), -1]
    assert not errors.statistics().current_buffer_used
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


class Turnstile(trio.abc.Listener[trio.abc.Stream]):
    """Accepts one connection, `turns` turns of the scheduler after it is told to."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.go = trio.Event()
        self.ours: trio.abc.Stream | None = None

    async def accept(self) -> trio.abc.Stream:
        await self.go.wait()
        self.go = trio.Event()
        for _ in range(self.turns):
            await trio.lowlevel.cancel_shielded_checkpoint()
        self.ours, theirs = trio.testing.memory_stream_pair()
        return theirs

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("turns", range(8))
async def test_connection_that_comes_in_the_very_turn(monkeypatch: pytest.MonkeyPatch, turns: int, seed: int) -> None:
    """`serve_…` returns; nothing is raised into the caller's nursery."""
    seeded(monkeypatch, seed)
    listener = Turnstile(turns)
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        await nursery.start(exporter.serve_listeners, [listener])
        await trio.testing.wait_all_tasks_blocked()
        listener.go.set()


class Stubborn(trio.abc.ReceiveChannel[int]):
    """Raises when it is closed."""

    async def receive(self) -> int:
        await trio.sleep_forever()
        return 1

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("disk full")


@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_foreign_end_whose_aclose_raises_while_the_block_is_left(
    autojump_clock: trio.testing.MockClock, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of this program: it is raised out of the block, or at least told."""
    raised: list[BaseException] = []
    async with trio.open_nursery() as nursery:
        try:
            async with open_exporter() as exporter:
                if side == "exporter":
                    exporter.export("jobs", Stubborn(), int)
                    await trio.sleep(1)
                else:
                    exporter.open_receive_channel("jobs", int)
                    async with connect(nursery, exporter) as importer:
                        await importer.import_("jobs", Stubborn(), int)
        except OSError as error:
            raised.append(error)
    assert raised or "disk full" in caplog.text


async def test_two_channels_one_is_closed_while_the_other_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All that was sent on `first` is delivered; its end is closed, in an orderly way, while `second` is waited for."""
    outcome: dict[str, str] = {}

    async def consume(exporter: Any, name: str, pause: float, bound: trio.Event) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exporter.serve_stream, theirs)
            try:
                async with open_importer(ours) as importer:
                    receive = await importer.open_receive_channel(name, int, window=1)
                    bound.set()
                    async for _ in receive:
                        await trio.sleep(pause)
                    outcome[name] = "end"
            except ConnectionLostError:
                outcome[name] = "lost"

    async def close_later(send: trio.MemorySendChannel[int]) -> None:
        await trio.sleep(5)
        send.close()

    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        sends = {name: exporter.open_send_channel(name, int, max_buffer_size=20) for name in ("first", "second")}
        for name, pause in ("first", 0.0), ("second", 1.0):
            bound = trio.Event()
            nursery.start_soon(consume, exporter, name, pause, bound)
            await bound.wait()
        for send in sends.values():
            for value in range(20):
                send.send_nowait(value)
        nursery.start_soon(close_later, sends["first"])
        nursery.start_soon(close_later, sends["second"])
    assert outcome["first"] == outcome["second"]
