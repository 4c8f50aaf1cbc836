"""What a call is cancelled on: an exporter, an importer, each in a task of its own, and the network between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import attrs
import trio
import trio.testing
from proxy import Fault, Network, Plan

from trionetchan import Exporter, Importer, Limits, NetchanError, open_exporter, open_importer

__all__ = ["LIMITS", "SPECIAL_LIMITS", "Event", "Side", "Stage"]

T = TypeVar("T")

LIMITS = Limits(keepalive=1, keepalive_timeout=1, resume_timeout=6, handshake_timeout=4)
SPECIAL_LIMITS = {
    "lost for good": attrs.evolve(LIMITS, resume_timeout=0),
    "exporter restarts": attrs.evolve(LIMITS, restart_timeout=20),
    "exporter restarts at once": attrs.evolve(LIMITS, restart_timeout=20),
}
"""By the event."""

Event = Callable[["Stage"], object]


@attrs.define(eq=False)
class Side(Generic[T]):
    """The block of an exporter or importer, in a task of its own."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    leave: trio.Event = attrs.field(factory=trio.Event)
    """Has the block end normally."""
    over: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None
    """What the block raised."""
    _block: T | None = None

    @property
    def block(self) -> T:
        assert self._block is not None
        return self._block

    async def run(
        self,
        opening: AbstractAsyncContextManager[T],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with self.scope:
                async with opening as self._block:
                    task_status.started()
                    await self.leave.wait()
        except Exception as error:
            self.error = error
        self.over.set()

    async def end(self) -> None:
        """Has the block end normally, and waits for that."""
        self.leave.set()
        await self.over.wait()


@attrs.define(eq=False)
class Stage:
    """Everything there is in one trial."""

    nursery: trio.Nursery
    limits: Limits = LIMITS
    exporting: Side[Exporter] = attrs.field(factory=Side[Exporter])
    importing: Side[Importer] = attrs.field(factory=Side[Importer])
    event: str = ""
    outcome: str = ""
    """Of the call: "returned", "cancelled", or the name of its error."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the call."""
    done: trio.Event = attrs.field(factory=trio.Event)
    """The call has ended."""
    got: list[Any] = attrs.field(factory=list[Any])
    """The values that programs have received, in order."""
    sent: int = 0
    """How many values, 0, 1, 2, …, have been sent."""
    restarted: trio.Event = attrs.field(factory=trio.Event)
    lost: int = 0
    """How many values an exporter that was stopped had taken, and nobody got."""
    _network: Network | None = None

    async def open(self, delay: float) -> None:
        """Opens both, and connects them; `delay`: for how many seconds, at most, each chunk is held up on the way."""
        await self.nursery.start(self.exporting.run, open_exporter(limits=self.limits))
        self._network = Network(self.nursery, self.exporting.block, itertools.repeat(Plan(delay=delay)))
        await self.nursery.start(self.importing.run, open_importer(self.network.connect, limits=self.limits))
        await trio.sleep(0.1)
        await trio.testing.wait_all_tasks_blocked()

    @property
    def network(self) -> Network:
        assert self._network is not None
        return self._network

    @property
    def exporter(self) -> Exporter:
        return self.exporting.block

    @property
    def importer(self) -> Importer:
        return self.importing.block

    async def settle(self) -> None:
        """Waits until nothing happens; longer than keepalive takes to notice something, if that has to."""
        await trio.sleep(4 if self.event.startswith(("stall", "receiver gone")) else 0.9)
        await trio.testing.wait_all_tasks_blocked()

    async def next_importer(self) -> Importer:
        """The importer; another one, if it has ended."""
        self.network.come_up()
        if self.importing.over.is_set() or self.importing.scope.cancel_called:
            await self.importing.over.wait()
            self.importing = Side[Importer]()
            await self.nursery.start(self.importing.run, open_importer(self.network.connect, limits=self.limits))
        return self.importer

    def restart(
        self, publish: Callable[[Exporter], None], not_dealt: Callable[[], int], timeout: float = math.inf
    ) -> None:
        """Stops the exporter and has another one go on, which `publish` gives its channels. `not_dealt`: how many
        values are still in those of the program; others that were not delivered are lost with the exporter."""
        self.nursery.start_soon(self._restart, publish, not_dealt, timeout)

    async def _restart(self, publish: Callable[[Exporter], None], not_dealt: Callable[[], int], timeout: float) -> None:
        before = self.exporting
        await before.block.stop(timeout=timeout)
        statistics = before.block.statistics()
        waiting = sum(channel.waiting for channel in statistics.channels.values())
        self.lost = statistics.dropped + waiting - not_dealt()
        self.exporting = Side[Exporter]()
        await self.nursery.start(self.exporting.run, open_exporter(limits=self.limits))
        publish(self.exporter)
        self.network.exporter = self.exporter
        await before.end()
        self.restarted.set()

    async def perform(self, call: Callable[[Stage], Any]) -> None:
        """The call, in a task of its own."""
        try:
            with self.scope:
                await call(self)
                self.outcome = "returned"
        except (NetchanError, trio.ClosedResourceError, trio.BrokenResourceError, trio.EndOfChannel) as error:
            self.outcome = type(error).__name__
        else:
            self.outcome = self.outcome or "cancelled"
        self.done.set()

    async def close(self) -> None:
        """Leaves both blocks; nothing hangs."""
        self.network.come_up()
        await self.importing.end()
        await self.exporting.end()
        self.nursery.cancel_scope.cancel()


def cut(fault: Fault) -> Event:
    return lambda stage: stage.network.cut(fault)


def _nothing(_stage: Stage) -> None:
    pass


EVENTS: dict[str, Event] = {
    "nothing": _nothing,
    "reset": cut(Fault.RESET),
    "end of the stream": cut(Fault.END),
    "stall": cut(Fault.STALL),
    "lost for good": cut(Fault.END),
    "connected again": lambda stage: stage.network.come_up(),
    "goodbye of the exporter": lambda stage: stage.exporting.scope.cancel(),
    "exporter leaves": lambda stage: stage.exporting.leave.set(),
    "goodbye of the importer": lambda stage: stage.importing.scope.cancel(),
    "importer leaves": lambda stage: stage.importing.leave.set(),
}
"""What any call may meet; and calls have events of their own."""
