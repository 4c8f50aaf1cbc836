"""Sessions without a network: a pair against a model, every frame in every state, and hostile peers.

`fault N` in a test's name or parameters is case N of the catalogue of hostile peers in `docs/protocol.md`.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeVar

import attrs
import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sides import Side

from trionetchan._batch import Batch, array_of, split_batch
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    LimitExceeded,
    PeerLeft,
    RedeliveredNext,
    Rejected,
    ResumeRequested,
    SessionResumed,
    Settled,
    TurnOver,
    ValuesReceived,
    Violated,
)
from trionetchan._protocol.frames import (
    MAGIC,
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
    Position,
    Redelivered,
    Reject,
    Resume,
    Resumed,
    Seen,
    Settle,
    encode,
)
from trionetchan._protocol.session import Role
from trionetchan._protocol.window import ReceiveWindow, SendWindow

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    stateful_step_count=80,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

# What either side may say when it closes a channel, whatever has happened on it.
ENDS = [Code.FINISHED, Code.HUNG_UP, Code.LIMIT]
LAST_WORDS = [Code.FINISHED, Code.HUNG_UP, Code.RECEIVER_GONE, Code.VALUE_REFUSED]

IMPORTER, EXPORTER = Role.IMPORTER, Role.EXPORTER
OTHER = {IMPORTER: EXPORTER, EXPORTER: IMPORTER}
ROLES = pytest.mark.parametrize("role", [EXPORTER, IMPORTER], ids=lambda role: role.value)
BUFFER = 400
LIMITS = Limits(
    max_value_size=300 * 2**10,
    max_frame_size=64 * 2**10,
    max_buffered_bytes=BUFFER,
    max_window=50,
    max_channels=8,
    max_answer_bytes=2**16,
)
HELLO = Hello(
    1, {"frame": 64 * 2**10, "value": 300 * 2**10, "buffer": BUFFER, "keepalive": 15_000, "resume": 0, "settle": 1}
)


def value(number: int, size: int) -> bytes:
    """An encoded value that knows its number."""
    return cbor2.dumps([number, bytes(size)])


def wire(*frames: Frame) -> bytes:
    return b"".join(map(encode, frames))


def feed(session: Side, *frames: Frame) -> list[Event]:
    return list(session.receive_data(wire(*frames)))


def output(session: Side) -> bytes:
    written = b""
    while pieces := session.data_to_send():
        written += b"".join(pieces)
    return written


def said(session: Side) -> list[Frame]:
    """The frames that a session (whose magic and hello have gone) has to say."""
    cutter = FrameCutter(2**20)
    return [
        attrs.evolve(frame, payload=bytes(frame.payload)) if isinstance(frame, Data) else frame
        for frame in cutter.cut(MAGIC + output(session))
    ]


def greeted(role: Role, limits: Limits = LIMITS) -> Side:
    session = Side(role, limits)
    output(session)
    assert list(session.receive_data(MAGIC + wire(HELLO))) == [Greeted()]
    return session


# A pair of correct sessions against a model


@attrs.define(eq=False)
class Channel:
    """What the model knows of a channel. A side is 'unknown', 'asked', 'bound' or 'closed'."""

    id: int
    name: str
    receives: bool
    count: int | None
    schema: bytes
    window: int
    at: dict[Role, str] = attrs.field(factory=lambda: {IMPORTER: "asked", EXPORTER: "unknown"})
    sent: list[bytes] = attrs.field(factory=list[bytes])
    arrived: list[bytes] = attrs.field(factory=list[bytes])
    delivered: int = 0
    acknowledged: int = 0
    returned: list[bytes] | None = None
    send_window: SendWindow | None = None
    receive_window: ReceiveWindow | None = None
    answer: tuple[Code, str] | bytes | None = None  # a refusal, or the schema of the acceptance
    close: dict[Role, tuple[Code, str]] = attrs.field(factory=dict[Role, tuple[Code, str]])
    told: bool = False  # whether the receiver has been told of the sender's close
    discarded: bool = False

    @property
    def sender(self) -> Role:
        return EXPORTER if self.receives else IMPORTER

    @property
    def receiver(self) -> Role:
        return OTHER[self.sender]


T = TypeVar("T")
picks = st.integers(0, 99)


def one_of(options: Sequence[T], pick: int) -> T:
    return options[pick % len(options)]


class Pair(RuleBasedStateMachine):
    """An importer and an exporter, and between them bytes that take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = {role: Side(role, LIMITS) for role in OTHER}
        self.wires = {role: bytearray() for role in OTHER}  # by the role that reads
        self.channels: list[Channel] = []
        self.left: dict[Role, tuple[Code, str]] = {}
        self.over: set[Role] = set()  # who has seen the other leave
        self.greetings: set[Role] = set()
        self.pings = dict.fromkeys(OTHER, 0)

    def fine(self, role: Role) -> bool:
        return role not in self.left and role not in self.over

    def where(self, check: Callable[[Channel], bool]) -> list[Channel]:
        return [channel for channel in self.channels if check(channel)]

    # Events, and what they should be

    def handle(self, role: Role, event: Event) -> None:
        assert self.fine(role), f"{event} after the end"
        assert not isinstance(event, Violated | LimitExceeded | TurnOver), event
        if isinstance(event, Greeted):
            assert role not in self.greetings
            self.greetings.add(role)
            return
        if isinstance(event, PeerLeft):
            assert (event.code, event.message) == self.left.get(OTHER[role], (Code.FINISHED, ""))
            self.over.add(role)
            return
        assert not isinstance(event, ResumeRequested | SessionResumed)
        channel = self.channels[event.channel]
        match event:
            case ImportRequested():
                assert (role, channel.at[role]) == (EXPORTER, "unknown")
                expected = (channel.name, channel.receives, channel.count, channel.schema)
                assert (event.name, event.receives, event.count, event.schema) == expected
                channel.at[role] = "asked"
            case Accepted():
                assert (role, channel.at[role]) == (IMPORTER, "asked")
                assert event.schema == channel.answer
                self.bind(role, channel)
            case Rejected():
                assert (role, channel.at[role]) == (IMPORTER, "asked")
                assert (event.code, event.message) == channel.answer
                channel.at[role] = "closed"
            case ValuesReceived():
                assert (role, channel.at[role], channel.told) == (channel.receiver, "bound", False)
                values = split_batch(event.payload)
                assert len(values) == event.count
                channel.arrived += values
            case Acknowledged():
                assert (role, channel.at[role]) == (channel.sender, "bound")
                channel.acknowledged += event.count
            case Closed():
                assert (event.code, event.message) == channel.close[OTHER[role]]
                self.on_closed(role, channel, event)
            case RedeliveredNext() | Settled():
                raise AssertionError(event)  # no import here settles

    def on_closed(self, role: Role, channel: Channel, event: Closed) -> None:
        if channel.at[role] == "asked":  # a withdrawal
            assert (role, event.count) == (EXPORTER, 0)
            channel.at[role] = "closed"
            return
        assert channel.at[role] == "bound"
        if role is channel.receiver:
            assert (channel.told, event.count) == (False, 0)
            channel.told = True
            assert channel.discarded or channel.arrived == channel.sent
            return
        assert channel.send_window is not None
        channel.acknowledged += event.count
        channel.at[role] = "closed"
        channel.returned = [
            v for batch, places in channel.send_window.unacknowledged_batches() for v in batch.values(places)
        ]
        assert channel.acknowledged == channel.delivered
        assert channel.arrived[: channel.delivered] + channel.returned == channel.sent

    def bind(self, role: Role, channel: Channel) -> None:
        channel.at[role] = "bound"
        if role is channel.sender:
            channel.send_window = self.sessions[role].sender(channel.id)
        else:
            channel.receive_window = self.sessions[role].receiver(channel.id)

    # What can happen

    @initialize(carried=st.integers(0, 100))
    def start(self, carried: int) -> None:
        for role in OTHER:
            self.flush(role)
            self.carry(role, carried)

    @rule(role=st.sampled_from(Role))
    def flush(self, role: Role) -> None:
        session = self.sessions[role]
        had = session.must_answer
        pieces = session.data_to_send()
        assert pieces or not had
        self.wires[OTHER[role]] += b"".join(pieces)

    @rule(role=st.sampled_from(Role), size=st.integers(1, 30) | st.integers(1, 1000) | st.just(10**6))
    def carry(self, role: Role, size: int) -> None:
        chunk = bytes(self.wires[role][:size])
        del self.wires[role][:size]
        for event in self.sessions[role].receive_data(chunk):
            self.handle(role, event)

    @precondition(lambda self: self.fine(IMPORTER))
    @rule(
        receives=st.booleans(),
        window=st.integers(0, 100),
        count=st.none() | st.integers(0, 20),
        schema=st.binary(max_size=9),
    )
    def request(self, receives: bool, window: int, count: int | None, schema: bytes) -> None:
        if len(self.where(lambda channel: channel.at[IMPORTER] != "closed" or channel.at[EXPORTER] != "closed")) >= 6:
            return
        name = f"channel {len(self.channels)}"
        number = self.sessions[IMPORTER].request(name, receives=receives, window=window, count=count, schema=schema)
        assert number == len(self.channels)
        self.channels.append(Channel(number, name, receives, count, schema, max(1, min(window, LIMITS.max_window))))

    @precondition(lambda self: self.fine(EXPORTER))
    @rule(pick=picks, accept=st.integers(0, 5), window=st.integers(0, 100), code=st.sampled_from(Code))
    def answer(self, pick: int, accept: int, window: int, code: Code) -> None:
        asked = self.where(lambda channel: channel.at[EXPORTER] == "asked")
        if not asked:
            return
        channel = one_of(asked, pick)
        if not accept:
            channel.answer = (code, "no")
            self.sessions[EXPORTER].reject(channel.id, code, "no")
            channel.at[EXPORTER] = "closed"
            return
        channel.answer = b"schema"
        channel.window = min(channel.window, max(1, window))
        self.sessions[EXPORTER].accept(channel.id, window=window, schema=b"schema")
        self.bind(EXPORTER, channel)

    @rule(
        pick=picks,
        sizes=st.lists(st.integers(0, 100), min_size=1, max_size=5) | st.sampled_from([[600], [70_000], [200_000]]),
    )
    def send(self, pick: int, sizes: list[int]) -> None:
        sending = self.where(
            lambda channel: (
                self.fine(channel.sender)
                and channel.at[channel.sender] == "bound"
                and channel.sender not in channel.close
            )
        )
        if not sending:
            return
        channel = one_of(sending, pick)
        window = channel.send_window
        assert window is not None
        assert window.credit <= channel.window - len(channel.sent) + channel.delivered
        values = [value(len(channel.sent) + at, size) for at, size in enumerate(sizes)][: window.credit]
        while values and not window.fits(len(array_of(values)), len(values)):
            values.pop()
        if values:
            self.sessions[channel.sender].send(channel.id, Batch(array_of(values), len(values)))
            channel.sent += values

    def receiving(self) -> list[Channel]:
        return self.where(lambda channel: self.fine(channel.receiver) and channel.at[channel.receiver] == "bound")

    @rule(pick=picks, count=st.integers(1, 50), tell=st.booleans())
    def deliver(self, pick: int, count: int, tell: bool) -> None:
        if channels := self.receiving():
            channel = one_of(channels, pick)
            assert channel.receive_window is not None
            count = min(count, len(channel.arrived) - channel.delivered)
            channel.delivered += count
            channel.receive_window.deliver(count)
            if tell:
                self.sessions[channel.receiver].acknowledge(channel.id)
                self.sessions[channel.receiver].hurry()

    @rule(pick=picks, code=st.sampled_from(LAST_WORDS), message=st.sampled_from(["", "why"]))
    def close_the_receiver(self, pick: int, code: Code, message: str) -> None:
        told = [channel for channel in self.receiving() if channel.told]
        if channels := told or self.receiving():
            self.end_receiver(one_of(channels, pick), code, message)

    def end_receiver(self, channel: Channel, code: Code, message: str) -> None:
        self.sessions[channel.receiver].close(channel.id, code, message)
        channel.close[channel.receiver] = (code, message)
        channel.at[channel.receiver] = "closed"

    @rule(
        pick=picks,
        code=st.sampled_from([Code.FINISHED, Code.HUNG_UP]) | st.sampled_from(ENDS),
        message=st.sampled_from(["", "why"]),
    )
    def close_the_sender(self, pick: int, code: Code, message: str) -> None:
        channels = self.where(
            lambda channel: (
                self.fine(channel.sender)
                and channel.at[channel.sender] == "bound"
                and channel.sender not in channel.close
            )
        )
        if channels:
            self.end_sender(one_of(channels, pick), code, message)

    def end_sender(self, channel: Channel, code: Code, message: str) -> None:
        self.sessions[channel.sender].close(channel.id, code, message)
        channel.close[channel.sender] = (code, message)
        channel.discarded = code in (Code.HUNG_UP, Code.WITHDRAWN)

    @precondition(lambda self: self.fine(IMPORTER))
    @rule(pick=picks)
    def withdraw(self, pick: int) -> None:
        if channels := self.where(lambda channel: channel.at[IMPORTER] == "asked"):
            channel = one_of(channels, pick)
            self.sessions[IMPORTER].close(channel.id, Code.WITHDRAWN, "not any more")
            channel.close[IMPORTER] = (Code.WITHDRAWN, "not any more")
            channel.at[IMPORTER] = "closed"

    @rule(pick=picks, role=st.sampled_from(Role), code=st.sampled_from(Code))
    def close_what_is_closed(self, pick: int, role: Role, code: Code) -> None:
        channels = self.where(
            lambda channel: (
                channel.at[role] == "closed"
                or (channel.at[role] == "bound" and channel.sender is role and role in channel.close)
            )
        )
        if channels and self.fine(role):
            self.sessions[role].close(one_of(channels, pick).id, code, "again")

    @precondition(lambda self: len(self.greetings) == 2)
    @rule(role=st.sampled_from(Role), token=st.integers(0, 2**62))
    def ping(self, role: Role, token: int) -> None:
        if self.fine(role):
            self.sessions[role].ping(token)

    @rule(role=st.sampled_from(Role), unlikely=st.integers(0, 29), code=st.sampled_from(Code))
    def leave(self, role: Role, unlikely: int, code: Code) -> None:
        if not unlikely and self.fine(role):
            self.sessions[role].leave(code, "bye")
            self.left[role] = (code, "bye")

    # What always holds

    @invariant()
    def values_arrive_in_order_none_lost_none_twice(self) -> None:
        for channel in self.channels:
            assert channel.arrived == channel.sent[: len(channel.arrived)]
            assert channel.acknowledged <= channel.delivered <= len(channel.arrived)

    @invariant()
    def credit_is_kept(self) -> None:
        for channel in self.channels:
            if channel.send_window is not None:
                assert channel.send_window.unacknowledged == len(channel.sent) - channel.acknowledged <= channel.window
                assert channel.count is None or len(channel.sent) <= channel.count
            if channel.receive_window is not None:
                buffered = channel.receive_window.buffered_bytes
                assert buffered <= BUFFER or len(channel.arrived) - channel.delivered <= 1

    @invariant()
    def sides_that_have_left_are_gone_after_their_goodbye(self) -> None:
        for role, session in self.sessions.items():
            assert session.ended == (not self.fine(role))
            assert not (session.gone and (session.must_answer or session.data_to_send()))

    def settle(self) -> None:
        for _ in range(50):
            before = sum(map(len, self.wires.values()))
            for role, session in self.sessions.items():
                self.wires[OTHER[role]] += output(session)
            if not before and not any(self.wires.values()):
                return
            for role in OTHER:
                self.carry(role, 10**9)
        raise AssertionError("the sessions never fall silent")

    def teardown(self) -> None:
        """Whatever happened, all can be brought to a good end."""
        self.settle()
        if self.left:
            assert {self.left.get(role) or role in self.over for role in OTHER} - {None}
            assert all(session.gone for session in self.sessions.values())
            return
        assert self.greetings == set(OTHER)
        for channel in self.channels:
            if channel.at[EXPORTER] == "asked":
                self.sessions[EXPORTER].accept(channel.id, window=3, schema=b"schema")
                channel.answer, channel.window = b"schema", min(channel.window, 3)
                self.bind(EXPORTER, channel)
        self.settle()
        for channel in self.channels:
            if channel.at[channel.sender] == "bound" and channel.sender not in channel.close:
                self.end_sender(channel, Code.FINISHED, "")
        self.settle()
        for channel in self.receiving():
            assert channel.told
            assert channel.receive_window is not None
            channel.receive_window.deliver(len(channel.arrived) - channel.delivered)
            channel.delivered = len(channel.arrived)
            self.end_receiver(channel, Code.FINISHED, "")
        self.settle()
        for channel in self.channels:
            assert channel.at == {IMPORTER: "closed", EXPORTER: "closed"}
            for session in self.sessions.values():
                for window in session.sender, session.receiver:
                    with pytest.raises(KeyError):
                        window(channel.id)
        for role, session in self.sessions.items():
            session.leave(Code.FINISHED)
            self.left[role] = (Code.FINISHED, "")
            assert said(session) == [Goodbye(Code.FINISHED, "")]


@pytest.mark.promise(2, 3, 4, 5, 29, 30)
def test_a_pair_of_sessions_against_a_model() -> None:
    few = settings(thorough, max_examples=max(1, EXAMPLES // 3))
    run_state_machine_as_test(Pair, settings=few)  # pyright: ignore[reportUnknownMemberType]


def walk(seed: int) -> None:
    """The same machine, moved by chance: hypothesis finds the small failures, this comes by the long ways."""
    chance = Random(seed)
    pair = Pair()
    pair.start(chance.choice([0, 20, 10**6]))
    leaves = not chance.randrange(4)
    code = chance.choice(list(Code))
    for _ in range(chance.randint(20, 350)):
        role = chance.choice(list(Role))
        pick = chance.randrange(100)
        match chance.randrange(26):
            case 0 | 1 if pair.fine(IMPORTER):
                pair.request(chance.random() < 0.5, pick, chance.choice([None, None, chance.randint(0, 20)]), b"schema")
            case 2 | 3 if pair.fine(EXPORTER):
                pair.answer(pick, chance.randrange(6), chance.randint(0, 20), code)
            case 4 | 5 | 6 | 7:
                sizes = [chance.randint(0, 100) for _ in range(chance.randint(1, 5))]
                pair.send(
                    pick, chance.choice([sizes, sizes, sizes, sizes[:1], [600], [chance.randint(60_000, 200_000)]])
                )
            case 8 | 9 | 10:
                pair.deliver(pick, chance.choice([1, 2, 50]), chance.random() < 0.5)
            case 11:
                pair.flush(role)
                pair.carry(role, chance.choice([1, 5, 100, 10**6]))
            case 12 if not chance.randrange(6):
                pair.close_the_receiver(pick, chance.choice(LAST_WORDS), "why")
            case 13 if not chance.randrange(6):
                pair.close_the_sender(pick, chance.choice(ENDS), "why")
            case 14 if not chance.randrange(3) and pair.fine(IMPORTER):
                pair.withdraw(pick)
            case 15:
                pair.close_what_is_closed(pick, role, code)
            case 16 if len(pair.greetings) == 2:
                pair.ping(role, pick)
            case 17 if leaves:
                pair.leave(role, chance.randrange(30), code)
            case 18 | 19 | 20 | 21:
                pair.flush(role)
            case _:
                pair.carry(role, chance.choice([1, chance.randint(1, 60), chance.randint(1, 3000), 10**6]))
        pair.values_arrive_in_order_none_lost_none_twice()
        pair.credit_is_kept()
        pair.sides_that_have_left_are_gone_after_their_goodbye()
    pair.teardown()


@pytest.mark.promise(2, 3, 4, 5, 29, 30)
def test_a_pair_of_sessions_against_a_model_by_chance() -> None:
    for seed in range(2 * EXAMPLES):
        try:
            walk(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


# Every frame in every state


def open_channel(session: Side, *, sends: bool, window: int = 5) -> None:
    """Binds channel 0, whatever the role."""
    if session.role is EXPORTER:
        feed(session, Import(0, "x", sends, window, None, b""))
        session.accept(0, window=window, schema=b"")
    else:
        session.request("x", receives=not sends, window=window, count=None, schema=b"")
        feed(session, Accept(0, window, b""))
    output(session)


def new(role: Role) -> Side:
    session = Side(role, LIMITS)
    output(session)
    list(session.receive_data(MAGIC))
    return session


def unopened(role: Role) -> Side:
    return greeted(role)


def requested(role: Role) -> Side:
    session = greeted(role)
    session.request("x", receives=True, window=5, count=None, schema=b"")
    output(session)
    return session


def asked(role: Role) -> Side:
    session = greeted(role)
    feed(session, Import(0, "x", True, 5, None, b""))
    return session


def sending(role: Role) -> Side:
    session = greeted(role)
    open_channel(session, sends=True)
    session.send(0, Batch(b"\x82\x01\x02", 2))
    output(session)
    return session


def sent(role: Role) -> Side:
    session = sending(role)
    session.close(0, Code.FINISHED)
    output(session)
    return session


def receiving(role: Role) -> Side:
    session = greeted(role)
    open_channel(session, sends=False)
    return session


def settling(role: Role) -> Side:
    session = receiving(role)
    feed(session, Close(0, 0, Code.FINISHED, ""))
    return session


def closed_receiver(role: Role) -> Side:
    session = receiving(role)
    session.close(0, Code.RECEIVER_GONE)
    output(session)
    return session


def closed_sender(role: Role) -> Side:
    session = sending(role)
    feed(session, Close(0, 0, Code.RECEIVER_GONE, ""))
    return session


def withdrawn(role: Role) -> Side:
    session = requested(role) if role is IMPORTER else asked(role)
    if role is IMPORTER:
        session.close(0, Code.WITHDRAWN)
    else:
        feed(session, Close(0, 0, Code.WITHDRAWN, ""))
    output(session)
    return session


def refused(role: Role) -> Side:
    session = requested(role) if role is IMPORTER else asked(role)
    if role is IMPORTER:
        feed(session, Reject(0, Code.NO_SUCH_CHANNEL, ""))
    else:
        session.reject(0, Code.NO_SUCH_CHANNEL, "")
    output(session)
    return session


def leaving(role: Role) -> Side:
    session = receiving(role)
    session.leave(Code.FINISHED)
    return session


def gone(role: Role) -> Side:
    session = leaving(role)
    output(session)
    return session


FRAMES: list[Frame] = [
    HELLO,
    Import(0, "x", True, 5, None, b""),
    Accept(0, 5, b""),
    Reject(0, Code.NO_SUCH_CHANNEL, ""),
    Data(0, 0, False, b"\x81\x00"),
    Ack(0, 1, 9, 900),
    Close(0, 0, Code.FINISHED, ""),
    Ping(7),
    Pong(7),
    Goodbye(Code.FINISHED, ""),
    Resume(bytes(16), 0, bytes(32), 0, 0),
    Resumed(bytes(32), 0, 0),
    Position(0, 0),
    Seen(0),
    Settle(0, (0, 1), True),
    Redelivered(0, 0, 1),
]
OF_CHANNELS = [frame for frame in FRAMES if hasattr(frame, "channel")]

# Of sessions that cannot be resumed; the others are in test_handshake.py.
# V: violated. A dot: ignored, or answered without an event. Otherwise the event: Greeted, Import requested, Accepted,
# Rejected, Values, acKnowledged, Closed, peer Left. The frames are for channel 0, which is in that state.
# Values of these channels are not settled one by one; for those that are, see test_settling.
#                     HELLO IMPORT ACCEPT REJECT DATA ACK CLOSE PING PONG GOODBYE RESUME RESUMED POSITION SEEN SETTLE …
TABLE = """
exporter new              G   V      V      V     V    V    V     V    V     L       V      V       V        V  V      V
exporter unopened         V   I      V      V     V    V    V     .    .     L       V      V       V        V  V      V
exporter asked            V   V      V      V     V    V    C     .    .     L       V      V       V        V  V      V
exporter sending          V   V      V      V     V    K    C     .    .     L       V      V       V        V  V      V
exporter sent             V   V      V      V     V    K    C     .    .     L       V      V       V        V  V      V
exporter receiving        V   V      V      V     D    V    C     .    .     L       V      V       V        V  V      V
exporter settling         V   V      V      V     V    V    .     .    .     L       V      V       V        V  V      V
exporter closed_receiver  V   V      V      V     .    .    .     .    .     L       V      V       V        V  .      .
exporter closed_sender    V   V      V      V     .    .    .     .    .     L       V      V       V        V  .      .
exporter withdrawn        V   V      V      V     .    .    .     .    .     L       V      V       V        V  .      .
exporter refused          V   V      V      V     .    .    .     .    .     L       V      V       V        V  .      .
exporter leaving          .   .      .      .     .    .    .     .    .     .       .      .       .        .  .      .
exporter gone             .   .      .      .     .    .    .     .    .     .       .      .       .        .  .      .
importer new              G   V      V      V     V    V    V     V    V     L       V      V       V        V  V      V
importer unopened         V   V      V      V     V    V    V     .    .     L       V      V       V        V  V      V
importer requested        V   V      A      R     V    V    V     .    .     L       V      V       V        V  V      V
importer sending          V   V      V      V     V    K    C     .    .     L       V      V       V        V  V      V
importer sent             V   V      V      V     V    K    C     .    .     L       V      V       V        V  V      V
importer receiving        V   V      V      V     D    V    C     .    .     L       V      V       V        V  V      V
importer settling         V   V      V      V     V    V    .     .    .     L       V      V       V        V  V      V
importer closed_receiver  V   V      .      .     .    .    .     .    .     L       V      V       V        V  .      .
importer closed_sender    V   V      .      .     .    .    .     .    .     L       V      V       V        V  .      .
importer withdrawn        V   V      .      .     .    .    .     .    .     L       V      V       V        V  .      .
importer refused          V   V      .      .     .    .    .     .    .     L       V      V       V        V  .      .
importer leaving          .   .      .      .     .    .    .     .    .     .       .      .       .        .  .      .
importer gone             .   .      .      .     .    .    .     .    .     .       .      .       .        .  .      .
"""

STATES: dict[str, Callable[[Role], Side]] = {
    make.__name__: make
    for make in (
        new,
        unopened,
        requested,
        asked,
        sending,
        sent,
        receiving,
        settling,
        closed_receiver,
        closed_sender,
        withdrawn,
        refused,
        leaving,
        gone,
    )
}

EVENTS: dict[str, Event] = {
    "G": Greeted(),
    "I": ImportRequested(0, "x", receives=True, count=None, schema=b""),
    "A": Accepted(0, b""),
    "R": Rejected(0, Code.NO_SUCH_CHANNEL, ""),
    "D": ValuesReceived(0, b"\x81\x00", 1),
    "K": Acknowledged(0, 1),
    "C": Closed(0, Code.FINISHED, "", 0),
    "L": PeerLeft(Code.FINISHED, ""),
}

CELLS = [
    pytest.param(Role(role), state, frame, cell, id=f"{role} {state} {type(frame).__name__.upper()}")
    for role, state, *cells in (line.split() for line in TABLE.strip().splitlines())
    for frame, cell in zip(FRAMES, cells, strict=True)
]


def test_the_table_has_every_state_and_every_frame() -> None:
    assert {type(frame) for frame in FRAMES} == set(Frame.__subclasses__())
    rows = [tuple(line.split()[:2]) for line in TABLE.strip().splitlines()]
    impossible = {("exporter", "requested"), ("importer", "asked")}
    assert sorted(rows) == sorted({(role.value, state) for role in Role for state in STATES} - impossible)


@pytest.mark.parametrize(("role", "state", "frame", "cell"), CELLS)
def test_every_frame_in_every_state(role: Role, state: str, frame: Frame, cell: str) -> None:
    session = STATES[state](role)
    output_before = state == "leaving"
    if state == "asked" and isinstance(frame, Close):
        frame = attrs.evolve(frame, code=Code.WITHDRAWN)
    events = feed(session, frame)
    if cell == "V":
        (violated,) = events
        assert isinstance(violated, Violated)
        assert violated.message.startswith("expected ")
        assert said(session)[-1] == Goodbye(Code.PROTOCOL_ERROR, violated.message)
    elif cell == ".":
        assert events == []
        if isinstance(frame, Ping) and not session.ended:
            assert said(session) == [Pong(7)]
        elif not output_before:
            assert said(session) == []
    else:
        expected = EVENTS[cell]
        if isinstance(expected, Closed) and isinstance(frame, Close):
            expected = attrs.evolve(expected, code=frame.code)
        assert events == [expected]
        assert said(session) == ([Goodbye(Code.FINISHED, "")] if cell == "L" else [])
    if session.ended:
        output(session)
        assert session.gone
        assert feed(session, Ping(1), HELLO, frame) == []
        assert not session.must_answer
        assert session.data_to_send() == []
    elif state != "new" or cell == "G":
        assert feed(session, Ping(8)) == []
        assert Pong(8) in said(session)


@ROLES
@pytest.mark.parametrize(
    "frame", [frame for frame in FRAMES if hasattr(frame, "channel")], ids=lambda frame: type(frame).__name__.upper()
)
@pytest.mark.parametrize("channel", [1, 2, 2**62])
def test_faults_41_and_51_an_id_that_was_never_opened(role: Role, frame: Any, channel: int) -> None:
    session = receiving(role)
    events = feed(session, attrs.evolve(frame, channel=channel))
    if role is EXPORTER and isinstance(frame, Import) and channel == 1:
        assert isinstance(events[0], ImportRequested)
    else:
        assert isinstance(events[0], Violated)


# Faults, one by one


def violation(session: Side, *frames: Frame) -> str:
    """Of a session whose last frame is the first that breaks the protocol."""
    assert not any(isinstance(event, Violated) for event in feed(session, *frames[:-1]))
    (event,) = feed(session, frames[-1])
    assert isinstance(event, Violated)
    goodbye = said(session)[-1]
    assert isinstance(goodbye, Goodbye)
    assert goodbye.message == event.message
    assert goodbye.code is not Code.FINISHED
    return event.message


@ROLES
@pytest.mark.parametrize("version", [0, 2, 2**62])
def test_fault_3_an_unsupported_version_is_named_with_ours(role: Role, version: int) -> None:
    session = new(role)
    (event,) = feed(session, Hello(version, {}))
    assert isinstance(event, Violated)
    assert event == Violated(f"expected protocol version 1, got version {version}")
    assert said(session) == [Goodbye(Code.UNSUPPORTED_VERSION, event.message)]


@ROLES
def test_fault_4_data_before_hello(role: Role) -> None:
    assert "HELLO first, got DATA" in violation(new(role), Data(0, 0, False, b"\x81\x00"))


@ROLES
def test_fault_5_a_second_hello(role: Role) -> None:
    assert "a second" in violation(new(role), HELLO, HELLO)


@ROLES
@pytest.mark.parametrize("name", ["frame", "value", "buffer"])
def test_fault_10_absurd_parameters(role: Role, name: str) -> None:
    for number in (0, 1, 2**16 - 1) if name == "frame" else (0,):
        assert repr(name) in violation(new(role), Hello(1, {name: number}))
    assert feed(new(role), Hello(1, {name: 2**62})) == [Greeted()]


@ROLES
def test_a_hello_without_parameters_means_the_least(role: Role) -> None:
    session = new(role)
    assert feed(session, Hello(1, {})) == [Greeted()]
    assert session.max_value_size == 2**20
    open_channel(session, sends=True)
    session.send(0, Batch(array_of([value(0, 2**17)]), 1))
    data = [frame for frame in said(session) if isinstance(frame, Data)]
    assert len(data) == 3
    assert all(len(encode(frame)) <= 2**16 + 5 for frame in data)
    assert array_of([value(0, 2**17)]) == b"".join(frame.payload for frame in data)
    assert [frame.more for frame in data] == [True, True, False]


@ROLES
@pytest.mark.promise(5)
def test_the_byte_limit_starts_with_the_receivers_buffer_and_the_sender_keeps_to_its_own(role: Role) -> None:
    for theirs, ours in (50, 400), (400, 50):
        session = Side(role, attrs.evolve(LIMITS, max_buffered_bytes=ours))
        output(session)
        list(session.receive_data(MAGIC + wire(Hello(1, HELLO.parameters | {"buffer": theirs}))))
        open_channel(session, sends=True)
        window = session.sender(0)
        assert window.byte_limit == theirs
        assert window.fits(50, 2)
        assert not window.fits(51, 2)
        session.send(0, Batch(array_of([value(0, 30)]), 1))
        output(session)
        feed(session, Ack(0, 1, 9, 2**62))
        assert window.fits(ours, 2)
        assert not window.fits(ours + 1, 2)


@ROLES
def test_fault_20_a_payload_is_bytes_to_the_session(role: Role) -> None:
    """What it holds is judged by the value codec, and costs one channel, not the connection."""
    nested = b"\x81" * 390
    assert feed(receiving(role), Data(0, 0, False, nested)) == [ValuesReceived(0, nested, 1)]


@ROLES
def test_fault_32_data_beyond_the_limit(role: Role) -> None:
    batch = array_of([b"\x00"] * 6)
    assert "up to number 5" in violation(receiving(role), Data(0, 0, False, batch))
    fine = [Data(0, number, False, b"\x81\x00") for number in range(5)]
    assert "up to number 5" in violation(receiving(role), *fine, Data(0, 5, False, b"\x81\x00"))
    large = Data(0, 0, False, array_of([value(0, BUFFER // 2)] * 2))
    assert f"up to {BUFFER} bytes" in violation(receiving(role), large)


@ROLES
def test_faults_33_and_50_limits_and_counts_that_go_down_are_ignored(role: Role) -> None:
    session = sending(role)
    assert feed(session, Ack(0, 2, 7, 900)) == [Acknowledged(0, 2)]
    for ack in Ack(0, 2, 7, 900), Ack(0, 1, 6, 800), Ack(0, 0, 0, 0):
        assert feed(session, ack) == [Acknowledged(0, 0)]
        assert session.sender(0).value_limit == 7
        assert session.sender(0).byte_limit == 900


@ROLES
def test_fault_35_no_credit_stalls_that_channel_only(role: Role) -> None:
    session = greeted(role)
    for channel in range(2):
        if role is EXPORTER:
            feed(session, Import(channel, f"n{channel}", True, 1, None, b""))
            session.accept(channel, window=1, schema=b"")
        else:
            session.request(f"n{channel}", receives=False, window=1, count=None, schema=b"")
            feed(session, Accept(channel, 1, b""))
        session.send(channel, Batch(b"\x81\x00", 1))
    output(session)
    for number in range(1, 500):
        feed(session, Ack(1, number, number + 1, 2**20))
        assert session.sender(0).credit == 0
        assert session.sender(1).credit == 1
        session.send(1, Batch(b"\x81\x00", 1))
        assert said(session) == [Data(1, number, False, b"\x81\x00")]


@ROLES
def test_fault_37_a_window_of_a_billion_is_clamped(role: Role) -> None:
    for sends in True, False:
        session = greeted(role)
        open_channel(session, sends=sends, window=10**9)
        if sends:
            assert session.sender(0).credit == LIMITS.max_window
        else:
            assert session.receiver(0).value_limit == LIMITS.max_window


@ROLES
def test_a_window_of_0_is_refused(role: Role) -> None:
    if role is EXPORTER:
        assert "window" in violation(greeted(role), Import(0, "x", True, 0, None, b""))
    else:
        assert "window" in violation(requested(role), Accept(0, 0, b""))


@pytest.mark.parametrize(
    "code", [Code.NO_SUCH_CHANNEL, Code.WRONG_DIRECTION, Code.TYPE_MISMATCH], ids=lambda code: code.name
)
def test_faults_38_and_39_a_refusal_leaves_the_session_as_it_is(code: Code) -> None:
    exporter, importer = greeted(EXPORTER), greeted(IMPORTER)
    importer.request("x", receives=True, window=1, count=None, schema=b"")
    assert [type(event) for event in exporter.receive_data(output(importer))] == [ImportRequested]
    exporter.reject(0, code, "no")
    assert list(importer.receive_data(output(exporter))) == [Rejected(0, code, "no")]
    assert importer.request("y", receives=True, window=1, count=None, schema=b"") == 1
    assert [type(event) for event in exporter.receive_data(output(importer))] == [ImportRequested]


def test_fault_40_an_id_in_use_or_used_or_not_the_next() -> None:
    def request(channel: int) -> Import:
        return Import(channel, "y", True, 1, None, b"")

    assert "id 1 next, got 0" in violation(asked(EXPORTER), request(0))
    assert "id 1 next, got 0" in violation(refused(EXPORTER), request(0))
    assert "id 1 next, got 2" in violation(asked(EXPORTER), request(2))
    assert "id 0 next, got 1" in violation(greeted(EXPORTER), request(1))


@ROLES
def test_fault_42_data_just_after_a_local_close_is_ignored(role: Role) -> None:
    session = receiving(role)
    session.close(0, Code.RECEIVER_GONE)
    late = [Data(0, 0, False, b"\x81\x00"), Data(0, 1, True, b"\x81"), Close(0, 9, Code.FINISHED, "")]
    assert feed(session, *late) == []
    assert said(session) == [Close(0, 0, Code.RECEIVER_GONE, "")]


def test_fault_43_more_channels_than_allowed_are_refused_one_by_one() -> None:
    session = greeted(EXPORTER)
    imports = [Import(channel, f"n{channel}", True, 1, None, b"") for channel in range(LIMITS.max_channels + 3)]
    events = feed(session, *imports)
    assert [event.channel for event in events if isinstance(event, ImportRequested)] == list(range(LIMITS.max_channels))
    assert len(events) == LIMITS.max_channels
    rejects = said(session)
    assert [(type(frame), frame.channel, frame.code) for frame in rejects if isinstance(frame, Reject)] == [
        (Reject, LIMITS.max_channels + more, Code.LIMIT) for more in range(3)
    ]
    session.reject(0, Code.NO_SUCH_CHANNEL, "")
    assert len(feed(session, Import(LIMITS.max_channels + 3, "x", True, 1, None, b""))) == 1


def test_fault_44_opening_and_closing_leaves_nothing_behind() -> None:
    session = greeted(EXPORTER)

    def churn(start: int, count: int) -> None:
        for channel in range(start, start + count):
            assert len(feed(session, Import(channel, "x", True, 1, None, b""))) == 1
            session.accept(channel, window=1, schema=b"")
            assert len(feed(session, Close(channel, 0, Code.RECEIVER_GONE, ""))) == 1
            output(session)

    churn(0, 50)
    tracemalloc.start()
    churn(50, 2000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000


def test_fault_44_and_58_requests_of_a_peer_that_does_not_read_end_it() -> None:
    session = greeted(EXPORTER)
    stream = b"".join(encode(Import(channel, "x", True, 1, None, b"")) for channel in range(2000))
    answers = 0
    for event in session.receive_data(stream):
        if isinstance(event, ImportRequested):
            answers += 1
            session.reject(event.channel, Code.NO_SUCH_CHANNEL, "x" * 100)
        else:
            assert isinstance(event, LimitExceeded)
            assert event.limit == "max_answer_bytes"
            assert "a peer that reads" in event.message
            assert event.message.startswith("expected")
    assert session.ended
    assert 100 * answers < LIMITS.max_answer_bytes < 200 * answers
    assert len(said(session)) <= answers + 2


@ROLES
def test_fault_47_data_against_the_direction(role: Role) -> None:
    assert "sending here" in violation(sending(role), Data(0, 0, False, b"\x81\x00"))
    assert "receiving here" in violation(receiving(role), Ack(0, 0, 5, 5))


@ROLES
def test_fault_48_a_second_close_is_ignored(role: Role) -> None:
    for make in receiving, sending, settling, sent:
        session = make(role)
        close = Close(0, 0, Code.HUNG_UP, "x")
        first = feed(session, close)
        assert first == ([] if make is settling else [Closed(0, Code.HUNG_UP, "x", 0)])
        assert feed(session, close, close, Close(0, 9, Code.FINISHED, "")) == []
        assert not session.ended


@ROLES
def test_a_close_by_the_sender_with_another_count_than_arrived(role: Role) -> None:
    one = Data(0, 0, False, b"\x81\x00")
    for count in 0, 2, 2**62:
        assert f"after 1 values, got it after {count}" in violation(
            receiving(role), one, Close(0, count, Code.FINISHED, "")
        )
    assert feed(receiving(role), one, Close(0, 1, Code.FINISHED, ""))[1:] == [Closed(0, Code.FINISHED, "", 0)]


@ROLES
def test_a_close_by_the_sender_drops_what_came_in_part(role: Role) -> None:
    session = receiving(role)
    tracemalloc.start()
    feed(session, Data(0, 0, True, b"\x81\x5a\x00\x03\x00\x00" + bytes(60_000)))
    assert tracemalloc.get_traced_memory()[0] > 60_000
    events = feed(session, Close(0, 0, Code.HUNG_UP, ""))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == [Closed(0, Code.HUNG_UP, "", 0)]
    assert held < 30_000


@ROLES
def test_fault_49_more_acknowledged_than_was_sent(role: Role) -> None:
    assert "at most 2 values acknowledged, got 3" in violation(sending(role), Ack(0, 3, 9, 900))
    assert "at most 2 values acknowledged, got 3" in violation(sending(role), Close(0, 3, Code.RECEIVER_GONE, ""))
    assert feed(sending(role), Close(0, 2, Code.RECEIVER_GONE, "")) == [Closed(0, Code.RECEIVER_GONE, "", 2)]


@ROLES
def test_faults_52_53_and_55_a_gap_a_repeat_and_a_number_near_2_63(role: Role) -> None:
    one = Data(0, 0, False, b"\x81\x00")
    assert "number 1, got number 2" in violation(receiving(role), one, Data(0, 2, False, b"\x81\x00"))
    assert "number 1, got number 0" in violation(receiving(role), one, one)
    assert "number 1, got number 4611686018427387904" in violation(
        receiving(role), one, Data(0, 2**62, False, b"\x81\x00")
    )
    assert "an integer up to 2^62" in violation(receiving(role), one, Data(0, 2**63 - 1, False, b"\x81\x00"))
    assert "an integer up to 2^62" in violation(sending(role), Ack(0, 0, 2**63, 0))


@ROLES
def test_fault_56_a_flood_of_pings_is_answered_once_per_write(role: Role) -> None:
    session = receiving(role)
    assert feed(session, Ping(0)) == []  # what is made once is made now
    tracemalloc.start()
    for token in range(5_000):
        assert feed(session, Ping(token)) == []
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000
    assert said(session) == [Pong(4_999)]


@ROLES
@pytest.mark.parametrize("payload", [b"", b"\x80"], ids=["empty", "an empty batch"])
@pytest.mark.parametrize("more", [False, True])
def test_fault_57_empty_data(role: Role, payload: bytes, more: bool) -> None:
    assert "empty" in violation(receiving(role), Data(0, 0, more, payload))


@ROLES
@pytest.mark.parametrize(
    "start",
    [b"\xd9\xd9\xf6", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(100)],
    ids=["fault 1", "fault 2: HTTP", "fault 2: TLS", "zeros"],
)
def test_faults_1_and_2_something_else_on_the_line(role: Role, start: bytes) -> None:
    session = Side(role, LIMITS)
    (event,) = session.receive_data(start)
    assert isinstance(event, Violated)
    written = output(session)
    assert written.startswith(MAGIC)
    frames = list(FrameCutter(2**20).cut(written))
    assert frames[0] == HELLO
    assert frames[1:] == [Goodbye(Code.PROTOCOL_ERROR, event.message)]


@ROLES
def test_both_may_leave_before_any_hello(role: Role) -> None:
    session = new(role)
    assert feed(session, Goodbye(Code.LIMIT, "full")) == [PeerLeft(Code.LIMIT, "full")]
    assert said(session) == [Goodbye(Code.FINISHED, "")]


@ROLES
def test_frames_behind_a_goodbye_or_a_violation_are_not_read(role: Role) -> None:
    session = receiving(role)
    goodbye = Goodbye(Code.FINISHED, "")
    assert feed(session, goodbye, Data(0, 0, False, b"\x81\x00")) == [PeerLeft(Code.FINISHED, "")]
    session = receiving(role)
    events = feed(session, HELLO, Data(0, 0, False, b"\x81\x00"), goodbye)
    assert [type(event) for event in events] == [Violated]


@ROLES
def test_a_session_that_left_reads_nothing_and_writes_its_queue_first(role: Role) -> None:
    session = receiving(role)
    session.acknowledge(0)
    session.hurry()
    session.ping(3)
    session.leave(Code.FINISHED, "done")
    session.leave(Code.LIMIT, "again")
    assert feed(session, Data(0, 0, False, b"\x81\x00"), Ping(1)) == []
    assert said(session) == [Ping(3), Ack(0, 0, 5, BUFFER), Goodbye(Code.FINISHED, "done")]
    assert session.gone


@ROLES
def test_a_goodbye_waits_for_all_data(role: Role) -> None:
    session = greeted(role, attrs.evolve(LIMITS, max_buffered_bytes=10**6))
    open_channel(session, sends=True)
    payload = array_of([value(0, 290_000)])
    session.send(0, Batch(payload, 1))
    session.leave(Code.FINISHED, "done")
    session.data_to_send()
    assert session.must_answer
    assert not session.gone
    *data, goodbye = said(session)
    assert data
    assert all(isinstance(frame, Data) for frame in data)
    assert isinstance(data[-1], Data)
    assert (data[-1].more, goodbye) == (False, Goodbye(Code.FINISHED, "done"))


@ROLES
def test_nothing_is_written_behind_a_goodbye(role: Role) -> None:
    session = receiving(role)
    session.leave(Code.FINISHED)
    assert said(session) == [Goodbye(Code.FINISHED, "")]
    session.ping(1)
    session.acknowledge(0)
    session.hurry()
    session.close(0, Code.FINISHED)
    session.leave(Code.LIMIT)
    assert not session.must_answer
    assert session.data_to_send() == []
    session = sending(role)
    session.leave(Code.FINISHED)
    output(session)
    session.close(0, Code.FINISHED)
    assert session.data_to_send() == []


@ROLES
def test_a_receivers_close_takes_its_acknowledgement_along(role: Role) -> None:
    session = receiving(role)
    feed(session, Data(0, 0, False, b"\x81\x00"))
    session.receiver(0).deliver(1)
    session.acknowledge(0)
    session.hurry()
    session.close(0, Code.RECEIVER_GONE)
    assert said(session) == [Close(0, 1, Code.RECEIVER_GONE, "")]


@ROLES
def test_what_waits_for_a_receiver_that_closed_is_not_written(role: Role) -> None:
    for closes in False, True:
        session = sending(role)
        session.send(0, Batch(b"\x81\x00", 1))
        if closes:
            session.close(0, Code.FINISHED)
        feed(session, Close(0, 2, Code.RECEIVER_GONE, ""))
        assert said(session) == []


@ROLES
def test_data_of_channels_alternates_and_a_close_follows_its_data(role: Role) -> None:
    session = greeted(role, attrs.evolve(LIMITS, max_buffered_bytes=10**6))
    feed(session)
    for channel in range(2):
        if role is EXPORTER:
            feed(session, Import(channel, f"n{channel}", True, 9, None, b""))
            session.accept(channel, window=9, schema=b"")
        else:
            session.request(f"n{channel}", receives=False, window=9, count=None, schema=b"")
            feed(session, Accept(channel, 9, b""))
        session.send(channel, Batch(array_of([value(0, 150_000)]), 1))
        session.close(channel, Code.FINISHED)
    turns = [(frame.channel, type(frame)) for frame in said(session) if isinstance(frame, Data | Close)]
    assert turns == [(0, Data), (1, Data)] * 3 + [(0, Close), (1, Close)]


@ROLES
def test_hanging_up_drops_what_is_not_on_the_wire(role: Role) -> None:
    session = sending(role)
    feed(session, Ack(0, 2, 9, 10**6))
    window = session.sender(0)
    session.send(0, Batch(array_of([value(0, 290_000)]), 1))
    first = b"".join(session.data_to_send())
    assert window.next_to_write is not None
    session.close(0, Code.HUNG_UP)
    assert said(session) == [Close(0, 2, Code.HUNG_UP, "")]
    assert len(first) < 200_000
    assert [(batch.count, [*places]) for batch, places in window.unacknowledged_batches()] == [(1, [0])]


@ROLES
def test_a_sender_that_closed_says_so_once_and_sends_no_more(role: Role) -> None:
    session = sent(role)
    for code in Code:
        session.close(0, code)
        assert said(session) == []
    with pytest.raises(AssertionError):
        session.send(0, Batch(b"\x81\x00", 1))


# Hostile bytes


class Shell:
    """Answers events in a fixed way, so that the same bytes always lead to the same dialogue."""

    def __init__(self, role: Role, limits: Limits = LIMITS) -> None:
        self.session = Side(role, limits)
        self.events: list[Event] = []
        if role is IMPORTER:
            for number in range(4):
                self.session.request(f"n{number}", receives=number % 2 == 0, window=3, count=None, schema=b"")
            self.session.close(3, Code.WITHDRAWN)

    def take(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            for event in self.session.receive_data(chunk):
                self.events.append(event)
                self.answer(event)

    def answer(self, event: Event) -> None:
        session = self.session
        match event:
            case ImportRequested(channel=channel) if channel % 3 == 2:
                session.reject(channel, Code.NO_SUCH_CHANNEL, "")
            case ImportRequested(channel=channel):
                session.accept(channel, window=3, schema=b"")
                if event.receives:
                    session.send(channel, Batch(b"\x82\x00\x01", 2))
            case ValuesReceived():
                session.receiver(event.channel).deliver(event.count)
                if event.payload[-1] % 2:
                    session.acknowledge(event.channel)
                    session.hurry()
            case Closed():
                session.close(event.channel, Code.FINISHED)
            case _:
                pass


few = st.integers(0, 5) | st.sampled_from([2**32, 2**62])
codes = st.sampled_from(Code)
texts = st.sampled_from(["", "x", "why not"])
likely = st.one_of(
    st.builds(Import, few, st.sampled_from(["x", "y"]), st.booleans(), few, st.none() | few, st.binary(max_size=3)),
    st.builds(Accept, few, few, st.binary(max_size=3)),
    st.builds(Reject, few, codes, texts),
    st.builds(
        Data,
        few,
        few,
        st.booleans(),
        st.sampled_from([b"\x81\x00", b"\x82\x00\x01", b"\x81\x42", b"ab", b"\x80", b"", bytes(70)]),
    ),
    st.builds(Ack, few, few, few, few),
    st.builds(Close, few, few, codes, texts),
    st.builds(Ping, few),
    st.builds(Pong, few),
)
frame_lists = st.lists(likely, max_size=12)


def opening(role: Role) -> list[Frame]:
    """Frames of a peer that lead somewhere."""
    if role is EXPORTER:
        return [Import(0, "a", True, 4, None, b""), Import(1, "b", False, 4, 5, b"")]
    return [Accept(0, 4, b""), Accept(1, 4, b""), Accept(3, 1, b"")]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip(bounds, bounds[1:])]  # noqa: B905, RUF007


def check_outcome(shell: Shell) -> None:
    """Only the documented outcomes."""
    ends = [event for event in shell.events if isinstance(event, Violated | PeerLeft)]
    assert ends == shell.events[len(shell.events) - len(ends) :]
    assert len(ends) <= 1
    assert shell.session.ended == bool(ends)
    for event in ends:
        assert isinstance(event, Violated | PeerLeft)
        assert event.message.isprintable() or not event.message
    frames = list(FrameCutter(2**20).cut(output(shell.session)))  # what it says can be read
    assert [type(frame) for frame in frames].count(Goodbye) == len(ends)


@ROLES
def test_any_chunking_gives_equal_events_and_equal_answers(role: Role) -> None:
    @thorough
    @given(frame_lists, st.booleans(), st.lists(st.integers(0, 400), max_size=8))
    @example([Data(0, 0, False, bytes(70)), Close(0, 1, Code.FINISHED, "x" * 40)], True, [100, 150, 151])
    def check(frames: list[Frame], hello: bool, cuts: list[int]) -> None:
        stream = MAGIC + (wire(HELLO, *opening(role)) if hello else b"") + wire(*frames)
        whole, cut, single = Shell(role), Shell(role), Shell(role)
        whole.take([stream])
        cut.take(pieces(stream, cuts))
        single.take(bytes((byte,)) for byte in stream)
        assert whole.events == cut.events == single.events
        assert output(whole.session) == output(cut.session) == output(single.session)

    check()


@ROLES
def test_random_bytes_give_events_and_at_most_one_violation(role: Role) -> None:
    @thorough
    @given(
        st.lists(st.binary(max_size=80), max_size=10),
        st.sampled_from([b"", MAGIC, MAGIC + wire(HELLO, *opening(role))]),
    )
    def check(chunks: list[bytes], start: bytes) -> None:
        shell = Shell(role)
        shell.take([start, *chunks])
        check_outcome(shell)

    check()


@ROLES
def test_random_frames_give_events_and_at_most_one_violation(role: Role) -> None:
    @thorough
    @given(frame_lists)
    def check(frames: list[Frame]) -> None:
        shell = Shell(role)
        shell.take([MAGIC + wire(HELLO, *opening(role))])
        for frame in frames:
            shell.take([encode(frame)])
        check_outcome(shell)

    check()


@ROLES
def test_changed_bytes_give_events_and_at_most_one_violation(role: Role) -> None:
    @thorough
    @given(frame_lists, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 255)), max_size=3))
    def check(frames: list[Frame], changes: list[tuple[int, int]]) -> None:
        data = bytearray(MAGIC + wire(HELLO, *opening(role), *frames))
        for place, change in changes:
            data[place % len(data)] ^= change
        shell = Shell(role)
        shell.take([bytes(data)])
        check_outcome(shell)

    check()


@ROLES
def test_floods_of_every_frame_that_is_ignored_leave_nothing_behind(role: Role) -> None:
    """Faults 33, 36, 42, 48, 50, 56."""
    floods: list[tuple[Callable[[Role], Side], Frame]] = [
        (sending, Ack(0, 1, 9, 900)),
        (sending, Ack(0, 0, 0, 0)),
        (closed_receiver, Data(0, 0, True, b"\x81" + bytes(1000))),
        (closed_receiver, Close(0, 1, Code.FINISHED, "x" * 500)),
        (closed_sender, Ack(0, 1, 9, 900)),
        (settling, Close(0, 0, Code.FINISHED, "x" * 500)),
        (receiving, Ping(1)),
        (receiving, Pong(1)),
    ]
    for make, frame in floods:
        session = make(role)
        data = encode(frame)
        list(session.receive_data(data))
        tracemalloc.start()
        for _ in range(1000):
            for event in session.receive_data(data):
                assert isinstance(event, Acknowledged)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 10_000, frame
        assert not session.ended


def test_an_import_is_asked_for_until_it_is_answered_or_withdrawn() -> None:
    def asks(*steps: Callable[[Side], object]) -> bool:
        side = asked(Role.EXPORTER)
        for step in steps:
            step(side)
        return side.session.asks(0)

    assert asks()
    assert not asks(lambda side: side.accept(0, window=1, schema=b""))
    assert not asks(lambda side: side.reject(0, Code.LIMIT, ""))
    assert not asks(lambda side: feed(side, Close(0, 0, Code.WITHDRAWN, "")))
    assert not greeted(Role.EXPORTER).session.asks(0)
