"""The channels between two sides: frames in, events out; commands in, frames out. No I/O, no clock, no trio.

A session knows nothing of streams: a `Wire` cuts frames out of one for it, and writes what is in its `outbox`. An
importer binds names to channel ids, which it counts up from 0; an id that is below the highest one seen and is not open
any more was closed.

How a channel stands here is one `State`. Frames of the peer (in capitals) and commands of this side move it on:

    state       event           next state    what happens
    REQUESTED   ACCEPT          BOUND         the exporter agrees to what this importer asked for
    REQUESTED   REJECT          CLOSED        it refuses
    REQUESTED   close           CLOSED        this importer gives up before there is an answer
    ASKED       accept          BOUND         this exporter agrees to what the importer asks for
    ASKED       reject          CLOSED        it refuses
    ASKED       CLOSE           CLOSED        the importer gives up before there is an answer
    SENDING     ACK             SENDING       values are acknowledged, and more are allowed
    SENDING     SETTLE          SENDING       values are accepted or rejected, one by one
    SENDING     close           SENT          nothing more will be sent; what is queued is still written
    SENDING     CLOSE           CLOSED        the receiver's last word
    SENT        ACK             SENT          values are acknowledged
    SENT        SETTLE          SENT          values are accepted or rejected, one by one
    SENT        CLOSE           CLOSED        the receiver's last word
    RECEIVING   DATA            RECEIVING     values arrive
    RECEIVING   REDELIVERED     RECEIVING     it is said that the next ones come again
    RECEIVING   CLOSE           SETTLING      nothing more will come; what has arrived is delivered or dropped
    RECEIVING   close           LAST_WORD     the receiver's last word is to be said
    SETTLING    close           LAST_WORD     the same
    LAST_WORD   (told)          CLOSED        it is said once all that it counts is confirmed
    CLOSED      (any)           CLOSED        late frames of a closed channel are ignored

BOUND is SENDING or RECEIVING, as the channel's direction says. SETTLING ignores a second CLOSE; LAST_WORD ignores DATA,
REDELIVERED and CLOSE. SETTLE and REDELIVERED are for channels whose IMPORT says that it settles. What the table does
not list breaks the protocol and is a `ProtocolError`. The class ends with the same table in code.

The receiver always has the last word: its CLOSE carries the final count of delivered values. A sender's CLOSE only says
that nothing more will come, and how much there was.

When its stream breaks, a session that both sides keep goes on over another: each says how many control frames it has
had, and for each channel how many values have come; each goes back to what the other has (`rewind`). Nothing else
changes: a channel stands as it stood.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from .._batch import Batch
from .._errors import Code, LimitReached, ProtocolError
from .._limits import Limits
from .costs import LEAST_PIECE, SMALL_FRAME, UNITS_PER_IMPORT, Costs
from .events import (
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
from .frames import Accept, Ack, Close, Data, Frame, Import, Position, Redelivered, Reject, Seen, Settle, kind_name
from .outbox import Outbox, Piece, Writing
from .settling import SettledReceiveWindow, SettledSendWindow
from .window import ReceiveWindow, SendWindow

__all__ = ["Role", "Session", "State"]

MAX_UNSEEN = 2**16  # control frames that a peer may leave unconfirmed, beside what is on its way
LEAST_FRAME_SIZE = 64 * 2**10  # what every peer reads
LEAST_BUFFER = 4 * 2**10  # bytes of values that an importer may send on any channel
UNSEEN_SHARE = 4  # so many times the bytes that may wait for a peer may be on their way to it
BUFFER_SHARE = 4  # a channel gets one part in so many of what is left for the connection
SEEN_INTERVAL = 16  # control frames of the peer after which it is told that it can forget them


class Role(enum.Enum):
    """Which side of a session this is."""

    EXPORTER = "exporter"
    IMPORTER = "importer"

    @property
    def other(self) -> Role:
        return Role.IMPORTER if self is Role.EXPORTER else Role.EXPORTER


class State(enum.Enum):
    """How a channel stands on this side."""

    REQUESTED = "requested"
    ASKED = "asked"
    SENDING = "sending"
    SENT = "sent"
    RECEIVING = "receiving"
    SETTLING = "settling"
    LAST_WORD = "saying its last word"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is a Python function, and a state is looked up for each frame


class Command(enum.Enum):
    """What this side does with a channel that moves it on."""

    ACCEPT = "accept"
    REJECT = "reject"
    CLOSE = "close"


SENDER_CODES = frozenset({Code.FINISHED, Code.HUNG_UP, Code.LIMIT})
RECEIVER_CODES = frozenset({Code.FINISHED, Code.HUNG_UP, Code.RECEIVER_GONE, Code.VALUE_REFUSED, Code.COUNT_REACHED})


@attrs.define(eq=False)
class _Channel:
    """A channel that is not closed. It has one of the two halves once it is bound."""

    id: int
    state: State
    sends: bool
    window: int
    count: int | None
    settles: bool = False
    name: str = ""
    writing: Writing | None = None
    receiver: ReceiveWindow | None = None
    last_word: tuple[Code, str] = (Code.FINISHED, "")

    @property
    def sender(self) -> SendWindow:
        assert self.writing is not None
        return self.writing.window

    @property
    def used(self) -> bool:
        """Whether anything has gone over it."""
        if self.receiver is not None:
            return self.receiver.bytes_received > 0
        return self.writing is not None and self.writing.window.sent > 0

    def late_frames(self, largest_value: int) -> int:
        """How many frames of the peer may be on their way when this side closes the channel."""
        if self.sends:
            return 3  # an answer, an ACK and a close
        values = self.window if self.receiver is None else self.receiver.value_limit - self.receiver.received
        return 3 + values * (2 if self.settles else 1) + largest_value // SMALL_FRAME


_COUNTED = frozenset({Import, Accept, Reject, Settle, Close})

_BOUND = None
_Step = tuple[Callable[[Any, Any, Any], Event | None] | None, State | None]


class Session:
    """One side of a session.

    A broken promise of the peer is a `ProtocolError`, a wrong call of this side a `KeyError`. It is long because each
    frame and each command has its method, and the table that says when stands with them.
    """

    def __init__(self, role: Role, limits: Limits) -> None:
        self.role = role
        self.outbox = Outbox()
        self._limits = limits
        self._channels: dict[int, _Channel] = {}
        self._unsaid: dict[int, _Channel] = {}  # those in LAST_WORD
        self._settled: dict[int, SettledReceiveWindow] = {}  # those with settlements that are not said
        self._names = Counter[str]()  # of the channels
        self._allotted = 0  # bytes of values that may have arrived on all channels and not be delivered
        self._next_id = 0
        self._peer: dict[str, int] | None = None  # the parameters of its hello
        self.outbox.keeps = limits.resume_timeout > 0
        self.resume_time = 0.0
        """For how long, in seconds, both sides keep the session when its stream breaks."""
        self.costs = Costs()
        self.unfinished: dict[int, int] = {}
        """The channels on which a value has come in part, and the number of that value."""
        self.established = False
        """Whether the peer has said anything on a channel, so that it has state of this session."""
        self._handled = 0  # control frames of the peer
        self._told = 0  # how many of them it has been told of

    @property
    def first_buffer(self) -> int:
        """How many bytes of values the peer may send on each channel until it is told more; its hello says so.

        An importer opens its channels itself. To an exporter they are the peer's, so each gets its share when it is
        bound.
        """
        most = self._limits.max_buffered_bytes
        return most if self.role is Role.IMPORTER else min(most, LEAST_BUFFER)

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of values have come and are not delivered, on all channels."""
        return sum(channel.receiver.buffered_bytes for channel in self._channels.values() if channel.receiver)

    @property
    def exceeds_buffer(self) -> LimitReached | None:
        """Whether more values of an importer have come than are to be held."""
        limits = self._limits
        most = limits.max_connection_bytes + limits.max_value_size + len(self._channels) * LEAST_BUFFER
        if self.role is Role.EXPORTER and (held := self.buffered_bytes) > most:
            expected = f"values of at most {most} bytes that wait to be delivered, of all channels"
            return LimitReached("max_connection_bytes", f"expected {expected}, got {held}")
        return None

    # What the peer has said of itself

    def greet(self, parameters: dict[str, int], *, resumable: bool = False) -> None:
        """The peer's hello has arrived; the first counts. `resumable`: both sides have what it takes to resume."""
        if self._peer is not None:
            return
        self._peer = parameters
        if resumable:
            self.resume_time = min(self._limits.resume_timeout, parameters["resume"] / 1000)
        else:
            self.outbox.keep_nothing()

    @property
    def greeted(self) -> bool:
        """Whether the peer's hello has arrived."""
        return self._peer is not None

    @property
    def awaits_restart(self) -> bool:
        """Whether the peer is an importer that waits for the exporter's next incarnation."""
        return self._peer is not None and self._peer.get("restart", 0) > 0

    @property
    def max_value_size(self) -> int:
        """The largest value, in bytes, that the peer accepts."""
        assert self._peer is not None
        return self._peer["value"]

    @property
    def peer_knows_settle(self) -> bool:
        """Whether a channel may be asked for whose values are settled one by one."""
        return self._peer is not None and self._peer["settle"] > 0

    # Commands

    def request(
        self, name: str, *, receives: bool, window: int, count: int | None, schema: bytes, settles: bool = False
    ) -> int:
        """Asks to bind a name; the answer is `Accepted` or `Rejected`. Returns the channel's id."""
        channel = _Channel(self._next_id, State.REQUESTED, not receives, self._clamp(window), count, settles)
        self._next_id += 1
        self._channels[channel.id] = channel
        self.outbox.say(Import(channel.id, name, receives, channel.window, count, schema, settles))
        return channel.id

    def accept(self, channel_id: int, *, window: int, schema: bytes) -> None:
        """Agrees to an import."""
        channel = self._channels[channel_id]
        own = self._clamp(window)
        # The smaller of the two sides' windows counts: a receiver grants no more, a sender uses no more.
        self.outbox.say(Accept(channel_id, own, schema))
        self._open(channel, min(own, channel.window))
        self._command(channel, Command.ACCEPT)

    def reject(self, channel_id: int, code: Code, message: str) -> None:
        """Refuses an import."""
        self._command(self._channels[channel_id], Command.REJECT)
        self.costs.refused += 1
        self.outbox.say(Reject(channel_id, code, message))

    def asks(self, channel_id: int) -> bool:
        """Whether the importer still waits for the answer to this import."""
        channel = self._channels.get(channel_id)
        return channel is not None and channel.state is State.ASKED

    def sender(self, channel_id: int) -> SendWindow:
        """The window of a bound channel that sends from here."""
        return self._channels[channel_id].sender

    def receiver(self, channel_id: int) -> ReceiveWindow:
        """The window of a bound channel that receives here."""
        window = self._channels[channel_id].receiver
        assert window is not None
        return window

    def send(self, channel_id: int, batch: Batch) -> None:
        """Queues a batch, for which there is credit."""
        channel = self._channels[channel_id]
        assert channel.state is State.SENDING
        assert channel.writing is not None
        channel.writing.window.send(batch)
        self.outbox.get_in_line(channel.writing)

    def acknowledge(self, channel_id: int) -> None:
        """The sender is to be told, after `hurry`, what has been delivered, and granted what that frees."""
        self.outbox.acknowledge(channel_id, self.receiver(channel_id))

    def settle(self, channel_id: int, number: int, *, accepted: bool) -> None:
        """The program has settled this value, which has come; the sender is to be told after `hurry`."""
        window = self.receiver(channel_id)
        assert isinstance(window, SettledReceiveWindow)
        window.settle(number, accepted=accepted)
        self._settled[channel_id] = window

    def hurry(self) -> None:
        """Acknowledgements, and last words that wait for a confirmation, are due now: as far as it is confirmed."""
        for channel_id in list(self._settled):
            self._say_settled(channel_id)
        for channel in list(self._unsaid.values()):
            self._say_last_word(channel)
        self.outbox.hurry()

    @property
    def has_unsaid(self) -> bool:
        """Whether there is something to be said yet, now or once it is confirmed."""
        return self.outbox.must_answer or self.has_undue

    @property
    def has_undue(self) -> bool:
        """Whether the peer is to be told of deliveries, and it is not due yet or not confirmed."""
        return bool(self._unsaid) or self.outbox.has_undue

    @property
    def unconfirmed(self) -> list[ReceiveWindow]:
        """The windows with delivered values that the sender is to be told of, and that are not confirmed yet."""
        closing = [channel.receiver for channel in self._unsaid.values() if channel.receiver is not None]
        return [window for window in [*self.outbox.unacknowledged, *closing] if window.confirmed < window.delivered]

    def close(self, channel_id: int, code: Code, message: str = "") -> None:
        """Closes this side of the channel; a channel that is closed already stays so.

        A receiver's close ends the channel. A sender's follows what it has queued; hanging up drops what is not on the
        wire yet. An import without an answer is withdrawn.
        """
        channel = self._channels.get(channel_id)
        if channel is None or channel.state in (State.SENT, State.LAST_WORD):
            return
        self._command(channel, Command.CLOSE)
        if channel.writing is None:
            self.costs.expected += channel.late_frames(self._limits.max_value_size)
            self.costs.refused += code is Code.VALUE_REFUSED
            channel.last_word = (code, message)
            self.outbox.no_acknowledgement(channel_id)
            self._say_settled(channel_id)
            self._say_last_word(channel)
            return
        if code in (Code.HUNG_UP, Code.WITHDRAWN):
            channel.writing.window.discard_unwritten()
        channel.writing.close = (code, message)
        self.outbox.get_in_line(channel.writing)

    def data_to_send(self, size: int) -> list[Piece]:
        """The next pieces of frames to send, about `size` bytes in all."""
        return self.outbox.data_to_send(size, LEAST_FRAME_SIZE if self._peer is None else self._peer["frame"])

    # Frames of the peer

    def receive(self, frame: Frame, *, begun: bool = False) -> Event | None:
        """What a frame brings, if anything. `begun`: it is a further part of one that has come in part.

        `ProtocolError` if the peer may not send it now, `LimitReached` if it has sent too much.
        """
        if type(frame) in _COUNTED:
            self._count()
        if type(frame) is Import:
            return self._on_import(frame)
        if type(frame) is Seen:
            self._on_seen(frame)
            return None
        channel_id: int | None = getattr(frame, "channel", None)
        if channel_id is None or (isinstance(frame, Accept | Reject) and self.role is Role.EXPORTER):
            raise self._unexpected(frame)
        channel = self._channels.get(channel_id)
        if channel is None and channel_id >= self._next_id:
            raise ProtocolError(
                f"expected a channel below {self._next_id}, got {kind_name(frame)} for channel {channel_id}"
            )
        state = State.CLOSED if channel is None else channel.state
        step = self._FRAMES[state].get(type(frame))
        if step is None:
            raise ProtocolError(f"expected no {kind_name(frame)} for channel {channel_id}, which is {state.value} here")
        handler, following = step
        if handler is None or channel is None:
            if not begun:
                self.costs.nothing()
            return None
        if type(frame) is Data and frame.more and not begun and len(frame.payload) < LEAST_PIECE:
            self.costs.useless += 1
        event = handler(self, channel, frame)
        if following is not state:
            self._move(channel, following)
        return event

    def _unexpected(self, frame: Frame) -> ProtocolError:
        return ProtocolError(f"expected no {kind_name(frame)} from an {self.role.other.value}")

    def _on_import(self, frame: Import) -> ImportRequested | None:
        if self.role is Role.IMPORTER:
            raise self._unexpected(frame)
        if frame.settles and not frame.receives:
            raise ProtocolError(f"expected an importer that receives to settle, got one that sends, on {frame.name!r}")
        if frame.channel != self._next_id:
            raise ProtocolError(f"expected the channel id {self._next_id} next, got {frame.channel}")
        if not frame.window:
            raise ProtocolError(f"expected a window of at least 1, got 0, on channel {frame.name!r}")
        self._check_answers()
        self._next_id += 1
        self.costs.work += UNITS_PER_IMPORT
        if (refusal := self._too_many(frame.name)) is not None:
            self.costs.refused += 1
            self.outbox.say(Reject(frame.channel, Code.LIMIT, refusal))
            return None
        window = self._clamp(frame.window)
        channel = _Channel(frame.channel, State.ASKED, frame.receives, window, frame.count, frame.settles, frame.name)
        self._channels[frame.channel] = channel
        self._names[frame.name] += 1
        return ImportRequested(frame.channel, frame.name, frame.receives, frame.count, frame.schema)

    def _check_answers(self) -> None:
        """`LimitReached` for a peer that asks and does not read, or does not say what it has seen."""
        most, waiting = self._limits.max_answer_bytes, self.outbox.waiting_bytes
        if waiting > most:
            raise LimitReached("max_answer_bytes", f"expected a peer that reads, got {waiting} bytes that wait for it")
        if self.outbox.unseen > MAX_UNSEEN or self.outbox.unseen_bytes > UNSEEN_SHARE * most:
            raise LimitReached(
                "max_answer_bytes", f"expected SEEN of at least one of {self.outbox.unseen} control frames, got none"
            )

    def _too_many(self, name: str) -> str | None:
        """Why there cannot be one more channel, of this name."""
        limits = self._limits
        if len(self._channels) >= limits.max_channels:
            self.costs.reached.append("max_channels")
            return f"{name}: expected at most {limits.max_channels} channels at a time, got one more"
        if self._names[name] >= limits.max_imports_per_name:
            self.costs.reached.append("max_imports_per_name")
            return f"{name}: expected at most {limits.max_imports_per_name} imports of a name at a time, got one more"
        return None

    def _on_accept(self, channel: _Channel, frame: Accept) -> Accepted:
        if not frame.window:
            raise ProtocolError(f"expected a window of at least 1, got 0, on channel {channel.id}")
        self.established = True
        self._open(channel, min(channel.window, frame.window))
        return Accepted(channel.id, frame.schema)

    def _on_reject(self, channel: _Channel, frame: Reject) -> Rejected:
        self.established = True
        return Rejected(channel.id, frame.code, frame.message)

    def _on_withdrawn(self, channel: _Channel, frame: Close) -> Closed:
        if frame.code is not Code.WITHDRAWN:
            raise _wrong_code(frame, {Code.WITHDRAWN})
        self.costs.unused()
        return Closed(channel.id, frame.code, frame.message, 0)

    def _on_data(self, channel: _Channel, frame: Data) -> ValuesReceived | None:
        assert channel.receiver is not None
        whole = channel.receiver.receive(frame.first, frame.payload, more=frame.more)
        self.costs.values(0 if whole is None else whole[1], len(frame.payload))
        if whole is None:
            self.unfinished[channel.id] = channel.receiver.received
            return None
        self.unfinished.pop(channel.id, None)
        return ValuesReceived(channel.id, *whole)

    def _on_ack(self, channel: _Channel, frame: Ack) -> Acknowledged:
        window = channel.sender
        allowed = min(window.value_limit, window.acknowledged + window.window)
        limit = frame.value_limit if channel.count is None else min(frame.value_limit, channel.count)
        count = window.acknowledge(frame.delivered, limit, frame.byte_limit)
        if not count and min(window.value_limit, window.acknowledged + window.window) == allowed:
            self.costs.nothing()
        return Acknowledged(channel.id, count)

    def _on_redelivered(self, channel: _Channel, frame: Redelivered) -> RedeliveredNext:
        if not isinstance(channel.receiver, SettledReceiveWindow):
            raise _not_settling(frame)
        if channel.receiver.expects_returned:
            self.costs.useless += 1
        channel.receiver.expect_returned(frame.first, frame.count)
        return RedeliveredNext(channel.id)

    def _on_settle(self, channel: _Channel, frame: Settle) -> Settled:
        window = channel.sender
        if not isinstance(window, SettledSendWindow):
            raise _not_settling(frame)
        batches = window.settle(frame.ranges)
        if self.costs.expected < len(self._channels):
            self.costs.expected += 1  # the ACK beside it may have nothing more to grant
        if not frame.accepted:
            self.costs.slowing += sum(len(places) for _, places in batches)
        return Settled(channel.id, batches, frame.accepted)

    def _on_sender_close(self, channel: _Channel, frame: Close) -> Closed:
        assert channel.receiver is not None
        self._check_code(frame, SENDER_CODES)
        if frame.count != channel.receiver.received:
            raise ProtocolError(
                f"expected the close of channel {channel.id} after {channel.receiver.received} values, "
                f"got it after {frame.count}"
            )
        channel.receiver.discard_partial()
        if not channel.used:
            self.costs.unused()
        return Closed(channel.id, frame.code, frame.message, 0)

    def _on_receiver_close(self, channel: _Channel, frame: Close) -> Closed:
        self._check_code(frame, RECEIVER_CODES)
        if frame.code is Code.COUNT_REACHED and channel.count is None:
            raise ProtocolError(f"expected no COUNT_REACHED on channel {channel.id}, which has no count, got one")
        if frame.code is Code.COUNT_REACHED and frame.count != channel.count:
            raise ProtocolError(
                f"expected channel {channel.id} to reach a count of {channel.count}, got its end after {frame.count}"
            )
        assert channel.writing is not None
        window = channel.sender
        if channel.state is State.SENDING and not channel.used:
            self.costs.unused()
        if not window.settles:
            count = window.acknowledge(frame.count, 0, 0)
        elif frame.count == window.acknowledged:
            count = 0
        else:
            expected = f"the close of channel {channel.id} with {window.acknowledged} values settled"
            raise ProtocolError(f"expected {expected}, got it with {frame.count}")
        self.outbox.leave_line(channel.writing)
        return Closed(channel.id, frame.code, frame.message, count)

    # Going on over another stream

    @property
    def seen(self) -> int:
        """How many control frames of the peer have come."""
        return self._handled

    @property
    def positions(self) -> list[Position]:
        """How many values have come, for each channel where this side receives, or will."""
        return [
            Position(channel.id, 0 if channel.receiver is None else channel.receiver.received)
            for channel in self._channels.values()
            if not channel.sends
        ]

    def check_position(self, channel_id: int, received: int) -> bool:
        """Whether this side has begun to send on that channel. `ProtocolError` if the peer cannot have received that.

        It also names channels that it has asked for and that are not bound here, or not any more.
        """
        channel = self._channels.get(channel_id)
        if channel is not None and channel.writing is not None:
            channel.sender.check_rewind(channel_id, received)
            return True
        receives = channel is not None and not channel.sends
        unknown = self.role is Role.IMPORTER and channel_id >= self._next_id
        if received or receives or unknown:
            raise ProtocolError(
                f"expected no values received on channel {channel_id}, which sends none, got {received}"
            )
        return False

    def _check_closes(self, seen: int, positions: dict[int, int]) -> None:
        """Who has seen a sender's close has received all values before it."""
        unseen = self.outbox.closes_behind(seen)
        for channel in self._channels.values():
            writing = channel.writing
            if writing is None or not writing.closed or writing in unseen:
                continue
            sent = writing.window.written
            received = positions.get(channel.id, sent)
            if received != sent:
                expected = f"all {sent} values of channel {channel.id} before its close"
                raise ProtocolError(f"expected {expected}, got {received}")

    def rewind(self, seen: int, positions: dict[int, int]) -> None:
        """Goes back to what the peer has had: control frames, and values on each channel where it receives.

        `ProtocolError` if it cannot have had that; nothing is changed then. A channel that it does not name, it has
        closed: its last word is to come.
        """
        sending = [channel for channel in self._channels.values() if channel.writing is not None]
        self.outbox.check_seen(seen)
        for number, received in positions.items():
            self.check_position(number, received)
        self._check_closes(seen, positions)
        if seen:
            self.established = True
        self.outbox.rewind(seen)
        for channel in sending:
            assert channel.writing is not None
            if channel.id not in positions:
                channel.sender.discard_unwritten()
            else:
                channel.sender.rewind(positions[channel.id])
                if channel.writing.has_more:
                    self.outbox.get_in_line(channel.writing)
        for channel in self._channels.values():
            if channel.receiver is not None:
                channel.receiver.rewind()
                told = channel.receiver.delivered or channel.receiver.widened
                if channel.state in (State.RECEIVING, State.SETTLING) and told:
                    self.outbox.acknowledge(channel.id, channel.receiver)
        self._told = self._handled
        self.unfinished.clear()
        self.costs.expected += len(sending)  # acknowledgements that are told again
        self.hurry()

    def restart(self) -> None:
        """Begins anew with a peer that has nothing of this session: it must not be `established`."""
        assert not self.established
        self._peer = None
        self.resume_time = 0.0
        self.rewind(0, {})

    def _count(self) -> None:
        self._handled += 1
        if self.outbox.keeps and self._handled - self._told >= SEEN_INTERVAL:
            self._told = self._handled
            self.outbox.tell_seen(self._handled)

    def _on_seen(self, frame: Seen) -> None:
        if not self.outbox.keeps:
            raise self._unexpected(frame)
        self.established = True
        self.outbox.check_seen(frame.count)
        if not self.outbox.seen(frame.count):
            self.costs.useless += 1

    # Helpers

    def _check_code(self, frame: Close, allowed: frozenset[Code]) -> None:
        if frame.code not in allowed and not (frame.code is Code.WITHDRAWN and self.role is Role.EXPORTER):
            raise _wrong_code(frame, allowed)

    def _clamp(self, window: int) -> int:
        return max(1, min(window, self._limits.max_window))

    def _open(self, channel: _Channel, window: int) -> None:
        """Gives a channel the half that its direction asks for."""
        assert self._peer is not None
        limits = self._limits
        if channel.sends:
            granted = window if channel.count is None else min(window, channel.count)
            sender = SettledSendWindow if channel.settles else SendWindow
            send_window = sender(window, granted, limits.max_buffered_bytes, self._peer["buffer"])
            channel.writing = Writing(channel.id, send_window)
            self.costs.expected += 1  # an ACK that grants only bytes
            return
        receiver = SettledReceiveWindow if channel.settles else ReceiveWindow
        channel.receiver = receiver(window, self.first_buffer, channel.count, limits.max_value_size)
        share = min((limits.max_connection_bytes - self._allotted) // BUFFER_SHARE, limits.max_buffered_bytes)
        if share > self.first_buffer:
            self._allotted += share
            channel.receiver.widen(share)
            self.outbox.acknowledge(channel.id, channel.receiver)
            self.outbox.hurry()

    def _say_settled(self, channel_id: int) -> None:
        window = self._settled.pop(channel_id, None)
        if window is not None:
            for ranges, accepted in window.take_settled():
                self.outbox.say(Settle(channel_id, ranges, accepted))

    def _say_last_word(self, channel: _Channel) -> None:
        """As soon as all that it counts is confirmed."""
        delivered = 0
        if channel.receiver is not None:
            delivered = channel.receiver.delivered
            if channel.receiver.confirmed < delivered:
                self._unsaid[channel.id] = channel
                return
        self._unsaid.pop(channel.id, None)
        if channel.state is State.LAST_WORD:  # an import without an answer is closed already
            self._move(channel, State.CLOSED)
        self.outbox.say(Close(channel.id, delivered, *channel.last_word))

    def _command(self, channel: _Channel, command: Command) -> None:
        self._move(channel, self._COMMANDS[channel.state][command])

    def _move(self, channel: _Channel, following: State | None) -> None:
        """To the next state; None is BOUND."""
        if following is None:
            following = State.SENDING if channel.sends else State.RECEIVING
        channel.state = following
        self.unfinished.pop(channel.id, None)
        if following is State.CLOSED:
            del self._channels[channel.id]
            if self.role is Role.EXPORTER:
                self._take_back(channel)

    def _take_back(self, channel: _Channel) -> None:
        """What a closed channel had of what the importer may have."""
        self._names[channel.name] -= 1
        if not self._names[channel.name]:
            del self._names[channel.name]
        if channel.receiver is not None and channel.receiver.widened:
            self._allotted -= channel.receiver.byte_window

    # The table at the top of this module. For a frame: what it does (None: it is ignored), and the next state.

    _FRAMES: ClassVar[dict[State, dict[type[Frame], _Step]]] = {
        State.REQUESTED: {Accept: (_on_accept, _BOUND), Reject: (_on_reject, State.CLOSED)},
        State.ASKED: {Close: (_on_withdrawn, State.CLOSED)},
        State.SENDING: {
            Ack: (_on_ack, State.SENDING),
            Settle: (_on_settle, State.SENDING),
            Close: (_on_receiver_close, State.CLOSED),
        },
        State.SENT: {
            Ack: (_on_ack, State.SENT),
            Settle: (_on_settle, State.SENT),
            Close: (_on_receiver_close, State.CLOSED),
        },
        State.RECEIVING: {
            Data: (_on_data, State.RECEIVING),
            Redelivered: (_on_redelivered, State.RECEIVING),
            Close: (_on_sender_close, State.SETTLING),
        },
        State.SETTLING: {Close: (None, State.SETTLING)},
        State.LAST_WORD: dict.fromkeys((Data, Redelivered, Close), (None, State.LAST_WORD)),
        State.CLOSED: dict.fromkeys((Accept, Reject, Data, Redelivered, Ack, Settle, Close), (None, State.CLOSED)),
    }

    _COMMANDS: ClassVar[dict[State, dict[Command, State | None]]] = {
        State.REQUESTED: {Command.CLOSE: State.CLOSED},
        State.ASKED: {Command.ACCEPT: _BOUND, Command.REJECT: State.CLOSED},
        State.SENDING: {Command.CLOSE: State.SENT},
        State.RECEIVING: {Command.CLOSE: State.LAST_WORD},
        State.SETTLING: {Command.CLOSE: State.LAST_WORD},
    }


def _not_settling(frame: Redelivered | Settle) -> ProtocolError:
    channel = f"channel {frame.channel}, whose values are not settled one by one"
    return ProtocolError(f"expected no {kind_name(frame)} for {channel}, got one")


def _wrong_code(frame: Close, allowed: frozenset[Code] | set[Code]) -> ProtocolError:
    names = ", ".join(code.name for code in sorted(allowed))
    return ProtocolError(f"expected one of {names} in CLOSE of channel {frame.channel}, got {frame.code.name}")
