"""Importer and exporter survive each thing that a network does to a connection, over TCP and over TLS, as a script says
it or at a test's command, in both directions: every value comes once, in order."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trustme
from proxy import Fault, Plan, Proxy, Way, open_proxy
from support import put, serve_tcp

from trionetchan import Exporter, Importer, Limits, open_exporter, open_tcp_importer

LIMITS = Limits(keepalive=0.2, keepalive_timeout=0.2, handshake_timeout=2, resume_timeout=60)
PATIENT = Limits(keepalive=5, keepalive_timeout=5, resume_timeout=60)
COUNT = 600
VALUES = [number.to_bytes(2, "big") * (1 + number % 100) for number in range(COUNT)]
MIDDLE = 25_000  # bytes of each direction by which about half of it has come


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def through_proxy(
    plan: Callable[[int], Plan], authority: trustme.CA, medium: str, limits: Limits = LIMITS
) -> AsyncGenerator[tuple[Exporter, Importer, Proxy]]:
    server, client = None, None
    if medium == "TLS":
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("exporter.example").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
        client = ssl.create_default_context()
        authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    async with trio.open_nursery() as nursery, open_exporter(limits=limits) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=server)
        async with (
            open_proxy(port, plan) as proxy,
            open_tcp_importer(
                "127.0.0.1", proxy.port, ssl_context=client, server_hostname="exporter.example", limits=limits
            ) as importer,
        ):
            yield exporter, importer, proxy
        nursery.cancel_scope.cancel()


async def exchange(
    exporter: Exporter, importer: Importer, misbehave: Callable[[], Awaitable[None]] | None = None
) -> None:
    """All values in both directions; `misbehave` is called when about a third has come in each."""
    down, up = exporter.open_send_channel("down", bytes), exporter.open_receive_channel("up", bytes)
    from_down = await importer.open_receive_channel("down", bytes)
    to_up = await importer.open_send_channel("up", bytes)
    under_way = {name: trio.Event() for name in ("down", "up")}

    async def take(name: str, channel: trio.MemoryReceiveChannel[bytes]) -> None:
        got: list[bytes] = []
        async for value in channel:
            got.append(value)
            if len(got) == COUNT // 3:
                under_way[name].set()
        assert got == VALUES

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "down", from_down)
        nursery.start_soon(take, "up", up)
        nursery.start_soon(put, down, VALUES)
        nursery.start_soon(put, to_up, VALUES)
        for event in under_way.values():
            await event.wait()
        if misbehave is not None:
            await misbehave()


def check(exporter: Exporter, importer: Importer, proxy: Proxy, *, breaks: bool) -> None:
    assert (importer.statistics().resumed > 0) == (proxy.accepted > 1) == breaks
    assert exporter.statistics().dropped == 0
    assert sum(channel.redelivered for channel in exporter.statistics().channels.values()) == 0


each_medium = pytest.mark.parametrize("medium", ["TCP", "TLS"])


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("way", Way)
@each_medium
async def test_break_by_a_script(authority: trustme.CA, medium: str, way: Way, fault: Fault) -> None:
    """The first connection breaks in the middle, the second in what is said first, the third goes on."""
    breaks = [Plan(fault=fault, way=way, after=MIDDLE), Plan(fault=fault, way=way, after=100)]

    def plan(number: int) -> Plan:
        return breaks[number] if number < len(breaks) else Plan()

    async with through_proxy(plan, authority, medium) as (exporter, importer, proxy):
        await exchange(exporter, importer)
        check(exporter, importer, proxy, breaks=True)
        assert proxy.accepted >= 3


@pytest.mark.parametrize("fault", Fault)
@each_medium
async def test_break_by_command(authority: trustme.CA, medium: str, fault: Fault) -> None:
    async def misbehave() -> None:
        proxy.harm(fault)

    async with through_proxy(lambda _: Plan(), authority, medium) as (exporter, importer, proxy):
        await exchange(exporter, importer, misbehave)
        check(exporter, importer, proxy, breaks=True)


@pytest.mark.parametrize("ways", [(Way.UP,), (Way.DOWN,), (Way.UP, Way.DOWN)])
@each_medium
async def test_held_for_long(authority: trustme.CA, medium: str, ways: tuple[Way, ...]) -> None:
    """Nothing goes on in these directions for longer than anybody waits; and then it does, on a connection that both
    sides have given up."""
    async with through_proxy(lambda _: Plan(), authority, medium) as (exporter, importer, proxy):

        async def misbehave() -> None:
            proxy.hold(*ways)
            while proxy.accepted == 1:  # noqa: ASYNC110
                await trio.sleep(0.01)
            proxy.let_go()

        await exchange(exporter, importer, misbehave)
        check(exporter, importer, proxy, breaks=True)


POOR = {
    "slices": Plan(slice_size=30),
    "delays": Plan(slice_size=3000, delay=0.005),
    "rate": Plan(rate=150_000),
}


@pytest.mark.parametrize("poor", POOR)
@pytest.mark.parametrize("by_command", [False, True])
@each_medium
async def test_poor_connection(authority: trustme.CA, medium: str, by_command: bool, poor: str) -> None:
    """It does not break by that."""

    async def misbehave() -> None:
        if by_command:
            proxy.carry_as(POOR[poor])

    plan = Plan() if by_command else POOR[poor]
    async with through_proxy(lambda _: plan, authority, medium, PATIENT) as (exporter, importer, proxy):
        await exchange(exporter, importer, misbehave)
        check(exporter, importer, proxy, breaks=False)
