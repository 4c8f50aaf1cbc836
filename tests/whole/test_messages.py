"""What a user reads when something goes wrong."""

from __future__ import annotations

import logging
import traceback

import pytest
import trio
import trio.testing
from support import connect, connected, put, take_all

from trionetchan import ConnectionLostError, LimitError, Limits, NoSuchChannelError, open_exporter, open_importer


async def end_with_an_error(nursery: trio.Nursery, why: str) -> BaseException:
    """What leaves an importer's block in which a nursery has a task that sends and one that receives."""
    limits = Limits(max_value_size=1000)
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        results = exporter.open_receive_channel("results", str)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)

        async def send(end: trio.MemorySendChannel[str]) -> None:
            await end.send("x")
            await results.receive()
            if why == "lost":
                await theirs.aclose()
            else:
                await end.send("x" * 2000)
            await trio.sleep_forever()

        try:
            async with open_importer(ours, limits=limits) as importer, trio.open_nursery() as inner:
                inner.start_soon(take_all, await importer.open_receive_channel("jobs", int))
                inner.start_soon(send, await importer.open_send_channel("results", str))
        except BaseException as error:
            return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(("why", "kind"), [("lost", ConnectionLostError), ("too large", LimitError)])
async def test_uncaught_error_prints_one_traceback(nursery: trio.Nursery, why: str, kind: type[BaseException]) -> None:
    """Not that of the cancellation of each task."""
    error = await end_with_an_error(nursery, why)
    assert type(error) is kind
    lines = "".join(traceback.format_exception(error)).splitlines()
    assert len(lines) < 40
    assert not any("Cancelled" in line or "Exception Group" in line for line in lines)


async def test_name_that_ended_says_so_and_how_many_importers_were_expected(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int)
        async with connect(nursery, exporter) as importer:
            nursery.start_soon(put, await importer.open_send_channel("results", int), [1])
            assert await take_all(results) == [1]
            with pytest.raises(NoSuchChannelError, match=r"ended after 1 of 1 .*\(importers=\)"):
                await importer.open_send_channel("results", int)
            with pytest.raises(NoSuchChannelError, match=r"got one that is not$"):
                await importer.open_send_channel("unheard of", int)


async def test_name_that_was_hung_up_says_so(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        exporter.hangup("jobs")
        with pytest.raises(NoSuchChannelError, match="it was hung up"):
            await importer.open_receive_channel("jobs", int)
        with pytest.raises(NoSuchChannelError, match="it was hung up"):
            exporter.hangup("jobs")


async def test_why_a_sender_got_a_broken_resource_error_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_receive_channel("results", int).close()
        send = await importer.open_send_channel("results", int)
        with caplog.at_level(logging.WARNING, "trionetchan"), pytest.raises(trio.BrokenResourceError):
            while True:
                await send.send(1)
                await trio.testing.wait_all_tasks_blocked()
        assert "results: the exporter's receiver is gone" in caplog.text
        assert "results" in str(importer.errors.receive_nowait())
