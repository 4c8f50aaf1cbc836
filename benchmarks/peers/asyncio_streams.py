"""asyncio streams: a length-prefixed frame, one `write` and one `drain` for each value."""

from __future__ import annotations

import asyncio
from typing import Any

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import Codec, Task

__all__ = ["connect", "serve"]


class _Frames:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, codec: Codec) -> None:
        self._reader = reader
        self._writer = writer
        self._codec = codec

    async def send(self, value: Any) -> None:
        data = self._codec.encode(value)
        self._writer.write(len(data).to_bytes(4, "big") + data)
        await self._writer.drain()

    async def receive(self) -> Any:
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        return self._codec.decode(await self._reader.readexactly(size))

    async def ask(self, value: Any) -> Any:
        await self.send(value)
        return await self.receive()


def serve(server: Server) -> None:
    asyncio.run(_serve(server))


async def _serve(server: Server) -> None:
    work = server.work
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = _Frames(reader, writer, work.codec())
        if work.task is Task.ROUND_TRIP:
            for _ in range(work.total):
                await frames.send(await frames.receive())
        else:
            for value in server.values():
                await frames.send(value)
        await asyncio.to_thread(server.wait_until_done)
        writer.close()
        done.set()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        server.announce(listener.sockets[0].getsockname()[1])
        await done.wait()


def connect(client: Client) -> Sample:
    return asyncio.run(_connect(client))


async def _connect(client: Client) -> Sample:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    frames = _Frames(reader, writer, client.work.codec())
    try:
        if client.work.task is Task.ROUND_TRIP:
            return await round_trips(frames.ask, client.work)
        return await receive_all(frames.receive, client.work)
    finally:
        writer.close()
