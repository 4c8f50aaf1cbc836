"""Credit and acknowledgement of one channel, against plain lists.

`fault N` in a test's name or parameters is case N of the catalogue of hostile peers in `docs/protocol.md`.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from random import Random
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from trionetchan._batch import Batch, array_of
from trionetchan._errors import ProtocolError
from trionetchan._protocol.window import ACK_SHARE, ReceiveWindow, SendWindow

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    stateful_step_count=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

MAX_VALUE = 300
HEAD = 5  # of a batch: no first fragment in these tests is shorter


def value(number: int, size: int) -> bytes:
    """An encoded value that knows its number."""
    return cbor2.dumps([number, bytes(size)])


class Windows(RuleBasedStateMachine):
    """A pair of windows with a slow wire between them, and beside it what they should hold, in plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.sender = SendWindow(1, 1, 1, 1)
        self.receiver = ReceiveWindow(1, 1, None, MAX_VALUE)
        self.values: list[bytes] = []  # all that were sent
        self.ends: list[tuple[int, int]] = []  # of each batch: the number behind its last value, and its size
        self.to_receiver: deque[tuple[int, bytes, bool]] = deque()
        self.to_sender: deque[tuple[int, int, int]] = deque()
        self.acks: list[tuple[int, int, int]] = []  # all that ever went
        self.arrived: list[bytes] = []
        self.written_bytes = 0
        self.fragment_bytes = 0  # of the value that is arriving
        self.known = (0, 0, 0)  # what the sender has been told
        self.hung_up = False

    @initialize(
        window=st.integers(1, 9),
        own_window=st.integers(1, 9),
        count=st.none() | st.integers(1, 40),
        byte_window=st.integers(1, 250),
        own_byte_window=st.integers(1, 250),
    )
    def open(self, window: int, own_window: int, count: int | None, byte_window: int, own_byte_window: int) -> None:
        self.window, self.own_window, self.count = window, own_window, count
        self.byte_window, self.own_byte_window = byte_window, own_byte_window
        granted = window if count is None else min(window, count)
        self.sender = SendWindow(own_window, granted, own_byte_window, byte_window)
        self.receiver = ReceiveWindow(window, byte_window, count, MAX_VALUE)
        self.known = (0, granted, byte_window)
        assert (self.receiver.value_limit, self.receiver.byte_limit) == (granted, byte_window)

    # What the windows should say

    @property
    def acknowledged(self) -> int:
        return self.known[0]

    def kept_bytes(self) -> int:
        return sum(size for end, size in self.ends if end > self.acknowledged)

    def bytes_of(self, delivered: int) -> int:
        return sum(size for end, size in self.ends if end <= delivered)

    def may_send(self, size: int, count: int) -> bool:
        _, value_limit, byte_limit = self.known
        sent = len(self.values)
        if sent + count > value_limit or sent - self.acknowledged + count > self.own_window:
            return False
        alone = count == 1 and sent == self.acknowledged
        within = self.bytes_of(sent) + size <= byte_limit and self.kept_bytes() + size <= self.own_byte_window
        return alone or within

    # What can happen

    @precondition(lambda self: not self.hung_up)
    @rule(sizes=st.lists(st.integers(0, 60) | st.just(200), min_size=1, max_size=6))
    def send(self, sizes: list[int]) -> None:
        items = [value(len(self.values) + at, size) for at, size in enumerate(sizes)]
        payload = array_of(items)
        assert self.sender.fits(len(payload), len(items)) == self.may_send(len(payload), len(items))
        if self.sender.fits(len(payload), len(items)):
            assert self.sender.credit >= len(items)
            self.sender.send(Batch(payload, len(items)))
            self.values += items
            self.ends.append((len(self.values), len(payload)))

    @precondition(lambda self: not self.hung_up)
    @rule()
    def credit_is_used_up(self) -> None:
        """Whatever credit says, may be taken; and nothing when it says 0."""
        smallest = len(array_of([value(len(self.values), 0)]))
        credit = self.sender.credit
        sent = len(self.values)
        assert credit >= 0
        assert credit <= self.known[1] - sent
        assert credit <= self.acknowledged + self.own_window - sent
        if not credit:
            assert not self.may_send(smallest, 1)
        elif sent == self.acknowledged:
            assert self.may_send(10 * MAX_VALUE, 1)

    @precondition(lambda self: self.sender.next_to_write is not None)
    @rule(size=st.integers(HEAD, 100) | st.just(10_000))
    def write(self, size: int) -> None:
        """One frame's worth of the next batch."""
        batch = self.sender.next_to_write
        assert batch is not None
        piece = batch.payload[batch.written : batch.written + size]
        batch.written += len(piece)
        more = batch.written < len(batch.payload)
        if not more:
            self.sender.wrote()
        self.to_receiver.append((batch.first, piece, more))

    @precondition(lambda self: self.to_receiver)
    @rule(frames=st.integers(1, 5))
    def carry_values(self, frames: int) -> None:
        for _ in range(min(frames, len(self.to_receiver))):
            first, piece, more = self.to_receiver.popleft()
            assert first == len(self.arrived)
            whole = self.receiver.receive(first, memoryview(piece), more=more)  # never refused
            self.fragment_bytes += len(piece)
            if more:
                assert whole is None
                continue
            assert whole is not None
            payload, count = whole
            items = Batch(payload, count).values()
            assert len(items) == count
            self.arrived += items
            self.fragment_bytes = 0

    @rule(count=st.integers(1, 9))
    def deliver(self, count: int) -> None:
        self.receiver.deliver(min(count, len(self.arrived) - self.receiver.delivered))

    @rule()
    def acknowledge(self) -> None:
        ack = self.receiver.announce()
        delivered = self.receiver.delivered
        limit = delivered + self.window
        assert ack == (
            delivered,
            limit if self.count is None else min(limit, self.count),
            self.bytes_of(delivered) + self.byte_window,
        )
        self.to_sender.append(ack)
        self.acks.append(ack)

    @precondition(lambda self: self.to_sender)
    @rule(frames=st.integers(1, 5))
    def carry_acknowledgements(self, frames: int) -> None:
        for _ in range(min(frames, len(self.to_sender))):
            self.take_ack(self.to_sender.popleft())

    @precondition(lambda self: self.acks)
    @rule(pick=st.integers(0, 99))
    def an_old_acknowledgement_again_does_nothing(self, pick: int) -> None:
        """Faults 33, 50."""
        old_ones = [ack for ack in self.acks if ack[0] <= self.acknowledged] or [(0, 0, 0)]
        old = old_ones[pick % len(old_ones)]
        before = self.known
        self.take_ack(old)
        assert self.acknowledged == before[0]

    def take_ack(self, ack: tuple[int, int, int]) -> None:
        new = self.sender.acknowledge(*ack)
        assert new == max(0, ack[0] - self.acknowledged)
        self.known = (max(self.known[0], ack[0]), max(self.known[1], ack[1]), max(self.known[2], ack[2]))

    @precondition(lambda self: not self.hung_up)
    @rule(unlikely=st.integers(0, 9))
    def hang_up(self, unlikely: int) -> None:
        if not unlikely:
            self.hung_up = True
            self.sender.discard_unwritten()

    # What always holds

    @invariant()
    def the_counts_are_in_order(self) -> None:
        sender, receiver = self.sender, self.receiver
        assert self.acknowledged == sender.acknowledged <= receiver.announced <= receiver.delivered
        assert receiver.delivered <= receiver.received == len(self.arrived) <= sender.written <= sender.sent
        assert sender.sent == len(self.values)
        assert sender.unacknowledged == len(self.values) - self.acknowledged
        assert sender.bytes_sent == self.bytes_of(len(self.values))

    @invariant()
    def values_arrive_unchanged_and_in_order(self) -> None:
        assert self.arrived == self.values[: len(self.arrived)]

    @invariant()
    def no_more_is_on_the_way_than_was_granted(self) -> None:
        if self.values:
            assert len(self.values) <= self.receiver.value_limit
            assert len(self.values) - self.receiver.announced <= self.window
            assert self.count is None or len(self.values) <= self.count

    @invariant()
    def what_is_buffered_is_within_what_was_advertised_or_a_single_value(self) -> None:
        receiver = self.receiver
        here = receiver.buffered_bytes
        assert here == self.bytes_of(receiver.received) - self.bytes_of(receiver.delivered) + self.fragment_bytes
        if receiver.received > receiver.delivered or self.fragment_bytes:
            undelivered = receiver.received - receiver.delivered + bool(self.fragment_bytes)
            assert here <= self.byte_window or undelivered == 1
        kept = self.kept_bytes()
        assert kept <= self.own_byte_window or self.sender.unacknowledged == 1

    @invariant()
    def what_would_return_is_what_was_not_acknowledged(self) -> None:
        returned = [item for batch, places in self.sender.unacknowledged_batches() for item in batch.values(places)]
        assert returned == self.values[self.acknowledged :]
        assert all(places for _, places in self.sender.unacknowledged_batches())

    @invariant()
    def acknowledgements_are_due_in_time(self) -> None:
        unannounced = self.receiver.delivered - self.receiver.announced
        values = unannounced >= self.window * ACK_SHARE
        bytes_ = (
            self.receiver.bytes_received - self.receiver.buffered_bytes + self.byte_window - self.receiver.byte_limit
        )
        assert self.receiver.ack_due == (values or bytes_ >= self.byte_window * ACK_SHARE)
        assert self.receiver.exhausted == (self.count is not None and self.receiver.delivered >= self.count)

    def teardown(self) -> None:
        """When all is acknowledged there is credit again; after a hang-up what is left returns."""
        if not hasattr(self, "window"):
            return
        while self.sender.next_to_write is not None:
            self.write(10_000)
        self.carry_values_all()
        self.deliver(10_000)
        self.acknowledge()
        while self.to_sender:
            self.carry_acknowledgements(5)
        if self.hung_up:
            self.receiver.discard_partial()
        else:
            assert self.arrived == self.values
            assert self.sender.unacknowledged == 0
            assert list(self.sender.unacknowledged_batches()) == []
            assert (self.sender.credit > 0) == (len(self.values) != self.count)
        returned = [item for batch, places in self.sender.unacknowledged_batches() for item in batch.values(places)]
        assert self.arrived[: self.receiver.delivered] + returned == self.values

    def carry_values_all(self) -> None:
        while self.to_receiver:
            self.carry_values(5)


@pytest.mark.promise(2, 3, 4, 5, 11)
def test_windows_against_plain_lists() -> None:
    few = settings(thorough, max_examples=max(1, EXAMPLES // 3))
    run_state_machine_as_test(Windows, settings=few)  # pyright: ignore[reportUnknownMemberType]


def walk(seed: int) -> None:
    """The same machine, moved by chance: hypothesis finds the small failures, this comes by the long ways."""
    chance = Random(seed)
    machine = Windows()
    machine.open(
        window=chance.randint(1, 9),
        own_window=chance.randint(1, 9),
        count=chance.choice([None, None, chance.randint(1, 40)]),
        byte_window=chance.choice([chance.randint(1, 250), 250, 600]),
        own_byte_window=chance.choice([chance.randint(1, 250), 600]),
    )
    for _ in range(chance.randint(10, 120)):
        match chance.randrange(8):
            case 0 | 1 if not machine.hung_up:
                most = chance.choice([0, 20, 60])
                sizes = [chance.randint(0, most) for _ in range(chance.randint(1, 6))]
                machine.send(chance.choice([sizes, sizes[:1], [200]]))
            case 2 | 3 if machine.sender.next_to_write is not None:
                machine.write(chance.choice([chance.randint(HEAD, 60), 10_000]))
            case 4:
                machine.carry_values(chance.randint(1, 5))
            case 5:
                machine.deliver(chance.randint(1, 9))
            case 6:
                machine.acknowledge()
                machine.an_old_acknowledgement_again_does_nothing(chance.randrange(99))
            case 7:
                machine.carry_acknowledgements(chance.randint(1, 5))
            case _ if not machine.hung_up:
                machine.hang_up(chance.randrange(100))
                machine.credit_is_used_up()
            case _:
                pass
        for check in INVARIANTS:
            check(machine)
    machine.teardown()


INVARIANTS = (
    Windows.the_counts_are_in_order,
    Windows.values_arrive_unchanged_and_in_order,
    Windows.no_more_is_on_the_way_than_was_granted,
    Windows.what_is_buffered_is_within_what_was_advertised_or_a_single_value,
    Windows.what_would_return_is_what_was_not_acknowledged,
    Windows.acknowledgements_are_due_in_time,
)


@pytest.mark.promise(2, 3, 4, 5, 11)
def test_windows_against_plain_lists_by_chance() -> None:
    for seed in range(2 * EXAMPLES):
        try:
            walk(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def opened(window: int = 4, byte_window: int = 100, count: int | None = None, *, arrived: int = 0) -> ReceiveWindow:
    receiver = ReceiveWindow(window, byte_window, count, MAX_VALUE)
    for number in range(arrived):
        receiver.receive(number, b"\x81\x00", more=False)
    return receiver


def batch_of(count: int, size: int = 0) -> bytes:
    return array_of([value(0, size)] * count)


@pytest.mark.parametrize(
    ("receiver", "frames", "match"),
    [
        pytest.param(opened(), [(1, b"\x81\x00", False)], "number 0, got number 1", id="fault 52: a gap"),
        pytest.param(
            opened(arrived=2), [(1, b"\x81\x00", False)], "number 2, got number 1", id="fault 53: a repeat, not resumed"
        ),
        pytest.param(
            opened(arrived=1), [(2**62, b"\x81\x00", False)], "number 1, got number 4611", id="fault 55: near 2^63"
        ),
        pytest.param(
            opened(), [(0, batch_of(5), False)], "up to number 4, got up to 5", id="fault 32: a value too many"
        ),
        pytest.param(opened(arrived=4), [(4, batch_of(1), False)], "up to number 4", id="fault 32: a batch too many"),
        pytest.param(opened(arrived=4), [(4, batch_of(1), True)], "up to number 4", id="fault 32: a fragment too many"),
        pytest.param(opened(count=2), [(0, batch_of(3), False)], "up to number 2", id="fault 32: beyond the count"),
        pytest.param(opened(count=0), [(0, batch_of(1), False)], "up to number 0", id="fault 32: a count of 0"),
        pytest.param(opened(), [(0, batch_of(2, 50), False)], "up to 100 bytes", id="fault 32: bytes"),
        pytest.param(
            opened(arrived=1), [(1, batch_of(1, 95), False)], "up to 100 bytes", id="fault 32: large behind another"
        ),
        pytest.param(
            opened(),
            [(0, batch_of(2, 50)[:60], True), (0, batch_of(2, 50)[60:], True)],
            "up to 100 bytes",
            id="fault 32: fragments",
        ),
        pytest.param(
            opened(),
            [(0, b"\x9b\x3f" + b"\xff" * 7 + b"\x00", False)],
            "up to number 4",
            id="fault 32: a batch that claims 2^62",
        ),
        pytest.param(
            opened(), [(0, batch_of(1, MAX_VALUE), False)], "a value of at most 300", id="fault 13: a value too large"
        ),
        pytest.param(
            opened(),
            [(0, b"\x81\x5a\x7f\xff\xff\xff", True)] + [(0, bytes(50), True)] * 6,
            "at most 300",
            id="fault 19: endless",
        ),
        pytest.param(
            opened(), [(0, b"\x81\x42", True), (1, b"ab", False)], "number 0, got", id="fault 52: a gap inside a value"
        ),
        pytest.param(opened(), [(0, b"", False)], "empty payload", id="fault 57: nothing"),
        pytest.param(opened(), [(0, b"", True)], "empty payload", id="fault 57: an empty fragment"),
        pytest.param(
            opened(), [(0, b"\x81\x42", True), (0, b"", True)], "empty payload", id="fault 57: an empty continuation"
        ),
        pytest.param(opened(), [(0, b"\x80", False)], "empty batch", id="fault 57: no values"),
        pytest.param(opened(), [(0, b"\x00", False)], "an array", id="no batch"),
        pytest.param(opened(), [(0, b"\x9f\x00\xff", False)], "definite", id="fault 22: an indefinite batch"),
        pytest.param(opened(), [(0, b"\x98", True)], "cut short", id="a head in two fragments"),
    ],
)
def test_a_receiver_refuses(receiver: ReceiveWindow, frames: list[tuple[int, bytes, bool]], match: str) -> None:
    receiver = copy.deepcopy(receiver)
    *fine, (first, payload, more) = frames
    for frame in fine:
        assert receiver.receive(frame[0], frame[1], more=frame[2]) is None
    with pytest.raises(ProtocolError, match=match):
        receiver.receive(first, payload, more=more)


def test_fault_19_a_single_value_may_be_as_large_as_the_limit_and_no_larger() -> None:
    payload = array_of([b"\x59\x01\x29" + bytes(MAX_VALUE - 3)])
    for size in 5, 99, MAX_VALUE + 1:
        receiver = opened()
        done = [
            receiver.receive(0, payload[at : at + size], more=at + size < len(payload))
            for at in range(0, len(payload), size)
        ]
        assert done == [None] * (len(done) - 1) + [(payload, 1)]
        assert receiver.buffered_bytes == len(payload)
    receiver = opened()
    receiver.receive(0, payload, more=True)
    with pytest.raises(ProtocolError, match="at most 300"):
        receiver.receive(0, b"\x00", more=True)


@pytest.mark.promise(5)
def test_a_value_beyond_the_byte_limit_travels_alone() -> None:
    sender = SendWindow(8, 8, 100, 100)
    assert sender.fits(5000, 1)
    assert not sender.fits(5000, 2)
    sender.send(Batch(batch_of(1, 200), 1))
    assert sender.credit == 0
    assert not sender.fits(1, 1)
    sender.wrote()
    sender.acknowledge(1, 9, 100 + len(batch_of(1, 200)))
    assert sender.credit == 8
    assert sender.fits(100, 8)
    assert not sender.fits(101, 2)


@pytest.mark.promise(11)
def test_a_sender_keeps_no_more_bytes_than_it_wants_whatever_was_granted() -> None:
    sender = SendWindow(1000, 2**62, 100, 2**62)
    sender.send(Batch(bytes(60), 1))
    assert not sender.fits(41, 1)
    sender.send(Batch(bytes(40), 1))
    assert sender.credit == 0
    sender.wrote()
    sender.acknowledge(1, 2**62, 2**62)
    assert sender.credit > 0
    assert sender.fits(60, 1)
    assert not sender.fits(61, 1)


@pytest.mark.promise(4)
@given(granted=st.integers(1, 10**9), own=st.integers(1, 50))
@thorough
def test_fault_37_a_huge_window_is_not_used_beyond_the_own_one(granted: int, own: int) -> None:
    sender = SendWindow(own, granted, 10**6, 2**62)
    assert sender.credit == min(granted, own)
    assert not sender.fits(1, min(granted, own) + 1)


@pytest.mark.promise(1)
@pytest.mark.parametrize("delivered", [3, 4, 5, 2**62])
def test_fault_49_an_acknowledgement_of_what_was_not_sent_is_refused(delivered: int) -> None:
    """Nor of what is queued or has gone onto the wire in part: nobody can have that."""
    sender = SendWindow(8, 8, 1000, 1000)
    for count in 2, 2:
        sender.send(Batch(batch_of(count), count))
    sender.wrote()
    batch = sender.next_to_write
    assert batch is not None
    batch.written = 3
    with pytest.raises(ProtocolError, match=f"at most 2 values acknowledged, got {delivered}"):
        sender.acknowledge(delivered, 0, 0)
    assert sender.acknowledge(2, 0, 0) == 2


def test_faults_33_and_50_limits_and_counts_that_go_down_are_ignored() -> None:
    sender = SendWindow(8, 5, 1000, 500)
    sender.send(Batch(batch_of(2), 2))
    sender.wrote()
    assert sender.acknowledge(2, 7, 600) == 2
    for ack in (0, 0, 0), (1, 6, 599), (2, 7, 600), (0, 0, 600):
        assert sender.acknowledge(*ack) == 0
        assert (sender.acknowledged, sender.value_limit, sender.byte_limit, sender.credit) == (2, 7, 600, 5)


def test_fault_36_credit_one_by_one_is_credit() -> None:
    sender = SendWindow(10, 0, 1000, 1000)
    assert sender.credit == 0
    for limit in range(1, 11):
        assert sender.acknowledge(0, limit, 0) == 0
        assert sender.credit == limit


def test_part_of_a_batch_is_acknowledged_and_the_rest_returns() -> None:
    sender = SendWindow(8, 8, 1000, 1000)
    items = [value(number, number) for number in range(5)]
    batches = [Batch(array_of(items[:3]), 3), Batch(array_of(items[3:]), 2)]
    for batch in batches:
        sender.send(batch)
    sender.wrote()
    sender.wrote()
    for acknowledged in range(6):
        sender.acknowledge(acknowledged, 0, 0)
        found: list[Any] = [
            (item, batches.index(batch))
            for batch, places in sender.unacknowledged_batches()
            for item in batch.values(places)
        ]
        assert found == list(zip(items, [0, 0, 0, 1, 1], strict=True))[acknowledged:]


def test_bytes_of_a_batch_are_granted_anew_when_all_of_it_is_delivered() -> None:
    receiver = opened(window=10, byte_window=100)
    receiver.receive(0, batch_of(3, 5), more=False)
    size = receiver.buffered_bytes
    receiver.deliver(2)
    assert receiver.announce() == (2, 12, 100)
    assert receiver.buffered_bytes == size
    receiver.deliver(1)
    assert receiver.announce() == (3, 13, 100 + size)
    assert receiver.buffered_bytes == 0


def test_limits_that_were_not_announced_do_not_count() -> None:
    receiver = opened(window=2, arrived=2)
    receiver.deliver(2)
    with pytest.raises(ProtocolError, match="up to number 2"):
        receiver.receive(2, b"\x81\x00", more=False)
    receiver.announce()
    assert receiver.receive(2, b"\x81\x00", more=False) == (b"\x81\x00", 1)


def test_how_many_of_the_first_values_are_not_acknowledged() -> None:
    sender = SendWindow(8, 8, 1000, 1000)
    sender.send(Batch(b"\x83\x01\x02\x03", 3))
    sender.wrote()
    assert [sender.unacknowledged_below(number) for number in range(4)] == [0, 1, 2, 3]
    sender.acknowledge(2, 8, 1000)
    assert [sender.unacknowledged_below(number) for number in range(4)] == [0, 0, 0, 1]
