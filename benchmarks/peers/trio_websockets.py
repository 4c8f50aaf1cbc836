"""trio-websocket: a binary message for each value."""

from __future__ import annotations

import trio
import trio_websocket

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import Task

__all__ = ["connect", "serve"]

QUEUE = 1024  # messages that may have arrived and not be taken yet
CHUNK = 64 * 2**10


def serve(server: Server) -> None:
    trio.run(_serve, server)


async def _serve(server: Server) -> None:
    work = server.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    over = trio.Event()

    async def handle(request: trio_websocket.WebSocketRequest) -> None:
        socket = await request.accept()
        if work.task is Task.ROUND_TRIP:
            for _ in range(work.total):
                await socket.send_message(encode(decode(_binary(await socket.get_message()))))
        else:
            for value in server.values():
                await socket.send_message(encode(value))
        await trio.to_thread.run_sync(server.wait_until_done)
        over.set()

    async with trio.open_nursery() as nursery:

        async def listen(task_status: trio.TaskStatus[trio_websocket.WebSocketServer]) -> None:
            await trio_websocket.serve_websocket(
                handle,
                "127.0.0.1",
                0,
                ssl_context=None,
                message_queue_size=QUEUE,
                receive_buffer_size=CHUNK,
                task_status=task_status,
            )

        listening: trio_websocket.WebSocketServer = await nursery.start(listen)
        server.announce(listening.port)
        await over.wait()
        nursery.cancel_scope.cancel()


def connect(client: Client) -> Sample:
    return trio.run(_connect, client)


async def _connect(client: Client) -> Sample:
    work = client.work
    codec = work.codec()
    encode, decode = codec.encode, codec.decode
    opening = trio_websocket.open_websocket(
        "127.0.0.1",
        client.port,
        "/",
        use_ssl=False,
        message_queue_size=QUEUE,
        receive_buffer_size=CHUNK,
        disconnect_timeout=0.1,
    )
    async with opening as socket:

        async def receive() -> object:
            return decode(_binary(await socket.get_message()))

        async def ask(number: int) -> object:
            await socket.send_message(encode(number))
            return await receive()

        if work.task is Task.ROUND_TRIP:
            return await round_trips(ask, work)
        return await receive_all(receive, work)


def _binary(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message
