"""What happens when a process has no file descriptor left: it says so, and loses nothing."""

from __future__ import annotations

import contextlib
import sys

import pytest
import trio
from support import peer, take

from trionetchan import open_tcp_importer
from trionetchan._protocol.frames import MAGIC

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")

EXPECTED = "expected a free file descriptor for one more connection, got none (40 are allowed to this process"


async def test_an_exporter_without_file_descriptors_says_so_and_serves_when_some_are_free() -> None:
    async with peer("few_files") as process:
        port = int(await process.line())
        async with contextlib.AsyncExitStack() as crowd:
            for _ in range(60):
                await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            said = await process.line()
        assert said.startswith("cannot accept importers for now")
        assert EXPECTED in said
        async with open_tcp_importer("127.0.0.1", port) as importer:
            numbers = await importer.open_receive_channel("numbers", int)
            await process.tell("go on")
            while EXPECTED not in await process.line():
                """Handshakes of the crowd that were cut short."""
            assert await take(numbers, 1) == [1]


async def test_silent_connections_that_take_all_file_descriptors_lock_nobody_out() -> None:
    """They go one by one, the oldest first, and an importer is served while the others stay."""
    async with peer("few_files") as process:
        port = int(await process.line())
        async with contextlib.AsyncExitStack() as crowd:
            streams = [
                await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(60)
            ]
            assert EXPECTED in await process.line()
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await importer.open_receive_channel("numbers", int)
                assert b"expected a hello, got none" in await to_end(streams[0])
                assert b"expected a hello, got none" in await to_end(streams[20])
                assert await streams[-1].receive_some(3) == MAGIC


async def to_end(stream: trio.abc.ReceiveStream) -> bytes:
    heard = b""
    while chunk := await stream.receive_some():
        heard += chunk
    return heard


async def test_an_importer_without_file_descriptors_says_so() -> None:
    async with peer("few_files") as process:
        await process.line()
        await process.tell("go on")
        said = await process.line()
        assert said.startswith("[Errno 24]")
        assert EXPECTED in said
