"""Windows whose values are settled one by one, both halves against a model; and the session that carries it."""

from __future__ import annotations

import os
from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sides import Side

from trionetchan._batch import Batch, array_of
from trionetchan._errors import Code, ProtocolError
from trionetchan._limits import Limits
from trionetchan._protocol.events import (
    Accepted,
    Closed,
    ImportRequested,
    RedeliveredNext,
    Settled,
    ValuesReceived,
    Violated,
)
from trionetchan._protocol.frames import MAGIC, MAX_RANGES, Ack, Close, FrameCutter, Settle, encode
from trionetchan._protocol.session import Role
from trionetchan._protocol.settling import SettledReceiveWindow, SettledSendWindow

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    stateful_step_count=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def value(number: int, size: int) -> bytes:
    """An encoded value that knows its number."""
    return cbor2.dumps([number, bytes(size)])


class Windows(RuleBasedStateMachine):
    """One channel: a sender's window, a receiver's, and between them what is on its way."""

    @initialize(
        window=st.integers(1, 12),
        byte_window=st.integers(10, 300),
        own_byte_window=st.integers(10, 500),
        count=st.none() | st.integers(0, 60),
    )
    def start(self, window: int, byte_window: int, own_byte_window: int, count: int | None) -> None:
        self.window, self.byte_window, self.count = window, byte_window, count
        self.own_byte_window = own_byte_window
        self.value_limit = window if count is None else min(window, count)  # as far as the sender has heard
        self.byte_limit = byte_window
        self.sender = SettledSendWindow(window, self.value_limit, own_byte_window, byte_window)
        self.receiver = SettledReceiveWindow(window, byte_window, count, 10**6)
        self.values: list[bytes] = []  # all that were sent
        self.batches: list[Batch] = []
        self.to_receiver: list[Batch] = []
        self.to_sender: list[tuple[int, int, int] | tuple[tuple[int, ...], bool]] = []
        self.settled: dict[int, bool] = {}  # by the program
        self.heard: dict[int, bool] = {}  # by the sender

    @rule(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6), large=st.booleans())
    def send(self, sizes: list[int], large: bool) -> None:
        if large:
            sizes = [self.byte_window + sizes[0]]
        values = [value(len(self.values) + n, size) for n, size in enumerate(sizes)]
        batch = Batch(array_of(values), len(values))
        unheard = [b for b in self.batches if any(b.first + n not in self.heard for n in range(b.count))]
        alone = len(values) == 1 and not unheard
        within = self.sender.bytes_sent + batch.size <= self.byte_limit
        kept = sum(b.size for b in unheard) + batch.size <= self.own_byte_window
        room = min(self.value_limit, len(self.heard) + self.window) - len(self.values)
        fits = len(values) <= room and ((within and kept) or alone)
        assert self.sender.fits(batch.size, batch.count) == fits
        if fits:
            self.sender.send(batch)
            self.values += values
            self.batches.append(batch)

    @rule()
    def write(self) -> None:
        batch = self.sender.next_to_write
        if batch is not None:
            self.sender.wrote()
            self.to_receiver.append(batch)

    @rule(split=st.booleans())
    def carry_values(self, split: bool) -> None:
        if self.to_receiver:
            batch = self.to_receiver.pop(0)
            cut = batch.size // 2 if split and batch.size > 9 else 0
            if cut:
                assert self.receiver.receive(batch.first, batch.payload[:cut], more=True) is None
            whole = self.receiver.receive(batch.first, batch.payload[cut:], more=False)
            assert whole == (batch.payload, batch.count)

    @rule(picks=st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=6))
    def settle(self, picks: list[tuple[int, bool]]) -> None:
        for pick, accepted in picks:
            held = [number for number in range(self.receiver.received) if number not in self.settled]
            if held:
                number = held[pick % len(held)]
                self.receiver.settle(number, accepted=accepted)
                self.settled[number] = accepted

    @rule()
    def tell(self) -> None:
        for ranges, accepted in self.receiver.take_settled():
            self.to_sender.append((ranges, accepted))
        announced = self.receiver.announce()
        whole = [b for b in self.batches if all(b.first + n in self.settled for n in range(b.count))]
        limit = len(self.settled) + self.window
        assert announced == (
            0,
            limit if self.count is None else min(limit, self.count),
            self.byte_window + sum(b.size for b in whole),
        )
        self.to_sender.append(announced)

    @rule()
    def carry_settlements(self) -> None:
        if not self.to_sender:
            return
        match self.to_sender.pop(0):
            case (int() as delivered, value_limit, byte_limit):
                assert self.sender.acknowledge(delivered, value_limit, byte_limit) == 0
                self.value_limit = max(self.value_limit, value_limit)
                self.byte_limit = max(self.byte_limit, byte_limit)
            case other:
                ranges, accepted = other
                numbers = [
                    n
                    for first, count in zip(ranges[::2], ranges[1::2], strict=True)
                    for n in range(first, first + count)
                ]
                assert not set(numbers) & self.heard.keys()
                assert all(self.settled[number] is accepted for number in numbers)
                found = self.sender.settle(ranges)
                assert [batch.first + place for batch, places in found for place in places] == sorted(numbers)
                assert all(batch in self.batches for batch, _ in found)
                self.heard.update(dict.fromkeys(numbers, accepted))

    @invariant()
    def both_count_what_is_settled(self) -> None:
        if not hasattr(self, "sender"):
            return
        assert self.sender.acknowledged == len(self.heard)
        assert self.sender.unacknowledged == len(self.values) - len(self.heard)
        assert self.receiver.delivered == self.receiver.confirmed == len(self.settled)
        for number in 0, len(self.values) // 2, len(self.values):
            assert self.sender.unacknowledged_below(number) == sum(n not in self.heard for n in range(number))
        assert self.receiver.exhausted == (self.count is not None and len(self.settled) >= self.count)

    @invariant()
    def what_would_return_is_what_is_not_settled(self) -> None:
        if hasattr(self, "sender"):
            kept = [item for batch, places in self.sender.unacknowledged_batches() for item in batch.values(places)]
            assert kept == [item for number, item in enumerate(self.values) if number not in self.heard]

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        if hasattr(self, "sender"):
            assert self.receiver.received - len(self.settled) <= self.window
            whole = [b for b in self.batches if b.first + b.count <= self.receiver.received]
            held = [b for b in whole if any(b.first + n not in self.settled for n in range(b.count))]
            assert self.receiver.buffered_bytes == sum(b.size for b in held)
            assert self.receiver.buffered_bytes <= self.byte_window or len(held) == 1

    def teardown(self) -> None:
        """When all is settled there is credit again."""
        if not hasattr(self, "sender"):
            return
        while self.sender.next_to_write is not None:
            self.write()
        while self.to_receiver:
            self.carry_values(split=False)
        self.settle([(0, True)] * (self.receiver.received - len(self.settled)))
        self.tell()
        while self.to_sender:
            self.carry_settlements()
        assert self.sender.unacknowledged == 0
        assert list(self.sender.unacknowledged_batches()) == []
        assert (self.sender.credit > 0) == (len(self.values) != self.count)


def test_windows_against_a_model() -> None:
    run_state_machine_as_test(Windows, settings=thorough)


def sending(*counts: int, window: int = 20) -> SettledSendWindow:
    """With batches of so many values, written."""
    sender = SettledSendWindow(window, window, 10**6, 10**6)
    for count in counts:
        sender.send(Batch(array_of([value(sender.sent + n, 1) for n in range(count)]), count))
        sender.wrote()
    return sender


@pytest.mark.parametrize(
    "ranges",
    [
        (6, 1),
        (5, 2),
        (0, 0),
        (0, 2, 1, 1),
        (1, 1, 1, 1),
        (3, 1),
        (2, 2),
        (0, 2**62),
        (2**62, 2**62),
        (0, 1, 9, 1),
    ],
)
def test_a_wrong_settlement_changes_nothing(ranges: tuple[int, ...]) -> None:
    sender = sending(2, 3, 1)
    sender.settle((3, 1))
    before = [(batch.first, [*places]) for batch, places in sender.unacknowledged_batches()]
    with pytest.raises(ProtocolError, match=r"^expected .* got"):
        sender.settle(ranges)
    assert [(batch.first, [*places]) for batch, places in sender.unacknowledged_batches()] == before
    assert sender.unacknowledged == 5
    sender.settle((0, 3, 4, 2))
    assert sender.unacknowledged == 0


def test_what_is_not_written_whole_cannot_be_settled() -> None:
    sender = sending(2)
    sender.send(Batch(array_of([value(2, 1)]), 1))
    with pytest.raises(ProtocolError, match="up to 2 settled"):
        sender.settle((2, 1))


def test_settled_values_leave_nothing_behind_while_one_is_never_settled() -> None:
    sender = sending(1)
    for _ in range(1000):
        sender.send(Batch(array_of([value(sender.sent, 1)]), 1))
        sender.wrote()
        sender.settle((sender.sent - 1, 1))
    assert sender.unacknowledged == 1
    assert [batch.first for batch, _ in sender.unacknowledged_batches()] == [0]
    containers: list[Any] = [each for each in vars(sender).values() if isinstance(each, list | set | dict)]
    assert all(len(each) <= 1 for each in containers)


def test_an_acknowledgement_is_due_by_values_and_by_bytes() -> None:
    receiver = SettledReceiveWindow(8, 100, None, 10**6)
    receiver.receive(0, array_of([value(0, 20), value(1, 20)]), more=False)
    receiver.settle(1, accepted=True)
    assert not receiver.ack_due
    receiver.settle(0, accepted=False)
    assert receiver.ack_due  # more than 3/8 of the bytes
    receiver.announce()
    receiver.receive(2, array_of([b"\x00"] * 3), more=False)
    for number in 2, 3:
        receiver.settle(number, accepted=True)
        assert not receiver.ack_due
    receiver.settle(4, accepted=True)
    assert receiver.ack_due


def test_settlements_that_are_not_together_go_in_several_frames() -> None:
    receiver = SettledReceiveWindow(10_000, 10**6, None, 10**6)
    count = 4 * MAX_RANGES + 10
    receiver.receive(0, array_of([b"\x00"] * count), more=False)
    for number in reversed(range(0, count, 2)):
        receiver.settle(number, accepted=True)
    told = receiver.take_settled()
    assert [len(ranges) for ranges, _ in told] == [2 * MAX_RANGES, 2 * MAX_RANGES, 10]
    assert [number for ranges, _ in told for number in ranges[::2]] == list(range(0, count, 2))
    assert receiver.take_settled() == []


# Sessions

LIMITS = Limits(max_value_size=10_000, max_buffered_bytes=1000, max_window=50)


class Pair:
    """An exporter that sends to an importer that settles."""

    def __init__(self, window: int = 10, count: int | None = None) -> None:
        self.exporter, self.importer = Side(Role.EXPORTER, LIMITS), Side(Role.IMPORTER, LIMITS)
        self.exchange()
        assert self.importer.session.peer_knows_settle
        self.importer.request("x", receives=True, window=window, count=count, schema=b"", settles=True)
        assert [type(event) for event in self.exchange()] == [ImportRequested]
        self.exporter.accept(0, window=window, schema=b"")
        assert [type(event) for event in self.exchange()] == [Accepted]

    def exchange(self) -> list[Any]:
        """All that both have to say; the events."""
        events: list[Any] = []
        while pieces := [(a, b, a.data_to_send()) for a, b in self.ways if a.must_answer]:
            for _, reader, data in pieces:
                events += reader.receive_data(b"".join(data))
        return events

    @property
    def ways(self) -> list[tuple[Side, Side]]:
        return [(self.exporter, self.importer), (self.importer, self.exporter)]

    def send(self, *values: object, redelivered: bool = False) -> None:
        self.exporter.send(0, Batch(cbor2.dumps(list(values)), len(values), redelivered=redelivered))

    def settle(self, *numbers: int, accepted: bool = True) -> None:
        for number in numbers:
            self.importer.settle(0, number, accepted=accepted)
            self.importer.acknowledge(0)


def test_settlements_of_one_turn_go_in_one_frame_and_before_the_last_word() -> None:
    pair = Pair()
    pair.send(1, 2, 3)
    pair.send(4)
    pair.exchange()
    pair.settle(3, 0, 1)
    pair.settle(2, accepted=False)
    assert not pair.importer.must_answer
    pair.importer.close(0, Code.RECEIVER_GONE)
    said = list(FrameCutter(2**16).cut(MAGIC + b"".join(pair.importer.data_to_send())))
    assert said == [
        Settle(0, (0, 2, 3, 1), True),
        Settle(0, (2, 1), False),
        Close(0, 4, Code.RECEIVER_GONE, ""),
    ]


def test_a_goodbye_comes_behind_what_is_settled() -> None:
    pair = Pair()
    pair.send(1, 2)
    pair.exchange()
    pair.settle(1)
    pair.importer.leave(Code.FINISHED)
    names = [type(f).__name__ for f in FrameCutter(2**16).cut(MAGIC + b"".join(pair.importer.data_to_send()))]
    assert names == ["Settle", "Ack", "Goodbye"]


def test_what_comes_again_is_announced_before_its_first_fragment() -> None:
    pair = Pair()
    pair.send(b"x" * 5000, redelivered=True)
    pair.exporter.session.outbox.data_to_send(0, 2**16)  # what else there is
    events = pair.exchange()
    assert [type(event) for event in events] == [RedeliveredNext, ValuesReceived]
    pair.settle(0)
    pair.importer.hurry()
    (settled, acknowledged) = pair.exchange()
    assert isinstance(settled, Settled)
    assert [(batch.redelivered, places) for batch, places in settled.batches] == [(True, [0])]
    assert acknowledged.count == 0


def test_a_last_word_that_counts_otherwise_breaks_the_protocol() -> None:
    for count in 0, 2:
        pair = Pair()
        pair.send(1, 2)
        pair.exchange()
        pair.settle(1)
        pair.importer.hurry()
        pair.exchange()
        (event,) = pair.exporter.receive_data(encode(Close(0, count, Code.RECEIVER_GONE, "")))
        assert isinstance(event, Violated)
        assert "with 1 values settled" in event.message


def test_a_withdrawn_import_counts_nothing() -> None:
    pair = Pair()
    pair.send(1)
    pair.exchange()
    pair.importer.close(0, Code.WITHDRAWN)
    assert pair.exchange() == [Closed(0, Code.WITHDRAWN, "", 0)]


@thorough
@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), min_size=1, max_size=MAX_RANGES))
def test_whatever_a_peer_settles_costs_it_its_connection_at_most(ranges: list[tuple[int, int]]) -> None:
    pair = Pair()
    pair.send(1, 2, 3)
    pair.exchange()
    flat = tuple(number for pair_ in ranges for number in pair_)
    (event,) = pair.exporter.receive_data(encode(Settle(0, flat, True)))
    if isinstance(event, Settled):
        assert sum(len(places) for _, places in event.batches) == sum(flat[1::2]) <= 3
    else:
        assert isinstance(event, Violated)
        assert event.message.startswith("expected ")


def test_what_was_said_of_the_next_batch_does_not_outlive_its_stream() -> None:
    receiver = SettledReceiveWindow(10, 1000, None, 100)
    receiver.receive(0, array_of([value(0, 1)]), more=False)
    receiver.expect_returned(1, 2)
    receiver.rewind()
    assert not receiver.expects_returned
    assert receiver.receive(1, array_of([value(1, 1)]), more=False) is not None
    assert receiver.received == 2


def test_an_acknowledgement_of_credit_says_nothing_of_values() -> None:
    pair = Pair(window=2)
    pair.send(1, 2)
    pair.exchange()
    assert pair.exporter.sender(0).credit == 0
    pair.settle(1)
    pair.importer.hurry()
    (frame,) = [f for f in FrameCutter(2**16).cut(MAGIC + b"".join(pair.importer.data_to_send())) if isinstance(f, Ack)]
    assert attrs.astuple(frame) == (0, 0, 3, 1000)
