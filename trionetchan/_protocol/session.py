"""One side of a session: frames in, events out; commands in, bytes out. No I/O, no clock, no trio.

Feed what arrives to `receive_data` and handle the events it returns; give commands; send whatever `data_to_send` has.
Both sides send a hello first, without waiting. Then an importer binds names to channel ids, which it counts up from 0;
an id that is below the highest one seen and is not open any more was closed.

How a channel stands here is one `State`. The table below says which frames of the peer it may take:

    importer   REQUESTED ──ACCEPT──► SENDING | RECEIVING          REQUESTED ──REJECT──► closed
    exporter   ASKED ──accept()──► SENDING | RECEIVING            ASKED ──reject(), CLOSE──► closed
    sender     SENDING ──close()──► SENT ──CLOSE──► closed        SENDING ──CLOSE──► closed
    receiver   RECEIVING ──CLOSE──► SETTLING ──close()──► closed  RECEIVING ──close()──► closed

The receiver always has the last word: its CLOSE carries the final count of delivered values. A sender's CLOSE only says
that nothing more will come, and how much there was. Frames for a closed channel were on the way when it closed, and are
ignored. Whatever the table does not list breaks the protocol: the session says goodbye with the reason, reports
`Violated`, and takes nothing more.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs

from .._errors import Code, ProtocolError
from .._limits import Limits
from .events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    PeerLeft,
    Rejected,
    ValuesReceived,
    Violated,
)
from .frames import (
    DATA_OVERHEAD,
    MAGIC,
    VERSION,
    Accept,
    Ack,
    Close,
    Data,
    Frame,
    FrameCutter,
    Goodbye,
    Hello,
    Import,
    Ping,
    Pong,
    Reject,
    data_head,
    encode,
)
from .window import Batch, ReceiveWindow, SendWindow

__all__ = ["Role", "Session", "State"]

FRAME_SIZE = 128 * 2**10  # bytes of the largest frame that is sent
MAX_ANSWERS = 10_000  # frames owed to a peer that does not read them


class Role(enum.Enum):
    EXPORTER = "exporter"
    IMPORTER = "importer"


class State(enum.Enum):
    """How a channel stands on this side."""

    REQUESTED = "requested"
    ASKED = "asked"
    SENDING = "sending"
    SENT = "sent"
    RECEIVING = "receiving"
    SETTLING = "settling"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is a Python function, and a state is looked up for each frame


@attrs.define(eq=False)
class _Channel:
    """A channel that is not closed. Before it is bound `sender` and `receiver` are both None."""

    id: int
    state: State
    sends: bool
    window: int
    count: int | None
    sender: SendWindow | None = None
    receiver: ReceiveWindow | None = None
    close: tuple[Code, str] | None = None  # a sender's, to be written behind its data
    ready: bool = False  # whether it has its place among those that are written in turn


class Session:
    """One side of a session. A broken promise of the peer is an event, a wrong call of this side is a `KeyError`."""

    def __init__(self, role: Role, limits: Limits) -> None:
        self.role = role
        self._limits = limits
        self._session_frames = self._SESSION_FRAMES[role]
        self._cutter = FrameCutter(limits.max_frame_size)
        self._channels: dict[int, _Channel] = {}
        self._next_id = 0
        self._peer: dict[str, int] | None = None  # the parameters of its hello
        self._events: deque[Event] = deque()
        self.ended = False  # nothing more is taken from the peer
        self._goodbye: Goodbye | None = None
        self.gone = False  # the goodbye has been handed out: nothing more will come
        # Written in this order; a channel has at most one place in each of the last two.
        self._control: list[bytes] = [MAGIC, encode(Hello(VERSION, self._parameters()))]
        self._pong: Pong | None = None
        self._acks: dict[int, ReceiveWindow] = {}
        self._hurried = False
        self._ready: deque[_Channel] = deque()

    def _parameters(self) -> dict[str, int]:
        limits = self._limits
        return {
            "frame": limits.max_frame_size,
            "value": limits.max_value_size,
            "buffer": limits.max_buffered_bytes,
            "keepalive": int(min(limits.keepalive, 1e9) * 1000),
            "resume": 0,
        }

    # What the peer has said of itself

    @property
    def greeted(self) -> bool:
        """Whether the peer's hello has arrived."""
        return self._peer is not None

    @property
    def max_value_size(self) -> int:
        """The largest value, in bytes, that the peer accepts."""
        assert self._peer is not None
        return self._peer["value"]

    # Commands

    def request(self, name: str, *, receives: bool, window: int, count: int | None, schema: bytes) -> int:
        """Asks to bind a name; the answer is `Accepted` or `Rejected`. Returns the channel's id."""
        channel = _Channel(self._next_id, State.REQUESTED, not receives, self._clamp(window), count)
        self._next_id += 1
        self._channels[channel.id] = channel
        self._control.append(encode(Import(channel.id, name, receives, channel.window, count, schema)))
        return channel.id

    def accept(self, channel_id: int, *, window: int, schema: bytes) -> None:
        """Agrees to an import."""
        channel = self._channels[channel_id]
        own = self._clamp(window)
        # The smaller of the two sides' windows counts: a receiver grants no more, a sender uses no more.
        self._control.append(encode(Accept(channel_id, own, schema)))
        self._bind(channel, min(own, channel.window))

    def reject(self, channel_id: int, code: Code, message: str) -> None:
        """Refuses an import."""
        del self._channels[channel_id]
        self._control.append(encode(Reject(channel_id, code, message)))

    def sender(self, channel_id: int) -> SendWindow:
        """The window of a bound channel that sends from here."""
        window = self._channels[channel_id].sender
        assert window is not None
        return window

    def receiver(self, channel_id: int) -> ReceiveWindow:
        """The window of a bound channel that receives here."""
        window = self._channels[channel_id].receiver
        assert window is not None
        return window

    def send(self, channel_id: int, batch: Batch) -> None:
        """Queues a batch, for which there is credit."""
        channel = self._channels[channel_id]
        assert channel.sender is not None
        assert channel.state is State.SENDING
        channel.sender.send(batch)
        self._make_ready(channel)

    def acknowledge(self, channel_id: int) -> None:
        """The sender is to be told, after `hurry`, what has been delivered, and granted what that frees."""
        receiver = self._channels[channel_id].receiver
        assert receiver is not None
        self._acks[channel_id] = receiver

    def hurry(self) -> None:
        """Acknowledgements are due now."""
        self._hurried = bool(self._acks)

    def close(self, channel_id: int, code: Code, message: str = "") -> None:
        """Closes this side of the channel; a channel that is closed already stays so.

        A receiver's close ends the channel. A sender's follows what it has queued; hanging up drops what is not on the
        wire yet. An import without an answer is withdrawn.
        """
        channel = self._channels.get(channel_id)
        if channel is None or channel.state is State.SENT:
            return
        if channel.sender is not None:
            if code in (Code.HUNG_UP, Code.WITHDRAWN):
                channel.sender.discard_unwritten()
            channel.close = (code, message)
            channel.state = State.SENT
            self._make_ready(channel)
            return
        assert channel.state is not State.ASKED  # that is what `reject` is for
        del self._channels[channel_id]
        self._acks.pop(channel_id, None)
        delivered = 0 if channel.receiver is None else channel.receiver.delivered
        self._control.append(encode(Close(channel_id, delivered, code, message)))

    def ping(self, token: int) -> None:
        """Asks for a sign of life."""
        self._control.append(encode(Ping(token)))

    def leave(self, code: Code, message: str = "") -> None:
        """Says goodbye, behind all that is queued. Nothing is taken from the peer any more."""
        if not self.ended:
            self.ended = True
            self.hurry()
            self._goodbye = Goodbye(code, message)

    # Bytes out

    @property
    def must_answer(self) -> bool:
        """Whether there is something to say that does not wait."""
        if self.gone:
            return False
        return bool(self._ready or self._hurried or self._control or self._pong or self._goodbye)

    def data_to_send(self, size: int = FRAME_SIZE) -> list[bytes | memoryview]:
        """The next pieces to send, in order, about `size` bytes in all; none when there is nothing to say."""
        if self.gone:
            return []
        pieces: list[bytes | memoryview] = list(self._control)
        self._control.clear()
        if self._pong is not None:
            pieces.append(encode(self._pong))
            self._pong = None
        if self._hurried:
            for channel_id, receiver in self._acks.items():
                pieces.append(encode(Ack(channel_id, *receiver.announce())))
            self._acks.clear()
            self._hurried = False
        size -= sum(map(len, pieces))
        while self._ready and size > 0:
            channel = self._ready.popleft()
            assert channel.sender is not None
            size -= self._write(channel, channel.sender, pieces)
            channel.ready = channel.close is not None or channel.sender.next_to_write is not None
            if channel.ready:
                self._ready.append(channel)
        if self._goodbye is not None and not self._ready:
            pieces.append(encode(self._goodbye))
            self.gone = True
        return pieces

    def _write(self, channel: _Channel, window: SendWindow, pieces: list[bytes | memoryview]) -> int:
        """One frame of the channel: data, or the close behind it. Returns its size."""
        batch = window.next_to_write
        if batch is None:
            assert channel.close is not None
            code, message = channel.close
            channel.close = None
            pieces.append(encode(Close(channel.id, window.written, code, message)))
            return len(pieces[-1])
        assert self._peer is not None
        size = batch.size
        start = batch.offset
        end = min(size, start + min(self._peer["frame"], FRAME_SIZE) - DATA_OVERHEAD)
        batch.offset = end
        pieces.append(data_head(channel.id, batch.first, end < size, end - start))
        pieces += batch.cut(start, end)
        if end == size:
            window.wrote()
        return end - start + DATA_OVERHEAD

    def _make_ready(self, channel: _Channel) -> None:
        if not channel.ready:
            channel.ready = True
            self._ready.append(channel)

    # Bytes in

    def receive_data(self, data: bytes | bytearray) -> Iterator[Event]:
        """What these bytes, in whatever chunks they come, bring. Nothing after `PeerLeft` or `Violated`.

        Frames are taken as the iterator goes on: commands given on an event find the state that belongs to it.
        """
        if self.ended:
            return
        frames = self._cutter.cut(data)
        while not self.ended:
            try:
                frame = next(frames, None)
                if frame is None:
                    return
                self._receive(frame)
            except ProtocolError as error:
                self._break_off(Code.PROTOCOL_ERROR, str(error))
            while self._events:
                yield self._events.popleft()

    def _receive(self, frame: Frame) -> None:
        if self._peer is None and not isinstance(frame, Hello | Goodbye):
            raise ProtocolError(f"expected HELLO first, got {_name(frame)}")
        on_session = self._session_frames.get(type(frame))
        if on_session is not None:
            on_session(self, frame)
            return
        channel_id = getattr(frame, "channel", None)
        if channel_id is None or (isinstance(frame, Accept | Reject) and self.role is Role.EXPORTER):
            raise ProtocolError(f"expected no {_name(frame)} from an {_other(self.role).value}")
        channel = self._channels.get(channel_id)
        if channel is None and channel_id >= self._next_id:
            raise ProtocolError(f"expected a channel below {self._next_id}, got {_name(frame)} for {channel_id}")
        state = State.CLOSED if channel is None else channel.state
        on_channel = self._CHANNEL_FRAMES[state].get(type(frame))
        if on_channel is None:
            raise ProtocolError(f"expected no {_name(frame)} for channel {channel_id}, which is {state.value} here")
        on_channel(self, channel, frame)

    def _on_hello(self, frame: Hello) -> None:
        if self._peer is not None:
            raise ProtocolError("expected one HELLO, got a second")
        if frame.version != VERSION:
            message = f"expected protocol version {VERSION}, got version {frame.version}"
            self._break_off(Code.UNSUPPORTED_VERSION, message)
            return
        peer = {"frame": 64 * 2**10, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0} | frame.parameters
        for parameter, least in ("frame", 64 * 2**10), ("value", 1), ("buffer", 1):
            if peer[parameter] < least:
                raise ProtocolError(f"expected a parameter {parameter!r} of at least {least}, got {peer[parameter]}")
        self._peer = peer
        self._events.append(Greeted())

    def _on_import(self, frame: Import) -> None:
        if frame.channel != self._next_id:
            raise ProtocolError(f"expected the channel id {self._next_id} next, got {frame.channel}")
        if not frame.window:
            raise ProtocolError(f"expected a window of at least 1, got 0, on channel {frame.name!r}")
        if len(self._control) > MAX_ANSWERS:
            raise ProtocolError(f"expected a peer that reads, got {len(self._control)} answers that wait for it")
        self._next_id += 1
        if len(self._channels) >= self._limits.max_channels:
            message = f"{frame.name}: expected at most {self._limits.max_channels} channels at a time, got one more"
            self._control.append(encode(Reject(frame.channel, Code.LIMIT, message)))
            return
        channel = _Channel(frame.channel, State.ASKED, frame.receives, self._clamp(frame.window), frame.count)
        self._channels[frame.channel] = channel
        request = ImportRequested(frame.channel, frame.name, frame.receives, frame.count, frame.schema)
        self._events.append(request)

    def _on_ping(self, frame: Ping) -> None:
        self._pong = Pong(frame.token)  # one at a time: a peer that floods is answered once

    def _on_pong(self, _frame: Pong) -> None:
        """Any byte is a sign of life, and this is nothing more."""

    def _on_goodbye(self, frame: Goodbye) -> None:
        self._events.append(PeerLeft(frame.code, frame.message))
        self._ready.clear()
        self.leave(Code.FINISHED)

    def _on_accept(self, channel: _Channel, frame: Accept) -> None:
        if not frame.window:
            raise ProtocolError(f"expected a window of at least 1, got 0, on channel {channel.id}")
        self._bind(channel, min(channel.window, frame.window))
        self._events.append(Accepted(channel.id, frame.schema))

    def _on_reject(self, channel: _Channel, frame: Reject) -> None:
        del self._channels[channel.id]
        self._events.append(Rejected(channel.id, frame.code, frame.message))

    def _on_withdrawn(self, channel: _Channel, frame: Close) -> None:
        del self._channels[channel.id]
        self._events.append(Closed(channel.id, frame.code, frame.message, 0))

    def _on_data(self, channel: _Channel, frame: Data) -> None:
        assert channel.receiver is not None
        whole = channel.receiver.receive(frame.first, frame.payload, more=frame.more)
        if whole is not None:
            self._events.append(ValuesReceived(channel.id, *whole))

    def _on_ack(self, channel: _Channel, frame: Ack) -> None:
        assert channel.sender is not None
        count = channel.sender.acknowledge(frame.delivered, frame.value_limit, frame.byte_limit)
        self._events.append(Acknowledged(channel.id, count))

    def _on_sender_close(self, channel: _Channel, frame: Close) -> None:
        assert channel.receiver is not None
        if frame.count != channel.receiver.received:
            raise ProtocolError(
                f"expected the close of channel {channel.id} after {channel.receiver.received} values, "
                f"got it after {frame.count}"
            )
        channel.receiver.discard_partial()
        channel.state = State.SETTLING
        self._events.append(Closed(channel.id, frame.code, frame.message, 0))

    def _on_receiver_close(self, channel: _Channel, frame: Close) -> None:
        assert channel.sender is not None
        count = channel.sender.acknowledge(frame.count, 0, 0)
        del self._channels[channel.id]
        if channel.ready:
            self._ready.remove(channel)
        self._events.append(Closed(channel.id, frame.code, frame.message, count))

    def _on_late(self, _channel: _Channel | None, _frame: Frame) -> None:
        """On the way when the channel closed."""

    # Helpers

    def _break_off(self, code: Code, message: str) -> None:
        self._events.append(Violated(message))
        self._ready.clear()
        self.leave(code, message)

    def _clamp(self, window: int) -> int:
        return max(1, min(window, self._limits.max_window))

    def _bind(self, channel: _Channel, window: int) -> None:
        assert self._peer is not None
        if channel.sends:
            granted = window if channel.count is None else min(window, channel.count)
            channel.sender = SendWindow(window, granted, self._limits.max_buffered_bytes, self._peer["buffer"])
            channel.state = State.SENDING
        else:
            limits = self._limits
            channel.receiver = ReceiveWindow(window, limits.max_buffered_bytes, channel.count, limits.max_value_size)
            channel.state = State.RECEIVING

    # What the peer may send, and when

    _ALWAYS: ClassVar[dict[type[Frame], Callable[[Any, Any], None]]] = {
        Hello: _on_hello,
        Ping: _on_ping,
        Pong: _on_pong,
        Goodbye: _on_goodbye,
    }

    _SESSION_FRAMES: ClassVar[dict[Role, dict[type[Frame], Callable[[Any, Any], None]]]] = {
        Role.EXPORTER: {**_ALWAYS, Import: _on_import},
        Role.IMPORTER: _ALWAYS,
    }

    _CHANNEL_FRAMES: ClassVar[dict[State, dict[type[Frame], Callable[[Any, Any, Any], None]]]] = {
        State.REQUESTED: {Accept: _on_accept, Reject: _on_reject},
        State.ASKED: {Close: _on_withdrawn},
        State.SENDING: {Ack: _on_ack, Close: _on_receiver_close},
        State.SENT: {Ack: _on_ack, Close: _on_receiver_close},
        State.RECEIVING: {Data: _on_data, Close: _on_sender_close},
        State.SETTLING: {Close: _on_late},
        State.CLOSED: dict.fromkeys((Accept, Reject, Data, Ack, Close), _on_late),
    }


def _name(frame: Frame) -> str:
    return type(frame).__name__.upper()


def _other(role: Role) -> Role:
    return Role.IMPORTER if role is Role.EXPORTER else Role.EXPORTER
