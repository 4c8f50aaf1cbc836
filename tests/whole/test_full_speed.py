"""Cancellation and loss while values stream as fast as they can: speed is not bought with a promise.

`TRIONETCHAN_EXAMPLES` multiplies the seeds.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from typing import Literal

import pytest
import trio
from support import Medium, connected, serve_tcp

from trionetchan import ConnectionLostError, open_exporter, open_importer

SEEDS = range(3 * max(1, int(os.environ.get("TRIONETCHAN_EXAMPLES", "0")) // 100))
COUNT = 20_000

Direction = Literal["exporter sends", "importer sends"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("direction", ["exporter sends", "importer sends"])
@pytest.mark.parametrize(("window", "buffer"), [(64, 0), (1024, 0), (1024, 1024)])
@pytest.mark.parametrize("medium", ["memory", "tcp"])
async def test_sends_and_receives_cancelled_at_odd_moments(
    nursery: trio.Nursery, medium: Medium, window: int, buffer: int, direction: Direction, seed: int
) -> None:
    chance = random.Random(seed)
    got: list[int] = []

    async def produce(send: trio.MemorySendChannel[int]) -> None:
        number = 0
        async with send:
            while number < COUNT:
                with trio.move_on_after(chance.random() / 200):
                    while number < COUNT:
                        await send.send(number)
                        number += 1

    async def consume(receive: trio.MemoryReceiveChannel[int]) -> None:
        ended = False
        while not ended:
            with trio.move_on_after(chance.random() / 200):
                async for number in receive:
                    got.append(number)  # noqa: PERF401
                ended = True

    async with connected(nursery, medium) as (exporter, importer):
        if direction == "exporter sends":
            send = exporter.open_send_channel("numbers", int, max_buffer_size=buffer)
            receive = await importer.open_receive_channel("numbers", int, window=window, max_buffer_size=buffer)
        else:
            receive = exporter.open_receive_channel("numbers", int, max_buffer_size=buffer, importers=1)
            send = await importer.open_send_channel("numbers", int, window=window, max_buffer_size=buffer)
        async with trio.open_nursery() as both:
            both.start_soon(produce, send)
            both.start_soon(consume, receive)
    assert got == list(range(COUNT))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("window", "buffer"), [(64, 0), (1024, 1024)])
async def test_connections_reset_while_values_stream(window: int, buffer: int, seed: int) -> None:
    """Importers compete, and are cut off one after the other: all arrives, and only what was on its way comes twice."""
    chance = random.Random(seed)
    taken: list[list[int]] = []
    cuts = 6

    async def take(port: int, patience: float | None) -> None:
        """Takes what comes, until the end, or until its connection is reset; then what is in its buffer."""
        values: list[int] = []
        taken.append(values)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            async with open_importer(stream) as importer, trio.open_nursery() as nursery:
                numbers = await importer.open_receive_channel("numbers", int, window=window, max_buffer_size=buffer)
                if patience is not None:
                    nursery.start_soon(reset, stream, patience)
                try:
                    async for number in numbers:
                        values.append(number)  # noqa: PERF401 - it is cancelled in between
                finally:
                    with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
                        while True:
                            values.append(numbers.receive_nowait())
                nursery.cancel_scope.cancel()
        except* ConnectionLostError:
            assert patience is not None

    async def reset(stream: trio.SocketStream, patience: float) -> None:
        await trio.sleep(patience)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    async with open_exporter() as exporter, trio.open_nursery() as nursery:
        port = await serve_tcp(nursery, exporter)
        send = exporter.open_send_channel("numbers", int, max_buffer_size=buffer)
        async with trio.open_nursery() as importers:
            importers.start_soon(take, port, None)
            for cut in range(cuts):
                importers.start_soon(take, port, 0.01 + 0.02 * cut + chance.random() / 50)
            async with send:
                for number in range(COUNT):
                    await send.send(number)
        nursery.cancel_scope.cancel()
    assert set().union(*taken) == set(range(COUNT))
    assert all(len(values) == len(set(values)) for values in taken)
    assert sum(map(len, taken)) - COUNT <= cuts * window
