"""pyzmq on asyncio: PUSH to PULL, or REQ to REP."""

from __future__ import annotations

import asyncio

import zmq
import zmq.asyncio

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import Task

__all__ = ["connect", "serve"]


def serve(server: Server) -> None:
    asyncio.run(_serve(server))


async def _serve(server: Server) -> None:
    work = server.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    kind = zmq.REP if work.task is Task.ROUND_TRIP else zmq.PUSH
    with zmq.asyncio.Context() as context, context.socket(kind) as socket:
        server.announce(socket.bind_to_random_port("tcp://127.0.0.1"))
        if work.task is Task.ROUND_TRIP:
            for _ in range(work.total):
                await socket.send(encode(decode(await socket.recv())))
        else:
            for value in server.values():
                await socket.send(encode(value))
        await asyncio.to_thread(server.wait_until_done)


def connect(client: Client) -> Sample:
    return asyncio.run(_connect(client))


async def _connect(client: Client) -> Sample:
    work = client.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    kind = zmq.REQ if work.task is Task.ROUND_TRIP else zmq.PULL
    with zmq.asyncio.Context() as context, context.socket(kind) as socket:
        socket.connect(f"tcp://127.0.0.1:{client.port}")

        async def receive() -> object:
            return decode(await socket.recv())

        async def ask(number: int) -> object:
            await socket.send(encode(number))
            return decode(await socket.recv())

        if work.task is Task.ROUND_TRIP:
            return await round_trips(ask, work)
        return await receive_all(receive, work)
