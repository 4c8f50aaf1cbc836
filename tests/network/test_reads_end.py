"""Every read ends: when the session has, when something is overdue, when the block is left; whatever the peer sends."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from support import serve_tcp, until

from trionetchan import Limits, open_exporter
from trionetchan._network.connection import MAX_DISCARDED
from trionetchan._protocol.frames import MAGIC, VERSION, Hello, Import, Ping, data_head, encode

pytestmark = pytest.mark.promise(76)

HELLO = MAGIC + encode(Hello(VERSION, {}))
BIND = HELLO + encode(Import(0, "up", False, 50, None, b"\x81\x81\x00"))


async def flood(stream: trio.abc.SendStream, data: bytes) -> int:
    """Writes until the other side ends it; returns how many bytes went."""
    sent = 0
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await stream.send_all(data)
                sent += len(data)
    return sent


@pytest.mark.parametrize(
    "start", [b"", HELLO, HELLO + encode(Import(9, "", True, 1, None, b""))], ids=["no hello", "hello", "broken"]
)
async def test_garbage_without_end_is_not_read_without_end(nursery: trio.Nursery, start: bytes) -> None:
    """The connection ends though bytes are there at each look, and little more than can be on its way is read."""
    async with open_exporter(limits=Limits(goodbye_timeout=0.5)) as exporter:
        port = await serve_tcp(nursery, exporter)
        with trio.fail_after(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(start or b"x")
                sent = await flood(stream, bytes(2**16))
        assert sent < MAX_DISCARDED + 32 * 2**20
        await until(lambda: exporter.statistics().connections == 0)


async def test_a_peer_that_goes_on_does_not_keep_the_block_open(nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as floods:
        with trio.fail_after(10):
            async with open_exporter(limits=Limits(goodbye_timeout=0.2, max_useless_frames=10**6)) as exporter:
                port = await serve_tcp(nursery, exporter)
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(HELLO)
                floods.start_soon(flood, stream, encode(Ping(1)) * 1000)
                await until(lambda: exporter.statistics().connections == 1)


@pytest.mark.parametrize("limit", ["frame_timeout", "value_timeout"])
async def test_what_dribbles_is_overdue(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, limit: str
) -> None:
    """Though each byte is a sign of life."""
    async with open_exporter(limits=Limits(frame_timeout=20, value_timeout=50)) as exporter:
        exporter.open_receive_channel("up")
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        await ours.send_all(BIND)
        head = b"\x81\x59\x03\xe8"
        if limit == "frame_timeout":
            await ours.send_all((data_head(0, 0, more=False, size=1004) + head)[:20])
            pieces = [b"x"] * 1000
        else:
            await ours.send_all(data_head(0, 0, more=True, size=4) + head)
            pieces = [data_head(0, 0, more=True, size=1) + b"x"] * 1000
        began = trio.current_time()
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in pieces:
                await ours.send_all(piece)
                await trio.sleep(3)
        timeout = {"frame_timeout": 20, "value_timeout": 50}[limit]
        assert timeout <= trio.current_time() - began < timeout + 10
        assert exporter.statistics().limits == {limit: 1}
