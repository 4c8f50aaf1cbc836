"""What a program does while its connection is broken works when the connection is back: it notices a pause only.

In memory and by a clock of the tests' own: times are in virtual seconds.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from pausing import CUTS, LIMITS, Other, Task, begin, linked, pause, quiet, settle, take_slowly
from proxy import Fault, Network, Plan, Way
from support import put, take, take_all

from trionetchan import (
    NetchanError,
    NoSuchChannelError,
    TypeMismatchError,
    ValuesDroppedError,
    WrongDirectionError,
    open_exporter,
    open_importer,
)
from trionetchan._protocol.frames import MAGIC, VERSION, Hello, encode


def told(caplog: pytest.LogCaptureFixture) -> int:
    """How many lines of the log speak of resuming."""
    messages = [record.getMessage().lower() for record in caplog.records if record.levelno > logging.DEBUG]
    return sum("resum" in message for message in messages)


# Values


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("fault", Fault)
async def test_every_channel_goes_on(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, refuses: bool
) -> None:
    got_down: list[int] = []
    got_up: list[int] = []
    async with linked(nursery, refuses=refuses) as (exporter, importer, network):
        down, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        from_down = await importer.open_receive_channel("down", int, window=4)
        to_up = await importer.open_send_channel("up", int, window=7, max_buffer_size=5)
        async with trio.open_nursery() as inner:
            inner.start_soon(put, down, range(100))
            inner.start_soon(put, to_up, range(100))
            inner.start_soon(take_slowly, from_down, got_down, 0.3)
            inner.start_soon(take_slowly, up, got_up, 0.3)
            for _ in range(5):
                await trio.sleep(4)
                network.cut(fault)
                await trio.sleep(4)
                network.go_down(fault)
                await trio.sleep(4)
                network.come_up()
        await trio.sleep(10)
        assert exporter.statistics().resumed == importer.statistics().resumed == 10
        assert exporter.statistics().suspended == 0
    assert got_down == got_up == [*range(100)]


@pytest.mark.parametrize("fault", CUTS)
async def test_values_that_had_arrived_are_taken_in_the_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """And the exporter learns of it afterwards: they are acknowledged, and do not come twice."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=8)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        await settle()
        async with pause(network, fault):
            assert await take(receive, 8) == [*range(8)]
            await settle()
            assert exporter.statistics().channels["jobs"].acknowledged == 0
        assert await take_all(receive) == [*range(8, 20)]
        await exporter.drain()
        statistics = exporter.statistics().channels["jobs"]
        assert (statistics.acknowledged, statistics.redelivered, statistics.dropped) == (20, 0, 0)


@pytest.mark.parametrize("fault", Fault)
async def test_lost_acknowledgements_bring_nothing_twice(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """The importer has the values, and has acknowledged them into a connection that breaks just there."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=8, max_buffer_size=20)
        for after in range(12):
            await settle()
            up = network.lines[-1].carried(Way.UP)
            network.lines[-1].plan = Plan(fault=fault, way=Way.UP, after=up + after)
            for value in range(20):
                send.send_nowait(value)
            assert await take(receive, 20) == [*range(20)]
        await exporter.drain()
        assert exporter.statistics().resumed >= 5
        assert exporter.statistics().channels["jobs"].acknowledged == 12 * 20


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("fault", Fault)
async def test_large_values_that_are_cut_in_the_middle(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, way: Way
) -> None:
    values = [b"small", bytes(1_000_000), b"tiny", bytes(range(256)) * 2000, b"last"]
    for after in (70_000, 300_000, 1_000_000, 1_200_000):
        plans = [Plan(fault=fault, way=way, after=after)] * 2
        async with linked(nursery, plans) as (exporter, importer, network):
            down, up = exporter.open_send_channel("down", bytes), exporter.open_receive_channel("up", bytes)
            from_down = await importer.open_receive_channel("down", bytes)
            to_up = await importer.open_send_channel("up", bytes)
            async with trio.open_nursery() as inner:
                inner.start_soon(put, down, values)
                inner.start_soon(put, to_up, values)
                at_importer = begin(inner, take_all, from_down)
                at_exporter = begin(inner, take_all, up)
            assert at_importer.result == at_exporter.result == values
            assert len(network.lines) >= 2


async def test_many_cuts_with_nothing_in_between(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Each connection ends as soon as it has said hello, or before; then one lasts."""
    plans = [Plan(fault=fault, way=way, after=after) for after in range(0, 200, 17) for way in Way for fault in CUTS]
    limits = attrs.evolve(LIMITS, resume_timeout=300)
    async with linked(nursery, [Plan(), *plans], limits=limits) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=3)
        got: list[int] = []
        async with trio.open_nursery() as inner:
            inner.start_soon(put, send, range(200))
            inner.start_soon(take_slowly, receive, got, 0.5)
            await trio.sleep(3)
            network.cut()
        assert got == [*range(200)]
        assert len(network.lines) > 20


@pytest.mark.parametrize("way", ["its count is reached", "its sender is done"])
async def test_channels_end_as_the_lease_is_renewed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, way: str
) -> None:
    """The lease ran out while a buffer was full; with the next one, the last values are delivered at once."""
    limits = attrs.evolve(LIMITS, resume_timeout=1)
    async with linked(nursery, limits=limits) as (exporter, importer, network):
        receives: list[trio.MemoryReceiveChannel[int]] = []
        for name in ("first", "second", "third"):
            send = exporter.open_send_channel(name, int, max_buffer_size=3)
            for value in range(3):
                send.send_nowait(value)
            count = 3 if way == "its count is reached" else None
            receives.append(await importer.open_receive_channel(name, int, count=count, max_buffer_size=2))
            if count is None:
                send.close()
        await settle()
        network.cut(Fault.SWALLOW)
        await trio.sleep(1.5)
        for receive in receives:
            assert await take(receive, 2) == [0, 1]
            with pytest.raises(trio.WouldBlock):
                receive.receive_nowait()
        assert importer.statistics().resumed == 0
        await trio.sleep(5)
        assert importer.statistics().resumed == 1
        assert [await take_all(receive) for receive in receives] == [[2]] * 3


# Statistics and log


@pytest.mark.parametrize("fault", CUTS)
async def test_statistics_and_log_tell_of_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.INFO, "trionetchan")
    async with linked(nursery) as (exporter, importer, network):
        exporter.open_send_channel("jobs", int)
        await importer.open_receive_channel("jobs", int)
        await settle()
        for times in range(3):
            assert (exporter.statistics().suspended, exporter.statistics().connections) == (0, 1)
            caplog.clear()
            async with pause(network, fault):
                assert (exporter.statistics().suspended, exporter.statistics().connections) == (1, 0)
                assert exporter.statistics().resumed == importer.statistics().resumed == times
                assert exporter.statistics().channels["jobs"].peers == 1
            await settle()
            assert exporter.statistics().resumed == importer.statistics().resumed == times + 1
            assert told(caplog) >= 2  # each side
    assert not [record for record in caplog.records if record.exc_info]


# Connecting again


async def test_the_first_retry_is_at_once(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=9)
        receive = await importer.open_receive_channel("jobs", int)
        for fault in CUTS:
            network.cut(fault)
            send.send_nowait(1)
            before = trio.current_time()
            assert await receive.receive() == 1
            assert trio.current_time() - before < 0.1


async def test_retries_become_rarer(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    async with linked(nursery, refuses=True) as (exporter, importer, network):
        await settle()
        network.go_down()
        await trio.sleep(1)
        early = network.attempts
        await trio.sleep(19)
        later = network.attempts - early
        assert 2 < early < 30
        assert 2 < later < 19 * early / 2
        network.come_up()
        await trio.sleep(10)
        assert exporter.statistics().resumed == importer.statistics().resumed == 1


async def test_what_else_connecting_raises_is_raised_by_the_block(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with linked(nursery) as (exporter, _importer, _network):
        other = Network(nursery, exporter)

        async def connect() -> trio.abc.Stream:
            if other.attempts:
                raise ZeroDivisionError("a mistake of the program")
            return await other.connect()

        with pytest.raises(ZeroDivisionError, match="a mistake of the program"):
            async with open_importer(connect):
                await settle()
                other.cut()
                await trio.sleep_forever()
        await settle()


@pytest.mark.promise(60)
@pytest.mark.parametrize("after", [None, 0, 50, 100, 200, 300])
@pytest.mark.parametrize("way", Way)
async def test_a_session_that_has_begun_anew_is_resumed_like_any_other(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, way: Way, after: int | None
) -> None:
    """Its first stream ends behind the exporter's hello; that on which it begins anew breaks `after` so many bytes."""
    async with open_exporter(limits=LIMITS) as exporter:
        plans = [Plan(), Plan() if after is None else Plan(fault=Fault.END, way=way, after=after)]
        network = Network(nursery, exporter, plans)
        first, elsewhere = trio.testing.memory_stream_pair()
        streams: list[trio.abc.Stream] = [first]

        async def connect() -> trio.abc.Stream:
            return streams.pop() if streams else await network.connect()

        hello = Hello(VERSION, {"resume": 30_000, "nonce": bytes(16)})
        await elsewhere.send_all(MAGIC + encode(hello))
        await elsewhere.send_eof()
        down, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        async with open_importer(connect, limits=LIMITS) as importer:
            from_down = await importer.open_receive_channel("down", int, window=4)
            to_up = await importer.open_send_channel("up", int, window=4)
            for number in range(3):
                await down.send(number)
                await to_up.send(number)
                assert (await from_down.receive(), await up.receive()) == (number, number)
                network.cut()
                await trio.sleep(1)
            assert exporter.statistics().channels["up"].peers == 1


async def test_the_first_connect_fails_at_once(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    async with linked(nursery, refuses=True) as (_exporter, _importer, network):
        await settle()
        network.go_down(None)
        before = trio.current_time()
        with pytest.raises(OSError, match="the network is down"):
            async with open_importer(network.connect):
                raise AssertionError
        assert trio.current_time() - before < 0.1


# Imports


@pytest.mark.parametrize("fault", CUTS)
async def test_import(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        inner.start_soon(put, send, range(3))
        await settle()
        async with pause(network, fault):
            down_bound = begin(inner, importer.open_receive_channel, "down", int)
            up_bound = begin(inner, importer.open_send_channel, "up", int)
            await trio.sleep(5)
            assert not down_bound.done.is_set()
            assert not up_bound.done.is_set()
        await down_bound.done.wait()
        await up_bound.done.wait()
        assert await take_all(down_bound.result) == [0, 1, 2]
        inner.start_soon(put, up_bound.result, [7, 8])
        assert await take_all(up) == [7, 8]


async def test_import_over_a_connection_that_breaks_behind_its_hello(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    for way in Way:
        for after in range(100 if way is Way.DOWN else 230, 320, 3):
            plans = [Plan(fault=Fault.END, way=way, after=after)]
            async with linked(nursery, plans) as (exporter, importer, _network):
                send, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
                nursery.start_soon(put, send, range(3))
                receive = await importer.open_receive_channel("down", int)
                nursery.start_soon(put, await importer.open_send_channel("up", int), range(3))
                assert await take_all(receive) == [0, 1, 2]
                assert await take_all(up) == [0, 1, 2]


async def test_refused_imports(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        exporter.open_send_channel("down", int)
        await settle()
        async with pause(network):
            tasks = [
                begin(inner, importer.open_receive_channel, "missing", int),
                begin(inner, importer.open_receive_channel, "down", str),
            ]
            await trio.sleep(3)
            assert not any(task.done.is_set() for task in tasks)
        await settle()
        assert [type(task.error) for task in tasks] == [NoSuchChannelError, TypeMismatchError]
        with pytest.raises(WrongDirectionError):
            await importer.open_send_channel("down", int)


async def test_cancelled_imports(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """They leave no trace."""
    async with linked(nursery) as (exporter, importer, network):
        send, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        await settle()
        async with pause(network):
            for _ in range(3):
                for ask, name in ((importer.open_receive_channel, "down"), (importer.open_send_channel, "up")):
                    with trio.move_on_after(1) as cancelled:
                        await ask(name, int)
                    assert cancelled.cancelled_caught
        await settle()
        assert exporter.statistics().channels["down"].peers == exporter.statistics().channels["up"].peers == 0
        nursery.start_soon(put, send, range(5))
        assert await take_all(await importer.open_receive_channel("down", int)) == [*range(5)]
        nursery.start_soon(put, await importer.open_send_channel("up", int), range(5))
        assert await take_all(up) == [*range(5)]


@pytest.mark.parametrize("way", ["down", "up"])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_import_whose_answer_is_lost(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, cancelled: bool, way: str
) -> None:
    """The exporter has bound the name, and the importer does not know."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send, up = exporter.open_send_channel("down", int), exporter.open_receive_channel("up", int)
        if way == "down":
            inner.start_soon(put, send, range(20))
        await settle()
        network.lines[0].plan = Plan(fault=Fault.END, way=Way.DOWN, after=network.lines[0].carried(Way.DOWN) + 1)
        network.go_down(None)
        ask = importer.open_receive_channel if way == "down" else importer.open_send_channel
        task = Task()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as asking:
                asking.start_soon(task.run, ask, way, int)
                await quiet()
                assert network.lines[0].fault is Fault.END
                assert exporter.statistics().channels[way].peers == exporter.statistics().suspended == 1
                assert not task.done.is_set()
                if cancelled:
                    scope.cancel()
                network.come_up()
        await settle()
        assert exporter.statistics().channels[way].peers == (0 if cancelled else 1)
        end: Any = await ask(way, int) if cancelled else task.result
        if way == "up":
            inner.start_soon(put, end, range(20))
        assert await take_all(end if way == "down" else up) == [*range(20)]


# Hang-up


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_hangs_up_a_receiving_import(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """What it has not delivered goes to the other importer when the connection is back, and not before."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=8)
        for value in range(20):
            send.send_nowait(value)
        assert await take(receive, 2) == [0, 1]
        await settle()
        other = Other()
        async with pause(network, fault):
            assert await take(receive, 3) == [2, 3, 4]
            importer.hangup("jobs")
            nursery.start_soon(other.run, nursery, exporter)
            await settle()
            assert other.got == [*range(10, 20)]  # of the rest the exporter does not know yet
        await settle()
        assert other.got == [*range(10, 20), *range(5, 10)]
        assert exporter.statistics().channels["jobs"].peers == 1
        send.close()
        await settle()
        assert other.ended


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_hangs_up_a_sending_import(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """The exporter's receiver sees the end then; what was not delivered is dropped, and counted."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        send = await importer.open_send_channel("up", int, window=4, max_buffer_size=10)
        for value in range(10):
            send.send_nowait(value)
        assert await take(up, 2) == [0, 1]
        await settle()
        async with pause(network, fault):
            importer.hangup("up")
            rest = begin(inner, take_all, up)
            await trio.sleep(3)
            assert not rest.done.is_set()
        await rest.done.wait()
        got = [0, 1, *rest.result]
        assert got == [*range(len(got))]
        assert len(got) <= 6
        up = exporter.open_receive_channel("up", int)
        inner.start_soon(put, await importer.open_send_channel("up", int), [7])
        assert await take_all(up) == [7]


@pytest.mark.parametrize("fault", CUTS)
async def test_exporter_hangs_up_a_sending_export(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """The importer sees the end when the connection is back, and can import the name anew."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=4)
        for value in range(10):
            send.send_nowait(value)
        assert await take(receive, 2) == [0, 1]
        await settle()
        async with pause(network, fault):
            exporter.hangup("jobs")
            rest = begin(inner, take_all, receive)
            new = exporter.open_send_channel("jobs", int, max_buffer_size=20)
            new.send_nowait(99)
            new.close()
            await trio.sleep(3)
            assert not rest.done.is_set()
        await rest.done.wait()
        got = [0, 1, *rest.result]
        assert got == [*range(len(got))]
        assert await take_all(await importer.open_receive_channel("jobs", int)) == [99]


@pytest.mark.parametrize("fault", CUTS)
@pytest.mark.parametrize("way", ["hangs up", "closes its end"])
async def test_exporter_hangs_up_or_closes_a_receiving_export(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, way: str
) -> None:
    """The importer's sender breaks when the connection is back, and `errors` says why."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        send = await importer.open_send_channel("up", int, window=4)
        await send.send(0)
        assert await up.receive() == 0
        await settle()

        async def send_all() -> None:
            for value in range(1, 100):
                await send.send(value)

        async with pause(network, fault):
            if way == "hangs up":
                exporter.hangup("up")
            else:
                up.close()
            sending = begin(inner, send_all)
            await trio.sleep(3)
            assert not sending.done.is_set()
        await sending.done.wait()
        assert isinstance(sending.error, trio.BrokenResourceError)
        error = await importer.errors.receive()
        assert isinstance(error, NetchanError)
        assert error.channel == "up"


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_hangs_up_and_imports_anew(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """In one pause; nothing of the old binding reaches the new one, and nothing is lost."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=4)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        assert await take(receive, 3) == [0, 1, 2]
        await settle()
        async with pause(network, fault):
            importer.hangup("jobs")
            with trio.move_on_after(1) as cancelled:
                await importer.open_receive_channel("jobs", int)
            assert cancelled.cancelled_caught
            task = begin(inner, importer.open_receive_channel, "jobs", int)
        await task.done.wait()
        assert await take_all(task.result) == [*range(3, 20)]


# Ends are closed


@pytest.mark.parametrize("fault", CUTS)
async def test_exporter_closes_its_send_end(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=4)
        await settle()
        async with pause(network, fault):
            inner.start_soon(put, send, range(20))
            received = begin(inner, take_all, receive)
            await trio.sleep(3)
            assert not received.done.is_set()
        await received.done.wait()
        assert received.result == [*range(20)]


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_closes_its_send_end(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        send = await importer.open_send_channel("up", int, window=4, max_buffer_size=3)
        await settle()
        async with pause(network, fault):
            inner.start_soon(put, send, range(20))
            received = begin(inner, take_all, up)
            await trio.sleep(3)
            assert not received.done.is_set()
        await received.done.wait()
        assert received.result == [*range(20)]


@pytest.mark.parametrize("fault", CUTS)
async def test_importer_closes_its_receive_end(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """What it has not taken goes to the other importer."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, window=8)
        for value in range(20):
            send.send_nowait(value)
        send.close()
        assert await take(receive, 2) == [0, 1]
        await settle()
        other = Other()
        async with pause(network, fault):
            assert await receive.receive() == 2
            receive.close()
            nursery.start_soon(other.run, nursery, exporter)
            await settle()
            assert not other.ended
        await trio.sleep(5)
        assert sorted(other.got) == [*range(3, 20)]
        assert other.ended


async def test_everything_at_once_in_one_pause(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """The last words on several channels are said in one go, behind what is sent again."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        downs = [exporter.open_send_channel(f"down{number}", int, max_buffer_size=30) for number in range(4)]
        ups = [exporter.open_receive_channel(f"up{number}", int) for number in range(4)]
        receives = [await importer.open_receive_channel(f"down{number}", int, window=3) for number in range(4)]
        sends = [await importer.open_send_channel(f"up{number}", int, max_buffer_size=30) for number in range(4)]
        for end in (*downs, *sends):
            for value in range(20):
                end.send_nowait(value)
        await settle()
        async with pause(network):
            importer.hangup("down0")
            importer.hangup("up0")
            exporter.hangup("down1")
            exporter.hangup("up1")
            for end in (downs[2], sends[2]):
                end.close()
        at_ends = [begin(inner, take_all, end) for end in (receives[2], ups[2])]
        await trio.sleep(3)
        assert [task.result for task in at_ends] == [[*range(20)]] * 2
        assert await take(receives[3], 20) == await take(ups[3], 20) == [*range(20)]
        statistics = exporter.statistics().channels
        assert "down1" not in statistics
        assert statistics["down0"].peers == 0
        with pytest.raises(trio.BrokenResourceError):
            await sends[1].send(0)
            await sends[1].send(0)


# Drain and sync


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("call", ["drain", "sync"])
@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_drain_and_sync(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault, call: str, side: str
) -> None:
    """They wait for the resume, and for what it brings; their timeouts hold in the pause.

    Where the connection is only silent, the values are handed to it.
    """
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        if side == "exporter":
            send = exporter.open_send_channel("jobs", int, max_buffer_size=9)
            receive = await importer.open_receive_channel("jobs", int, window=4, max_buffer_size=9)
        else:
            receive = exporter.open_receive_channel("jobs", int, max_buffer_size=9)
            send = await importer.open_send_channel("jobs", int, window=4, max_buffer_size=9)
        wait = getattr(exporter if side == "exporter" else importer, call)
        await settle()
        async with pause(network, fault):
            for value in range(9):
                send.send_nowait(value)
            await quiet()
            task = begin(inner, wait, "jobs")
            if call == "drain" or fault in (Fault.STALL, Fault.SWALLOW):
                with pytest.raises(trio.TooSlowError):
                    await wait("jobs", timeout=5)
                assert not task.done.is_set()
        await task.done.wait()
        assert task.error is None
        if call == "drain":
            assert receive.statistics().current_buffer_used == 9


async def test_drain_of_values_that_are_hung_up_in_the_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=9)
        await importer.open_receive_channel("jobs", int, window=4)
        await settle()
        async with pause(network):
            for value in range(9):
                send.send_nowait(value)
            drained, synced = begin(inner, exporter.drain), begin(inner, exporter.sync)
            await quiet()
            exporter.hangup("jobs")
        await drained.done.wait()
        await synced.done.wait()
        assert isinstance(drained.error, ValuesDroppedError)
        assert synced.error is None or isinstance(synced.error, ValuesDroppedError)


# Counted imports


@pytest.mark.parametrize("fault", CUTS)
async def test_counted_import_receives_its_last_value(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    """It ends in the pause; and the name can be imported again, by an import that works when the pause is over."""
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, count=5)
        inner.start_soon(put, send, range(12))
        assert await take(receive, 2) == [0, 1]
        await settle()
        async with pause(network, fault):
            assert await take_all(receive) == [2, 3, 4]
            again = begin(inner, importer.open_receive_channel, "jobs", int)
        await again.done.wait()
        assert await take_all(again.result) == [*range(5, 12)]


@pytest.mark.parametrize("fault", CUTS)
async def test_counted_import_whose_values_come_after_the_pause(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        receive = await importer.open_receive_channel("jobs", int, count=5, window=2)
        await settle()
        async with pause(network, fault):
            inner.start_soon(put, send, range(12))
            received = begin(inner, take_all, receive)
        await received.done.wait()
        assert received.result == [*range(5)]
        assert await take_all(await importer.open_receive_channel("jobs", int)) == [*range(5, 12)]


@pytest.mark.parametrize("fault", CUTS)
async def test_counted_import_sends_its_last_value(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        send = await importer.open_send_channel("up", int, count=5)
        await send.send(0)
        assert await up.receive() == 0
        await settle()

        async def send_all() -> None:
            for value in range(1, 100):
                await send.send(value)

        async with pause(network, fault):
            sending = begin(inner, send_all)
            await trio.sleep(1)
        assert await take_all(up) == [1, 2, 3, 4]
        await sending.done.wait()
        assert isinstance(sending.error, trio.BrokenResourceError)


# Several importers


@pytest.mark.parametrize("fault", Fault)
async def test_others_go_on(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, fault: Fault) -> None:
    """Importers compete, and one of them is cut again and again: each value reaches one of them, once, in order."""
    others = [Other() for _ in range(3)]
    got: list[int] = []
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int, window=6)
        async with trio.open_nursery() as inner:
            for other in others:
                inner.start_soon(other.run, nursery, exporter, 4, 0.1)
            inner.start_soon(take_slowly, receive, got, 0.1)
            inner.start_soon(put, send, range(1000))
            for _ in range(5):
                await trio.sleep(0.5)
                network.go_down(fault)
                await trio.sleep(0.05)
                before = [len(other.got) for other in others]
                await trio.sleep(3)
                assert all(len(other.got) > 10 + then for other, then in zip(others, before, strict=True))
                network.come_up()
                await trio.sleep(1)
        everything = [*got, *(value for other in others for value in other.got)]
        assert sorted(everything) == [*range(1000)]
        assert all(values == sorted(values) for values in (got, *(other.got for other in others)))
        assert len(got) > 10
        statistics = exporter.statistics()
        assert statistics.resumed == 5
        assert statistics.channels["jobs"].redelivered == 0


async def test_suspended_importer_is_dealt_no_more_than_its_window(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """What is not yet with it goes to others."""
    async with linked(nursery) as (exporter, importer, network):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        receive = await importer.open_receive_channel("jobs", int, window=6)
        await settle()
        other = Other()
        async with pause(network):
            for value in range(100):
                send.send_nowait(value)
            send.close()
            await settle()
            nursery.start_soon(other.run, nursery, exporter)
            await settle()
            assert len(other.got) >= 94
            assert not other.ended
        rest = await take_all(receive)
        assert len(rest) <= 6
        assert sorted([*other.got, *rest]) == [*range(100)]
        await settle()
        assert other.ended


# Shares of a fan-in


async def test_share_of_a_suspended_importer_holds_the_end_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    async with linked(nursery) as (exporter, importer, network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        to_up = await importer.open_send_channel("up", int)
        await to_up.send(0)
        received = begin(inner, take_all, up)
        await settle()
        async with pause(network):
            # It gets a share of its own, not that of the one who is away.
            async with open_importer(Network(nursery, exporter).connect) as other:
                await put(await other.open_send_channel("up", int), [1])
            await trio.sleep(5)
            assert not received.done.is_set()
            assert exporter.statistics().channels["up"].received == 2
        await to_up.send(2)
        await settle()
        assert not received.done.is_set()
        to_up.close()
        await received.done.wait()
        assert received.result == [0, 1, 2]


async def test_share_is_orphaned_when_the_session_is_over(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """And adopted by the next import: only then does the stream look complete."""
    async with linked(nursery) as (exporter, _importer, _network), trio.open_nursery() as inner:
        up = exporter.open_receive_channel("up", int)
        received = begin(inner, take_all, up)
        network = Network(nursery, exporter)
        with pytest.raises(NetchanError):
            async with open_importer(network.connect) as importer:
                to_up = await importer.open_send_channel("up", int)
                await to_up.send(0)
                await settle()
                network.go_down()
                await trio.sleep_forever()
        await trio.sleep(100)
        assert exporter.statistics().suspended == 0
        assert not received.done.is_set()
        async with open_importer(Network(nursery, exporter).connect) as other:
            await put(await other.open_send_channel("up", int), [1])
            await received.done.wait()
        assert received.result == [0, 1]
