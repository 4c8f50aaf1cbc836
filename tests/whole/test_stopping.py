"""A graceful stop of an exporter, and importers that wait for the next one."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from support import serve_tcp, take, take_all
from trionetchan import (
    ConnectionLostError,
    Exporter,
    Importer,
    Limits,
    NoSuchChannelError,
    TypeMismatchError,
    open_exporter,
    open_importer,
    open_tcp_importer,
)

PATIENT = Limits(restart_timeout=60)


@attrs.define
class Address:
    """Where importers find the exporter that there is now, if there is one."""

    nursery: trio.Nursery
    exporter: Exporter | None = None
    attempts: int = 0

    async def connect(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        if self.exporter is None:
            raise OSError("nobody is here")
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.exporter.serve_stream, theirs)
        return ours

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Exporter]:
        """An exporter at this address, from now on."""
        async with open_exporter() as exporter:
            self.exporter = exporter
            yield exporter

    async def stop(self, timeout: float = math.inf) -> None:
        assert self.exporter is not None
        exporter, self.exporter = self.exporter, None
        await exporter.stop(timeout=timeout)


@pytest.fixture
async def address(nursery: trio.Nursery) -> Address:
    return Address(nursery)


async def test_channels_go_on_with_the_next_exporter(autojump_clock: trio.testing.MockClock, address: Address) -> None:
    async with open_importer_at(address) as (first, importer):
        out = first.open_send_channel("out", int, max_buffer_size=10)
        back = first.open_receive_channel("back", int, max_buffer_size=10)
        receive = await importer.open_receive_channel("out", int)
        send = await importer.open_send_channel("back", int)
        await out.send(1)
        assert await receive.receive() == 1
        await send.send(1)
        assert await back.receive() == 1
        await address.stop()
        await send.send(2)
        await trio.sleep(30)
        async with address.opened() as second:
            out2 = second.open_send_channel("out", int, max_buffer_size=10)
            back2 = second.open_receive_channel("back", int, max_buffer_size=10)
            await out2.send(2)
            assert await receive.receive() == 2
            assert await back2.receive() == 2
            send.close()
            out2.close()
            assert await take_all(receive) == []
            assert await take_all(back2) == []


@asynccontextmanager
async def open_importer_at(
    address: Address, limits: Limits = PATIENT
) -> AsyncGenerator[tuple[Exporter, Importer]]:
    """A first exporter at this address, and an importer of it."""
    async with address.opened() as exporter, open_importer(address.connect, limits=limits) as importer:
        yield exporter, importer
