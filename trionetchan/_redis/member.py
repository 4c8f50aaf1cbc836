"""A member: one producer or consumer of one channel in the engine, as the engine's scripts know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from .._errors import ConnectionLostError, NoSuchChannelError
from .engine import Argument, Engine
from .names import Keys

__all__ = ["Found", "Member", "Terms"]


@attrs.frozen
class Found:
    """A channel as it stands in the engine."""

    epoch: bytes
    """Which incarnation of the name it is."""
    schema: bytes
    """The value type that its exporter gave."""
    sends: bool
    """Whether exporters send into it."""
    window: int
    """As its exporter gave it."""
    ended: bool
    """It has finished, and nothing is left in it."""


@attrs.frozen(kw_only=True)
class Terms:
    """How a member is bound."""

    produces: bool
    settles: bool = False
    check: Callable[[Found], None]
    """Raises if what is in the engine does not fit."""
    record: Sequence[Argument] | None = None
    """An exporter's: fields and values of the record that it makes if there is none."""
    patience: float = 0.0
    """For how long, in seconds, an importer waits for a name that is not exported."""


class Member:
    """What producers and consumers have in common."""

    def __init__(self, engine: Engine, keys: Keys, terms: Terms) -> None:
        self.closing = False
        self.done = trio.Event()
        """It has left."""
        self.registered = trio.Event()
        self._engine = engine
        self._keys = keys
        self._terms = terms
        self._id = engine.new_member(self._woken)
        self._epoch: bytes = b""
        self._work = trio.Event()
        self._wakened = trio.Event()
        self._dropped = 0  # values of the channel that the engine has dropped, as far as is told

    @property
    def name(self) -> str:
        """Of the channel."""
        return self._keys.name

    # Work

    def _woken(self) -> None:
        """The engine says that something has changed."""
        wakened, self._wakened = self._wakened, trio.Event()
        wakened.set()
        self._notify()

    def _notify(self) -> None:
        """There is something to do."""
        self._work.set()

    async def _wait(self, seconds: float) -> None:
        """Waits for something to do, or until it is time to renew the lease."""
        with trio.move_on_after(seconds):
            await self._work.wait()
        self._work = trio.Event()

    @property
    def _renew_after(self) -> float:
        return self._engine.settings.lease / 3

    # Scripts

    async def _call(self, script: str, arguments: Callable[[bool], Sequence[Argument]]) -> list[Any]:
        """Runs a script as this member."""
        return await self._engine.call(script, self._keys, lambda again: [self._epoch, self._id, *arguments(again)])

    @property
    def _lease(self) -> tuple[int, int]:
        """What scripts want to know of it: the lease, and for how long the engine has been in reach."""
        return self._engine.lease, self._engine.contact

    # Binding

    async def register(self) -> Found:
        """Binds it to the channel, in one step with a look at what is there: `Terms.check` raises what that raises.

        `NoSuchChannelError` where nobody has exported the name. Cancelled, it may have been bound: `withdraw`.
        """
        deadline = trio.current_time() + self._terms.patience
        while True:
            wakened = self._wakened
            found, why = await self._look()
            if found is None and self._terms.record is None:
                if trio.current_time() >= deadline:
                    raise NoSuchChannelError(
                        f"{self._keys.name}: expected a name that is exported, got one that {why}",
                        channel=self._keys.name,
                    )
                with trio.move_on_at(deadline):
                    await wakened.wait()
                continue
            if found is not None and not (found.ended and self._terms.record is not None):
                self._terms.check(found)
            if await self._bind(found):
                self.registered.set()
                return found or Found(self._epoch, b"", sends=True, window=0, ended=False)

    async def _look(self) -> tuple[Found | None, str]:
        asks = b"" if self._terms.record is not None else self._id
        state, epoch, schema, sends, window, why, _, _, left = await self._engine.call(
            "look", self._keys, lambda _: [asks]
        )
        self._epoch = epoch
        if state not in (b"open", b"finished"):
            return None, f"is not any more: {why.decode()}" if why else "is not"
        return Found(epoch, schema, sends == b"1", int(window), state == b"finished" and not left), ""

    async def _bind(self, found: Found | None) -> bool:
        """Whether it is bound; if not, something has changed meanwhile."""
        terms = self._terms
        seen, new = self._epoch, b""
        if terms.record is not None:
            new = f"{self._id}.{trio.current_time():.6f}".encode()
        flags = ["p" if terms.produces else "c", int(terms.record is not None), int(terms.settles)]
        reply = await self._engine.call(
            "register",
            self._keys,
            lambda _: [seen, new, self._id, *flags, *self._lease, *(terms.record or ())],
        )
        if reply[0] != b"ok":
            return False
        self._epoch, self._dropped = reply[1], int(reply[3])
        return True

    async def withdraw(self) -> None:
        """Undoes a binding of which nobody has heard."""
        await self._leave("withdrawn" if self._terms.produces else "left")

    async def _leave(self, how: str) -> None:
        try:
            if how == "hung_up":
                await self.hang_up()
            else:
                await self._call("leave", lambda _: [self._engine.lease, how])
        finally:
            self._leaves()

    async def hang_up(self) -> None:
        """Takes the name away, for all; it need not be bound any more."""
        reply = await self._engine.call("hang_up", self._keys, lambda _: [self._epoch])
        if reply[0] == b"ok":
            self._engine.dropped += int(reply[1])

    def _leaves(self) -> None:
        self._engine.forget_member(self._id)
        self.done.set()

    # Waiting for others

    async def wait_acknowledged(self, number: int) -> int:
        """Waits until all values of the channel up to this number are acknowledged, or the channel is over.

        How many values of the channel the engine has dropped since it was asked last.
        """
        wakened = trio.Event()
        watcher = self._engine.new_member(lambda: wakened.set())
        try:
            while True:
                wakened = trio.Event()
                state, dropped = await self._engine.call("watch", self._keys, lambda _: [self._epoch, watcher, number])
                if state == b"lost":
                    raise self._forgotten()
                if state != b"wait":
                    before, self._dropped = self._dropped, max(self._dropped, int(dropped))
                    return self._dropped - before
                with trio.move_on_after(self._renew_after):
                    await wakened.wait()
        finally:
            self._engine.forget_member(watcher)

    def _forgotten(self) -> ConnectionLostError:
        name = self._keys.name
        expected = "expected the engine to keep the channel"
        return ConnectionLostError(f"{name}: {expected}, got one that knows nothing of it any more", channel=name)
