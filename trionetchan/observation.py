"""To observe an exporter from another process: what it has exported, of which types, to whom, and what waits.

An exporter tells it only if it was opened with `open_exporter(observable=True)`. Who may import channels of it may then
observe it, too: the names and types of its channels, the addresses of its importers, and counts. Of values it tells
nothing. Observing costs an exporter a snapshot for each that is asked for, at most twenty a second; nothing where
nobody asks.
"""

from __future__ import annotations

import trio

from ._errors import NetchanError
from ._importer import Importer
from ._observation import (
    RESERVED,
    STATISTICS,
    Observation,
    ObservedChannel,
    ObservedImporter,
    TypeField,
    TypeNode,
)

__all__ = [
    "RESERVED",
    "STATISTICS",
    "Observation",
    "ObservedChannel",
    "ObservedImporter",
    "TypeField",
    "TypeNode",
    "observe",
]


async def observe(importer: Importer) -> Observation:
    """Asks the exporter how it stands now, by the channel `$statistics`.

    `NoSuchChannelError` if it does not tell, `NetchanError` if what there is to tell is larger than its own
    `max_value_size`; else what `import_` raises, or the importer's block. One task of an importer at a time may ask,
    else `ChannelNameInUseError`. Cancelling it withdraws.
    """
    async with await importer.open_receive_channel(STATISTICS, Observation, window=1, count=1) as snapshots:
        try:
            return await snapshots.receive()
        except trio.EndOfChannel:
            why = "expected a snapshot of the exporter, got its hang-up: see its log"
            raise NetchanError(f"{STATISTICS}: {why}", channel=STATISTICS) from None
