"""What happens when a process has no file descriptor left: it says so, and loses nothing."""

from __future__ import annotations

import contextlib
import sys

import pytest
import trio
from support import peer, take

from trionetchan import open_tcp_importer

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


async def test_an_importer_without_file_descriptors_says_so() -> None:
    async with peer("few_files") as process:
        await process.line()
        await process.tell("go on")
        said = await process.line()
        assert said.startswith("[Errno 24]")
        assert EXPECTED in said
