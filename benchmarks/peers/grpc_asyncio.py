"""grpc.aio: a stream from the server, or a stream each way; generic handlers, CBOR in the place of protobuf."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

from ..measure import Client, Sample, Server, receive_all, round_trips
from ..work import Task

__all__ = ["connect", "serve"]

grpc: Any = importlib.import_module("grpc")  # it has no types
aio: Any = importlib.import_module("grpc.aio")


def serve(server: Server) -> None:
    asyncio.run(_serve(server))


async def _serve(server: Server) -> None:
    codec = server.work.codec()

    async def stream(_request: bytes, context: Any) -> None:
        for value in server.values():
            await context.write(value)

    async def echo(requests: AsyncIterator[Any], context: Any) -> None:
        async for value in requests:
            await context.write(value)

    handlers = {
        "Stream": grpc.unary_stream_rpc_method_handler(stream, response_serializer=codec.encode),
        "Echo": grpc.stream_stream_rpc_method_handler(
            echo, request_deserializer=codec.decode, response_serializer=codec.encode
        ),
    }
    listener = aio.server()
    listener.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Values", handlers),))
    port = listener.add_insecure_port("127.0.0.1:0")
    await listener.start()
    server.announce(port)
    await asyncio.to_thread(server.wait_until_done)
    await listener.stop(None)


def connect(client: Client) -> Sample:
    return asyncio.run(_connect(client))


async def _connect(client: Client) -> Sample:
    codec = client.work.codec()
    async with aio.insecure_channel(f"127.0.0.1:{client.port}") as channel:
        if client.work.task is Task.ROUND_TRIP:
            call = channel.stream_stream(
                "/benchmark.Values/Echo", request_serializer=codec.encode, response_deserializer=codec.decode
            )()

            async def ask(number: int) -> object:
                await call.write(number)
                return await call.read()

            sample = await round_trips(ask, client.work)
            await call.done_writing()
            return sample
        call = channel.unary_stream("/benchmark.Values/Stream", response_deserializer=codec.decode)(b"")
        return await receive_all(call.read, client.work)
