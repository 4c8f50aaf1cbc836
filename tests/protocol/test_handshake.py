"""How a stream begins: every frame in every state of the handshake, and who is let go on with a session.

`fault N` in a test's name or parameters is case N of the catalogue of hostile peers in `docs/protocol.md`.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from resumable import EXPORTER, ID, IMPORTER, LIMITS, SECRET, Pair, batch, begun, feed, nonce, said, take

from trionetchan._errors import Code
from trionetchan._protocol.events import (
    Accepted,
    Acknowledged,
    Closed,
    Event,
    Greeted,
    ImportRequested,
    LimitExceeded,
    PeerLeft,
    ResumeRequested,
    SessionResumed,
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
    Goodbye,
    Hello,
    Import,
    Parameters,
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
from trionetchan._protocol.resuming import Nonces, SessionKey
from trionetchan._protocol.session import MAX_UNSEEN, SEEN_INTERVAL, Role, Session
from trionetchan._protocol.wire import Wire

PLAIN: Parameters = {"frame": 65536, "value": 1000, "buffer": 400, "keepalive": 15_000, "settle": 1}

EXPORTERS_HELLO = Hello(1, {**PLAIN, "resume": 30_000, "nonce": nonce(5)})
NONCES = Nonces(nonce(4), nonce(5))  # of the second stream
KEY = SessionKey(ID, SECRET)
RESUME = Resume(ID, 0, KEY.importer_proof(NONCES), 2, 1)
RESUMED = Resumed(KEY.exporter_proof(NONCES), 2, 1)


# Every frame in every state. On channel 0 the exporter has sent one value, on channel 1 the importer; both have come.


def new() -> Pair:
    """To begin a session."""
    pair = Pair()
    pair.connect()
    for wire in pair.wires.values():
        take(wire)
        list(wire.receive_data(MAGIC))
    return pair


def working() -> Pair:
    pair = begun()
    for receives in True, False:
        pair.open(importer_receives=receives)
    pair.exporter.send(0, batch(1))
    pair.importer.send(1, batch(1))
    came = pair.carry()
    assert came == [ValuesReceived(channel, bytes(batch(1).payload), 1) for channel in (0, 1)]
    return pair


def to_resume() -> Pair:
    """Nothing has come on the new stream."""
    pair = working()
    pair.cut()
    pair.connect()
    for wire in pair.wires.values():
        take(wire)
        list(wire.receive_data(MAGIC))
    return pair


def waiting() -> Pair:
    """The hello has come; not yet RESUME, or RESUMED."""
    pair = to_resume()
    assert (
        feed(pair.wires[EXPORTER], Hello(1, {**PLAIN, "resume": 30_000, "nonce": NONCES.importer, "session": ID})) == []
    )
    assert feed(pair.wires[IMPORTER], EXPORTERS_HELLO) == []
    assert said(pair.wires[IMPORTER]) == [RESUME, Position(0, 1)]
    return pair


def counting() -> Pair:
    """RESUME or RESUMED has come, with one POSITION to follow."""
    pair = waiting()
    for event in pair.wires[EXPORTER].receive_data(encode(RESUME)):
        assert event == ResumeRequested(ID, 0, RESUME.proof, NONCES)
        pair.answer(EXPORTER, pair.wires[EXPORTER], event)
    assert feed(pair.wires[IMPORTER], RESUMED) == []
    return pair


def resumed() -> Pair:
    pair = working()
    assert pair.resume().count(SessionResumed()) == 2
    return pair


STATES: dict[str, Callable[[], Pair]] = {
    make.__name__: make for make in (new, working, to_resume, waiting, counting, resumed)
}


def frames_for(role: Role) -> list[Frame]:
    """Each frame, as right as it can be."""
    sends, receives = (0, 1) if role is EXPORTER else (1, 0)
    return [
        EXPORTERS_HELLO if role is IMPORTER else Hello(1, {}),
        Import(2, "x", True, 5, None, b""),
        Accept(sends, 5, b""),
        Reject(sends, Code.NO_SUCH_CHANNEL, ""),
        Data(receives, 1, False, b"\x81\x00"),
        Ack(sends, 1, 9, 900),
        Close(sends, 0, Code.RECEIVER_GONE, ""),
        Ping(7),
        Pong(7),
        Goodbye(Code.FINISHED, ""),
        RESUME,
        RESUMED,
        Position(sends, 1),
        Seen(2),
        Settle(sends, (0, 1), True),
        Redelivered(receives, 1, 1),
    ]


# V: violated. A dot: no event. Otherwise the event: Greeted, Import requested, Values, acKnowledged, Closed, peer Left,
# Resume requested, Session resumed. An exporter knows by the hello whether a session is resumed.
#                    HELLO IMPORT ACCEPT REJECT DATA ACK CLOSE PING PONG GOODBYE RESUME RESUMED POSITION SEEN SETTLE R…
TABLE = """
exporter new           G     V      V      V     V    V    V    V    V     L       V       V       V      V     V      V
exporter working       V     I      V      V     D    K    C    .    .     L       V       V       V      .     V      V
exporter waiting       V     V      V      V     V    V    V    .    .     L       R       V       V      V     V      V
exporter counting      V     V      V      V     V    V    V    .    .     L       V       V       S      V     V      V
exporter resumed       V     I      V      V     D    K    C    .    .     L       V       V       V      .     V      V
importer new           G     V      V      V     V    V    V    V    V     L       V       V       V      V     V      V
importer working       V     V      V      V     D    K    C    .    .     L       V       V       V      .     V      V
importer to_resume     .     V      V      V     V    V    V    V    V     L       V       V       V      V     V      V
importer waiting       V     V      V      V     V    V    V    .    .     L       V       .       V      V     V      V
importer counting      V     V      V      V     V    V    V    .    .     L       V       V       S      V     V      V
importer resumed       V     V      V      V     D    K    C    .    .     L       V       V       V      .     V      V
"""

EVENTS: dict[str, type[Event]] = {
    "V": Violated,
    "G": Greeted,
    "I": ImportRequested,
    "D": ValuesReceived,
    "K": Acknowledged,
    "C": Closed,
    "L": PeerLeft,
    "R": ResumeRequested,
    "S": SessionResumed,
}

CELLS = [
    pytest.param(Role(role), state, frame, cell, id=f"{role} {state} {type(frame).__name__.upper()}")
    for role, state, *cells in (line.split() for line in TABLE.strip().splitlines())
    for frame, cell in zip(frames_for(Role(role)), cells, strict=True)
]


def test_the_table_has_every_state_and_every_frame() -> None:
    for role in Role:
        assert {type(frame) for frame in frames_for(role)} == set(Frame.__subclasses__())
    rows = [tuple(line.split()[:2]) for line in TABLE.strip().splitlines()]
    same = {("exporter", "to_resume")}  # it is `new`
    assert sorted(rows) == sorted({(role.value, state) for role in Role for state in STATES} - same)


@pytest.mark.parametrize(("role", "state", "frame", "cell"), CELLS)
def test_every_frame_in_every_state(role: Role, state: str, frame: Frame, cell: str) -> None:
    pair = STATES[state]()
    wire = pair.wires[role]
    events: list[Event] = []
    for event in wire.receive_data(encode(frame)):
        pair.answer(role, wire, event)
        events.append(event)
    if cell == ".":
        assert events == []
    else:
        assert [type(event) for event in events] == [EVENTS[cell]]
    frames = said(wire)
    if cell == "V":
        (violated,) = events
        assert isinstance(violated, Violated)
        assert violated.message.startswith("expected ")
        assert frames[-1] == Goodbye(Code.PROTOCOL_ERROR, violated.message)
    elif cell == "L":
        assert frames[-1] == Goodbye(Code.FINISHED, "")
    else:
        assert (Pong(7) in frames) == isinstance(frame, Ping)
        assert not wire.ended
    if cell in "VL":
        assert wire.over
        assert feed(wire, Ping(1), frame) == []


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
@pytest.mark.parametrize("state", [to_resume, waiting, counting])
def test_nothing_of_the_session_is_said_before_it_goes_on(role: Role, state: Callable[[], Pair]) -> None:
    pair = state()
    take(pair.wires[role])
    channel = 0 if role is EXPORTER else 1
    pair.sessions[role].send(channel, batch(1))
    pair.sessions[role].close(channel, Code.FINISHED)
    pair.sessions[role].acknowledge(1 - channel)
    pair.sessions[role].hurry()
    wire = pair.wires[role]
    assert not wire.must_answer
    assert take(wire) == b""
    wire.ping(1)
    assert said(wire) == [Ping(1)]
    wire.leave(Code.FINISHED)
    assert said(wire) == [Goodbye(Code.FINISHED, "")]


def test_the_parameters_of_the_first_hello_count() -> None:
    """On both sides: the importer's and the exporter's."""
    pair = working()
    others: Parameters = {"frame": 2**20, "value": 7, "buffer": 7, "keepalive": 7, "resume": 7}
    pair.cut()
    pair.connect()
    for wire in pair.wires.values():
        take(wire)
    importers = MAGIC + encode(Hello(1, {**others, "nonce": nonce(4), "session": ID}))
    exporters = MAGIC + encode(Hello(1, {**others, "nonce": nonce(5)}))
    for event in pair.wires[EXPORTER].receive_data(importers + encode(RESUME) + encode(Position(0, 1))):
        pair.answer(EXPORTER, pair.wires[EXPORTER], event)
    assert list(pair.wires[IMPORTER].receive_data(exporters)) == []
    assert list(pair.wires[IMPORTER].receive_data(take(pair.wires[EXPORTER]))) == [SessionResumed()]
    for session in pair.sessions.values():
        assert (session.max_value_size, session.resume_time) == (LIMITS.max_value_size, 30.0)


# Who can resume


def without(*names: str) -> Parameters:
    """The hello of an importer that begins a session, but for these."""
    whole: Parameters = {**PLAIN, "resume": 30_000, "nonce": nonce(2), "session": ID, "secret": SECRET}
    return {name: item for name, item in whole.items() if name not in names}


@pytest.mark.promise(55)
@pytest.mark.parametrize(
    ("hello", "outcome"),
    [
        (without(), "can be resumed"),
        (without("resume"), "cannot"),
        (without() | {"resume": 0}, "cannot"),
        (without("nonce"), "cannot"),
        (without("session"), "cannot"),
        (without("session", "secret"), "cannot"),
        (without("nonce", "session", "secret"), "cannot"),
        (PLAIN, "cannot"),
        ({}, "cannot"),
        (without("secret"), "resumes"),
        (without("secret", "nonce"), "cannot"),
        (without("secret") | {"resume": 0}, "cannot"),
    ],
)
@pytest.mark.parametrize("own", [30.0, 0.0], ids=["", "to an exporter that resumes nothing"])
def test_what_an_exporter_makes_of_a_hello(hello: Parameters, outcome: str, own: float) -> None:
    session = Session(EXPORTER, limits := attrs.evolve(LIMITS, resume_timeout=own))
    wire = Wire(session, limits, nonce=nonce(1))
    mine = hello_of(wire).parameters
    assert ("nonce" in mine, "session" in mine, "secret" in mine, mine["resume"]) == (
        bool(own),
        False,
        False,
        own * 1000,
    )
    events = list(wire.receive_data(MAGIC + encode(Hello(1, hello))))
    if outcome == "resumes" and own:
        assert events == []
        return
    assert events == [Greeted()]
    resumable = outcome == "can be resumed" and bool(own)
    assert (wire.key is not None) == session.outbox.keeps == resumable
    assert session.resume_time == (30.0 if resumable else 0)
    assert feed(wire, Import(0, "x", True, 5, None, b"")) == [ImportRequested(0, "x", True, None, b"")]
    (violated,) = feed(wire, RESUME)
    assert isinstance(violated, Violated)


def hello_of(wire: Wire) -> Hello:
    (hello,) = said(wire)
    assert isinstance(hello, Hello)
    return hello


@pytest.mark.promise(55)
@pytest.mark.parametrize(
    ("hello", "resumable"),
    [
        ({**PLAIN, "resume": 30_000, "nonce": nonce(1)}, True),
        ({**PLAIN, "nonce": nonce(1)}, False),
        ({**PLAIN, "resume": 0, "nonce": nonce(1)}, False),
        ({**PLAIN, "resume": 30_000}, False),
        (PLAIN, False),
        ({}, False),
    ],
)
def test_what_an_importer_makes_of_a_hello(hello: Parameters, resumable: bool) -> None:
    session = Session(IMPORTER, LIMITS)
    wire = Wire(session, LIMITS, nonce=nonce(2), key=SessionKey(ID, SECRET))
    session.request("x", receives=True, window=5, count=None, schema=b"")
    mine, *_ = said(wire)
    assert mine == Hello(1, without())
    assert list(wire.receive_data(MAGIC + encode(Hello(1, hello)))) == [Greeted()]
    assert (wire.key is not None) == session.outbox.keeps == resumable
    assert session.outbox.unseen == (1 if resumable else 0)
    assert session.resume_time == (30.0 if resumable else 0)
    assert feed(wire, Accept(0, 5, b"")) == [Accepted(0, b"")]


@pytest.mark.promise(55)
@pytest.mark.parametrize("peer", [1, 20_000, 30_000, 40_000, 2**62])
def test_the_smaller_of_the_two_times_counts(peer: int) -> None:
    session = Session(EXPORTER, LIMITS)
    wire = Wire(session, LIMITS, nonce=nonce(1))
    assert list(wire.receive_data(MAGIC + encode(Hello(1, without() | {"resume": peer})))) == [Greeted()]
    assert session.resume_time == min(30.0, peer / 1000)


@pytest.mark.parametrize(
    ("given", "has_key"), [(None, True), (nonce(2), False), (None, False)], ids=["no nonce", "no key", "neither"]
)
def test_an_importer_without_all_it_takes_says_nothing_of_a_session(given: bytes | None, has_key: bool) -> None:
    wire = Wire(Session(IMPORTER, LIMITS), LIMITS, nonce=given, key=SessionKey(ID, SECRET) if has_key else None)
    said_of_it = hello_of(wire).parameters
    assert not {"session", "secret"} & said_of_it.keys()
    assert list(wire.receive_data(MAGIC + encode(EXPORTERS_HELLO))) == [Greeted()]
    assert wire.key is None


@pytest.mark.parametrize("seconds", [0.0009, 1e-9])
def test_a_resume_time_below_a_millisecond_is_none(seconds: float) -> None:
    """Or one side would keep what the other, which reads 0, never says it has seen."""
    limits = attrs.evolve(LIMITS, resume_timeout=seconds)
    session = Session(EXPORTER, limits)
    wire = Wire(session, limits, nonce=nonce(1))
    assert hello_of(wire).parameters == parameters_of(0) | {"settle": 1}
    assert list(wire.receive_data(MAGIC + encode(Hello(1, without())))) == [Greeted()]
    assert (wire.key, session.outbox.keeps) == (None, False)


@pytest.mark.parametrize("seconds", [1e9, 1e30, 1.7e308])
def test_a_resume_time_of_ages_can_be_said(seconds: float) -> None:
    limits = attrs.evolve(LIMITS, resume_timeout=seconds)
    wire = Wire(Session(EXPORTER, limits), limits, nonce=nonce(1))
    assert hello_of(wire).parameters["resume"] == 10**12


@pytest.mark.parametrize(("seconds", "said"), [(0.0, None), (0.0001, None), (0.5, 500)])
def test_an_importer_says_for_how_long_it_waits_for_a_restart(seconds: float, said: int | None) -> None:
    limits = attrs.evolve(LIMITS, restart_timeout=seconds)
    hello = hello_of(Wire(Session(IMPORTER, limits), limits))
    assert hello.parameters.get("restart") == said
    exporter = Session(EXPORTER, LIMITS)
    assert not exporter.awaits_restart
    wire = Wire(exporter, LIMITS)
    assert list(wire.receive_data(MAGIC + encode(hello))) == [Greeted()]
    assert exporter.awaits_restart == (said is not None)


def parameters_of(resume: int) -> Parameters:
    return {"frame": 65536, "value": 1000, "buffer": 400, "keepalive": 15_000, "resume": resume}


# Faults


@pytest.mark.promise(57)
def test_fault_66_and_67_a_refusal_says_goodbye_and_leaves_a_live_session_alone() -> None:
    """Whether the id or the proof is wrong is not to be seen; the exporter's shell looks both up."""
    pair = working()
    stranger = Wire(Session(EXPORTER, LIMITS), LIMITS, nonce=nonce(5))
    take(stranger)
    list(stranger.receive_data(MAGIC + encode(Hello(1, {**PLAIN, "resume": 1, "nonce": nonce(4), "session": ID}))))
    key = pair.exporter_key
    assert key is not None
    for event in stranger.receive_data(encode(attrs.evolve(RESUME, proof=bytes(32), seen=99, channels=2**62))):
        assert isinstance(event, ResumeRequested)
        assert not key.check_importer(event.epoch, event.proof, event.nonces)
        stranger.refuse("expected a session that can be resumed, got one that is not here")
    (goodbye,) = said(stranger)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code is Code.SESSION_LOST
    assert feed(stranger, Position(0, 0)) == []
    pair.exporter.send(0, batch(2))
    assert pair.carry() == [ValuesReceived(0, bytes(batch(2).payload), 2)]


@pytest.mark.promise(57)
def test_fault_70_a_live_session_is_taken_over_once_the_proof_is_right() -> None:
    """What the old stream brings after that counts for nothing: it is fenced before any count is read."""
    pair = working()
    pair.exporter.send(0, batch(2))
    pair.importer.send(1, batch(2))
    old = dict(pair.wires)
    late = take(old[IMPORTER])
    take(old[EXPORTER])
    pair.connect()
    fenced: list[Event] = []
    for _ in range(20):
        data = {role: take(wire) for role, wire in pair.wires.items()}
        for role, wire in pair.wires.items():
            for event in wire.receive_data(data[role.other]):
                if isinstance(event, ResumeRequested):
                    old[EXPORTER].abandon()
                    fenced += old[EXPORTER].receive_data(late)
                pair.answer(role, wire, event)
                if isinstance(event, ValuesReceived):
                    fenced.append(event)
    assert [event.count for event in fenced if isinstance(event, ValuesReceived)] == [2, 2]
    assert take(old[EXPORTER]) == b""


def test_fault_72_another_exporter_does_not_know_the_session() -> None:
    pair = working()
    pair.cut()
    pair.connect()
    for event in pair.wires[EXPORTER].receive_data(take(pair.wires[IMPORTER])):
        raise AssertionError(event)
    assert list(pair.wires[IMPORTER].receive_data(take(pair.wires[EXPORTER]))) == []
    for event in pair.wires[EXPORTER].receive_data(take(pair.wires[IMPORTER])):
        assert isinstance(event, ResumeRequested)
        pair.wires[EXPORTER].refuse("unknown")
    assert list(pair.wires[IMPORTER].receive_data(take(pair.wires[EXPORTER]))) == [
        PeerLeft(Code.SESSION_LOST, "unknown")
    ]
    assert pair.importer.established


@pytest.mark.parametrize("hello", [PLAIN, {}, {**PLAIN, "resume": 30_000}, {**PLAIN, "resume": 0, "nonce": nonce(5)}])
def test_an_exporter_that_resumes_nothing_has_lost_the_session_and_broken_no_rule(hello: Parameters) -> None:
    pair = to_resume()
    wire = pair.wires[IMPORTER]
    (left,) = feed(wire, Hello(1, hello))
    assert isinstance(left, PeerLeft)
    assert left.code is Code.SESSION_LOST
    assert left.message.startswith("expected ")
    assert said(wire) == [Goodbye(Code.SESSION_LOST, left.message)]


@pytest.mark.promise(57)
def test_an_exporter_that_cannot_prove_it_is_refused_before_it_is_told_more() -> None:
    pair = waiting()
    wire = pair.wires[IMPORTER]
    (violated,) = feed(wire, attrs.evolve(RESUMED, proof=RESUME.proof))
    assert isinstance(violated, Violated)
    assert "cannot prove" in violated.message
    assert pair.importer_key.epoch == 0
    assert [type(frame) for frame in said(wire)] == [Goodbye]


def test_fault_74_a_channel_that_is_hung_up_meanwhile_ends_and_the_others_go_on() -> None:
    pair = working()
    third = pair.open(importer_receives=True)
    pair.cut()
    pair.exporter.send(0, batch(3))
    pair.exporter.close(0, Code.HUNG_UP)
    pair.exporter.send(third, batch(2))
    events = pair.resume()
    assert Closed(0, Code.HUNG_UP, "", 0) in events
    assert ValuesReceived(third, bytes(batch(2).payload), 2) in events
    assert [event.channel for event in events if isinstance(event, ValuesReceived)] == [third]
    pair.importer.send(1, batch(1))
    assert pair.carry() == [ValuesReceived(1, bytes(batch(1).payload), 1)]


def test_a_resume_of_another_session_than_the_hello_names_is_refused() -> None:
    pair = waiting()
    (violated,) = feed(pair.wires[EXPORTER], attrs.evolve(RESUME, session=bytes(16)))
    assert isinstance(violated, Violated)


# Positions


@pytest.mark.parametrize(
    ("role", "positions", "match"),
    [
        (EXPORTER, [(0, 1), (0, 1)], "each once"),
        (EXPORTER, [(2, 0), (0, 1)], "in the order"),
        (EXPORTER, [(0, 2)], "a position from 0 to 1, where a batch ends, on channel 0, got 2"),
        (EXPORTER, [(0, 2**62)], "got 4611686018427387904"),
        (EXPORTER, [(1, 1)], "channel 1, which sends none"),
        (EXPORTER, [(1, 0)], "channel 1, which sends none"),
        (EXPORTER, [(2, 1)], "channel 2, which sends none"),
        (IMPORTER, [(1, 1), (1, 1)], "each once"),
        (IMPORTER, [(1, 2)], "a position from 0 to 1, where a batch ends, on channel 1, got 2"),
        (IMPORTER, [(0, 0)], "channel 0, which sends none"),
        (IMPORTER, [(1, 1), (2, 0)], "channel 2, which sends none"),
    ],
)
def test_fault_71_positions_that_cannot_be(role: Role, positions: list[tuple[int, int]], match: str) -> None:
    pair = waiting()
    wire = pair.wires[role]
    first = attrs.evolve(RESUME if role is EXPORTER else RESUMED, channels=9)
    events: list[Event] = []
    for event in wire.receive_data(b"".join(map(encode, [first, *(Position(*each) for each in positions)]))):
        pair.answer(role, wire, event)
        events.append(event)
    assert isinstance(events[-1], Violated)
    assert match in events[-1].message
    assert pair.importer_key.epoch == 0


@pytest.mark.parametrize("seen", [1, 3, 2**62])
@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_fault_71_control_frames_seen_that_were_never_said_or_are_forgotten(role: Role, seen: int) -> None:
    pair = working()
    for wire in pair.wires.values():
        assert feed(wire, Seen(2)) == []
    pair.cut()
    pair.connect()
    for each in pair.wires.values():
        list(each.receive_data(MAGIC))
    data = {each: take(wire).removeprefix(MAGIC) for each, wire in pair.wires.items()}
    wire = pair.wires[role]
    assert list(wire.receive_data(data[role.other])) == []
    first = attrs.evolve(RESUME if role is EXPORTER else RESUMED, seen=seen)
    for event in wire.receive_data(encode(first) + encode(Position(0 if role is EXPORTER else 1, 1))):
        pair.answer(role, wire, event)
        if isinstance(event, ResumeRequested):
            continue
        assert isinstance(event, Violated)
        assert "from 2 to 2 control frames seen" in event.message
        return
    raise AssertionError


def test_a_session_may_have_asked_for_more_channels_than_the_exporter_allows() -> None:
    """Not bound and not refused yet, each has its POSITION."""
    pair = begun()
    many = 3 * LIMITS.max_channels
    for _ in range(many):
        pair.importer.request("x", receives=True, window=5, count=None, schema=b"")
    events = pair.resume()
    assert events.count(SessionResumed()) == 2
    assert sum(isinstance(event, Accepted) for event in events) == LIMITS.max_channels


def test_an_importer_has_as_many_channels_as_its_exporter_allows() -> None:
    """What it would allow as an exporter does not count."""
    pair = begun()
    for channel in range(LIMITS.max_channels):
        pair.open(importer_receives=False)
        pair.importer.send(channel, batch(1))
    pair.carry()
    pair.importer._limits = attrs.evolve(LIMITS, max_channels=1)  # pyright: ignore[reportPrivateUsage]
    pair.limits = attrs.evolve(LIMITS, max_channels=1)
    events = pair.resume()
    assert events.count(SessionResumed()) == 2


@pytest.mark.promise(61)
def test_positions_without_end_are_not_kept() -> None:
    """An importer that has the secret may say as many as it likes, of channels that are not bound."""
    pair = waiting()
    wire = pair.wires[EXPORTER]
    for event in wire.receive_data(encode(attrs.evolve(RESUME, channels=2**62))):
        pair.answer(EXPORTER, wire, event)
    assert feed(wire, Position(0, 1), *(Position(channel, 0) for channel in range(2, 2000))) == []
    assert wire._handshake._peer_has is not None  # pyright: ignore[reportPrivateUsage]
    assert wire._handshake._peer_has.received == {0: 1}  # pyright: ignore[reportPrivateUsage]


# What is never said to have been seen


@pytest.mark.promise(61)
def test_an_importer_that_never_says_what_it_has_seen_is_refused_in_the_end() -> None:
    session = Session(EXPORTER, attrs.evolve(LIMITS, max_channels=1))
    wire = Wire(session, LIMITS, nonce=nonce(1))
    take(wire)
    list(wire.receive_data(MAGIC + encode(Hello(1, without()))))
    hostile = [Import(0, "x", True, 5, None, b"")]
    for channel in range(MAX_UNSEEN + 1000):
        (event,) = feed(wire, attrs.evolve(hostile[0], channel=2 * channel))
        if isinstance(event, LimitExceeded):
            assert "SEEN" in event.message
            break
        session.reject(2 * channel, Code.NO_SUCH_CHANNEL, "")
        feed(wire, attrs.evolve(hostile[0], channel=2 * channel + 1))
        session.reject(2 * channel + 1, Code.NO_SUCH_CHANNEL, "")
        take(wire)
    assert MAX_UNSEEN < session.outbox.unseen < MAX_UNSEEN + 10


# A session that begins anew


def begin(session: Session, hello: Parameters, *, key: SessionKey) -> Wire:
    wire = Wire(session, LIMITS, nonce=nonce(2), key=key)
    assert list(wire.receive_data(MAGIC + encode(Hello(1, hello)))) == [Greeted()]
    return wire


@pytest.mark.promise(60)
def test_a_session_that_was_never_established_is_begun_anew_with_another_exporter() -> None:
    """Whose parameters count, not those of the first."""
    session = Session(IMPORTER, LIMITS)
    first = session.request("x", receives=False, window=5, count=None, schema=b"")
    withdrawn = session.request("y", receives=True, window=5, count=None, schema=b"")
    begin(session, {**PLAIN, "value": 1, "resume": 10_000, "nonce": nonce(1)}, key=SessionKey(ID, SECRET))
    session.data_to_send(1000)
    session.close(withdrawn, Code.WITHDRAWN)
    assert not session.established
    session.restart()
    wire = begin(session, EXPORTERS_HELLO.parameters, key=SessionKey(nonce(9), SECRET))
    assert (session.max_value_size, session.resume_time) == (1000, 30.0)
    hello, *others = said(wire)
    assert isinstance(hello, Hello)
    assert (hello.parameters["session"], hello.parameters["secret"]) == (nonce(9), SECRET)
    assert [type(frame) for frame in others] == [Import, Import, Close]
    assert feed(wire, Accept(first, 5, b"")) == [Accepted(first, b"")]
    assert session.established


def test_a_session_begun_anew_with_an_exporter_that_resumes_nothing_cannot_be_resumed() -> None:
    session = Session(IMPORTER, LIMITS)
    session.request("x", receives=False, window=5, count=None, schema=b"")
    begin(session, EXPORTERS_HELLO.parameters, key=SessionKey(ID, SECRET))
    session.restart()
    wire = begin(session, PLAIN, key=SessionKey(nonce(9), SECRET))
    assert (wire.key, session.outbox.keeps, session.resume_time) == (None, False, 0)


def test_a_resume_in_which_the_exporter_has_seen_something_establishes_the_session() -> None:
    """What it has seen is forgotten here, and could not be said to another one."""
    pair = begun()
    channel = pair.importer.request("x", receives=True, window=5, count=None, schema=b"")
    data = take(pair.wires[IMPORTER])
    assert [type(event) for event in pair.wires[EXPORTER].receive_data(data)] == [ImportRequested]
    assert not pair.importer.established
    assert pair.resume().count(SessionResumed()) == 2
    assert pair.importer.established
    pair.exporter.accept(channel, window=5, schema=b"")
    assert pair.carry() == [Accepted(channel, b"")]


def test_an_exporter_that_says_what_it_has_seen_has_state_of_the_session() -> None:
    """What it has seen is forgotten here; so the session cannot begin anew without it."""
    pair = begun()
    for number in range(SEEN_INTERVAL // 2):  # each is asked for and withdrawn: two frames
        channel = pair.importer.request(f"x{number}", receives=True, window=5, count=None, schema=b"")
        pair.importer.close(channel, Code.WITHDRAWN)
    assert not pair.importer.established
    assert {type(event) for event in pair.carry()} == {ImportRequested}  # answers come too late
    assert pair.importer.outbox.unseen == 0
    assert pair.importer.established


def test_a_resume_in_which_the_exporter_has_seen_nothing_does_not() -> None:
    pair = begun()
    pair.importer.request("x", receives=True, window=5, count=None, schema=b"")
    take(pair.wires[IMPORTER])
    pair.cut()
    pair.connect()
    pair.carry(rounds=3)
    assert not pair.importer.established
    pair.cut()
    pair.importer.restart()
    wire = begin(pair.importer, EXPORTERS_HELLO.parameters, key=SessionKey(nonce(9), SECRET))
    assert [type(frame) for frame in said(wire)] == [Hello, Import]


def test_fault_69_a_resume_that_was_long_under_way_takes_nothing_from_a_later_one() -> None:
    """Its proof is of an epoch that counts still, as the importer has said nothing in the next one."""
    pair = working()
    pair.cut()
    pair.connect()
    early = pair.wires[EXPORTER]
    assert list(pair.wires[IMPORTER].receive_data(take(early))) == []
    under_way = take(pair.wires[IMPORTER])
    pair.wires[IMPORTER].abandon()
    pair.connect()
    later = dict(pair.wires)
    assert pair.carry(rounds=4).count(SessionResumed()) == 2
    key = pair.exporter_key
    assert key is not None
    for event in early.receive_data(under_way):
        assert isinstance(event, ResumeRequested)
        assert not key.check_importer(event.epoch, event.proof, event.nonces)
        early.refuse("unknown")
    pair.exporter.send(0, batch(2))
    assert ValuesReceived(0, batch(2).payload, 2) in pair.carry()
    assert pair.wires == later
    assert pair.resume().count(SessionResumed()) == 2


@pytest.mark.parametrize("key", [None, SessionKey(ID, SECRET)])
@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("token", [None, b"t", bytes(1024)])
def test_an_importer_shows_its_token_on_each_stream(key: SessionKey | None, resumes: bool, token: bytes | None) -> None:
    if resumes and key is None:
        return
    importer = Wire(Session(Role.IMPORTER, LIMITS), LIMITS, nonce=nonce(1), key=key, resumes=resumes, token=token)
    [hello] = said(importer)
    assert isinstance(hello, Hello)
    assert hello.parameters.get("token") == token
    exporter = Wire(Session(Role.EXPORTER, LIMITS), LIMITS, nonce=nonce(2))
    list(exporter.receive_data(MAGIC + encode(hello)))
    assert exporter.token == token
    assert importer.token is None
