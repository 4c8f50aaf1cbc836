"""What all who take part in a simulation share: the history, the calls that can be cancelled, the time."""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio

from .history import Event, History, What
from .plan import ChannelPlan, Plan

__all__ = ["CANCELLED", "Cancelled", "Scene", "Tap", "from_value", "to_value", "type_of"]

T = TypeVar("T")


class Cancelled(enum.Enum):
    """What `Scene.call` returns when somebody has cancelled the call."""

    CANCELLED = "cancelled"


CANCELLED: Final = Cancelled.CANCELLED


class Tap:
    """Lets through as many values as it was told to; or all."""

    def __init__(self, *, is_open: bool) -> None:
        self._open = is_open
        self._count = 0
        self._changed = trio.lowlevel.ParkingLot()

    def let(self, count: int) -> None:
        self._count += count
        self._changed.unpark_all()

    def open(self) -> None:
        self._open = True
        self._changed.unpark_all()

    async def take(self) -> None:
        while not self._open and self._count <= 0:
            await self._changed.park()
        self._count -= 1


class Scene:
    """One simulation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.nursery: trio.Nursery
        self.history = History()
        self.chance = random.Random(f"scene {plan.seed}")
        self.healed = trio.Event()
        """No more faults: everybody comes to an end."""
        self.calls: dict[str, trio.CancelScope] = {}
        """The calls that wait now, by their names."""
        self.taps: dict[str, Tap] = {}
        """Of all who send or receive, by their names."""
        self.sends = trio.Event()
        """The next value is about to go into a channel."""
        self._numbers = 0

    def record(self, what: What, who: str = "", channel: str = "", end: str = "", value: int = -1, **more: Any) -> None:
        time = round(trio.current_time(), 9)
        self.history.events.append(
            Event(time=time, what=what, who=who, channel=channel, end=end, value=value, more=more)
        )

    async def before_send(self) -> None:
        """In the next turn a value is sent, and whoever waits for this runs; who waits for the value, one later."""
        sends, self.sends = self.sends, trio.Event()
        sends.set()
        await trio.lowlevel.checkpoint()

    def number(self) -> int:
        """Another one each time."""
        self._numbers += 1
        return self._numbers

    def tap(self, name: str) -> Tap:
        if name not in self.taps:
            self.taps[name] = Tap(is_open=not self.plan.stepwise or self.healed.is_set())
        return self.taps[name]

    def heal(self) -> None:
        self.record(What.HEALED)
        self.healed.set()
        for tap in self.taps.values():
            tap.open()

    async def call(self, name: str, function: Callable[..., Awaitable[T]], *arguments: Any) -> T | Cancelled:
        """Calls it so that a step can cancel it. No checkpoint follows the call's last one."""
        name = f"{name}#{self.number()}"
        with trio.CancelScope() as scope:
            self.calls[name] = scope
            try:
                return await function(*arguments)
            finally:
                del self.calls[name]
        return CANCELLED

    async def pace(self, seconds: float) -> None:
        """Waits about so long."""
        if seconds and not self.healed.is_set():
            await trio.sleep(self.chance.uniform(0, 2 * seconds))


def type_of(channel: ChannelPlan) -> Any:
    return bytes if channel.padding else int


def to_value(channel: ChannelPlan, number: int) -> Any:
    return number.to_bytes(4, "big") + bytes(channel.padding) if channel.padding else number


def from_value(channel: ChannelPlan, value: Any) -> int:
    if not channel.padding:
        return int(value)
    assert value[4:] == bytes(channel.padding), "these are not the bytes that were sent"
    return int.from_bytes(value[:4], "big")
