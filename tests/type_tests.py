"""What type checkers infer. mypy and pyright check this file, in `.ci/run`; nothing here is run."""

from __future__ import annotations

from typing import Any, Literal, assert_type

import attrs
import trio

from trionetchan import Exporter, Importer, NetchanError, open_exporter, open_tcp_importer


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

        exporter.export("x", into, Job)
        exporter.export("x", out, Job)
        await importer.import_("x", into, Job)
        await importer.import_("x", out, Job, window=1, count=3)
        exporter.export("x", into)
        exporter.export("x", into, str)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
