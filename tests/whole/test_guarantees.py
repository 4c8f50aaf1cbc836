"""What docs/guarantees.md says of times, and of values at the edge, where other tests of broken connections do not.

In memory and by trio's autojump clock: times are in virtual seconds.
"""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from pausing import Other, linked, pause, settle
from proxy import Fault, Network
from support import take, take_all

from trionetchan import ConnectionLostError, Delivery, Exporter, Limits, SessionLostError, open_exporter, open_importer


def filled(exporter: Exporter, count: int = 20) -> None:
    """So many values in "jobs", and its end."""
    send = exporter.open_send_channel("jobs", int, max_buffer_size=count)
    for value in range(count):
        send.send_nowait(value)
    send.close()


# How long the values of a lost importer wait


@pytest.mark.promise(56)
@pytest.mark.parametrize(
    ("keepalive", "keepalive_timeout", "resume", "theirs"),
    [(15, 30, 30, 30), (5, 2, 3, 7), (2, 5, 7, 3), (0.5, 3, 4, 4)],
)
@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "silent"])
async def test_values_of_a_lost_importer_wait_as_long_as_the_formula_says(
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
    keepalive: float,
    keepalive_timeout: float,
    resume: float,
    theirs: float,
    noticed: bool,
) -> None:
    def limits(resume_timeout: float) -> Limits:
        return Limits(keepalive=keepalive, keepalive_timeout=keepalive_timeout, resume_timeout=resume_timeout)

    other = Other()
    async with open_exporter(limits=limits(theirs)) as exporter, trio.open_nursery() as inner:
        filled(exporter)
        network = Network(nursery, exporter)

        async def hold() -> None:
            with pytest.raises(SessionLostError):
                async with open_importer(network.connect, limits=limits(resume)) as importer:
                    await importer.open_receive_channel("jobs", int, window=8)
                    await trio.sleep_forever()

        inner.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        network.go_down(Fault.RESET if noticed else Fault.SWALLOW)
        await other.run(nursery, exporter)
    detection = 0 if noticed else max(keepalive, keepalive_timeout) + min(1, keepalive)
    returned = [other.times[value] - began for value in range(8)]
    assert returned == pytest.approx([detection + min(resume, theirs)] * 8, abs=0.05)
    assert all(other.times[value] - began < 0.05 for value in range(8, 20))
    assert other.got == [*range(8, 20), *range(8)]


async def test_values_of_an_importer_that_leaves_do_not_wait(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with linked(nursery) as (exporter, _, _):
        filled(exporter)
        with trio.CancelScope() as scope:
            async with open_importer(Network(nursery, exporter).connect) as importer:
                await importer.open_receive_channel("jobs", int, window=8)
                await settle()
                scope.cancel()
        began, other = trio.current_time(), Other()
        await other.run(nursery, exporter)
        assert other.got == [*range(20)]
        assert trio.current_time() - began < 0.5


# Leases


@pytest.mark.promise(58)
@pytest.mark.parametrize("fault", [Fault.STALL, Fault.SWALLOW])
async def test_nothing_is_delivered_once_the_lease_is_over(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """The importer still believes in its connection; what it holds is delivered when the exporter has answered."""
    limits = Limits(keepalive=100, keepalive_timeout=100, resume_timeout=10)
    async with linked(nursery, limits=limits) as (exporter, importer, network):
        filled(exporter)
        receive = await importer.open_receive_channel("jobs", int, window=8)
        assert await receive.receive() == 0
        network.go_down(fault)
        await trio.sleep(7)
        assert await receive.receive() == 1
        await trio.sleep(3)
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        with trio.move_on_after(50):
            await receive.receive()
            pytest.fail("a value came without a lease")
        network.come_up()
        assert await take_all(receive) == [*range(2, 20)]
        assert exporter.statistics().channels["jobs"].redelivered == 0


# What an error holds


@pytest.mark.promise(59)
async def test_session_lost_says_what_may_have_arrived_and_what_has_not(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with open_exporter() as exporter:
        network = Network(nursery, exporter)
        results = exporter.open_receive_channel("results", int)
        with pytest.raises(SessionLostError) as caught:
            async with open_importer(network.connect) as importer:
                send = await importer.open_send_channel("results", int, window=3, max_buffer_size=10)
                for value in range(8):
                    send.send_nowait(value)
                assert await take(results, 2) == [0, 1]
                await settle()
                network.go_down()
                await trio.sleep_forever()
        assert caught.value.unconfirmed == {"results": [2, 3, 4]}
        assert caught.value.unsent == {"results": [5, 6, 7]}


async def test_goodbye_of_an_exporter_says_nothing_of_values(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with trio.open_nursery() as inner, open_exporter() as exporter:
        network = Network(nursery, exporter)
        exporter.open_receive_channel("results", int)

        async def send_some() -> None:
            with pytest.raises(ConnectionLostError, match="goodbye") as caught:
                async with open_importer(network.connect) as importer:
                    send = await importer.open_send_channel("results", int, max_buffer_size=10)
                    send.send_nowait(0)
                    await trio.sleep_forever()
            assert not isinstance(caught.value, SessionLostError)
            assert network.attempts == 1

        inner.start_soon(send_some)
        await settle()


# Values that are in the program's hands


@pytest.mark.parametrize("own", [True, False])
async def test_what_was_in_the_buffer_when_the_session_was_lost(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, own: bool
) -> None:
    """It is acknowledged. An end of the program's own still gives it; one that the library opened is closed."""
    async with open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        for value in range(10):
            jobs.send_nowait(value)
        network = Network(nursery, exporter)
        send, receive = trio.open_memory_channel[int](10)
        with pytest.raises(SessionLostError):
            async with open_importer(network.connect) as importer:
                if own:
                    await importer.import_("jobs", send, int)
                else:
                    receive = await importer.open_receive_channel("jobs", int, max_buffer_size=10)
                await settle()
                assert exporter.statistics().channels["jobs"].acknowledged == 10
                network.go_down()
                await trio.sleep_forever()
        if own:
            assert [receive.receive_nowait() for _ in range(10)] == [*range(10)]
        else:
            with pytest.raises(trio.ClosedResourceError):
                receive.receive_nowait()


# Values that the program acknowledges


@pytest.mark.promise(63)
async def test_deliveries_outlive_a_pause(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Those settled in it are not seen again; those that are not can be settled later."""
    async with linked(nursery) as (exporter, importer, network):
        filled(exporter)
        receive = await importer.open_receive_channel("jobs", int, window=4, acknowledge="manual")
        held = await take(receive, 3)
        await settle()
        async with pause(network):
            await held[2].ack()
            await held[1].reject()
        await held[0].ack()
        got: list[int] = []
        async for delivery in receive:
            got.append(delivery.value)
            assert delivery.redelivered == (delivery.value == 1)
            await delivery.ack()
        assert sorted(got) == [1, *range(3, 20)]
        assert exporter.statistics().channels["jobs"].acknowledged == 20


@pytest.mark.promise(63)
async def test_deliveries_of_a_lost_session_come_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Also one that was acknowledged where the exporter could not hear it; each counts as come back."""
    limits = Limits(max_redeliveries=1, resume_timeout=5)
    async with open_exporter(limits=limits) as exporter:
        dead_letters, dead = trio.open_memory_channel[int](20)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20, dead_letters=dead_letters)
        for value in range(6):
            send.send_nowait(value)
        send.close()
        for again in (False, True):
            network = Network(nursery, exporter)
            held: list[Delivery[int]] = []
            with pytest.raises(SessionLostError):
                async with open_importer(network.connect, limits=limits) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=3, acknowledge="manual")
                    held += await take(receive, 2)
                    assert [(delivery.value, delivery.redelivered) for delivery in held] == [(0, again), (1, again)]
                    await settle()
                    async with pause(network):
                        await held[0].ack()
                        await trio.sleep_forever()
            with pytest.raises(trio.BrokenResourceError, match="went back"):
                await held[1].ack()
        await settle()
        assert await take(dead, 3) == [0, 1, 2]
        other = Other()
        await other.run(nursery, exporter)
        assert other.got == [3, 4, 5]


# Who looks


@pytest.mark.promise(62)
async def test_a_pause_is_counted_and_logged_on_both_sides(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(nursery) as (exporter, importer, network):
        filled(exporter)
        receive = await importer.open_receive_channel("jobs", int)
        assert await receive.receive() == 0
        async with pause(network):
            assert (exporter.statistics().suspended, exporter.statistics().connections) == (1, 0)
        await settle()
        assert (exporter.statistics().suspended, exporter.statistics().connections) == (0, 1)
        assert exporter.statistics().resumed == importer.statistics().resumed == 1
        assert await take_all(receive) == [*range(1, 20)]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("its session waits" in text for text in told)
    assert any("is to be resumed within" in text for text in told)
    assert any("is resumed after" in text for text in told)
