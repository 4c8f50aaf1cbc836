"""Where a pause ends without a resume: blocks are left in it, it lasts too long, or the exporter is another one.

In memory and by a clock of the tests' own: times are in virtual seconds.
"""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from pausing import CUTS, LIMITS, Other, Task, begin, linked, pause, quiet, settle, take_slowly
from proxy import Fault, Network
from scripted import dropped_in_log
from support import connect, put, take, take_all

from trionetchan import ConnectionLostError, Exporter, Importer, Limits, SessionLostError, open_exporter, open_importer


def resuming_for(seconds: float) -> Limits:
    return attrs.evolve(LIMITS, resume_timeout=seconds)


# Leaving in the pause


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("closed", [True, False])
async def test_importer_leaves(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, closed: bool
) -> None:
    """It waits for the resume, as it waits for acknowledgements; all arrives, and the end if there is one."""
    got: list[int] = []
    left = trio.Event()
    async with open_exporter(limits=LIMITS) as exporter, trio.open_nursery() as inner:
        network = Network(nursery, exporter)
        up = exporter.open_receive_channel("up", int)
        reading = begin(inner, take_slowly, up, got, 0.1)

        async def leave() -> None:
            async with open_importer(network.connect, limits=LIMITS) as importer:
                send = await importer.open_send_channel("up", int, window=4, max_buffer_size=20)
                await send.send(0)
                await settle()
                network.go_down(fault)
                for value in range(1, 20):
                    send.send_nowait(value)
                if closed:
                    send.close()
            left.set()

        inner.start_soon(leave)
        await trio.sleep(10)
        assert not left.is_set()
        assert got == [0]
        network.come_up()
        await left.wait()
        await trio.sleep(5)
        assert got == [*range(20)]
        assert reading.done.is_set() == closed
        assert exporter.statistics().suspended == exporter.statistics().connections == 0
        inner.cancel_scope.cancel()


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_leaves_with_nothing_but_an_end_to_tell(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """All values are acknowledged; that they were the last ones is not told yet."""
    left = trio.Event()
    async with open_exporter(limits=LIMITS) as exporter, trio.open_nursery() as inner:
        network = Network(nursery, exporter)
        up = exporter.open_receive_channel("up", int)
        received = begin(inner, take_all, up)

        async def leave() -> None:
            async with open_importer(network.connect, limits=LIMITS) as importer:
                send = await importer.open_send_channel("up", int)
                await send.send(0)
                await importer.drain()
                network.go_down(fault)
                await quiet()
                send.close()
            left.set()

        inner.start_soon(leave)
        await trio.sleep(5)
        assert not left.is_set()
        network.come_up()
        await left.wait()
        await received.done.wait()
        assert received.result == [0]


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_leaves_and_the_connection_never_comes_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    before = trio.current_time()
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        exporter.open_receive_channel("up", int)
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect, limits=resuming_for(7)) as importer:
                send = await importer.open_send_channel("up", int, window=2, max_buffer_size=20)
                await settle()
                network.go_down(fault)
                before = trio.current_time()
                for value in range(5):
                    send.send_nowait(value)
        assert 7 <= trio.current_time() - before < 9
        assert [*caught.value.unconfirmed.get("up", []), *caught.value.unsent.get("up", [])] == [*range(5)]


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("closed", [True, False])
async def test_exporter_leaves(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, closed: bool
) -> None:
    """It waits until the importer that is away comes back, and has all."""
    got: list[int] = []
    outcome: list[str] = []
    left = trio.Event()
    async with trio.open_nursery() as inner:
        async with open_exporter(limits=LIMITS) as exporter:
            network = Network(nursery, exporter)

            async def importing() -> None:
                try:
                    async with open_importer(network.connect, limits=LIMITS) as importer:
                        receive = await importer.open_receive_channel("jobs", int, window=4)
                        bound.set()
                        await take_slowly(receive, got, 0.1)
                        outcome.append("end")
                except ConnectionLostError:
                    outcome.append("lost")

            async def come_back() -> None:
                await trio.sleep(10)
                assert not left.is_set()
                network.come_up()

            send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
            bound = trio.Event()
            inner.start_soon(importing)
            await bound.wait()
            send.send_nowait(0)
            await settle()
            network.go_down(fault)
            for value in range(1, 20):
                send.send_nowait(value)
            if closed:
                send.close()
            inner.start_soon(come_back)
        left.set()
    assert got == [*range(20)]
    assert outcome == ["end" if closed else "lost"]


@pytest.mark.parametrize("fault", CUTS)
async def test_exporter_leaves_and_the_importer_never_comes_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """What nobody is there to take is dropped and logged; the importer is told nothing, and finds out."""
    async with trio.open_nursery() as inner:
        exporters = open_exporter(limits=resuming_for(7))
        async with exporters as exporter:
            network = Network(nursery, exporter, refuses=True)

            async def importing() -> None:
                async with open_importer(network.connect, limits=LIMITS) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=4)
                    bound.set()
                    await take_all(receive)

            send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
            bound = trio.Event()
            task = begin(inner, importing)
            await bound.wait()
            await settle()
            network.go_down(fault)
            for value in range(20):
                send.send_nowait(value)
            before = trio.current_time()
        assert trio.current_time() - before < 9
        await task.done.wait()
        assert isinstance(task.error, SessionLostError)
    assert dropped_in_log(caplog) == 20


@pytest.mark.parametrize("way", ["cancelled", "an exception"])
async def test_importer_is_cancelled_or_fails_in_the_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, way: str
) -> None:
    """It does not wait for the connection; the exporter finds out when the time is over."""
    before = trio.current_time()
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        send, up = exporter.open_send_channel("jobs", int, max_buffer_size=20), exporter.open_receive_channel("up", int)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        with trio.CancelScope() as scope:
            try:
                async with open_importer(network.connect, limits=LIMITS) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=8)
                    to_up = await importer.open_send_channel("up", int, max_buffer_size=20)
                    assert await take(receive, 2) == [0, 1]
                    await settle()
                    network.go_down()
                    await quiet()
                    for value in range(20):
                        to_up.send_nowait(value)
                    before = trio.current_time()
                    if way == "cancelled":
                        scope.cancel()
                        await trio.sleep_forever()
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        assert trio.current_time() - before < 2
        assert scope.cancelled_caught == (way == "cancelled")
        other = Other()
        async with trio.open_nursery() as inner:
            inner.start_soon(other.run, nursery, exporter)
            await trio.sleep(5)
            assert sorted(other.got) == [*range(10, 20)]
        assert sorted(other.got) == [*range(2, 20)]
        assert up.statistics().open_send_channels


@pytest.mark.parametrize("way", ["left", "cancelled", "an exception"])
async def test_clean_goodbye_ends_the_session_at_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, way: str
) -> None:
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        with trio.CancelScope() as scope:
            try:
                async with open_importer(network.connect, limits=LIMITS) as importer:
                    await importer.open_receive_channel("jobs", int, window=8)
                    await settle()
                    network.cut()
                    await settle()
                    if way == "cancelled":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
                    if way == "an exception":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        before = trio.current_time()
        other = Other()
        await other.run(nursery, exporter)
        assert other.got == [*range(20)]
        assert trio.current_time() - before < 2
        assert (exporter.statistics().suspended, exporter.statistics().resumed) == (0, 1)


# The time is over


async def lose(
    nursery: trio.Nursery, exporter: Exporter, limits: Limits, fault: Fault = Fault.RESET
) -> tuple[SessionLostError, float]:
    """An importer's error, and how long after the cut it was raised."""
    before = trio.current_time()
    network = Network(nursery, exporter)
    with pytest.raises(SessionLostError) as caught:
        async with open_importer(network.connect, limits=limits) as importer:
            await importer.open_receive_channel("jobs", int, window=8)
            await settle()
            network.go_down(fault)
            before = trio.current_time()
            await trio.sleep_forever()
    return caught.value, trio.current_time() - before


@pytest.mark.parametrize(("ours", "theirs"), [(5, 50), (50, 5), (5, 1e6), (1e6, 5)])
@pytest.mark.parametrize("fault", CUTS)
async def test_smaller_of_both_times_counts(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, ours: float, theirs: float, fault: Fault
) -> None:
    """The importer gives up first; then what it held is dealt to others."""
    async with open_exporter(limits=resuming_for(theirs)) as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        other = Other()
        _error, after = await lose(nursery, exporter, resuming_for(ours), fault)
        lost_at = trio.current_time()
        assert 4 < after <= 5.5
        assert isinstance(_error, ConnectionLostError)
        await other.run(nursery, exporter)
        assert sorted(other.got) == [*range(20)]
        assert all(other.times[value] >= lost_at for value in range(8))
        assert trio.current_time() - lost_at < 3
        assert exporter.statistics().channels["jobs"].redelivered == 8


@pytest.mark.parametrize("fault", CUTS)
async def test_others_wait_for_what_a_suspended_importer_holds(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    async with linked(nursery, limits=resuming_for(10)) as (exporter, _importer, _network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        other = Other()
        async with trio.open_nursery() as inner:
            begin(inner, lose, nursery, exporter, resuming_for(10), fault)
            await trio.sleep(1)
            started = trio.current_time()
            inner.start_soon(other.run, nursery, exporter)
        assert all(other.times[value] - started < 1 for value in range(8, 20))
        assert all(8 < other.times[value] - started < 12 for value in range(8))


@pytest.mark.parametrize("side", ["exporter", "importer", "both"])
@pytest.mark.parametrize("fault", CUTS)
async def test_no_resume_where_one_side_does_not_want_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, side: str, fault: Fault
) -> None:
    before = trio.current_time()
    ours = resuming_for(30 if side == "exporter" else 0)
    theirs = resuming_for(30 if side == "importer" else 0)
    async with open_exporter(limits=theirs) as exporter:
        network = Network(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        with pytest.raises(ConnectionLostError):
            async with open_importer(network.connect, limits=ours) as importer:
                await importer.open_receive_channel("jobs", int, window=8)
                await settle()
                network.cut(fault)
                before = trio.current_time()
                await trio.sleep_forever()
        assert network.attempts == 1
        other = Other()
        await other.run(nursery, exporter)
        assert other.got == [*range(20)]
        assert trio.current_time() - before < 1
        assert exporter.statistics().resumed == exporter.statistics().suspended == 0


@pytest.mark.parametrize("fault", CUTS)
async def test_bare_stream_does_not_resume(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    before = trio.current_time()
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        with pytest.raises(ConnectionLostError):
            async with open_importer(await network.connect(), limits=LIMITS) as importer:
                await importer.open_receive_channel("jobs", int, window=8)
                await settle()
                network.cut(fault)
                before = trio.current_time()
                await trio.sleep_forever()
        other = Other()
        await other.run(nursery, exporter)
        assert other.got == [*range(20)]
        assert trio.current_time() - before < 1


async def test_session_lost_by_all_calls_that_wait(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    tasks: list[Task] = []
    async with linked(nursery) as (exporter, _, _), trio.open_nursery() as inner:
        exporter.open_receive_channel("up", int)
        network = Network(nursery, exporter)
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect, limits=resuming_for(5)) as importer:
                send = await importer.open_send_channel("up", int, max_buffer_size=5)
                await settle()
                network.go_down()
                send.send_nowait(1)
                await quiet()
                tasks = [begin(inner, importer.drain), begin(inner, importer.open_send_channel, "more", int)]
                await trio.sleep_forever()
        await quiet()
        assert [task.error for task in tasks] == [caught.value] * 2


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("window", [1, 4, 64])
@pytest.mark.parametrize("buffer", [0, 3, 100])
async def test_error_holds_what_may_not_have_arrived(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, window: int, buffer: int
) -> None:
    """Per channel: with what the exporter's program got, nothing is missing; only what is unconfirmed may be there."""
    accepted: dict[str, list[int]] = {"fast": [], "slow": [], "idle": []}
    got: dict[str, list[int]] = {name: [] for name in accepted}

    async def send_all(send: trio.MemorySendChannel[int], into: list[int]) -> None:
        for value in range(1_000_000):
            await send.send(value)
            into.append(value)
            await trio.sleep(0.01)

    async with open_exporter(limits=LIMITS) as exporter, trio.open_nursery() as inner:
        network = Network(nursery, exporter)
        for name, every in (("fast", 0), ("slow", 1), ("idle", 0)):
            inner.start_soon(take_slowly, exporter.open_receive_channel(name, int), got[name], every)
        exporter.open_send_channel("down", int, max_buffer_size=1).send_nowait(1)
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect, limits=resuming_for(7)) as importer, trio.open_nursery() as body:
                await importer.open_receive_channel("down", int)
                for name, into in accepted.items():
                    send = await importer.open_send_channel(name, int, window=window, max_buffer_size=buffer)
                    if name != "idle":
                        body.start_soon(send_all, send, into)
                await trio.sleep(2.5)
                network.go_down(fault)
        await trio.sleep(2000)
        error = caught.value
        for name, values in accepted.items():
            unconfirmed, unsent = error.unconfirmed.get(name, []), error.unsent.get(name, [])
            tail = [*unconfirmed, *unsent]
            confirmed = len(values) - len(tail)
            assert values == [*range(len(values))]
            assert tail == [*range(confirmed, len(values))]
            assert len(unconfirmed) <= window
            assert got[name] == [*range(len(got[name]))]
            assert confirmed <= len(got[name]) <= confirmed + len(unconfirmed)
        assert error.unsent.get("fast") or not buffer
        assert {*error.unconfirmed} | {*error.unsent} <= {*accepted}
        inner.cancel_scope.cancel()


async def test_error_holds_values_as_the_program_sent_them(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Not their encoding; also of several batches, and of what is too large for one frame."""
    values = ["text", "x" * 300_000, "more", "y" * 10]
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        exporter.open_receive_channel("up", str)
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect, limits=resuming_for(3)) as importer:
                send = await importer.open_send_channel("up", str, window=2, max_buffer_size=20)
                for value in values:
                    await send.send(value)
                await quiet()
                network.go_down()
                await trio.sleep_forever()
        assert [*caught.value.unconfirmed["up"], *caught.value.unsent["up"]] == values


# Another exporter


async def test_another_exporter_refuses(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """At once, and nothing is sent to it again."""
    before = trio.current_time()
    async with open_exporter(limits=LIMITS) as first, open_exporter(limits=LIMITS) as second:
        network = Network(nursery, first)
        ups = [exporter.open_receive_channel("up", int) for exporter in (first, second)]
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect, limits=LIMITS) as importer:
                send = await importer.open_send_channel("up", int, window=4, max_buffer_size=20)
                for value in range(10):
                    send.send_nowait(value)
                assert await take(ups[0], 2) == [0, 1]
                await settle()
                network.exporter = second
                network.cut()
                before = trio.current_time()
                await trio.sleep_forever()
        assert trio.current_time() - before < 1
        assert caught.value.unconfirmed["up"] == [2, 3, 4, 5]
        assert caught.value.unsent["up"] == [6, 7, 8, 9]
        assert second.statistics().channels["up"].received == 0
        assert second.statistics().resumed == second.statistics().suspended == 0
        with pytest.raises(trio.WouldBlock):
            ups[1].receive_nowait()


async def test_refused_resume_leaves_sessions_of_the_other_exporter_alone(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with linked(nursery) as (exporter, importer, _network), open_exporter(limits=LIMITS) as old:
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        network = Network(nursery, old)
        with pytest.raises(SessionLostError):
            async with open_importer(network.connect, limits=LIMITS) as lost:
                old.open_send_channel("jobs", int)
                await lost.open_receive_channel("jobs", int)
                network.exporter = exporter
                network.cut()
                await trio.sleep_forever()
        nursery.start_soon(put, send, range(100))
        assert await take_all(receive) == [*range(100)]


async def test_session_that_the_exporter_has_given_up_is_refused(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The importer believes that there is time, since its connection was silent, not broken: it learns otherwise."""
    async with open_exporter(limits=attrs.evolve(LIMITS, resume_timeout=5)) as exporter:
        network = Network(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        patient = attrs.evolve(LIMITS, keepalive=100, keepalive_timeout=100, resume_timeout=1000)
        lost: list[float] = []

        async def importing() -> None:
            with pytest.raises(SessionLostError):
                async with open_importer(network.connect, limits=patient) as importer:
                    await importer.open_receive_channel("jobs", int, window=8)
                    await settle()
                    network.cut(Fault.SWALLOW)
                    await trio.sleep_forever()
            lost.append(trio.current_time())

        other = Other()
        async with trio.open_nursery() as inner:
            inner.start_soon(importing)
            await trio.sleep(2)
            inner.start_soon(other.run, nursery, exporter)
        assert sorted(other.got) == [*range(20)]
        assert lost


# Leases


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("every", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("seconds", [0.5, 3, 7])
async def test_value_is_not_delivered_by_two_at_the_same_time(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, every: float, seconds: float
) -> None:
    """What the importer that is away delivers from what it holds, it delivers before anybody else can."""
    got: list[int] = []
    times: dict[int, float] = {}
    other = Other()
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        for value in range(100):
            send.send_nowait(value)
        send.close()

        async def importing() -> None:
            with pytest.raises(SessionLostError):
                async with open_importer(network.connect, limits=resuming_for(seconds)) as importer:
                    await take_slowly(await importer.open_receive_channel("jobs", int, window=64), got, every, times)

        async with trio.open_nursery() as inner:
            inner.start_soon(importing)
            await trio.sleep(3)
            network.go_down(fault)
            inner.start_soon(other.run, nursery, exporter)
    assert {*got} | {*other.got} == {*range(100)}
    assert got == [*range(len(got))]
    assert len(other.got) == len({*other.got})
    assert all(times[value] < other.times[value] for value in {*got} & {*other.got})


async def test_importer_of_another_session_is_not_harmed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """One importer's session is lost; the one beside it, of the same exporter, goes on."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("other", int)
        receive = await importer.open_receive_channel("other", int)
        exporter.open_send_channel("jobs", int)
        await lose(nursery, exporter, resuming_for(3))
        async with pause(network):
            nursery.start_soon(put, send, range(10))
        assert await take_all(receive) == [*range(10)]


async def test_stream_beside_resuming_ones(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """An importer over a bare stream is served as ever, by the same exporter."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int)
        one = await importer.open_receive_channel("jobs", int)
        async with connect(nursery, exporter) as bare, trio.open_nursery() as inner:
            two = await bare.open_receive_channel("jobs", int)
            got: list[int] = []
            for end in (one, two):
                inner.start_soon(take_slowly, end, got, 0.1)
            async with pause(network):
                inner.start_soon(put, send, range(500))
                await trio.sleep(3)
        assert sorted(got) == [*range(500)]


async def test_calls_after_the_session_was_lost_raise_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with open_exporter(limits=LIMITS) as exporter:
        network = Network(nursery, exporter)
        importers: list[Importer] = []
        with pytest.raises(SessionLostError):
            async with open_importer(network.connect, limits=resuming_for(3)) as importer:
                importers.append(importer)
                await settle()
                network.go_down()
                await trio.sleep_forever()
        with pytest.raises(SessionLostError):
            importers[0].statistics()
