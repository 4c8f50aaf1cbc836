"""What is delivered to a waiting task is told to the sender only when that task has run: window and session."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trionetchan import Limits
from trionetchan._batch import array_of
from trionetchan._errors import Code, ProtocolError
from trionetchan._protocol.events import Closed
from trionetchan._protocol.frames import MAGIC, Accept, Ack, Close, Data, Frame, FrameCutter, Import
from trionetchan._protocol.session import RECEIVER_CODES, SENDER_CODES, Role, Session
from trionetchan._protocol.window import ACK_SHARE, ReceiveWindow

INT = b"\x81\x81\x03"
VALUE = array_of([b"\x05"])


class Confirming(RuleBasedStateMachine):
    """A window whose values go to waiting tasks, and beside it the turn in which each value was handed over.

    A step is one turn of the scheduler at least, so a task runs within the step after the one that handed it a value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = ReceiveWindow(10, 10_000, None, 100)
        self.window.unbuffered = True
        self.step = 0
        self.handed_over: list[int] = []  # of each delivered value: the step
        self.looked_after: list[int] = []  # values that somebody has confirmed by other means
        self.byte_counts = [0]

    @rule(count=st.integers(1, 5))
    def arrive(self, count: int) -> None:
        window = self.window
        if window.received + count <= window.value_limit:
            payload = array_of([b"\x05"] * count)
            window.receive(window.received, payload, more=False)
            self.byte_counts += [self.byte_counts[-1]] * (count - 1) + [window.bytes_received]

    @rule(count=st.integers(1, 4), stepped=st.booleans())
    def deliver(self, count: int, stepped: bool) -> None:
        window = self.window
        count = min(count, window.received - window.delivered)
        if count:
            self.step += stepped
            window.deliver(count, stepped=stepped)
            self.handed_over += [self.step] * count

    @rule(back=st.integers(0, 5))
    def confirm(self, back: int) -> None:
        """The task that looks after the last values has let the scheduler turn; perhaps a while ago."""
        count = max(0, self.window.delivered - back)
        self.window.confirm(count)
        self.looked_after.append(count)

    @rule()
    def announce(self) -> None:
        window = self.window
        assert window.announce() == (window.confirmed, window.value_limit, window.byte_limit)
        assert window.value_limit == window.confirmed + 10
        assert window.ack_pending == (window.confirmed < window.delivered)
        assert not window.ack_due or window.delivered - window.confirmed >= 10 * ACK_SHARE

    @invariant()
    def only_what_a_task_has_is_confirmed(self) -> None:
        window = self.window
        assert 0 <= window.announced <= window.confirmed <= window.delivered <= window.received
        assert window.delivered == len(self.handed_over)
        taken = sum(step <= self.step - 2 for step in self.handed_over)  # the task has surely run
        long_taken = sum(step <= self.step - 3 for step in self.handed_over)
        latest = max(self.looked_after, default=0)
        assert window.confirmed <= max(latest, taken)
        assert window.confirmed >= latest
        assert window.confirmed >= long_taken
        assert window.buffered_bytes == window.bytes_received - self.byte_counts[window.confirmed]


def test_confirmed_never_exceeds_what_tasks_have() -> None:
    run_state_machine_as_test(
        Confirming, settings=settings(deadline=None, derandomize=True, max_examples=200, stateful_step_count=40)
    )


def test_a_step_confirms_what_had_been_delivered_before_the_step_before_the_last() -> None:
    window = ReceiveWindow(100, 10_000, None, 100)
    window.unbuffered = True
    window.receive(0, array_of([b"\x05"] * 20), more=False)
    confirmed: list[int] = []
    for _ in range(5):
        window.deliver(1, stepped=True)
        confirmed.append(window.confirmed)
    assert confirmed == [0, 0, 0, 1, 2]
    window.deliver(3, stepped=False)
    assert window.confirmed == 2
    confirmed.clear()
    for _ in range(4):
        window.deliver(1, stepped=True)
        confirmed.append(window.confirmed)
    assert confirmed == [3, 4, 8, 9]


def test_a_buffer_confirms_at_once() -> None:
    window = ReceiveWindow(100, 10_000, None, 100)
    window.receive(0, array_of([b"\x05"] * 20), more=False)
    window.deliver(3)
    window.deliver(2, stepped=True)
    assert (window.delivered, window.confirmed, window.buffered_bytes) == (5, 5, window.bytes_received)
    window.deliver(15)
    assert window.buffered_bytes == 0


# The last word of a receiver


def frames(session: Session) -> list[Frame]:
    return list(FrameCutter(2**30).cut(MAGIC + b"".join(session.data_to_send(2**20))))


def receiving(role: Role, *, count: int | None = None) -> Session:
    """A session with one bound channel that receives here."""
    session = Session(role, Limits())
    session.greet({"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0})
    if role is Role.EXPORTER:
        session.receive(Import(0, "jobs", False, 10, count, INT))
        session.accept(0, window=10, schema=INT)
    else:
        session.request("jobs", receives=True, window=10, count=count, schema=INT)
        session.receive(Accept(0, 10, INT))
    frames(session)
    return session


def sending(role: Role, *, count: int | None = None) -> Session:
    """A session with one bound channel that sends from here."""
    session = Session(role, Limits())
    session.greet({"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0})
    if role is Role.EXPORTER:
        session.receive(Import(0, "jobs", True, 10, count, INT))
        session.accept(0, window=10, schema=INT)
    else:
        session.request("jobs", receives=False, window=10, count=count, schema=INT)
        session.receive(Accept(0, 10, INT))
    frames(session)
    return session


def with_one_value(session: Session) -> ReceiveWindow:
    """One value has come and is in the hands of a task that has not run yet."""
    window = session.receiver(0)
    window.unbuffered = True
    session.receive(Data(0, 0, False, VALUE))
    window.deliver(1)
    session.acknowledge(0)
    return window


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("sender_closed", [False, True])
def test_the_last_word_waits_until_all_that_it_counts_is_confirmed(role: Role, sender_closed: bool) -> None:
    session = receiving(role)
    window = with_one_value(session)
    if sender_closed:
        event = session.receive(Close(0, 1, Code.FINISHED, ""))
        assert isinstance(event, Closed)
    session.close(0, Code.FINISHED, "bye")
    assert session.unconfirmed == [window]
    assert (session.has_undue, session.has_unsaid, session.outbox.must_answer) == (True, True, False)
    session.hurry()
    assert frames(session) == []
    # Meanwhile the peer may say what it likes of what is allowed in this state, and nobody cares.
    assert session.receive(Data(0, 1, False, VALUE)) is None
    assert session.receive(Close(0, 1, Code.FINISHED, "")) is None
    with pytest.raises(ProtocolError, match="channel 0, which is saying its last word here"):
        session.receive(Ack(0, 1, 10, 100))
    session.close(0, Code.HUNG_UP, "the second does not count")
    window.confirm(1)
    assert session.unconfirmed == []
    assert frames(session) == []
    session.hurry()
    assert frames(session) == [Close(0, 1, Code.FINISHED, "bye")]
    assert (session.has_undue, session.has_unsaid) == (False, False)
    with pytest.raises(KeyError):
        session.receiver(0)
    assert session.receive(Data(0, 1, False, VALUE)) is None


@pytest.mark.parametrize("role", Role)
def test_a_last_word_with_nothing_to_confirm_is_said_at_once(role: Role) -> None:
    session = receiving(role)
    session.receiver(0).unbuffered = True
    session.close(0, Code.HUNG_UP)
    assert frames(session) == [Close(0, 0, Code.HUNG_UP, "")]
    assert not session.has_undue


def test_last_words_of_several_channels_wait_each_for_its_own() -> None:
    session = Session(Role.EXPORTER, Limits())
    session.greet({"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0})
    windows: list[ReceiveWindow] = []
    for number in range(3):
        session.receive(Import(number, str(number), False, 10, None, INT))
        session.accept(number, window=10, schema=INT)
        window = session.receiver(number)
        window.unbuffered = True
        session.receive(Data(number, 0, False, VALUE))
        window.deliver(1)
        windows.append(window)
    frames(session)
    for number in range(3):
        session.close(number, Code.FINISHED)
    for number in (2, 0, 1):
        windows[number].confirm(1)
        session.hurry()
        assert frames(session) == [Close(number, 1, Code.FINISHED, "")]


# Which code may stand in a CLOSE


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("role", Role)
def test_what_a_sender_may_close_with(role: Role, code: Code) -> None:
    session = receiving(role)
    allowed = {Code.FINISHED, Code.HUNG_UP, Code.LIMIT} | {Code.WITHDRAWN for _ in range(role is Role.EXPORTER)}
    assert allowed >= SENDER_CODES
    if code in allowed:
        assert session.receive(Close(0, 0, code, "x")) == Closed(0, code, "x", 0)
    else:
        with pytest.raises(
            ProtocolError, match=f"expected one of FINISHED, HUNG_UP, LIMIT in CLOSE .* got {code.name}"
        ):
            session.receive(Close(0, 0, code, "x"))


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("closed", [False, True])
def test_what_a_receiver_may_close_with(role: Role, code: Code, closed: bool) -> None:
    session = sending(role, count=0)
    if closed:
        session.close(0, Code.FINISHED)
    own = {Code.FINISHED, Code.HUNG_UP, Code.RECEIVER_GONE, Code.VALUE_REFUSED, Code.COUNT_REACHED}
    allowed = own | {Code.WITHDRAWN for _ in range(role is Role.EXPORTER)}
    assert allowed >= RECEIVER_CODES
    if code in allowed:
        assert session.receive(Close(0, 0, code, "x")) == Closed(0, code, "x", 0)
        with pytest.raises(KeyError):
            session.sender(0)
    else:
        with pytest.raises(ProtocolError, match=f"CLOSE of channel 0, got {code.name}"):
            session.receive(Close(0, 0, code, "x"))


@pytest.mark.parametrize("count", [None, 3])
def test_a_count_is_reached_only_when_it_is(count: int | None) -> None:
    session = sending(Role.EXPORTER, count=count)
    expected = "no COUNT_REACHED on channel 0" if count is None else f"to reach a count of {count}, got its end after 0"
    with pytest.raises(ProtocolError, match=expected):
        session.receive(Close(0, 0, Code.COUNT_REACHED, ""))


@pytest.mark.parametrize("code", Code)
def test_an_import_without_an_answer_can_only_be_withdrawn(code: Code) -> None:
    session = Session(Role.EXPORTER, Limits())
    session.greet({})
    session.receive(Import(0, "jobs", True, 10, None, INT))
    if code is Code.WITHDRAWN:
        assert session.receive(Close(0, 0, code, "")) == Closed(0, code, "", 0)
    else:
        with pytest.raises(ProtocolError, match="expected one of WITHDRAWN in CLOSE of channel 0"):
            session.receive(Close(0, 0, code, ""))
