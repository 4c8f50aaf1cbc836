"""One side of a stream: its states, and what comes before and behind what."""

from __future__ import annotations

import pytest
from sides import Side

from trionetchan import Limits
from trionetchan._batch import Batch
from trionetchan._cbor import ARRAY, head
from trionetchan._errors import Code
from trionetchan._protocol.events import Event, Greeted, PeerLeft, Violated
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Frame,
    FrameCutter,
    Goodbye,
    Hello,
    Import,
    Ping,
    Pong,
    encode,
)
from trionetchan._protocol.handshake import parameters
from trionetchan._protocol.session import Role
from trionetchan._protocol.wire import Wire, WireState

HELLO = MAGIC + encode(Hello(VERSION, {}))


def wire_of(role: Role = Role.EXPORTER) -> Wire:
    return Side(role, Limits()).wire


def said(wire: Wire) -> list[Frame]:
    """All frames that there are to send now."""
    cutter = FrameCutter(2**30)
    frames: list[Frame] = []
    first = b"".join(wire.data_to_send())
    data = first if first.startswith(MAGIC) else MAGIC + first
    while data:
        frames += cutter.cut(data)
        data = b"".join(wire.data_to_send())
    return frames


def heard(wire: Wire, *frames: Frame) -> list[Event]:
    return list(wire.receive_data(b"".join(map(encode, frames))))


def to_connecting(wire: Wire) -> None:
    said(wire)


def to_greeted(wire: Wire) -> None:
    said(wire)
    assert list(wire.receive_data(HELLO)) == [Greeted()]


def to_leaving(wire: Wire) -> None:
    to_greeted(wire)
    wire.leave(Code.FINISHED)


def to_over(wire: Wire) -> None:
    to_leaving(wire)
    assert said(wire) == [Goodbye(Code.FINISHED, "")]


STATES = {
    WireState.CONNECTING: to_connecting,
    WireState.GREETED: to_greeted,
    WireState.LEAVING: to_leaving,
    WireState.OVER: to_over,
}
PINGED, ASKED, BYE, HELLO_AGAIN = (
    Ping(7),
    Import(0, "jobs", True, 1, None, b"\x81\x81\x03"),
    Goodbye(Code.LIMIT, "x"),
    Hello(VERSION, {}),
)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("frame", [PINGED, Pong(7), ASKED, BYE, HELLO_AGAIN, Hello(VERSION + 1, {})])
def test_every_frame_in_every_state(state: WireState, frame: Frame) -> None:
    wire = wire_of()
    STATES[state](wire)
    assert wire.state is state
    start = MAGIC if state is WireState.CONNECTING else b""
    events = list(wire.receive_data(start + encode(frame)))
    kinds = [type(event).__name__ for event in events]
    answers = said(wire)
    if wire.ended and state in (WireState.LEAVING, WireState.OVER):
        assert events == []
        assert answers == ([Goodbye(Code.FINISHED, "")] if state is WireState.LEAVING else [])
    elif isinstance(frame, Goodbye):
        assert events == [PeerLeft(Code.LIMIT, "x")]
        assert answers == [Goodbye(Code.FINISHED, "")]
    elif isinstance(frame, Hello) and state is WireState.CONNECTING and frame.version == VERSION:
        assert (events, answers, wire.state) == ([Greeted()], [], WireState.GREETED)
    elif state is WireState.CONNECTING or isinstance(frame, Hello):
        assert kinds == ["Violated"]
        unsupported = isinstance(frame, Hello) and state is WireState.CONNECTING
        (goodbye,) = answers
        assert isinstance(goodbye, Goodbye)
        assert goodbye.code is (Code.UNSUPPORTED_VERSION if unsupported else Code.PROTOCOL_ERROR)
    else:
        assert kinds == (["ImportRequested"] if isinstance(frame, Import) else [])
        assert answers == ([Pong(7)] if isinstance(frame, Ping) else [])
        assert wire.state is WireState.GREETED
    assert wire.over == (wire.ended)


def test_a_side_says_hello_first_and_once() -> None:
    wire = wire_of()
    assert wire.must_answer
    assert said(wire) == [Hello(VERSION, parameters(Limits(), 2**12))]
    assert not wire.must_answer
    assert wire.data_to_send() == []


@pytest.mark.parametrize("name", ["frame", "value", "buffer"])
def test_a_hello_with_too_small_a_parameter_breaks_the_protocol(name: str) -> None:
    wire = wire_of()
    (event,) = wire.receive_data(MAGIC + encode(Hello(VERSION, {name: 0})))
    assert isinstance(event, Violated)
    assert f"parameter '{name}' of at least" in event.message


def test_a_goodbye_goes_behind_everything_and_nothing_behind_it() -> None:
    wire = wire_of(Role.IMPORTER)
    session = wire.session
    session.request("jobs", receives=False, window=10, count=None, schema=b"\x81\x81\x03")
    wire.ping(1)
    wire.leave(Code.LIMIT, "enough")
    wire.leave(Code.FINISHED, "the second does not count")
    session.request("more", receives=False, window=10, count=None, schema=b"\x81\x81\x03")
    frames = said(wire)
    assert [type(frame).__name__ for frame in frames] == ["Hello", "Ping", "Import", "Import", "Goodbye"]
    assert frames[-1] == Goodbye(Code.LIMIT, "enough")
    assert wire.over
    wire.ping(2)
    assert not wire.must_answer
    assert wire.data_to_send() == []


def delivered_but_unconfirmed(wire: Wire) -> None:
    """A channel of the exporter has received a value, which is in the hands of a task that has not run yet."""
    session = wire.session
    heard(wire, Import(0, "jobs", False, 10, None, b"\x81\x81\x03"))
    session.accept(0, window=10, schema=b"\x81\x81\x03")
    said(wire)
    window = session.receiver(0)
    window.unbuffered = True
    window.receive(0, head(ARRAY, 1) + b"\x05", more=False)
    window.deliver(1)
    session.acknowledge(0)


@pytest.mark.parametrize("who", ["we", "the peer"])
def test_a_goodbye_waits_for_what_is_to_be_confirmed(who: str) -> None:
    wire = wire_of()
    to_greeted(wire)
    delivered_but_unconfirmed(wire)
    if who == "we":
        wire.leave(Code.FINISHED)
    else:
        assert heard(wire, BYE) == [PeerLeft(Code.LIMIT, "x")]
    assert said(wire) == []
    assert wire.state is WireState.LEAVING
    assert wire.session.has_undue
    wire.session.receiver(0).confirm(1)
    wire.session.hurry()
    assert wire.must_answer
    assert [type(frame).__name__ for frame in said(wire)] == ["Ack", "Goodbye"]


def test_data_for_a_peer_that_said_goodbye_is_dropped() -> None:
    wire = wire_of()
    to_greeted(wire)
    heard(wire, Import(0, "jobs", True, 10, None, b"\x81\x81\x03"))
    wire.session.accept(0, window=10, schema=b"\x81\x81\x03")
    said(wire)
    wire.session.send(0, Batch(head(ARRAY, 1) + b"\x05", 1))
    heard(wire, BYE)
    assert said(wire) == [Goodbye(Code.FINISHED, "")]
    assert wire.session.sender(0).unacknowledged == 1
    assert list(wire.receive_data(encode(ASKED))) == []


def test_nothing_is_read_after_the_event_on_which_we_leave() -> None:
    wire = wire_of()
    said(wire)
    events: list[Event] = []
    for event in wire.receive_data(HELLO + encode(ASKED) + encode(Import(1, "more", True, 1, None, b"\x81\x81\x03"))):
        events.append(event)
        if len(events) == 2:
            wire.leave(Code.FINISHED)
    assert [type(event).__name__ for event in events] == ["Greeted", "ImportRequested"]
