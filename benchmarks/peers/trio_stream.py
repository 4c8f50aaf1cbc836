"""A trio TCP stream: a length-prefixed frame and one `send_all` for each value; bulk and round trips as bare bytes."""

from __future__ import annotations

from collections import deque
from typing import Any

import trio

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import BULK, Codec, Kind, Task, Work

__all__ = ["connect", "serve"]

CHUNK = 64 * 2**10
SMALL = 8  # bytes of a round trip


def serve(server: Server) -> None:
    trio.run(_serve, server)


async def _serve(server: Server) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.announce(listener.socket.getsockname()[1])
    async with listener, await listener.accept() as stream:
        if server.work.task is Task.ROUND_TRIP:
            while data := await stream.receive_some(CHUNK):
                await stream.send_all(data)
        elif server.work.kind is Kind.BYTES:
            for value in server.values():
                await stream.send_all(value)
        else:
            encode = server.work.codec().encode
            for value in server.values():
                data = encode(value)
                await stream.send_all(len(data).to_bytes(4, "big") + data)
        await trio.to_thread.run_sync(server.wait_until_done)


def connect(client: Client) -> Sample:
    return trio.run(_connect, client)


async def _connect(client: Client) -> Sample:
    work = client.work
    async with await trio.open_tcp_stream("127.0.0.1", client.port) as stream:
        if work.task is Task.ROUND_TRIP:

            async def ask(number: int) -> int:
                await stream.send_all(number.to_bytes(SMALL, "big"))
                data = await stream.receive_some(CHUNK)
                while len(data) < SMALL:
                    data += await stream.receive_some(CHUNK)
                return int.from_bytes(data, "big")

            return await round_trips(ask, work)
        if work.kind is Kind.BYTES:
            return await _receive_bytes(stream, work)
        return await receive_all(_Frames(stream, work.codec()).receive, work)


async def _receive_bytes(stream: trio.SocketStream, work: Work) -> Sample:
    """Bare bytes are counted, and let go: nothing is as fast."""
    value = bytes(BULK)
    ahead = 0  # how many bytes have come of the values that were not asked for yet

    async def receive() -> bytes:
        nonlocal ahead
        while ahead < BULK:
            data = await stream.receive_some(4 * CHUNK)
            if not data:
                raise RuntimeError("expected more bytes, got the end")
            ahead += len(data)
        ahead -= BULK
        return value

    return await receive_all(receive, work)


class _Frames:
    """Cuts a stream into frames. It waits, and lets other tasks run, only when it has no whole frame."""

    def __init__(self, stream: trio.abc.ReceiveStream, codec: Codec) -> None:
        self._stream = stream
        self._decode = codec.decode
        self._rest = b""
        self._frames: deque[bytes] = deque()

    async def receive(self) -> Any:
        while not self._frames:
            self._cut(self._rest + await self._stream.receive_some(CHUNK))
        return self._decode(self._frames.popleft())

    def _cut(self, data: bytes) -> None:
        start = 0
        while len(data) >= start + 4:
            end = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if len(data) < end:
                break
            self._frames.append(data[start + 4 : end])
            start = end
        self._rest = data[start:]
