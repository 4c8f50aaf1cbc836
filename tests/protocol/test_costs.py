"""What a peer costs: what is counted as useless, what is not, when it is too much, and how it is slowed down."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sides import Side

from trionetchan._allowance import Allowance
from trionetchan._batch import Batch
from trionetchan._errors import Code
from trionetchan._limits import Limits
from trionetchan._protocol.costs import FREE, LONGEST_PAUSE, PAUSE, PERIOD, Costs, Judge
from trionetchan._protocol.events import ImportRequested, LimitExceeded, TurnOver, ValuesReceived
from trionetchan._protocol.frames import (
    MAGIC,
    VERSION,
    Accept,
    Ack,
    Close,
    Data,
    Frame,
    FrameCutter,
    Hello,
    Import,
    Ping,
    Pong,
    Redelivered,
    Settle,
    data_head,
    encode,
)
from trionetchan._protocol.overdue import Unfinished
from trionetchan._protocol.session import LEAST_BUFFER, Role

pytestmark = pytest.mark.promise(71)

LIMITS = Limits(max_value_size=2**20, max_imports_per_name=3)
HELLO = Hello(VERSION, {"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0, "settle": 1})


def wire_bytes(*frames: Frame) -> bytes:
    return b"".join(map(encode, frames))


def data(channel: int, first: int, payload: bytes, *, more: bool = False) -> Data:
    return Data(channel, first, more, payload)


def greeted(limits: Limits = LIMITS, role: Role = Role.EXPORTER) -> Side:
    side = Side(role, limits)
    list(side.receive_data(MAGIC + wire_bytes(HELLO)))
    list(said(side))
    side.session.costs.useless = 0
    return side


def said(side: Side) -> list[Frame]:
    written = b""
    while pieces := side.data_to_send():
        written += b"".join(pieces)
    return list(FrameCutter(2**30).cut(written if written.startswith(MAGIC) else MAGIC + written))


def hear(side: Side, *frames: Frame) -> int:
    """How many of these frames are useless."""
    side.session.costs.useless = 0
    list(side.receive_data(wire_bytes(*frames)))
    return side.session.costs.useless


def bound(side: Side, channel: int = 0, *, receives: bool, name: str = "x", settles: bool = False) -> None:
    """An importer binds a name at this exporter."""
    (event,) = side.receive_data(wire_bytes(Import(channel, name, receives, 50, None, b"", settles)))
    assert isinstance(event, ImportRequested)
    side.accept(channel, window=50, schema=b"")


# An allowance


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20)), max_size=50))
def test_an_allowance_never_gives_more_than_it_has(steps: list[tuple[float, int]]) -> None:
    allowance, now, spent = Allowance(10, 2), 0.0, 0
    for wait, amount in steps:
        now += wait
        if not allowance.spend(amount, now):
            spent += amount
            assert spent <= 10 + 2 * now + 1e-6
        else:
            spent += amount


def test_an_allowance_says_how_long_to_wait() -> None:
    allowance = Allowance(10, 2)
    assert allowance.spend(10, 0) == 0
    assert allowance.spend(4, 0) == pytest.approx(2)
    assert allowance.left(2) == pytest.approx(0)
    assert allowance.left(100) == 10
    assert not allowance.spend(10, 50)  # a clock that goes back
    assert allowance.left(100) == 0


# What is useless


def test_fault_56_pings_and_pongs_bring_nothing() -> None:
    assert hear(greeted(), *(Ping(n) for n in range(7)), Pong(1)) == 8


def test_an_acknowledgement_that_acknowledges_or_grants_is_useful_and_its_repetition_is_not() -> None:
    side = greeted()
    bound(side, receives=True)
    grants, repeats = Ack(0, 0, 60, 2**20), Ack(0, 0, 60, 2**20)
    assert hear(side, grants) == 0  # the first is expected; beyond the window it may grant what it likes
    assert hear(side, repeats, repeats) == 2
    assert hear(side, Ack(0, 0, 61, 2**21)) == 1


def test_small_pieces_of_a_value_are_useless_and_large_ones_not() -> None:
    side = greeted()
    bound(side, receives=False)
    head = b"\x81\x5a\x00\x00\x80\x00"
    assert hear(side, data(0, 0, head, more=True)) == 1
    assert hear(side, data(0, 0, bytes(1), more=True), data(0, 0, bytes(1023), more=True)) == 2
    assert hear(side, data(0, 0, bytes(1024), more=True)) == 0


def test_a_large_frame_may_come_in_small_chunks() -> None:
    side = greeted()
    bound(side, receives=False)
    size = 60_000
    payload = b"\x81\x59" + (size - 4).to_bytes(2, "big") + bytes(size - 4)
    frame = data_head(0, 0, more=False, size=len(payload)) + payload
    side.session.costs.useless = 0
    events = [event for start in range(0, len(frame), 100) for event in side.receive_data(frame[start : start + 100])]
    assert [type(event) for event in events] == [ValuesReceived]
    assert side.session.costs.useless == 0


def test_a_late_large_frame_is_one_in_however_many_chunks_it_comes() -> None:
    side = greeted()
    bound(side, receives=False)
    side.close(0, Code.HUNG_UP)
    expected = side.session.costs.expected
    payload = b"\x81\x59" + (60_000 - 4).to_bytes(2, "big") + bytes(60_000 - 4)
    frame = data_head(0, 0, more=False, size=len(payload)) + payload
    for start in range(0, len(frame), 20_000):  # so large that each is passed on at once
        assert list(side.receive_data(frame[start : start + 20_000])) == []
    assert (expected - side.session.costs.expected, side.session.costs.useless) == (1, 0)


def test_what_comes_again_may_be_announced_once() -> None:
    side = greeted(role=Role.IMPORTER)
    channel = side.request("x", receives=True, window=5, count=None, schema=b"", settles=True)
    assert hear(side, Accept(channel, 5, b""), Redelivered(channel, 0, 1)) == 0
    assert hear(side, Redelivered(channel, 0, 1)) == 1
    assert hear(side, data(channel, 0, b"\x81\x00"), Redelivered(channel, 1, 1)) == 0


@pytest.mark.parametrize("settles", [False, True])
def test_fault_42_what_was_on_its_way_to_a_closed_channel_is_not_held_against_the_peer(settles: bool) -> None:
    side = greeted()
    bound(side, receives=False)
    side.close(0, Code.HUNG_UP)
    list(said(side))
    late = [data(0, number, b"\x81\x00") for number in range(50)]
    assert hear(side, *late, Close(0, 50, Code.FINISHED, "")) == 0
    assert hear(side, *late, *late) >= 50


def test_fault_44_an_import_that_is_closed_unused_is_useless() -> None:
    side = greeted()
    for channel in range(5):
        bound(side, channel, receives=True)
        side.session.costs.useless = 0
        list(side.receive_data(wire_bytes(Close(channel, 0, Code.HUNG_UP, ""))))
        assert side.session.costs.useless == 1


def test_refused_imports_and_values_are_counted() -> None:
    side = greeted()
    bound(side, 0, receives=False)
    list(side.receive_data(wire_bytes(Import(1, "y", True, 1, None, b""))))
    side.reject(1, Code.NO_SUCH_CHANNEL, "no")
    assert side.session.costs.refused == 1
    side.close(0, Code.VALUE_REFUSED)
    assert side.session.costs.refused == 2


def test_more_imports_of_a_name_than_allowed_are_refused_and_counted() -> None:
    side = greeted()
    for channel in range(3):
        bound(side, channel, receives=True)
    assert list(side.receive_data(wire_bytes(Import(3, "x", True, 1, None, b"")))) == []
    assert side.session.costs.reached == ["max_imports_per_name"]
    list(side.receive_data(wire_bytes(Close(0, 0, Code.HUNG_UP, ""))))
    bound(side, 4, receives=True)


def test_channels_that_this_side_closes_unused_cost_the_peer_nothing() -> None:
    side = greeted(Limits(max_imports_per_name=100))
    for channel in range(50):
        bound(side, channel, receives=True)
        side.close(channel, Code.FINISHED)
    assert hear(side, *(Close(channel, 0, Code.FINISHED, "") for channel in range(50))) == 0


def test_what_honest_peers_repeat_is_expected() -> None:
    """An ACK that grants bytes behind an ACCEPT, one for each channel after a resume, one beside each SETTLE."""
    side = greeted()
    bound(side, 0, receives=True)
    assert hear(side, Ack(0, 0, 50, 2**20)) == 0
    side.session.rewind(side.session.outbox.unseen, {0: 0})
    assert hear(side, Ack(0, 0, 50, 2**20)) == 0
    bound(side, 1, receives=True, settles=True)
    hear(side, Ack(1, 0, 50, 2**20))
    for number in range(3):
        side.session.send(1, Batch(b"\x81\x00", 1))
        said(side)
        assert hear(side, Settle(1, (number, 1), True), Ack(1, 0, 50, 2**20)) == 0


def test_settling_does_not_save_up_for_a_flood() -> None:
    side = greeted()
    bound(side, 0, receives=True, settles=True)
    for number in range(40):
        side.session.send(0, Batch(b"\x81\x00", 1))
        said(side)
        hear(side, Settle(0, (number, 1), True))
    assert hear(side, *[Ack(0, 0, 50, 2**20)] * 20) >= 18


# Turns


def test_others_have_their_turn_after_so_much_work() -> None:
    wire = greeted().wire
    kinds = [type(event) for event in wire.receive_data(wire_bytes(*(Ping(n) for n in range(100))))]
    assert kinds.count(TurnOver) >= 5


def test_nothing_of_a_chunk_is_read_once_this_side_has_left() -> None:
    wire = greeted().wire
    events = wire.receive_data(wire_bytes(*(Ping(n) for n in range(100)), Import(0, "x", True, 1, None, b"")))
    assert isinstance(next(events), TurnOver)
    wire.leave(Code.FINISHED)
    assert list(events) == []


# The judge


@pytest.mark.promise(75)
def test_useless_frames_end_a_connection_unless_they_come_slowly() -> None:
    judge, costs = Judge(Limits(max_useless_frames=100)), Costs()
    for second in range(100):
        costs.useless += 10
        assert judge.look(costs, float(second)) is None
    costs.useless += 101
    error = judge.look(costs, 100.0)
    assert error is not None
    assert error.limit == "max_useless_frames"
    assert f"expected at most 100 frames that bring nothing within {PERIOD:g} s, got more" in str(error)


def test_a_peer_that_sends_what_is_useless_is_slowed_down() -> None:
    judge, costs = Judge(Limits(max_useless_frames=10_000)), Costs()
    costs.useless = FREE
    assert judge.look(costs, 0) is None
    assert judge.pause == 0
    costs.useless = 10
    assert judge.look(costs, 0) is None
    assert judge.pause == pytest.approx(10 * PAUSE)
    costs.useless = 9000
    assert judge.look(costs, 0) is None
    assert judge.pause == LONGEST_PAUSE
    assert judge.look(costs, 0) is None
    assert judge.pause == 0


def test_refusals_are_forgiven_one_a_second() -> None:
    judge, costs = Judge(Limits(max_refusals=3)), Costs()
    for second in range(20):
        costs.refused = 1
        assert judge.look(costs, float(second)) is None
    costs.refused = 4
    error = judge.look(costs, 20.0)
    assert error is not None
    assert error.limit == "max_refusals"


# What is overdue


def test_a_frame_that_does_not_come_to_its_end_is_overdue() -> None:
    unfinished = Unfinished(Limits(frame_timeout=5, value_timeout=20))
    assert unfinished.deadline == math.inf
    unfinished.look(1, {}, 10)
    unfinished.look(1, {}, 12)
    assert unfinished.deadline == 15
    assert unfinished.reason.limit == "frame_timeout"
    unfinished.look(2, {}, 13)
    assert unfinished.deadline == 18
    unfinished.look(None, {}, 14)
    assert unfinished.deadline == math.inf


def test_a_value_that_does_not_come_to_its_end_is_overdue() -> None:
    unfinished = Unfinished(Limits(frame_timeout=5, value_timeout=20))
    unfinished.look(None, {3: 0}, 10)
    unfinished.look(None, {3: 0, 7: 5}, 12)
    assert unfinished.deadline == 30
    assert unfinished.reason.limit == "value_timeout"
    assert "channel 3" in str(unfinished.reason)
    unfinished.look(None, {7: 5}, 14)
    assert unfinished.deadline == 32
    unfinished.look(None, {}, 14)
    assert unfinished.deadline == math.inf


@pytest.mark.parametrize("frame_since", [10.0, 21.0, 24.0, 25.0, 26.0, 40.0])
def test_of_a_frame_and_a_value_the_one_that_is_due_first_is_told(frame_since: float) -> None:
    unfinished = Unfinished(Limits(frame_timeout=5, value_timeout=20))
    looks = sorted([(10.0, {3: 0}), (frame_since, {3: 0})], key=lambda look: look[0])
    for now, values in looks:
        unfinished.look(1 if now >= frame_since else None, values, now)
    assert unfinished.deadline == min(frame_since + 5, 30)
    assert unfinished.reason.limit == ("frame_timeout" if frame_since + 5 <= 30 else "value_timeout")


def test_a_value_that_follows_another_at_once_has_its_own_time() -> None:
    unfinished = Unfinished(Limits(value_timeout=20))
    for number in range(10):
        unfinished.look(None, {3: number}, 15.0 * number)
        assert unfinished.deadline == 15 * number + 20


def test_the_wire_says_what_has_come_in_part() -> None:
    side = greeted()
    bound(side, receives=False)
    frame = encode(Ping(1000))
    list(side.receive_data(frame[:2]))
    first = side.wire.in_the_middle
    assert first is not None
    list(side.receive_data(frame[2:] + frame[:1]))
    assert side.wire.in_the_middle not in (None, first)
    list(side.receive_data(frame[1:]))
    assert side.wire.in_the_middle is None
    list(side.receive_data(wire_bytes(data(0, 0, b"\x81\x5a\x00\x00\x10\x00", more=True))))
    assert side.session.unfinished == {0: 0}
    list(side.receive_data(wire_bytes(data(0, 0, bytes(0x1000)))))
    assert not side.session.unfinished


# Bytes


def test_channels_share_the_bytes_of_their_connection() -> None:
    """Each gets a quarter of what is left; what a closed one had, the next one gets."""
    side = greeted(Limits(max_connection_bytes=2**20, max_buffered_bytes=2**19))
    shares = list[int]()
    for channel in range(40):
        bound(side, channel, receives=False, name=f"n{channel}")
        acks = [frame for frame in said(side) if isinstance(frame, Ack)]
        shares.append(acks[0].byte_limit if acks else LEAST_BUFFER)
        assert side.session.receiver(channel).byte_window == shares[-1]
    assert shares[0] == 2**18
    assert shares[1] == 2**18 * 3 // 4
    assert shares[-1] == LEAST_BUFFER
    assert shares == sorted(shares, reverse=True)
    assert sum(share for share in shares if share > LEAST_BUFFER) <= 2**20
    list(side.receive_data(wire_bytes(Close(0, 0, Code.FINISHED, ""))))
    side.close(0, Code.FINISHED)
    bound(side, 40, receives=False, name="again")
    assert side.session.receiver(40).byte_window > LEAST_BUFFER


def test_an_importer_shares_nothing_out() -> None:
    side = Side(Role.IMPORTER, Limits())
    hello = said(side)[0]
    assert isinstance(hello, Hello)
    assert hello.parameters["buffer"] == Limits().max_buffered_bytes


def test_more_values_than_a_connection_may_have_are_too_many() -> None:
    side = greeted(Limits(max_connection_bytes=2**17, max_value_size=2**17))
    assert side.session.exceeds_buffer is None
    for channel in range(3):
        bound(side, channel, receives=False, name=f"n{channel}")
        whole = b"\x81\x5a" + (2**17 - 16).to_bytes(4, "big") + bytes(2**17 - 16)
        parts = [whole[start : start + 60_000] for start in range(0, len(whole), 60_000)]
        for part in parts:
            frame = data(channel, 0, part, more=part is not parts[-1])
            assert not any(isinstance(event, LimitExceeded) for event in side.receive_data(wire_bytes(frame)))
    error = side.session.exceeds_buffer
    assert error is not None
    assert error.limit == "max_connection_bytes"


def test_a_resumed_session_tells_again_what_a_channel_may_have() -> None:
    side = greeted(Limits(max_connection_bytes=2**20, max_buffered_bytes=2**19))
    bound(side, receives=False)
    assert said(side)[-1] == Ack(0, 0, 50, 2**18)
    side.session.rewind(0, {})
    assert said(side)[-1] == Ack(0, 0, 50, 2**18)
