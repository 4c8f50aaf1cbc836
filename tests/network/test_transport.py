"""Bytes over sockets and other streams: all of them, in order, and at once where nothing is to be waited for."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trionetchan._network.transport import STREAM_ERRORS, Piece, Transport, transport_over

LARGE = bytes(range(256)) * 2**14  # 4 MiB, more than a socket takes
PIECES: list[list[Piece]] = [
    [LARGE],
    [b"head", memoryview(LARGE)[: 2**20], b"", LARGE[2**20 :]],
    [b"%d," % number for number in range(10_000)],
    [b"x"],
]


@asynccontextmanager
async def sockets() -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream(*listener.socket.getsockname())
        theirs = await listener.accept()
    async with ours, theirs:
        yield ours, theirs


async def receive_all(transport: Transport) -> bytes:
    received = bytearray()
    while chunk := await transport.receive():
        received += chunk
    return bytes(received)


@pytest.mark.parametrize("number", range(len(PIECES)))
@pytest.mark.parametrize("kind", ["sockets", "memory"])
async def test_all_bytes_arrive_in_order_some_at_once_and_the_rest_by_and_by(kind: str, number: int) -> None:
    pieces = PIECES[number]
    received: list[bytes] = []

    async def exchange(ours: trio.abc.Stream, theirs: trio.abc.Stream) -> None:
        sender, receiver = transport_over(ours), transport_over(theirs)

        async def receive() -> None:
            received.append(await receive_all(receiver))

        rest = sender.send_nowait(pieces)
        if kind == "sockets":
            sent = sum(map(len, pieces)) - sum(map(len, rest))
            assert sent if number < 2 else not rest
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await sender.send_all(rest)
            await sender.send_all([b"end"])
            await sender.send_eof()

    if kind == "sockets":
        async with sockets() as (ours, theirs):
            await exchange(ours, theirs)
    else:
        await exchange(*trio.testing.memory_stream_pair())
    assert received == [b"".join(pieces) + b"end"]


async def test_a_full_socket_takes_nothing_without_waiting() -> None:
    async with sockets() as (ours, _):
        transport = transport_over(ours)
        rest = transport.send_nowait([LARGE, LARGE])
        assert rest
        assert transport.send_nowait([b"more"]) == [b"more"]


async def test_a_stream_that_is_reset_is_lost_to_both_directions() -> None:
    async with sockets() as (ours, theirs):
        transport = transport_over(ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(STREAM_ERRORS):
            await transport.receive()
        assert transport.send_nowait([b"into the void"]) == [b"into the void"]
        with pytest.raises(STREAM_ERRORS):
            await transport.send_all([b"into the void"])


async def test_a_closed_stream_is_lost_also_while_it_is_waited_for() -> None:
    async with sockets() as (ours, _):
        transport = transport_over(ours)

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await transport.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with pytest.raises(STREAM_ERRORS):
                await transport.receive()
        assert transport.send_nowait([b"too late"]) == [b"too late"]
        with pytest.raises(STREAM_ERRORS):
            await transport.send_all([b"too late"])
        with pytest.raises(STREAM_ERRORS):
            await transport.receive()
