"""The rule of shares, against a table with a seat for each share."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from trionetchan._channels.shares import Share, Shares


class Table(RuleBasedStateMachine):
    """`Shares`, and beside it a list of seats: each is held, orphaned, or released for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(None)
        self.expected: int | None = None
        self.seats: dict[int, str] = {}
        self.holders: list[tuple[Share, int, bool]] = []  # each import: its share, its seat, whether it adopted that
        self.gone: list[Share] = []

    @initialize(expected=st.none() | st.integers(0, 4))
    def open(self, expected: int | None) -> None:
        self.expected = expected
        self.shares = Shares(expected)

    @rule()
    def bind(self) -> None:
        orphaned = [seat for seat, state in self.seats.items() if state == "orphaned"]
        seat = orphaned[0] if orphaned else len(self.seats) + 1000 * len(self.gone)
        self.seats[seat] = "held"
        share = self.shares.bind()
        assert share.held
        assert share.adopted == bool(orphaned)
        self.holders.append((share, seat, bool(orphaned)))

    @rule(event=st.sampled_from(("release", "orphan", "withdraw")), number=st.integers(0, 100))
    def leave(self, event: str, number: int) -> None:
        if self.holders:
            share, seat, adopted = self.holders.pop(number % len(self.holders))
            getattr(self.shares, event)(share)
            self.gone.append(share)
            if event == "withdraw" and not adopted:
                del self.seats[seat]
            else:
                self.seats[seat] = "released" if event == "release" else "orphaned"

    @rule(event=st.sampled_from(("release", "orphan", "withdraw")), number=st.integers(0, 100))
    def leave_again(self, event: str, number: int) -> None:
        if self.gone:
            getattr(self.shares, event)(self.gone[number % len(self.gone)])

    @invariant()
    def it_is_complete_when_all_have_come_and_released(self) -> None:
        all_released = all(state == "released" for state in self.seats.values())
        assert self.shares.complete == (self.expected is not None and len(self.seats) >= self.expected and all_released)


def test_against_a_table_with_seats() -> None:
    run_state_machine_as_test(
        Table, settings=settings(deadline=None, derandomize=True, max_examples=200, stateful_step_count=30)
    )


@pytest.mark.parametrize(("event", "complete"), [("release", True), ("orphan", False), ("withdraw", False)])
def test_one_import_of_one(event: str, complete: bool) -> None:
    shares = Shares(1)
    assert not shares.complete
    share = shares.bind()
    assert str(shares) == "1 of 1"
    getattr(shares, event)(share)
    assert shares.complete == complete
    assert shares.bind().adopted == (event == "orphan")


def test_a_withdrawn_import_gives_back_the_orphan_that_it_had_adopted() -> None:
    shares = Shares(1)
    shares.orphan(shares.bind())
    shares.withdraw(shares.bind())
    again = shares.bind()
    assert again.adopted
    shares.release(again)
    assert shares.complete
