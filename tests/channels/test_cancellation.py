"""Every public asynchronous call is cancelled at each checkpoint it has: the object stays usable, no value is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
import trio.testing
from support import connect, connected, put, take, take_all

from trionetchan import (
    ConnectionLostError,
    Exporter,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_unix_importer,
)

When = Literal["asleep", "woken"]
at_each_checkpoint = pytest.mark.parametrize("when", ["asleep", "woken"])


class Canceller(trio.abc.Instrument):
    """Cancels a task at its step number `step`: as soon as it sleeps, or when it was woken and is about to run."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int, when: When) -> None:
        self._task, self._scope, self._left, self._when = task, scope, step, when

    def _count(self, task: trio.lowlevel.Task, when: When) -> None:
        if task is self._task and when == self._when:
            if self._left == 0:
                self._scope.cancel()
            self._left -= 1

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count(task, "asleep")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count(task, "woken")


async def cancelled(call: Callable[[], Awaitable[object]], step: int, when: When) -> bool:
    """Runs the call, cancelled at its checkpoint number `step`. Whether it was; if not, it ended before."""
    with trio.CancelScope() as scope:
        canceller = Canceller(trio.lowlevel.current_task(), scope, step, when)
        trio.lowlevel.add_instrument(canceller)
        try:
            await call()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancelled_caught


async def at_every_step(trial: Callable[[int], Awaitable[bool]]) -> None:
    """Repeats the trial for steps 0, 1, 2 … until the call ends before it is cancelled."""
    for step in range(1000):
        if not await trial(step):
            return
    raise AssertionError("no end")


@pytest.mark.promise(40, 41)
@at_each_checkpoint
@pytest.mark.parametrize("form", ["import_", "open_receive_channel"])
async def test_cancelled_import_that_receives(nursery: trio.Nursery, when: When, form: str) -> None:
    """It withdraws: the end is its caller's, the name is free, every value comes once and in order to the next."""

    async def trial(step: int) -> bool:
        async with connected(nursery) as (exporter, importer):
            send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
            for value in range(10):
                send.send_nowait(value)
            send.close()
            into, receive = trio.open_memory_channel[int](0)
            if form == "import_":
                if was := await cancelled(lambda: importer.import_("jobs", into, int), step, when):
                    await importer.import_("jobs", into, int)
            else:
                opened: list[trio.MemoryReceiveChannel[int]] = []

                async def open_() -> None:
                    opened.append(await importer.open_receive_channel("jobs", int))

                if was := await cancelled(open_, step, when):
                    await open_()
                receive = opened[0]
            assert await take_all(receive) == list(range(10)), step
            return was

    await at_every_step(trial)


@pytest.mark.promise(40, 41)
@at_each_checkpoint
@pytest.mark.parametrize("form", ["import_", "open_send_channel"])
async def test_cancelled_import_that_sends(nursery: trio.Nursery, when: When, form: str) -> None:
    """It leaves no trace: of the one importer that the export waits for, the withdrawn import was none."""

    async def trial(step: int) -> bool:
        async with connected(nursery) as (exporter, importer):
            results = exporter.open_receive_channel("results", int, importers=1)
            send, out = trio.open_memory_channel[int](10)
            if form == "import_":
                for value in range(10):
                    send.send_nowait(value)
                if was := await cancelled(lambda: importer.import_("results", out, int), step, when):
                    await importer.import_("results", out, int)
            else:
                opened: list[trio.MemorySendChannel[int]] = []

                async def open_() -> None:
                    opened.append(await importer.open_send_channel("results", int, max_buffer_size=10))

                if was := await cancelled(open_, step, when):
                    await open_()
                send = opened[0]
                for value in range(10):
                    send.send_nowait(value)
            send.close()
            assert await take_all(results) == list(range(10)), step
            return was

    await at_every_step(trial)


@pytest.mark.promise(40)
@at_each_checkpoint
@pytest.mark.parametrize("call", ["drain", "sync"])
@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_cancelled_drain_and_sync(nursery: trio.Nursery, when: When, call: str, side: str) -> None:
    async def trial(step: int) -> bool:
        async with connected(nursery) as (exporter, importer):
            if side == "exporter":
                send = exporter.open_send_channel("values", int, max_buffer_size=5)
                receive = await importer.open_receive_channel("values", int, window=2)
            else:
                receive = exporter.open_receive_channel("values", int, window=2)
                send = await importer.open_send_channel("values", int, max_buffer_size=5)
            for value in range(5):
                send.send_nowait(value)
            here: Any = exporter if side == "exporter" else importer
            got: list[int] = []

            async def read() -> int:
                await trio.testing.wait_all_tasks_blocked()
                return await receive.receive()

            async def reader() -> None:
                got.extend([await read() for _ in range(5)])

            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as inner:
                inner.start_soon(reader)
                if was := await cancelled(getattr(here, call), step, when):
                    await getattr(here, call)()
                if call == "drain":
                    assert here.statistics().channels["values"].acknowledged == 5
                await here.drain()
            assert got == list(range(5)), step
            return was

    await at_every_step(trial)


@at_each_checkpoint
@pytest.mark.promise(40, 42)
async def test_cancelled_serve_stream(nursery: trio.Nursery, when: When) -> None:
    """What its importer had not acknowledged goes to the next one; the exporter serves on."""

    async def trial(step: int) -> bool:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=6)
            for value in range(6):
                send.send_nowait(value)
            send.close()
            got: list[int] = []
            ours, theirs = trio.testing.memory_stream_pair()

            async def work() -> None:
                with contextlib.suppress(ConnectionLostError):
                    async with open_importer(ours) as importer:
                        receive = await importer.open_receive_channel("jobs", int, window=1)
                        async for value in receive:
                            got.append(value)  # noqa: PERF401  what came before the loss counts

            async with trio.open_nursery() as inner:
                inner.start_soon(work)
                was = await cancelled(lambda: exporter.serve_stream(theirs), step, when)
            async with connect(nursery, exporter) as importer:
                rest = await take_all(await importer.open_receive_channel("jobs", int))
            # A value whose acknowledgement was cut off with the stream may come twice: once to each.
            assert got + rest == list(range(6)) or got[:-1] + rest == list(range(6)), (step, got, rest)
            assert exporter.statistics().connections == 0
            return was

    await at_every_step(trial)


@pytest.mark.promise(42)
@at_each_checkpoint
@pytest.mark.parametrize("form", ["tcp", "unix", "listeners"])
async def test_cancelled_serve(nursery: trio.Nursery, when: When, form: str, tmp_path: Path) -> None:
    """While it starts, and while it serves: the address is free after it, and can be served anew."""
    where = tmp_path / "socket"

    async def trial(step: int) -> bool:
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=1)
            send.send_nowait(1)

            async def serve() -> None:
                await start(exporter)

            was = await cancelled(serve, step, when)
            assert not where.exists()
            async with trio.open_nursery() as inner:
                await inner.start(exporter.serve_unix, where)
                async with open_unix_importer(where) as importer:
                    assert await (await importer.open_receive_channel("jobs", int)).receive() == 1
                inner.cancel_scope.cancel()
            return was

    async def start(exporter: Exporter) -> None:
        async with trio.open_nursery() as inner:
            if form == "tcp":
                await inner.start(exporter.serve_tcp, 0)
            elif form == "unix":
                await inner.start(exporter.serve_unix, where)
            else:
                await inner.start(exporter.serve_listeners, await trio.open_tcp_listeners(0, host="127.0.0.1"))
            await trio.testing.wait_all_tasks_blocked()
            inner.cancel_scope.cancel()

    await at_every_step(trial)


@at_each_checkpoint
@pytest.mark.promise(40)
async def test_cancelled_serve_itself(nursery: trio.Nursery, when: When, tmp_path: Path) -> None:
    """The task that serves is itself cancelled at each checkpoint, with importers connected."""
    where = tmp_path / "socket"
    got: list[int] = []

    async def trial(step: int) -> bool:
        got.clear()
        async with open_exporter() as exporter:
            send = exporter.open_send_channel("jobs", int, max_buffer_size=6)
            for value in range(6):
                send.send_nowait(value)
            was: list[bool] = []

            async def serve(task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
                was.append(await cancelled(lambda: exporter.serve_unix(where, task_status=task_status), step, when))

            async def work() -> None:
                with contextlib.suppress(ConnectionLostError, OSError):
                    async with open_unix_importer(where) as importer:
                        got.extend(await take(await importer.open_receive_channel("jobs", int, count=1), 1))

            async with trio.open_nursery() as inner:
                with contextlib.suppress(RuntimeError):  # cancelled before it had started
                    await inner.start(serve)
                    for _ in range(3):
                        await work()
                inner.cancel_scope.cancel()
            assert not where.exists()
            send.close()
            async with connect(nursery, exporter) as importer:
                got.extend(await take_all(await importer.open_receive_channel("jobs", int)))
            assert sorted(set(got)) == list(range(6)), (step, got)
            return was == [True]

    for step in range(12):
        await trial(step)


@at_each_checkpoint
@pytest.mark.parametrize("form", ["stream", "tcp", "unix"])
@pytest.mark.promise(26, 31, 40)
async def test_cancelled_block_of_an_importer(nursery: trio.Nursery, when: When, form: str, tmp_path: Path) -> None:
    """From entry to exit: what was accepted comes in order, without a gap; an end comes only behind all of it."""
    async with open_exporter() as exporter, trio.open_nursery() as serving:
        listeners: list[trio.SocketListener] = await serving.start(exporter.serve_tcp, 0)
        port = listeners[0].socket.getsockname()[1]
        await serving.start(exporter.serve_unix, tmp_path / "socket")

        async def trial(step: int) -> bool:
            results = exporter.open_receive_channel("results", int, max_buffer_size=100)
            sent = 0

            async def block() -> None:
                nonlocal sent
                if form == "stream":
                    opening = connect(nursery, exporter)
                elif form == "tcp":
                    opening = open_tcp_importer("127.0.0.1", port)
                else:
                    opening = open_unix_importer(tmp_path / "socket")
                async with opening as importer:
                    async with await importer.open_send_channel("results", int, window=2) as send:
                        for value in range(5):
                            await send.send(value)
                            sent += 1
                    await importer.drain()

            was = await cancelled(block, step, when)
            with trio.move_on_after(0 if was else 5) as patience:
                while exporter.statistics().connections:
                    patience.deadline = trio.current_time() + 5
                    await trio.lowlevel.checkpoint()
            got: list[int] = []
            with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    got.append(results.receive_nowait())
            assert got == list(range(len(got))), (step, got)
            if not was:
                assert (sent, len(got)) == (5, 5)
            # Adopt the share that it left behind, if it left one, and see the end.
            if "results" in exporter.statistics().channels:
                async with connect(nursery, exporter) as importer:
                    nursery.start_soon(put, await importer.open_send_channel("results", int), [99])
                    assert (await take_all(results))[-1:] == [99]
            else:  # the sending end was closed in the body, and what it had accepted is all there
                assert len(got) == sent, (step, got)
            return was

        await at_every_step(trial)
        serving.cancel_scope.cancel()


@at_each_checkpoint
@pytest.mark.promise(31, 40)
async def test_cancelled_block_of_an_exporter(nursery: trio.Nursery, when: When) -> None:
    """Its importer sees an end only if it got all that was accepted; else its connection is lost.

    (The cancellation closes the send end on its way out, which may be noticed before it leaves the block.)
    """

    async def trial(step: int) -> bool:
        ours, theirs = trio.testing.memory_stream_pair()
        accepted: list[int] = []
        got: list[int] = []
        outcome: list[str] = []

        async def work() -> None:
            try:
                async with open_importer(ours) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=2)
                    async for value in receive:
                        got.append(value)  # noqa: PERF401  what came before a failure counts
                    outcome.append("end")
            except ConnectionLostError:
                outcome.append("lost")

        async def block() -> None:
            async with open_exporter() as exporter:
                nursery.start_soon(exporter.serve_stream, theirs)
                async with exporter.open_send_channel("jobs", int) as send:
                    for value in range(5):
                        await send.send(value)
                        accepted.append(value)
                await exporter.drain()

        async with trio.open_nursery() as inner:
            inner.start_soon(work)
            was = await cancelled(block, step, when)
            await trio.testing.wait_all_tasks_blocked()
            await theirs.aclose()
        assert got == list(range(len(got)))
        assert outcome == ["lost"] or (outcome == ["end"] and got == accepted), (step, got, accepted, outcome)
        return was

    await at_every_step(trial)


@at_each_checkpoint
@pytest.mark.parametrize("side", ["exporter", "importer"])
@pytest.mark.promise(40)
async def test_cancelled_use_of_the_ends(nursery: trio.Nursery, when: When, side: str) -> None:
    """A cancelled `send` has not sent, a cancelled `receive` has not taken: what arrives is what was sent."""
    async with connected(nursery) as (exporter, importer):
        if side == "exporter":
            send = exporter.open_send_channel("values", int)
            receive = await importer.open_receive_channel("values", int, window=2)
        else:
            receive = exporter.open_receive_channel("values", int, window=2)
            send = await importer.open_send_channel("values", int)
        sent: list[int] = []
        got: list[int] = []

        async def one_send() -> None:
            await send.send(len(sent))
            sent.append(len(sent))

        async def one_receive() -> None:
            got.append(await receive.receive())

        async def sender() -> None:
            async with send:
                for number in range(60):
                    await cancelled(one_send, number % 3, when)

        async def receiver() -> None:
            number = 0
            with contextlib.suppress(trio.EndOfChannel):
                while True:
                    await cancelled(one_receive, number % 3, when)
                    number += 1

        async with trio.open_nursery() as inner:
            inner.start_soon(sender)
            inner.start_soon(receiver)
        assert got == sent
        assert sent


@pytest.mark.promise(40)
async def test_every_public_call_has_a_checkpoint(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Also when there is nothing to do, and when it fails."""
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        into, _other = trio.open_memory_channel[int](0)
        calls: list[Callable[[], Awaitable[Any]]] = [
            exporter.drain,
            exporter.sync,
            importer.drain,
            importer.sync,
            lambda: exporter.drain("jobs"),
            lambda: importer.import_("jobs", into, int),
        ]
        for call in calls:
            with trio.testing.assert_checkpoints():
                await call()
        importer.hangup("jobs")
        into, _other = trio.open_memory_channel[int](0)
        for call in calls:
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
