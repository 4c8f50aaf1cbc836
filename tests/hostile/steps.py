"""What hostile peers do besides writing bytes: steps of their scripts."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress

import trio
from raw_peer import ID, NONCE, RESUMES, SECRET, Act, RawPeer, body, goodbye, hello, ping, proof
from second_frames import ACCEPT, HELLO, MAGIC, PONG, POSITION, RESUME, Parameters
from second_session import frame

__all__ = [
    "again",
    "dribbles",
    "ends",
    "fills_descriptors",
    "floods_connections",
    "frame_of",
    "half_closes",
    "hears",
    "keeps_its_proof",
    "nested",
    "next_key",
    "resets",
    "resumes",
    "waits",
]


def hears(*kinds: int) -> Act:
    """Waits until a frame of each of these kinds has come, in this order."""

    async def step(peer: RawPeer) -> None:
        for kind in kinds:
            await peer.hear(kind)

    return step


async def ends(peer: RawPeer) -> None:
    """Ends its stream without a goodbye."""
    await peer.end()


async def half_closes(peer: RawPeer) -> None:
    """Ends its direction of the stream."""
    stream = peer.stream
    assert isinstance(stream, trio.SocketStream)
    await stream.send_eof()


async def resets(peer: RawPeer) -> None:
    """Breaks its connection with a reset."""
    peer.reset()


async def waits(peer: RawPeer) -> None:
    """Goes on when all that it has said has been read."""
    await peer.say(ping(4711))
    while await peer.hear(PONG) != (4711,):
        pass


def dribbles(data: bytes, pause: float = 0.01) -> Act:
    """Writes byte by byte, with so many seconds between, for as long as somebody reads."""

    async def step(peer: RawPeer) -> None:
        try:
            for byte in data:
                await peer.stream.send_all(bytes([byte]))
                await trio.sleep(pause)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    return step


# Several streams


def again(parameters: Parameters | None = None, *, keeps: bool = False) -> Act:
    """Opens another stream, and says hello there; the first one breaks, unless it `keeps` it."""

    async def step(peer: RawPeer) -> None:
        if not keeps:
            await peer.end()
        await peer.connect()
        await peer.say(hello(1, RESUMES if parameters is None else parameters))
        await peer.hear(HELLO)

    return step


def resumes(
    *,
    session: bytes = ID,
    epoch: int = 0,
    key: bytes = SECRET,
    seen: int = 0,
    positions: Mapping[int, int] | None = None,
    announced: int | None = None,
    purpose: bytes = b"importer",
    of: Callable[[RawPeer], bytes] | None = None,
) -> Act:
    """Says RESUME and POSITIONs. `of`: where it takes the proof from, if it does not make it."""
    has = positions or {}

    async def step(peer: RawPeer) -> None:
        made = proof(purpose, NONCE, peer.nonce, epoch, key) if of is None else of(peer)
        said = frame(RESUME, session, epoch, made, seen, len(has) if announced is None else announced)
        await peer.say(said, *(frame(POSITION, *position) for position in has.items()))

    return step


async def goes_back(peer: RawPeer) -> None:
    """Goes on on its first stream."""
    peer.go_back()


def has_received(**positions: int) -> Act:
    """Says, when it resumes in the end, that it has had so many values on the channels `c0`, `c1` …"""

    async def step(peer: RawPeer) -> None:
        await trio.lowlevel.checkpoint()
        peer.positions = {int(name[1:]): received for name, received in positions.items()}

    return step


async def waits_for_suspension(peer: RawPeer) -> None:
    """Goes on when the exporter has noticed that its connection broke."""
    while not peer.exporter.statistics().suspended:  # noqa: ASYNC110
        await trio.sleep(0.001)


def hangs_up(name: str) -> Act:
    """Not the peer does: the exporter's program hangs up a channel meanwhile."""

    async def step(peer: RawPeer) -> None:
        await trio.lowlevel.checkpoint()
        peer.exporter.hangup(name)

    return step


async def keeps_its_proof(peer: RawPeer) -> None:
    """Remembers the right proof of this stream."""
    peer.notes["proof"] = proof(b"importer", NONCE, peer.nonce)


def next_key(peer: RawPeer, key: bytes = SECRET, epoch: int = 0) -> bytes:
    """The secret of the epoch that a resume on this stream begins."""
    return proof(b"next", NONCE, peer.nonce, epoch, key)


def nested(depth: int, inner: bytes = b"\x00") -> bytes:
    """Arrays of one item, each within the one before."""
    return b"\x81" * depth + inner


def frame_of(*items: bytes) -> bytes:
    """A frame whose fields are these items, well-formed or not."""
    count = len(items)
    return body((bytes([0x80 | count]) if count < 24 else bytes([0x98, count])) + b"".join(items))


# The exporter's machine


def floods_connections(count: int) -> Act:
    """Opens so many connections more, and says nothing on them. Goes on with the last one that was opened."""

    async def step(peer: RawPeer) -> None:
        for _ in range(count):
            await peer.connect()

    return step


def connects_and_goes(count: int, data: bytes = b"x") -> Act:
    """Opens so many connections more, one after the other, and writes these bytes on each."""

    async def step(peer: RawPeer) -> None:
        for _ in range(count):
            await peer.say(data)
            await peer.drain()
            await peer.connect()

    return step


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def fills_descriptors(peer: RawPeer) -> None:
    """Connects while the exporter's process has no file descriptor left; when it has noticed, it has some again."""
    address = peer.address
    await peer.say(MAGIC, goodbye())
    await peer.hear_all()
    await peer.end()
    while peer.exporter.statistics().connections > 1:  # noqa: ASYNC110
        await trio.sleep(0.001)
    client = trio.socket.socket()  # it has its own descriptor already
    noticed = Records()
    logging.getLogger("trionetchan").addHandler(noticed)
    try:
        with no_descriptors(client.fileno() + 10):
            await client.connect(address)
            await client.send(hello())
            while not noticed.records:  # noqa: ASYNC110
                await trio.sleep(0.001)
    finally:
        logging.getLogger("trionetchan").removeHandler(noticed)
    peer.go_on_with(trio.SocketStream(client))
    await peer.hear(HELLO)


@contextmanager
def no_descriptors(highest: int) -> Generator[None]:
    """This process has none left."""
    files: list[int] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
    try:
        with suppress(OSError):
            while True:
                files.append(os.dup(0))
        yield
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def hears_accept(window: int) -> Act:
    """Hears that its import is accepted, with this window."""

    async def step(peer: RawPeer) -> None:
        assert (await peer.hear(ACCEPT))[1] == window

    return step
