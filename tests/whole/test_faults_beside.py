"""Faults of the same families as those of `test_faults_found.py`, found by reading and trying beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
import trio
import trio.testing
from scripted import Scripted, data, dropped_in_log, seeded
from support import connect, take

from trionetchan import (
    ConnectionLostError,
    TypeMismatchError,
    ValuesDroppedError,
    open_exporter,
    open_importer,
)
from trionetchan._errors import Code
from trionetchan._protocol.frames import Accept, Ack, Close, Frame, Goodbye, Import

TEXT = b"\x81\x81\x05"  # the schema of str


@pytest.mark.promise(12, 41)
@pytest.mark.parametrize("answer", ["last word", "acknowledgement, last word", "all in one chunk"])
async def test_exporter_that_accepts_what_does_not_fit_and_goes_on(
    autojump_clock: trio.testing.MockClock, answer: str
) -> None:
    """The importer withdraws; what the exporter still says of the channel is read, and the connection goes on."""
    ours, theirs = trio.testing.memory_stream_pair()
    exporter = Scripted(theirs)
    await exporter.greet()
    async with trio.open_nursery() as nursery, open_importer(ours) as importer:

        async def accept() -> None:
            await exporter.hear(Import)
            frames: list[Frame] = [Accept(0, 64, TEXT)]
            if answer == "all in one chunk":
                frames.append(Close(0, 0, Code.FINISHED, ""))
            await exporter.say(*frames)

        nursery.start_soon(accept)
        with pytest.raises(TypeMismatchError):
            await importer.open_send_channel("results", int)
        if answer != "all in one chunk":
            assert (await exporter.hear(Close)).count == 0
        if answer == "acknowledgement, last word":
            await exporter.say(Ack(0, 0, 64, 2**20))
        if answer != "all in one chunk":
            await exporter.say(Close(0, 0, Code.FINISHED, ""))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(exporter.accept)
        receive = await importer.open_receive_channel("jobs", int)
        await exporter.say(data(1, 0, [1, 2]))
        assert await take(receive, 2) == [1, 2]
        importer.hangup("jobs")
        nursery.start_soon(exporter.say, Goodbye(Code.FINISHED, ""))


async def note_outcome(call: Callable[[], Awaitable[None]], outcome: list[str]) -> None:
    """What became of a drain or a sync."""
    try:
        await call()
    except ValuesDroppedError as error:
        outcome.append(f"{error.count} dropped")
    except ConnectionLostError as error:
        outcome.append(type(error).__name__)
    else:
        outcome.append("returned")


@pytest.mark.promise(33, 38)
@pytest.mark.parametrize("end", ["open", "closed"])
@pytest.mark.parametrize("call", ["sync", "drain"])
@pytest.mark.parametrize("gone", ["hung up", "broke off", "is there"])
async def test_hang_up_while_a_call_waits_for_values_that_came_back(
    autojump_clock: trio.testing.MockClock, call: Literal["sync", "drain"], end: str, gone: str
) -> None:
    """They are dropped, and the call says so; it does not wait for ever."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=3)
        for value in range(3):
            jobs.send_nowait(value)
        if end == "closed":
            jobs.close()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        importer = Scripted(ours)
        await importer.greet()
        await importer.bind(0, "jobs", receives=True)
        await trio.testing.wait_all_tasks_blocked()
        outcome: list[str] = []
        nursery.start_soon(note_outcome, getattr(exporter, call), outcome)
        await trio.testing.wait_all_tasks_blocked()
        if gone == "hung up":
            await importer.say(Close(0, 0, Code.HUNG_UP, ""))
        elif gone == "broke off":
            await ours.aclose()
        await trio.testing.wait_all_tasks_blocked()
        exporter.hangup("jobs")
        if gone == "is there":
            await importer.hear(Close)
            await importer.say(Close(0, 0, Code.FINISHED, ""))
        await trio.sleep(60)
        lost = gone == "broke off" and call == "sync"
        assert outcome == ["ConnectionLostError" if lost else "3 dropped"]
        nursery.cancel_scope.cancel()


@pytest.mark.promise(33, 38)
@pytest.mark.parametrize("call", ["sync", "drain"])
@pytest.mark.parametrize("end", ["open", "closed"])
@pytest.mark.parametrize("last", ["hangs up", "is hung up"])
async def test_importers_hang_up_while_a_call_of_its_own_waits(
    autojump_clock: trio.testing.MockClock, call: Literal["sync", "drain"], end: str, last: str
) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        exporter.open_receive_channel("results", int, window=2)
        async with connect(nursery, exporter) as importer:
            send = await importer.open_send_channel("results", int, max_buffer_size=5)
            for value in range(5):
                send.send_nowait(value)
            if end == "closed":
                send.close()
            await trio.testing.wait_all_tasks_blocked()
            outcome: list[str] = []
            nursery.start_soon(note_outcome, getattr(importer, call), outcome)
            await trio.testing.wait_all_tasks_blocked()
            (importer if last == "hangs up" else exporter).hangup("results")
            await trio.sleep(60)
            assert outcome == ["5 dropped" if call == "drain" else "2 dropped"]
            nursery.cancel_scope.cancel()


@pytest.mark.promise(31)
@pytest.mark.parametrize("why", ["lost", "exception", "left"])
async def test_clone_of_a_receive_end_gets_no_end_when_the_block_is_over(
    autojump_clock: trio.testing.MockClock, why: str
) -> None:
    """A reader elsewhere is told; one that reads from a clone waits, which is its owner's, and sees no end."""
    outcome: list[str] = []
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)

        async def read(receive: trio.MemoryReceiveChannel[int]) -> None:
            try:
                await receive.receive()
            except (trio.ClosedResourceError, trio.BrokenResourceError, trio.EndOfChannel) as error:
                outcome.append(type(error).__name__)

        try:
            async with open_importer(ours) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                nursery.start_soon(read, receive)
                nursery.start_soon(read, receive.clone())
                await trio.testing.wait_all_tasks_blocked()
                if why == "lost":
                    await theirs.aclose()
                    await trio.sleep_forever()
                elif why == "exception":
                    raise KeyError
        except (KeyError, ConnectionLostError):
            pass
        await trio.sleep(60)
        jobs.close()
        nursery.cancel_scope.cancel()
    assert outcome == ["ClosedResourceError"]


@pytest.mark.promise(33, 36)
@pytest.mark.parametrize("side", ["exporter", "importer"])
@pytest.mark.parametrize("way", ["hung up", "exception"])
@pytest.mark.parametrize("turns", range(4))
async def test_value_that_was_just_sent_when_its_channel_ends_is_counted(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    side: str,
    way: str,
    turns: int,
) -> None:
    """Also one that trio has handed to the task that takes it, which has not run yet: delivered, or dropped and told.

    The receiver never reads from its buffer; so what was delivered can be counted there.
    """
    for seed in range(8):
        for count in (1, 3):
            seeded(monkeypatch, seed)
            caplog.clear()
            delivered = 0
            with contextlib.suppress(KeyError):
                async with trio.open_nursery() as nursery:
                    try:
                        delivered = await sent_and_ended(nursery, side, way, turns, count)
                    finally:
                        nursery.cancel_scope.cancel()
            told = dropped_in_log(caplog) + delivered
            assert told == count if way == "hung up" else told >= count  # a crash may hide an acknowledgement


async def sent_and_ended(nursery: trio.Nursery, side: str, way: str, turns: int, count: int) -> int:
    """Sends so many values, and hangs up or leaves by an exception some turns later. How many were delivered."""
    into, receive = trio.open_memory_channel[int](count)
    with contextlib.suppress(KeyError, ConnectionLostError):
        async with open_exporter() as exporter, connect(nursery, exporter) as importer:
            here = exporter if side == "exporter" else importer
            if side == "exporter":
                send = exporter.open_send_channel("numbers", int, max_buffer_size=count)
                await importer.import_("numbers", into, int)
            else:
                exporter.export("numbers", into, int)
                send = await importer.open_send_channel("numbers", int, max_buffer_size=count)
            await trio.testing.wait_all_tasks_blocked()
            for value in range(count):
                send.send_nowait(value)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            if way == "exception":
                raise KeyError
            here.hangup("numbers")
            await trio.sleep(1)
    return receive.statistics().current_buffer_used
