"""A whole side of a stream without a network: a session and its wire, as the connection puts them together."""

from __future__ import annotations

from collections.abc import Iterator

from trionetchan._batch import Batch
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import Event
from trionetchan._protocol.outbox import FRAME_SIZE, Piece
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.window import ReceiveWindow, SendWindow
from trionetchan._protocol.wire import Wire

__all__ = ["Side"]


class Side:
    """One side: commands and bytes in, events and bytes out."""

    def __init__(self, role: Role, limits: Limits) -> None:
        self.session = Session(role, limits)
        self.wire = Wire(self.session, limits)
        self.role = role

    # The stream

    @property
    def ended(self) -> bool:
        return self.wire.ended

    @property
    def gone(self) -> bool:
        return self.wire.over

    @property
    def must_answer(self) -> bool:
        return self.wire.must_answer

    def receive_data(self, data: bytes | bytearray) -> Iterator[Event]:
        return self.wire.receive_data(data)

    def data_to_send(self, size: int = FRAME_SIZE) -> list[Piece]:
        return self.wire.data_to_send(size)

    def ping(self, token: int) -> None:
        self.wire.ping(token)

    def leave(self, code: Code, message: str = "") -> None:
        self.wire.leave(code, message)

    # The channels

    @property
    def max_value_size(self) -> int:
        return self.session.max_value_size

    def request(
        self, name: str, *, receives: bool, window: int, count: int | None, schema: bytes, settles: bool = False
    ) -> int:
        return self.session.request(name, receives=receives, window=window, count=count, schema=schema, settles=settles)

    def accept(self, channel_id: int, *, window: int, schema: bytes) -> None:
        self.session.accept(channel_id, window=window, schema=schema)

    def reject(self, channel_id: int, code: Code, message: str) -> None:
        self.session.reject(channel_id, code, message)

    def sender(self, channel_id: int) -> SendWindow:
        return self.session.sender(channel_id)

    def receiver(self, channel_id: int) -> ReceiveWindow:
        return self.session.receiver(channel_id)

    def send(self, channel_id: int, batch: Batch) -> None:
        self.session.send(channel_id, batch)

    def acknowledge(self, channel_id: int) -> None:
        self.session.acknowledge(channel_id)

    def settle(self, channel_id: int, number: int, *, accepted: bool) -> None:
        self.session.settle(channel_id, number, accepted=accepted)

    def hurry(self) -> None:
        self.session.hurry()

    def close(self, channel_id: int, code: Code, message: str = "") -> None:
        self.session.close(channel_id, code, message)
