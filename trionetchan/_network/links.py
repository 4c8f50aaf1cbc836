"""The peers of one outgoing channel, and which of them gets the next values.

The rule is: of the peers with credit, the one with the fewest unacknowledged values. With one peer there is nothing to
choose. With a thousand, looking at all of them for each run of values would cost more than sending, so they stand in a
heap by that count. An entry is valid while its peer's count is still the same; every change pushes a new one, and what
has become invalid is thrown away when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Protocol

from .._errors import Code
from .._protocol.window import Batch
from .connection import Connection

__all__ = ["SendLink", "SendLinks"]


class Sender(Protocol):
    """What a peer's link tells its channel."""

    def acknowledged_by(self, link: SendLink, count: int) -> None: ...
    def detach(self, link: SendLink, code: Code | None, message: str) -> None: ...


class SendLink:
    """One peer that is bound to an outgoing channel."""

    def __init__(self, outgoing: Sender, connection: Connection, channel_id: int) -> None:
        self.connection = connection
        self.id = channel_id
        self.window = connection.session.sender(channel_id)
        self.closing = False
        self._refusal: tuple[Code, str] | None = None
        self._outgoing = outgoing
        connection.bindings[channel_id] = self

    @property
    def ready(self) -> bool:
        """Whether it may get values now."""
        return not self.closing and self.window.credit > 0

    def send(self, batch: Batch) -> None:
        self.connection.send(self.id, batch)

    def close(self, code: Code, message: str = "") -> None:
        """Nothing more will come. The peer has the last word."""
        if not self.closing:
            self.closing = True
            if code is Code.LIMIT:
                self._refusal = code, message
            if not self.connection.lost:
                self.connection.session.close(self.id, code, message)
                self.connection.flush()

    def on_values(self, payload: bytes, count: int) -> None:
        raise AssertionError("a sender receives no values")

    def on_acknowledged(self, count: int) -> None:
        self._outgoing.acknowledged_by(self, count)

    def on_closed(self, code: Code, message: str, count: int) -> None:
        self.closing = True
        self.connection.bindings.pop(self.id, None)
        self._outgoing.acknowledged_by(self, count)
        self._outgoing.detach(self, *(self._refusal or (code, message)))

    def on_lost(self) -> None:
        self.closing = True
        self._outgoing.detach(self, None, "the connection was lost")


class SendLinks:
    """All peers of a channel."""

    def __init__(self) -> None:
        self._links: dict[SendLink, int | None] = {}  # with the count of its valid entry in the heap, if it has one
        self._heap: list[tuple[int, int, SendLink]] = []
        self._entries = 0  # ever made: of equal counts, the one that has waited longest is first

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[SendLink]:
        return iter(self._links)

    def add(self, link: SendLink) -> None:
        self._links[link] = None
        self.changed(link)

    def remove(self, link: SendLink) -> None:
        del self._links[link]

    def changed(self, link: SendLink) -> None:
        """Its credit or its count of unacknowledged values is another."""
        count = link.window.unacknowledged
        if link.ready and self._links.get(link) != count:
            self._links[link] = count
            self._entries += 1
            heapq.heappush(self._heap, (count, self._entries, link))

    def next(self) -> SendLink | None:
        """The peer that gets the next values, if one has credit."""
        while self._heap:
            count, _, link = self._heap[0]
            if self._links.get(link) == count:
                if link.ready and link.window.unacknowledged == count:
                    return link
                self._links[link] = None
            heapq.heappop(self._heap)
        return None

    def next_for(self, size: int) -> SendLink | None:
        """The peer that gets the next value, of that many bytes: for a large one, one with room for it."""
        link = self.next()
        if link is None or link.window.fits(size, 1):
            return link
        fitting = (link for link in self._links if link.ready and link.window.fits(size, 1))
        return min(fitting, key=lambda link: link.window.unacknowledged, default=None)
