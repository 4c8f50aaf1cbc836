"""The sessions of an exporter that can be resumed, by their ids."""

from __future__ import annotations

from .._protocol.events import ResumeRequested
from .peer import Peer

__all__ = ["Sessions"]


class Sessions:
    """Who may resume what."""

    def __init__(self) -> None:
        self._peers: dict[bytes, Peer] = {}
        self.resumed = 0
        """How many times sessions were resumed."""

    @property
    def suspended(self) -> int:
        """How many sessions are without a connection now."""
        return sum(peer.suspended for peer in self._peers.values())

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
            self.forget(peer)
            peer.lose(peer.failure)

    def find(self, request: ResumeRequested, identity: bytes) -> Peer | None:
        """The session that a peer with this TLS identity may resume, if it has proved that it is its own."""
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
