"""What is said in which order."""

from __future__ import annotations

import pytest

from trionetchan._batch import Batch, array_of
from trionetchan._errors import Code
from trionetchan._protocol.frames import MAGIC, Ack, Close, Data, Frame, FrameCutter, Ping, Pong
from trionetchan._protocol.outbox import FRAME_SIZE, Outbox, Writing
from trionetchan._protocol.window import ReceiveWindow, SendWindow


def writing(channel: int) -> Writing:
    return Writing(channel, SendWindow(1000, 1000, 2**30, 2**30))


def batch(size: int, count: int = 1) -> Batch:
    return Batch(array_of([b"\x5a" + (size).to_bytes(4, "big") + bytes(size)] * count), count)


def delivered(count: int, confirmed: int, *, unbuffered: bool = True) -> ReceiveWindow:
    """A window of which so many values of ten are delivered and confirmed."""
    window = ReceiveWindow(10, 1000, None, 100)
    window.unbuffered = unbuffered
    window.receive(0, array_of([b"\x01"] * 10), more=False)
    window.deliver(count)
    window.confirm(confirmed)
    return window


def frames_of(outbox: Outbox, size: int = FRAME_SIZE, frame_size: int = FRAME_SIZE) -> list[Frame]:
    return list(FrameCutter(2**30).cut(MAGIC + b"".join(outbox.data_to_send(size, frame_size))))


def kinds(frames: list[Frame]) -> list[str]:
    return [type(frame).__name__ for frame in frames]


def test_control_frames_then_acknowledgements_then_data() -> None:
    outbox, one = Outbox(), writing(0)
    one.window.send(batch(5))
    outbox.get_in_line(one)
    outbox.acknowledge(1, delivered(2, 2))
    outbox.say(Ping(1))
    outbox.say(Pong(2))
    assert len(outbox) == 2
    outbox.hurry()
    assert kinds(frames_of(outbox)) == ["Ping", "Pong", "Ack", "Data"]
    assert len(outbox) == 0
    assert not outbox.must_answer
    assert not outbox.has_undue
    assert frames_of(outbox) == []


def test_an_acknowledgement_waits_for_hurry() -> None:
    outbox = Outbox()
    outbox.acknowledge(1, window := delivered(2, 2))
    assert (outbox.must_answer, outbox.has_undue, outbox.unacknowledged) == (False, True, [window])
    assert frames_of(outbox) == []
    outbox.hurry()
    assert (outbox.must_answer, outbox.has_undue) == (True, False)
    assert frames_of(outbox) == [Ack(1, 2, 12, 1000)]
    outbox.hurry()
    assert not outbox.must_answer


def test_hurry_tells_what_is_confirmed_and_the_rest_waits() -> None:
    outbox = Outbox()
    outbox.acknowledge(1, part := delivered(3, 2))
    outbox.acknowledge(2, none := delivered(3, 0))
    outbox.acknowledge(3, delivered(3, 3))
    outbox.hurry()
    assert outbox.has_undue
    told = frames_of(outbox)
    assert [(frame.channel, frame.delivered) for frame in told if isinstance(frame, Ack)] == [(1, 2), (3, 3)]
    assert outbox.unacknowledged == [part, none]
    assert (outbox.must_answer, outbox.has_undue) == (False, True)
    part.confirm(3)
    none.confirm(3)
    outbox.hurry()
    told = frames_of(outbox)
    assert [(frame.channel, frame.delivered) for frame in told if isinstance(frame, Ack)] == [(1, 3), (2, 3)]
    assert not outbox.has_undue


def test_what_was_told_already_is_not_told_again() -> None:
    outbox = Outbox()
    window = delivered(3, 2)
    told: list[int] = []
    for _ in range(3):
        outbox.acknowledge(1, window)
        outbox.hurry()
        told.append(len(frames_of(outbox)))
    assert told == [1, 0, 0]


def test_a_close_takes_the_acknowledgement_along() -> None:
    outbox = Outbox()
    outbox.acknowledge(1, delivered(2, 2))
    outbox.hurry()
    outbox.no_acknowledgement(1)
    assert not outbox.must_answer
    outbox.acknowledge(1, delivered(2, 2))
    outbox.acknowledge(2, delivered(1, 1))
    outbox.hurry()
    outbox.no_acknowledgement(1)
    outbox.no_acknowledgement(9)
    assert outbox.must_answer
    assert frames_of(outbox) == [Ack(2, 1, 11, 1000)]


def test_channels_take_turns_frame_by_frame_and_a_close_follows_the_data() -> None:
    outbox = Outbox()
    channels = [writing(number) for number in range(3)]
    for channel in channels:
        channel.window.send(batch(100_000))
        channel.window.send(batch(10))
        outbox.get_in_line(channel)
        outbox.get_in_line(channel)
    channels[1].close = (Code.FINISHED, "bye")
    frames = frames_of(outbox, 2**30, 64 * 2**10)
    order = [frame.channel for frame in frames if isinstance(frame, Data | Close)]
    assert order == [0, 1, 2] * 3 + [1]
    assert frames[-1] == Close(1, 2, Code.FINISHED, "bye")
    assert [frame.more for frame in frames if isinstance(frame, Data)] == [True] * 3 + [False] * 6
    assert [channel.window.written for channel in channels] == [2, 2, 2]
    assert not outbox.must_answer


@pytest.mark.parametrize("frame_size", [64 * 2**10, 2**20])
def test_no_frame_is_larger_than_the_peer_takes_and_than_ours(frame_size: int) -> None:
    outbox, one = Outbox(), writing(0)
    one.window.send(batch(2**20))
    outbox.get_in_line(one)
    frames = frames_of(outbox, 2**30, frame_size)
    sizes = [len(frame.payload) for frame in frames if isinstance(frame, Data)]
    assert sum(sizes) == one.window.bytes_sent
    assert max(sizes) <= min(frame_size, FRAME_SIZE)
    assert len(sizes) <= 1 + one.window.bytes_sent // (min(frame_size, FRAME_SIZE) - 100)


def test_a_portion_is_bounded_and_goes_on_where_it_stopped() -> None:
    outbox = Outbox()
    for number in range(2):
        one = writing(number)
        for _ in range(10):
            one.window.send(batch(1000))
        outbox.get_in_line(one)
    order: list[int] = []
    for _ in range(10):
        frames = frames_of(outbox, 1500)
        assert len(frames) == 2
        order += [frame.channel for frame in frames if isinstance(frame, Data)]
    assert order == [0, 1] * 10
    assert not outbox.must_answer


def test_control_frames_count_for_the_portion() -> None:
    outbox, one = Outbox(), writing(0)
    one.window.send(batch(10))
    outbox.get_in_line(one)
    for number in range(100):
        outbox.say(Ping(number))
    assert set(kinds(frames_of(outbox, 50))) == {"Ping"}
    assert kinds(frames_of(outbox, 50)) == ["Data"]


def test_what_leaves_the_line_is_not_written_and_may_come_again() -> None:
    outbox, one, two = Outbox(), writing(0), writing(1)
    for each in (one, two):
        each.window.send(batch(10))
        outbox.get_in_line(each)
    outbox.leave_line(one)
    outbox.leave_line(one)
    assert [frame.channel for frame in frames_of(outbox) if isinstance(frame, Data)] == [1]
    outbox.get_in_line(one)
    assert outbox.must_answer
    outbox.drop_data()
    assert not outbox.must_answer
    assert frames_of(outbox) == []
    outbox.get_in_line(one)
    assert kinds(frames_of(outbox)) == ["Data"]
