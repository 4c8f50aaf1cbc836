"""Helpers for tests of what falls into a pause: the time between a broken connection and its resume.

In memory and by trio's autojump clock: times are in virtual seconds.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing
from proxy import Fault, Network, Plan

from trionetchan import Exporter, Importer, Limits, open_exporter, open_importer

__all__ = ["CUTS", "LIMITS", "Other", "Task", "begin", "linked", "pause", "quiet", "settle", "take_slowly"]

LIMITS = Limits(keepalive=1, keepalive_timeout=1, resume_timeout=30)
CUTS = [Fault.RESET, Fault.END]  # that are noticed at once

quiet = trio.testing.wait_all_tasks_blocked


async def settle() -> None:
    """Longer than any acknowledgement is held back."""
    await trio.sleep(0.5)


@asynccontextmanager
async def linked(
    nursery: trio.Nursery,
    plans: Iterable[Plan] = (),
    *,
    limits: Limits = LIMITS,
    exporter_limits: Limits | None = None,
    refuses: bool = False,
) -> AsyncGenerator[tuple[Exporter, Importer, Network]]:
    """An exporter, an importer that is connected to it, and the network between them."""
    async with open_exporter(limits=exporter_limits or limits) as exporter:
        network = Network(nursery, exporter, plans, refuses=refuses)
        async with open_importer(network.connect, limits=limits) as importer:
            yield exporter, importer, network


@asynccontextmanager
async def pause(network: Network, fault: Fault = Fault.RESET) -> AsyncGenerator[None]:
    """The inside of the block falls into a pause."""
    network.go_down(fault)
    await quiet()
    yield
    await quiet()
    network.come_up()


@attrs.define
class Task:
    """A call that is made in a task of its own."""

    done: trio.Event = attrs.field(factory=trio.Event)
    result: Any = None
    error: BaseException | None = None
    ended_at: float = math.nan

    async def run(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        try:
            self.result = await function(*arguments)
        except Exception as error:
            self.error = error
        self.ended_at = trio.current_time()
        self.done.set()


def begin(nursery: trio.Nursery, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Task:
    """Calls the function in a task of its own."""
    task = Task()
    nursery.start_soon(task.run, function, *arguments)
    return task


async def take_slowly(
    channel: trio.abc.ReceiveChannel[int], got: list[int], every: float, times: dict[int, float] | None = None
) -> None:
    """Takes a value, and the next one so many seconds later, up to the end; `times`: when each came."""
    async for value in channel:
        got.append(value)
        if times is not None:
            times[value] = trio.current_time()
        await trio.sleep(every)


@attrs.define
class Other:
    """Another importer of the same exporter, with a network of its own, which takes what "jobs" gives it."""

    got: list[int] = attrs.field(factory=list[int])
    times: dict[int, float] = attrs.field(factory=dict[int, float])
    ended: bool = False
    network: Network | None = None

    async def run(self, nursery: trio.Nursery, exporter: Exporter, window: int = 4, every: float = 0) -> None:
        self.network = Network(nursery, exporter)
        async with open_importer(self.network.connect, limits=LIMITS) as importer:
            receive = await importer.open_receive_channel("jobs", int, window=window)
            await take_slowly(receive, self.got, every, self.times)
        self.ended = True
