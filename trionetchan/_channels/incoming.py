"""A channel whose values arrive in this process: the peers they come from, and the deliverer that puts them in.

What arrives is delivered at once, by the connection's reader, as long as the local end takes it without waiting; from
there on the deliverer, one task for each channel, waits for the user's program. Delivering and counting are one step,
without a checkpoint between; an acknowledgement tells what was delivered, and nothing else.

Each bound importer of a receiving export holds a share. Finishing or hanging up releases it; a crash leaves it behind
as an orphan, which the next import adopts, so that a stream that lost a sender does not look complete. The channel
ends when as many shares as expected have been handed out, and none is left. On an importer the same rule stands with
one share, that of its exporter.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs
import trio

from .._cbor import array_of, split_batch
from .._codec.codec import Codec
from .._errors import Code, ProtocolError, UnfitValue
from .._network.connection import Connection
from .._statistics import ChannelStatistics, Direction

__all__ = ["Incoming", "ReceiveLink"]

T = TypeVar("T")

NAP = 0.001  # seconds

logger = logging.getLogger("trionetchan")


class ReceiveLink:
    """One peer that sends into an incoming channel."""

    def __init__(self, incoming: Incoming[Any], connection: Connection, channel_id: int) -> None:
        self.connection = connection
        self.id = channel_id
        self.window = connection.session.receiver(channel_id)
        self.adopted = False
        self.orphaned = False
        self.left: Code | None = None  # how its sender closed
        self.lost = False
        self.refusal = ""  # why a value of it does not fit
        self.closed = False  # nothing of it is delivered any more
        self._incoming = incoming
        connection.bindings[channel_id] = self

    @property
    def undelivered(self) -> int:
        return self.window.received - self.window.delivered

    @property
    def ending(self) -> bool:
        """Whether something is to be done when its values are delivered."""
        return self.left is not None or self.lost or bool(self.refusal)

    def close(self, code: Code, message: str = "") -> None:
        """The last word, with the final count of delivered values."""
        self.closed = True
        self.connection.bindings.pop(self.id, None)
        if not self.connection.lost:
            self.connection.session.close(self.id, code, message)
            self.connection.flush()

    def on_values(self, payload: bytes, count: int) -> None:
        self._incoming.arrived(self, payload, count)

    def on_acknowledged(self, count: int) -> None:
        raise AssertionError("a receiver gets no acknowledgements")

    def on_closed(self, code: Code, message: str, count: int) -> None:
        self.left = code
        self._incoming.sender_left(self, code, message)

    def on_lost(self) -> None:
        self.lost = True
        self._incoming.sender_left(self, None, "the connection was lost")


@attrs.define(eq=False)
class _Arrived:
    """A batch that waits to be delivered."""

    link: ReceiveLink
    payload: bytes


class Incoming(Generic[T]):
    """One incoming channel. `on_left` is told of every peer that is done, once what it sent is delivered or dropped."""

    def __init__(
        self,
        name: str,
        end: trio.abc.SendChannel[T],
        codec: Codec[T],
        *,
        window: int,
        importers: int | None,
        on_failure: Callable[[BaseException], None],
        on_left: Callable[[Incoming[T], Code | None, str], None],
        on_ended: Callable[[Incoming[T], Code], None],
    ) -> None:
        self.name = name
        self.codec = codec
        self.window = window
        self.links: list[ReceiveLink] = []
        self.ended = False
        self.closed = trio.Event()  # the deliverer has ended, peers are told, and the local end is closed
        self._code = Code.FINISHED  # what peers are told at the end
        self._keep_end = False
        self._concluded = False
        self._end = end
        self._memory = end if isinstance(end, trio.MemorySendChannel) else None
        self._naps = self._memory is not None and self._memory.statistics().max_buffer_size >= 512
        self._expected = math.inf if importers is None else importers
        self._bound = 0  # shares handed out
        self._shares = 0  # of them, not released; orphans included
        self._orphans = 0
        self._on_failure = on_failure
        self._on_left = on_left
        self._on_ended = on_ended
        self._attention = trio.CancelScope()
        self._work = trio.lowlevel.ParkingLot()
        # Where a value can be, from a peer to the local end
        self._arrived: list[_Arrived] = []
        self._link: ReceiveLink | None = None  # whose values are being delivered
        self._values: list[T] = []  # decoded, the next one last
        self._sending = False  # the deliverer holds the first of them in its `send`
        # Counts
        self._received = 0
        self.dropped = 0
        self._bytes_received = 0
        self.undelivered = 0  # what had arrived and was not delivered when the channel ended

    def __repr__(self) -> str:
        return f"incoming {self.name!r}: {self.codec.schema}"

    # Peers

    def attach(self, link: ReceiveLink) -> None:
        """One more peer: it adopts a share that a crash has left, or gets a new one."""
        self.links.append(link)
        if self._orphans:
            self._orphans -= 1
            link.adopted = True
        else:
            self._bound += 1
            self._shares += 1
        if link.window.exhausted:  # a counted import of no values
            self._release(link, Code.COUNT_REACHED)

    def arrived(self, link: ReceiveLink, payload: bytes, count: int) -> None:
        self._bytes_received += len(payload)
        if self.ended or link.closed or link.refusal:
            return
        self._arrived.append(_Arrived(link, payload))
        if not self._sending:
            self._deliver()

    def sender_left(self, link: ReceiveLink, code: Code | None, message: str) -> None:
        """The peer sends no more. What has arrived is still delivered, unless it hung up."""
        if code in (Code.HUNG_UP, Code.WITHDRAWN):
            link.closed = True
            self._discard(link)
        if link.left is None:
            link.orphaned = True  # at once, so that the next import adopts it while its values are still delivered
            self._orphans += 1
        self._settle(link, message)

    def _discard(self, link: ReceiveLink) -> None:
        """Delivers nothing more of this peer; but what is inside `send` just now counts, if it gets through."""
        self._arrived = [batch for batch in self._arrived if batch.link is not link]
        if self._link is link and self._sending:
            del self._values[:-1]
            self._attention.cancel()
        elif self._link is link:
            self._values.clear()

    def _settle(self, link: ReceiveLink, message: str = "") -> None:
        """Lets a peer go that sends no more, once nothing of it is being delivered any more."""
        busy = self._link is link and self._sending
        if link in self.links and not busy and (link.closed or not link.undelivered):
            if link.undelivered:
                self._drop(link.undelivered, f"their sender hung up: {message}" if message else "their sender hung up")
            self._release(link, link.left, message)

    def _release(self, link: ReceiveLink, code: Code | None, message: str = "") -> None:
        """The last word to a peer, and what becomes of its share. `code`: how it ended, None for a crash."""
        self.links.remove(link)
        by_receiver = code in (Code.COUNT_REACHED, Code.VALUE_REFUSED)
        link.close(code if by_receiver and code else Code.FINISHED, message if by_receiver else "")
        if link.orphaned:
            pass
        elif code in (Code.FINISHED, Code.COUNT_REACHED, Code.HUNG_UP):
            self._shares -= 1
        elif code is Code.WITHDRAWN and not link.adopted:
            self._shares -= 1
            self._bound -= 1
        else:
            self._orphans += 1
        self._on_left(self, code, message)
        if self._bound >= self._expected and not self._shares and not self.links:
            self.finish(Code.FINISHED)

    def finish(self, code: Code, *, keep_end: bool = False) -> None:
        """Ends the channel: the deliverer stops, tells the peers that are left, and closes the local end.

        `keep_end` leaves the local end open, for a stream that is not complete.
        """
        if not self.ended:
            self.ended = True
            self._code = code
            self._keep_end = keep_end
            if not self._sending:
                self._conclude()
            self._attention.cancel()
            self._on_ended(self, code)

    def look_around(self) -> None:
        """trio tells a sender only at its next `send` that all receivers are gone; this notices it in between."""
        if self._memory is not None and not self.ended and not self._memory.statistics().open_receive_channels:
            self.finish(Code.RECEIVER_GONE)

    # The deliverer

    async def run(self) -> None:
        """Delivers what the local end does not take at once, until the channel has ended; then closes it."""
        try:
            while not self.ended:
                with self._attention:
                    await self._serve()
                self._attention = trio.CancelScope()
                self._after_interruption()
        finally:
            self._conclude()
            if self._memory is None and not self._keep_end:
                await self._end.aclose()
            self.closed.set()

    async def _serve(self) -> None:
        while not self.ended:
            if not self._values and not self._next_batch():
                await self._work.park()
                continue
            self._sending = True
            try:
                await self._end.send(self._values[-1])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._sending = False
                self.finish(Code.RECEIVER_GONE)
                return
            except Exception as error:
                self._sending = False
                self._on_failure(error)
                self.finish(Code.RECEIVER_GONE, keep_end=True)
                return
            self._sending = False
            self._values.pop()
            self._count(1)
            if self._naps:
                await trio.sleep(NAP)
                self._deliver()

    def _after_interruption(self) -> None:
        """A `send` was cancelled, by a peer that hung up or by the end of the channel: the value was not delivered."""
        self._sending = False
        link = self._link
        if link is not None and link.closed:
            self._values.clear()
            self._settle(link)
        if not self.ended:
            self._deliver()

    def _deliver(self) -> None:
        """Puts in what the local end takes at once; the deliverer has to wait for the rest."""
        while not self.ended and (self._values or self._next_batch()):
            if self._memory is None:
                break
            send, values = self._memory.send_nowait, self._values
            delivered = 0
            full = gone = False
            try:
                for value in reversed(values):
                    send(value)
                    delivered += 1
            except trio.WouldBlock:
                full = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                gone = True
            del values[len(values) - delivered :]
            if delivered:
                self._count(delivered)
            if gone:
                self.finish(Code.RECEIVER_GONE)
            if full or gone:
                break
        if self._values:
            self._work.unpark_all()

    def _count(self, delivered: int) -> None:
        """So many values of the current peer are delivered. Without a checkpoint since they were."""
        link = self._link
        assert link is not None
        self._received += delivered
        window = link.window
        first = window.delivered == window.announced
        window.deliver(delivered)
        if not link.ending and not window.exhausted:
            now, last = window.ack_due, not self._values and not self._arrived
            if now or first or last:  # not for each of those between
                link.connection.acknowledge(link.id, now=now, last=last)
        elif link.refusal and not self._values:
            self._release(link, Code.VALUE_REFUSED, link.refusal)
        elif window.exhausted:
            self._release(link, Code.COUNT_REACHED)
        elif link.left is not None or link.lost:
            self._settle(link)

    def _next_batch(self) -> bool:
        """Decodes the next batch. Whether there was one."""
        while self._arrived and not self._values:
            batch = self._arrived.pop(0)
            self._link = batch.link
            try:
                self._values = self.codec.decode(batch.payload)
            except UnfitValue:
                self._decode_one_by_one(batch)
            self._values.reverse()
        return bool(self._values)

    def _decode_one_by_one(self, batch: _Arrived) -> None:
        """A value does not fit: those before it are delivered, then its sender is unbound."""
        link = batch.link
        try:
            for item in split_batch(batch.payload):
                self._values.extend(self.codec.decode(array_of([item])))
        except (UnfitValue, ProtocolError) as error:
            link.refusal = f"{self.name}: {error}"
        self._arrived = [other for other in self._arrived if other.link is not link]
        if not self._values:
            self._release(link, Code.VALUE_REFUSED, link.refusal)

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        logger.warning("channel %r: %d values dropped: %s", self.name, count, reason)

    def _conclude(self) -> None:
        """The last word to every peer, and the end of the local end, as soon as no delivery is under way."""
        if self._concluded:
            return
        self._concluded = True
        self.undelivered = sum(link.undelivered for link in self.links)
        for link in self.links:
            link.close(self._code, f"{self.name}: {_WORDS.get(self._code, '')}")
        self.links.clear()
        # An end that nobody can read from any more can't be taken for a complete stream.
        if self._memory is not None and not (self._keep_end and self._memory.statistics().open_receive_channels):
            self._memory.close()

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            direction=Direction.RECEIVE,
            value_type=str(self.codec.schema),
            peers=sum(not link.lost for link in self.links),
            received=self._received,
            dropped=self.dropped,
            bytes_received=self._bytes_received,
        )


_WORDS = {
    Code.HUNG_UP: "the receiver hung up",
    Code.RECEIVER_GONE: "the receiver is gone",
    Code.FINISHED: "the receiver has left",
}
