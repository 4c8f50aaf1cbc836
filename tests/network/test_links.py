"""A peer and its links, alone: a real session, events by hand, and channels that write down what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from trionetchan import ConnectionLostError, Limits, ProtocolError
from trionetchan._batch import Batch, array_of
from trionetchan._errors import Code
from trionetchan._network.links import ReceiveLink, SendLink
from trionetchan._network.peer import Answer, Peer, Request
from trionetchan._ports import ReceivingLink, SendingLink
from trionetchan._protocol.events import Acknowledged, Closed, ImportRequested, PeerLeft, ValuesReceived
from trionetchan._protocol.frames import MAGIC, Accept, Ack, Close, Data, Frame, FrameCutter, Import, Reject
from trionetchan._protocol.session import Role

INT = b"\x81\x81\x03"
VALUE = array_of([b"\x05"])


class Channel:
    """Writes down what its links tell."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def acknowledged(self, link: SendingLink, count: int) -> None:
        self.told.append(("acknowledged", count))

    def link_closed(self, link: SendingLink, code: Code | None, message: str) -> None:
        self.told.append(("closed", code, message))

    def settled(self, link: SendingLink, batches: Sequence[tuple[Batch, list[int]]], *, accepted: bool) -> None:
        self.told.append(("settled", batches, accepted))

    def arrived(self, link: ReceivingLink, payload: bytes, *, redelivered: bool = False) -> None:
        self.told.append(("arrived", payload, *(["redelivered"] if redelivered else [])))

    def sender_left(self, link: ReceivingLink, code: Code | None, message: str) -> None:
        self.told.append(("left", code, message))

    def lease_renewed(self, link: ReceivingLink) -> None:
        self.told.append(("lease renewed",))


class Side:
    """A peer whose other side is a list of frames, and its owner and writer."""

    def __init__(self, role: Role) -> None:
        self.peer = Peer(role, Limits(), self)
        self.peer.session.greet({"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0})
        self.peer.connect(self)
        self.requests: list[ImportRequested] = []
        self.ticks = 0
        self.limits: list[str] = []
        self.growths = 0
        self.written: list[Frame] = []

    def import_requested(self, peer: Peer, request: ImportRequested) -> None:
        self.requests.append(request)

    def tick(self) -> None:
        self.ticks += 1

    def reached(self, limit: str) -> None:
        self.limits.append(limit)

    def grew(self) -> None:
        self.growths += 1

    def peer_changed(self, peer: Peer, address: str | None, /) -> None: ...

    def flush(self) -> None:
        self.written += FrameCutter(2**30).cut(MAGIC + b"".join(self.peer.session.data_to_send(2**20)))

    def fence(self) -> None:
        raise AssertionError("there is one stream")

    def hears(self, *frames: Frame) -> None:
        for frame in frames:
            event = self.peer.session.receive(frame)
            if event is not None:
                self.peer.handle(event)

    def said(self) -> list[Frame]:
        self.flush()
        written, self.written = self.written, []
        return written


def importer(*, receives: bool, count: int | None = None) -> tuple[Side, Request]:
    side = Side(Role.IMPORTER)
    request = side.peer.request("jobs", receives=receives, window=4, count=count, schema=INT)
    assert side.said() == [Import(0, "jobs", receives, 4, count, INT)]
    return side, request


def taken(side: Side, request: Request) -> SendLink | ReceiveLink:
    answer = side.peer.take(request)
    assert answer is not None
    assert answer.link is not None
    return answer.link


async def test_a_link_that_nobody_has_taken_keeps_what_comes_and_tells_it_in_order() -> None:
    side, request = importer(receives=True)
    side.hears(Accept(0, 4, INT), Data(0, 0, False, VALUE), Data(0, 1, False, VALUE), Close(0, 2, Code.FINISHED, "bye"))
    assert request.answered.is_set()
    link = taken(side, request)
    assert isinstance(link, ReceiveLink)
    assert link.undelivered == 2
    channel = Channel()
    link.attach(channel, unbuffered=True)
    assert channel.told == [("arrived", VALUE), ("arrived", VALUE), ("left", Code.FINISHED, "bye")]
    assert side.peer.session.receiver(0).unbuffered


@pytest.mark.parametrize("lost", [False, True])
async def test_a_sending_link_that_nobody_has_taken_keeps_what_comes(lost: bool) -> None:
    side, request = importer(receives=False)
    side.hears(Accept(0, 4, INT), Ack(0, 0, 9, 2**20))
    if lost:
        side.peer.lose(None)
    else:
        side.hears(Close(0, 0, Code.HUNG_UP, "bye"))
    link = taken(side, request)
    assert isinstance(link, SendLink)
    assert (link.closing, link.credit) == (True, 0)
    channel = Channel()
    link.attach(channel)
    end = ("closed", None, "the connection was lost")
    assert channel.told == [
        ("acknowledged", 0),
        *([end] if lost else [("acknowledged", 0), ("closed", Code.HUNG_UP, "bye")]),
    ]


async def test_a_sending_link_as_the_port_says() -> None:
    side, request = importer(receives=False)
    side.hears(Accept(0, 4, INT))
    link = taken(side, request)
    assert isinstance(link, SendLink)
    channel = Channel()
    link.attach(channel)
    assert (link.window, link.credit, link.sent, link.acknowledged, link.unacknowledged) == (4, 4, 0, 0, 0)
    assert link.max_value_size == 2**20
    assert link.fits(100, 4)
    assert not link.fits(100, 5)
    batch = Batch(array_of([b"\x05"] * 3), 3)
    link.send(batch)
    assert side.said() == [Data(0, 0, False, batch.payload)]
    side.hears(Ack(0, 2, 6, 2**20))
    assert (link.credit, link.sent, link.acknowledged, link.unacknowledged) == (3, 3, 2, 1)
    assert list(link.unacknowledged_batches()) == [(batch, range(2, batch.count))]
    link.close(Code.LIMIT, "too large")
    link.close(Code.FINISHED)
    assert link.credit == 0
    assert side.said() == [Close(0, 3, Code.LIMIT, "too large")]
    side.hears(Close(0, 3, Code.FINISHED, "as you like"))
    assert channel.told == [("acknowledged", 2), ("acknowledged", 1), ("closed", Code.LIMIT, "too large")]


async def test_a_receiving_link_as_the_port_says() -> None:
    side, request = importer(receives=True, count=3)
    side.hears(Accept(0, 4, INT), Data(0, 0, False, array_of([b"\x05"] * 3)))
    link = taken(side, request)
    assert isinstance(link, ReceiveLink)
    link.attach(Channel(), unbuffered=False)
    assert (link.undelivered, link.exhausted) == (3, False)
    assert link.delivered(1, last=False, waited=False) is False
    assert link.delivered(2, last=True, waited=False) is True
    assert (link.undelivered, link.exhausted) == (0, True)
    assert side.peer.session.has_undue or side.said()
    link.close(Code.COUNT_REACHED)
    assert side.said()[-1:] == [Close(0, 3, Code.COUNT_REACHED, "")]


# Withdrawing


@pytest.mark.parametrize("receives", [False, True])
@pytest.mark.parametrize("when", ["asked", "accepted", "rejected", "closed", "lost", "taken"])
async def test_withdrawing_in_every_state_leaves_no_trace(receives: bool, when: str) -> None:
    side, request = importer(receives=receives)
    if when in ("accepted", "closed", "taken"):
        side.hears(Accept(0, 4, INT))
    if when == "rejected":
        side.hears(Reject(0, Code.NO_SUCH_CHANNEL, "no"))
    if when == "closed":
        side.hears(Close(0, 0, Code.FINISHED, ""))
    if when == "lost":
        side.peer.lose(None)
    if when == "taken":
        side.peer.take(request)
    side.peer.withdraw(request)
    side.peer.withdraw(request)
    said = side.said()
    still_open = when in ("asked", "accepted", "taken") or (when == "closed" and receives)
    assert said == ([Close(0, 0, Code.WITHDRAWN, "")] if still_open else [])
    # Late frames find nobody.
    late: list[Frame] = [] if when == "lost" else [Accept(0, 4, INT)] if when == "asked" else []
    side.hears(*late)
    if when in ("accepted", "taken"):
        side.hears(Data(0, 0, False, VALUE) if receives else Close(0, 0, Code.FINISHED, ""))
    again = side.peer.request("jobs", receives=receives, window=4, count=None, schema=INT)
    assert again.channel_id == 1


@pytest.mark.parametrize("event", [ValuesReceived(7, VALUE, 1), Acknowledged(7, 1), Closed(7, Code.FINISHED, "", 0)])
async def test_events_of_channels_that_nobody_has_are_ignored(event: Any) -> None:
    side = Side(Role.EXPORTER)
    side.peer.handle(event)
    assert side.said() == []


async def test_an_event_of_the_stream_is_none_of_the_peers_business() -> None:
    with pytest.raises(AssertionError):
        Side(Role.EXPORTER).peer.handle(PeerLeft(Code.FINISHED, ""))


# An exporter


async def test_an_exporter_answers() -> None:
    side = Side(Role.EXPORTER)
    side.hears(
        Import(0, "jobs", True, 4, None, INT),
        Import(1, "words", False, 4, None, INT),
        Import(2, "x", True, 4, None, INT),
    )
    one, two, three = side.requests
    assert isinstance(side.peer.accept(one, window=9, schema=INT), SendLink)
    assert isinstance(side.peer.accept(two, window=9, schema=INT), ReceiveLink)
    side.peer.reject(three, Code.NO_SUCH_CHANNEL, "no")
    assert side.said() == [
        Accept(0, 9, INT),
        Accept(1, 9, INT),
        Reject(2, Code.NO_SUCH_CHANNEL, "no"),
        Ack(1, 0, 4, 2**22),
    ]
    side.peer.tick()
    assert side.ticks == 1


@pytest.mark.parametrize("role", Role)
async def test_a_frame_of_the_wrong_side_is_told_with_its_name(role: Role) -> None:
    wrong = Reject(0, Code.LIMIT, "") if role is Role.EXPORTER else Import(0, "jobs", True, 4, None, INT)
    expected = "from an importer" if role is Role.EXPORTER else "from an exporter"
    with pytest.raises(ProtocolError, match=expected):
        Side(role).hears(wrong)


# Losing the peer


async def test_a_lost_peer_is_told_to_every_link_once_and_takes_nothing_more() -> None:
    side = Side(Role.EXPORTER)
    side.hears(Import(0, "jobs", True, 4, None, INT), Import(1, "words", False, 4, None, INT))
    sends, receives = (side.peer.accept(request, window=4, schema=INT) for request in side.requests)
    channels = Channel(), Channel()
    assert isinstance(sends, SendLink)
    assert isinstance(receives, ReceiveLink)
    sends.attach(channels[0])
    receives.attach(channels[1], unbuffered=False)
    side.hears(Data(1, 0, False, VALUE))
    side.said()
    failure = ConnectionLostError("gone")
    side.peer.lose(failure)
    side.peer.lose(None)
    side.peer.disconnect(side, None)
    assert (side.peer.failure, side.peer.lost) == (failure, True)
    assert channels[0].told == [("closed", None, "the connection was lost")]
    assert channels[1].told == [("arrived", VALUE), ("left", None, "the connection was lost")]
    receives.delivered(1, last=True, waited=False)
    receives.close(Code.FINISHED)
    sends.close(Code.FINISHED)
    side.peer.flush()
    assert side.written == []
    assert (receives.undelivered, sends.credit) == (0, 0)


async def test_an_import_that_waits_is_told_that_the_peer_is_lost() -> None:
    side, request = importer(receives=True)
    side.peer.lose(None)
    with trio.fail_after(1):
        await request.answered.wait()
    assert side.peer.take(request) is None


async def test_a_refusal_is_an_answer() -> None:
    side, request = importer(receives=True)
    side.hears(Reject(0, Code.WRONG_DIRECTION, "no"))
    answer = side.peer.take(request)
    assert answer == Answer(code=Code.WRONG_DIRECTION, message="no")
