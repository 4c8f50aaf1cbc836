"""The reason why a block failed, and the program's own exception, are not lost when a scope outside is cancelled."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing
from support import connect

from trionetchan import ConnectionLostError, LimitError, Limits, open_exporter, open_importer


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, and in the groups in it."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for each in group.exceptions for leaf in leaves(each)]


@pytest.mark.parametrize("why", ["lost", "oversized"])
async def test_consumer_beside_the_block_does_not_hide_why_it_failed(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, why: str
) -> None:
    """A task beside the block reads an end that the library opened; when the block fails, it gets
    `ClosedResourceError`, which cancels the nursery around both. The block's error must be in the group."""
    exporter_stream: list[trio.abc.Stream] = []
    raised: list[BaseException] = []

    async def consume(receive: trio.MemoryReceiveChannel[int]) -> None:
        async for _ in receive:
            pass

    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        results = exporter.open_receive_channel("results")
        ours, theirs = trio.testing.memory_stream_pair()
        exporter_stream.append(theirs)
        nursery.start_soon(exporter.serve_stream, theirs)
        try:
            async with trio.open_nursery() as inner:  # noqa: SIM117  as a program is written
                async with open_importer(ours, limits=Limits(max_value_size=100)) as importer:
                    inner.start_soon(consume, await importer.open_receive_channel("jobs", int))
                    send = await importer.open_send_channel("results")
                    await trio.testing.wait_all_tasks_blocked()
                    if why == "lost":
                        await theirs.aclose()
                    else:
                        await send.send(b"x" * 1000)
                    await trio.sleep_forever()
        except BaseException as error:
            raised = leaves(error)
        results.close()
    assert any(isinstance(error, (ConnectionLostError, LimitError)) for error in raised), raised


@pytest.mark.parametrize("side", ["importer", "exporter"])
async def test_own_exception_is_not_lost_when_the_goodbye_is_cancelled(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, side: str
) -> None:
    """The body raises; while the block says goodbye to a peer that does not answer, a timeout around it passes."""
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(KeyError), trio.move_on_after(0.5):
        async with open_exporter() as exporter:
            if side == "exporter":
                nursery.start_soon(exporter.serve_stream, theirs)
                await trio.testing.wait_all_tasks_blocked()
                raise KeyError("a bug")
            async with open_importer(ours):
                await trio.testing.wait_all_tasks_blocked()
                raise KeyError("a bug")
    await ours.aclose()


async def test_failure_is_not_lost_when_the_goodbye_is_cancelled(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(Exception, match=r"does not fit|expected"), trio.move_on_after(0.5):
        async with open_exporter() as exporter:
            nursery.start_soon(exporter.serve_stream, theirs)
            send = exporter.open_send_channel("jobs", int)
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("jobs", int)
                await send.send("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                await trio.sleep_forever()
    await ours.aclose()
