"""Where importers connect: the bound address, and who gets a unix socket's path."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from support import Peer, peer

from trionetchan import BoundListener, open_exporter, open_importer, open_tcp_importer, open_unix_importer
from trionetchan._network import listening


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, tls: bool) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's and the client's."""
    if not tls:
        return None, None
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    return server, client


@contextlib.asynccontextmanager
async def served(
    context: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncGenerator[tuple[list[BoundListener], trio.Nursery]]:
    """An exporter with a channel "jobs", whose only value is 1."""
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=1)
        send.send_nowait(1)

        async def serve(task_status: trio.TaskStatus[list[BoundListener]]) -> None:
            if path is None:
                await exporter.serve_tcp(0, ssl_context=context, task_status=task_status)
            else:
                await exporter.serve_unix(path, task_status=task_status)

        yield await nursery.start(serve), nursery
        nursery.cancel_scope.cancel()


# The address


@pytest.mark.parametrize("tls", [False, True])
async def test_the_bound_address_is_told_in_the_same_way_with_and_without_tls(authority: trustme.CA, tls: bool) -> None:
    server, client = contexts(authority, tls)
    async with served(server) as ([listener], _):
        assert listener.socket.getsockname() == ("127.0.0.1", listener.port)
        assert listener.address == ("127.0.0.1", listener.port)
        assert str(listener.port) in repr(listener)
        async with open_tcp_importer("127.0.0.1", listener.port, ssl_context=client) as importer:
            assert await (await importer.open_receive_channel("jobs", int)).receive() == 1


async def test_trio_connects_to_a_listener_of_ours() -> None:
    async with served() as ([listener], _):
        stream = await trio.testing.open_stream_to_socket_listener(listener)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        async with open_importer(stream) as importer:
            assert await (await importer.open_receive_channel("jobs", int)).receive() == 1


async def test_a_unix_socket_has_an_address_and_no_port(tmp_path: Path) -> None:
    async with served(path=tmp_path / "socket") as ([listener], _):
        assert listener.address == listener.socket.getsockname() == str(tmp_path / "socket")
        assert not hasattr(listener, "port")
        with pytest.raises(AttributeError, match="expected a TCP listener, got one of the unix socket"):
            print(listener.port)


@pytest.mark.parametrize("unix", [False, True])
async def test_the_address_is_known_when_it_is_not_served_any_more(tmp_path: Path, unix: bool) -> None:
    async with served(path=tmp_path / "socket" if unix else None) as ([listener], nursery):
        nursery.cancel_scope.cancel()
    assert listener.socket.fileno() == -1
    assert listener.address == str(tmp_path / "socket") if unix else listener.port


async def test_foreign_listeners_are_given_back_as_they_are() -> None:
    foreign = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        assert await nursery.start(exporter.serve_listeners, foreign) == foreign
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("form", ["tcp", "unix"])
async def test_a_block_that_is_left_while_an_address_is_taken_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Not even for a moment is a listener forgotten."""
    taken: list[BoundListener] = []
    leave, left = trio.Event(), trio.Event()

    def slow(listen: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def listen_slowly(*arguments: object) -> Any:
            result = await listen(*arguments)
            taken.extend(result if form == "tcp" else [result])
            leave.set()
            with trio.CancelScope(shield=True):
                await left.wait()
            return result

        return listen_slowly

    monkeypatch.setattr("trionetchan._exporter.listen_tcp", slow(listening.listen_tcp))
    monkeypatch.setattr("trionetchan._exporter.listen_unix", slow(listening.listen_unix))
    async with trio.open_nursery() as nursery:
        async with open_exporter() as exporter:
            if form == "tcp":
                nursery.start_soon(exporter.serve_tcp, 0)
            else:
                nursery.start_soon(exporter.serve_unix, tmp_path / "socket")
            await leave.wait()
        left.set()
    assert [listener.socket.fileno() for listener in taken] == [-1]
    assert not os.listdir(tmp_path)


# Who gets the path of a unix socket


def leave_stale(path: Path) -> None:
    """What a killed exporter leaves."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))


async def name_at(path: Path) -> str:
    async with open_unix_importer(path) as importer:
        return await (await importer.open_receive_channel("name", str)).receive()


@contextlib.asynccontextmanager
async def starters(path: Path, count: int) -> AsyncGenerator[list[Peer]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer("starter", path, number)) for number in range(count)]


async def outcome(process: Peer) -> str:
    while (said := await process.line()) == "locked out":
        """Then it tries again."""
    return said


async def test_of_processes_that_start_at_the_same_time_exactly_one_serves(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with starters(path, 4) as processes:
        for attempt in range(25):
            leave_stale(path)
            start = time.monotonic() + 0.005
            for process in processes:
                await process.tell(f"start {start}")
            said = [await outcome(process) for process in processes]
            assert sorted(said) == ["OSError", "OSError", "OSError", "serving"], (attempt, said)
            assert await name_at(path) == str(said.index("serving")), attempt
            for process in processes:
                await process.tell("stop")
                assert await process.line() == "stopped"
            assert not path.exists()


async def test_a_process_that_found_a_stale_file_does_not_remove_the_live_one_of_another(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    leave_stale(path)
    async with starters(path, 2) as (slow, fast):
        await slow.tell("start held")
        assert await slow.line() == "removing"
        await fast.tell("start 0")
        first = await fast.line()  # "locked out"; without a lock, it would serve by now
        await slow.tell("go on")
        said = [await outcome(slow), first if first != "locked out" else await outcome(fast)]
        assert sorted(said) == ["OSError", "serving"]
        assert await name_at(path) == str(said.index("serving"))


async def test_a_process_that_stops_does_not_remove_the_live_file_of_another(tmp_path: Path) -> None:
    """Until its own file is removed it is live to others."""
    path = tmp_path / "socket"
    async with starters(path, 2) as (first, second):
        await first.tell("start 0")
        assert await first.line() == "serving"
        await first.tell("stop held")
        assert await first.line() == "removing"
        await second.tell("start 0")
        said = await outcome(second)
        await first.tell("go on")
        assert await first.line() == "stopped"
        assert said == ("serving" if await trio.Path(path).exists() else "OSError")


async def test_nothing_but_the_socket_is_left_in_its_directory(tmp_path: Path) -> None:
    async with served(path=tmp_path / "socket"):
        assert os.listdir(tmp_path) == ["socket"]
    assert not os.listdir(tmp_path)


async def test_a_directory_that_stays_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(listening, "LOCK_ATTEMPTS", 2)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        async with open_exporter() as exporter:
            with pytest.raises(OSError, match="expected to lock the directory of a unix socket, got: another process"):
                await exporter.serve_unix(tmp_path / "socket")
    finally:
        os.close(directory)
    assert not os.listdir(tmp_path)


async def test_a_directory_that_cannot_be_locked_is_served_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(file: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    leave_stale(tmp_path / "socket")
    async with served(path=tmp_path / "socket"), open_unix_importer(tmp_path / "socket") as importer:
        assert await (await importer.open_receive_channel("jobs", int)).receive() == 1


async def test_a_live_server_does_not_notice_who_asks_whether_it_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path=tmp_path / "socket"), open_exporter() as second:
        with pytest.raises(OSError, match="expected a free path, got one that is being listened on"):
            await second.serve_unix(tmp_path / "socket")
        async with open_unix_importer(tmp_path / "socket") as importer:  # accepted behind what came before it
            assert await (await importer.open_receive_channel("jobs", int)).receive() == 1
    assert not caplog.records
