"""Connections are cut under full load, in both directions, again and again; nothing is lost, nothing comes twice, and
every channel keeps its order.

`TRIONETCHAN_EXAMPLES` is about how many cuts over TCP there are, instead of 60, and how many runs in memory.
"""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
import trustme
from proxy import Fault, Network, Plan, Way, open_proxy
from scripted import seeded
from support import serve_tcp

from trionetchan import Exporter, Importer, Limits, open_exporter, open_importer, open_tcp_importer

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES") or "0")
CUTS = 10  # of one run
RUNS = range(max(3, -(-EXAMPLES // (2 * CUTS))))  # with TLS, and as many without
RUNS_IN_MEMORY = range(max(30, EXAMPLES))
LARGE = 300_000  # bytes
PATIENCE = 60.0  # seconds after which a run counts as hung

# Stalls are short, so that there can be many.
LIMITS = Limits(keepalive=0.1, keepalive_timeout=0.1, handshake_timeout=0.5, resume_timeout=30)


@attrs.frozen
class Shape:
    """One channel of the load."""

    name: str
    up: bool
    window: int
    buffer: int
    large_every: int
    """One of so many values is a large one; 0: none."""


SHAPES = [
    Shape("down integers", False, 64, 0, 0),
    Shape("down one by one", False, 1, 0, 0),
    Shape("down mixed", False, 16, 4, 20),
    Shape("down wide", False, 1024, 1024, 0),
    Shape("up integers", True, 64, 0, 0),
    Shape("up one by one", True, 1, 0, 0),
    Shape("up mixed", True, 16, 4, 20),
    Shape("up wide", True, 1024, 1024, 0),
]


def value_of(number: int, large_every: int) -> bytes:
    """The value of this number: its size and all of its bytes follow from it."""
    large = large_every and number % large_every == large_every - 1
    head = number.to_bytes(4, "big")
    return head * (LARGE // 4) if large else head + bytes(number % 50)


@attrs.define
class Load:
    """Values in all channels, both ways, as fast as they go, until `enough` is set."""

    shapes: list[Shape]
    enough: trio.Event = attrs.field(factory=trio.Event)
    sent: dict[str, int] = attrs.field(factory=dict[str, int])
    received: dict[str, int] = attrs.field(factory=dict[str, int])

    async def run(self, exporter: Exporter, importer: Importer) -> None:
        """Returns when all of it has arrived, in order; fails at the first value that is not the next one."""
        async with trio.open_nursery() as nursery:
            for shape in self.shapes:
                if shape.up:
                    receive = exporter.open_receive_channel(
                        shape.name, bytes, window=shape.window, max_buffer_size=shape.buffer
                    )
                    send = await importer.open_send_channel(
                        shape.name, bytes, window=shape.window, max_buffer_size=shape.buffer
                    )
                else:
                    send = exporter.open_send_channel(shape.name, bytes, max_buffer_size=shape.buffer)
                    receive = await importer.open_receive_channel(
                        shape.name, bytes, window=shape.window, max_buffer_size=shape.buffer
                    )
                nursery.start_soon(self._send, shape, send)
                nursery.start_soon(self._receive, shape, receive)
        assert self.received == self.sent

    async def _send(self, shape: Shape, send: trio.MemorySendChannel[bytes]) -> None:
        self.sent[shape.name] = 0
        async with send:
            while not self.enough.is_set():
                await send.send(value_of(self.sent[shape.name], shape.large_every))
                self.sent[shape.name] += 1

    async def _receive(self, shape: Shape, receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self.received[shape.name] = 0
        async for value in receive:
            expected = value_of(self.received[shape.name], shape.large_every)
            if value != expected:
                got, head = int.from_bytes(value[:4], "big"), expected[:4].hex()
                raise AssertionError(f"{shape.name}: expected {int(head, 16)}, got {got} ({len(value)} bytes)")
            self.received[shape.name] += 1


class Cuts:
    """The plans of the connections of one run: all are cut, but the last."""

    def __init__(self, chance: random.Random, load: Load, furthest: int) -> None:
        self.count = 0
        """How many connections were to be cut."""
        self._chance = chance
        self._load = load
        self._furthest = furthest

    def __call__(self, number: int) -> Plan:
        chance = self._chance
        if self.count == CUTS:
            self._load.enough.set()
            return Plan()
        self.count += 1
        way = chance.choice([*Way])
        # Some are cut in their hello or their resume, most under load; where there is none, by their acknowledgements.
        busy = any(shape.up == (way is Way.UP) and shape.window > 1 for shape in self._load.shapes)
        furthest = chance.choice([300, 3000, self._furthest, self._furthest]) if busy else 1000
        return Plan(
            fault=chance.choice([Fault.RESET, Fault.RESET, Fault.END, Fault.END, Fault.STALL, Fault.SWALLOW]),
            way=way,
            # The first lasts until all is bound.
            after=chance.randrange(furthest) + (0 if number else 20_000 if busy else 2000),
            slice_size=chance.choice([None, None, 3000, 20_000]),
        )


# Over TCP


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def through_proxy(
    exporter: Exporter, cuts: Cuts, seed: int, authority: trustme.CA | None
) -> AsyncGenerator[Importer]:
    """An importer whose connections, with TLS if there is an authority, are cut as planned."""
    server, client = None, None
    if authority is not None:
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("exporter.example").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
        client = ssl.create_default_context()
        authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    async with trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, exporter, ssl_context=server)
        async with (
            open_proxy(port, cuts, seed=seed) as proxy,
            open_tcp_importer(
                "127.0.0.1", proxy.port, ssl_context=client, server_hostname="exporter.example", limits=LIMITS
            ) as importer,
        ):
            yield importer
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", RUNS)
@pytest.mark.parametrize("medium", ["TCP", "TLS"])
def test_cuts_of_a_tcp_connection(authority: trustme.CA, medium: str, seed: int) -> None:
    load = Load(SHAPES)
    cuts = Cuts(random.Random(seed), load, 3_000_000)

    async def run() -> None:
        with trio.fail_after(PATIENCE):
            async with open_exporter(limits=LIMITS) as exporter:
                ca = authority if medium == "TLS" else None
                async with through_proxy(exporter, cuts, seed, ca) as importer:
                    await load.run(exporter, importer)
                    assert importer.statistics().resumed >= 1
                    assert sum(channel.dropped for channel in importer.statistics().channels.values()) == 0
                channels = exporter.statistics().channels.values()
                assert exporter.statistics().dropped == sum(channel.redelivered for channel in channels) == 0
        assert cuts.count == CUTS

    trio.run(run)


# In memory


@pytest.mark.parametrize("seed", RUNS_IN_MEMORY)
async def test_cuts_in_memory(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same with all that happens determined by the seed: it can be replayed."""
    seeded(monkeypatch, seed)
    random.seed(seed)  # for what the library leaves to chance
    chance = random.Random(seed)
    load = Load(chance.sample(SHAPES, chance.randint(1, len(SHAPES))))
    cuts = Cuts(chance, load, chance.choice([1000, 10_000, 100_000]))
    async with trio.open_nursery() as nursery, open_exporter(limits=LIMITS) as exporter:
        network = Network(
            nursery,
            exporter,
            (attrs.evolve(cuts(number), delay=chance.choice([0, 0, 0.001])) for number in range(CUTS + 1)),
            seed=seed,
            capacity=chance.choice([500, 5000, 100_000]),
        )
        async with open_importer(network.connect, limits=LIMITS) as importer:
            await load.run(exporter, importer)
        assert len(network.lines) >= CUTS
