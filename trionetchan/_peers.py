"""Who comes and goes: an exporter's peers, by number, and the events that `Exporter.peers()` gives.

Nothing here waits for who reads: each reader has a queue of its own, in which the oldest events give way.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping

import attrs
import trio

from ._network.links import ReceiveLink, SendLink
from ._network.peer import Peer

__all__ = [
    "PeerConnected",
    "PeerEvent",
    "PeerEvents",
    "PeerEventsLost",
    "PeerGone",
    "PeerResumed",
    "PeerSuspended",
    "Peers",
]


@attrs.frozen(kw_only=True)
class PeerConnected:
    """An importer has said hello, or was there already when `peers` was called."""

    peer: int
    """A number that no other peer of this exporter has or will have."""
    address: str
    """As its socket says it, for people."""
    principal: str | None = None
    """Who it is, where the exporter authenticates importers."""


@attrs.frozen(kw_only=True)
class PeerSuspended:
    """The connection of an importer broke, and its session waits for another one."""

    peer: int
    address: str
    reason: str
    unacknowledged: Mapping[str, int]
    """Values that it was sent and has not acknowledged, by channel; channels without any are left out."""


@attrs.frozen(kw_only=True)
class PeerResumed:
    """An importer goes on over another connection: nothing was lost."""

    peer: int
    address: str
    """Of the new connection."""


@attrs.frozen(kw_only=True)
class PeerGone:
    """The session of an importer has ended."""

    peer: int
    address: str
    reason: str | None
    """Why it was lost; None: one side left in an orderly way."""
    unacknowledged: Mapping[str, int]
    """Values that it had been sent and had not acknowledged, by channel: they go to others. Channels without any are
    left out; so are those that the importer had closed itself before it left."""
    undelivered: Mapping[str, int]
    """Values that had arrived from it and were not delivered here yet, by channel, in the same way."""


@attrs.frozen(kw_only=True)
class PeerEventsLost:
    """Stands in the place of so many events that were not read in time."""

    count: int


PeerEvent = PeerConnected | PeerSuspended | PeerResumed | PeerGone | PeerEventsLost


class PeerEvents:
    """Events of peers, for one reader: `async for event in exporter.peers()`. It ends when the block is left.

    At most `max_events` wait to be read. When there is one more, the oldest gives way, and the reader is told first how
    many did so, by a `PeerEventsLost`. Cancelling the wait for an event loses none.
    """

    def __init__(self, max_events: int) -> None:
        self._waiting: deque[PeerEvent] = deque(maxlen=max_events)
        self._lost = 0
        self._ended = False
        self._changed = trio.lowlevel.ParkingLot()

    def add(self, event: PeerEvent) -> None:
        """One more event."""
        if len(self._waiting) == self._waiting.maxlen:
            self._lost += 1
        self._waiting.append(event)
        self._changed.unpark_all()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._changed.unpark_all()

    def __aiter__(self) -> PeerEvents:
        return self

    async def __anext__(self) -> PeerEvent:
        await trio.lowlevel.checkpoint()
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                return PeerEventsLost(count=lost)
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                raise StopAsyncIteration
            await self._changed.park()


@attrs.define
class _Present:
    """A peer that is there, or suspended."""

    number: int
    address: str
    suspended: bool = False


class Peers:
    """The peers of an exporter, from their hello until their session has ended."""

    def __init__(self) -> None:
        self._present: dict[Peer, _Present] = {}
        self._met = 0
        self._readers: weakref.WeakSet[PeerEvents] = weakref.WeakSet()
        self._ended = False

    def subscribe(self, max_events: int) -> PeerEvents:
        """A reader, which is told first of the peers that are there."""
        events = PeerEvents(max_events)
        for peer, present in self._present.items():
            events.add(_connected(peer, present))
            if present.suspended:
                events.add(self._suspension(peer, present))
        if self._ended:
            events.end()
        else:
            self._readers.add(events)
        return events

    def present(self) -> list[tuple[int, str, Peer]]:
        """The number and the address of each."""
        return [(present.number, present.address, peer) for peer, present in self._present.items()]

    def changed(self, peer: Peer, address: str | None = None) -> None:
        """A peer stands in another way. `address`: it has said hello, or goes on with its session, from there."""
        present = self._present.get(peer)
        if address is not None and not peer.lost:
            if present is None:
                self._met += 1
                present = self._present[peer] = _Present(self._met, address)
                self._tell(_connected(peer, present))
            else:
                present.address, present.suspended = address, False
                self._tell(PeerResumed(peer=present.number, address=address))
        elif present is not None and peer.lost:
            del self._present[peer]
            self._tell(self._departure(peer, present))
        elif present is not None and peer.suspended and not present.suspended:
            present.suspended = True
            self._tell(self._suspension(peer, present))

    def end(self) -> None:
        """The block is left."""
        self._ended = True
        for events in list(self._readers):
            events.end()

    def _tell(self, event: PeerEvent) -> None:
        for events in list(self._readers):
            events.add(event)

    def _suspension(self, peer: Peer, present: _Present) -> PeerSuspended:
        return PeerSuspended(
            peer=present.number,
            address=present.address,
            reason=str(peer.failure),
            unacknowledged=_unacknowledged(peer),
        )

    def _departure(self, peer: Peer, present: _Present) -> PeerGone:
        undelivered: dict[str, int] = {}
        for link in peer.links:
            if isinstance(link, ReceiveLink) and link.undelivered:
                undelivered[link.name] = undelivered.get(link.name, 0) + link.undelivered
        return PeerGone(
            peer=present.number,
            address=present.address,
            reason=None if peer.failure is None else str(peer.failure),
            unacknowledged=_unacknowledged(peer),
            undelivered=undelivered,
        )


def _connected(peer: Peer, present: _Present) -> PeerConnected:
    return PeerConnected(peer=present.number, address=present.address, principal=peer.identity.principal)


def _unacknowledged(peer: Peer) -> dict[str, int]:
    found: dict[str, int] = {}
    for link in peer.links:
        if isinstance(link, SendLink) and link.unacknowledged:
            found[link.name] = found.get(link.name, 0) + link.unacknowledged
    return found
