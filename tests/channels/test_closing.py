"""What becomes of a finished name, of a cancelled sender, and of ends that are closed twice."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support import connect, connected, put, take_all

from trionetchan import ChannelNameInUseError, open_exporter


@pytest.mark.promise(19)
async def test_a_finished_name_can_still_be_imported_and_ends_at_once(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        await exporter.open_send_channel("done", int).aclose()
        for _ in range(3):
            assert await take_all(await importer.open_receive_channel("done", int)) == []


@pytest.mark.promise(19)
async def test_a_finished_name_can_be_exported_anew_when_all_of_it_is_delivered(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int, max_buffer_size=9)
        await put(send, [1, 2])
        with pytest.raises(ChannelNameInUseError):
            exporter.open_send_channel("jobs", int)  # two values are waiting
        assert await take_all(await importer.open_receive_channel("jobs", int)) == [1, 2]
        await exporter.drain()
        again = exporter.open_send_channel("jobs", str, max_buffer_size=9)
        await put(again, ["three"])
        assert await take_all(await importer.open_receive_channel("jobs", str)) == ["three"]


@pytest.mark.promise(39)
async def test_a_blocked_sender_that_is_cancelled_does_not_keep_a_drain_waiting(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        drained = trio.Event()

        async def drain() -> None:
            await exporter.drain()
            drained.set()

        with trio.CancelScope() as blocked:
            nursery.start_soon(drain)

            async def cancel() -> None:
                await trio.testing.wait_all_tasks_blocked()
                assert not drained.is_set()
                blocked.cancel()

            nursery.start_soon(cancel)
            await send.send(1)
        start = trio.current_time()
        await drained.wait()
        assert trio.current_time() - start <= 0.06


@pytest.mark.promise(30)
async def test_ends_may_be_closed_again_and_again(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter, connect(nursery, exporter) as importer:
        for name, sender, receiver in (
            ("down", exporter.open_send_channel("down", int), await importer.open_receive_channel("down", int)),
            ("up", None, exporter.open_receive_channel("up", int)),
        ):
            end = sender or await importer.open_send_channel(name, int)
            for _ in range(2):
                await end.aclose()
                receiver.close()
                await trio.testing.wait_all_tasks_blocked()
                await receiver.aclose()
                end.close()
    exported = exporter  # its block is left: its calls say so, however often
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            exported.hangup("down")


@pytest.mark.promise(29)
async def test_values_that_arrived_before_their_sender_died_are_delivered(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        receive = exporter.open_receive_channel("results", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        with pytest.RaisesGroup(KeyError) as caught:
            async with trio.open_nursery(), connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("results", int, max_buffer_size=9)
                for value in range(5):
                    send.send_nowait(value)
                await trio.testing.wait_all_tasks_blocked()
                raise KeyError
        assert caught.value
        assert [await receive.receive() for _ in range(5)] == list(range(5))
        await ours.aclose()
