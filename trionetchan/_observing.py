"""The channel `$statistics` of an exporter that may be observed.

It is a channel as any other to who imports it, but made anew for each importer, so that none gets what another was to
get, and nothing that an importer left behind comes to the next. A snapshot is made when an importer has credit for it:
without importers there are none, and one that is slow or gone holds one snapshot and no more. These channels are not in
the registry: drain, sync, stop and leaving the block do not wait for who observes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from typing import Any

import attrs
import trio

from ._channels.outgoing import Outgoing
from ._channels.registry import Channel
from ._codec import Codec, Schema, codec_for
from ._endpoint import Owner
from ._errors import Code
from ._limits import Limits
from ._log import BoundedLog
from ._network.links import Link, SendLink
from ._observation import STATISTICS, Observation, ObservedChannel, ObservedImporter, TypeField, TypeNode
from ._peers import Peers
from ._statistics import ExporterStatistics

__all__ = ["Observatory"]

SHORTEST_INTERVAL = 0.05  # seconds between two snapshots
MAX_TYPE_NODES = 10_000  # in one snapshot: more types are left out


class Observatory:
    """Makes a channel of snapshots for each importer that asks. `run` starts a task that ends with the block."""

    def __init__(
        self,
        limits: Limits,
        log: BoundedLog,
        take: Callable[[], Observation],
        run: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._limits = limits
        self._log = log
        self._take = take
        self._run = run
        self._codec: Codec[Observation] = codec_for(Observation)
        self._last: Observation | None = None
        self._taken_at = -math.inf
        self.sample = self._new_channel()
        """A channel that no importer gets, to compare with what is asked for."""

    def open(self) -> Outgoing[Observation]:
        """A channel for one importer. Attach its link before the next checkpoint."""
        channel = self._new_channel()
        self._run(channel.run)
        return channel

    def _new_channel(self) -> Outgoing[Observation]:
        def failed(error: BaseException) -> None:  # such as a snapshot that is too large for who asks
            self._log.error("observing the exporter: %s", error)
            channel.hang_up()

        def peer_left(channel: Outgoing[Any], _code: Code | None, _message: str) -> None:
            channel.abandon("nobody observes any more")

        silent = BoundedLog(0)  # that a snapshot is dropped is no news
        owner = Owner(log=silent, failed=failed, peer_left=peer_left, channel_ended=lambda _: None)
        end = _Snapshots(self._next)
        channel = Outgoing(STATISTICS, end, self._codec, window=1, limits=self._limits, owner=owner)
        return channel

    async def _next(self) -> Observation:
        """One that is made after it was asked for. One snapshot serves all that ask at about the same time."""
        asked = trio.current_time()
        await trio.sleep_until(self._taken_at + SHORTEST_INTERVAL)
        if self._last is None or self._taken_at <= asked:
            self._last, self._taken_at = self._take(), trio.current_time()
        return self._last


class _Snapshots(trio.abc.ReceiveChannel[Observation]):
    """The local end of one of these channels: what is received from it is made then."""

    def __init__(self, take: Callable[[], Awaitable[Observation]]) -> None:
        self._take = take

    async def receive(self) -> Observation:
        return await self._take()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.define
class Observer:
    """Takes snapshots of an exporter."""

    _peers: Peers
    _statistics: Callable[[], ExporterStatistics]
    _channel: Callable[[str], Channel]
    _began: float = attrs.field(factory=trio.current_time, init=False)
    _trees: dict[bytes, list[TypeNode]] = attrs.field(factory=dict[bytes, list[TypeNode]], init=False)

    def take(self) -> Observation:
        statistics = self._statistics()
        importers = self._importers()
        types: dict[bytes, int] = {}
        channels = [
            self._observed(self._channel(name), importers.get(name, ()), types) for name in sorted(statistics.channels)
        ]
        found = [self._trees[data] for data in types]
        self._trees = {data: self._trees[data] for data in types}
        return Observation(
            version=version("trionetchan"),
            process=os.getpid(),
            seconds=trio.current_time() - self._began,
            connections=statistics.connections,
            suspended=statistics.suspended,
            resumed=statistics.resumed,
            dropped=statistics.dropped,
            limits=dict(statistics.limits),
            channels=channels,
            types=found,
        )

    def _importers(self) -> dict[str, list[ObservedImporter]]:
        """By the name of the channel."""
        found: dict[str, list[ObservedImporter]] = {}
        for number, address, peer in self._peers.present():
            for link in peer.links:
                window, carried, unacknowledged = _counts(link)
                importer = ObservedImporter(
                    peer=number,
                    address=address,
                    suspended=peer.suspended,
                    window=window,
                    carried=carried,
                    unacknowledged=unacknowledged,
                )
                found.setdefault(link.name, []).append(importer)
        return found

    def _observed(
        self, channel: Channel, importers: Iterable[ObservedImporter], types: dict[bytes, int]
    ) -> ObservedChannel:
        counts = channel.statistics()
        return ObservedChannel(
            name=channel.name,
            direction=counts.direction.value,
            value_type=counts.value_type,
            type=self._type(channel.codec.schema, types),
            window=channel.window,
            sent=counts.sent,
            received=counts.received,
            acknowledged=counts.acknowledged,
            unacknowledged=counts.unacknowledged,
            waiting=counts.waiting,
            redelivered=counts.redelivered,
            dropped=counts.dropped,
            dead_letters=counts.dead_letters,
            bytes_sent=counts.bytes_sent,
            bytes_received=counts.bytes_received,
            importers=list(importers),
        )

    def _type(self, schema: Schema, types: dict[bytes, int]) -> int | None:
        """The place of a type among those that are told; None if there are too many."""
        data = schema.to_bytes()
        if data not in types:
            tree = self._trees.get(data) or _tree(schema)
            if sum(len(self._trees[other]) for other in types) + len(tree) > MAX_TYPE_NODES:
                return None
            self._trees[data] = tree
            types[data] = len(types)
        return types[data]


def _counts(link: Link) -> tuple[int, int, int]:
    """The window, how many values went over it, and how many of them are still this link's business."""
    if isinstance(link, SendLink):
        return link.window, link.sent, link.unacknowledged
    return link.window, link.received, link.undelivered


def _tree(schema: Schema) -> list[TypeNode]:
    return [
        TypeNode(
            kind=node.kind.name.lower(),
            items=list(node.items),
            values=list(node.values),
            name=node.name,
            fields=[
                TypeField(name=field.name, type=field.node, may_be_missing=field.may_be_missing)
                for field in node.fields
            ],
            ignores_others=node.open,
        )
        for node in schema.nodes
    ]
