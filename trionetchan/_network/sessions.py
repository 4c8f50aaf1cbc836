"""The sessions of an exporter that can be resumed, by their ids; and how many may wait for that at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable

import attrs
import trio

from .._errors import LimitReached
from .._identity import Identity
from .._instruments import operation
from .._limits import Limits
from .._log import BoundedLog
from .._protocol.events import ResumeRequested
from .peer import Peer

__all__ = ["Sessions", "Waiting"]


@attrs.define(eq=False)
class Waiting:
    """A session without a connection."""

    peer: Peer
    name: str
    """Of the peer, for a log line."""
    address: str | None
    over: trio.Event
    """It waits no more."""


class Sessions:
    """Who may resume what. `reached` is told the name of a limit that was reached."""

    def __init__(self, limits: Limits, reached: Callable[[str], None], log: BoundedLog) -> None:
        self._limits = limits
        self._reached = reached
        self._log = log
        self._peers: dict[bytes, Peer] = {}
        self._waiting: dict[Waiting, None] = {}  # oldest first
        self._waiting_from = Counter[str]()
        self.resumed = 0
        """How many times sessions were resumed."""

    @property
    def suspended(self) -> int:
        """How many sessions are without a connection now."""
        return sum(peer.suspended for peer in self._peers.values())

    @property
    def suspended_peers(self) -> list[Peer]:
        """Those of them."""
        return [waiting.peer for waiting in self._waiting if waiting.peer.suspended]

    def drop(self, peer: Peer, why: LimitReached) -> None:
        """Ends a suspended session."""
        self._reached(why.limit)
        self._log.warning("a suspended session ended: %s", why)
        self._lose(peer)

    def add(self, peer: Peer) -> bool:
        """A session begins. Whether its id is its own."""
        assert peer.key is not None
        return self._peers.setdefault(peer.key.id, peer) is peer

    def forget(self, peer: Peer) -> None:
        """A session has ended."""
        if peer.key is not None and self._peers.get(peer.key.id) is peer:
            del self._peers[peer.key.id]

    def end_suspended(self) -> None:
        """Those that are without a connection now get no other one."""
        for peer in [peer for peer in self._peers.values() if peer.suspended]:
            self._lose(peer)

    def find(self, request: ResumeRequested, identity: Identity) -> Peer | None:
        """The session that a peer may resume who is this one, if it has proved that it is its own."""
        peer = self._peers.get(request.session)
        if peer is None or peer.lost or peer.key is None or peer.identity != identity:
            return None
        if not peer.key.check_importer(request.epoch, request.proof, request.nonces):
            return None
        return peer

    def went_on(self) -> None:
        """A session is resumed."""
        self.resumed += 1

    def end(self) -> None:
        """Nobody can resume any more."""
        for peer in list(self._peers.values()):
            if peer.suspended:
                peer.lose(None)

    def suspend(self, peer: Peer, name: str, address: str | None) -> Waiting:
        """A session is suspended, whose connection came from there. If too many are now, the oldest of them ends."""
        waiting = Waiting(peer, name, address, peer.changed)
        self._waiting[waiting] = None
        if address is not None:
            self._waiting_from[address] += 1
        self._make_room(address)
        return waiting

    async def keep(self, waiting: Waiting) -> None:
        """Keeps it for its time."""
        try:
            with contextlib.suppress(trio.TooSlowError), operation("resume", side="exporter", peer=waiting.name):
                with trio.fail_after(waiting.peer.session.resume_time):
                    await waiting.over.wait()
            if not waiting.over.is_set():
                self._log.warning("the session with %s ended: it was not resumed in time", waiting.name)
                self._lose(waiting.peer)
        finally:
            self._remove(waiting)

    def _make_room(self, address: str | None) -> None:
        limits = self._limits
        most = limits.max_suspended_per_address
        while address is not None and self._waiting_from[address] > most:
            self._end_oldest(most, "max_suspended_per_address", " from one address", address)
        most = limits.max_suspended
        while len(self._waiting) > most:
            self._end_oldest(most, "max_suspended", "", None)

    def _end_oldest(self, most: int, limit: str, which: str, address: str | None) -> None:
        oldest = next(waiting for waiting in self._waiting if address in (None, waiting.address))
        self._remove(oldest)
        if oldest.over.is_set():
            return  # it has gone on, and its task has not run since
        self._reached(limit)
        expected = f"expected at most {most} suspended sessions{which} ({limit}), got one more"
        self._log.warning("the session with %s ended: %s, and it was the oldest", oldest.name, expected)
        self._lose(oldest.peer)

    def _remove(self, waiting: Waiting) -> None:
        if waiting in self._waiting:
            del self._waiting[waiting]
            if waiting.address is not None:
                self._waiting_from[waiting.address] -= 1
                if not self._waiting_from[waiting.address]:
                    del self._waiting_from[waiting.address]

    def _lose(self, peer: Peer) -> None:
        self.forget(peer)
        peer.lose(peer.failure)
