"""When a connection acknowledges, alone: a real session, whose bytes go nowhere, and a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trionetchan import Limits
from trionetchan._batch import array_of
from trionetchan._errors import Code
from trionetchan._network.acknowledging import DELAY, TURNS, Acknowledger
from trionetchan._protocol.frames import MAGIC, Ack, Close, Data, Frame, FrameCutter, Import
from trionetchan._protocol.session import Role, Session
from trionetchan._protocol.window import ReceiveWindow

INT = b"\x81\x81\x03"


class Case:
    """An exporter's session with receiving channels, the acknowledger, and a writer that can be blocked."""

    def __init__(self, channels: int, window: int, *, unbuffered: bool) -> None:
        self.session = Session(Role.EXPORTER, Limits())
        self.session.greet({"frame": 2**16, "value": 2**20, "buffer": 2**20, "keepalive": 0, "resume": 0})
        self.acknowledger = Acknowledger(self.session)
        self.windows: list[ReceiveWindow] = []
        for number in range(channels):
            self.session.receive(Import(number, str(number), False, window, None, INT))
            self.session.accept(number, window=window, schema=INT)
            self.windows.append(self.session.receiver(number))
            self.windows[-1].unbuffered = unbuffered
        self.blocked = False
        self.flushes = 0
        self.told: dict[int, int] = dict.fromkeys(range(channels), 0)
        self.closed: dict[int, int] = {}
        self.frames = 0
        self.flush()

    def flush(self) -> None:
        self.flushes += 1
        if not self.blocked:
            self.write()

    def write(self) -> None:
        frames: list[Frame] = list(FrameCutter(2**30).cut(MAGIC + b"".join(self.session.data_to_send(2**20))))
        for frame in frames:
            self.frames += 1
            if isinstance(frame, Ack):
                self.told[frame.channel] = frame.delivered
            elif isinstance(frame, Close):
                self.closed[frame.channel] = frame.count

    def deliver(self, number: int, count: int = 1, *, last: bool = True, waited: bool = False) -> None:
        """As a receiving link does."""
        window = self.windows[number]
        self.session.receive(Data(number, window.received, False, array_of([b"\x05"] * count)))
        window.deliver(count, stepped=waited)
        tells = last or not window.ack_pending or window.ack_due
        if tells and self.acknowledger.delivered(number, window, last=last):
            self.flush()

    @property
    def delivered(self) -> dict[int, int]:
        return {number: window.delivered for number, window in enumerate(self.windows)}


@asynccontextmanager
async def case(channels: int = 1, window: int = 1000, *, unbuffered: bool = False) -> AsyncGenerator[Case]:
    async with trio.open_nursery() as nursery:
        one = Case(channels, window, unbuffered=unbuffered)
        nursery.start_soon(one.acknowledger.run, one.flush)
        await trio.testing.wait_all_tasks_blocked()
        yield one
        nursery.cancel_scope.cancel()


async def turns(number: int) -> None:
    for _ in range(number):
        await trio.lowlevel.cancel_shielded_checkpoint()


@pytest.mark.parametrize("unbuffered", [False, True])
async def test_the_last_value_is_told_within_a_few_turns(
    autojump_clock: trio.testing.MockClock, unbuffered: bool
) -> None:
    async with case(unbuffered=unbuffered) as one:
        for number in range(1, 5):
            one.deliver(0)
            assert one.told[0] == number - 1
            await turns(TURNS + 2)
            assert one.told[0] == number
        assert trio.current_time() == 0


async def test_a_value_in_the_hands_of_a_task_is_told_only_when_that_has_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case(window=1, unbuffered=True) as one:
        one.deliver(0)  # the sender has no credit left, and yet:
        await turns(1)
        assert one.told[0] == 0
        await turns(TURNS + 2)
        assert one.told[0] == 1


@pytest.mark.parametrize("unbuffered", [False, True])
async def test_while_more_is_delivered_acknowledgements_are_gathered(
    autojump_clock: trio.testing.MockClock, unbuffered: bool
) -> None:
    async with case(unbuffered=unbuffered) as one:
        frames = one.frames
        for _ in range(100):
            one.deliver(0, last=False, waited=True)
            await turns(1)
        assert one.frames - frames <= 2
        await trio.sleep(2 * DELAY)
        assert one.told[0] == 100
        assert one.frames - frames <= 4


@pytest.mark.parametrize("unbuffered", [False, True])
async def test_what_the_sender_may_need_goes_at_once(autojump_clock: trio.testing.MockClock, unbuffered: bool) -> None:
    async with case(window=8, unbuffered=unbuffered) as one:
        for number in range(100):
            one.deliver(0, last=False, waited=True)
            await turns(1)
            assert number + 1 - one.told[0] <= 5
        assert trio.current_time() == 0


async def test_a_program_that_answers_tells_with_its_answers(autojump_clock: trio.testing.MockClock) -> None:
    async with case() as one:
        frames = one.frames
        for number in range(20):
            one.deliver(0)
            await turns(2)  # the task that got it runs, and answers
            one.acknowledger.sent()
            await turns(TURNS + 2)
            if not number:
                assert one.told[0] == 1  # nothing was known of it
        assert one.frames - frames <= 2
        await trio.sleep(2 * DELAY)
        assert one.told[0] == 20


async def test_gathering_ends_when_there_is_nothing_more_to_deliver(autojump_clock: trio.testing.MockClock) -> None:
    async with case() as one:
        one.deliver(0, last=False)
        await turns(2)
        one.deliver(0, last=True)
        assert one.told[0] == 2
        assert trio.current_time() == 0


async def test_a_value_that_comes_while_the_one_before_is_confirmed_is_told_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with case(unbuffered=True) as one:
        one.deliver(0)
        await turns(3)
        one.deliver(0)
        await turns(2 * TURNS + 4)
        assert one.told[0] == 2
        assert trio.current_time() == 0


async def test_when_gathering_ends_the_last_task_still_gets_its_turn(autojump_clock: trio.testing.MockClock) -> None:
    async with case(unbuffered=True) as one:
        one.deliver(0, last=False)
        await turns(3)
        one.deliver(0, last=True)
        await turns(2)
        assert one.told[0] == 0
        await turns(TURNS + 3)
        assert one.told[0] == 2


async def test_a_last_word_is_said_when_the_task_has_run(autojump_clock: trio.testing.MockClock) -> None:
    async with case(unbuffered=True) as one:
        one.deliver(0, last=False)
        one.session.close(0, Code.FINISHED)
        one.acknowledger.closed()
        await turns(1)
        assert one.closed == {}
        await turns(TURNS + 3)
        assert one.closed == {0: 1}
        assert trio.current_time() == 0


async def test_closing_with_nothing_to_tell_wakes_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with case() as one:
        flushes = one.flushes
        one.acknowledger.closed()
        await turns(10)
        assert one.flushes == flushes


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("seed", range(20))
async def test_nothing_that_is_pending_is_ever_forgotten(
    autojump_clock: trio.testing.MockClock, unbuffered: bool, seed: int
) -> None:
    rng = random.Random(seed)
    async with case(3, 20, unbuffered=unbuffered) as one:
        open_ones = {0, 1, 2}
        for _ in range(200):
            number = rng.randrange(3)
            match rng.randrange(6):
                case 0 | 1 | 2 if (
                    number in open_ones and one.windows[number].value_limit > one.windows[number].received
                ):
                    one.deliver(number, last=rng.random() < 0.5, waited=rng.random() < 0.5)
                case 3:
                    await turns(rng.randrange(5))
                case 4:
                    await trio.sleep(rng.choice((DELAY / 2, DELAY, 3 * DELAY)))
                case 5 if rng.random() < 0.3:
                    one.acknowledger.sent()
                case _:
                    pass
        if seed % 2:
            one.session.close(0, Code.FINISHED)
            one.acknowledger.closed()
            one.flush()
            del one.told[0]
        await trio.sleep(0.005)
        assert one.closed == ({0: one.windows[0].delivered} if seed % 2 else {})
        assert one.told == {number: one.windows[number].delivered for number in one.told}
        assert not one.session.has_undue
        assert not one.session.outbox.must_answer


@pytest.mark.parametrize("unbuffered", [False, True])
async def test_a_blocked_writer_is_no_busy_loop(autojump_clock: trio.testing.MockClock, unbuffered: bool) -> None:
    async with case(2, unbuffered=unbuffered) as one:
        one.blocked = True
        one.deliver(0)
        one.deliver(1)
        one.session.close(1, Code.FINISHED)
        one.acknowledger.closed()
        await trio.sleep(1)
        flushes = one.flushes
        await trio.sleep(60)
        assert one.flushes - flushes <= 1
        one.deliver(0)
        await trio.sleep(1)
        one.blocked = False
        one.flush()
        assert (one.told[0], one.closed) == (2, {1: 1})
