"""With a buffer of 0 an acknowledgement says that the receiving task has the value: it has had its turn.

trio's `send_nowait` hands a value to a task that waits in `receive`, which runs later. What goes onto the wire in
between is looked at after each step of any task, at the other end of a socket pair.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Literal

import attrs
import pytest
import trio
import trio.testing
from scripted import INT, data, seeded
from support import connect, peer, serve_tcp, take_all

from trionetchan import ConnectionLostError, open_exporter, open_importer
from trionetchan._errors import Code
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Accept,
    Ack,
    Close,
    Frame,
    FrameCutter,
    Goodbye,
    Hello,
    Import,
    encode,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket pair, whose other end can be read at once")

COUNT = 12
Reader = Literal["waits", "comes late", "is slow"]
End = Literal["none", "close", "close in one chunk", "goodbye", "goodbye in one chunk"]


@attrs.frozen(kw_only=True)
class Arrangement:
    window: int
    count: int | None
    batch: int  # values sent at a time
    reader: Reader
    end: End


class Watch(trio.abc.Instrument):
    """The peer at the other end of a socket pair: says what it is told to, and notes each frame as it is written."""

    def __init__(self, noted: list[int]) -> None:
        ours, self._socket = socket.socketpair()
        self._socket.setblocking(False)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        self.heard: list[Frame] = []
        self.limit = 0  # how many values may be sent
        self.early: list[str] = []
        self._noted = noted
        self._cutter = FrameCutter(2**30)
        self._socket.send(MAGIC + encode(Hello(VERSION, {})))

    def say(self, *frames: Frame) -> None:
        with contextlib.suppress(BrokenPipeError):  # the library has said goodbye, and closed
            self._socket.send(b"".join(map(encode, frames)))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        try:
            chunk = self._socket.recv(2**16)
        except (BlockingIOError, OSError):
            return
        for frame in self._cutter.cut(chunk):
            self.heard.append(frame)
            if isinstance(frame, Ack | Close):
                delivered = frame.delivered if isinstance(frame, Ack) else frame.count
                if delivered > len(self._noted):
                    self.early.append(f"{frame} where {len(self._noted)} values had been taken")
            if isinstance(frame, Ack):
                self.limit = max(self.limit, frame.value_limit)

    def has_heard(self, kind: type[Frame]) -> bool:
        return any(isinstance(frame, kind) for frame in self.heard)

    def close(self) -> None:
        self._socket.close()


async def read(receive: trio.MemoryReceiveChannel[int], noted: list[int], reader: Reader) -> None:
    """Notes each value in the very step in which it has it."""
    if reader == "comes late":
        await trio.sleep(1)
    with contextlib.suppress(trio.ClosedResourceError):  # the block is left
        async for value in receive:
            noted.append(value)
            if reader == "is slow":
                for _ in range(5):
                    await trio.lowlevel.checkpoint()


async def feed(watch: Watch, batch: int, end: End) -> None:
    """Sends `COUNT` values as far as there is credit, at most `batch` at a time, and ends."""
    sent = 0
    while sent < COUNT:
        size = min(batch, watch.limit - sent, COUNT - sent)
        frames: list[Frame] = [data(0, sent, range(sent, sent + size))] if size else []
        sent += size
        if sent == COUNT and end == "close in one chunk":
            frames.append(Close(0, COUNT, Code.FINISHED, ""))
        elif sent == COUNT and end == "goodbye in one chunk":
            frames.append(Goodbye(Code.FINISHED, ""))
        if frames:
            watch.say(*frames)
        await trio.sleep(0.5)
    if end == "close":
        watch.say(Close(0, COUNT, Code.FINISHED, ""))
        await trio.sleep(1)
    elif end == "goodbye":
        watch.say(Goodbye(Code.FINISHED, ""))
        await trio.sleep(1)


async def importer_trial(watch: Watch, noted: list[int], arrange: Arrangement) -> None:
    async with trio.open_nursery() as nursery, open_importer(watch.stream) as importer:

        async def accept() -> None:
            while not watch.has_heard(Import):  # noqa: ASYNC110
                await trio.sleep(0.1)
            watch.limit = min(arrange.window, arrange.count or COUNT)
            watch.say(Accept(0, arrange.window, INT))

        nursery.start_soon(accept)
        receive = await importer.open_receive_channel("jobs", int, window=arrange.window, count=arrange.count)
        nursery.start_soon(read, receive, noted, arrange.reader)
        await trio.testing.wait_all_tasks_blocked()
        await feed(watch, arrange.batch, arrange.end)
        await trio.sleep(2)
        watch.say(Goodbye(Code.FINISHED, ""))
        nursery.cancel_scope.cancel()


async def exporter_trial(watch: Watch, noted: list[int], arrange: Arrangement) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int, window=arrange.window)
        nursery.start_soon(exporter.serve_stream, watch.stream)
        watch.say(Import(0, "results", False, arrange.window, arrange.count, INT))
        watch.limit = min(arrange.window, arrange.count or COUNT)
        nursery.start_soon(read, receive, noted, arrange.reader)
        await trio.testing.wait_all_tasks_blocked()
        await feed(watch, arrange.batch, arrange.end)
        await trio.sleep(2)
        watch.say(Goodbye(Code.FINISHED, ""))
        nursery.cancel_scope.cancel()


async def check(
    monkeypatch: pytest.MonkeyPatch,
    trial: Callable[[Watch, list[int], Arrangement], Awaitable[None]],
    arrangement: Arrangement,
) -> None:
    for seed in range(4):
        seeded(monkeypatch, seed)
        noted: list[int] = []
        watch = Watch(noted)
        trio.lowlevel.add_instrument(watch)
        try:
            await trial(watch, noted, arrangement)
        except* ConnectionLostError:
            assert arrangement.end in ("none", "goodbye", "goodbye in one chunk")
        finally:
            trio.lowlevel.remove_instrument(watch)
            watch.close()
        assert not watch.early, watch.early[0]
        assert noted == list(range(COUNT))
        assert "goodbye" in arrangement.end or any(isinstance(frame, Ack | Close) for frame in watch.heard)


@pytest.mark.promise(1)
@pytest.mark.parametrize("side", ["importer", "exporter"])
@pytest.mark.parametrize("reader", ["waits", "comes late", "is slow"])
@pytest.mark.parametrize("count", [None, COUNT])
@pytest.mark.parametrize("window", [1, 2, 64])
async def test_acknowledgement_of_a_value_that_nobody_has_yet(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    reader: Reader,
    count: int | None,
    window: int,
) -> None:
    """Neither an ACK nor the last word, which carries a count too, comes before the receiving task's turn."""
    trial = importer_trial if side == "importer" else exporter_trial
    for batch in (1, 5):
        arrangement = Arrangement(window=window, count=count, batch=batch, reader=reader, end="none")
        await check(monkeypatch, trial, arrangement)


@pytest.mark.promise(1)
@pytest.mark.parametrize("side", ["importer", "exporter"])
@pytest.mark.parametrize("reader", ["waits", "comes late", "is slow"])
@pytest.mark.parametrize("end", ["close", "close in one chunk", "goodbye", "goodbye in one chunk"])
async def test_acknowledgement_at_the_end_of_a_value_that_nobody_has_yet(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, side: str, reader: Reader, end: End
) -> None:
    trial = importer_trial if side == "importer" else exporter_trial
    for batch in (1, COUNT):
        arrangement = Arrangement(window=64, count=None, batch=batch, reader=reader, end=end)
        await check(monkeypatch, trial, arrangement)


@pytest.mark.promise(1, 47)
@pytest.mark.parametrize(("window", "count"), [(1, 0), (64, 0), (64, 1)])
async def test_receiver_that_is_killed_in_its_first_step(nursery: trio.Nursery, window: int, count: int) -> None:
    """Its value comes back: it had not been acknowledged."""
    async with open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=1)
        port = await serve_tcp(nursery, exporter)
        async with peer("killed_receiver", port, window, count) as victim:
            assert await victim.line() == "bound"
            await jobs.send(7)
            await victim.process.wait()
        jobs.close()
        async with connect(nursery, exporter) as importer:
            assert await take_all(await importer.open_receive_channel("jobs", int)) == [7]
        nursery.cancel_scope.cancel()
