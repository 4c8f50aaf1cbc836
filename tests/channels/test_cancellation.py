"""Calls that need a system's sockets, cancelled at each checkpoint: the object stays usable, no value is lost.

All others: `tests/exhaustion`, at more points, and while their peer does something.
"""

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

    await at_every_step(trial)


@at_each_checkpoint
@pytest.mark.parametrize("form", ["tcp", "unix"])
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
                if form == "tcp":
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
