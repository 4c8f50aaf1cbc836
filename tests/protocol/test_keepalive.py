"""When a silent peer is asked and when it is given up, at times that are chosen."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionetchan import Limits
from trionetchan._protocol.keepalive import DOUBT, Keepalive, Look

STARTS = (0.0, 0.1, 1e5 / 3, 1e9 + 0.1, 2**31 / 3, 1e12 / 7)
seconds = st.floats(0.01, 100, allow_nan=False)
many = settings(deadline=None, derandomize=True, max_examples=150)


def keepalive_of(interval: float, timeout: float, now: float) -> Keepalive:
    return Keepalive(Limits(keepalive=interval, keepalive_timeout=timeout), now)


def run_until(keepalive: Keepalive, now: float, end: float) -> tuple[float, Look]:
    """Looks at each deadline up to `end`. The time of the last look, and what it says."""
    steps = 0
    while keepalive.deadline <= end:
        now = max(now, keepalive.deadline)
        before = keepalive.deadline
        look = keepalive.look(now)
        if look is Look.GIVE_UP:
            return now, look
        steps = steps + 1 if keepalive.deadline <= before else 0
        assert steps < 4, "it looks again and again at one time"
    return now, Look.NOTHING


@many
@given(seconds, seconds, st.sampled_from(STARTS))
def test_a_silent_peer_is_given_up_in_time_and_not_before(interval: float, timeout: float, start: float) -> None:
    keepalive = keepalive_of(interval, timeout, start)
    now, look = run_until(keepalive, start, start + timeout + interval + DOUBT + 1)
    assert look is Look.GIVE_UP
    slack = 1e-3 + abs(start) * 1e-12
    assert timeout - slack <= now - start <= max(interval, timeout) + DOUBT + interval + slack
    assert keepalive.reason.startswith("expected a sign of life, got none for ")


@many
@given(seconds, seconds, st.sampled_from(STARTS), st.randoms(use_true_random=False))
def test_a_peer_that_shows_signs_of_life_is_never_given_up(
    interval: float, timeout: float, start: float, rng: random.Random
) -> None:
    """It answers what it is asked, at any time within the timeout; or it takes bytes that waited."""
    keepalive = keepalive_of(interval, timeout, start)
    now = start
    sign = now
    for _ in range(60):
        sign = max(now, sign + min(interval, timeout) * rng.uniform(0.01, 0.99))
        now, look = run_until(keepalive, now, sign)
        assert look is not Look.GIVE_UP
        now = sign
        if rng.random() < 0.5:
            keepalive.heard = sign
        else:
            keepalive.progressed = sign


@many
@given(seconds, st.sampled_from(STARTS))
def test_a_question_comes_before_a_verdict_and_its_answer_is_waited_for(interval: float, start: float) -> None:
    keepalive = keepalive_of(interval, 3 * interval, start)
    looks: list[Look] = []
    now = start
    while Look.GIVE_UP not in looks:
        now = keepalive.deadline
        looks.append(keepalive.look(now))
        assert len(looks) < 20
    assert looks.count(Look.ASK) == 1
    assert Look.TICK in looks
    assert looks.index(Look.ASK) < looks.index(Look.GIVE_UP)


@many
@given(seconds, seconds, st.sampled_from(STARTS))
def test_a_peer_that_answers_but_does_not_read_is_given_up(interval: float, timeout: float, start: float) -> None:
    keepalive = keepalive_of(interval, timeout, start)
    keepalive.writing_since = start
    now = start
    while True:
        now = max(now, keepalive.deadline)
        keepalive.heard = now
        if keepalive.look(now) is Look.GIVE_UP:
            break
        assert now <= start + timeout + 2 * interval + DOUBT + 1
    assert now - start >= timeout - 1e-3
    assert keepalive.reason.startswith("expected a peer that reads, got none for ")


@pytest.mark.parametrize("progress", [False, True])
def test_a_peer_that_takes_bytes_now_and_then_reads(progress: bool) -> None:
    keepalive = keepalive_of(1, 3, 0)
    keepalive.writing_since = 0
    given_up = False
    for now in range(1, 30):
        keepalive.heard = now
        if progress and not now % 2:
            keepalive.progressed = now
        given_up = given_up or keepalive.look(now) is Look.GIVE_UP
    assert given_up != progress


@pytest.mark.parametrize("kind", ["heard", "progressed", "writing done", "none"])
def test_a_verdict_is_put_off_for_the_reader_and_the_writer_to_look(kind: str) -> None:
    """The process was stopped for an hour: what was awaited may wait in the socket."""
    keepalive = keepalive_of(10, 20, 0)
    keepalive.look(10)
    if kind == "writing done":
        keepalive.writing_since = 0
    looks = [keepalive.look(3600) for _ in range(4)]
    assert Look.GIVE_UP not in looks
    assert 3600 < keepalive.deadline <= 3600 + DOUBT
    assert keepalive.look(3600.5) is Look.NOTHING, "not before the doubt is over"
    match kind:
        case "heard":
            keepalive.heard = 3600.2
        case "progressed":
            keepalive.progressed = 3600.2
        case "writing done":
            keepalive.writing_since = math.inf
            keepalive.heard = 3600.2
        case _:
            pass
    verdict = keepalive.look(3600 + DOUBT)
    assert verdict is (Look.GIVE_UP if kind == "none" else Look.NOTHING)
    assert kind == "none" or keepalive.deadline > 3600 + DOUBT


@pytest.mark.parametrize("start", STARTS)
def test_an_idle_connection_ticks_once_an_interval(start: float) -> None:
    keepalive = keepalive_of(0.1, 0.3, start)
    now, ticks, looks = start, 0, 0
    while now < start + 10:
        now = keepalive.deadline
        looks += 1
        look = keepalive.look(now)
        ticks += look is Look.TICK
        if look is Look.ASK:
            keepalive.heard = now
        assert look is not Look.GIVE_UP
    assert 99 <= ticks <= 101
    assert looks <= 3 * ticks + 3


def test_without_keepalive_nothing_is_asked() -> None:
    keepalive = keepalive_of(math.inf, 30, 0)
    assert keepalive.deadline == math.inf
    assert keepalive.look(1e9) is Look.NOTHING
