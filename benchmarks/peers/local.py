"""The baseline: trio memory channels in one process, one task at each end."""

from __future__ import annotations

import itertools

import trio

from ..measure import Client, Sample, expect_end, receive_all, round_trips
from ..work import Task, Work

__all__ = ["connect"]


def connect(client: Client) -> Sample:
    work = client.work
    return trio.run(_round_trips if work.task is Task.ROUND_TRIP else _stream, work)


async def _stream(work: Work) -> Sample:
    send, receive = trio.open_memory_channel[object](work.buffer)

    async def send_all() -> None:
        async with send:
            for value in itertools.islice(work.sequence(), work.total):
                await send.send(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all)
        sample = await receive_all(receive.__anext__, work)
        await expect_end(receive)
    return sample


async def _round_trips(work: Work) -> Sample:
    requests, incoming = trio.open_memory_channel[int](work.buffer)
    replies, answers = trio.open_memory_channel[int](work.buffer)

    async def echo() -> None:
        async with replies:
            async for number in incoming:
                await replies.send(number)

    async def ask(number: int) -> int:
        await requests.send(number)
        return await answers.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        async with requests:
            sample = await round_trips(ask, work)
    return sample
