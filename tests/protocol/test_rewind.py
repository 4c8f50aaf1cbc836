"""Going back to what the peer has: the windows, what is kept, and what a peer cannot have had.

`fault N` in a test's name or parameters is case N of the catalogue of hostile peers in `docs/protocol.md`.
"""

from __future__ import annotations

import os
from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from resumable import EXPORTER, IMPORTER, Pair, batch, begun, said, take

from trionetchan._batch import Batch
from trionetchan._errors import Code, ProtocolError
from trionetchan._protocol.events import Closed, ValuesReceived
from trionetchan._protocol.frames import (
    MAGIC,
    Ack,
    Close,
    Data,
    Frame,
    FrameCutter,
    Ping,
    Seen,
)
from trionetchan._protocol.outbox import Outbox, Writing
from trionetchan._protocol.session import SEEN_INTERVAL, State
from trionetchan._protocol.window import ReceiveWindow, SendWindow

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
MAX_VALUE = 300

# Windows


class Windows(RuleBasedStateMachine):
    """A pair of windows over one stream after the other, and beside it plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.sender = SendWindow(1, 1, 1, 1)
        self.receiver = ReceiveWindow(1, 1, None, MAX_VALUE)
        self.batches: list[tuple[int, bytes]] = []  # all that were sent: the number of the first value, and the bytes
        self.arrived: list[bytes] = []
        self.to_receiver: deque[tuple[int, bytes, bool]] = deque()
        self.to_sender: deque[tuple[int, int, int]] = deque()
        self.hung_up = False

    @initialize(
        window=st.integers(1, 9),
        own_window=st.integers(1, 9),
        count=st.none() | st.integers(1, 40),
        byte_window=st.integers(1, 250),
        own_byte_window=st.integers(1, 250),
        unbuffered=st.booleans(),
    )
    def open(
        self,
        window: int,
        own_window: int,
        count: int | None,
        byte_window: int,
        own_byte_window: int,
        unbuffered: bool,
    ) -> None:
        window = own_window = min(window, own_window)
        granted = window if count is None else min(window, count)
        self.sender = SendWindow(own_window, granted, own_byte_window, byte_window)
        self.receiver = ReceiveWindow(window, byte_window, count, MAX_VALUE)
        self.receiver.unbuffered = unbuffered

    @rule(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4) | st.sampled_from([[200], [250]]))
    def send(self, sizes: list[int]) -> None:
        first = self.sender.sent
        payload = bytes([0x80 + len(sizes)]) + b"".join(
            b"\x59" + (size + 1).to_bytes(2, "big") + bytes([first % 256]) + bytes(size) for size in sizes
        )
        if not self.hung_up and self.sender.fits(len(payload), len(sizes)):
            self.sender.send(Batch(payload, len(sizes)))
            self.batches.append((first, payload))

    @rule(size=st.integers(5, 300))
    def write(self, size: int) -> None:
        """A frame of the next batch."""
        batch = self.sender.next_to_write
        if batch is not None:
            start = batch.written
            end = batch.written = min(batch.size, start + size)
            self.to_receiver.append((batch.first, b"".join(map(bytes, batch.cut(start, end))), end < batch.size))
            if end == batch.size:
                self.sender.wrote()

    @rule(frames=st.integers(1, 9))
    def arrive(self, frames: int) -> None:
        for _ in range(min(frames, len(self.to_receiver))):
            first, payload, more = self.to_receiver.popleft()
            whole = self.receiver.receive(first, payload, more=more)
            if whole is not None:
                self.arrived.append(whole[0])

    @rule(count=st.integers(0, 9))
    def deliver(self, count: int) -> None:
        self.receiver.deliver(min(count, self.receiver.received - self.receiver.delivered))

    @rule()
    def confirm(self) -> None:
        self.receiver.confirm(self.receiver.delivered)

    @rule()
    def acknowledge(self) -> None:
        self.to_sender.append(self.receiver.announce())

    @rule()
    def hear(self) -> None:
        if self.to_sender:
            self.sender.acknowledge(*self.to_sender.popleft())

    @rule()
    def hang_up(self) -> None:
        self.hung_up = True
        self.sender.discard_unwritten()

    @rule(arrives=st.integers(0, 9))
    def cut(self, arrives: int) -> None:
        """Some of what is on its way arrives, the rest never; both sides go back to the end of a batch."""
        self.arrive(arrives)
        self.to_receiver.clear()
        self.to_sender.clear()
        position = self.receiver.received
        for impossible in {self.sender.acknowledged - 1, self.sender.written + 1, *self.inside()}:
            with pytest.raises(ProtocolError, match="on channel 7"):
                self.sender.check_rewind(7, impossible)
        self.sender.check_rewind(7, position)
        self.sender.rewind(position)
        self.receiver.rewind()
        self.to_sender.append(self.receiver.announce())
        assert self.sender.written == position
        assert self.receiver.buffered_bytes == sum(map(len, self.arrived)) - self.confirmed_bytes()

    def inside(self) -> set[int]:
        ends = {first for first, _ in self.batches} | {self.sender.sent}
        return set(range(self.sender.sent)) - ends

    def confirmed_bytes(self) -> int:
        ends = [first for first, _ in self.batches[1:]] + [self.sender.sent]
        whole = zip(ends, self.arrived, strict=False)
        return sum(len(payload) for end, payload in whole if end <= self.receiver.confirmed)

    @invariant()
    def each_batch_arrives_once_and_in_order(self) -> None:
        assert self.arrived == [payload for _, payload in self.batches[: len(self.arrived)]]
        assert self.sender.acknowledged <= self.receiver.confirmed
        kept = [bytes(batch.payload) for batch, _ in self.sender.unacknowledged_batches()]
        assert kept == [payload for _, payload in self.batches[len(self.batches) - len(kept) :]]

    def teardown(self) -> None:
        """What was not hung up arrives in the end, and all credit is there again."""
        self.cut(0)
        for _ in range(400):
            self.write(100)
            self.arrive(9)
            self.deliver(9)
            self.confirm()
            self.acknowledge()
            self.hear()
        self.each_batch_arrives_once_and_in_order()
        if not self.hung_up:
            assert len(self.arrived) == len(self.batches)
            assert self.sender.unacknowledged == 0
        assert self.sender.acknowledged == self.receiver.received
        assert self.receiver.buffered_bytes == 0


def test_windows_that_go_back_against_plain_lists() -> None:
    many = settings(
        derandomize=True,
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(Windows, settings=many)  # pyright: ignore[reportUnknownMemberType]


def test_part_of_a_batch_that_came_is_dropped_and_comes_again() -> None:
    sender, receiver = SendWindow(5, 5, 400, 400), ReceiveWindow(5, 400, None, MAX_VALUE)
    whole = batch(3, size=50)
    sender.send(whole)
    receiver.receive(0, whole.payload[:70], more=True)
    whole.written = 70
    assert receiver.buffered_bytes == 70
    sender.check_rewind(0, receiver.received)
    sender.rewind(receiver.received)
    receiver.rewind()
    assert (receiver.buffered_bytes, whole.written, sender.next_to_write) == (0, 0, whole)
    assert receiver.receive(0, whole.payload, more=False) == (whole.payload, 3)


def test_what_was_granted_is_told_again() -> None:
    receiver = ReceiveWindow(5, 400, None, MAX_VALUE)
    receiver.receive(0, batch(2).payload, more=False)
    receiver.deliver(2)
    said_before = receiver.announce()
    assert receiver.announced == 2
    receiver.rewind()
    assert receiver.announced < receiver.confirmed
    assert receiver.announce() == said_before


# What is kept


def kept() -> Outbox:
    outbox = Outbox()
    outbox.keeps = True
    return outbox


def writing(channel: int) -> Writing:
    return Writing(channel, SendWindow(100, 100, 2**20, 2**20))


def frames(outbox: Outbox, size: int = 2**20) -> list[Frame]:
    return list(FrameCutter(2**20).cut(MAGIC + b"".join(outbox.data_to_send(size, 2**16))))


def test_what_is_said_is_kept_until_it_is_seen_and_said_again_in_its_order() -> None:
    outbox = kept()
    for number in range(5):
        outbox.say(Ping(number))
    assert frames(outbox) == [Ping(number) for number in range(5)]
    assert outbox.unseen == 5
    outbox.check_seen(2)
    outbox.seen(2)
    assert outbox.unseen == 3
    outbox.say(Ping(5))
    outbox.check_seen(3)
    outbox.rewind(3)
    assert frames(outbox) == [Ping(3), Ping(4), Ping(5)]
    outbox.say(Ping(6))
    assert frames(outbox) == [Ping(6)]
    outbox.rewind(6)
    outbox.rewind(6)
    assert frames(outbox) == [Ping(6)]
    outbox.seen(7)
    outbox.rewind(7)
    assert frames(outbox) == []
    assert not outbox.must_answer


@pytest.mark.parametrize("count", [0, 1, 4, 2**62])
def test_fault_71_only_what_was_said_and_is_not_forgotten_was_seen(count: int) -> None:
    outbox = kept()
    for number in range(3):
        outbox.say(Ping(number))
    frames(outbox)
    outbox.say(Ping(3))  # not written
    outbox.seen(2)
    with pytest.raises(ProtocolError, match="from 2 to 3 control frames seen, got"):
        outbox.check_seen(count)


def test_nothing_is_kept_of_a_session_that_cannot_be_resumed() -> None:
    outbox = kept()
    outbox.say(Ping(1))
    frames(outbox)
    outbox.keep_nothing()
    one = writing(0)
    one.close = Code.FINISHED, ""
    outbox.get_in_line(one)
    outbox.say(Ping(2))
    assert len(frames(outbox)) == 2
    assert outbox.unseen == 0


def test_a_senders_close_is_kept_in_its_place_and_said_again_behind_its_data() -> None:
    outbox, one, two = kept(), writing(0), writing(1)
    for each in one, two:
        each.window.send(batch(2))
        each.close = Code.FINISHED, "done"
        outbox.get_in_line(each)
    assert [type(frame) for frame in frames(outbox)] == [Data, Data, Close, Close]
    outbox.say(Ping(1))
    frames(outbox)
    assert outbox.unseen == 3
    assert outbox.closes_behind(0) == [one, two]
    assert outbox.closes_behind(1) == [two]
    outbox.rewind(1)
    assert (one.closed, two.closed) == (True, False)
    two.window.rewind(0)
    outbox.get_in_line(two)
    again = frames(outbox)
    assert [type(frame) for frame in again] == [Ping, Data, Close]
    assert again[-1] == Close(1, 2, Code.FINISHED, "done")
    assert outbox.unseen == 2


def test_what_was_to_be_told_of_as_seen_is_not_told_on_the_next_stream() -> None:
    """The handshake tells it; told again, it could be less than that."""
    outbox = kept()
    outbox.tell_seen(SEEN_INTERVAL)
    assert outbox.must_answer
    outbox.rewind(0)
    assert not outbox.must_answer
    assert frames(outbox) == []


def test_seen_is_said_behind_control_frames_and_the_last_one_counts() -> None:
    outbox = kept()
    outbox.say(Ping(1))
    outbox.acknowledge(0, window := ReceiveWindow(5, 400, None, MAX_VALUE))
    window.receive(0, batch(1).payload, more=False)
    window.deliver(1)
    outbox.hurry()
    outbox.tell_seen(16)
    outbox.tell_seen(32)
    found = frames(outbox)
    assert [type(frame) for frame in found] == [Ping, Seen, Ack]
    assert found[1] == Seen(32)


# Sessions


def working() -> Pair:
    """Channel 0: the exporter sends. Channel 1: the importer does. Channel 2 is refused, channel 3 withdrawn."""
    pair = begun()
    for receives in True, False:
        pair.open(importer_receives=receives)
    pair.importer.request("y", receives=True, window=5, count=None, schema=b"")
    pair.importer.request("z", receives=True, window=5, count=None, schema=b"")
    pair.importer.close(3, Code.WITHDRAWN)
    pair.carry()
    for count in 2, 1, 2:
        pair.exporter.send(0, batch(count))
    pair.carry()
    pair.importer.receiver(0).deliver(3)
    pair.importer.acknowledge(0)
    pair.importer.hurry()
    pair.carry()
    return pair


def state_of(pair: Pair) -> object:
    session = pair.exporter
    window = session.sender(0)
    outbox = session.outbox
    return (
        (window.written, window.acknowledged, window.next_to_write, session.seen, session.established),
        (outbox.unseen, outbox.must_answer, len(outbox)),
    )


@pytest.mark.parametrize(
    ("seen", "positions", "match"),
    [
        (-1, {0: 5}, "control frames seen, got"),
        (+1, {0: 5}, "control frames seen, got"),
        (2**62, {0: 5}, "control frames seen, got"),
        (0, {0: 2}, "from 3 to 5, where a batch ends, on channel 0, got 2"),
        (0, {0: 0}, "got 0"),
        (0, {0: 4}, "got 4"),
        (0, {0: 6}, "got 6"),
        (0, {0: 2**62}, "got 4611"),
        (0, {0: 5, 1: 0}, "channel 1, which sends none"),
        (0, {0: 5, 1: 3}, "channel 1, which sends none"),
        (0, {0: 5, 2: 1}, "channel 2, which sends none"),
        (0, {0: 5, 3: 1}, "channel 3, which sends none"),
        (0, {0: 5, 9: 1}, "channel 9, which sends none"),
    ],
)
def test_fault_71_what_a_peer_cannot_have_is_refused_and_changes_nothing(
    seen: int, positions: dict[int, int], match: str
) -> None:
    pair = working()
    pair.exporter.outbox.seen(pair.importer.seen)
    before = state_of(pair)
    with pytest.raises(ProtocolError, match=match):
        pair.exporter.rewind(pair.importer.seen + seen, positions)
    assert state_of(pair) == before


@pytest.mark.parametrize("positions", [{0: 3}, {0: 5}, {}, {0: 5, 2: 0, 3: 0, 4: 0, 2**62: 0}])
def test_what_a_peer_can_have_is_gone_back_to(positions: dict[int, int]) -> None:
    """Also of channels that were refused or withdrawn, or of which the IMPORT has not come yet."""
    pair = working()
    pair.exporter.rewind(pair.importer.seen, positions)
    received = positions.get(0, 5)
    assert pair.exporter.sender(0).written == received
    assert (pair.exporter.sender(0).next_to_write is not None) == (received < 5)


def test_fault_71_who_has_seen_a_close_has_the_values_before_it() -> None:
    pair = working()
    pair.exporter.close(0, Code.FINISHED)
    take(pair.wires[EXPORTER])
    seen = pair.exporter.outbox.unseen
    with pytest.raises(ProtocolError, match="all 5 values of channel 0 before its close, got 3"):
        pair.exporter.rewind(seen, {0: 3})
    pair.exporter.rewind(seen - 1, {0: 3})
    pair.exporter.data_to_send(2**20)
    pair.exporter.rewind(seen, {0: 5})


def test_a_channel_that_the_receiver_has_closed_is_not_named_and_its_last_word_comes() -> None:
    """The values that come behind it return to the sender."""
    pair = working()
    pair.importer.close(0, Code.RECEIVER_GONE)
    take(pair.wires[IMPORTER])
    pair.cut()
    pair.exporter.send(0, batch(2))
    pair.connect()
    for role, wire in pair.wires.items():
        assert isinstance(said(wire)[0], Frame), role
    pair.connect()
    events = pair.carry()
    assert Closed(0, Code.RECEIVER_GONE, "", 0) in events
    assert not any(isinstance(event, ValuesReceived) for event in events)


def test_values_of_a_channel_that_is_not_named_are_not_sent() -> None:
    """Not those that were never written either, whatever the program does before the last word comes."""
    pair = working()
    pair.exporter.send(0, batch(2))
    pair.exporter.rewind(pair.importer.seen, {})
    pair.exporter.close(0, Code.FINISHED)
    said_after = FrameCutter(2**20).cut(MAGIC + b"".join(pair.exporter.data_to_send(2**20)))
    assert list(said_after) == [Close(0, 5, Code.FINISHED, "")]
    assert pair.exporter.sender(0).unacknowledged == 4


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_sender_that_closes_in_the_pause_says_so_behind_what_is_missing(hangs_up: bool) -> None:
    pair = working()
    pair.exporter.send(0, batch(2))
    take(pair.wires[EXPORTER])  # and never comes
    pair.cut()
    pair.exporter.close(0, Code.HUNG_UP if hangs_up else Code.FINISHED)
    events = [event for event in pair.resume() if isinstance(event, ValuesReceived | Closed)]
    if hangs_up:
        assert events == [Closed(0, Code.HUNG_UP, "", 0)]
    else:
        assert events == [ValuesReceived(0, batch(2).payload, 2), Closed(0, Code.FINISHED, "", 0)]
    pair.importer.receiver(0).deliver(pair.importer.receiver(0).received - 3)
    pair.importer.close(0, Code.FINISHED)
    assert pair.carry() == [Closed(0, Code.FINISHED, "", 2 if hangs_up else 4)]


def test_control_frames_are_told_as_seen_after_sixteen() -> None:
    """Each IMPORT and each CLOSE of the importer counts; data and acknowledgements don't."""
    pair = begun()
    told: list[Frame] = []
    for _ in range(SEEN_INTERVAL):
        channel = pair.importer.request("x", receives=True, window=5, count=None, schema=b"")
        pair.importer.close(channel, Code.WITHDRAWN)
        for _ in pair.wires[EXPORTER].receive_data(take(pair.wires[IMPORTER])):
            pass
        told += [frame for frame in said(pair.wires[EXPORTER]) if isinstance(frame, Seen)]
    assert told == [Seen(16), Seen(32)]


@pytest.mark.promise(61)
@pytest.mark.parametrize("streams", [1, 5])
def test_what_is_kept_is_bounded(streams: int) -> None:
    """By what was said since the last SEEN, however long the session lasts and however often it is cut."""
    pair = begun()
    for number in range(200):
        channel = pair.open(importer_receives=True)
        pair.exporter.send(channel, batch(1))
        pair.carry()
        pair.importer.receiver(channel).deliver(1)
        pair.close(channel)
        if streams > 1 and not number % 20:
            pair.resume()
        for session in pair.sessions.values():
            assert session.outbox.unseen < SEEN_INTERVAL


def test_frames_that_are_ignored_count_too() -> None:
    """Or the two sides would count differently: a CLOSE that crosses another, an answer to a withdrawn import."""
    pair = working()
    pair.exporter.close(0, Code.FINISHED)
    pair.importer.close(0, Code.RECEIVER_GONE)
    pair.importer.request("x", receives=True, window=5, count=None, schema=b"")
    data = take(pair.wires[IMPORTER])
    late = take(pair.wires[EXPORTER])
    pair.importer.close(4, Code.WITHDRAWN)
    list(pair.wires[IMPORTER].receive_data(late))
    for event in pair.wires[EXPORTER].receive_data(data):
        pair.answer(EXPORTER, pair.wires[EXPORTER], event)
    pair.carry()
    assert pair.importer.seen == pair.exporter.outbox.unseen
    assert pair.exporter.seen == pair.importer.outbox.unseen
    assert pair.resume()


def test_each_state_of_a_receiver_is_named_and_no_sender_is() -> None:
    pair = begun()
    for _ in range(4):
        pair.open(importer_receives=True)
    pair.open(importer_receives=False)
    for channel in 1, 2, 3:
        pair.exporter.send(channel, batch(1))
    pair.exporter.close(2, Code.FINISHED)
    pair.importer.receiver(3).unbuffered = True
    pair.carry()
    pair.importer.receiver(3).deliver(1)
    pair.importer.close(3, Code.RECEIVER_GONE)  # waits to be confirmed
    pair.importer.request("later", receives=True, window=5, count=None, schema=b"")
    states = [State.RECEIVING, State.RECEIVING, State.SETTLING, State.LAST_WORD, State.SENDING, State.REQUESTED]
    assert [channel.state for channel in pair.importer._channels.values()] == states  # pyright: ignore[reportPrivateUsage]
    named = {position.channel: position.received for position in pair.importer.positions}
    assert named == {0: 0, 1: 1, 2: 1, 3: 1, 5: 0}
    assert list(named) == sorted(named)
    assert {position.channel for position in pair.exporter.positions} == {4}


def test_a_second_resume_before_anything_is_said_is_the_same() -> None:
    """Cut before RESUMED has come: the exporter has gone back already, and goes back once more."""
    pair = working()
    pair.exporter.send(0, batch(2))
    pair.cut()
    for _ in range(3):
        pair.connect()
        pair.carry(rounds=2)
        assert pair.exporter_key is not None
        assert take(pair.wires[EXPORTER])  # RESUMED and the data, which are lost
        pair.cut()
        assert (pair.importer_key.epoch, pair.exporter_key.epoch) == (0, 0)
    assert ValuesReceived(0, batch(2).payload, 2) in pair.resume()
    assert pair.importer_key.epoch == 1
