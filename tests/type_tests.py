"""What type checkers infer. mypy and pyright check this file, in `.ci/run`; nothing here is run."""

# Each comment that expects an error is for both, and either of them tells one that is not needed:
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, assert_type

import attrs
import trio

from trionetchan import BoundListener, Delivery, Exporter, Importer, NetchanError, open_exporter, open_tcp_importer


@attrs.frozen
class Job:
    id: int


async def infer(nursery: trio.Nursery, into: trio.MemorySendChannel[Job], out: trio.MemoryReceiveChannel[Job]) -> None:
    async with open_exporter() as exporter, open_tcp_importer("127.0.0.1", 1) as importer:
        assert_type(exporter, Exporter)
        assert_type(importer, Importer)
        assert_type(importer.errors, trio.MemoryReceiveChannel[NetchanError])

        assert_type(exporter.open_send_channel("x", Job), trio.MemorySendChannel[Job])
        assert_type(exporter.open_receive_channel("x", Job), trio.MemoryReceiveChannel[Job])
        assert_type(await importer.open_send_channel("x", Job), trio.MemorySendChannel[Job])
        assert_type(await importer.open_receive_channel("x", Job), trio.MemoryReceiveChannel[Job])

        assert_type(await importer.open_receive_channel("x", Job | None), trio.MemoryReceiveChannel[Job | None])
        assert_type(await importer.open_receive_channel("x", list[int]), trio.MemoryReceiveChannel[list[int]])
        assert_type(
            await importer.open_receive_channel("x", Literal["a", "b"]), trio.MemoryReceiveChannel[Literal["a", "b"]]
        )

        assert_type(exporter.open_send_channel("x"), trio.MemorySendChannel[Any])
        assert_type(exporter.open_receive_channel("x"), trio.MemoryReceiveChannel[Any])
        assert_type(await importer.open_send_channel("x"), trio.MemorySendChannel[Any])
        assert_type(await importer.open_receive_channel("x"), trio.MemoryReceiveChannel[Any])

        by_hand = await importer.open_receive_channel("x", Job, acknowledge="manual")
        assert_type(by_hand, trio.MemoryReceiveChannel[Delivery[Job]])
        assert_type((await by_hand.receive()).value, Job)
        assert_type((await by_hand.receive()).redelivered, bool)
        assert_type(
            await importer.open_receive_channel("x", Job, acknowledge="delivered"), trio.MemoryReceiveChannel[Job]
        )
        assert_type(
            await importer.open_receive_channel("x", acknowledge="manual"), trio.MemoryReceiveChannel[Delivery[Any]]
        )
        deliveries, _ = trio.open_memory_channel[Delivery[Job]](0)
        await importer.import_("x", deliveries, Job, acknowledge="manual")
        assert_type(exporter.open_send_channel("x", Job, dead_letters=into), trio.MemorySendChannel[Job])
        exporter.export("x", out, Job, dead_letters=into)

        exporter.export("x", into, Job)
        exporter.export("x", out, Job)
        await importer.import_("x", into, Job)
        await importer.import_("x", out, Job, window=1, count=3)
        exporter.export("x", into)


async def infer_listeners(exporter: Exporter, listener: BoundListener) -> None:
    assert_type(listener.port, int)
    assert_type(listener.address, tuple[str, int] | str)
    assert_type(listener.socket, trio.socket.SocketType)
    assert_type(open_exporter(), AbstractAsyncContextManager[Exporter])
    started: trio.TaskStatus[list[BoundListener]] = trio.TASK_STATUS_IGNORED
    await exporter.serve_tcp(0, task_status=started)
    await exporter.serve_unix("socket", task_status=started)
    await open_exporter()  # type: ignore[misc]
    open_exporter().export  # type: ignore[attr-defined]  # noqa: B018


async def refuse(
    exporter: Exporter,
    importer: Importer,
    into: trio.MemorySendChannel[Job],
    out: trio.MemoryReceiveChannel[Job],
    stream: trio.abc.Stream,
) -> None:
    """Both type checkers tell each of these mistakes; one that goes untold makes its comment an error."""
    # An end of another type than the channel
    exporter.export("x", into, str)  # type: ignore[misc]
    exporter.export("x", into, Job | None)  # type: ignore[misc]
    await importer.import_("x", into, str)  # type: ignore[misc]
    await importer.import_("x", into, list[Job], window=1)  # type: ignore[misc]

    # What is no end
    exporter.export("x", print, str)  # type: ignore[call-overload]
    exporter.export("x", print)  # type: ignore[call-overload]
    exporter.export("x", Job(1), Job)  # type: ignore[call-overload]
    exporter.export("x", [1], int)  # type: ignore[call-overload]
    exporter.export("x", stream, bytes)  # type: ignore[call-overload]
    exporter.export("x", trio.open_memory_channel[Job](1), Job)  # type: ignore[call-overload]
    await importer.import_("x", print, str)  # type: ignore[call-overload]
    await importer.import_("x", print)  # type: ignore[call-overload]
    await importer.import_("x", Job(1), Job)  # type: ignore[call-overload]
    await importer.import_("x", stream)  # type: ignore[call-overload]
    await importer.import_("x", trio.open_memory_channel[Job](1), Job)  # type: ignore[call-overload]

    # Acknowledgement by the program
    await importer.import_("x", into, Job, acknowledge="manual")  # type: ignore[call-overload]
    await importer.import_("x", out, Job, acknowledge="manual")  # type: ignore[call-overload]
    await importer.open_receive_channel("x", Job, acknowledge="never")  # type: ignore[call-overload]
    await importer.open_send_channel("x", Job, acknowledge="manual")  # type: ignore[call-overload]
    exporter.export("x", out, Job, dead_letters=out)  # type: ignore[call-overload]

    # What is confused with them
    exporter.open_send_channel("x", Job).receive()  # type: ignore[attr-defined]
    await importer.open_send_channel("x", into, Job)  # type: ignore[call-overload]
    exporter.open_receive_channel("x", Job, count=3)  # type: ignore[call-overload]


async def untold(exporter: Exporter, importer: Importer, out: trio.MemoryReceiveChannel[Job]) -> None:
    """A receive end of another type is not told: as an end of objects it fits a type of objects. Sending tells it."""
    exporter.export("x", out, str)
    await importer.import_("x", out, str)
