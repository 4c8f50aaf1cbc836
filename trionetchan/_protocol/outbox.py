"""What a session has to say, and in which order it is said.

Control frames first, then acknowledgements, then data: a frame of each channel that has some, in turn, so that no
channel and no large value holds up another. A channel's close follows its data.
"""

from __future__ import annotations

from collections import deque

import attrs

from .._errors import Code
from .frames import DATA_OVERHEAD, Ack, Close, Frame, Redelivered, data_head, encode
from .window import ReceiveWindow, SendWindow

__all__ = ["FRAME_SIZE", "Outbox", "Piece", "Writing"]

FRAME_SIZE = 128 * 2**10  # bytes of the largest frame that is sent

Piece = bytes | memoryview


@attrs.define(eq=False)
class Writing:
    """What is to be written of a channel that sends: the batches in its window, then perhaps its close."""

    channel: int
    window: SendWindow
    close: tuple[Code, str] | None = None
    in_line: bool = False  # whether it has its place among those that are written in turn

    def next_frame(self, max_size: int) -> list[Piece]:
        """The next frame, of at most `max_size` bytes, in pieces."""
        batch = self.window.next_to_write
        if batch is None:
            assert self.close is not None
            code, message = self.close
            self.close = None
            return [encode(Close(self.channel, self.window.written, code, message))]
        start, size = batch.written, batch.size
        end = batch.written = min(size, start + max_size - DATA_OVERHEAD)
        if end == size:
            self.window.wrote()
        pieces = [data_head(self.channel, batch.first, end < size, end - start), *batch.cut(start, end)]
        if batch.redelivered and not start:
            pieces.insert(0, encode(Redelivered(self.channel, batch.first, batch.count)))
        return pieces


class Outbox:
    """Frames on their way out. An acknowledgement waits here until `hurry`."""

    def __init__(self) -> None:
        self.left_over = False
        """Whether the last acknowledgements that were written left out what is not confirmed."""
        self._control: list[bytes] = []
        self._acks: dict[int, ReceiveWindow] = {}
        self._hurried = False
        self._line: deque[Writing] = deque()  # the channels that have data or a close to write

    def __len__(self) -> int:
        """How many control frames wait."""
        return len(self._control)

    @property
    def must_answer(self) -> bool:
        """Whether there is something to say that does not wait."""
        return bool(self._line or self._hurried or self._control)

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
        self._control.append(encode(frame))

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

    def data_to_send(self, size: int, peer_frame_size: int) -> list[Piece]:
        """The next pieces to send, in order, about `size` bytes in all. No data frame is larger than the peer takes."""
        pieces: list[Piece] = list(self._control)
        self._control.clear()
        self.left_over = False
        if self._hurried:
            self._write_acknowledgements(pieces)
        size -= sum(map(len, pieces))
        max_size = min(peer_frame_size, FRAME_SIZE)
        while self._line and size > 0:
            writing = self._line.popleft()
            frame = writing.next_frame(max_size)
            size -= sum(map(len, frame))
            pieces += frame
            writing.in_line = writing.close is not None or writing.window.next_to_write is not None
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
