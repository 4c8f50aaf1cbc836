"""Sessions that go on over another stream: cut anywhere, nothing is lost, nothing comes twice, all of it in order.

Two sides talk a dialogue over a stream that is cut at a byte. What the program of each side does depends only on what
it has been told, so that after a cut and a resume each history must be the one without a cut.
"""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sides import events_of

from trionetchan._batch import Batch, array_of, split_batch
from trionetchan._cbor import head
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    Rejected,
    ResumeRequested,
    SessionResumed,
    ValuesReceived,
)
from trionetchan._protocol.resuming import SessionKey
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.wire import Wire

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "60"))
LIMITS = Limits(max_buffered_bytes=400)
ID, SECRET = bytes(16), bytes(32)
COUNTED, HUNG_UP = 3, 4  # channels


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


@attrs.define
class History:
    """What a program has been told, by channel."""

    received: dict[int, list[bytes]]
    answers: dict[int, str]
    closed: dict[int, Code]
    acknowledged: dict[int, int]

    def certain(self) -> History:
        """Without what depends on which of two frames comes first: a channel that one side hangs up while the other
        sends, and whether the end of a counted channel is told to the side that has seen it."""
        received = {k: v for k, v in self.received.items() if k != HUNG_UP}
        answers = {k: v for k, v in self.answers.items() if k != HUNG_UP}
        closed = {k: v for k, v in self.closed.items() if k not in (HUNG_UP, COUNTED)}
        acknowledged = {k: v for k, v in self.acknowledged.items() if k != HUNG_UP}
        return History(received, answers, closed, acknowledged)


class Program:
    """What a program does on one side, as far as its peer has come: a script that ends when all of it is done."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.session = Session(role, LIMITS)
        self.received: dict[int, list[bytes]] = {}
        self.answers: dict[int, str] = {}
        self.closed: dict[int, Code] = {}
        self.to_send: dict[int, list[Batch]] = {}
        self.acknowledged: dict[int, int] = {}
        if role is Role.IMPORTER:
            for name, receives, count in [
                ("down", True, None),
                ("up", False, None),
                ("nobody", True, None),
                ("counted", True, 3),
                ("hung up", True, None),
            ]:
                self.session.request(name, receives=receives, window=6, count=count, schema=b"")
            withdrawn = self.session.request("down", receives=True, window=1, count=None, schema=b"")
            self.session.close(withdrawn, Code.WITHDRAWN)

    def handle(self, event: Event) -> None:
        session = self.session
        match event:
            case ImportRequested(channel, "nobody"):
                session.reject(channel, Code.NO_SUCH_CHANNEL, "no such channel")
            case ImportRequested(channel, name, receives):
                session.accept(channel, window=6, schema=b"")
                self.open(channel, name, sends=receives)
            case Accepted(channel):
                self.answers[channel] = "accepted"
                self.open(channel, "", sends=channel == 1)
            case Rejected(channel):
                self.answers[channel] = "rejected"
            case ValuesReceived(channel, payload):
                self.received[channel] += split_batch(payload)
                window = session.receiver(channel)
                window.deliver(window.received - window.delivered)
                session.acknowledge(channel)
                session.hurry()
                if window.exhausted:
                    session.close(channel, Code.COUNT_REACHED)
                elif self.role is Role.IMPORTER and channel == 4 and window.delivered >= 2:
                    session.close(channel, Code.HUNG_UP)
            case Acknowledged(channel, count):
                self.acknowledged[channel] = self.acknowledged.get(channel, 0) + count
            case Closed(channel, code):
                self.acknowledged[channel] = self.acknowledged.get(channel, 0) + event.count
                self.closed[channel] = code
                if channel in self.received and channel not in self.to_send:
                    session.close(channel, Code.FINISHED)
            case Greeted():
                pass
            case _:
                raise AssertionError(event)
        self.go_on()

    def open(self, channel: int, name: str, *, sends: bool) -> None:
        if not sends:
            self.received[channel] = []
            return
        batches = [values(0, 3), values(3, 1, size=300), values(4, 2), values(6, 1), values(7, 1, size=30)]
        self.to_send[channel] = [values(0, 2), values(2, 1)] if name == "counted" else batches

    def go_on(self) -> None:
        """Sends what there is credit for, and closes behind it."""
        for channel, batches in self.to_send.items():
            if channel in self.closed:
                continue
            while batches and self.session.sender(channel).fits(batches[0].size, batches[0].count):
                self.session.send(channel, batches.pop(0))
            if not batches:
                self.session.close(channel, Code.FINISHED)

    def history(self) -> History:
        return History(self.received, self.answers, self.closed, self.acknowledged)


def values(first: int, count: int, size: int = 1) -> Batch:
    items = [head(2, size) + bytes([number]) * size for number in range(first, first + count)]
    return Batch(array_of(items), count)


@attrs.define
class Cut:
    """Where a stream breaks: after so many bytes from that side."""

    side: Role
    after: int


class Link:
    """Two programs, over one stream after the other."""

    def __init__(self) -> None:
        self.sides = {role: Program(role) for role in Role}
        self.key = SessionKey(ID, SECRET)
        self.known: SessionKey | None = None  # the exporter's
        self.streams = 0
        self.written: dict[Role, int] = {}

    def run(self, cut: Cut | None, *, chunk: int = 1 << 20) -> bool:
        """Carries a stream until nothing more happens, or it is cut. Whether it came to a rest."""
        self.streams += 1
        importer, exporter = self.sides[Role.IMPORTER], self.sides[Role.EXPORTER]
        resumes = self.streams > 1
        if resumes and self.known is None:  # what the exporter would say: "unknown"; nothing was established
            assert not importer.session.established
            importer.session.restart()
            exporter.session = Session(Role.EXPORTER, LIMITS)
            resumes = False
        wires = {
            Role.IMPORTER: Wire(importer.session, LIMITS, nonce=nonce(2 * self.streams), key=self.key, resumes=resumes),
            Role.EXPORTER: Wire(
                Session(Role.EXPORTER, LIMITS) if resumes else exporter.session,
                LIMITS,
                nonce=nonce(2 * self.streams + 1),
            ),
        }
        self.written = dict.fromkeys(Role, 0)
        pipes = dict.fromkeys(Role, b"")  # from this side
        while True:
            quiet = True
            for role in Role:
                data = b"".join(map(bytes, wires[role].data_to_send(100)))
                if cut is not None and cut.side is role and self.written[role] + len(data) >= cut.after:
                    rest = data[: cut.after - self.written[role]]
                    self.receive(wires[role.other], role.other, pipes[role] + rest)
                    return False
                self.written[role] += len(data)
                pipes[role] += data
            for role in Role:
                data, pipes[role.other] = pipes[role.other][:chunk], pipes[role.other][chunk:]
                if data:
                    quiet = False
                    self.receive(wires[role], role, data)
            if quiet and not any(pipes.values()) and not any(wire.must_answer for wire in wires.values()):
                return True

    def receive(self, wire: Wire, role: Role, data: bytes) -> None:
        for event in events_of(wire, data):
            if isinstance(event, ResumeRequested):
                assert self.known is not None
                assert self.known.check_importer(event.epoch, event.proof, event.nonces)
                wire.resume(self.sides[role].session, self.known)
            elif isinstance(event, Greeted | SessionResumed):
                if role is Role.EXPORTER:
                    self.known = wire.key
            else:
                self.sides[role].handle(event)

    def histories(self) -> dict[Role, History]:
        return {role: self.sides[role].history() for role in Role}


def whole() -> tuple[dict[Role, History], dict[Role, int]]:
    link = Link()
    assert link.run(None)
    for side in link.sides.values():
        assert not any(batches for channel, batches in side.to_send.items() if channel not in side.closed), (
            "the script is not done"
        )
    return link.histories(), link.written


HISTORIES, SIZES = whole()


def test_the_dialogue_has_what_it_should() -> None:
    importer, exporter = HISTORIES[Role.IMPORTER], HISTORIES[Role.EXPORTER]
    assert {channel: len(items) for channel, items in importer.received.items()} == {0: 8, 3: 3, 4: 3}
    assert importer.answers == {0: "accepted", 1: "accepted", 2: "rejected", 3: "accepted", 4: "accepted"}
    assert {channel: len(items) for channel, items in exporter.received.items()} == {1: 8}
    assert exporter.acknowledged == {0: 8, 3: 3, 4: 3, 5: 0, 1: 0}


def every_cut(sizes: dict[Role, int]) -> list[Cut]:
    return [Cut(role, after) for role in Role for after in range(sizes[role] + 1)]


def check(link: Link) -> None:
    for role, side in link.sides.items():
        assert side.history().certain() == HISTORIES[role].certain()
        items = side.received.get(HUNG_UP, [])
        assert [item[-1] for item in items] == list(range(len(items)))
        assert not side.session._channels, (role, side.session._channels)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.promise(54)
def test_cut_at_every_byte() -> None:
    for cut in every_cut(SIZES):
        link = Link()
        if not link.run(cut):
            assert link.run(None), cut
        check(link)


@pytest.mark.promise(54)
def test_cut_at_every_byte_and_again_in_the_resume() -> None:
    """Every first cut with some second ones; with TRIONETCHAN_EXAMPLES of 1,000 all pairs of cuts."""
    for number, first in enumerate(every_cut(SIZES)):
        link = Link()
        if link.run(first):
            continue
        link.run(None)
        seconds = every_cut(link.written)
        step = 1 if EXAMPLES >= 1000 else 701
        for second in seconds[number % step :: step]:
            again = Link()
            again.run(first)
            if not again.run(second):
                assert again.run(None), (first, second)
            check(again)


@pytest.mark.promise(54)
@settings(derandomize=True, max_examples=EXAMPLES, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(Role), st.integers(0, 1500)), max_size=12), st.integers(1, 200))
def test_cut_many_times(cuts: list[tuple[Role, int]], chunk: int) -> None:
    link = Link()
    for cut in cuts:
        if link.run(Cut(*cut), chunk=chunk):
            break
    else:
        assert link.run(None)
    check(link)
