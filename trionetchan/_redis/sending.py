"""A link that sends into the engine: values wait here until the engine has them, then they are the engine's.

So `acknowledged` means, on this link, that the engine has a value; that an importer has it is what `wait_acknowledged`
waits for.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence

import attrs

from .._batch import Batch
from .._errors import Code, ConnectionLostError
from .._ports import SendingChannel
from .engine import Engine
from .member import Member, Terms
from .names import Keys

__all__ = ["SendLink"]

MAX_VALUES = 512  # that are added in one step; the engine does nothing else meanwhile
MAX_BYTES = 256 * 2**10


@attrs.define
class _Kept:
    """A batch that the engine may not have as a whole."""

    batch: Batch
    end: int


class SendLink(Member):
    """One producer. A `SendingLink` to its channel."""

    settles = False

    def __init__(
        self, engine: Engine, keys: Keys, terms: Terms, *, window: int, max_value_size: int, max_bytes: int
    ) -> None:
        super().__init__(engine, keys, terms)
        self.window = window
        self.max_value_size = max_value_size
        self.sent = 0
        self.acknowledged = 0
        self.written = 0
        self.last = 0
        """The number, in the channel, of the last value of this producer that the engine has."""
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self._values: deque[bytes] = deque()  # not added yet
        self._bytes = 0  # of those
        self._full = False  # the engine has no room
        self._how = ""  # it leaves
        self._code: Code | None = None
        self._channel: SendingChannel | None = None

    def attach(self, channel: SendingChannel) -> None:
        """Tells this channel what comes."""
        self._channel = channel

    # As the port `SendingLink` says

    @property
    def unacknowledged(self) -> int:
        return self.sent - self.acknowledged

    @property
    def credit(self) -> int:
        return 0 if self.closing else self.window - self.unacknowledged

    def fits(self, size: int, count: int) -> bool:
        if self.closing or count > self.credit:
            return False
        return not self._values or self._bytes + size <= self._max_bytes

    def send(self, batch: Batch) -> None:
        batch.first = self.sent
        self.sent += batch.count
        self._kept.append(_Kept(batch, self.sent))
        self._values.extend(batch.values())
        self._bytes += batch.size
        self._notify()

    def unacknowledged_below(self, number: int) -> int:
        return max(0, min(number, self.sent) - self.acknowledged)

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        for kept in self._kept:
            batch = kept.batch
            yield batch, range(max(0, self.acknowledged - batch.first), batch.count)

    def close(self, code: Code, message: str = "") -> None:
        hangs_up = code is Code.HUNG_UP and self._terms.record is not None
        self._close("hung_up" if hangs_up else "orphaned" if code is Code.LIMIT else "released", code)

    def abandon(self) -> None:
        """The block is left, and the channel is not finished: the share waits for another producer."""
        self._close("orphaned", None)

    def _close(self, how: str, code: Code | None) -> None:
        if not self.closing:
            self.closing = True
            self._how, self._code = how, code
            if code is Code.HUNG_UP:
                self._values.clear()
            self._notify()

    # Its task

    async def run(self) -> None:
        """Adds values until the link is closed and has left."""
        try:
            while not self.done.is_set():
                if self._values and not self._full:
                    await self._append()
                elif self.closing and not (self._values and self._how == "released"):
                    await self._leave(self._how)
                    self._end(self._code, "")
                else:
                    work, wakened = self._work, self._wakened
                    await self._wait(self._renew_after)
                    if not work.is_set() or wakened.is_set():
                        await self._append()  # nothing, or what had no room: to hear how things stand
        finally:
            self._leaves()

    def _woken(self) -> None:
        self._full = False
        super()._woken()

    def _next_values(self) -> list[bytes]:
        values: list[bytes] = []
        size = 0
        for value in itertools.islice(self._values, MAX_VALUES):
            size += len(value)
            if values and size > MAX_BYTES:
                break
            values.append(value)
        return values

    async def _append(self) -> None:
        values = self._next_values()
        self.written = self.acknowledged + len(values)
        self._full = False
        wakened = self._wakened
        reply = await self._call("append", lambda _: [*self._lease, self.acknowledged + 1, *values])
        match reply[0]:
            case b"ok":
                added = int(reply[1]) - self.acknowledged
                self._full = added < len(values) and self._wakened is wakened
                self._added(added, int(reply[2]))
            case b"forgotten":
                raise self._has_lost(self.acknowledged - int(reply[1]))
            case b"lost":
                raise self._forgotten()
            case b"closed" if reply[1] == b"gone":
                self._end(Code.RECEIVER_GONE, reply[2].decode())
            case _:
                self._end(Code.HUNG_UP, reply[2].decode() if len(reply) > 2 else "")

    def _added(self, count: int, last: int) -> None:
        if count:
            self.last = last
            self.acknowledged += count
            for _ in range(min(count, len(self._values))):
                self._bytes -= len(self._values.popleft())
            while self._kept and self._kept[0].end <= self.acknowledged:
                self._kept.popleft()
            assert self._channel is not None
            self._channel.acknowledged(self, count)

    def _end(self, code: Code | None, message: str) -> None:
        """The last word."""
        self.closing = True
        self._leaves()
        assert self._channel is not None
        self._channel.link_closed(self, code, message)

    def _has_lost(self, count: int) -> ConnectionLostError:
        """What its settings of durability allow: see docs/redis.md."""
        name = self._keys.name
        message = f"{name}: expected the engine to keep what it has confirmed, got one that has lost {count} values"
        return ConnectionLostError(message, channel=name)
