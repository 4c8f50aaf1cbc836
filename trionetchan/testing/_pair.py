"""An exporter and its importers, connected in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trionetchan import Exporter, Importer, Limits, open_exporter, open_importer

from ._line import Line
from ._network import Network, quiet_tasks

__all__ = ["open_memory_importer", "open_pair"]


@asynccontextmanager
async def open_memory_importer(exporter: Exporter, *, limits: Limits = Limits()) -> AsyncGenerator[Importer]:  # noqa: B008
    """An importer that is connected to `exporter` in memory; use it with `async with`, inside the exporter's block.

    Call it once for each importer, as many as the test wants. They do not connect again: for tests of broken
    connections give `open_importer` the `connect` of a `Network`.

        async with open_exporter() as exporter, open_memory_importer(exporter) as importer:
            ...

    What it raises is what `open_importer` raises. Leaving waits until the exporter has seen the importer leave.
    """
    line = Line()
    async with quiet_tasks() as nursery:
        nursery.start_soon(exporter.serve_stream, line.exporter_end)
        async with open_importer(line.importer_end, limits=limits) as importer:
            yield importer


@asynccontextmanager
async def open_pair(
    network: Network | None = None,
    *,
    limits: Limits = Limits(),  # noqa: B008
    importer_limits: Limits | None = None,
) -> AsyncGenerator[tuple[Exporter, Importer]]:
    """An exporter and an importer that is connected to it in memory; use it with `async with`.

        async with open_pair() as (exporter, importer):
            send = exporter.open_send_channel("numbers", int)
            receive = await importer.open_receive_channel("numbers", int)
            await send.send(1)
            assert await receive.receive() == 1

    With a `network`, they are connected by it, and when their connection breaks the importer connects again, as over
    TCP. `importer_limits` are `limits` unless told. What leaves either block stays as it is. The importer leaves
    first: what the exporter has not brought to it then, it drops, so drain before.
    """
    async with open_exporter(limits=limits) as exporter:
        if network is None:
            async with open_memory_importer(exporter, limits=importer_limits or limits) as importer:
                yield exporter, importer
            return
        network.exporter = exporter
        async with open_importer(network.connect, limits=importer_limits or limits) as importer:
            yield exporter, importer
