"""The other side, as long as its session lasts: the session, the links that are bound on it, the imports that wait.

What dies with a stream is the business of the `connection`; a peer has one at a time. It takes the session's events
from it, and has it write what the session has to say.
"""

from __future__ import annotations

from typing import Protocol, cast

import attrs
import trio

from .._batch import Batch
from .._errors import Code, NetchanError
from .._limits import Limits
from .._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    ImportRequested,
    RedeliveredNext,
    Rejected,
    Settled,
    ValuesReceived,
)
from .._protocol.session import Role, Session
from .._protocol.window import ReceiveWindow
from .acknowledging import Acknowledger
from .links import Link, ReceiveLink, SendLink, SettledReceiveLink

__all__ = ["Answer", "Peer", "PeerOwner", "Request"]


class PeerOwner(Protocol):
    """What the exporter or importer does with what its peer does. None of it waits."""

    def import_requested(self, peer: Peer, request: ImportRequested, /) -> None:
        """An importer asks to bind a name: answer with `accept` or `reject`."""
        ...

    def tick(self) -> None:
        """Now and then, as keepalive goes."""
        ...


class Writer(Protocol):
    """What a peer needs of its connection."""

    def flush(self) -> None:
        """Writes what the session has to say."""
        ...


@attrs.frozen
class Answer:
    """What the exporter has answered: a link and its schema, or why not."""

    link: Link | None = None
    schema: bytes = b""
    code: Code = Code.FINISHED
    message: str = ""


@attrs.define(eq=False)
class Request:
    """An import that waits for the exporter's answer, or for the task that asked to take it."""

    channel_id: int
    receives: bool
    answer: Answer | None = None
    """None, when it is answered: the peer was lost before it answered."""
    answered: trio.Event = attrs.field(factory=trio.Event)


class Peer:
    """The other side of a session. None of its methods waits."""

    def __init__(self, role: Role, limits: Limits, owner: PeerOwner) -> None:
        self.session = Session(role, limits)
        self.acknowledger = Acknowledger(self.session)
        self.greeted = trio.Event()
        """The peer has said hello; or it is lost, and never will."""
        self.lost = False
        """Nothing can be sent to the peer any more."""
        self.failure: NetchanError | None = None
        """Why it was lost, unless one side left in an orderly way."""
        self._owner = owner
        self._writer: Writer | None = None
        self._links: dict[int, Link] = {}
        self._requests: dict[int, Request] = {}

    def connect(self, writer: Writer) -> None:
        """From now on this writes what there is to say."""
        self._writer = writer

    def disconnect(self) -> None:
        """The stream is gone, and what it held."""
        self._writer = None

    def flush(self) -> None:
        """Has written what there is to say."""
        if self._writer is not None:
            self._writer.flush()

    def tick(self) -> None:
        """Now and then, as keepalive goes."""
        self._owner.tick()

    # Binding

    def request(
        self, name: str, *, receives: bool, window: int, count: int | None, schema: bytes, settles: bool = False
    ) -> Request:
        """Asks the exporter to bind a name."""
        channel_id = self.session.request(
            name, receives=receives, window=window, count=count, schema=schema, settles=settles
        )
        self._requests[channel_id] = request = Request(channel_id, receives)
        self.flush()
        return request

    def take(self, request: Request) -> Answer | None:
        """The answer, which is the caller's from now on."""
        self._requests.pop(request.channel_id, None)
        return request.answer

    def withdraw(self, request: Request) -> None:
        """Nobody wants the answer any more, whether there is one or not: the import leaves no trace."""
        self._requests.pop(request.channel_id, None)
        self.unbind(request.channel_id)
        self.close(request.channel_id, Code.WITHDRAWN)

    def accept(self, request: ImportRequested, *, window: int, schema: bytes) -> Link:
        """Agrees to an import."""
        self.session.accept(request.channel, window=window, schema=schema)
        return self._bind(request.channel, sends=request.receives)

    def reject(self, request: ImportRequested, code: Code, message: str) -> None:
        """Refuses an import."""
        self.session.reject(request.channel, code, message)

    def _bind(self, channel_id: int, *, sends: bool) -> Link:
        link: Link
        if sends:
            link = SendLink(self, channel_id)
        elif self.session.receiver(channel_id).settles:
            link = SettledReceiveLink(self, channel_id)
        else:
            link = ReceiveLink(self, channel_id)
        self._links[channel_id] = link
        return link

    def unbind(self, channel_id: int) -> None:
        """Nothing of this channel concerns anybody any more."""
        self._links.pop(channel_id, None)

    # What links do

    def send(self, channel_id: int, batch: Batch) -> None:
        """Sends values, for which there is credit."""
        self.session.send(channel_id, batch)
        self.acknowledger.sent()
        self.flush()

    def acknowledge(self, channel_id: int, window: ReceiveWindow, *, last: bool) -> None:
        """Tells what was delivered on a channel, in time: see `Acknowledger.delivered`."""
        if not self.lost and self.acknowledger.delivered(channel_id, window, last=last):
            self.flush()

    def settle(self, channel_id: int, window: ReceiveWindow, number: int, *, accepted: bool) -> None:
        """Tells what the program says of a value, in time."""
        if not self.lost:
            self.session.settle(channel_id, number, accepted=accepted)
            self.acknowledge(channel_id, window, last=True)

    def close(self, channel_id: int, code: Code, message: str = "") -> None:
        """Closes this side of a channel."""
        if not self.lost:
            self.session.close(channel_id, code, message)
            self.acknowledger.closed()
            self.flush()

    # What the peer does

    def handle(self, event: Event) -> None:
        """An event of the session."""
        match event:
            case ValuesReceived(channel_id, payload):
                link = self._links.get(channel_id)
                if link is not None:
                    cast("ReceiveLink", link).on_values(payload)
            case Acknowledged(channel_id, count):
                link = self._links.get(channel_id)
                if link is not None:
                    cast("SendLink", link).on_acknowledged(count)
            case Closed(channel_id, code, message, count):
                link = self._links.get(channel_id)
                if link is not None:
                    link.on_closed(code, message, count)
            case Settled(channel_id, batches, accepted):
                link = self._links.get(channel_id)
                if link is not None:
                    cast("SendLink", link).on_settled(batches, accepted=accepted)
            case RedeliveredNext(channel_id):
                link = self._links.get(channel_id)
                if link is not None:
                    cast("SettledReceiveLink", link).on_redelivered()
            case ImportRequested():
                self._owner.import_requested(self, event)
            case Accepted(channel_id, schema):
                request = self._requests[channel_id]
                link = self._bind(channel_id, sends=not request.receives)
                self._answer(request, Answer(link, schema))
            case Rejected(channel_id, code, message):
                self._answer(self._requests[channel_id], Answer(code=code, message=message))
            case _:
                raise AssertionError(event)  # the connection has dealt with it

    def _answer(self, request: Request, answer: Answer) -> None:
        request.answer = answer
        request.answered.set()

    def lose(self, failure: NetchanError | None) -> None:
        """The peer is gone: every link is told, and every import that waits."""
        if self.lost:
            return
        self.lost = True
        self.failure = failure
        self.greeted.set()
        for request in self._requests.values():
            request.answered.set()
        links, self._links = self._links, {}
        for link in links.values():
            link.on_lost()
