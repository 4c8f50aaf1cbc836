"""A program that imports: it binds its channels, sends and receives, and leaves when it has done all."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import trio

from trionetchan import ConnectionLostError, Delivery, Importer, NetchanError, SessionLostError, open_importer

from .exporting import counts
from .history import What
from .network import Network
from .plan import ChannelPlan, ImporterPlan, ImportPlan
from .scene import CANCELLED, Scene, from_value, to_value, type_of

__all__ = ["Importing"]

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Importing:
    """One importer, and what its program does with it."""

    def __init__(self, scene: Scene, network: Network, number: int, plan: ImporterPlan) -> None:
        self.who = f"importer{number}"
        self.importer: Importer | None = None
        self.over = trio.Event()
        self.stays_away = False
        """It could not connect, or the exporter was about to stop."""
        self._number = number
        self._plan = plan
        self._scene = scene
        self._network = network
        self._scope = trio.CancelScope()
        self._work = trio.CancelScope()
        self._started = trio.Event()
        self._bodies: trio.Nursery | None = None
        self._ends: dict[str, tuple[ChannelPlan, Any]] = {}  # that the program has
        self._held: list[tuple[str, ImportPlan, Delivery[Any]]] = []

    async def live(self) -> None:
        scene = self._scene
        if self._plan.starts:
            with trio.move_on_after(self._plan.starts):
                await self._started.wait()
        try:
            with self._scope:
                connect = functools.partial(self._network.connect, self._number, self._plan)
                async with open_importer(connect, limits=self._plan.limits) as importer:
                    resumes = min(self._plan.limits.resume_timeout, scene.plan.limits.resume_timeout)
                    scene.record(What.OPENED, self.who, resumes=resumes)
                    self.importer = importer
                    await self._live(importer)
                    self._count()
                    scene.record(What.LEAVES, self.who)
                scene.record(What.LEFT, self.who)
        except OSError:
            self.stays_away = True
            scene.record(What.NOT_CONNECTED, self.who)
        except Exception as error:
            self._failed(error)
        else:
            if self._scope.cancelled_caught:
                scene.record(What.CANCELLED, self.who)
        finally:
            self.importer = None
            self._bodies = None
        for end, (channel, receive) in self._ends.items():
            self._find(end, channel, receive)
        self.over.set()

    async def _live(self, importer: Importer) -> None:
        async with trio.open_nursery() as body:
            body.start_soon(self._report, importer)
            body.start_soon(self._settle_at_the_end)
            with self._work:
                async with trio.open_nursery() as work:
                    self._bodies = work
                    for place, plan in enumerate(self._plan.imports):
                        go = self._consume_all if plan.channel.down else self._produce
                        work.start_soon(go, importer, place, plan)
            self._bodies = None
            body.cancel_scope.cancel()

    def _failed(self, error: Exception) -> None:
        more: dict[str, Any] = {"error": type(error).__name__, "text": str(error)[:300]}
        if isinstance(error, SessionLostError):
            channels = {plan.channel.name: plan.channel for plan in self._plan.imports}
            for kind in ("unconfirmed", "unsent"):
                lists: dict[str, list[Any]] = getattr(error, kind)
                more[kind] = {
                    name: [from_value(channels[name], value) for value in values] for name, values in lists.items()
                }
        self._scene.record(What.FAILED, self.who, **more)

    async def _report(self, importer: Importer) -> None:
        async for error in importer.errors:
            self._scene.record(What.REPORTED, self.who, error.channel or "", error=type(error).__name__)

    # Receiving

    async def _consume_all(self, importer: Importer, place: int, plan: ImportPlan) -> None:
        while await self._consume(importer, place, plan):
            await trio.lowlevel.checkpoint()

    async def _consume(self, importer: Importer, place: int, plan: ImportPlan) -> bool:
        """One import, to its end. Whether there is to be another."""
        bound = await self._bind(importer, place, plan)
        if bound is None:
            return False
        end, receive = bound
        scene, name, count = self._scene, plan.channel.name, 0
        try:
            while True:
                await scene.tap(f"{self.who}.{place}").take()
                value = await scene.call(end, receive.receive)
                if value is CANCELLED:
                    scene.tap(f"{self.who}.{place}").let(1)
                    await trio.lowlevel.checkpoint()
                    continue
                count += 1
                if plan.manual:
                    number = from_value(plan.channel, value.value)
                    scene.record(What.RECEIVED, self.who, name, end, number, redelivered=value.redelivered)
                    await self._decide(end, plan, value)
                else:
                    scene.record(What.RECEIVED, self.who, name, end, from_value(plan.channel, value))
                await scene.pace(plan.pace)
        except trio.EndOfChannel:
            scene.record(What.END, self.who, name, end)
        except GONE:
            scene.record(What.BROKE, self.who, name, end)
            return False
        return plan.again and plan.count is not None and count >= plan.count

    async def _bind(self, importer: Importer, place: int, plan: ImportPlan) -> tuple[str, Any] | None:
        """Binds an end of a new channel; as often as it is cancelled."""
        name, down = plan.channel.name, plan.channel.down
        send, receive = trio.open_memory_channel[Any](plan.buffer)
        given, kept = (send, receive) if down else (receive, send)
        while True:
            end = f"{self.who}/{name}.{place}.{self._scene.number()}"
            self._scene.record(
                What.BINDS, self.who, name, end, down=down, window=plan.window, count=plan.count, manual=plan.manual,
                buffer=plan.buffer,
            )  # fmt: skip
            try:
                bound = await self._scene.call(f"import {end}", self._ask(importer, plan, given))
            except NetchanError as error:
                self.stays_away = self.stays_away or isinstance(error, ConnectionLostError)
                self._scene.record(What.NOT_BOUND, self.who, name, end, why=type(error).__name__)
                given.close()
                kept.close()
                return None
            except trio.ClosedResourceError:
                self._scene.record(What.NOT_BOUND, self.who, name, end, why="closed")
                return None
            except BaseException:
                self._scene.record(What.NOT_BOUND, self.who, name, end, why="ended")
                raise
            if bound is not CANCELLED:
                break
            self._scene.record(What.NOT_BOUND, self.who, name, end, why="cancelled")
            await trio.lowlevel.checkpoint()
        self._scene.record(What.BOUND, self.who, name, end)
        kept = kept if bound is None else bound
        if down:
            self._ends[end] = plan.channel, kept
        return end, kept

    def _ask(self, importer: Importer, plan: ImportPlan, end: Any) -> Any:
        how: Any = {"window": plan.window, "count": plan.count}
        if plan.manual:
            how["acknowledge"] = "manual"
        if plan.opens:
            opens: Any = importer.open_receive_channel if plan.channel.down else importer.open_send_channel
            return functools.partial(opens, plan.channel.name, type_of(plan.channel), **how)
        bind: Any = importer.import_
        return functools.partial(bind, plan.channel.name, end, type_of(plan.channel), **how)

    # Settling

    async def _decide(self, end: str, plan: ImportPlan, delivery: Delivery[Any]) -> None:
        chance = self._scene.chance
        if self._scene.plan.stepwise and not self._scene.healed.is_set():
            self._held.append((end, plan, delivery))
        elif chance.random() < plan.holds and not self._scene.healed.is_set():
            self._held.append((end, plan, delivery))
            if len(self._held) > chance.randrange(1, 6):
                await self._settle(*self._held.pop(chance.randrange(len(self._held))), accept=True)
        else:
            reject = not self._scene.healed.is_set() and chance.random() < plan.rejects
            await self._settle(end, plan, delivery, accept=not reject)

    async def _settle(self, end: str, plan: ImportPlan, delivery: Delivery[Any], *, accept: bool) -> None:
        scene, name, value = self._scene, plan.channel.name, from_value(plan.channel, delivery.value)
        while True:
            try:
                settled = await scene.call(f"{end}!", delivery.ack if accept else delivery.reject)
            except GONE as error:
                scene.record(What.NOT_SETTLED, self.who, name, end, value, why=type(error).__name__)
                return
            if settled is not CANCELLED:
                scene.record(What.ACKED if accept else What.REJECTED, self.who, name, end, value)
                return

    async def _settle_at_the_end(self) -> None:
        await self._scene.healed.wait()
        while True:
            while self._held:
                await self._settle(*self._held.pop(0), accept=True)
            await trio.sleep(0.1)

    def settle(self, count: int, *, accept: bool) -> None:
        """Settles so many of those that are held."""
        for _ in range(count):
            if self._held and self._bodies is not None:
                held = self._held.pop(0)
                self._bodies.start_soon(functools.partial(self._settle, *held, accept=accept))

    # Sending

    async def _produce(self, importer: Importer, place: int, plan: ImportPlan) -> None:
        scene, name = self._scene, plan.channel.name
        bound = await self._bind(importer, place, plan)
        if bound is None:
            return
        end, send = bound
        try:
            for number in range(plan.values):
                await scene.tap(f"{self.who}.{place}").take()
                if not await self._send(plan.channel, end, send, self._number * 10_000 + place * 1000 + number):
                    return
                await scene.pace(plan.pace)
        finally:
            if plan.closes:
                scene.record(What.CLOSED, self.who, name, end)
                send.close()

    async def _send(self, channel: ChannelPlan, end: str, send: trio.abc.SendChannel[Any], value: int) -> bool:
        scene = self._scene
        while True:
            await scene.before_send()
            scene.record(What.SENDS, self.who, channel.name, end, value)
            try:
                sent = await scene.call(end, send.send, to_value(channel, value))
            except GONE as error:
                scene.record(What.NOT_SENT, self.who, channel.name, end, value, why=type(error).__name__)
                return False
            except BaseException:
                scene.record(What.NOT_SENT, self.who, channel.name, end, value, why="ended")
                raise
            if sent is not CANCELLED:
                scene.record(What.SENT, self.who, channel.name, end, value)
                return True
            scene.record(What.NOT_SENT, self.who, channel.name, end, value, why="cancelled")
            await trio.lowlevel.checkpoint()

    # What steps do

    def start(self) -> None:
        self._started.set()

    def kill(self) -> None:
        """Cancels it."""
        if self.importer is not None:
            self._scene.record(What.KILLS, self.who)
            self._scope.cancel()

    def leave(self) -> None:
        """Its body ends, whatever it still had to do."""
        self._work.cancel()

    def hang_up(self, name: str) -> None:
        if self.importer is not None:
            try:
                self._scene.record(What.HANGS_UP, self.who, name)
                self.importer.hangup(name)
            except (NetchanError, trio.ClosedResourceError) as error:
                self._scene.record(What.REPORTED, self.who, name, error=type(error).__name__)

    def close(self) -> None:
        """Closes some receive end."""
        if self._ends:
            end = self._scene.chance.choice([*self._ends])
            channel, receive = self._ends[end]
            self._scene.record(What.CLOSED, self.who, channel.name, end)
            self._find(end, channel, receive)

    def _find(self, end: str, channel: ChannelPlan, receive: Any) -> None:
        """What is left in an end of which nobody receives any more."""
        try:
            while True:
                value = receive.receive_nowait()
                number = from_value(channel, getattr(value, "value", value))  # of a delivery, or what there is
                self._scene.record(What.FOUND, self.who, channel.name, end, number)
        except (trio.WouldBlock, trio.EndOfChannel, *GONE):
            receive.close()

    def _count(self) -> None:
        if self.importer is None:
            return
        with contextlib.suppress(NetchanError, trio.ClosedResourceError):  # it is being left
            for name, channel in self.importer.statistics().channels.items():
                self._scene.record(What.COUNTED, self.who, name, **counts(channel))

    count = _count
