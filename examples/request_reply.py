"""Questions and answers over plain channels: any number of clients, each with any number of questions at a time.

    python request_reply.py serve PORT                   answers until Ctrl-C
    python request_reply.py ask HOST PORT NUMBER...      asks for the divisors of each number, all at once

Importers of one name compete for its values: so each client has a channel of its own, and its name is in each request.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable

import attrs
import trio

from trionetchan import Exporter, open_exporter, open_tcp_importer


@attrs.frozen
class Request:
    """A question, to be answered in the channel `reply_to`. The first of a client has none: it asks for the channel."""

    reply_to: str
    number: int | None


@attrs.frozen
class Reply:
    """The answer to the question of this number."""

    number: int
    divisors: list[int]


def divisors_of(number: int) -> list[int]:
    """The answer; put yours in its place."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


async def serve(port: int) -> None:
    """Answers each request in a task of its own: a slow answer, or a slow client, holds up nobody else."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        requests = exporter.open_receive_channel("requests", Request, importers=None)
        [listener] = await nursery.start(exporter.serve_tcp, port)
        print(f"answering at port {listener.port}", file=sys.stderr, flush=True)
        clients: dict[str, trio.MemorySendChannel[Reply]] = {}
        async for request in requests:
            name = request.reply_to
            if name not in clients and name.startswith("replies/"):
                # With no checkpoint since the request came: it is acknowledged when the channel is there, not before.
                clients[name] = exporter.open_send_channel(name, Reply)
                nursery.start_soon(forget_gone_client, exporter, clients, name)
            if name in clients and request.number is not None:
                nursery.start_soon(answer, request.number, clients[name])


async def answer(number: int, replies: trio.MemorySendChannel[Reply]) -> None:
    divisors = await trio.to_thread.run_sync(divisors_of, number, abandon_on_cancel=True)
    with contextlib.suppress(trio.BrokenResourceError):  # the client is gone
        await replies.send(Reply(number, divisors))


async def forget_gone_client(exporter: Exporter, clients: dict[str, trio.MemorySendChannel[Reply]], name: str) -> None:
    """Takes the channel of a client away when nobody has it any more: a client that dies says no goodbye."""
    peers = 1
    while peers:
        await trio.sleep(60)
        peers = exporter.statistics().channels[name].peers
    del clients[name]
    exporter.hangup(name)  # breaks the `send` of answers that nobody takes


async def ask(host: str, port: int, numbers: list[int]) -> None:
    reply_to = f"replies/{uuid.uuid4()}"
    async with (
        open_tcp_importer(host, port) as importer,
        await importer.open_send_channel("requests", Request) as requests,
        trio.open_nursery() as nursery,
    ):
        await requests.send(Request(reply_to, None))
        await importer.drain("requests")  # the server has had its turn with it: the channel is there
        replies = await importer.open_receive_channel(reply_to, Reply, count=len(numbers))
        for number in numbers:
            nursery.start_soon(requests.send, Request(reply_to, number))
        async for reply in replies:
            print(f"{reply.number}: {' '.join(map(str, reply.divisors))}", flush=True)


async def until_signal(run: Callable[[], Awaitable[None]]) -> None:
    """Runs it to its end, or until Ctrl-C or SIGTERM cancels it."""

    async def cancel_on_signal() -> None:
        await anext(signals)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_signal)
            await run()
            nursery.cancel_scope.cancel()


def main() -> None:
    match sys.argv[1:]:
        case ["serve", port]:
            trio.run(until_signal, functools.partial(serve, int(port)))
        case ["ask", host, port, *numbers] if numbers:
            trio.run(until_signal, functools.partial(ask, host, int(port), [*map(int, numbers)]))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
