"""Where rooms meet: what a channel sees of a bound peer, what that tells a channel, what a channel tells its owner.

The channels know nothing of the network, and the network nothing of the channels; each knows these protocols. Behind a
link stands a peer on a connection, or the stream of an engine, or in a test twenty lines of fake. None of the methods
waits, and none raises for what a peer does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, TypeVar

from ._batch import Batch
from ._errors import Code
from ._log import BoundedLog

__all__ = [
    "ChannelOwner",
    "Dealing",
    "ReceivingChannel",
    "ReceivingLink",
    "SendingChannel",
    "SendingLink",
]

T = TypeVar("T")
Channel_contra = TypeVar("Channel_contra", contravariant=True)


# A peer, as a channel sees it


class SendingLink(Protocol):
    """A bound peer that this side sends to. Counts are of values since it was bound."""

    @property
    def window(self) -> int:
        """How many values may be unacknowledged at most."""
        ...

    @property
    def sent(self) -> int: ...

    @property
    def acknowledged(self) -> int: ...

    @property
    def unacknowledged(self) -> int: ...

    @property
    def written(self) -> int:
        """How many of the values sent the peer may have."""
        ...

    @property
    def credit(self) -> int:
        """How many values may be sent now; none once the link is closing."""
        ...

    @property
    def max_value_size(self) -> int:
        """The largest value, in bytes, that the peer accepts."""
        ...

    @property
    def settles(self) -> bool:
        """Whether the peer's program settles each value by itself, in any order: `SendingChannel.settled`."""
        ...

    @property
    def closing(self) -> bool:
        """Whether one of the two sides has closed it."""
        ...

    def fits(self, size: int, count: int) -> bool:
        """Whether a batch of `count` values in `size` bytes may be sent now."""
        ...

    def send(self, batch: Batch) -> None:
        """Sends values for which there is credit; they are kept until they are acknowledged."""
        ...

    def unacknowledged_below(self, number: int) -> int:
        """How many of the first `number` values are not acknowledged."""
        ...

    def unacknowledged_batches(self) -> Iterator[tuple[Batch, Sequence[int]]]:
        """What is kept, oldest first: each batch, and the places of its values that are not acknowledged."""
        ...

    def close(self, code: Code, message: str = "") -> None:
        """Nothing more will come. The peer has the last word: `SendingChannel.link_closed`."""
        ...


class ReceivingLink(Protocol):
    """A bound peer that this side receives from."""

    @property
    def undelivered(self) -> int:
        """How many values have arrived and are not delivered."""
        ...

    @property
    def settles(self) -> bool:
        """Whether the program settles each value by itself, with `settle`."""
        ...

    @property
    def unsettled(self) -> int:
        """How many values have arrived and are not settled; where the program does not settle: not delivered."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether as many values are delivered, or settled, as the import asked for."""
        ...

    @property
    def leased(self) -> bool:
        """Whether what has arrived is still this side's to deliver. If not: until `lease_renewed`."""
        ...

    @property
    def lease_deadline(self) -> float:
        """Until when a delivery may wait for the program, on trio's clock."""
        ...

    def delivered(self, count: int, *, last: bool, waited: bool) -> bool:
        """`count` values more are delivered; the peer is told in time. Whether the link is `exhausted`.

        `last`: nothing more waits to be delivered. `waited`: the task that says so has waited at least one turn of the
        scheduler since it last did.
        """
        ...

    def settle(self, number: int, *, accepted: bool) -> bool:
        """The program has accepted or rejected a value, once. Whether the link is `exhausted`."""
        ...

    def close(self, code: Code, message: str = "") -> None:
        """The last word, with the final count of delivered values. Nothing arrives on the link any more."""
        ...


# A channel, as its links see it


class SendingChannel(Protocol):
    """A channel that sends to links."""

    def acknowledged(self, link: SendingLink, count: int) -> None:
        """The peer has acknowledged `count` values more (0: it has allowed more)."""
        ...

    def settled(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]], *, accepted: bool) -> None:
        """The peer's program has accepted or rejected values: of each batch, those in these places."""
        ...

    def link_closed(self, link: SendingLink, code: Code | None, message: str) -> None:
        """The peer has said its last word; None: it is lost. What it has not acknowledged is the channel's again."""
        ...


class ReceivingChannel(Protocol):
    """A channel that receives from links."""

    def arrived(self, link: ReceivingLink, payload: bytes, *, redelivered: bool = False) -> None:
        """A batch has come. `redelivered`: its values came back from some importer before."""
        ...

    def lease_renewed(self, link: ReceivingLink) -> None:
        """What has arrived may be delivered for longer, or again."""
        ...

    def sender_left(self, link: ReceivingLink, code: Code | None, message: str) -> None:
        """Nothing more will come; None: the peer is lost. The channel closes the link when it is done with it."""
        ...


# A channel, as its owner sees it, and the reverse


class ChannelOwner(Protocol[Channel_contra]):
    """The exporter or importer, as a channel sees it."""

    @property
    def log(self) -> BoundedLog:
        """For what peers can provoke: it is bounded."""
        ...

    def failed(self, error: BaseException, /) -> None:
        """The program has made a mistake on the channel: a value that does not fit, a foreign end that raises."""
        ...

    def peer_left(self, channel: Channel_contra, code: Code | None, message: str, /) -> None:
        """A peer is gone from the channel, with its last word or (None) lost; what it sent is delivered or dropped."""
        ...

    def channel_ended(self, channel: Channel_contra, /) -> None:
        """The channel has come to its end."""
        ...


# How an outgoing channel deals


class Dealing(Protocol[T]):
    """The rule by which the values of one channel go to its links. Today there is one: each value to one of them.

    Values are numbered in the order in which they were first taken; a number stands for a value that came back.
    """

    @property
    def links(self) -> Collection[SendingLink]:
        """The bound peers."""
        ...

    @property
    def waiting(self) -> int:
        """How many values were handed over and are in no peer's hands."""
        ...

    @property
    def unacknowledged(self) -> int:
        """How many values are in the hands of peers."""
        ...

    @property
    def room(self) -> int:
        """How many values may be taken now, to be dealt at once."""
        ...

    @property
    def half_window(self) -> int:
        """Half the window of the peer that gets the next values."""
        ...

    def attach(self, link: SendingLink) -> None:
        """One more peer to deal to."""
        ...

    def detach(self, link: SendingLink) -> list[int]:
        """A peer is gone. What it had not acknowledged waits again, to be dealt first; its numbers, oldest first."""
        ...

    def acknowledged(self, link: SendingLink, count: int) -> list[int]:
        """A peer has acknowledged values, or has more credit. The numbers of those among them that had come back."""
        ...

    def accepted(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]]) -> list[int]:
        """The same for values that a peer's program has accepted: of each batch, those in these places."""
        ...

    def rejected(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]]) -> list[tuple[int, int]]:
        """A peer's program has rejected values. They wait again; the number of each on the link, and its own."""
        ...

    def deal(self, taken: list[T]) -> None:
        """Gives what waits, and then what was taken, to peers, as far as their credit goes; empties `taken`.

        `ValueTypeError` or `LimitError` for a value that does not fit: what came before it is dealt, and it and what
        came after it are still in `taken`.
        """
        ...

    def deal_waiting(self) -> None:
        """Gives what waits to peers, as far as their credit goes."""
        ...

    def refused(self, number: int) -> int:
        """A peer has refused this value, which waits. How many times it has come back so."""
        ...

    def take_dead(self) -> list[tuple[int, bytes]]:
        """What has come back too often, and is not dealt any more: numbers, and the encoded values."""
        ...

    def drop(self, number: int | None = None) -> list[int]:
        """Forgets one value that waits, or all; the numbers of what is forgotten."""
        ...
