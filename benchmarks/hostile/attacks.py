"""What hostile peers do: each function is one connection's life, and is called again and again.

They say what the protocol's page allows as far as that does harm, since more than that only costs them the connection.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable

import attrs
import cbor2
import trio

from .line import Line, Target, cut
from .words import (
    ACCEPT,
    ACK,
    ANY,
    BYTES,
    CLOSE,
    DATA,
    FINISHED,
    GOODBYE,
    HELLO,
    INT,
    PING,
    POSITION,
    REDELIVERED,
    REJECT,
    RESUME,
    SEEN,
    SETTLE,
    WITHDRAWN,
    bind,
    frame,
    hello,
    keys,
    many_records,
)

NOISE = random.Random(1).randbytes(2**18)
FRAGMENTED = 2000  # bytes of a value that is sent in fragments of one
HEADS = b"\x81\x59" + FRAGMENTED.to_bytes(2, "big")
UNANSWERED = 3300  # imports whose answers nobody reads; 65 KB or less
FILLING = 60_000  # bytes of each value of those that fill windows
LEAST_FILLING = 1000


# Frames that bring nothing


async def pings(target: Target) -> None:
    async with target.connect() as line:
        await line.say(hello())
        await line.flood(frame(PING, 1) * 20_000)


async def repeated_ack(target: Target) -> None:
    async with target.connect() as line:
        await line.say(hello() + bind(0, "numbers", receives=True, schema=INT))
        await line.hear(ACCEPT)
        await line.flood(frame(ACK, 0, 0, 64, 2**20) * 20_000)


async def late_data(target: Target) -> None:
    """Data for a closed channel."""
    async with target.connect() as line:
        await line.say(hello() + bind(0, "taken", receives=False, schema=BYTES))
        await line.hear(ACCEPT)
        await line.say(frame(CLOSE, 0, 0, FINISHED, ""))
        await line.hear(CLOSE)
        await line.flood(frame(DATA, 0, 0, False, b"\x81\x40") * 20_000)


async def seen(target: Target) -> None:
    async with target.connect() as line:
        await line.say(hello(**keys()))
        await line.flood(frame(SEEN, 0) * 20_000)


async def churn(target: Target) -> None:
    """Imports that are withdrawn at once."""
    numbers = itertools.count()

    def block() -> bytes:
        return b"".join(
            bind(number, "numbers" if number % 2 else "taken", receives=bool(number % 2))
            + frame(CLOSE, number, 0, WITHDRAWN, "")
            for number in itertools.islice(numbers, 500)
        )

    async with target.connect() as line, trio.open_nursery() as nursery:
        await line.say(hello())
        nursery.start_soon(line.drain)
        while True:
            await line.say(block())


# Values


async def tiny_fragments(target: Target) -> None:
    """Values in fragments of one byte, within the credit."""
    async with target.connect() as line:
        await line.say(hello() + bind(0, "taken", receives=False, schema=BYTES))
        await line.hear(ACCEPT)
        delivered = 0
        for first in itertools.count():
            zeros = frame(DATA, 0, first, True, b"\0") * (FRAGMENTED - 1)
            heads = b"".join(frame(DATA, 0, first, True, bytes([byte])) for byte in HEADS)
            await line.say(heads + zeros + frame(DATA, 0, first, False, b"\0"))
            while first - delivered > 30:
                delivered = (await line.hear(ACK))[2]


async def endless_value(target: Target) -> None:
    async with target.connect() as line:
        await line.say(hello() + bind(0, "taken", receives=False, schema=BYTES))
        await line.hear(ACCEPT)
        await line.say(frame(DATA, 0, 0, True, b"\x81\x5a\x03\xff\xff\xf0"))
        await line.flood(frame(DATA, 0, 0, True, bytes(16_000)) * 16)


async def refused_values(target: Target) -> None:
    """A text where an integer belongs; each closes its channel."""
    async with target.connect() as line:
        await line.say(hello())
        for number in itertools.count():
            await line.say(bind(number, "integers", receives=False, schema=ANY))
            await line.hear(ACCEPT)
            await line.say(frame(DATA, number, 0, False, b"\x81\x61x"))
            await line.hear(CLOSE)
            await line.say(frame(CLOSE, number, 1, FINISHED, ""))


@attrs.define
class _Filled:
    """A channel that is filled as far as the exporter lets it be."""

    byte_limit: int
    values: int = 0
    size: int = 0

    async def fill(self, channel: int, line: Line) -> None:
        while self.values < 64 and (room := min(FILLING, self.byte_limit - self.size)) >= LEAST_FILLING:
            payload = b"\x81\x5a" + (room - 6).to_bytes(4, "big") + bytes(room - 6)
            await line.say(frame(DATA, channel, self.values, False, payload))
            self.values += 1
            self.size += room


async def fan_in(target: Target) -> None:
    """Many imports of one name whose values the program does not take, all windows filled. If an import is one too
    many, the next connection does with fewer."""
    async with target.connect() as line:
        filled = await _fill(target, line)
        while filled:
            _, channel, _, _, limit = await line.hear(ACK)
            filled[channel].byte_limit = max(filled[channel].byte_limit, limit)
            await filled[channel].fill(channel, line)


async def fan_in_cycles(target: Target) -> None:
    """The same, and then it goes, and comes again."""
    async with target.connect() as line:
        for _ in await _fill(target, line):
            await line.say(frame(PING, 1))


async def _fill(target: Target, line: Line) -> dict[int, _Filled]:
    count = target.learned or 100
    await line.say(hello() + b"".join(bind(n, "full", receives=False, schema=BYTES) for n in range(count)))
    buffer = (await line.hear(HELLO))[2]["buffer"]
    filled: dict[int, _Filled] = {}
    for _ in range(count):
        kind, channel, *_ = await line.hear(ACCEPT, REJECT)
        if kind == REJECT:
            target.learned = max(len(filled), 1)
            return {}
        filled[channel] = _Filled(buffer)
    for channel, one in filled.items():
        await one.fill(channel, line)
    return filled


# Imports


async def compare(target: Target) -> None:
    """One write of half a megabyte: the same large schema 70 times, against an ordinary union."""
    await _compare(target, lambda: 1)


async def compare_new(target: Target) -> None:
    """The same, with another schema each time."""
    await _compare(target, lambda: next(target.numbers))


async def _compare(target: Target, variant: Callable[[], int]) -> None:
    async with target.connect() as line, trio.open_nursery() as nursery:
        await line.say(hello())
        nursery.start_soon(line.drain)
        for first in itertools.count(step=70):
            block = b"".join(
                bind(number, "union", receives=False, schema=many_records(variant()))
                + frame(CLOSE, number, 0, WITHDRAWN, "")
                for number in range(first, first + 70)
            )
            await line.say(block)


async def refused_imports(target: Target) -> None:
    async with target.connect() as line, trio.open_nursery() as nursery:
        await line.say(hello())
        nursery.start_soon(line.drain)
        for first in itertools.count(step=100):
            await line.say(
                b"".join(
                    bind(number, f"nothing {number}", receives=True) + frame(CLOSE, number, 0, WITHDRAWN, "")
                    for number in range(first, first + 100)
                )
            )


async def unread_answers(target: Target) -> None:
    """A few bytes for each import, and a large schema in each answer, which is never read."""
    async with target.connect() as line:
        await line.say(hello() + b"".join(bind(number, "w", receives=True) for number in range(UNANSWERED)))
        await line.shout(frame(PING, 1))


# Reading slowly, or never


async def unread_goodbye(target: Target) -> None:
    """So many answers that there is no room for the goodbye."""
    async with target.connect() as line:
        imports = b"".join(bind(number, "w", receives=True) for number in range(UNANSWERED))
        await line.say(hello() + imports + frame(GOODBYE, FINISHED, ""))
        await line.shout(frame(PING, 1))


async def slow_reader(target: Target) -> None:
    """Reads one byte a second of what it has asked for."""
    async with target.connect() as line:
        await line.say(hello() + bind(0, "blobs", receives=True, schema=BYTES))
        while True:
            await line.read(1)
            await trio.sleep(1)


async def slow_hello(target: Target) -> None:
    """Says one byte a second."""
    async with target.connect() as line, trio.open_nursery() as nursery:
        nursery.start_soon(line.hold)
        for byte in hello(**keys()) * 10:
            await line.say(bytes([byte]))
            await trio.sleep(1)


async def silent(target: Target) -> None:
    async with target.connect() as line:
        await line.hold()


# Bytes that are no frames


async def noise(target: Target) -> None:
    async with target.connect() as line:
        await line.flood(NOISE)


async def garbage(target: Target) -> None:
    """A hello, and then noise that never stops."""
    async with target.connect() as line:
        await line.say(hello())
        await line.flood(NOISE)


async def garbage_cycles(target: Target) -> None:
    async with target.connect() as line:
        await line.say(NOISE[:1000])


# Connections


async def cycles(target: Target) -> None:
    """Comes, says nothing or half of a hello, and goes, with and without a reset."""
    async with target.connect() as line:
        number = next(target.numbers)
        if number % 2:
            await line.say(hello()[: number % 5])
        if number % 3:
            assert isinstance(line.stream, trio.SocketStream)
            cut(line.stream)


# Sessions


async def hoard(target: Target) -> None:
    """Begins a session that can be resumed, and leaves it behind."""
    async with target.connect() as line:
        await line.say(hello(**keys()) + bind(0, "numbers", receives=True, schema=INT))
        await line.hear(ACCEPT)
        assert isinstance(line.stream, trio.SocketStream)
        cut(line.stream)


async def guessed_ids(target: Target) -> None:
    async with target.connect() as line:
        parameters = keys()
        del parameters["secret"]
        session = parameters["session"]
        await line.say(hello(**parameters) + frame(RESUME, session, 0, os.urandom(32), 0, 0))
        await line.hold()


async def nonsense(target: Target) -> None:
    """Frames that the exporter cannot have meant."""
    bad = (
        frame(SEEN, 10**6),
        frame(POSITION, 0, 5),
        frame(REDELIVERED, 0, 0, 3),
        frame(SETTLE, 0, [10**9, 10**9], 0),
        frame(SETTLE, 0, [0, 2**62] * 256, 1),
        frame(ACK, 0, 10**9, 64, 2**20),
        frame(RESUME, bytes(16), 0, bytes(32), 0, 0),
    )
    async with target.connect() as line:
        wish = bind(0, "numbers", receives=True, schema=INT, settles=True)
        await line.say(hello(**keys()) + wish)
        await line.hear(ACCEPT)
        await line.say(bad[next(target.numbers) % len(bad)])
        await line.hold()


async def settle(target: Target) -> None:
    """Rejects value by value, as fast as they come."""
    async with target.connect() as line:
        await line.say(hello() + bind(0, "numbers", receives=True, schema=INT, settles=True))
        while True:
            _, channel, first, _, payload = await line.hear(DATA)
            end = first + len(cbor2.loads(payload))
            await line.say(
                b"".join(frame(SETTLE, channel, [number, 1], 1) for number in range(first, end))
                + frame(ACK, channel, 0, end + 64, 2**50)
            )
