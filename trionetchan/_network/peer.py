"""The other side, as long as its session lasts: the session, the links that are bound on it, the imports that wait.

What dies with a stream is the business of the `connection`; a peer has one at a time, or none. It takes the session's
events from it, and has it write what the session has to say.

    state        to           when
    NEW          CONNECTED    a stream carries it
    CONNECTED    CONNECTED    another stream takes over; the old one is fenced off
    CONNECTED    SUSPENDED    the stream broke, and the session can be resumed
    SUSPENDED    CONNECTED    it is
    (these)      LOST         one side left, or broke the protocol; or the session cannot be resumed, or was not in time
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Collection
from typing import Protocol, cast

import attrs
import trio

from .._batch import Batch
from .._errors import Code, NetchanError, SessionLostError
from .._identity import Identity
from .._lease import Instant, Lease
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
from .._protocol.resuming import ID_SIZE, SECRET_SIZE, SessionKey
from .._protocol.session import Role, Session
from .._protocol.window import ReceiveWindow
from .acknowledging import Acknowledger
from .links import Link, ReceiveLink, SendLink, SettledReceiveLink

__all__ = ["Answer", "Peer", "PeerOwner", "Request", "new_key"]


class PeerOwner(Protocol):
    """What the exporter or importer does with what its peer does. None of it waits."""

    def import_requested(self, peer: Peer, request: ImportRequested, /) -> None:
        """An importer asks to bind a name: answer with `accept` or `reject`."""
        ...

    def tick(self) -> None:
        """Now and then, as keepalive goes."""
        ...

    def reached(self, limit: str, /) -> None:
        """The peer has reached this limit."""
        ...

    def grew(self) -> None:
        """More is held of the peer than a while ago."""
        ...

    def peer_changed(self, peer: Peer, address: str | None, /) -> None:
        """It is suspended or lost, and its links do not know yet; or a connection from this address carries it."""
        ...


class Writer(Protocol):
    """What a peer needs of its connection."""

    def flush(self) -> None:
        """Writes what the session has to say."""
        ...

    def fence(self) -> None:
        """From now on nothing is read or written on this stream."""
        ...


class PeerState(enum.Enum):
    """How the other side stands."""

    NEW = "new"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"


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


def new_key() -> SessionKey:
    """For a session that begins."""
    return SessionKey(secrets.token_bytes(ID_SIZE), secrets.token_bytes(SECRET_SIZE))


class Peer:
    """The other side of a session. None of its methods waits."""

    def __init__(self, role: Role, limits: Limits, owner: PeerOwner, key: SessionKey | None = None) -> None:
        self.session = Session(role, limits)
        self.acknowledger = Acknowledger(self.session)
        self.greeted = trio.Event()
        """The peer has said hello; or it is lost, and never will."""
        self.key = key
        """What resumes the session; None: it ends with its stream."""
        self.identity = Identity()
        """As whom an importer has begun the session: who resumes it must be the same."""
        self.lease: Lease | None = None
        """Under which values are delivered here; None: without one."""
        self.failure: NetchanError | None = None
        """Why it was lost, unless one side left in an orderly way; or why its last stream broke."""
        self.changed = trio.Event()
        """A new one for each state."""
        self.begun = False
        """Whether a stream has begun the session, so that the next one goes on with it."""
        self.restarting = False
        """Whether it was lost because the exporter restarts."""
        self._state = PeerState.NEW
        self._owner = owner
        self._writer: Writer | None = None
        self._links: dict[int, Link] = {}
        self._requests: dict[int, Request] = {}

    # How it stands

    @property
    def lost(self) -> bool:
        """Nothing can be sent to the peer any more."""
        return self._state is PeerState.LOST

    @property
    def suspended(self) -> bool:
        """Whether its stream broke, and another may come."""
        return self._state is PeerState.SUSPENDED

    def _enter(self, state: PeerState) -> None:
        self._state = state
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def connect(self, writer: Writer) -> None:
        """From now on this writes what there is to say; and what wrote it before, nothing any more."""
        if self.lost:
            writer.fence()
            return
        if self._writer is not None:
            self._writer.fence()
        self._writer = writer
        self.failure = None
        self._enter(PeerState.CONNECTED)

    def disconnect(self, writer: Writer, failure: NetchanError | None) -> None:
        """Its stream is gone; `failure`: it broke. The session waits for another one, if it can be resumed."""
        if self._writer is not writer:
            return  # another one carries the session already
        self._writer = None
        if failure is None or self.key is None or not self.session.greeted:
            self.lose(failure)
        elif not self.lost:
            self.failure = failure
            self._enter(PeerState.SUSPENDED)
            self._owner.peer_changed(self, None)

    def carried(self, address: str) -> None:
        """The hello has come, or the session goes on, over a connection from there."""
        self._owner.peer_changed(self, address)

    def flush(self) -> None:
        """Has written what there is to say."""
        if self._writer is not None:
            self._writer.flush()

    def tick(self) -> None:
        """Now and then, as keepalive goes."""
        self._owner.tick()

    def reached(self, limit: str) -> None:
        """The peer has reached this limit."""
        self._owner.reached(limit)

    def grew(self) -> None:
        """More is held of the peer than a while ago."""
        self._owner.grew()

    @property
    def links(self) -> Collection[Link]:
        """The channels that are bound."""
        return self._links.values()

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
        link = self._bind(request.channel, sends=request.receives)
        link.name = request.name
        return link

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

    def renew_lease(self, since: Instant) -> None:
        """The peer has heard what was sent then."""
        if self.lease is None:
            self.lease = Lease(self.session.resume_time)
        self.lease.renew(since)
        for link in list(self._links.values()):  # a delivery may end a channel
            if isinstance(link, ReceiveLink):
                link.on_lease_renewed()

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

    def refused(self, message: str) -> None:
        """An exporter says that it does not have the session.

        If it has never said anything else, our first words have not reached it: they are said again, as a new session.
        """
        if self.session.established:
            self.lose(SessionLostError(f"the exporter has lost this session: {message}"))
        else:
            self.key = new_key()
            self.begun = False
            self.session.restart()

    def lose(self, failure: NetchanError | None, *, restarting: bool = False) -> None:
        """The peer is gone: every link is told, and every import that waits."""
        if self.lost:
            return
        self.failure = failure
        self.restarting = restarting
        if restarting and self.lease is not None:
            self.lease.lift()  # who restarts hands on nothing: what has arrived is this side's
        self._enter(PeerState.LOST)
        self._owner.peer_changed(self, None)
        self.greeted.set()
        for request in self._requests.values():
            request.answered.set()
        links, self._links = self._links, {}
        for link in links.values():
            link.on_lost(restarting=restarting)
