"""A client that asks, and is killed while it waits; or a server that is killed while it works."""

from __future__ import annotations

import sys

import trio

from trionetchan import BoundListener, Limits, open_exporter, open_tcp_importer
from trionetchan.requests import open_client, serve_requests


async def ask(port: int) -> None:
    limits = Limits(resume_timeout=0)
    async with (
        open_tcp_importer("127.0.0.1", port, limits=limits) as importer,
        open_client(importer, "square", int, int) as client,
    ):
        print(await client.request(5), flush=True)
        print(await client.request(-1), flush=True)


async def handle(number: int) -> int:
    print("asked", number, flush=True)
    await trio.sleep_forever()
    return number


async def serve(_port: int) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        listeners: list[BoundListener] = await nursery.start(exporter.serve_tcp, 0)
        nursery.start_soon(serve_requests, exporter, "square", handle, int, int)
        print(listeners[0].port, flush=True)
        await trio.sleep_forever()


trio.run(ask if sys.argv[1] == "ask" else serve, int(sys.argv[2]))
