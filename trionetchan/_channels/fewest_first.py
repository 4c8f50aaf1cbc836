"""Which peer of an outgoing channel gets the next values: of those with credit, the one with the fewest unacknowledged.

With one peer there is nothing to choose. With a thousand, looking at all of them for each run of values would cost more
than sending, so they stand in a heap by that count; of equal counts, the one that has stood there longest is first.

A peer has at most one entry that counts. Sending to a peer makes its entry too low, which is put right when it comes to
the top; an acknowledgement makes it too high, so the peer gets a new entry and the old one is emptied. Emptied entries
are thrown away when they come to the top, and all at once when there are more of them than peers: so there are never
more than twice as many entries as peers, and nothing of a peer that is gone is held.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from .._ports import SendingLink

__all__ = ["FewestFirst"]

# The count of unacknowledged values, the entry's own number, and the peer; None where the entry is emptied.
_Entry = list[Any]


class FewestFirst:
    """The peers of one channel, and their order."""

    def __init__(self) -> None:
        self._entries: dict[SendingLink, _Entry | None] = {}
        self._heap: list[_Entry] = []
        self._made = 0  # entries, ever
        self._only: SendingLink | None = None  # while there is one peer, the heap is not used

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[SendingLink]:
        return iter(self._entries)

    def __contains__(self, link: object) -> bool:
        return link in self._entries

    def add(self, link: SendingLink) -> None:
        """One more peer."""
        self._entries[link] = None
        if len(self._entries) == 1:
            self._only = link
            return
        new = [link] if self._only is None else list(self._entries)
        self._only = None
        for each in new:
            if each.credit > 0:
                self._push(each)

    def remove(self, link: SendingLink) -> None:
        """A peer is gone."""
        self._empty(self._entries.pop(link))
        if len(self._entries) < 2:
            self._entries = dict.fromkeys(self._entries)
            self._heap.clear()
            self._only = next(iter(self._entries), None)
        else:
            self._tidy()

    def changed(self, link: SendingLink) -> None:
        """Call it when the peer has acknowledged values, or been given credit; sending needs no call."""
        if self._only is None and link.credit > 0:
            entry = self._entries[link]
            if entry is None or entry[0] != link.unacknowledged:
                self._empty(entry)
                self._push(link)
                self._tidy()

    def next(self) -> SendingLink | None:
        """The peer that gets the next values, if one has credit."""
        if self._only is not None:
            return self._only if self._only.credit > 0 else None
        heap = self._heap
        while heap:
            count: int = heap[0][0]
            link: SendingLink | None = heap[0][2]
            if link is None:
                heapq.heappop(heap)
            elif link.credit <= 0:
                heapq.heappop(heap)
                self._entries[link] = None
            elif link.unacknowledged == count:
                return link
            else:
                self._entries[link] = entry = self._entry(link)
                heapq.heapreplace(heap, entry)
        return None

    def next_for(self, size: int) -> SendingLink | None:
        """The peer that gets the next value, of that many bytes: for a large one, one with room for it."""
        link = self.next()
        if link is None or link.fits(size, 1):
            return link
        fitting = (link for link in self._entries if link.credit > 0 and link.fits(size, 1))
        return min(fitting, key=lambda link: link.unacknowledged, default=None)

    def _entry(self, link: SendingLink) -> _Entry:
        self._made += 1
        return [link.unacknowledged, self._made, link]

    def _push(self, link: SendingLink) -> None:
        self._entries[link] = entry = self._entry(link)
        heapq.heappush(self._heap, entry)

    @staticmethod
    def _empty(entry: _Entry | None) -> None:
        if entry is not None:
            entry[2] = None

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._entries):
            self._heap = [entry for entry in self._heap if entry[2] is not None]
            heapq.heapify(self._heap)
