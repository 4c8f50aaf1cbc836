"""Runs a plan: takes its steps, then lets everything come to its end."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable

import trio
import trio.testing

from trionetchan import Exporter, Importer, NetchanError, ValuesDroppedError

from .chance import determined
from .exporting import Exporting
from .history import History, What
from .importing import Importing
from .network import Network
from .plan import Act, ImporterPlan, ImportPlan, Plan, Step
from .scene import CANCELLED, Scene

__all__ = ["run"]

MOST_TURNS = 300_000
"""Of the scheduler; some thousand are usual."""
PATIENCE = 400.0  # seconds of the simulation, after which it hangs; resuming and restarting take 40 at most


def run(plan: Plan) -> History:
    """What happens; the same for the same plan."""
    scene = Scene(plan)

    async def main() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(watch, scene, outer.cancel_scope)
            async with trio.open_nursery() as scene.nursery:
                await World(scene).live()
            outer.cancel_scope.cancel()

    with determined(plan.seed), logged(scene):
        instruments = [Turns(scene)]
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=instruments)
    return scene.history


async def watch(scene: Scene, everything: trio.CancelScope) -> None:
    """Ends what does not come to its end in time."""
    await scene.healed.wait()
    await trio.sleep(PATIENCE)
    scene.record(What.HUNG, busy=sorted({name.partition("#")[0] for name in scene.calls}))
    everything.cancel()


class Turns(trio.abc.Instrument):
    """Ends what goes on without ever coming to an end."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._left = MOST_TURNS

    def before_io_wait(self, timeout: float) -> None:
        self._left -= 1
        if self._left == 0:
            self._scene.record(What.HUNG, busy=["the scheduler"])
            self._scene.nursery.cancel_scope.cancel()


class logged(logging.Handler):  # noqa: N801
    """Records the values that the library says it has dropped."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(logging.WARNING)
        self._scene = scene
        self._logger = logging.getLogger("trionetchan")

    def __enter__(self) -> None:
        self._propagates, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.propagate = self._propagates
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        found = re.match(r"channel '(\w+)': (\d+) values dropped: (.*)", text)
        if found:
            self._scene.record(What.DROPPED, channel=found[1], value=int(found[2]), why=found[3])
        elif record.exc_info is not None or record.levelno >= logging.ERROR:
            self._scene.record(What.REPORTED, "log", error=text[:200])


class World:
    """All who take part."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.exporting = Exporting(scene)
        self._network = Network(scene, lambda: self.exporting.exporter)
        self._importings = [
            Importing(scene, self._network, number, plan) for number, plan in enumerate(scene.plan.importers)
        ]
        self._waits = 0  # drains and syncs that are under way

    async def live(self) -> None:
        nursery = self._scene.nursery
        nursery.start_soon(self.exporting.live)
        while self.exporting.exporter is None:
            await trio.lowlevel.checkpoint()
        for importing in self._importings:
            nursery.start_soon(importing.live)
        for step in self._scene.plan.steps:
            if step.act in _CALLS:  # beside the others
                self._waits += 1
                nursery.start_soon(self._call, step)
            else:
                await self._wait_for(step)
                _STEPS[step.act](self, step)
        await self._come_to_an_end()

    # Steps

    async def _wait_for(self, step: Step) -> None:
        await trio.sleep(step.after)
        if step.on_bytes:
            with trio.move_on_after(1):
                await self._network.bytes_came.wait()
        elif step.on_send:
            with trio.move_on_after(1):
                await self._scene.sends.wait()
        for _ in range(step.turns):
            await trio.lowlevel.checkpoint()

    def importing(self, step: Step) -> Importing:
        return self._importings[step.whom % len(self._importings)]

    def cut(self, step: Step) -> None:
        self._network.cut(step.whom % len(self._importings), step.fault, step.seconds, step.way)

    def cut_later(self, step: Step) -> None:
        self._network.cut_later(step.whom % len(self._importings), step.way, step.amount, step.fault)

    def pause(self, step: Step) -> None:
        self._network.pause(step.whom % len(self._importings), step.seconds)

    def lose(self, step: Step) -> None:
        self._network.cut(step.whom % len(self._importings), step.fault, math.inf, step.way)

    def cancel(self, step: Step) -> None:
        calls = [*self._scene.calls.values()]
        if calls:
            calls[(step.whom * 12 + step.which) % len(calls)].cancel()

    def cancel_import(self, step: Step) -> None:
        calls = [scope for name, scope in self._scene.calls.items() if name.startswith("import")]
        if calls:
            calls[step.which % len(calls)].cancel()

    def hang_up(self, step: Step) -> None:
        channels = self._scene.plan.channels
        self.importing(step).hang_up(channels[step.which % len(channels)].name)

    def exporter_hangs_up(self, step: Step) -> None:
        channels = self._scene.plan.channels
        self.exporting.hang_up(channels[step.which % len(channels)].name)

    async def _call(self, step: Step) -> None:
        """Drains or syncs one channel, or all."""
        await self._wait_for(step)
        await self._drain(step)
        self._waits -= 1

    async def _drain(self, step: Step) -> None:
        party: Exporter | Importer | None
        by_exporter = step.act in (Act.EXPORTER_DRAINS, Act.EXPORTER_SYNCS)
        if by_exporter:
            who, party = self.exporting.who, self.exporting.exporter
        else:
            importing = self.importing(step)
            who, party = importing.who, importing.importer
        channels = [channel.name for channel in self._scene.plan.channels if channel.down is by_exporter]
        if party is not None and channels:
            name = [*channels, ""][step.which % (len(channels) + 1)]
            syncs = step.act in (Act.SYNC, Act.EXPORTER_SYNCS)
            await self._wait(who, party, name, syncs)

    async def _wait(self, who: str, party: Exporter | Importer, name: str, syncs: bool) -> None:
        scene, number = self._scene, self._scene.number()
        names = (name,) if name else ()
        try:
            sent = {of: channel.sent for of, channel in party.statistics().channels.items() if name in (of, "")}
        except (NetchanError, trio.ClosedResourceError):
            return
        if not sent:
            return
        if syncs:
            scene.record(What.SYNCS, who, name, value=number, sent=sent)
        else:
            scene.record(What.DRAINS, who, name, value=number)
        failure = ""
        dropped = 0
        try:
            done = await scene.call("sync" if syncs else "drain", party.sync if syncs else party.drain, *names)
            failure = "cancelled" if done is CANCELLED else ""
        except (NetchanError, trio.ClosedResourceError) as error:
            failure = type(error).__name__
            dropped = error.count if isinstance(error, ValuesDroppedError) else 0
        if failure:
            what = What.NOT_SYNCED if syncs else What.NOT_DRAINED
            scene.record(what, who, name, value=number, why=failure, dropped=dropped)
        else:
            scene.record(What.SYNCED if syncs else What.DRAINED, who, name, value=number)

    def count(self, step: Step) -> None:
        self.exporting.count()
        for importing in self._importings:
            importing.count()

    def let_send(self, step: Step) -> None:
        self._let(step, senders=True)

    def let_receive(self, step: Step) -> None:
        self._let(step, senders=False)

    def _let(self, step: Step, *, senders: bool) -> None:
        """Lets some sender or receiver go on with so many values."""
        names: list[str] = []
        for channel in self._scene.plan.channels:
            if channel.down and senders:
                names += [f"{channel.name}/sender{number}" for number in range(channel.senders)]
            elif not channel.down and not senders:
                names.append(channel.name)
        for number, importer in enumerate(self._scene.plan.importers):
            names += [
                f"importer{number}.{place}"
                for place, plan in enumerate(importer.imports)
                if plan.channel.down is not senders
            ]
        if names:
            self._scene.tap(names[step.which % len(names)]).let(step.amount)

    # The end

    async def _come_to_an_end(self) -> None:
        scene = self._scene
        scene.heal()
        self._network.heal()
        for importing in self._importings:
            importing.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            for channel in scene.plan.channels:
                if not channel.down and channel.importers is not None:
                    nursery.start_soon(self._finish, channel.name)
            for importing in self._importings:
                await importing.over.wait()
            for channel in scene.plan.channels:
                if not channel.down and channel.importers is None:
                    await self._wait_for_exporter()
                    self.exporting.hang_up(channel.name)
        while self._waits:  # noqa: ASYNC110
            await trio.sleep(0.1)
        await self._wait_for_exporter()
        self.exporting.leave()

    async def _wait_for_exporter(self) -> None:
        while self.exporting.exporter is None or self.exporting.stopping:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def _sweep(self) -> None:
        """An importer that takes what is left in all channels."""
        plan = self._scene.plan
        imports = tuple(ImportPlan(channel=channel, window=16) for channel in plan.channels if channel.down)
        if imports:
            await self._run_to_its_end(ImporterPlan(imports=imports, limits=self._scene.plan.limits))

    async def _finish(self, name: str) -> None:
        """Importers that send nothing take the shares that are left, until the exporter's program sees the end."""
        (channel,) = (channel for channel in self._scene.plan.channels if channel.name == name)
        imports = (ImportPlan(channel=channel, values=0),)
        while not self.exporting.over[name].is_set():
            await self._run_to_its_end(ImporterPlan(imports=imports, limits=self._scene.plan.limits))
            with trio.move_on_after(1):
                await self.exporting.over[name].wait()

    async def _run_to_its_end(self, plan: ImporterPlan) -> None:
        while True:
            await self._wait_for_exporter()
            number = len(self._importings)
            importing = Importing(self._scene, self._network, number, plan)
            self._importings.append(importing)
            self._scene.nursery.start_soon(importing.live)
            await importing.over.wait()
            if not importing.stays_away:
                return


_CALLS = (Act.DRAIN, Act.SYNC, Act.EXPORTER_DRAINS, Act.EXPORTER_SYNCS)
_STEPS: dict[Act, Callable[[World, Step], None]] = {
    Act.CUT: World.cut,
    Act.CUT_LATER: World.cut_later,
    Act.PAUSE: World.pause,
    Act.LOSE: World.lose,
    Act.CANCEL: World.cancel,
    Act.CANCEL_IMPORT: World.cancel_import,
    Act.KILL: lambda world, step: world.importing(step).kill(),
    Act.START: lambda world, step: world.importing(step).start(),
    Act.LEAVE: lambda world, step: world.importing(step).leave(),
    Act.CLOSE: lambda world, step: world.importing(step).close(),
    Act.HANG_UP: World.hang_up,
    Act.EXPORTER_HANGS_UP: World.exporter_hangs_up,
    Act.COUNT: World.count,
    Act.RESTART: lambda world, step: world.exporting.restart(step.seconds),
    Act.WAIT: lambda world, step: None,
    Act.SEND: lambda world, step: world.let_send(step),
    Act.RECEIVE: lambda world, step: world.let_receive(step),
    Act.ACK: lambda world, step: world.importing(step).settle(step.amount, accept=True),
    Act.REJECT: lambda world, step: world.importing(step).settle(step.amount, accept=False),
}
