"""Real processes over TCP: what drain, sync, hang-up and the end of a process mean to the other side."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from support import Peer, peer, put, serve_tcp, take, take_all, until

from trionetchan import ConnectionLostError, Exporter, Importer, Limits, open_exporter, open_tcp_importer


@asynccontextmanager
async def exporter_process(*channels: str) -> AsyncGenerator[tuple[Peer, int]]:
    async with peer("side", "exporter", 0, *channels) as process:
        port = int(await process.line())
        assert await process.line() == "ready"
        yield process, port


@asynccontextmanager
async def importer_process(port: int, *channels: str) -> AsyncGenerator[Peer]:
    async with peer("side", "importer", port, *channels) as process:
        assert await process.line() == "ready"
        yield process


async def ask(process: Peer, command: str) -> str:
    """Has the other process do something, and gives its answer."""
    await process.tell(f"0 {command}")
    line = await process.line()
    assert line.startswith("0 "), line
    return line[2:]


@asynccontextmanager
async def served(nursery: trio.Nursery, limits: Limits | None = None) -> AsyncGenerator[tuple[Exporter, int]]:
    async with open_exporter(limits=limits or Limits()) as exporter:
        yield exporter, await serve_tcp(nursery, exporter)


# Drain and sync


@pytest.mark.promise(1, 7, 35)
async def test_exporters_drain_waits_for_the_other_process(nursery: trio.Nursery) -> None:
    """It returns when the last value was taken there, and not before: buffered, on the way, and in a blocked send."""
    async with served(nursery) as (exporter, port), AsyncExitStack() as stack:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=5)
        process = await stack.enter_async_context(importer_process(port, "jobs:receive:3"))
        drained = trio.Event()

        async def drain() -> None:
            await exporter.drain("jobs")
            drained.set()

        async with trio.open_nursery() as inner:
            inner.start_soon(put, send, range(12))
            await until(lambda: exporter.statistics().channels["jobs"].sent >= 3)
            inner.start_soon(drain)
            for value in range(12):
                assert not drained.is_set()
                assert await ask(process, "receive jobs") == str(value)
        assert exporter.statistics().channels["jobs"].acknowledged == 12


@pytest.mark.promise(37)
async def test_exporters_sync_waits_for_what_had_been_handed_over(nursery: trio.Nursery) -> None:
    async with served(nursery) as (exporter, port), AsyncExitStack() as stack:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        process = await stack.enter_async_context(importer_process(port, "jobs:receive:3"))
        for value in range(12):
            send.send_nowait(value)
        await until(lambda: exporter.statistics().channels["jobs"].sent == 3)
        synced = trio.Event()

        async def sync() -> None:
            await exporter.sync()
            synced.set()

        async with trio.open_nursery() as inner:
            inner.start_soon(sync)
            for value in range(3):
                assert not synced.is_set()
                assert await ask(process, "receive jobs") == str(value)
        assert exporter.statistics().channels["jobs"].acknowledged < 12
        assert await ask(process, "receive jobs 9") == str(list(range(3, 12)))
        await exporter.drain()


@pytest.mark.parametrize("call", ["drain", "sync"])
@pytest.mark.promise(35, 37)
async def test_importers_drain_and_sync_wait_for_the_other_process(call: str) -> None:
    async with AsyncExitStack() as stack:
        process, port = await stack.enter_async_context(exporter_process("results:receive:4"))
        importer = await stack.enter_async_context(open_tcp_importer("127.0.0.1", port))
        send = await importer.open_send_channel("results", int, max_buffer_size=10)
        for value in range(10):
            send.send_nowait(value)
        await until(lambda: importer.statistics().channels["results"].sent == 4)
        done = trio.Event()

        async def wait(importer: Importer) -> None:
            await getattr(importer, call)("results")
            done.set()

        async with trio.open_nursery() as inner:
            inner.start_soon(wait, importer)
            await trio.lowlevel.checkpoint()
            for value in range(10 if call == "drain" else 4):
                assert not done.is_set()
                assert await ask(process, "receive results") == str(value)
        if call == "sync":
            assert await ask(process, "receive results 6") == "[4, 5, 6, 7, 8, 9]"
        send.close()
        assert await ask(process, "all results") == "[]"


# Hang-up of all four kinds


@pytest.mark.promise(32, 34)
async def test_hangup_of_a_sending_export(nursery: trio.Nursery) -> None:
    """The receiver over there sees an end; the other channel goes on; the name can be exported and imported anew."""
    async with served(nursery) as (exporter, port):
        jobs, other = exporter.open_send_channel("jobs", int), exporter.open_send_channel("other", int)
        async with importer_process(port, "jobs:receive:0", "other:receive:0") as process:
            await jobs.send(1)
            assert await ask(process, "receive jobs") == "1"
            exporter.hangup("jobs")
            assert await ask(process, "receive jobs") == "EndOfChannel"
            with pytest.raises(trio.BrokenResourceError):
                await jobs.send(2)
            await other.send(3)
            assert await ask(process, "receive other") == "3"
            again = exporter.open_send_channel("jobs", int)
            async with importer_process(port, "jobs:receive:0") as second:
                await again.send(4)
                assert await ask(second, "receive jobs") == "4"


@pytest.mark.promise(21, 32, 34)
async def test_hangup_of_a_receiving_export(nursery: trio.Nursery) -> None:
    """The sender over there breaks, and its `errors` says why."""
    async with served(nursery) as (exporter, port):
        results, other = exporter.open_receive_channel("results", int), exporter.open_receive_channel("other", int)
        async with importer_process(port, "results:send:0", "other:send:0") as process:
            assert await ask(process, "send results 1") == "sent"
            assert await results.receive() == 1
            exporter.hangup("results")
            assert await take_all(results) == []
            assert await ask(process, "error") == "results"
            assert await ask(process, "send results 2") == "BrokenResourceError"
            assert await ask(process, "send other 3") == "sent"
            assert await other.receive() == 3


@pytest.mark.promise(32, 33, 34)
async def test_hangup_of_a_receiving_import(nursery: trio.Nursery) -> None:
    """What it had not taken returns to the exporter, and goes to the next importer in order."""
    async with served(nursery) as (exporter, port):
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with importer_process(port, "jobs:receive:5") as process:
            for value in range(10):
                jobs.send_nowait(value)
            assert await ask(process, "receive jobs 2") == "[0, 1]"
            assert await ask(process, "hangup jobs") == "hung up"
            assert await ask(process, "receive jobs") == "EndOfChannel"
            jobs.close()
            async with importer_process(port, "jobs:receive:0") as second:
                assert await ask(second, "all jobs") == str(list(range(2, 10)))


@pytest.mark.promise(32, 33, 34)
async def test_hangup_of_a_sending_import(nursery: trio.Nursery) -> None:
    """The receiver in the exporter sees an end; the importer's other channel goes on."""
    async with served(nursery) as (exporter, port):
        results, other = exporter.open_receive_channel("results", int), exporter.open_receive_channel("other", int)
        async with importer_process(port, "results:send:0", "other:send:0") as process:
            assert await ask(process, "send results 1") == "sent"
            assert await results.receive() == 1
            assert await ask(process, "hangup results") == "hung up"
            assert await take_all(results) == []
            assert await ask(process, "send results 2") == "BrokenResourceError"
            assert await ask(process, "send other 3") == "sent"
            assert await other.receive() == 3


# Processes that vanish


@pytest.mark.promise(10, 28, 47)
@pytest.mark.parametrize("window", [1, 5, 64])
async def test_importer_that_is_killed(nursery: trio.Nursery, window: int) -> None:
    """Nothing is lost; what the next importer gets twice was unacknowledged; nothing raises here."""
    async with served(nursery) as (exporter, port):
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with importer_process(port, f"jobs:receive:{window}") as process:
            for value in range(20):
                jobs.send_nowait(value)
            first = await ask(process, "receive jobs 5")
            process.process.send_signal(signal.SIGKILL)
            await process.process.wait()
        assert first == "[0, 1, 2, 3, 4]"
        await until(lambda: exporter.statistics().channels["jobs"].peers == 0)
        acknowledged = exporter.statistics().channels["jobs"].acknowledged
        jobs.close()
        async with importer_process(port, "jobs:receive:0") as second:
            rest = await ask(second, "all jobs")
        assert rest == str(list(range(acknowledged, 20)))
        assert acknowledged <= 5


@pytest.mark.promise(23, 31, 47)
async def test_sending_importer_that_is_killed(nursery: trio.Nursery) -> None:
    """What arrived is delivered, and there is no end: another importer takes over its share."""
    async with served(nursery) as (exporter, port):
        results = exporter.open_receive_channel("results", int)
        async with importer_process(port, "results:send:0") as process:
            assert await ask(process, "send results 1 2 3") == "sent"
            assert await take(results, 3) == [1, 2, 3]
            process.process.send_signal(signal.SIGKILL)
            await process.process.wait()
        await until(lambda: exporter.statistics().connections == 0)
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()
        async with importer_process(port, "results:send:0") as second:
            assert await ask(second, "send results 4") == "sent"
            assert await results.receive() == 4
            assert await ask(second, "close results") == "closed"
            assert await take_all(results) == []


@pytest.mark.promise(28, 31)
async def test_exporter_that_is_killed() -> None:
    """The importer fails: no receiver takes the broken stream for a complete one, no sender and no drain hangs."""
    async with exporter_process("jobs:send:0", "results:receive:1") as (process, port):
        ended: list[str] = []

        async def read(receive: trio.MemoryReceiveChannel[int]) -> None:
            try:
                await receive.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError) as error:
                ended.append(type(error).__name__)

        async with trio.open_nursery() as outside:
            with pytest.raises(ConnectionLostError):
                async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
                    receive = await importer.open_receive_channel("jobs", int)
                    send = await importer.open_send_channel("results", int)
                    assert await ask(process, "send jobs 1") == "sent"
                    assert await receive.receive() == 1
                    outside.start_soon(read, receive)
                    await send.send(1)
                    await until(lambda: importer.statistics().channels["results"].sent == 1)
                    process.process.send_signal(signal.SIGKILL)
                    await importer.drain()
        assert ended == ["ClosedResourceError"]


@pytest.mark.promise(27)
async def test_exporter_process_that_leaves() -> None:
    """With an unfinished channel the importer fails; with the channel closed before, it sees an end."""
    async with exporter_process("jobs:send:0") as (process, port):
        with pytest.raises(ConnectionLostError):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                await process.tell("0 leave")
                await receive.receive()
        assert await process.line() == "left"
    async with exporter_process("jobs:send:0") as (process, port):
        async with open_tcp_importer("127.0.0.1", port) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            assert await ask(process, "close jobs") == "closed"
            await process.tell("0 leave")
            assert await take_all(receive) == []
        assert await process.line() == "left"


async def test_importer_process_sees_a_lost_connection(nursery: trio.Nursery) -> None:
    """The same seen from over there: its block raises `ConnectionLostError`."""
    async with AsyncExitStack() as stack:
        async with served(nursery) as (exporter, port):
            exporter.open_send_channel("jobs", int)
            process = await stack.enter_async_context(importer_process(port, "jobs:receive:0"))
        assert await process.line() == "lost"
        assert await process.line() == "left"


@pytest.mark.promise(46)
async def test_importer_that_is_stopped_is_dropped(nursery: trio.Nursery) -> None:
    """SIGSTOP: the connection is open, and nothing comes. Its values go to another one."""
    async with served(nursery, Limits(keepalive=0.2, keepalive_timeout=0.6)) as (exporter, port):
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=20)
        async with importer_process(port, "jobs:receive:5") as process:
            for value in range(10):
                jobs.send_nowait(value)
            assert await ask(process, "receive jobs 3") == "[0, 1, 2]"
            process.process.send_signal(signal.SIGSTOP)
            await until(lambda: exporter.statistics().channels["jobs"].peers == 0)
            acknowledged = exporter.statistics().channels["jobs"].acknowledged
            jobs.close()
            async with open_tcp_importer("127.0.0.1", port) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                assert await take_all(receive) == list(range(acknowledged, 10))


# Load


@pytest.mark.promise(44)
async def test_full_pipes_in_both_directions_between_processes() -> None:
    """Both sides send, and neither takes anything at first: no deadlock once one begins to take."""
    count, size = 60, 400_000
    async with AsyncExitStack() as stack:
        one, port = await stack.enter_async_context(exporter_process("bytes-down:send:0", "bytes-up:receive:0"))
        two = await stack.enter_async_context(importer_process(port, "bytes-down:receive:0", "bytes-up:send:0"))
        await one.tell(f"flood flood bytes-down {count} {size}")
        await two.tell(f"flood flood bytes-up {count} {size}")
        await one.tell(f"check check bytes-up {count}")
        await two.tell(f"check check bytes-down {count}")
        for process in (one, two):
            assert {await process.line(), await process.line()} == {"flood sent", "check True"}
        assert await ask(one, "drain") == "drain"
        assert await ask(two, "drain") == "drain"


@pytest.mark.promise(44)
async def test_pipes_that_no_one_reads_leave_another_channel_alone(nursery: trio.Nursery) -> None:
    async with served(nursery) as (exporter, port), AsyncExitStack() as stack:
        exporter.open_receive_channel("bytes-up", bytes)
        down, jobs = exporter.open_send_channel("bytes-down", bytes), exporter.open_send_channel("jobs", int)
        process = await stack.enter_async_context(
            importer_process(port, "bytes-down:receive:0", "bytes-up:send:0", "jobs:receive:0")
        )
        async with trio.open_nursery() as inner:

            async def flood() -> None:
                while True:
                    await down.send(bytes(400_000))

            inner.start_soon(flood)
            await process.tell("flood flood bytes-up 1000 400000")
            for value in range(20):
                await jobs.send(value)
                assert await ask(process, "receive jobs") == str(value)
            inner.cancel_scope.cancel()
