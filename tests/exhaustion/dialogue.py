"""A dialogue in which something of all is said, over connections that are cut as planned; and where they may be cut."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
import trio
from proxy import Network, Plan, Way
from scripted import Through
from support import put, take, take_all

from trionetchan import (
    ConnectionLostError,
    Exporter,
    Importer,
    Limits,
    NoSuchChannelError,
    open_exporter,
    open_importer,
)
from trionetchan._protocol.frames import MAGIC, FrameCutter, Hello, Position, Resume, Resumed

__all__ = ["Course", "cuts", "first_cuts", "hold", "resume_cuts"]

LIMITS = Limits(keepalive=1, keepalive_timeout=1, resume_timeout=30, handshake_timeout=4, max_frame_size=64 * 2**10)
LARGE = bytes(100_000)  # of which each frame carries a part
DULL = 100  # bytes of a frame, in the middle of which one byte is as good as another
BEGIN = 400  # bytes of a line, among which all is that resumes a session
EACH = 4096  # of which this one is cut at all the same


async def settle() -> None:
    """Longer than any acknowledgement is held back."""
    await trio.sleep(0.5)


# What is said


async def converse(exporter: Exporter, importer: Importer) -> None:
    """Values both ways, a counted import, a large value, values that the program settles; drain, sync, a hang-up, ends
    of either side, a refusal."""
    names = ("down", "counted", "hung up", "jobs")
    downs = {name: exporter.open_send_channel(name, int, max_buffer_size=9) for name in names}
    large = exporter.open_send_channel("large", bytes, max_buffer_size=1)
    up, gone = exporter.open_receive_channel("up", int), exporter.open_receive_channel("gone", int)
    from_down = await importer.open_receive_channel("down", int, window=2)
    counted = await importer.open_receive_channel("counted", int, count=2)
    hung_up = await importer.open_receive_channel("hung up", int, window=2)
    from_large = await importer.open_receive_channel("large", bytes)
    to_up = await importer.open_send_channel("up", int, window=2)
    to_gone = await importer.open_send_channel("gone", int, max_buffer_size=3)
    with pytest.raises(NoSuchChannelError):
        await importer.open_send_channel("missing", int)
    for down in downs.values():
        for value in range(4):
            down.send_nowait(value)
    large.send_nowait(LARGE)
    await settle_jobs(exporter, importer, downs["jobs"])
    assert await take_all(counted) == [0, 1]
    assert await take(hung_up, 1) == [0]
    importer.hangup("hung up")
    assert await from_large.receive() == LARGE
    gone.close()
    await to_gone.send(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, to_up, range(5))
        nursery.start_soon(importer.drain, "up")
        nursery.start_soon(check_all, up, range(5))
        downs["down"].close()
        await check_all(from_down, range(4))
    assert (await importer.errors.receive()).channel == "gone"
    await importer.sync()
    for name, rest in (("counted", [2, 3]), ("hung up", [1, 2])):
        assert await take_all(await importer.open_receive_channel(name, int, count=2)) == rest
    await check_statistics(exporter, importer)


async def check_all(receive: trio.abc.ReceiveChannel[int], values: Sequence[int]) -> None:
    assert await take_all(receive) == [*values]


async def settle_jobs(exporter: Exporter, importer: Importer, jobs: trio.MemorySendChannel[int]) -> None:
    """The first value is rejected, and comes again; all others come once."""
    receive = await importer.open_receive_channel("jobs", int, window=2, acknowledge="manual")
    first = await receive.receive()
    assert (first.value, first.redelivered) == (0, False)
    await first.reject()
    left = [0, 1, 2, 3]
    jobs.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.drain, "jobs")
        async for delivery in receive:
            left.remove(delivery.value)
            assert delivery.redelivered == (delivery.value == 0)
            await delivery.ack()
    assert not left


async def check_statistics(exporter: Exporter, importer: Importer) -> None:
    """Both sides have counted the same, and all that there was."""
    await exporter.drain("large", "counted", "down")
    await exporter.sync()
    await settle()
    here, there = exporter.statistics(), importer.statistics()
    assert (here.connections, here.suspended) == (1, 0)
    assert here.dropped <= 1  # what came for the receiver that is gone, unless that was noticed before
    expected = {"down": (4, 0), "counted": (4, 0), "hung up": (3, 1), "jobs": (4, 0), "large": (1, 0)}
    assert {*here.channels} == {*expected}
    for name, (sent, waiting) in expected.items():
        channel = here.channels[name]
        assert (channel.sent, channel.acknowledged, channel.waiting) == (sent, sent, waiting), (name, channel)
        assert (channel.unacknowledged, channel.dropped) == (0, 0), (name, channel)
    large = here.channels["large"]
    assert large.bytes_sent == there.channels["large"].bytes_received > len(LARGE)
    assert there.channels["large"].received == 1
    assert [*there.channels] == ["large"]


# Over what


class Recorded(Network):
    """A network that keeps what the importer has written and read, of each line."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.said: list[dict[Way, bytearray]] = []

    async def connect(self) -> trio.abc.Stream:
        stream = Through(await super().connect())
        said = {way: bytearray() for way in Way}
        self.said.append(said)

        async def arriving(chunk: bytes) -> None:
            said[Way.DOWN] += chunk

        def leaving(chunk: bytes) -> None:
            said[Way.UP] += chunk

        stream.arriving, stream.leaving = arriving, leaving
        return stream


@attrs.frozen
class Course:
    """How a dialogue went: what was said on each line, and how much before its session had begun."""

    begun: dict[Way, int]
    said: list[dict[Way, bytearray]]


async def hold(plans: Sequence[Plan], early: bool = False) -> Course:
    """One dialogue. `early`: it is cut before there is a session, so that it may have to begin anew."""
    async with trio.open_nursery() as nursery:
        async with open_exporter(limits=LIMITS) as exporter:
            network = Recorded(nursery, exporter, plans)
            open_ = functools.partial(open_importer, network.connect, limits=LIMITS)
            with trio.fail_after(500):
                begun = await _hold(exporter, open_, network, early)
        nursery.cancel_scope.cancel()
    return Course(begun, network.said)


async def _hold(exporter: Exporter, open_: Callable[[], Any], network: Recorded, early: bool) -> dict[Way, int]:
    begun = dict.fromkeys(Way, 0)
    try:
        async with open_() as importer:
            await trio.sleep(10 if early else 0.5)  # time enough to notice that there is no hello
            begun = {way: len(network.said[0][way]) for way in Way}
            await converse(exporter, importer)
    except ConnectionLostError:
        assert early, "the session is lost"
        assert not exporter.statistics().channels
        await trio.sleep(LIMITS.resume_timeout)
        async with open_() as importer:
            await converse(exporter, importer)
    return begun


# Where it is cut


def frame_ends(said: bytes | bytearray) -> list[int]:
    """Where frames end; each is a byte string of CBOR, behind the tag that all begins with."""
    ends: list[int] = []
    position = len(MAGIC)
    while position < len(said):
        size = said[position] & 31
        more = {24: 1, 25: 2, 26: 4}.get(size, 0)
        if more:
            size = int.from_bytes(said[position + 1 : position + 1 + more], "big")
        position += 1 + more + size
        ends.append(position)
    return ends


def cuts(said: bytes | bytearray) -> Iterator[int]:
    """Each byte behind which a line may be cut, but few of those in the middle of a large value."""
    ends = [0, *frame_ends(said)]
    for begin, end in itertools.pairwise(ends):
        for position in range(begin, min(end, len(said))):
            dull = end - begin > DULL and DULL // 2 < position - begin < end - begin - DULL // 2
            if not dull or position % EACH == 0:
                yield position


def resume_cuts(said: bytes | bytearray) -> Iterator[int]:
    """The same for a line on which a session is resumed: each byte of what is said for that, and of the four frames
    behind it. All that comes later is as if there had been no first cut."""
    kinds = [type(frame) for frame in FrameCutter(2**30).cut(bytes(said[:BEGIN]))]
    last = max((place for place, kind in enumerate(kinds) if kind in (Hello, Resume, Resumed, Position)), default=0)
    ends = frame_ends(said)
    end = ends[min(last + 4, len(ends) - 1)]
    return (position for position in cuts(said) if position < end)


def first_cuts(said: bytes | bytearray, begun: int) -> list[int]:
    """One for each frame of a session: behind it, or before its last byte, in turn."""
    return [end - place % 2 for place, end in enumerate(frame_ends(said)) if begun <= end - place % 2 < len(said)]
