"""Values that the program acknowledges by itself, one by one: what it gets of an import with `acknowledge="manual"`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs
import trio

from .._ports import ReceivingLink

__all__ = ["Delivery", "Hand"]

T_co = TypeVar("T_co", covariant=True)


@attrs.define(eq=False)
class Delivery(Generic[T_co]):
    """A value that is this program's to `ack` or `reject`, once. Until then the exporter keeps it.

    A delivery that is never settled takes a place in the import's window, and goes back to the exporter with the
    import: when that is hung up, its receive end is closed, its block is left, its connection is lost for good.
    """

    value: T_co = attrs.field(on_setattr=attrs.setters.frozen)
    redelivered: bool = attrs.field(on_setattr=attrs.setters.frozen)
    """Whether some importer was handed this value before. What it did with it, nobody knows."""
    _number: int = attrs.field(repr=False)
    _hand: Hand = attrs.field(repr=False)
    _settled: bool = attrs.field(init=False, default=False, repr=False)

    async def ack(self) -> None:
        """The value is dealt with: the exporter forgets it.

        It does not wait for the exporter. A checkpoint comes first: a call that is cancelled has settled nothing, and
        one that returns has. (That the exporter hears of it is sure only as long as the connection lasts: else the
        value is redelivered.)

        `RuntimeError` if it is settled already; `BrokenResourceError` if the import is gone, so that the value went
        back to the exporter; `ClosedResourceError` if this program has hung it up, closed it, or left its block.
        """
        await trio.lowlevel.checkpoint()
        self._settle(accepted=True)

    async def reject(self) -> None:
        """The value goes back to the exporter, which deals it again: to any importer, this one too.

        One that came back more than `max_redeliveries` times goes to the dead letters of the export, or is dropped.
        Cancellation and errors as in `ack`.
        """
        await trio.lowlevel.checkpoint()
        self._settle(accepted=False)

    def _settle(self, *, accepted: bool) -> None:
        if self._settled:
            raise RuntimeError(f"{self._hand.name}: expected a delivery to be settled once, got a second ack or reject")
        self._hand.check()
        self._settled = True
        self._hand.settle(self._number, accepted=accepted)


class Hand:
    """What the program holds of the values of one peer. `settled` is told whether that was the last of a count."""

    def __init__(self, name: str, link: ReceivingLink, settled: Callable[[bool], None]) -> None:
        self.name = name
        self._link = link
        self._settled = settled
        self._next = 0  # the number of the next value
        self._gone: Exception | None = None

    def wrap(self, values: Sequence[Any], *, redelivered: bool) -> list[Delivery[Any]]:
        """The next values that came, as deliveries."""
        first, self._next = self._next, self._next + len(values)
        return [Delivery(value, redelivered, number, self) for number, value in enumerate(values, first)]

    def check(self) -> None:
        """Raises if nothing can be settled any more."""
        if self._gone is not None:
            raise self._gone.with_traceback(None)

    def settle(self, number: int, *, accepted: bool) -> None:
        """The program has settled this value."""
        self._settled(self._link.settle(number, accepted=accepted))

    def lose(self, why: str) -> None:
        """The import is gone, and not by this program's doing."""
        self._end(trio.BrokenResourceError, why)

    def close(self, why: str) -> None:
        """This program has ended the import."""
        self._end(trio.ClosedResourceError, why)

    def _end(self, kind: type[Exception], why: str) -> None:
        self._gone = kind(f"{self.name}: expected a delivery in hand, got one that went back: {why}")
