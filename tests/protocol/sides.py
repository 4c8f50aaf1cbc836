"""A whole side of a stream without a network: a session and its wire, as the connection puts them together."""

from __future__ import annotations

from collections.abc import Iterator

from trionetchan._batch import Batch
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import Event, Greeted, ResumeRequested, TurnOver
from trionetchan._protocol.outbox import FRAME_SIZE, Piece
from trionetchan._protocol.resuming import SessionKey
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.window import ReceiveWindow, SendWindow
from trionetchan._protocol.wire import Wire

__all__ = ["ResumableSide", "Side", "events_of"]


def events_of(wire: Wire, data: bytes | bytearray) -> Iterator[Event]:
    """What these bytes bring. Where others have their turn depends on the chunks, and is left out."""
    return (event for event in wire.receive_data(data) if not isinstance(event, TurnOver))


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
        return events_of(self.wire, data)

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


class ResumableSide(Side):
    """One side of a session over one stream after the other. An importer begins it with this key."""

    def __init__(self, role: Role, limits: Limits, key: SessionKey) -> None:
        super().__init__(role, limits)
        self._limits = limits
        self._importer_key = key
        self._known: SessionKey | None = None  # the exporter's, once it has been told
        self._streams = 0

    def stream(self, nonce: bytes) -> None:
        """A new one. Of the last one nothing more is read, and nothing more is written on it."""
        self.wire.abandon()
        self._streams += 1
        if self.role is Role.IMPORTER:
            resumes = self._streams > 1
            self.wire = Wire(self.session, self._limits, nonce=nonce, key=self._importer_key, resumes=resumes)
        else:
            session = self.session if self._known is None else Session(self.role, self._limits)
            self.wire = Wire(session, self._limits, nonce=nonce)

    def receive_data(self, data: bytes | bytearray) -> Iterator[Event]:
        """A resume that is proved is accepted, and every other one refused: there is no event of that."""
        for event in events_of(self.wire, data):
            if isinstance(event, ResumeRequested):
                self._answer(event)
                continue
            if isinstance(event, Greeted) and self.role is Role.EXPORTER:
                self._known = self.wire.key
            yield event

    def _answer(self, request: ResumeRequested) -> None:
        key = self._known
        if (
            key is None
            or key.id != request.session
            or not key.check_importer(request.epoch, request.proof, request.nonces)
        ):
            self.wire.refuse("no such session")
        else:
            self.wire.resume(self.session, key)
