"""pynng on trio: Push0 to Pull0, or Req0 to Rep0."""

from __future__ import annotations

import importlib
from typing import Any

import trio

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import Task

__all__ = ["connect", "serve"]

pynng: Any = importlib.import_module("pynng")  # it has no types
BUFFER = 1024


def serve(server: Server) -> None:
    trio.run(_serve, server)


async def _serve(server: Server) -> None:
    work = server.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    address = "tcp://127.0.0.1:0"
    if work.task is Task.ROUND_TRIP:
        socket = pynng.Rep0(listen=address)
    else:
        socket = pynng.Push0(listen=address, send_buffer_size=BUFFER)
    with socket:
        server.announce(int(str(socket.listeners[0].local_address).rpartition(":")[2]))
        if work.task is Task.ROUND_TRIP:
            for _ in range(work.total):
                await socket.asend(encode(decode(await socket.arecv())))
        else:
            for value in server.values():
                await socket.asend(encode(value))
        await trio.to_thread.run_sync(server.wait_until_done)


def connect(client: Client) -> Sample:
    return trio.run(_connect, client)


async def _connect(client: Client) -> Sample:
    work = client.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    address = f"tcp://127.0.0.1:{client.port}"
    if work.task is Task.ROUND_TRIP:
        with pynng.Req0(dial=address) as socket:

            async def ask(number: int) -> object:
                await socket.asend(encode(number))
                return decode(await socket.arecv())

            return await round_trips(ask, work)
    with pynng.Pull0(dial=address, recv_buffer_size=BUFFER) as socket:

        async def receive() -> object:
            return decode(await socket.arecv())

        return await receive_all(receive, work)
