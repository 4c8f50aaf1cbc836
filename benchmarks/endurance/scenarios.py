"""What comes and goes. Each scenario begins something, ends it, and raises if a promise was broken on the way."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import trio

from trionetchan import (
    ConnectionLostError,
    Importer,
    NoSuchChannelError,
    RemoteValueError,
    SessionLostError,
    TypeMismatchError,
    ValuesDroppedError,
    ValueTypeError,
    WrongDirectionError,
    open_exporter,
    open_importer,
    open_websocket_importer,
)
from trionetchan.testing import open_memory_importer, open_network

from ..children import ROOT
from .jobs import work
from .world import HOST, LIMITS, BrokenPromiseError, Route, World, limits_of

__all__ = ["SCENARIOS", "Scenario", "killed_process"]

Scenario = Callable[[World], Awaitable[None]]


def expect(what: str, got: object, expected: object) -> None:
    """Raises unless they are the same."""
    if got != expected:
        raise BrokenPromiseError(f"{what}: expected {expected!r:.200}, got {got!r:.200}")


async def put(channel: trio.MemorySendChannel[int], values: Iterable[int]) -> None:
    """Sends the values, and closes the end."""
    async with channel:
        for value in values:
            await channel.send(value)


async def check_numbers(channel: trio.MemoryReceiveChannel[int], count: int) -> None:
    """All numbers come, once and in order, and then the end."""
    expected = 0
    async for number in channel:
        expect("the next number", number, expected)
        expected += 1
    expect("how many numbers came", expected, count)


@asynccontextmanager
async def cutting(world: World, route: Route) -> AsyncGenerator[None]:
    """Cuts the connection some times while the block runs."""

    async def cut() -> None:
        for _ in range(world.chance.randrange(4)):
            await trio.sleep(world.chance.uniform(0, 0.2))
            route.cut()
            world.tally["cuts"] += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        yield
        nursery.cancel_scope.cancel()


def fail() -> None:
    """What happens to programs."""
    raise KeyError("the program fails")


# Values


async def stream_down(world: World) -> None:
    """To an importer whose connection is cut: each once, in order."""
    count = world.chance.randrange(2000)
    async with world.name() as name, world.route() as route, trio.open_nursery() as nursery:
        send = world.exporter.open_send_channel(name, int, max_buffer_size=world.chance.choice([0, 10]))
        nursery.start_soon(put, send, range(count))
        async with open_importer(route.connect, limits=LIMITS) as importer:
            receive = await importer.open_receive_channel(name, int, window=world.chance.choice([1, 8, 64, 500]))
            async with cutting(world, route):
                await check_numbers(receive, count)
    world.tally["values"] += count


async def stream_up(world: World) -> None:
    """From an importer whose connection is cut: each once, in order."""
    count = world.chance.randrange(2000)
    async with world.name() as name, world.route() as route, trio.open_nursery() as nursery:
        receive = world.exporter.open_receive_channel(name, int, window=world.chance.choice([1, 8, 64, 500]))
        nursery.start_soon(check_numbers, receive, count)
        async with open_importer(route.connect, limits=LIMITS) as importer:
            send = await importer.open_send_channel(name, int)
            async with cutting(world, route):
                await put(send, range(count))
                await importer.drain(name)
    world.tally["values"] += count


async def counted(world: World) -> None:
    """Imports that end after so many values: not one more is taken, the next import gets the next."""
    counts = [world.chance.randrange(20) for _ in range(4)]
    async with world.name() as name, trio.open_nursery() as nursery:
        nursery.start_soon(put, world.exporter.open_send_channel(name, int), range(sum(counts)))
        got: list[int] = []
        async with open_memory_importer(world.exporter, limits=LIMITS) as importer:
            for count in counts:
                before = len(got)
                got += [number async for number in await importer.open_receive_channel(name, int, count=count)]
                expect("values of a counted import", len(got) - before, count)
        expect("values of counted imports", got, [*range(sum(counts))])
    world.tally["counted imports"] += len(counts)


async def large(world: World) -> None:
    """Large values, in both directions, over a connection that is cut."""
    value = world.chance.randbytes(world.chance.randrange(300_000))
    async with world.name() as name, world.route(slices=False) as route, trio.open_nursery() as nursery:
        send = world.exporter.open_send_channel(name, bytes)

        async def put_large() -> None:
            async with send:
                for _ in range(4):
                    await send.send(value)

        nursery.start_soon(put_large)
        async with open_importer(route.connect, limits=LIMITS) as importer:
            receive = await importer.open_receive_channel(name, bytes, window=2)
            async with cutting(world, route):
                expect("large values", [came == value async for came in receive], [True] * 4)
    world.tally["values"] += 4


async def websocket(world: World) -> None:
    """The same over WebSocket, both ways."""
    if not world.websocket_port:
        return
    async with world.name() as down, world.name() as up, trio.open_nursery() as nursery:
        nursery.start_soon(put, world.exporter.open_send_channel(down, int), range(300))
        nursery.start_soon(check_numbers, world.exporter.open_receive_channel(up, int), 300)
        async with open_websocket_importer(f"ws://{HOST}:{world.websocket_port}/", limits=LIMITS) as importer:
            nursery.start_soon(put, await importer.open_send_channel(up, int), range(300))
            await check_numbers(await importer.open_receive_channel(down, int), 300)
            await importer.drain(up)
    world.tally["values"] += 600


# Workers


async def worker(world: World) -> None:
    """A worker that rejects jobs, whose connection is cut, and who leaves, is cancelled, or fails."""
    async with world.route() as route:
        ending = world.chance.randrange(3)
        try:
            with trio.move_on_after(world.chance.uniform(0.05, 1)):
                async with open_importer(route.connect, limits=limits_of(1)) as importer, cutting(world, route):
                    if ending == 0:
                        await work(importer, world.chance, rejects=True)
                    with trio.move_on_after(world.chance.uniform(0, 0.5)):
                        await work(importer, world.chance, rejects=True)
                    if ending == 1:
                        fail()
        except* (KeyError, ConnectionLostError, trio.BrokenResourceError):
            world.tally["workers that failed"] += 1
    world.tally["workers"] += 1


async def killed_process(world: World) -> None:
    """A worker in a process of its own, which is killed with SIGKILL."""
    command = [sys.executable, "-m", "benchmarks.endurance.worker", str(world.port), str(world.chance.random())[2:8]]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        async with process.stdout:
            await process.stdout.receive_some()
            await trio.sleep(world.chance.uniform(0, 1))
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
    world.tally["killed processes"] += 1


# Names


async def hung_up(world: World) -> None:
    """Either side hangs up in the middle of it, and the name is used again at once."""
    async with (
        world.name() as name,
        world.route() as route,
        open_importer(route.connect, limits=LIMITS) as importer,
    ):
        for _ in range(world.chance.randrange(1, 5)):
            await _hang_up_once(world, importer, name)
    world.tally["hang-ups"] += 1


async def _hang_up_once(world: World, importer: Importer, name: str) -> None:
    async with trio.open_nursery() as nursery:
        send = world.exporter.open_send_channel(name, int)

        async def feed() -> None:
            with suppress(trio.BrokenResourceError):
                await put(send, range(10**9))

        nursery.start_soon(feed)
        receive = await importer.open_receive_channel(name, int)
        for expected in range(world.chance.randrange(50)):
            expect("a value before the hang-up", await receive.receive(), expected)
        if world.chance.random() < 0.5:
            world.exporter.hangup(name)
        else:
            importer.hangup(name)
            world.exporter.hangup(name)
        async for _ in receive:
            pass


async def cancelled_import(world: World) -> None:
    """Imports that are cancelled while they ask leave nothing behind, and lose nothing."""
    async with world.name() as name, world.route() as route, trio.open_nursery() as nursery:
        nursery.start_soon(put, world.exporter.open_send_channel(name, int), range(100))
        async with open_importer(route.connect, limits=LIMITS) as importer:
            for _ in range(5):
                with trio.move_on_after(world.chance.uniform(0, 0.002)):
                    await importer.open_receive_channel(name, int)
                    importer.hangup(name)
            await check_numbers(await importer.open_receive_channel(name, int), 100)
    world.tally["cancelled imports"] += 5


async def waited_for(world: World) -> None:
    """Drain and sync return when all has arrived; what is dropped meanwhile is told."""
    async with world.name() as name, open_memory_importer(world.exporter, limits=LIMITS) as importer:
        send = world.exporter.open_send_channel(name, int, max_buffer_size=100)
        for number in range(50):
            send.send_nowait(number)
        with suppress(trio.TooSlowError):
            await world.exporter.drain(name, timeout=0.001)
            raise BrokenPromiseError("a drain returned, and nobody had taken anything")
        receive = await importer.open_receive_channel(name, int, max_buffer_size=100)
        await world.exporter.drain(name)
        expect("values that are there after a drain", receive.statistics().current_buffer_used, 50)
        await world.exporter.sync(name)
        receive.close()
        send.send_nowait(50)
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                with suppress(ValuesDroppedError):
                    await world.exporter.drain(name)

            nursery.start_soon(drain)
            await trio.sleep(0.001)
            world.exporter.hangup(name)
    world.tally["drains"] += 2


# Mistakes


async def refused(world: World) -> None:
    """Imports and values that do not fit are refused, one by one, and the rest goes on."""
    async with world.name() as name, world.route() as route:
        receive = world.exporter.open_receive_channel(name, int, importers=None)
        async with open_importer(route.connect, limits=LIMITS) as importer:
            for error, wrong in (
                (NoSuchChannelError, importer.open_send_channel("no such channel", int)),
                (WrongDirectionError, importer.open_receive_channel(name, int)),
                (TypeMismatchError, importer.open_send_channel(name, str)),
            ):
                with suppress(error):
                    await wrong
                    raise BrokenPromiseError(f"expected {error.__name__}, got an import")
            with await importer.open_send_channel(name) as untyped:
                with suppress(trio.BrokenResourceError):
                    await untyped.send("no number")
                expect("the error", type(await importer.errors.receive()), RemoteValueError)
            async with trio.open_nursery() as nursery, await importer.open_send_channel(name, int) as send:
                nursery.start_soon(send.send, 1)
                expect("the value that fits", await receive.receive(), 1)
    world.tally["refusals"] += 4


async def own_mistake(world: World) -> None:
    """A value that does not fit its own type ends the block of its sender."""
    async with world.name() as name:
        world.exporter.open_receive_channel(name, int, importers=None)
        with suppress(ValueTypeError, trio.BrokenResourceError):
            async with open_memory_importer(world.exporter, limits=LIMITS) as importer:
                send: Any = await importer.open_send_channel(name, int)
                await send.send("no number")
                await trio.sleep(10)
                raise BrokenPromiseError("a value that does not fit was accepted")
    world.tally["mistakes"] += 1


async def garbage(world: World) -> None:
    """Somebody who does not speak the protocol, or speaks it wrongly, costs nobody else anything."""
    async with await trio.open_tcp_stream(HOST, world.port) as stream:
        begin = world.chance.choice([b"", b"GET / HTTP/1.1\r\n\r\n", _hello_of_nobody(world)])
        with suppress(trio.BrokenResourceError):
            await stream.send_all(begin + world.chance.randbytes(world.chance.randrange(300)))
            if world.chance.random() < 0.8:
                with trio.move_on_after(world.chance.uniform(0, 2)):
                    async for _ in stream:
                        pass
    world.tally["garbage"] += 1


def _hello_of_nobody(world: World) -> bytes:
    # The magic, and the length of a frame.
    return b"\xd9\xd9\xf7" + struct.pack(">I", world.chance.randrange(2**32))


# Blocks


async def lost_session(world: World) -> None:
    """The network stays away for too long: what was not delivered is told, and all of it."""
    async with world.name() as name, world.route(in_memory=True) as route:
        network = cast("Any", route).network
        receive = world.exporter.open_receive_channel(name, int, importers=None)
        got: list[int] = []
        accepted = 0

        async def collect() -> None:
            got.extend([number async for number in receive])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            try:
                async with open_importer(network.connect, limits=limits_of(0.3)) as importer:
                    send = await importer.open_send_channel(name, int, max_buffer_size=10)
                    down_at = world.chance.randrange(200)
                    while True:
                        if accepted == down_at:
                            network.go_down()
                        await send.send(accepted)
                        accepted += 1
            except SessionLostError as error:
                told = [*error.unconfirmed.get(name, []), *error.unsent.get(name, [])]
            expect("the values that are told", told, [*range(accepted - len(told), accepted)])
            await trio.sleep(0.5)
            world.exporter.hangup(name)
        if got != [*range(len(got))] or len(got) < accepted - len(told):
            raise BrokenPromiseError(
                f"{len(got)} values came of {accepted} ones, and {len(told)} are told to be in doubt"
            )
    world.tally["lost sessions"] += 1


async def restarted(world: World) -> None:
    """An exporter stops, and its importers go on with the next one."""
    count = world.chance.randrange(2, 100)

    async def consume() -> None:
        async with open_importer(network.connect, limits=LIMITS) as importer:
            await check_numbers(await importer.open_receive_channel("jobs", int), count)

    async with open_network() as network, open_exporter(limits=LIMITS) as new, trio.open_nursery() as nursery:
        async with open_exporter(limits=LIMITS) as old:
            network.exporter = old
            jobs = old.open_send_channel("jobs", int)
            nursery.start_soon(consume)
            for number in range(count // 2):
                await jobs.send(number)
            await old.drain("jobs")
            await old.stop()
        network.exporter = new
        await put(new.open_send_channel("jobs", int), range(count // 2, count))
    world.tally["restarts"] += 1


async def crashed(world: World) -> None:
    """An exporter fails, or is gone without a word, and its importers are told."""

    async def consume(task_status: trio.TaskStatus[None]) -> None:
        with suppress(ConnectionLostError):
            async with open_importer(network.connect, limits=limits_of(0.2)) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                task_status.started()
                await receive.receive()
                raise BrokenPromiseError("a value that nobody has sent")

    async with open_network() as network, trio.open_nursery() as nursery:
        with suppress(KeyError):
            async with open_exporter(limits=LIMITS) as exporter:
                network.exporter = exporter
                exporter.open_send_channel("jobs", int)
                await nursery.start(consume)
                if world.chance.random() < 0.5:
                    network.go_down()
                raise KeyError("the exporter fails")
    world.tally["crashes"] += 1


SCENARIOS: dict[Scenario, int] = {
    stream_down: 4,
    stream_up: 4,
    counted: 3,
    large: 1,
    websocket: 1,
    worker: 4,
    hung_up: 3,
    cancelled_import: 3,
    waited_for: 2,
    refused: 2,
    own_mistake: 1,
    garbage: 2,
    lost_session: 1,
    restarted: 2,
    crashed: 2,
}
"""Each with how often it is chosen."""
