"""A link that receives from the engine: what it holds is leased to it, until it is acknowledged.

It asks for values when half of its window is free or the program has all that it holds, and waits to be woken when
there are none. What is delivered is acknowledged with the next request, which is made at once when there is nothing
more to deliver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import trio

from .._cbor import ARRAY, head
from .._errors import Code
from .._lease import Instant, Lease, now
from .._ports import ReceivingChannel
from .engine import Argument, Engine
from .member import Member, Terms
from .names import Keys

__all__ = ["ReceiveLink"]

DELAY = 0.002  # seconds for which acknowledgements are gathered while more is being delivered
TURNS_TO_CONFIRM = 2  # a value is handed to a task in one turn of the scheduler, and the task runs in the next


@attrs.define
class _Range:
    """Consecutive values of the channel that came together."""

    first: int
    count: int
    size: float
    """Bytes of one, on average."""


class ReceiveLink(Member):
    """One consumer. A `ReceivingLink` to its channel. Of attributes it has many because it counts what it holds."""

    def __init__(
        self, engine: Engine, keys: Keys, terms: Terms, *, window: int, count: int | None, max_bytes: int
    ) -> None:
        super().__init__(engine, keys, terms)
        self.settles = terms.settles
        self.window = window
        self.received = 0
        self.expired = False
        """Its lease is over: what it held went to others."""
        self._left = count  # values that may still be received
        self._to_deliver = count
        self._free_bytes: float = max_bytes
        self._lease_of_values = Lease(engine.settings.lease)
        self._undelivered: deque[_Range] = deque()
        self._unsettled: dict[int, _Range] = {}  # by their numbers on the link
        self._in_hand = 0  # values that are not acknowledged, or not settled
        self._acknowledged: deque[_Range] = deque()  # and not told
        self._rejected: list[_Range] = []
        self._told = False  # something is acknowledged since the last exchange
        self._ready = False  # what is delivered should be told at once
        self._hungry = False  # the engine will say when there is more, or has more than there is room for
        self._called = False  # there is more, and nobody else may have been told
        self._ended = False
        self._how = ""  # it leaves
        self._refused = False
        self._unbuffered = False
        self._channel: ReceivingChannel | None = None

    def attach(self, channel: ReceivingChannel, *, unbuffered: bool) -> None:
        """Tells this channel what comes. `unbuffered`: a value is delivered when a task has it."""
        self._channel = channel
        self._unbuffered = unbuffered and not self.settles
        self._notify()

    @property
    def to_deliver(self) -> int | None:
        """How many values it is still to deliver, of a count."""
        return self._to_deliver

    # As the port `ReceivingLink` says

    @property
    def undelivered(self) -> int:
        return 0 if self.expired else sum(each.count for each in self._undelivered)

    @property
    def unsettled(self) -> int:
        return 0 if self.expired else len(self._unsettled) if self.settles else self.undelivered

    @property
    def exhausted(self) -> bool:
        return self._to_deliver is not None and self._to_deliver <= 0

    @property
    def leased(self) -> bool:
        return self._lease_of_values.valid

    @property
    def lease_deadline(self) -> float:
        return self._lease_of_values.deadline

    def delivered(self, count: int, *, last: bool, waited: bool) -> bool:
        while count:
            first = self._undelivered[0]
            taken = min(count, first.count)
            if not self.settles:
                self._tell(_Range(first.first, taken, first.size))
            first.first += taken
            first.count -= taken
            count -= taken
            if not first.count:
                self._undelivered.popleft()
        if not self.settles:
            is_first, self._told = not self._told, True
            self._ready = self._ready or last or self._in_hand <= self.window // 2
            if is_first or self._ready:
                self._notify()
        return self.exhausted and not self.settles

    def settle(self, number: int, *, accepted: bool) -> bool:
        value = self._unsettled.pop(number)
        if accepted:
            self._tell(value)
        else:
            self._in_hand -= 1
            self._free_bytes += value.size
            self._rejected.append(value)
            if self._to_deliver is not None:
                self._to_deliver -= 1
        self._ready = True
        self._notify()
        return self.exhausted

    def _tell(self, values: _Range) -> None:
        """These are acknowledged with the next exchange."""
        self._acknowledged.append(values)
        self._in_hand -= values.count
        self._free_bytes += values.count * values.size
        if self._to_deliver is not None:
            self._to_deliver -= values.count

    def close(self, code: Code, message: str = "") -> None:
        if not self.closing:
            self.closing = True
            exports = self._terms.record is not None
            self._how = {Code.HUNG_UP: "hung_up", Code.RECEIVER_GONE: "gone"}.get(code, "left") if exports else "left"
            self._refused = code is Code.VALUE_REFUSED
            self._notify()

    # Its task

    async def run(self) -> None:
        """Exchanges acknowledgements for values until the link is closed and has left."""
        try:
            while not (self.closing or self.expired):
                if self._has_cause:
                    await self._exchange()
                    continue
                work = self._work
                gathers = bool(self._acknowledged) and not self._ended
                await self._wait(DELAY if gathers else self._renew_after)
                if not work.is_set() and not self._ended:
                    await self._exchange()
            if not self.expired:
                await self._say_last_word()
        finally:
            self._leaves()

    def _woken(self) -> None:
        self._hungry = False
        self._called = True
        super()._woken()

    @property
    def _has_cause(self) -> bool:
        if self._ended or self._channel is None:
            return False
        if self._rejected or self._ready:
            return True
        # A request is worth it when the program waits, or will soon.
        worth = self._called or self._in_hand <= self.window // 2 or not self._undelivered
        return worth and not self._hungry and self._wanted > 0

    @property
    def _wanted(self) -> int:
        wanted = 0 if self.closing else self.window - self._in_hand
        return wanted if self._left is None else min(wanted, self._left)

    async def _exchange(self) -> None:
        acknowledged = len(self._acknowledged)
        if self._unbuffered and acknowledged:
            for _ in range(TURNS_TO_CONFIRM):
                await trio.lowlevel.cancel_shielded_checkpoint()
        self._told = self._ready = len(self._acknowledged) > acknowledged
        if self._rejected:
            await self._give_back()
        told = [self._acknowledged.popleft() for _ in range(acknowledged)]
        pairs = _pairs(told)
        self._called = False
        wakened, since = self._wakened, now()

        def arguments(again: bool) -> Sequence[Argument]:
            nonlocal since
            since = now()
            numbers = [self._wanted, max(0, int(self._free_bytes)), int(again), len(pairs) // 2]
            return [*self._lease, *numbers, *pairs, *(self._held if again else ())]

        reply = await self._call("exchange", arguments)
        self._answered(reply, since)
        if reply[0] == b"ok":
            self._hungry = bool(reply[7]) and self._wakened is wakened

    @property
    def _held(self) -> list[int]:
        """What the engine counts as this consumer's, and this consumer knows of."""
        held = [*self._acknowledged, *self._rejected, *self._undelivered, *self._unsettled.values()]
        return _pairs(sorted(held, key=lambda each: each.first))

    def _answered(self, reply: Sequence[Any], since: Instant) -> None:
        assert self._channel is not None
        match reply[0]:
            case b"ok":
                self._lease_of_values.renew(since)
                self._arrived(*reply[1:4], redelivered=True)
                self._arrived(*reply[4:7], redelivered=False)
                self._channel.lease_renewed(self)
            case b"end":
                self._ended = True
                self._channel.sender_left(self, Code.FINISHED, "")
            case b"expired":
                self.expired = True
                self._channel.sender_left(self, Code.WITHDRAWN, "its lease is over")
            case b"lost":
                raise self._forgotten()
            case _:
                self._ended = True
                self._channel.sender_left(self, Code.HUNG_UP, reply[2].decode())

    def _arrived(self, pairs: Sequence[int], count: int, values: bytes, *, redelivered: bool) -> None:
        if not count:
            return
        size = len(values) / count
        self._in_hand += count
        self._free_bytes -= len(values)
        if self._left is not None:
            self._left -= count
        for first, length in zip(pairs[::2], pairs[1::2], strict=True):
            self._undelivered.append(_Range(first, length, size))
            if self.settles:
                for number in range(length):
                    self._unsettled[self.received + number] = _Range(first + number, 1, size)
            self.received += length
        assert self._channel is not None
        self._channel.arrived(self, head(ARRAY, count) + values, redelivered=redelivered)

    async def _give_back(self, *, counted: bool = True) -> None:
        rejected, self._rejected = self._rejected, []
        pairs = _pairs(rejected)
        await self._call("give_back", lambda _: [int(counted), *pairs])

    async def _say_last_word(self) -> None:
        """What was delivered is told, the rest goes back."""
        if self._refused and self._undelivered:
            self._rejected.append(_Range(self._undelivered[0].first, 1, 0))
        if self._acknowledged or self._rejected:
            await self._exchange()
        await self._leave(self._how)


def _pairs(ranges: Iterable[_Range]) -> list[int]:
    """First, count, …, for scripts; what is consecutive in one."""
    pairs: list[int] = []
    for each in ranges:
        if pairs and pairs[-2] + pairs[-1] == each.first:
            pairs[-1] += each.count
        elif each.count:
            pairs += (each.first, each.count)
    return pairs
