"""What hostile exporters do to an importer, and what leaves the importer's block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import trio
from frame_cases import claims
from raw_peer import (
    NONCE,
    Act,
    RawPeer,
    Step,
    accept,
    ack,
    body,
    close,
    data,
    goodbye,
    hello,
    import_,
    ping,
    proof,
    reject,
    settle,
)
from second_frames import (
    ACK,
    CLOSE,
    DATA,
    GOODBYE,
    HELLO,
    IMPORT,
    MAGIC,
    POSITION,
    REDELIVERED,
    RESUME,
    RESUMED,
    SEEN,
    Parameters,
)
from second_session import frame, head
from steps import dribbles, ends, frame_of, hears, nested, resets
from value_cases import colliding

from trionetchan import (
    AuthenticationError,
    ConnectionLostError,
    Importer,
    LimitError,
    Limits,
    NetchanError,
    NoSuchChannelError,
    PermissionDeniedError,
    ProtocolError,
    RemoteValueError,
    SessionLostError,
    TypeMismatchError,
    WrongDirectionError,
)

__all__ = ["EXPORTER_CASES", "ExporterCase", "Seen"]

FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, WITHDRAWN, COUNT_REACHED, LIMIT = range(7)
NO_SUCH_CHANNEL, WRONG_DIRECTION, TYPE_MISMATCH, PROTOCOL_ERROR, UNSUPPORTED_VERSION, SESSION_LOST, RESTARTING = range(
    7, 14
)
UNAUTHENTICATED, PERMISSION_DENIED = 14, 15


@attrs.define
class Seen:
    """What the importer's program has seen."""

    values: list[Any] = attrs.field(factory=list[Any])
    ends: list[trio.MemoryReceiveChannel[Any]] = attrs.field(factory=list[trio.MemoryReceiveChannel[Any]])
    finished: bool = False
    """Whether a channel came to a clean end."""


Program = Callable[[Importer, Seen], Awaitable[None]]


async def receives(importer: Importer, seen: Seen) -> None:
    """Receives whole numbers, up to the end."""
    channel = await importer.open_receive_channel("x", int, window=5, max_buffer_size=1000)
    seen.ends.append(channel)
    async for value in channel:
        seen.values.append(value)
    seen.finished = True


async def holds(importer: Importer, seen: Seen) -> None:
    """Receives any values, and takes none."""
    seen.ends.append(await importer.open_receive_channel("x", window=5))
    await trio.sleep_forever()


async def settles(importer: Importer, seen: Seen) -> None:
    """Receives whole numbers, and settles none."""
    seen.ends.append(await importer.open_receive_channel("x", int, window=5, max_buffer_size=10, acknowledge="manual"))
    await trio.sleep_forever()


async def counts(importer: Importer, seen: Seen) -> None:
    """Receives two whole numbers."""
    channel = await importer.open_receive_channel("x", int, window=5, count=2, max_buffer_size=10)
    seen.ends.append(channel)
    seen.values += [value async for value in channel]
    seen.finished = True


async def sends(importer: Importer, seen: Seen) -> None:
    """Sends whole numbers without end; when that breaks, says why."""
    channel = await importer.open_send_channel("x", int, window=5)
    try:
        while True:
            await channel.send(0)
    except trio.BrokenResourceError:
        raise await importer.errors.receive() from None


@attrs.frozen(kw_only=True)
class ExporterCase:
    """What an exporter does when an importer has connected."""

    number: str
    does: str
    steps: Sequence[Step]
    raises: type[Exception] | None
    """What leaves the importer's block; None: nothing does, and the channel comes to a clean end."""
    says: str = ""
    """Its message, in which `…` stands for anything."""
    program: Program = receives
    gets: Sequence[Any] = ()
    """The values that the program gets."""
    limits: Limits = attrs.field(factory=Limits)
    hello: Parameters | None = attrs.field(factory=lambda: Parameters(settle=1))
    """What it says of itself, when the importer has said hello; None: no hello."""
    memory: int | None = None


def case(
    number: str, does: str, *steps: Step, raises: type[Exception] | None = ProtocolError, says: str = "", **more: Any
) -> ExporterCase:
    return ExporterCase(number=number, does=does, steps=steps, raises=raises, says=says, **more)


def bound(number: str, does: str, *steps: Step, window: int = 64, **more: Any) -> ExporterCase:
    """When the channel is bound."""
    return case(number, does, hears(IMPORT), accept(0, window), *steps, **more)


def answers(number: str, does: str, *steps: Step, **more: Any) -> ExporterCase:
    """To the request for the channel."""
    return case(number, does, hears(IMPORT), *steps, **more)


def of_values(number: str, does: str, payload: bytes, *, says: str = "x: …", **more: Any) -> ExporterCase:
    """Values that do not fit."""
    return bound(number, does, frame(DATA, 0, 0, False, payload), raises=RemoteValueError, says=says, **more)


def resumed(number: str, does: str, *steps: Step, says: str, **more: Any) -> ExporterCase:
    """Of a session that can be resumed, and whose first connection breaks."""
    options: dict[str, Any] = {"limits": Limits(resume_timeout=1, handshake_timeout=0.2), **more}
    return case(number, does, *steps, says=says, hello=KEEPS, **options)


KEEPS = Parameters(settle=1, resume=30_000, nonce=NONCE)
MIB = 2**20
END = "expected a goodbye, got the end of the stream"
STARTS = r"expected a stream that starts with b'\xd9\xd9\xf7', got "
UINT = "expected an unsigned integer, got the byte 0x"
GAVE_UP = "the peer ended the connection: "
UNFINISHED = "x: expected the exporter to finish the channel, got its goodbye"
DONE = (data(0, 0, 7), close(0, 1), hears(CLOSE))
SMALL = Limits(max_buffered_bytes=1000, max_value_size=2000)
RECEIVER_CODES = "FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, COUNT_REACHED"


def never(kind: str, channel: int = 1) -> str:
    return f"expected a channel below 1, got {kind} for channel {channel}"


async def keeps_the_secret(peer: RawPeer) -> None:
    """Remembers what the importer's first hello says."""
    said: Any = next(fields for kind, fields in peer.heard if kind == HELLO)[1]
    peer.notes |= {"session": said["session"], "secret": said["secret"]}


def accepts_again(parameters: Parameters = KEEPS) -> Act:
    """Breaks its connection, and serves the importer's next one."""

    async def step(peer: RawPeer) -> None:
        await keeps_the_secret(peer)
        await peer.end()
        await peer.connect()
        await peer.say(hello(1, parameters))
        await peer.hear(HELLO)

    return step


def proves(
    *,
    seen: int = 1,
    positions: Sequence[tuple[int, int]] = (),
    announced: int | None = None,
    purpose: bytes = b"exporter",
    right: bool = True,
) -> Act:
    """Waits for RESUME, and answers it."""

    async def step(peer: RawPeer) -> None:
        await peer.hear(RESUME)
        said: Any = next(fields for kind, fields in peer.heard if kind == HELLO)[1]
        made = proof(purpose, said["nonce"], NONCE, 0, peer.notes["secret"], peer.notes["session"])
        count = len(positions) if announced is None else announced
        await peer.say(
            frame(RESUMED, made if right else bytes(32), seen, count),
            *(frame(POSITION, *position) for position in positions),
        )

    return step


def says_always(*said: bytes) -> Act:
    """Says so on each connection, as often as the importer comes."""

    async def step(peer: RawPeer) -> None:
        while True:
            await peer.say(hello(1, KEEPS), *said)
            await peer.hear_all()
            await peer.end()
            await peer.connect()

    return step


async def opens_again(peer: RawPeer) -> None:
    """Serves the importer's next connection."""
    await peer.connect()


BOUND = (hears(IMPORT), accept(0))
HELLOS: list[ExporterCase] = [
    case("e1a", "begins with ones", b"\xff" * 100, says=STARTS + "b'" + r"\xff" * 16 + "'", hello=None),
    case(
        "e2a", "answers in HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", says=STARTS + "b'HTTP/1.1 400 Bad'", hello=None
    ),
    case(
        "e2b",
        "answers in TLS",
        b"\x15\x03\x03\x00\x02\x02\x0a",
        says=STARTS + "…the other side uses TLS, and this side does not (`ssl_context=`)",
        hello=None,
    ),
    case("e3a", "speaks version 2", hello(2), says="expected protocol version 1, got version 2", hello=None),
    case(
        "e3b",
        "does not speak the importer's version",
        goodbye(UNSUPPORTED_VERSION, "expected version 2"),
        says=GAVE_UP + "expected version 2",
    ),
    case(
        "e4a", "sends values before its hello", MAGIC + data(0, 0, 1), says="expected HELLO first, got DATA", hello=None
    ),
    case(
        "e4b",
        "says goodbye before its hello",
        MAGIC + goodbye(),
        raises=ConnectionLostError,
        says=UNFINISHED,
        hello=None,
    ),
    case("e5a", "says hello twice", hello()[3:], says="expected one HELLO, got a second"),
    case(
        "e6a",
        "says hello one byte at a time",
        dribbles(hello(), 0.05),
        raises=ConnectionLostError,
        says="expected a hello within 0.1 s, got none",
        hello=None,
        limits=Limits(handshake_timeout=0.1),
    ),
    case(
        "e7a",
        "stays silent",
        raises=ConnectionLostError,
        says="expected a hello within 0.1 s, got none",
        hello=None,
        limits=Limits(handshake_timeout=0.1),
    ),
    case(
        "e7b",
        "accepts, and goes",
        ends,
        raises=ConnectionLostError,
        says="expected a goodbye, got the end of the stream",
        hello=None,
    ),
    case(
        "e10a",
        "reads frames of 0 bytes",
        hello(1, Parameters(frame=0)),
        says="expected a parameter 'frame' of at least 65536, got 0",
        hello=None,
    ),
    case(
        "e10b",
        "takes values of 0 bytes",
        hello(1, Parameters(value=0)),
        says="expected a parameter 'value' of at least 1, got 0",
        hello=None,
    ),
    case(
        "e10c",
        "has a nonce of 15 bytes",
        hello(1, Parameters(nonce=bytes(15))),
        says="expected 16 bytes, got 15",
        hello=None,
    ),
]
FRAMES: list[ExporterCase] = [
    case(
        "e11a",
        "says a length of 2^32-1",
        b"\x5a\xff\xff\xff\xff",
        says=f"expected a frame of 1 to 131072 bytes, got {2**32 - 1}",
        memory=MIB,
    ),
    case("e12a", "sends a frame of no bytes", b"\x40", says="expected a frame of 1 to 131072 bytes, got 0"),
    case(
        "e13a",
        "sends a frame of one byte more than allowed",
        body(bytes(131_073)),
        says="expected a frame of 1 to 131072 bytes, got 131073",
    ),
    bound(
        "e13b",
        "sends a value larger than allowed",
        frame(DATA, 0, 0, False, b"\x81\x59\x07\xd0" + bytes(2000)),
        says="expected a value of at most 2000 bytes, got more",
        limits=SMALL,
    ),
    bound("e14a", "ends the stream within a frame", data(0, 0, 1)[:3], ends, raises=ConnectionLostError, says=END),
    bound("e14b", "resets the connection", data(0, 0, 1)[:3], resets, raises=ConnectionLostError, says="…"),
    case("e16a", "sends a frame of kind 16", frame(16), says="expected a frame of a known kind, got kind 16"),
    bound("e17a", "sends unknown fields", frame_of(b"\x08", b"\x00", b"\x61x"), *DONE, raises=None, gets=[7]),
    case(
        "e18a",
        "sends a byte behind the frame's array",
        body(b"\x82\x08\x00\x00"),
        says="expected the end of the frame, got 1 bytes more",
    ),
    bound(
        "e19a",
        "sends one value in fragments without end",
        frame(DATA, 0, 0, True, b"\x81\x5a\x7f\xff\xff\xff"),
        *[frame(DATA, 0, 0, True, bytes(100))] * 30,
        says="expected a value of at most 2000 bytes, got more",
        limits=SMALL,
    ),
    case("e20a", "sends 100,000 nested arrays as a field", frame_of(b"\x08", nested(100_000)), says=UINT + "81"),
    case(
        "e21a",
        "sends a message that claims 2^60 bytes",
        frame_of(b"\x0a", b"\x00", claims(3)),
        says="expected a whole frame, got one that is cut short",
        memory=MIB,
    ),
    case(
        "e22a",
        "sends a frame of indefinite length",
        b"\x5f\x43\x82\x08\x00\xff",
        says="expected a definite CBOR item, got the initial byte 0x5f",
    ),
    case(
        "e28a",
        "says goodbye in words that are no UTF-8",
        frame_of(b"\x0a", b"\x0a", b"\x61\xff"),
        says="expected text in UTF-8, got other bytes",
    ),
]
ANSWERS: list[ExporterCase] = [
    answers(
        "e38a", "refuses: no such channel", reject(0, NO_SUCH_CHANNEL, "x: no"), raises=NoSuchChannelError, says="x: no"
    ),
    answers(
        "e38b",
        "refuses: wrong direction",
        reject(0, WRONG_DIRECTION, "x: no"),
        raises=WrongDirectionError,
        says="x: no",
    ),
    answers(
        "e38c", "refuses: types do not fit", reject(0, TYPE_MISMATCH, "x: no"), raises=TypeMismatchError, says="x: no"
    ),
    answers("e38d", "refuses: a limit", reject(0, LIMIT, "x: no"), raises=LimitError, says="x: no"),
    answers(
        "e38e",
        "refuses, with a code that is none for that",
        reject(0, FINISHED, "x: no"),
        raises=NetchanError,
        says="x: no",
    ),
    answers(
        "e38f", "refuses, with a code that means nothing", reject(0, 16), says="expected a code from 0 to 15, got 16"
    ),
    answers(
        "e38g",
        "refuses in 100,000 characters, among them such as would break a log",
        reject(0, NO_SUCH_CHANNEL, "a\nb\x1b" + "x" * 100_000),
        raises=NoSuchChannelError,
        says=r"…a\nb\x1bx…",
    ),
    answers(
        "e37a", "accepts with a window of 0", accept(0, 0), says="expected a window of at least 1, got 0, on channel 0"
    ),
    answers(
        "e37b",
        "accepts with a window of 2^62",
        accept(0, 2**62),
        data(0, 0, *range(6)),
        says="expected values up to number 5, got up to 6",
    ),
    answers(
        "e39a",
        "accepts with a schema that cannot be read",
        accept(0, 5, b"\xff"),
        raises=TypeMismatchError,
        says="x: …",
    ),
    answers(
        "e39b",
        "accepts with a schema of 100,000 nested arrays",
        accept(0, 5, nested(100_000)),
        raises=TypeMismatchError,
        says="x: …",
    ),
    answers(
        "e39c",
        "accepts with a schema of other values",
        accept(0, 5, b"\x81\x81\x05"),
        raises=TypeMismatchError,
        says="x: …",
    ),
    answers("e39d", "accepts with no schema", accept(0, 5, b""), raises=TypeMismatchError, says="x: …"),
    bound("e40a", "accepts twice", accept(0), says="expected no ACCEPT for channel 0, which is receiving here"),
    bound(
        "e40b",
        "refuses what it has accepted",
        reject(0, LIMIT),
        says="expected no REJECT for channel 0, which is receiving here",
    ),
    bound("e41a", "accepts what nobody has asked for", accept(1), says=never("ACCEPT")),
    bound("e41b", "refuses what nobody has asked for", reject(1, LIMIT), says=never("REJECT")),
    bound("e41c", "sends values on a channel that nobody has asked for", data(1, 0, 1), says=never("DATA")),
    bound("e41d", "closes a channel that nobody has asked for", close(2**62), says=never("CLOSE", 2**62)),
    answers(
        "e41e",
        "sends values before it has accepted",
        data(0, 0, 1),
        says="expected no DATA for channel 0, which is requested here",
    ),
    answers(
        "e41f",
        "closes before it has accepted",
        close(0),
        says="expected no CLOSE for channel 0, which is requested here",
    ),
    case("e41g", "asks for a channel itself", import_(0, "x"), says="expected no IMPORT from an exporter"),
]
VALUES: list[ExporterCase] = [
    of_values("e20b", "sends a value of 100,000 nested arrays", b"\x81" + nested(100_000)),
    of_values("e21b", "sends a value that claims 2^60 items", b"\x81" + claims(4), memory=MIB),
    of_values(
        "e29a",
        "sends a map of 5,000 keys that collide",
        b"\x81\xd8\x1b\x82\x63map" + head(4, 10_000) + colliding(5_000, b"\x00"),
    ),
    of_values("e30a", "sends a text where an integer is expected", b"\x81\x61x"),
    of_values("e30b", "sends a value that fits, and one that does not", b"\x82\x07\x61x", gets=[7]),
    of_values("e30c", "sends fewer values than it says", b"\x82\x07"),
    bound(
        "e32a",
        "sends one value more than allowed",
        data(0, 0, *range(6)),
        says="expected values up to number 5, got up to 6",
    ),
    bound(
        "e32b",
        "sends more bytes than allowed",
        data(0, 0, bytes(400), bytes(600)),
        says="expected payloads up to 1000 bytes, got 1007",
        program=holds,
        limits=SMALL,
    ),
    bound(
        "e32c",
        "floods with values that nobody takes",
        *(data(0, number, number) for number in range(100)),
        says="expected values up to number 5, got up to 6",
        program=holds,
        memory=MIB,
    ),
    bound(
        "e32d",
        "sends more than the count",
        data(0, 0, *range(3)),
        says="expected values up to number 2, got up to 3",
        program=counts,
    ),
    bound(
        "e42a",
        "sends values behind the count, when the importer has closed",
        data(0, 0, 7, 8),
        hears(CLOSE),
        data(0, 2, 9),
        raises=None,
        gets=[7, 8],
        program=counts,
    ),
    bound(
        "e47a",
        "sends values where it receives",
        data(0, 0, 1),
        says="expected no DATA for channel 0, which is sending here",
        program=sends,
    ),
    bound(
        "e47b",
        "sends values behind its close",
        data(0, 0, 7),
        close(0, 1),
        data(0, 1, 8),
        says="expected no DATA for channel 0, which is settling here",
        program=holds,
    ),
    bound(
        "e51n",
        "says that other values come again than do",
        frame(REDELIVERED, 0, 0, 2),
        data(0, 0, 1),
        says="expected 2 values that came back, got a batch of 1",
        program=settles,
    ),
    bound(
        "e51o",
        "says that no values come again",
        frame(REDELIVERED, 0, 0, 0),
        says="expected REDELIVERED before the batch that begins with value number 0, got 0 values from number 0 on",
        program=settles,
    ),
    bound(
        "e51p",
        "says that values come again, on a channel that does not settle",
        frame(REDELIVERED, 0, 0, 1),
        says="expected no REDELIVERED for channel 0, whose values are not settled one by one, got one",
    ),
    bound(
        "e52a",
        "leaves a value out",
        data(0, 0, 7),
        data(0, 2, 8),
        gets=[7],
        says="expected the value number 1, got number 2",
    ),
    bound(
        "e53a",
        "sends a value twice",
        data(0, 0, 7),
        data(0, 0, 7),
        gets=[7],
        says="expected the value number 1, got number 0",
    ),
    bound(
        "e57a", "sends a batch of no bytes", frame(DATA, 0, 0, False, b""), says="expected values, got an empty payload"
    ),
]
CLOSES: list[ExporterCase] = [
    bound(
        "e48a",
        "closes behind more values than it has sent",
        data(0, 0, 7),
        close(0, 2),
        gets=[7],
        says="expected the close of channel 0 after 1 values, got it after 2",
    ),
    bound(
        "e48b",
        "closes behind fewer values than it has sent",
        data(0, 0, 7),
        close(0, 0),
        gets=[7],
        says="expected the close of channel 0 after 1 values, got it after 0",
    ),
    bound(
        "e48c",
        "closes as only a receiver may",
        close(0, 0, COUNT_REACHED),
        says="expected one of FINISHED, HUNG_UP, LIMIT in CLOSE of channel 0, got COUNT_REACHED",
    ),
    bound(
        "e48d",
        "withdraws, as only an importer may",
        close(0, 0, WITHDRAWN),
        says="expected one of FINISHED, HUNG_UP, LIMIT in CLOSE of channel 0, got WITHDRAWN",
    ),
    bound(
        "e48e", "closes with a code that means nothing", close(0, 0, 16), says="expected a code from 0 to 15, got 16"
    ),
    bound("e48f", "closes at a limit", close(0, 0, LIMIT, "too large"), raises=LimitError, says="…too large"),
    bound(
        "e48g",
        "closes twice, with other words",
        data(0, 0, 7),
        close(0, 1) + close(0, 77, LIMIT),
        hears(CLOSE),
        raises=None,
        gets=[7],
    ),
    bound(
        "e48h", "closes within a batch", frame(DATA, 0, 0, True, b"\x81\x19"), close(0, 0), hears(CLOSE), raises=None
    ),
    bound(
        "e48i",
        "does not want what it receives",
        close(0, 0, VALUE_REFUSED, "x: no"),
        raises=NetchanError,
        says="x: …",
        program=sends,
    ),
    bound(
        "e48j", "does not receive any more", close(0, 0, RECEIVER_GONE), raises=NetchanError, says="x: …", program=sends
    ),
    bound(
        "e48k",
        "says that a count is reached where there is none",
        close(0, 0, COUNT_REACHED),
        says="expected no COUNT_REACHED on channel 0, which has no count, got one",
        program=sends,
    ),
]
ACKNOWLEDGEMENT: list[ExporterCase] = [
    bound(
        "e34a",
        "grants 2^63 values",
        frame_of(b"\x05", b"\x00", b"\x00", b"\x1b\x80" + bytes(7), b"\x00"),
        says=f"expected an integer up to 2^62, got {2**63}",
        program=sends,
    ),
    bound(
        "e49a",
        "acknowledges more than was sent",
        hears(DATA),
        ack(0, 9, 99, 2**20),
        says="expected at most … values acknowledged, got 9",
        program=sends,
    ),
    bound(
        "e49b",
        "counts more in its last word than was sent",
        close(0, 99, RECEIVER_GONE),
        says="expected at most … values acknowledged, got 99",
        program=sends,
    ),
    bound(
        "e49c",
        "acknowledges where it sends",
        ack(0, 0, 1, 1),
        says="expected no ACK for channel 0, which is receiving here",
    ),
    bound("e51a", "acknowledges a channel that nobody has asked for", ack(1, 0, 1, 1), says=never("ACK")),
    bound(
        "e51b",
        "settles where nothing is settled",
        settle(0, 0, 1),
        says="expected no SETTLE for channel 0, whose values are not settled one by one, got one",
        program=sends,
    ),
]
GOODBYES: list[ExporterCase] = [
    answers("e76a", "leaves when it is asked for a channel", goodbye(), raises=ConnectionLostError, says=UNFINISHED),
    bound("e76b", "leaves when a channel is bound", goodbye(), raises=ConnectionLostError, says=UNFINISHED),
    bound(
        "e76c",
        "leaves within a batch",
        frame(DATA, 0, 0, True, b"\x81\x19"),
        goodbye(),
        raises=ConnectionLostError,
        says=UNFINISHED,
    ),
    bound("e76d", "leaves at a limit", goodbye(LIMIT, "too much"), raises=LimitError, says=GAVE_UP + "too much"),
    bound(
        "e76e",
        "says that the importer broke the protocol",
        goodbye(PROTOCOL_ERROR, "a\nb" + "x" * 90_000),
        says=GAVE_UP + r"a\nbxxx…",
    ),
    bound("e76f", "restarts, though nobody asked", goodbye(RESTARTING), raises=ConnectionLostError, says=UNFINISHED),
    bound(
        "e76g",
        "has lost the session",
        goodbye(SESSION_LOST, "gone"),
        raises=SessionLostError,
        says="the exporter has lost this session: gone",
    ),
    bound("e76h", "says goodbye with a code that is none for that", goodbye(COUNT_REACHED, "x"), says=GAVE_UP + "x"),
    bound(
        "e76i",
        "goes on behind its goodbye",
        data(0, 0, 7),
        close(0, 1),
        hears(CLOSE),
        goodbye(),
        data(0, 1, 8),
        b"\xff" * 1000,
        raises=None,
        gets=[7],
    ),
    bound(
        "e56a",
        "pings 100 times, and answers pings that nobody has sent",
        ping() * 100,
        frame(9, 5) * 100,
        *DONE,
        raises=None,
        gets=[7],
    ),
    bound(
        "e56b",
        "pings without end",
        ping() * 2000,
        raises=LimitError,
        says="expected at most 300 frames that bring nothing within 10 s, got more (max_useless_frames)",
        limits=Limits(max_useless_frames=300),
    ),
]
RESUMES: list[ExporterCase] = [
    case(
        "e71a",
        "says SEEN of more than was written",
        hears(IMPORT),
        frame(SEEN, 2),
        says="expected from 0 to 1 control frames seen, got 2",
        hello=KEEPS,
    ),
    case(
        "e71b",
        "takes SEEN back",
        hears(IMPORT),
        frame(SEEN, 1),
        frame(SEEN, 0),
        says="expected from 1 to 1 control frames seen, got 0",
        hello=KEEPS,
    ),
    bound(
        "e71c",
        "says SEEN in a session that cannot be resumed",
        frame(SEEN, 0),
        says="expected no SEEN from an exporter",
    ),
    bound(
        "e71d", "says RESUMED where nothing is resumed", frame(RESUMED, bytes(32), 0, 0), says="expected no RESUMED now"
    ),
    bound("e71e", "says RESUME", frame(RESUME, bytes(16), 0, bytes(32), 0, 0), says="expected no RESUME now"),
    bound("e71f", "says POSITION where nothing is resumed", frame(POSITION, 0, 0), says="expected no POSITION now"),
    resumed(
        "e67a",
        "goes on with a session, with a wrong proof",
        *BOUND,
        accepts_again(),
        proves(right=False),
        says="expected the exporter that has this session, got one that cannot prove it",
    ),
    resumed(
        "e67b",
        "goes on with a session, with the importer's proof",
        *BOUND,
        accepts_again(),
        proves(purpose=b"importer"),
        says="expected the exporter that has this session, got one that cannot prove it",
    ),
    resumed(
        "e67c",
        "goes on with a session, and keeps none any more",
        *BOUND,
        accepts_again(Parameters(settle=1)),
        hears(GOODBYE),
        raises=SessionLostError,
        says="the exporter has lost this session: expected …, got one that resumes none",
    ),
    resumed(
        "e67d",
        "sends values before it has proved that it has the session",
        *BOUND,
        accepts_again(),
        data(0, 0, 1),
        says="expected no DATA now",
    ),
    resumed(
        "e71g",
        "has seen more control frames than were written",
        *BOUND,
        accepts_again(),
        proves(seen=9),
        says="expected from 0 to 1 control frames seen, got 9",
    ),
    resumed(
        "e71h",
        "has received values where it sends",
        *BOUND,
        accepts_again(),
        proves(positions=[(0, 1)]),
        says="expected no values received on channel 0, which sends none, got 1",
    ),
    resumed(
        "e71i",
        "has received values of a channel that nobody has asked for",
        *BOUND,
        accepts_again(),
        proves(positions=[(5, 0)]),
        says="expected no values received on channel 5, which sends none, got 0",
    ),
    resumed(
        "e71j",
        "has received more values than were sent",
        *BOUND,
        accepts_again(),
        proves(positions=[(0, 99)]),
        says="expected a position from 0 to …, where a batch ends, on channel 0, got 99",
        program=sends,
    ),
    resumed(
        "e71k",
        "says RESUMED twice",
        *BOUND,
        accepts_again(),
        proves(),
        frame(RESUMED, bytes(32), 0, 0),
        says="expected no RESUMED now",
    ),
    resumed(
        "e71l",
        "announces a position that never comes",
        *BOUND,
        accepts_again(),
        proves(announced=1),
        data(0, 0, 1),
        says="expected no DATA now",
    ),
    resumed(
        "e53b",
        "sends values again that have come",
        hears(IMPORT),
        accept(0),
        data(0, 0, 7),
        hears(ACK),
        accepts_again(),
        proves(),
        data(0, 0, 7),
        says="expected the value number 1, got number 0",
        gets=[7],
    ),
    resumed(
        "e72a",
        "has lost the session when it is resumed",
        *BOUND,
        accepts_again(),
        goodbye(SESSION_LOST, "gone"),
        raises=SessionLostError,
        says="the exporter has lost this session: gone",
    ),
    resumed(
        "e72b",
        "is silent when a session is resumed",
        *BOUND,
        accepts_again(),
        raises=SessionLostError,
        says="expected the connection to be resumed within 0.3 s, got: …",
        limits=Limits(resume_timeout=0.3, handshake_timeout=0.1),
    ),
    case(
        "e72d",
        "breaks before it has said anything of the session, and then has lost each",
        ends,
        opens_again,
        says_always(goodbye(SESSION_LOST, "gone")),
        raises=NetchanError,
        says="…",
        hello=KEEPS,
        limits=Limits(resume_timeout=0.3),
    ),
    case(
        "e72c",
        "has lost each session, from the first word on",
        says_always(goodbye(SESSION_LOST, "gone")),
        raises=NetchanError,
        says="…",
        hello=None,
        limits=Limits(resume_timeout=0.3),
    ),
]
IDENTITY: list[ExporterCase] = [
    case(
        "e61a",
        "does not accept the importer, in place of a hello",
        MAGIC + goodbye(UNAUTHENTICATED, "no"),
        hello=None,
        raises=AuthenticationError,
        says="no",
    ),
    answers(
        "e61b",
        "does not accept the importer that has asked for a channel",
        goodbye(UNAUTHENTICATED, "no"),
        raises=AuthenticationError,
        says="no",
    ),
    bound(
        "e61c",
        "does not accept the importer whose channel it has bound",
        data(0, 0, 7),
        hears(ACK),
        goodbye(UNAUTHENTICATED, "no"),
        raises=AuthenticationError,
        says="no",
        gets=[7],
    ),
    bound(
        "e61d",
        "does not accept the importer, within a batch",
        frame(DATA, 0, 0, True, b"\x81\x19"),
        goodbye(UNAUTHENTICATED, "no"),
        raises=AuthenticationError,
        says="no",
    ),
    bound(
        "e61e",
        "does not accept the importer that sends to it",
        ack(0, 0, 5, 1000),
        goodbye(UNAUTHENTICATED, "no"),
        raises=AuthenticationError,
        says="no",
        program=sends,
    ),
    bound(
        "e61f",
        "does not accept the importer, and goes on with values",
        goodbye(UNAUTHENTICATED, "no") + data(0, 0, 7) + close(0, 1),
        raises=AuthenticationError,
        says="no",
    ),
    answers(
        "e61g",
        "does not accept the importer, in 10,000 characters of which some are controls",
        goodbye(UNAUTHENTICATED, "\x1b[2J\n" * 2000),
        raises=AuthenticationError,
        says="\\x1b[2J\\n…",
    ),
    resumed(
        "e61h",
        "does not accept the importer when the session is resumed",
        *BOUND,
        accepts_again(),
        goodbye(UNAUTHENTICATED, "not any more"),
        raises=AuthenticationError,
        says="not any more",
    ),
    resumed(
        "e61i",
        "does not accept the importer in place of a hello, when the session is resumed",
        *BOUND,
        keeps_the_secret,
        ends,
        opens_again,
        MAGIC + goodbye(UNAUTHENTICATED, "not any more"),
        raises=AuthenticationError,
        says="not any more",
    ),
    bound("e61j", "leaves with the code 16", goodbye(16), says="expected a code from 0 to 15, got 16"),
    bound("e61k", "closes a channel because the importer may not have it", close(0, 0, 15), says="…PERMISSION_DENIED…"),
    bound("e61l", "closes a channel because it does not know the importer", close(0, 0, 14), says="…UNAUTHENTICATED…"),
    answers(
        "e61m",
        "says that the importer may not bind the name",
        reject(0, PERMISSION_DENIED, "x: no"),
        raises=PermissionDeniedError,
        says="x: no",
    ),
    answers(
        "e61n",
        "says twice that the importer may not bind the name",
        reject(0, PERMISSION_DENIED, "x: no") * 2,
        raises=PermissionDeniedError,
        says="x: no",
    ),
    bound(
        "e61o",
        "says so of what it has accepted",
        reject(0, PERMISSION_DENIED, "x: no"),
        says="expected no REJECT for channel 0, which is receiving here",
    ),
    answers(
        "e61p",
        "says so of a channel that nobody has asked for",
        reject(1, PERMISSION_DENIED, "x: no"),
        says=never("REJECT"),
    ),
    bound(
        "e61q",
        "shows a token itself: it is ignored",
        *DONE,
        hello=Parameters(settle=1, token=b"t"),
        raises=None,
        gets=[7],
    ),
    case(
        "e61r",
        "shows a token of no bytes",
        hello=Parameters(settle=1, token=b""),
        says="expected a token of 1 to 1024 bytes, got 0",
    ),
]
EXPORTER_CASES: list[ExporterCase] = [
    *HELLOS,
    *FRAMES,
    *ANSWERS,
    *VALUES,
    *CLOSES,
    *ACKNOWLEDGEMENT,
    *GOODBYES,
    *RESUMES,
    *IDENTITY,
]
