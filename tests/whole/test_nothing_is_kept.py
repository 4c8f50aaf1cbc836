"""An exporter and an importer that live long, and channels that do not: of each way in which a channel ends, nothing is
kept. All objects of the library are counted after some times, and after more."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, cast

import pytest
import trio
import trio.testing
from support import put, take_all

import trionetchan
from trionetchan import Exporter, Importer, Limits, NoSuchChannelError, open_exporter
from trionetchan.testing import Network, open_memory_importer, open_network, open_pair

quiet = trio.testing.wait_all_tasks_blocked
LIMITS = Limits(max_useless_frames=10**6, max_refusals=10**6)  # what honest peers do for long is done at once here
FIRST, ALL = 4, 10  # times

Way = Callable[[Exporter, Importer, Network], Awaitable[None]]


@pytest.fixture(autouse=True)
def _unheard() -> Generator[None]:
    """pytest keeps what is logged, and the errors in it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def own_objects() -> Counter[str]:
    for _ in range(3):
        gc.collect()
    kinds = cast("Iterable[type[object]]", map(type, gc.get_objects()))
    modules = ((kind, getattr(kind, "__module__", "")) for kind in kinds)
    return Counter(
        f"{module}.{kind.__qualname__}"
        for kind, module in modules
        if isinstance(module, str) and module.startswith(trionetchan.__name__)
    )


def free(exporter: Exporter) -> None:
    """Takes the name away, if it is there still."""
    with suppress(NoSuchChannelError):
        exporter.hangup("jobs")


def read_errors(importer: Importer) -> int:
    count = 0
    with suppress(trio.WouldBlock):
        while True:
            importer.errors.receive_nowait()
            count += 1
    return count


async def finished(exporter: Exporter, importer: Importer, network: Network) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, exporter.open_send_channel("jobs", int), range(3))
        assert await take_all(await importer.open_receive_channel("jobs", int)) == [0, 1, 2]


async def finished_and_hung_up(exporter: Exporter, importer: Importer, network: Network) -> None:
    await finished(exporter, importer, network)
    await quiet()
    free(exporter)


async def finished_by_the_importer(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_receive_channel("jobs", int)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, await importer.open_send_channel("jobs", int), range(3))
        assert await take_all(jobs) == [0, 1, 2]


async def receiver_closed(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
    received = await importer.open_receive_channel("jobs", int)
    for number in range(3):
        jobs.send_nowait(number)
    await received.receive()
    received.close()
    await trio.sleep(60)  # it is noticed by then
    assert exporter.statistics().channels["jobs"].peers == 0
    free(exporter)


async def receiver_of_the_exporter_closed(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_receive_channel("jobs", int)
    sent = await importer.open_send_channel("jobs", int)
    jobs.close()
    with pytest.raises(trio.BrokenResourceError):
        for number in range(1000):
            await sent.send(number)
    sent.close()
    await trio.sleep(60)
    assert read_errors(importer) == 1
    free(exporter)


async def hung_up_by_the_importer(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
    received = await importer.open_receive_channel("jobs", int)
    jobs.send_nowait(1)
    await received.receive()
    importer.hangup("jobs")
    await quiet()
    free(exporter)


async def hung_up_by_the_exporter(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_receive_channel("jobs", int)
    sent = await importer.open_send_channel("jobs", int)
    await sent.send(1)
    await jobs.receive()
    exporter.hangup("jobs")
    await quiet()
    assert read_errors(importer) == 1
    sent.close()


async def counted(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_receive_channel("jobs", int, importers=None)
    sent = await importer.open_send_channel("jobs", int, count=2)
    for number in range(2):
        await sent.send(number)
        assert await jobs.receive() == number
    await quiet()
    sent.close()
    free(exporter)


async def settled_by_the_program(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
    received = await importer.open_receive_channel("jobs", int, acknowledge="manual", window=3)
    for number in range(5):
        jobs.send_nowait(number)
    await (await received.receive()).ack()
    await (await received.receive()).reject()
    await received.receive()  # and never settled
    importer.hangup("jobs")
    await quiet()
    free(exporter)


async def dead_letters(exporter: Exporter, importer: Importer, network: Network) -> None:
    send_dead, dead = trio.open_memory_channel[int](10)
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=1, dead_letters=send_dead)
    received = await importer.open_receive_channel("jobs", int, acknowledge="manual")
    jobs.send_nowait(1)
    for _ in range(LIMITS.max_redeliveries + 1):
        await (await received.receive()).reject()
    assert await dead.receive() == 1
    jobs.close()
    assert await take_all(received) == []
    await quiet()
    free(exporter)


async def cancelled_while_it_asked(exporter: Exporter, importer: Importer, network: Network) -> None:
    exporter.open_send_channel("jobs", int)
    network.stall()
    with trio.move_on_after(1) as patience:
        await importer.open_receive_channel("jobs", int)
    assert patience.cancelled_caught
    network.go_on()
    await trio.sleep(1)
    free(exporter)


async def cut(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
    received = await importer.open_receive_channel("jobs", int)
    jobs.send_nowait(1)
    network.cut()
    assert await received.receive() == 1
    network.lines.clear()  # the test's own memory of them
    jobs.close()
    assert await take_all(received) == []


async def refused(exporter: Exporter, importer: Importer, network: Network) -> None:
    with pytest.raises(NoSuchChannelError):
        await importer.open_send_channel("none", int)
    exporter.open_receive_channel("jobs", int, importers=None)
    sent: trio.MemorySendChannel[Any] = await importer.open_send_channel("jobs")
    with suppress(trio.BrokenResourceError):
        await sent.send("no number")
    await importer.errors.receive()
    sent.close()
    await quiet()
    free(exporter)


async def waited_for(exporter: Exporter, importer: Importer, network: Network) -> None:
    jobs = exporter.open_send_channel("jobs", int, max_buffer_size=5)
    received = await importer.open_receive_channel("jobs", int)
    jobs.send_nowait(1)
    with pytest.raises(trio.TooSlowError):
        await exporter.drain("jobs", timeout=1)
    await received.receive()
    await exporter.drain()
    await exporter.sync("jobs")
    importer.hangup("jobs")
    await quiet()
    free(exporter)


WAYS = [
    finished,
    finished_and_hung_up,
    finished_by_the_importer,
    receiver_closed,
    receiver_of_the_exporter_closed,
    hung_up_by_the_importer,
    hung_up_by_the_exporter,
    counted,
    settled_by_the_program,
    dead_letters,
    cancelled_while_it_asked,
    cut,
    refused,
    waited_for,
]


async def check_flat(once: Callable[[], Awaitable[None]]) -> None:
    counts: list[Counter[str]] = []
    for number in range(1, ALL + 1):
        await once()
        await trio.sleep(1)  # the last acknowledgements are written
        await quiet()
        if number in (FIRST, ALL):
            counts.append(own_objects())
    assert counts[1] - counts[0] == Counter()


@pytest.mark.parametrize("way", WAYS)
async def test_of_a_channel_nothing_is_kept(autojump_clock: trio.testing.MockClock, way: Way) -> None:
    async with open_network() as network, open_pair(network, limits=LIMITS) as (exporter, importer):
        await check_flat(lambda: way(exporter, importer, network))


@pytest.mark.parametrize("way", [way for way in WAYS if way not in (cut, cancelled_while_it_asked)])
async def test_of_an_importer_nothing_is_kept(autojump_clock: trio.testing.MockClock, way: Way) -> None:
    """Each time another importer."""
    async with open_network() as unused, open_exporter(limits=LIMITS) as exporter:

        async def once() -> None:
            async with open_memory_importer(exporter, limits=LIMITS) as importer:
                await way(exporter, importer, unused)

        await check_flat(once)
