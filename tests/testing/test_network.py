"""Pairs and networks of the testing kit, as the tests of a program use them: everything in memory and virtual time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing
from support import child_environment, put, take, take_all

from trionetchan import (
    ConnectionLostError,
    Exporter,
    Limits,
    SessionLostError,
    open_exporter,
    open_importer,
)
from trionetchan.testing import Line, open_memory_importer, open_network, open_pair

quiet = trio.testing.wait_all_tasks_blocked
VALUES = list(range(200))


# Pairs


async def test_pair(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as (exporter, importer), trio.open_nursery() as nursery:
        nursery.start_soon(put, exporter.open_send_channel("down", int), VALUES)
        up = exporter.open_receive_channel("up", str)
        nursery.start_soon(put, await importer.open_send_channel("up", str), [str(value) for value in VALUES])
        assert await take_all(await importer.open_receive_channel("down", int)) == VALUES
        assert await take_all(up) == [str(value) for value in VALUES]


async def test_limits_of_a_pair() -> None:
    limits, theirs = Limits(max_value_size=1000), Limits(max_value_size=2000)
    for given, expected in (({"limits": limits}, limits), ({"limits": limits, "importer_limits": theirs}, theirs)):
        async with open_network() as network:
            for maybe in (None, network):
                async with open_pair(maybe, **given) as (exporter, importer):
                    assert exporter._limits == limits  # pyright: ignore[reportPrivateUsage]
                    assert importer._limits.max_value_size == expected.max_value_size  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("by_network", [False, True])
async def test_what_leaves_a_pair_is_in_no_group(by_network: bool, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_network() as network, open_pair(network if by_network else None):
            raise KeyError("mine")
    with trio.move_on_after(1) as patience:
        async with open_network() as network, open_pair(network if by_network else None) as (exporter, importer):
            exporter.open_send_channel("jobs", int)
            await (await importer.open_receive_channel("jobs", int)).receive()
    assert patience.cancelled_caught


async def test_several_importers_of_one_exporter(autojump_clock: trio.testing.MockClock) -> None:
    got: list[int] = []

    async def work(exporter: Exporter) -> None:
        async with open_memory_importer(exporter) as importer:
            got.extend(await take_all(await importer.open_receive_channel("jobs", int, window=1)))

    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int)
        for _ in range(3):
            nursery.start_soon(work, exporter)
        await quiet()
        assert exporter.statistics().channels["jobs"].peers == 3
        await put(jobs, VALUES)
    assert sorted(got) == VALUES


async def test_the_exporter_has_seen_its_importer_leave(autojump_clock: trio.testing.MockClock) -> None:
    """And has all that it acknowledged: nothing comes to the next one again."""
    async with open_exporter() as exporter, open_network(exporter) as network:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        for value in range(100):
            send.send_nowait(value)
        for number in range(10):
            opening = open_importer(network.connect) if number % 2 else open_memory_importer(exporter)
            async with opening as importer:
                receive = await importer.open_receive_channel("jobs", int, window=1)
                assert await take(receive, 3) == [*range(3 * number, 3 * number + 3)]
            if not number % 2:
                assert exporter.statistics().connections == 0
            await quiet()


# Networks


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_importer_survives_a_cut(how: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_network() as network, open_pair(network) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, send, VALUES)
            for start in range(0, 200, 50):
                assert await take(receive, 50) == VALUES[start : start + 50]
                network.cut("reset" if how == "reset" else "end")
        assert await take_all(receive) == []
        await quiet()
        assert importer.statistics().resumed == network.attempts - 1 >= 3
        assert exporter.statistics().channels["jobs"].redelivered == 0


async def test_cuts_at_bytes_of_each_line(autojump_clock: trio.testing.MockClock) -> None:
    async with open_network(slice_size=7, capacity=100, delay=0.01) as network:

        def cut_early(line: Line) -> None:
            number = len(network.lines) - 1
            if number < 10:
                way = (line.to_exporter, line.to_importer)[number % 2]
                way.cut("reset", after=100 * number + 300)

        network.on_connect = cut_early
        async with open_pair(network) as (exporter, importer), trio.open_nursery() as nursery:
            nursery.start_soon(put, exporter.open_send_channel("jobs", bytes), [bytes(40)] * 200)
            receive = await importer.open_receive_channel("jobs", bytes)
            assert await take_all(receive) == [bytes(40)] * 200
        assert [line.is_cut for line in network.lines[:2]] == [True, True]
        assert network.lines[0].to_exporter.carried == 300
        assert network.lines[1].to_importer.carried == 400


async def test_importer_survives_a_stall(autojump_clock: trio.testing.MockClock) -> None:
    """A short one goes by unnoticed; in a long one both sides give the connection up, and the importer connects again
    when it can."""
    for seconds, resumed in ((10, 0), (70, 1)):
        async with (
            open_network() as network,
            open_pair(network, limits=Limits(resume_timeout=100)) as (exporter, importer),
        ):
            send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
            receive = await importer.open_receive_channel("jobs", int)
            network.stall()
            send.send_nowait(1)
            with trio.move_on_after(seconds) as stalled:
                await receive.receive()
            assert stalled.cancelled_caught
            network.go_on()
            assert await receive.receive() == 1
            await quiet()
            assert importer.statistics().resumed == resumed


async def test_session_is_lost_when_the_network_stays_down(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    with pytest.raises(SessionLostError) as caught:
        async with (
            open_network() as network,
            open_pair(network, limits=Limits(resume_timeout=20)) as (exporter, importer),
        ):
            exporter.open_receive_channel("results", int)
            results = await importer.open_send_channel("results", int)
            network.go_down()
            await results.send(1)
            await trio.sleep_forever()
    assert caught.value.unsent == {"results": [1]}
    assert trio.current_time() - start == pytest.approx(20, abs=3)


async def test_importer_connects_when_the_network_comes_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_network() as network, open_pair(network) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        receive = await importer.open_receive_channel("jobs", int)
        network.go_down("end")
        with pytest.raises(ConnectionRefusedError, match="the network is down"):
            await network.connect()
        send.send_nowait(1)
        await trio.sleep(15)
        assert network.attempts > 5
        network.come_up()
        assert await receive.receive() == 1
        assert len(network.lines) == 2


async def test_exporter_restarts(autojump_clock: trio.testing.MockClock) -> None:
    """What the old one had not dealt goes on with the new one."""
    got: list[int] = []

    async with open_network() as network, trio.open_nursery() as nursery:

        async def consume() -> None:
            async with open_importer(network.connect, limits=Limits(restart_timeout=60)) as importer:
                got.extend(await take_all(await importer.open_receive_channel("jobs", int)))

        with pytest.raises(ConnectionRefusedError, match="no exporter"):
            await network.connect()
        async with open_exporter() as old:
            network.exporter = old
            jobs = old.open_send_channel("jobs", int)
            nursery.start_soon(consume)
            for value in range(5):
                await jobs.send(value)
            await old.drain("jobs")
            await old.stop()
        await trio.sleep(10)  # nobody listens: the old one's block is left
        async with open_exporter() as new:
            network.exporter = new
            await put(new.open_send_channel("jobs", int), range(5, 10))
    assert got == [*range(10)]


async def test_exporter_is_killed(autojump_clock: trio.testing.MockClock) -> None:
    """Its lines are cut before it leaves, so no goodbye arrives; its importer is told when another one listens."""

    async def consume(task_status: trio.TaskStatus[None]) -> None:
        with pytest.raises(SessionLostError, match="has lost this session"):
            async with open_importer(network.connect) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                task_status.started()
                await receive.receive()

    async with open_network() as network, trio.open_nursery() as nursery:
        async with open_exporter() as old:
            network.exporter = old
            old.open_send_channel("jobs", int)
            await nursery.start(consume)
            network.go_down()
        async with open_exporter() as new:
            network.exporter = new
            network.come_up()
            await trio.sleep(5)


async def test_leaving_a_network_cuts_its_lines(autojump_clock: trio.testing.MockClock) -> None:
    limits = Limits(resume_timeout=1)

    async def consume(task_status: trio.TaskStatus[None]) -> None:
        with pytest.raises(SessionLostError):
            async with open_importer(network.connect, limits=limits) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                task_status.started()
                await receive.receive()

    async with trio.open_nursery() as nursery, open_exporter(limits=limits) as exporter:
        exporter.open_send_channel("jobs", int)
        async with open_network(exporter) as network:
            await nursery.start(consume)
            network.stall()
        assert exporter.statistics().connections == 0


async def test_importer_sees_no_exporter_whose_block_is_left(autojump_clock: trio.testing.MockClock) -> None:
    async with open_network() as network:
        async with open_exporter() as exporter:
            network.exporter = exporter
        with pytest.raises(ConnectionLostError):
            async with open_importer(network.connect, limits=Limits(resume_timeout=0)) as importer:
                await importer.open_receive_channel("jobs", int)


async def test_two_networks_of_one_exporter(autojump_clock: trio.testing.MockClock) -> None:
    """One of its importers loses its connection for good, its values go to the other."""
    async with (
        open_exporter(limits=Limits(resume_timeout=5)) as exporter,
        open_network(exporter) as first,
        open_network(exporter) as second,
        trio.open_nursery() as nursery,
    ):
        jobs = exporter.open_send_channel("jobs", int)
        held: list[object] = []

        async def hold() -> None:
            with pytest.raises(SessionLostError):
                async with open_importer(first.connect) as importer:
                    receive = await importer.open_receive_channel("jobs", int, window=2, acknowledge="manual")
                    held.append((await receive.receive()).value)
                    await trio.sleep_forever()

        nursery.start_soon(hold)
        await jobs.send(1)
        await quiet()
        first.go_down()
        async with open_importer(second.connect) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            assert await receive.receive() == 1
        assert held == [1]


# What it needs


def test_library_does_not_import_it(tmp_path: Path) -> None:
    """Neither does it import pytest, but in its plugin."""
    program = (
        "import sys, trionetchan; assert 'trionetchan.testing' not in sys.modules; "
        "import trionetchan.testing; assert 'pytest' not in sys.modules and '_pytest' not in sys.modules; "
        "import trionetchan.testing.pytest_plugin; assert 'pytest' in sys.modules and 'pytest_trio' not in sys.modules"
    )
    with child_environment() as env:
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True)
