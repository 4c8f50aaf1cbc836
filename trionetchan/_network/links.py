"""Links over the network: a channel of the session, as the channels of this process see it through their ports.

An importer's link exists from the moment in which the exporter accepts, and what comes on it is kept, until the task
that asked takes it and attaches it to a channel. So taking the answer and binding the end are one step of that task,
and a task that was cancelled in between leaves nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .._batch import Batch
from .._errors import Code
from .._lease import Lease
from .._ports import ReceivingChannel, ReceivingLink, SendingChannel, SendingLink
from .._protocol.session import Session
from .._protocol.settling import SettledReceiveWindow
from .._protocol.window import ReceiveWindow

__all__ = ["Link", "ReceiveLink", "SendLink", "SettledReceiveLink"]


class PeerOfLinks(Protocol):
    """What links need of their peer. None of its methods waits, and none does anything once the peer is lost."""

    @property
    def session(self) -> Session: ...
    @property
    def lease(self) -> Lease | None: ...

    def send(self, channel_id: int, batch: Batch) -> None: ...
    def acknowledge(self, channel_id: int, window: ReceiveWindow, *, last: bool) -> None: ...
    def settle(self, channel_id: int, window: ReceiveWindow, number: int, *, accepted: bool) -> None: ...
    def close(self, channel_id: int, code: Code, message: str = "") -> None: ...
    def unbind(self, channel_id: int) -> None: ...


class _NoChannelYet:
    """Stands where the channel will, and keeps what it is to be told."""

    def __init__(self) -> None:
        self._kept: list[Callable[[Any], None]] = []

    def acknowledged(self, link: SendingLink, count: int) -> None:
        self._kept.append(lambda channel: channel.acknowledged(link, count))

    def settled(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]], *, accepted: bool) -> None:
        self._kept.append(lambda channel: channel.settled(link, batches, accepted=accepted))

    def link_closed(self, link: SendingLink, code: Code | None, message: str) -> None:
        self._kept.append(lambda channel: channel.link_closed(link, code, message))

    def arrived(self, link: ReceivingLink, payload: bytes, *, redelivered: bool = False) -> None:
        self._kept.append(lambda channel: channel.arrived(link, payload, redelivered=redelivered))

    def sender_left(self, link: ReceivingLink, code: Code | None, message: str) -> None:
        self._kept.append(lambda channel: channel.sender_left(link, code, message))

    def lease_renewed(self, link: ReceivingLink) -> None:
        """Nothing is being delivered yet."""

    def tell(self, channel: Any) -> None:
        for tell in self._kept:
            tell(channel)


class SendLink:
    """One peer that is bound to an outgoing channel."""

    def __init__(self, peer: PeerOfLinks, channel_id: int) -> None:
        self.id = channel_id
        self.name = ""
        """By which an importer asked for the channel; on an importer empty."""
        self.closing = False
        self._peer = peer
        self._window = peer.session.sender(channel_id)
        self.window = self._window.window
        self.settles = self._window.settles
        self.max_value_size = peer.session.max_value_size
        self._refusal: tuple[Code, str] | None = None  # why this side gave the peer up
        self._early = _NoChannelYet()
        self._channel: SendingChannel = self._early

    def attach(self, channel: SendingChannel) -> None:
        """Tells this channel what comes, and what has come."""
        self._channel = channel
        self._early.tell(channel)

    # As the port `SendingLink` says

    @property
    def sent(self) -> int:
        return self._window.sent

    @property
    def acknowledged(self) -> int:
        return self._window.acknowledged

    @property
    def unacknowledged(self) -> int:
        return self._window.sent - self._window.acknowledged

    @property
    def written(self) -> int:
        return self._window.written

    @property
    def credit(self) -> int:
        return 0 if self.closing else self._window.credit

    def fits(self, size: int, count: int) -> bool:
        return not self.closing and self._window.fits(size, count)

    def send(self, batch: Batch) -> None:
        self._peer.send(self.id, batch)

    def unacknowledged_below(self, number: int) -> int:
        return self._window.unacknowledged_below(number)

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        return self._window.unacknowledged_batches()

    def close(self, code: Code, message: str = "") -> None:
        if not self.closing:
            self.closing = True
            if code is Code.LIMIT:
                self._refusal = code, message
            self._peer.close(self.id, code, message)

    # What the peer does

    def on_acknowledged(self, count: int) -> None:
        self._channel.acknowledged(self, count)

    def on_settled(self, batches: Sequence[tuple[Batch, list[int]]], *, accepted: bool) -> None:
        self._channel.settled(self, batches, accepted=accepted)

    def on_closed(self, code: Code, message: str, count: int) -> None:
        self.closing = True
        self._peer.unbind(self.id)
        self._channel.acknowledged(self, count)
        self._channel.link_closed(self, *(self._refusal or (code, message)))

    def on_lost(self, *, restarting: bool = False) -> None:
        self.closing = True
        code, message = (Code.RESTARTING, "the exporter restarts") if restarting else (None, "the connection was lost")
        self._channel.link_closed(self, code, message)


class ReceiveLink:
    """One peer that sends into an incoming channel."""

    settles = False

    def __init__(self, peer: PeerOfLinks, channel_id: int) -> None:
        self.id = channel_id
        self.name = ""
        """By which an importer asked for the channel; on an importer empty."""
        self._peer = peer
        self._lease = peer.lease
        self._window = peer.session.receiver(channel_id)
        self._early = _NoChannelYet()
        self._channel: ReceivingChannel = self._early

    def attach(self, channel: ReceivingChannel, *, unbuffered: bool) -> None:
        """Tells this channel what comes, and what has come.

        `unbuffered`: what it delivers is in the hands of tasks, which have to run before the peer is told.
        """
        self._channel = channel
        self._window.unbuffered = unbuffered
        self._early.tell(channel)

    # As the port `ReceivingLink` says

    @property
    def window(self) -> int:
        """How many values may be unacknowledged at most."""
        return self._window.window

    @property
    def received(self) -> int:
        """How many values have arrived."""
        return self._window.received

    @property
    def undelivered(self) -> int:
        return self._window.received - self._window.delivered

    @property
    def unsettled(self) -> int:
        return self._window.received - self._window.delivered

    @property
    def exhausted(self) -> bool:
        return self._window.exhausted

    @property
    def leased(self) -> bool:
        return self._lease is None or self._lease.valid

    @property
    def lease_deadline(self) -> float:
        return math.inf if self._lease is None else self._lease.deadline

    def delivered(self, count: int, *, last: bool, waited: bool) -> bool:
        window = self._window
        window.deliver(count, stepped=waited)
        # Not each delivery needs a word: one that is pending will tell of this one, too.
        if last or not window.ack_pending or window.ack_due:
            self._peer.acknowledge(self.id, window, last=last)
        return window.count is not None and window.exhausted

    def settle(self, number: int, *, accepted: bool) -> bool:
        raise AssertionError(f"value {number} of a channel that does not settle: {accepted=}")

    def close(self, code: Code, message: str = "") -> None:
        self._peer.unbind(self.id)
        self._peer.close(self.id, code, message)

    # What the peer does

    def on_values(self, payload: bytes) -> None:
        self._channel.arrived(self, payload)

    def on_closed(self, code: Code, message: str, _count: int) -> None:
        self._channel.sender_left(self, code, message)

    def on_lease_renewed(self) -> None:
        self._channel.lease_renewed(self)

    def on_lost(self, *, restarting: bool = False) -> None:
        self._channel.sender_left(self, None, "the exporter restarts" if restarting else "the connection was lost")


class SettledReceiveLink(ReceiveLink):
    """One peer that sends into an incoming channel, and is told what the program says of each value."""

    settles = True
    _window: SettledReceiveWindow

    def __init__(self, peer: PeerOfLinks, channel_id: int) -> None:
        super().__init__(peer, channel_id)
        self._redelivered = False  # the next batch

    def attach(self, channel: ReceivingChannel, *, unbuffered: bool) -> None:
        super().attach(channel, unbuffered=False)  # the program's own word is what counts

    @property
    def undelivered(self) -> int:
        return self._window.received - self._window.handed

    def delivered(self, count: int, *, last: bool, waited: bool) -> bool:
        self._window.handed += count
        return False

    def settle(self, number: int, *, accepted: bool) -> bool:
        self._peer.settle(self.id, self._window, number, accepted=accepted)
        return self._window.exhausted

    def on_redelivered(self) -> None:
        """The next batch brings what came back from some importer."""
        self._redelivered = True

    def on_values(self, payload: bytes) -> None:
        redelivered, self._redelivered = self._redelivered, False
        self._channel.arrived(self, payload, redelivered=redelivered)


Link = SendLink | ReceiveLink
