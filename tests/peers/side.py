"""One side of a connection, in a process of its own. It does what its standard input says, and says what came of it.

    side.py exporter 0 jobs:send:0 results:receive:8
    side.py importer PORT jobs:receive:4

An argument is a channel's name, the direction seen from here, and its window (0 for the default).
The first line that an exporter says is its port; "ready" comes when the channels are bound.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import trio

from trionetchan import ConnectionLostError, Exporter, Importer, Limits, NetchanError, open_exporter, open_tcp_importer


def say(text: object) -> None:
    print(text, flush=True)


async def commands() -> AsyncIterator[list[str]]:
    """The lines of standard input, in words."""
    text = b""
    async for chunk in trio.lowlevel.FdStream(os.dup(0)):
        *lines, text = (text + chunk).split(b"\n")
        for line in lines:
            yield line.decode().split()


async def do(here: Exporter | Importer, ends: dict[str, Any], command: str, arguments: list[str]) -> object:
    match command, arguments:
        case "receive", [name]:
            return await ends[name].receive()
        case "receive", [name, count]:
            return [await ends[name].receive() for _ in range(int(count))]
        case "all", [name]:
            return [value async for value in ends[name]]
        case "send", [name, *values]:
            for value in values:
                await ends[name].send(int(value))
            return "sent"
        case "flood", [name, count, size]:
            for number in range(int(count)):
                await ends[name].send(number.to_bytes(4, "big") * (int(size) // 4))
            return "sent"
        case "check", [name, count]:
            heads = [(await ends[name].receive())[:4] for _ in range(int(count))]
            return heads == [number.to_bytes(4, "big") for number in range(int(count))]
        case "close", [name]:
            ends[name].close()
            return "closed"
        case "hangup", [name]:
            here.hangup(name)
            return "hung up"
        case (("drain" | "sync"), names):
            await getattr(here, command)(*names)
            return command
        case "error", []:
            assert isinstance(here, Importer)
            return (await here.errors.receive()).channel
        case _:
            raise ValueError(command)


async def obey(here: Exporter | Importer, channels: list[str]) -> None:
    """Each command runs in a task of its own, and says its number, so that several can be under way."""
    ends: dict[str, Any] = {}
    for channel in channels:
        name, direction, window = channel.split(":")
        value_type: Any = bytes if name.startswith("bytes") else int
        options: Any = {"window": int(window)} if int(window) else {}
        if isinstance(here, Importer):
            opening = here.open_send_channel if direction == "send" else here.open_receive_channel
            ends[name] = await opening(name, value_type, **options)
        elif direction == "send":
            ends[name] = here.open_send_channel(name, value_type)
        else:
            ends[name] = here.open_receive_channel(name, value_type, **options)
    say("ready")

    async def run(number: str, command: str, arguments: list[str]) -> None:
        try:
            said = await do(here, ends, command, arguments)
        except (NetchanError, trio.BrokenResourceError, trio.EndOfChannel, trio.ClosedResourceError) as error:
            said = type(error).__name__
        say(f"{number} {said}")

    async with trio.open_nursery() as nursery:
        async for number, command, *arguments in commands():
            if command == "leave":
                return
            nursery.start_soon(run, number, command, arguments)


async def main(side: str, port: int, channels: list[str]) -> None:
    try:
        if side == "importer":
            async with open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer:
                await obey(importer, channels)
        else:
            async with open_exporter() as exporter, trio.open_nursery() as nursery:
                listeners: list[trio.SocketListener] = await nursery.start(exporter.serve_tcp, port)
                say(listeners[0].socket.getsockname()[1])
                await obey(exporter, channels)
                nursery.cancel_scope.cancel()
    except* ConnectionLostError:
        say("lost")
    say("left")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3:])
