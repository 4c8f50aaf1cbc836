"""Requests and replies: everybody gets his own replies, whoever is cancelled, killed or hostile meanwhile."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from support import connect, peer, serve_tcp, until

from trionetchan import (
    ConnectionLostError,
    Exporter,
    Limits,
    NoSuchChannelError,
    TypeMismatchError,
    ValueTypeError,
    open_exporter,
    open_importer,
    open_tcp_importer,
    requests,
)
from trionetchan.requests import Call, Reply, RequestError, open_client, serve_requests


@attrs.define
class Handler:
    """Squares numbers; waits for ever with those below 0; remembers what it did."""

    asked: list[int] = attrs.field(factory=list[int])
    cancelled: list[int] = attrs.field(factory=list[int])
    running: int = 0
    most: int = 0

    async def __call__(self, number: int) -> int:
        self.asked.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if number < 0:
                await trio.sleep_forever()
            for _ in range(number % 3 + 1):  # so that replies come in another order than requests
                await trio.lowlevel.checkpoint()
            if number == 13:
                raise RequestError("13 is unlucky")
            if number == 14:
                raise ZeroDivisionError("a secret")
        except trio.Cancelled:
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1
        return number * number


@attrs.define
class Server:
    nursery: trio.Nursery
    exporter: Exporter
    handler: Handler
    port: int
    scope: trio.CancelScope

    def channels(self) -> list[str]:
        return sorted(self.exporter.statistics().channels)


@asynccontextmanager
async def serving(limits: Limits | None = None, **options: Any) -> AsyncGenerator[Server]:
    async with trio.open_nursery() as nursery, open_exporter(limits=limits or Limits()) as exporter:
        port = await serve_tcp(nursery, exporter)
        server = Server(nursery, exporter, Handler(), port, trio.CancelScope())

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            with server.scope:
                serve = functools.partial(serve_requests, exporter, "square", server.handler, int, int, **options)
                await serve(task_status=task_status)

        await nursery.start(serve)
        yield server
        nursery.cancel_scope.cancel()


async def each(ask: Callable[[int], Awaitable[int]], numbers: range) -> None:
    """Asks for all at once."""

    async def one(number: int) -> None:
        assert await ask(number) == number * number

    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(one, number)


async def test_two_clients_at_once_get_their_own_replies() -> None:
    async def be_a_client(numbers: range) -> None:
        async with (
            open_tcp_importer("127.0.0.1", server.port) as importer,
            open_client(importer, "square", int, int) as client,
        ):
            await each(client.request, numbers)

    async with serving() as server:
        async with trio.open_nursery() as clients:
            clients.start_soon(be_a_client, range(1_000, 1_200))
            clients.start_soon(be_a_client, range(2_000, 2_200))
        assert sorted(server.handler.asked) == [*range(1_000, 1_200), *range(2_000, 2_200)]
        await until(lambda: server.channels() == ["square"])


async def test_errors_come_back_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serving() as server,
        connect(server.nursery, server.exporter) as importer,
        open_client(importer, "square", int, int) as client,
    ):
        with pytest.raises(RequestError, match=r"^square: 13 is unlucky$"):
            await client.request(13)
        with pytest.raises(RequestError, match=r"^square: the handler raised ZeroDivisionError$"):
            await client.request(14)
        assert await client.request(15) == 225
    assert "a secret" in caplog.text, "the program is told all"


async def test_cancelling_a_request_cancels_its_handler() -> None:
    async with (
        serving() as server,
        connect(server.nursery, server.exporter) as importer,
        open_client(importer, "square", int, int) as client,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, -1)
            nursery.start_soon(client.request, -2)
            await until(lambda: len(server.handler.asked) == 2)
            assert await client.request(3) == 9
            nursery.cancel_scope.cancel()
        await until(lambda: sorted(server.handler.cancelled) == [-2, -1])
        assert await client.request(4) == 16


async def test_leaving_the_block_cancels_what_is_under_way() -> None:
    async with serving() as server, connect(server.nursery, server.exporter) as importer:
        with pytest.RaisesGroup(trio.BrokenResourceError):
            async with (
                trio.open_nursery() as nursery,
                open_client(importer, "square", int, int) as client,
            ):
                nursery.start_soon(client.request, -1)
                await until(lambda: server.handler.asked == [-1])
        await until(lambda: server.handler.cancelled == [-1])
        await until(lambda: server.channels() == ["square"])
        async with open_client(importer, "square", int, int) as client:
            assert await client.request(4) == 16


async def test_a_bounded_number_of_handlers_runs() -> None:
    async with serving(max_concurrent=3) as server, connect(server.nursery, server.exporter) as importer:
        async with open_client(importer, "square", int, int, max_concurrent=10) as client:
            await each(client.request, range(20, 120))
        assert server.handler.most == 3


async def test_a_client_has_a_bounded_number_under_way() -> None:
    async with serving() as server, connect(server.nursery, server.exporter) as importer:
        async with open_client(importer, "square", int, int, max_concurrent=2) as client:
            await each(client.request, range(20, 60))
        assert server.handler.most <= 2


async def test_a_client_that_asks_for_too_much_at_a_time_is_told_so() -> None:
    async with (
        serving(max_requests_per_client=2) as server,
        connect(server.nursery, server.exporter) as importer,
        open_client(importer, "square", int, int) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.request, -1)
        nursery.start_soon(client.request, -2)
        await until(lambda: len(server.handler.asked) == 2)
        with pytest.raises(RequestError, match="expected at most 2 requests of a client at a time"):
            await client.request(3)
        nursery.cancel_scope.cancel()


async def test_a_client_that_asks_on_and_on_and_takes_no_replies_is_hung_up() -> None:
    secret = "a" * 32
    async with (
        serving(max_requests_per_client=2) as server,
        connect(server.nursery, server.exporter) as importer,
        await importer.open_send_channel("square", Call[int]) as calls,
    ):
        await calls.send(Call(secret, "open"))
        await importer.drain("square")
        replies = await importer.open_receive_channel(f"square/{secret}", Reply[int], window=1)
        for number in range(2):
            await calls.send(Call(secret, "request", number, [-1]))
        for number in range(2, 100):
            await calls.send(Call(secret, "request", number, [number]))
        await importer.drain("square")
        assert server.channels() == ["square"]
        await until(lambda: server.handler.cancelled == [-1, -1])
        assert server.handler.asked == [-1, -1]
        assert len([reply async for reply in replies]) <= 2


async def test_a_server_that_is_full_lets_nobody_in() -> None:
    async with (
        serving(max_clients=1) as server,
        connect(server.nursery, server.exporter) as first,
        connect(server.nursery, server.exporter) as second,
    ):
        async with open_client(first, "square", int, int) as client:
            with pytest.raises(RequestError, match="lets no more clients in"):
                async with open_client(second, "square", int, int):
                    pass
            assert await client.request(2) == 4
        await until(lambda: server.channels() == ["square"])
        async with open_client(second, "square", int, int) as client:
            assert await client.request(3) == 9


async def test_a_killed_client_leaves_nothing() -> None:
    async with serving(Limits(resume_timeout=0)) as server:
        async with peer("asker", "ask", server.port) as asker:
            assert await asker.line() == "25"
            await until(lambda: server.handler.asked == [5, -1])
            assert len(server.channels()) == 2
            asker.process.kill()
            await until(lambda: server.channels() == ["square"])
            await until(lambda: server.handler.cancelled == [-1])
        async with (
            open_tcp_importer("127.0.0.1", server.port) as importer,
            open_client(importer, "square", int, int) as client,
        ):
            assert await client.request(6) == 36


async def test_a_killed_server_fails_its_clients() -> None:
    async with peer("asker", "serve", 0) as server:
        port = int(await server.line())
        with pytest.raises(ConnectionLostError):
            async with (
                open_tcp_importer("127.0.0.1", port, limits=Limits(resume_timeout=0)) as importer,
                open_client(importer, "square", int, int) as client,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(client.request, 1)
                assert await server.line() == "asked 1"
                server.process.kill()
                await trio.sleep_forever()


async def test_a_server_that_stops_tells_those_who_wait() -> None:
    async with serving() as server, connect(server.nursery, server.exporter) as importer:
        async with open_client(importer, "square", int, int) as client:
            with pytest.RaisesGroup(
                pytest.RaisesExc(trio.BrokenResourceError, match="it may have handled the request"),
                pytest.RaisesExc(trio.BrokenResourceError, match="it may have handled the request"),
            ):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.request, -1)
                    nursery.start_soon(client.request, -2)
                    await until(lambda: len(server.handler.asked) == 2)
                    server.scope.cancel()
                    await trio.sleep_forever()
            with pytest.raises(trio.BrokenResourceError):
                await client.request(1)
        assert server.channels() == []


async def test_broken_connections_lose_and_repeat_no_request() -> None:
    async with serving() as server:
        streams: list[trio.abc.Stream] = []

        async def dial() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            server.nursery.start_soon(server.exporter.serve_stream, theirs)
            streams.append(ours)
            return ours

        async def cut() -> None:
            for number in range(1, 6):
                await until(functools.partial(has_asked, 20 * number))
                await streams[-1].aclose()

        def has_asked(count: int) -> bool:
            return len(server.handler.asked) > count

        async with (
            open_importer(dial) as importer,
            open_client(importer, "square", int, int) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(cut)
            await each(client.request, range(100, 500))
        assert sorted(server.handler.asked) == [*range(100, 500)]
        assert len(streams) == 6


async def test_the_types_of_both_sides_are_compared() -> None:
    async with serving() as server, connect(server.nursery, server.exporter) as importer:
        with pytest.raises(TypeMismatchError, match="value"):
            async with open_client(importer, "square", str, int):
                pass
        with pytest.raises(TypeMismatchError, match="value"):
            async with open_client(importer, "square", int, str):
                pass


async def test_a_request_that_does_not_fit_is_a_mistake_of_this_program() -> None:
    with pytest.RaisesGroup(ValueTypeError, flatten_subgroups=True):
        async with (
            serving() as server,
            connect(server.nursery, server.exporter) as importer,
            open_client(importer, "square", int, int) as client,
        ):
            wrong: Any = "x"
            await client.request(wrong)


# What a hostile client can say


async def test_nobody_gets_the_replies_of_another_or_ends_its_requests() -> None:
    async with (
        serving() as server,
        connect(server.nursery, server.exporter) as importer,
        connect(server.nursery, server.exporter) as other,
    ):
        async with open_client(importer, "square", int, int) as client:
            calls = await other.open_send_channel("square", Call[int])
            for call in (
                Call[int]("0" * 32, "leave"),
                Call[int]("0" * 32, "cancel", 1),
                Call[int]("0" * 32, "request", 1, [5]),
                Call[int]("../x", "open"),
                Call[int]("", "open"),
                Call[int]("0" * 31 + "\u0660", "open"),
            ):
                await calls.send(call)
            await other.drain("square")
            assert server.channels() == ["square", f"square/{client._secret}"]
            with pytest.raises(NoSuchChannelError):
                await other.open_receive_channel(f"square/{'0' * 32}", Reply[int])
            assert await client.request(7) == 49
        assert server.handler.asked == [7]


async def test_odd_calls_are_left_out() -> None:
    """No value, several, a number twice, a second open, a cancel of nothing."""
    async with serving() as server, connect(server.nursery, server.exporter) as importer:
        async with open_client(importer, "square", int, int) as client:
            secret = client._secret
            for call in (
                Call[int](secret, "request", 1),
                Call[int](secret, "request", 2, [1, 2]),
                Call[int](secret, "open"),
                Call[int](secret, "cancel", 77),
                Call[int](secret, "request", 3, [-3]),
                Call[int](secret, "request", 3, [-4]),
            ):
                await client._calls.send(call)
            await importer.drain("square")
            client._count = 3
            assert await client.request(8) == 64
        assert server.handler.asked == [-3, 8]


async def test_who_asks_for_a_channel_and_never_comes_is_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        await nursery.start(serve_requests, exporter, "square", Handler(), int, int)
        async with connect(nursery, exporter) as importer:
            calls = await importer.open_send_channel("square", Call[int])
            await calls.send(Call("a" * 32, "open"))
            await importer.drain("square")
            assert len(exporter.statistics().channels) == 2
            await trio.sleep(2 * requests.OPEN_TIMEOUT + 1)
            assert len(exporter.statistics().channels) == 1
        nursery.cancel_scope.cancel()
