"""A second state machine of the session, for the vectors "streams": small, and without time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from second_frames import (
    ACCEPT,
    ACK,
    CLOSE,
    DATA,
    GOODBYE,
    HELLO,
    IMPORT,
    MAGIC,
    PING,
    PONG,
    REDELIVERED,
    REJECT,
    SETTLE,
    Cursor,
    Field,
    FrameCutter,
    FrameError,
    Parameters,
    ReadError,
    read_frame,
)  # fmt: skip

Event = dict[str, object]
FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, WITHDRAWN, COUNT_REACHED, LIMIT = range(7)
PROTOCOL_ERROR, UNSUPPORTED_VERSION = 10, 11


def head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def encode(value: Field) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(5, len(value)) + b"".join(encode(name) + encode(entry) for name, entry in value.items())


def frame(*fields: Field) -> bytes:
    body = head(4, len(fields)) + b"".join(encode(part) for part in fields)
    return encode(body)


@dataclass
class Channel:
    """What a side knows of a channel."""

    receives: bool
    state: str
    window: int
    count: int | None
    settles: bool = False
    values: int = 0  # of whole batches, sent or received
    size: int = 0  # payload bytes, sent or received
    settled: int = 0  # values that are acknowledged, or delivered
    value_limit: int = 0
    byte_limit: int = 0
    batches: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  # values up to here, bytes up to here
    queue: list[tuple[bytes, int, bool]] = field(default_factory=list[tuple[bytes, int, bool]])
    written: list[tuple[bytes, int, bool]] = field(default_factory=list[tuple[bytes, int, bool]])
    closing: tuple[int, str] | None = None
    part: bytes = b""  # of an unfinished batch
    part_count: int = 0
    settled_ones: set[int] = field(default_factory=set[int])  # where values are settled one by one: which
    again: tuple[int, int] | None = None  # REDELIVERED: the values of the next batch

    def bind(self, window: int, buffer: int) -> None:
        self.window = min(self.window, window)
        self.state = "RECEIVING" if self.receives else "SENDING"
        self.grant(buffer)

    def grant(self, buffer: int) -> None:
        """The limits that follow from what has been delivered [A-3]."""
        limit = self.settled + self.window
        self.value_limit = limit if self.count is None else min(limit, self.count)
        if self.settles:
            whole, below, sizes = 0, 0, 0
            for count, size in self.batches:
                if self.settled_ones.issuperset(range(below, count)):
                    whole += size - sizes
                below, sizes = count, size
            self.byte_limit = buffer + whole
            return
        self.byte_limit = buffer + max([size for count, size in self.batches if count <= self.settled], default=0)


class Session:
    """One side. What it reads gives events; its program gives commands; taken() is what it writes."""

    def __init__(self, exporter: bool, limits: dict[str, int]) -> None:
        self.exporter, self.limits = exporter, limits
        self.own = {name: limits.get(name, 0) for name in ("frame", "value", "buffer", "keepalive", "resume")} | {
            "settle": 1
        }
        self.peer: dict[str, int] | None = None
        self.cutter = FrameCutter(limits["frame"])
        self.channels: dict[int, Channel] = {}
        self.out = MAGIC + frame(HELLO, 1, {**self.own})
        self.left = False

    # --- What arrives ---

    def receive(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        if self.left:
            return events
        try:
            for body in self.cutter.feed(chunk):
                events += self.one_frame(*read_frame(body))
                if self.left:
                    break
        except ReadError as error:
            events.append({"event": "Violated"})
            if not self.left:
                self.leave(PROTOCOL_ERROR, str(error))
        return events

    def one_frame(self, kind: int, fields: tuple[Field, ...]) -> list[Event]:
        if kind == GOODBYE:
            self.leave(FINISHED, "")
            return [{"event": "PeerLeft", "code": fields[0], "message": fields[1]}]
        if (kind == HELLO) != (self.peer is None):
            raise FrameError("HELLO must come first, and once")
        if kind == HELLO:
            return self.hello(cast("int", fields[0]), cast("Parameters", fields[1]))
        if kind == PING:
            self.out += frame(PONG, fields[0])
        if kind in (PING, PONG):
            return []
        if kind > GOODBYE and kind != REDELIVERED:
            raise FrameError("a frame of a resume, in a session that cannot be resumed")
        return self.for_channel(kind, cast("int", fields[0]), fields[1:])

    def hello(self, version: int, parameters: Parameters) -> list[Event]:
        if version != 1:
            self.leave(UNSUPPORTED_VERSION, f"version 1 is spoken here, and not {version}")
            return [{"event": "Violated"}]
        numbers = {name: number for name, number in parameters.items() if isinstance(number, int)}
        self.peer = {"frame": 65_536, "value": 1_048_576, "buffer": 1_048_576, "resume": 0} | numbers
        return [{"event": "Greeted"}]

    def for_channel(self, kind: int, number: int, fields: tuple[Field, ...]) -> list[Event]:
        if (kind == IMPORT) > self.exporter or (kind in (ACCEPT, REJECT) and self.exporter):
            raise FrameError("a frame for the other role")
        if kind == IMPORT:
            return self.imported(number, *cast("tuple[str, bool, int, int | None, bytes]", fields))
        channel = self.channels.get(number)
        if channel is None:
            raise FrameError("a channel that was never opened")
        if channel.state == "CLOSED" or (channel.state == "SETTLING" and kind == CLOSE):
            return []
        states, handle = self.handlers()[kind]
        if channel.state not in states:
            raise FrameError(f"frame {kind} for a channel that is {channel.state}")
        event = handle(channel, fields)
        return [{"event": event.pop("event"), "channel": number} | event] if event else []

    def handlers(self) -> dict[int, tuple[tuple[str, ...], Callable[[Channel, tuple[Field, ...]], Event]]]:
        return {
            ACCEPT: (("REQUESTED",), self.accepted),
            REJECT: (("REQUESTED",), self.rejected),
            DATA: (("RECEIVING",), self.data),
            ACK: (("SENDING", "SENT"), self.acknowledged),
            SETTLE: (("SENDING", "SENT"), self.settled),
            REDELIVERED: (("RECEIVING",), self.redelivered),
            CLOSE: (("ASKED", "SENDING", "SENT", "RECEIVING"), self.closed),
        }

    def imported(
        self,
        number: int,
        name: str,
        receives: bool,
        window: int,
        count: int | None,
        schema: bytes,
        settles: bool = False,
    ) -> list[Event]:
        if settles and not receives:
            raise FrameError("only who receives settles")
        if number != len(self.channels):
            raise FrameError("an id that is not the next")
        channel = Channel(not receives, "ASKED", window, count, settles)
        is_full = sum(other.state != "CLOSED" for other in self.channels.values()) >= self.limits["channels"]
        self.channels[number] = channel
        if is_full:
            self.do_reject(number, LIMIT, "too many channels")
            return []
        asked: Event = {"event": "ImportRequested", "channel": number, "name": name, "receives": receives}
        return [asked | {"count": count, "schema": schema.hex()}]

    def accepted(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        window, schema = cast("tuple[int, bytes]", fields)
        channel.bind(window, self.buffer_of(channel))
        return {"event": "Accepted", "schema": schema.hex()}

    def rejected(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        channel.state = "CLOSED"
        return {"event": "Rejected", "code": fields[0], "message": fields[1]}

    def data(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        first, more, payload = cast("tuple[int, bool, bytes]", fields)
        if first != channel.values or not payload:
            raise FrameError("a gap, a value again, or no payload")
        if not channel.part:
            channel.part_count = Cursor(payload).sized(4)
        channel.part += payload
        channel.size += len(payload)
        values = channel.values + channel.part_count
        alone = channel.part_count == 1 and channel.settled == channel.values
        if channel.part_count < 1 or values > channel.value_limit:
            raise FrameError("no values, or too many")
        if channel.size > channel.byte_limit and not alone:
            raise FrameError("too many bytes")
        if channel.part_count == 1 and len(channel.part) > self.own["value"] + 1:
            raise FrameError("a value that is too large")
        if more:
            return {}
        if channel.again not in (None, (channel.values, channel.part_count)):
            raise FrameError("a batch that was announced otherwise")
        channel.again = None
        whole, channel.part, channel.values = channel.part, b"", values
        channel.batches.append((values, channel.size))
        return {"event": "ValuesReceived", "payload": whole.hex(), "count": channel.part_count}

    def acknowledged(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        delivered, value_limit, byte_limit = cast("tuple[int, int, int]", fields)
        if channel.settles and delivered:
            raise FrameError("values are settled one by one")
        fresh = self.settle(channel, delivered)
        channel.value_limit = max(channel.value_limit, value_limit)
        channel.byte_limit = max(channel.byte_limit, byte_limit)
        return {"event": "Acknowledged", "count": fresh}

    def settled(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        ranges, outcome = cast("tuple[list[int], int]", fields)
        told: list[int] = []
        for first, count in zip(ranges[::2], ranges[1::2], strict=True):
            if not channel.settles or not count or first + count > channel.values:
                raise FrameError("values that cannot be settled")
            told += range(first, first + count)
        if len(set(told)) < len(told) or channel.settled_ones.intersection(told):
            raise FrameError("a value that is settled twice")
        channel.settled_ones.update(told)
        channel.settled += len(told)
        batches: list[list[object]] = []
        for first, (end, _) in zip([0, *[end for end, _ in channel.batches]], channel.batches, strict=False):
            if places := [number - first for number in sorted(told) if first <= number < end]:
                batches.append([first, places])
        return {"event": "Settled", "batches": batches, "accepted": not outcome}

    def redelivered(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        first, count = cast("tuple[int, int]", fields)
        if not channel.settles or first != channel.values or not count or channel.part:
            raise FrameError("other values than those that come next")
        channel.again = first, count
        return {"event": "RedeliveredNext"}

    def settle(self, channel: Channel, delivered: int) -> int:
        if delivered > channel.values:
            raise FrameError("more acknowledged than was sent")
        fresh = max(0, delivered - channel.settled)
        channel.settled += fresh
        return fresh

    def closed(self, channel: Channel, fields: tuple[Field, ...]) -> Event:
        count, code, message = cast("tuple[int, int, str]", fields)
        if code not in self.codes_of_peer(channel) or (code == COUNT_REACHED and count != channel.count):
            raise FrameError(f"code {code} may not stand here")
        fresh = 0
        if channel.state == "RECEIVING":
            if count != channel.values or (channel.part and code not in (HUNG_UP, WITHDRAWN)):
                raise FrameError("a CLOSE that counts other values than have come")
            channel.part, channel.state = b"", "SETTLING"
        else:
            if channel.settles and channel.state != "ASKED" and count != channel.settled:
                raise FrameError("a last word that counts other values than are settled")
            fresh = self.settle(channel, count) if channel.state != "ASKED" else 0
            channel.state = "CLOSED"
        return {"event": "Closed", "code": code, "message": message, "count": fresh}

    def codes_of_peer(self, channel: Channel) -> set[int]:
        if channel.state == "ASKED":
            return {WITHDRAWN}
        codes = {FINISHED, HUNG_UP, LIMIT}
        if not channel.receives:
            codes = {FINISHED, HUNG_UP, RECEIVER_GONE, VALUE_REFUSED, COUNT_REACHED}
        return codes | {WITHDRAWN} if self.exporter else codes

    # --- What the program does, and what is written ---

    def say(self, kind: int, number: int, *fields: Field) -> None:
        """A control frame."""
        self.out += frame(kind, number, *fields)

    def buffer_of(self, channel: Channel) -> int:
        return self.own["buffer"] if channel.receives or self.peer is None else self.peer["buffer"]

    def do_request(
        self, name: str, receives: bool, window: int, count: int | None, schema: bytes, *, settles: bool = False
    ) -> None:
        number = len(self.channels)
        self.channels[number] = Channel(receives, "REQUESTED", window, count, settles)
        self.say(IMPORT, number, name, receives, window, count, schema, *([True] if settles else []))

    def do_settle(self, number: int, values: list[int], accepted: bool) -> None:
        channel = self.channels[number]
        channel.settled_ones.update(values)
        channel.settled += len(values)
        ranges: list[int] = []
        for value in sorted(values):
            if ranges and ranges[-2] + ranges[-1] == value:
                ranges[-1] += 1
            else:
                ranges += [value, 1]
        self.say(SETTLE, number, ranges, int(not accepted))
        self.do_acknowledge(number)

    def do_accept(self, number: int, window: int, schema: bytes) -> None:
        self.say(ACCEPT, number, window, schema)
        self.channels[number].bind(window, self.buffer_of(self.channels[number]))

    def do_reject(self, number: int, code: int, message: str) -> None:
        self.channels[number].state = "CLOSED"
        self.say(REJECT, number, code, message)

    def do_send(self, number: int, payload: bytes, count: int, *, redelivered: bool = False) -> None:
        self.channels[number].queue.append((payload, count, redelivered))

    def do_acknowledge(self, number: int) -> None:
        channel = self.channels[number]
        channel.grant(self.own["buffer"])
        told = 0 if channel.settles else channel.settled
        self.out += frame(ACK, number, told, channel.value_limit, channel.byte_limit)

    def do_close(self, number: int, code: int, message: str) -> None:
        channel = self.channels[number]
        if channel.state == "SENDING":
            channel.closing = code, message
            return
        counted = 0 if code == WITHDRAWN else channel.settled
        channel.state = "CLOSED"
        self.say(CLOSE, number, counted, code, message)

    def leave(self, code: int, message: str) -> None:
        self.write_data()
        self.left = True
        self.out += frame(GOODBYE, code, message)

    def write_data(self) -> None:
        for number, channel in self.channels.items():
            while channel.state == "SENDING" and channel.queue and self.may_send(channel, *channel.queue[0][:2]):
                payload, count, again = channel.queue.pop(0)
                channel.written.append((payload, count, again))
                if again:
                    self.out += frame(REDELIVERED, number, channel.values, count)
                self.out += frame(DATA, number, channel.values, False, payload)
                channel.values += count
                channel.size += len(payload)
                channel.batches.append((channel.values, channel.size))
            if channel.state == "SENDING" and channel.closing and not channel.queue:
                channel.state = "SENT"
                self.say(CLOSE, number, channel.values, *channel.closing)

    def may_send(self, channel: Channel, payload: bytes, count: int) -> bool:
        values, size = channel.values + count, channel.size + len(payload)
        alone = count == 1 and channel.settled == channel.values
        within = values <= min(channel.value_limit, channel.settled + channel.window)
        return within and (size <= channel.byte_limit or alone)

    def taken(self) -> bytes:
        """What has been written since the last time."""
        if not self.left:
            self.write_data()
        out, self.out = self.out, b""
        return out
