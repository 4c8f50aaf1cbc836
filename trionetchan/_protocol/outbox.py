"""What a session has to say, and in which order it is said.

Control frames first, then acknowledgements, then data: a frame of each channel that has some, in turn, so that no
channel and no large value holds up another. A channel's close follows its data.

In a session that can be resumed, control frames and the closes of senders are counted, and kept until the peer says how
many it has seen. When the stream breaks, those that it has not seen are said again on the next one. Acknowledgements
only grow, and the windows keep the data.
"""

from __future__ import annotations

from collections import deque

import attrs

from .._errors import Code, ProtocolError
from .frames import DATA_OVERHEAD, Ack, Close, Frame, Redelivered, Seen, data_head, encode
from .window import ReceiveWindow, SendWindow

__all__ = ["FRAME_SIZE", "Outbox", "Piece", "Writing"]

FRAME_SIZE = 128 * 2**10  # bytes of the largest frame that is sent

OBJECT_SIZE = 64  # bytes that a frame costs beside its own

Piece = bytes | memoryview


@attrs.define(eq=False)
class Writing:
    """What is to be written of a channel that sends: the batches in its window, then perhaps its close."""

    channel: int
    window: SendWindow
    close: tuple[Code, str] | None = None
    closed: bool = False  # whether the close is written
    in_line: bool = False  # whether it has its place among those that are written in turn

    @property
    def close_is_next(self) -> bool:
        """Whether all that is left to write is the close."""
        return self.close is not None and not self.closed and self.window.next_to_write is None

    @property
    def has_more(self) -> bool:
        """Whether something is left to write."""
        return self.window.next_to_write is not None or (self.close is not None and not self.closed)

    def next_frame(self, max_size: int) -> list[Piece]:
        """The next frame, of at most `max_size` bytes, in pieces."""
        batch = self.window.next_to_write
        if batch is None:
            assert self.close is not None
            code, message = self.close
            self.closed = True
            return [encode(Close(self.channel, self.window.written, code, message))]
        start, size = batch.written, batch.size
        end = batch.written = min(size, start + max_size - DATA_OVERHEAD)
        if end == size:
            self.window.wrote()
        pieces = [data_head(self.channel, batch.first, end < size, end - start), *batch.cut(start, end)]
        if batch.redelivered and not start:
            pieces.insert(0, encode(Redelivered(self.channel, batch.first, batch.count)))
        return pieces


def _cost(kept: bytes | Writing) -> int:
    """What holding it costs, in bytes."""
    return OBJECT_SIZE if isinstance(kept, Writing) else OBJECT_SIZE + len(kept)


class Outbox:
    """Frames on their way out. An acknowledgement waits here until `hurry`."""

    def __init__(self) -> None:
        self.left_over = False
        """Whether the last acknowledgements that were written left out what is not confirmed."""
        self.keeps = False
        """Whether what is counted is kept until the peer has seen it."""
        self._kept: deque[bytes | Writing] = deque()  # written; a `Writing` stands for its close
        self._forgotten = 0  # how many were kept before these
        self._seen: Seen | None = None  # to be said
        self._control: list[bytes] = []
        self._control_size = 0
        self._kept_size = 0
        self._acks: dict[int, ReceiveWindow] = {}
        self._hurried = False
        self._line: deque[Writing] = deque()  # the channels that have data or a close to write

    def __len__(self) -> int:
        """How many control frames wait."""
        return len(self._control)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of control frames wait, and what it costs to hold them."""
        return self._control_size

    @property
    def unseen_bytes(self) -> int:
        """The same, of those that are kept."""
        return self._kept_size

    @property
    def unseen(self) -> int:
        """How many are kept, as the peer has not said that it has them."""
        return len(self._kept)

    @property
    def must_answer(self) -> bool:
        """Whether there is something to say that does not wait."""
        return bool(self._line or self._hurried or self._control or self._seen)

    @property
    def has_undue(self) -> bool:
        """Whether there is something to acknowledge that is not due yet, or cannot be told of yet."""
        if not self._hurried:
            return bool(self._acks)
        return any(window.confirmed < window.delivered for window in self._acks.values())

    @property
    def unacknowledged(self) -> list[ReceiveWindow]:
        """The windows of which there is something to acknowledge."""
        return list(self._acks.values())

    def say(self, frame: Frame) -> None:
        """A control frame."""
        encoded = encode(frame)
        self._control.append(encoded)
        self._control_size += _cost(encoded)

    def acknowledge(self, channel_id: int, window: ReceiveWindow) -> None:
        """The sender is to be told, after `hurry`, what has been delivered and confirmed."""
        window.ack_pending = True
        self._acks[channel_id] = window

    def no_acknowledgement(self, channel_id: int) -> None:
        """The channel's close tells it."""
        self._acks.pop(channel_id, None)
        self._hurried = self._hurried and bool(self._acks)

    def hurry(self) -> None:
        """Acknowledgements are due now."""
        self._hurried = bool(self._acks)

    def get_in_line(self, writing: Writing) -> None:
        """The channel has something to write."""
        if not writing.in_line:
            writing.in_line = True
            self._line.append(writing)

    def leave_line(self, writing: Writing) -> None:
        """Nothing more is to be written of the channel."""
        if writing.in_line:
            writing.in_line = False
            self._line.remove(writing)

    def drop_data(self) -> None:
        """The peer takes no more data."""
        for writing in self._line:
            writing.in_line = False
        self._line.clear()

    # What is kept for a resume

    def tell_seen(self, count: int) -> None:
        """The peer can forget what it has kept, up to this count."""
        self._seen = Seen(count)

    def keep_nothing(self) -> None:
        """The session cannot be resumed."""
        self.keeps = False
        self._kept.clear()
        self._kept_size = 0

    def check_seen(self, count: int) -> None:
        """`ProtocolError` unless the peer may have seen just so many."""
        written = self._forgotten + len(self._kept)
        if not self._forgotten <= count <= written:
            raise ProtocolError(f"expected from {self._forgotten} to {written} control frames seen, got {count}")

    def closes_behind(self, count: int) -> list[Writing]:
        """After `check_seen`: the channels whose closes are written, and of which a peer that has so many has none."""
        kept = list(self._kept)[count - self._forgotten :]
        return [writing for writing in kept if isinstance(writing, Writing)]

    def seen(self, count: int) -> bool:
        """After `check_seen`: the peer has so many. Whether that is news."""
        news = self._forgotten < count
        while self._forgotten < count:
            self._kept_size -= _cost(self._kept.popleft())
            self._forgotten += 1
        return news

    def rewind(self, count: int) -> None:
        """On a new stream, after `check_seen`: what the peer has not seen of what was said is said again."""
        self.seen(count)
        for writing in self._kept:
            if isinstance(writing, Writing):
                writing.closed = False
        self._control[:0] = [frame for frame in self._kept if isinstance(frame, bytes)]
        self._kept.clear()
        self._control_size = sum(map(_cost, self._control))
        self._kept_size = 0
        self._seen = None  # the peer was told when the stream began
        self.drop_data()

    # Bytes out

    def data_to_send(self, size: int, peer_frame_size: int) -> list[Piece]:
        """The next pieces to send, in order, about `size` bytes in all. No data frame is larger than the peer takes."""
        pieces: list[Piece] = list(self._control)
        if self.keeps:
            self._kept.extend(self._control)
            self._kept_size += self._control_size
        self._control.clear()
        self._control_size = 0
        if self._seen is not None:
            pieces.append(encode(self._seen))
            self._seen = None
        self.left_over = False
        if self._hurried:
            self._write_acknowledgements(pieces)
        size -= sum(map(len, pieces))
        max_size = min(peer_frame_size, FRAME_SIZE)
        while self._line and size > 0:
            writing = self._line.popleft()
            if self.keeps and writing.close_is_next:
                self._kept.append(writing)
                self._kept_size += _cost(writing)
            frame = writing.next_frame(max_size)
            size -= sum(map(len, frame))
            pieces += frame
            writing.in_line = writing.has_more
            if writing.in_line:
                self._line.append(writing)
        return pieces

    def _write_acknowledgements(self, pieces: list[Piece]) -> None:
        waiting: dict[int, ReceiveWindow] = {}
        for channel_id, window in self._acks.items():
            if window.confirmed > window.announced or not window.unbuffered:
                pieces.append(encode(Ack(channel_id, *window.announce())))
            if window.ack_pending:
                waiting[channel_id] = window
        self._acks = waiting
        self._hurried = False
        self.left_over = bool(waiting)
