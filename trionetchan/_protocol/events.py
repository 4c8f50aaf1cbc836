"""What a session reports about its peer. Payloads are bytes here; what they hold is the value codec's business.

Not frozen, as frames are not: they are made for each frame.
"""

from __future__ import annotations

import attrs

from .._batch import Batch
from .._errors import Code
from .resuming import Nonces

__all__ = [
    "Accepted",
    "Acknowledged",
    "Closed",
    "Event",
    "Greeted",
    "ImportRequested",
    "LimitExceeded",
    "PeerLeft",
    "RedeliveredNext",
    "Rejected",
    "ResumeRequested",
    "SessionResumed",
    "Settled",
    "TurnOver",
    "ValuesReceived",
    "Violated",
]


@attrs.define
class Greeted:
    """The peer's hello has arrived; channels can be bound."""


@attrs.define
class SessionResumed:
    """The session goes on where it was."""


@attrs.define
class ResumeRequested:
    """An importer wants to go on with a session: check the proof, then answer with `resume` or `refuse`."""

    session: bytes
    epoch: int
    proof: bytes
    nonces: Nonces


@attrs.define
class ImportRequested:
    """The importer asks to bind a name: answer with `accept` or `reject`. `receives`: the importer is the receiver."""

    channel: int
    name: str
    receives: bool
    count: int | None
    schema: bytes


@attrs.define
class Accepted:
    """The exporter has agreed; `schema` describes its value type."""

    channel: int
    schema: bytes


@attrs.define
class Rejected:
    """The exporter has refused; the channel id is gone."""

    channel: int
    code: Code
    message: str


@attrs.define
class ValuesReceived:
    """A batch of `count` values has arrived whole."""

    channel: int
    payload: bytes
    count: int


@attrs.define
class RedeliveredNext:
    """The values of the next batch came back from some importer before."""

    channel: int


@attrs.define
class Acknowledged:
    """The receiver has delivered `count` values more, or granted more credit."""

    channel: int
    count: int


@attrs.define
class Settled:
    """The receiver's program has accepted or rejected values: of each batch, those in these places."""

    channel: int
    batches: list[tuple[Batch, list[int]]]
    accepted: bool


@attrs.define
class Closed:
    """The peer is done with the channel, or has withdrawn its import.

    From a receiver it is the last word: the channel id is gone, and `count` values more are acknowledged. From a
    sender it is not: what has arrived is delivered or dropped, then the receiver's own close ends the channel.
    """

    channel: int
    code: Code
    message: str
    count: int


@attrs.define
class TurnOver:
    """Nothing has happened, but so much work is done that others should have their turn."""


@attrs.define
class PeerLeft:
    """The peer has said goodbye. No event follows."""

    code: Code
    message: str


@attrs.define
class Violated:
    """The peer broke the protocol; it is being told. No event follows."""

    message: str


@attrs.define
class LimitExceeded:
    """The peer reached a limit of this side, a field of `Limits`; it is being told. No event follows."""

    limit: str
    message: str


Event = (
    Greeted
    | ResumeRequested
    | SessionResumed
    | ImportRequested
    | Accepted
    | Rejected
    | ValuesReceived
    | RedeliveredNext
    | Acknowledged
    | Settled
    | Closed
    | TurnOver
    | PeerLeft
    | Violated
    | LimitExceeded
)
