"""The frames: their fields, their bytes, and how a stream of bytes is cut into them.

A stream starts with CBOR's self-described tag and goes on as a CBOR sequence of byte strings, each holding one frame:
an array `[kind, field, …]`. The byte string's head is the length prefix, so a frame's size is checked before anything
of it is kept. Reading is strict: each field is exactly of its kind, lengths are definite, nothing follows the array;
only extra fields at its end are skipped, so that later versions have room. Each frame class lists its fields once, as
pairs of a reader and a writer; there is no second description to keep in step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs

from .._cbor import ARRAY, BYTES, MAP, TEXT, UINT, Buffer, head, read_head, skip
from .._errors import Code, ProtocolError, printable
from .._limits import MAX_NAME_SIZE, MAX_TOKEN_SIZE
from .resuming import ID_SIZE, NONCE_SIZE, PROOF_SIZE, SECRET_SIZE

__all__ = [
    "DATA_OVERHEAD",
    "MAGIC",
    "MAX_COUNT",
    "MAX_RANGES",
    "VERSION",
    "Accept",
    "Ack",
    "Close",
    "Data",
    "Frame",
    "FrameCutter",
    "Goodbye",
    "Hello",
    "Import",
    "Parameters",
    "Ping",
    "Pong",
    "Position",
    "Redelivered",
    "Reject",
    "Resume",
    "Resumed",
    "Seen",
    "Settle",
    "data_head",
    "decode",
    "encode",
    "kind_name",
]

MAGIC = b"\xd9\xd9\xf7"
VERSION = 1

MAX_MESSAGE = 2**10  # characters
MAX_COUNT = 2**62  # of any integer on the wire: sums of two stay below 2^63 in any language
FRAGMENT = 16 * 2**10  # bytes of an incomplete DATA frame that are passed on at once
DATA_OVERHEAD = 64  # no DATA frame has more bytes than this besides its payload
MAX_RANGES = 256  # of value numbers, in one SETTLE

_NO_NAME_CHARACTERS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))

Reader = Callable[[Buffer, int], tuple[Any, int]]
Writer = Callable[[Any], bytes]
Parameters = dict[str, int | bytes]


def _expected(what: str, data: Buffer, position: int) -> ProtocolError:
    got = f"the byte 0x{data[position]:02x}" if position < len(data) else "nothing more"
    return ProtocolError(f"expected {what}, got {got}")


def _read_uint(data: Buffer, position: int) -> tuple[int, int]:
    if (value := data[position]) < 24:
        return value, position + 1
    major, value, end = read_head(data, position)
    if major != UINT:
        raise _expected("an unsigned integer", data, position)
    if value > MAX_COUNT:
        raise ProtocolError(f"expected an integer up to 2^62, got {value}")
    return value, end


def _write_uint(value: int) -> bytes:
    return head(UINT, value)


def _read_uint_or_null(data: Buffer, position: int) -> tuple[int | None, int]:
    if data[position] == 0xF6:
        return None, position + 1
    return _read_uint(data, position)


def _write_uint_or_null(value: int | None) -> bytes:
    return b"\xf6" if value is None else _write_uint(value)


def _read_flag(data: Buffer, position: int) -> tuple[bool, int]:
    if data[position] not in (0xF4, 0xF5):
        raise _expected("true or false", data, position)
    return data[position] == 0xF5, position + 1


def _write_flag(value: bool) -> bytes:
    return b"\xf5" if value else b"\xf4"


def _read_bytes(data: Buffer, position: int) -> tuple[Buffer, int]:
    major, size, start = read_head(data, position)
    if major != BYTES:
        raise _expected("a byte string", data, position)
    if start + size > len(data):
        raise IndexError
    return data[start : start + size], start + size


def _write_bytes(value: bytes) -> bytes:
    return head(BYTES, len(value)) + value


def _bytes_of(size: int) -> tuple[Reader, Writer]:
    """A byte string of exactly this size."""

    def read(data: Buffer, position: int) -> tuple[bytes, int]:
        value, end = _read_bytes(data, position)
        if len(value) != size:
            raise ProtocolError(f"expected {size} bytes, got {len(value)}")
        return bytes(value), end

    return read, _write_bytes


def _read_schema(data: Buffer, position: int) -> tuple[bytes, int]:
    """Whatever it holds: who cannot read it refuses the import, not the session."""
    value, end = _read_bytes(data, position)
    return bytes(value), end


def _read_text(data: Buffer, position: int) -> tuple[str, int]:
    major, size, start = read_head(data, position)
    if major != TEXT:
        raise _expected("a text string", data, position)
    if start + size > len(data):
        raise IndexError
    try:
        return str(data[start : start + size], "utf-8"), start + size
    except UnicodeDecodeError:
        raise ProtocolError("expected text in UTF-8, got other bytes") from None


def _write_text(value: str) -> bytes:
    encoded = value.encode()
    return head(TEXT, len(encoded)) + encoded


def _read_name(data: Buffer, position: int) -> tuple[str, int]:
    """What is printable beyond the control characters differs between versions of Unicode: that is not asked here."""
    name, end = _read_text(data, position)
    if not 1 <= len(name.encode()) <= MAX_NAME_SIZE or not _NO_NAME_CHARACTERS.isdisjoint(name):
        expected = f"a channel name of 1 to {MAX_NAME_SIZE} bytes without control characters"
        raise ProtocolError(f"expected {expected}, got {printable(name, 40)!r}")
    return name, end


def _read_message(data: Buffer, position: int) -> tuple[str, int]:
    message, end = _read_text(data, position)
    return printable(message, MAX_MESSAGE), end


def _write_message(value: str) -> bytes:
    return _write_text(value[:MAX_MESSAGE].encode("utf-8", "backslashreplace").decode())


def _read_code(data: Buffer, position: int) -> tuple[Code, int]:
    value, end = _read_uint(data, position)
    try:
        return Code(value), end
    except ValueError:
        raise ProtocolError(f"expected a code from 0 to {max(Code)}, got {value}") from None


def _read_token(data: Buffer, position: int) -> tuple[bytes, int]:
    value, end = _read_bytes(data, position)
    if not 1 <= len(value) <= MAX_TOKEN_SIZE:
        raise ProtocolError(f"expected a token of 1 to {MAX_TOKEN_SIZE} bytes, got {len(value)}")
    return bytes(value), end


def _read_parameters(data: Buffer, position: int) -> tuple[Parameters, int]:
    """A map of names to values; those of other names belong to later versions and are skipped."""
    major, size, position = read_head(data, position)
    if major != MAP or size > 64:
        raise ProtocolError(f"expected a map of at most 64 parameters, got major type {major}, length {size}")
    parameters: Parameters = {}
    names: set[str] = set()
    for _ in range(size):
        name, position = _read_text(data, position)
        if name in names:
            raise ProtocolError(f"expected each parameter once, got {printable(name, 40)!r} twice")
        names.add(name)
        if name in _PARAMETER_READERS:
            parameters[name], position = _PARAMETER_READERS[name](data, position)
        else:
            position = skip(data, position, max_depth=8)
    return parameters, position


def _write_parameters(value: Parameters) -> bytes:
    return head(MAP, len(value)) + b"".join(
        _write_text(name) + (_write_uint(item) if isinstance(item, int) else _write_bytes(item))
        for name, item in value.items()
    )


_PARAMETER_READERS: dict[str, Reader] = {
    **dict.fromkeys(("frame", "value", "buffer", "keepalive", "resume", "settle", "restart"), _read_uint),
    "nonce": _bytes_of(NONCE_SIZE)[0],
    "session": _bytes_of(ID_SIZE)[0],
    "secret": _bytes_of(SECRET_SIZE)[0],
    "token": _read_token,
}


def _read_ranges(data: Buffer, position: int) -> tuple[tuple[int, ...], int]:
    """Value numbers: `first, count, first, count, …`."""
    major, size, position = read_head(data, position)
    if major != ARRAY or size % 2 or not 2 <= size <= 2 * MAX_RANGES:
        expected = f"an array of 1 to {MAX_RANGES} ranges, two integers each"
        raise ProtocolError(f"expected {expected}, got major type {major}, length {size}")
    numbers: list[int] = []
    for _ in range(size):
        number, position = _read_uint(data, position)
        numbers.append(number)
    return tuple(numbers), position


def _write_ranges(value: tuple[int, ...]) -> bytes:
    return head(ARRAY, len(value)) + b"".join(map(_write_uint, value))


def _read_outcome(data: Buffer, position: int) -> tuple[bool, int]:
    value, end = _read_uint(data, position)
    if value > 1:
        raise ProtocolError(f"expected an outcome, 0 (accepted) or 1 (rejected), got {value}")
    return not value, end


def _write_outcome(accepted: bool) -> bytes:
    return b"\x00" if accepted else b"\x01"


_UINT = (_read_uint, _write_uint)
_UINT_OR_NULL = (_read_uint_or_null, _write_uint_or_null)
_FLAG = (_read_flag, _write_flag)
_BYTES = (_read_bytes, _write_bytes)
_SCHEMA = (_read_schema, _write_bytes)
_NAME = (_read_name, _write_text)
_MESSAGE = (_read_message, _write_message)
_CODE = (_read_code, _write_uint)
_PARAMETERS = (_read_parameters, _write_parameters)
_RANGES = (_read_ranges, _write_ranges)
_OUTCOME = (_read_outcome, _write_outcome)


class Frame:
    """One protocol message. Fields are read and written in the order in which the class declares them.

    Nobody changes one; but a frozen class takes several times as long to make, and there is one for each frame.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]
    KIND: ClassVar[int]
    FIELDS: ClassVar[tuple[tuple[Reader, Writer], ...]]
    OPTIONAL: ClassVar[tuple[object, ...]] = ()
    """What the last fields are where they are absent: the defaults of the class. Such a field is only written if it, or
    one behind it, differs."""


@attrs.define
class Hello(Frame):
    """The first frame both ways. `parameters`: sizes in bytes, times in milliseconds; bytes for a resume, and for a
    token."""

    KIND = 0
    FIELDS = (_UINT, _PARAMETERS)
    version: int
    parameters: Parameters


@attrs.define
class Import(Frame):
    """An importer binds a name. `receives`: the importer is the receiver. `count`: values in all, or null.

    `settles`: it settles values one by one, with SETTLE. Only for a peer that has announced that it knows this.
    """

    KIND = 1
    FIELDS = (_UINT, _NAME, _FLAG, _UINT, _UINT_OR_NULL, _SCHEMA, _FLAG)
    OPTIONAL = (False,)
    channel: int
    name: str
    receives: bool
    window: int
    count: int | None
    schema: bytes
    settles: bool = False


@attrs.define
class Accept(Frame):
    """The exporter agrees. `window`: how many values it grants, where it receives, or will use, where it sends."""

    KIND = 2
    FIELDS = (_UINT, _UINT, _SCHEMA)
    channel: int
    window: int
    schema: bytes


@attrs.define
class Reject(Frame):
    """The exporter refuses the import; the connection goes on."""

    KIND = 3
    FIELDS = (_UINT, _CODE, _MESSAGE)
    channel: int
    code: Code
    message: str


@attrs.define
class Data(Frame):
    """A batch of values or, with `more`, a fragment of one. `first`: the sequence number of the batch's first value."""

    KIND = 4
    FIELDS = (_UINT, _UINT, _FLAG, _BYTES)
    channel: int
    first: int
    more: bool
    payload: Buffer


@attrs.define
class Ack(Frame):
    """Values delivered so far, and up to which count of values and of payload bytes may be sent. All only grow."""

    KIND = 5
    FIELDS = (_UINT, _UINT, _UINT, _UINT)
    channel: int
    delivered: int
    value_limit: int
    byte_limit: int


@attrs.define
class Settle(Frame):
    """The receiver's program has settled these values: accepted, or rejected. Ranges: `first, count, …`."""

    KIND = 6
    FIELDS = (_UINT, _RANGES, _OUTCOME)
    channel: int
    ranges: tuple[int, ...]
    accepted: bool


@attrs.define
class Close(Frame):
    """One side is done with a channel. `count`: values sent, from its sender; values delivered, from its receiver."""

    KIND = 7
    FIELDS = (_UINT, _UINT, _CODE, _MESSAGE)
    channel: int
    count: int
    code: Code
    message: str


@attrs.define
class Ping(Frame):
    """Asks for a sign of life."""

    KIND = 8
    FIELDS = (_UINT,)
    token: int


@attrs.define
class Pong(Frame):
    """The answer to a ping, with its token."""

    KIND = 9
    FIELDS = (_UINT,)
    token: int


@attrs.define
class Goodbye(Frame):
    """The session ends. The last frame of a side."""

    KIND = 10
    FIELDS = (_CODE, _MESSAGE)
    code: Code
    message: str


@attrs.define
class Resume(Frame):
    """An importer goes on with a session. `seen`: control frames it has had; `channels`: how many POSITIONs follow."""

    KIND = 11
    FIELDS = (_bytes_of(ID_SIZE), _UINT, _bytes_of(PROOF_SIZE), _UINT, _UINT)
    session: bytes
    epoch: int
    proof: bytes
    seen: int
    channels: int


@attrs.define
class Resumed(Frame):
    """The exporter goes on, too."""

    KIND = 12
    FIELDS = (_bytes_of(PROOF_SIZE), _UINT, _UINT)
    proof: bytes
    seen: int
    channels: int


@attrs.define
class Position(Frame):
    """How many values this side has received on a channel: the sender goes on from there."""

    KIND = 13
    FIELDS = (_UINT, _UINT)
    channel: int
    received: int


@attrs.define
class Seen(Frame):
    """How many control frames of this session this side has had: the other side can forget them."""

    KIND = 14
    FIELDS = (_UINT,)
    count: int


@attrs.define
class Redelivered(Frame):
    """The next batch, of these values, brings what some importer had before. To a receiver that settles only."""

    KIND = 15
    FIELDS = (_UINT, _UINT, _UINT)
    channel: int
    first: int
    count: int


_KINDS: dict[int, type[Frame]] = {
    frame.KIND: frame
    for frame in (
        *(Hello, Import, Accept, Reject, Data, Ack, Settle, Close, Ping, Pong, Goodbye),
        *(Resume, Resumed, Position, Seen, Redelivered),
    )
}


def kind_name(frame: Frame) -> str:
    """As the specification writes it: `DATA`."""
    return type(frame).__name__.upper()


def encode(frame: Frame) -> bytes:
    """The frame's bytes, length prefix included."""
    values = [getattr(frame, name) for name in frame.__match_args__]
    optional = frame.OPTIONAL
    while optional and values[-1] == optional[-1]:
        values, optional = values[:-1], optional[:-1]
    body = head(ARRAY, len(values) + 1) + head(UINT, frame.KIND)
    for (_, write), value in zip(frame.FIELDS, values, strict=False):
        body += write(value)
    return _write_bytes(body)


def data_head(channel: int, first: int, more: bool, size: int) -> bytes:
    """All bytes of a DATA frame but its payload of `size` bytes, which follows them."""
    body = b"\x85\x04" + head(UINT, channel) + head(UINT, first) + _write_flag(more) + head(BYTES, size)
    return head(BYTES, len(body) + size) + body


def decode(data: Buffer) -> Frame:
    """The frame that these bytes, without the length prefix, hold. `ProtocolError` on anything else."""
    try:
        major, size, position = read_head(data, 0)
        if major != ARRAY or not size:
            raise _expected("a frame (an array)", data, 0)
        number, position = _read_uint(data, position)
        kind = _KINDS.get(number)
        if kind is None:
            raise ProtocolError(f"expected a frame of a known kind, got kind {number}")
        readers = kind.FIELDS if size > len(kind.FIELDS) else _present(kind, size - 1)
        fields: list[Any] = []
        for read, _ in readers:
            field, position = read(data, position)
            fields.append(field)
        for _ in range(size - 1 - len(kind.FIELDS)):
            position = skip(data, position, max_depth=8)
    except IndexError:
        raise ProtocolError("expected a whole frame, got one that is cut short") from None
    if position != len(data):
        raise ProtocolError(f"expected the end of the frame, got {len(data) - position} bytes more")
    return kind(*fields)  # the optional ones that are absent have their values in the class


def _present(kind: type[Frame], count: int) -> tuple[tuple[Reader, Writer], ...]:
    """The fields of a frame that has just so many."""
    least = len(kind.FIELDS) - len(kind.OPTIONAL)
    if count < least:
        raise ProtocolError(f"expected {least} fields in {kind.__name__.upper()}, got {count}")
    return kind.FIELDS[:count]


class FrameCutter:
    """Cuts a stream of bytes, in any chunks, into frames; at most one frame of `max_frame_size` is held back.

    Of a large DATA frame nothing is held back: what a chunk has of it is passed on as a fragment of its own.
    """

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()
        self._wanted = len(MAGIC)  # nothing can be cut off below that many bytes
        self._started = False
        self._data: Data | None = None  # the frame of which a part has been passed on, without its payload
        self._missing = 0  # bytes of it
        self._cut = 0  # frames
        self.goes_on = False
        """Whether the last frame that was passed on is a further part of one that had come in part."""

    @property
    def in_the_middle(self) -> int | None:
        """The number of the frame that has come in part; None: none has."""
        return self._cut if self._buffer or self._data is not None else None

    def cut(self, chunk: bytes | bytearray) -> Iterator[Frame]:
        """The frames that `chunk` completes. `ProtocolError`, raised in its place among them, is final."""
        if self._buffer:
            self._buffer += chunk
            if self._started and len(self._buffer) < self._wanted:
                return
            chunk = bytes(self._buffer)
            self._buffer.clear()
        position = self._start(chunk)
        view = memoryview(chunk)
        end = len(chunk)
        if self._data is not None:
            position = min(self._missing, end)
            self.goes_on = True
            yield self._go_on(self._data, view[:position])
            self.goes_on = False
        while self._started and position < end:
            try:
                major, size, start = read_head(view, position)
            except IndexError:
                self._wanted = 0
                break
            if major != BYTES:
                raise _expected("the head of a frame (a byte string)", view, position)
            if not 0 < size <= self._max_frame_size:
                raise ProtocolError(f"expected a frame of 1 to {self._max_frame_size} bytes, got {size}")
            if start + size > end:
                if end - start >= FRAGMENT and (fragment := self._begin(view[start:], size)):
                    yield fragment
                    return
                self._wanted = start + size - position
                break
            self._cut += 1
            yield decode(view[start : start + size])
            position = start + size
        if position < end:
            self._buffer += view[position:]

    def _go_on(self, frame: Data, payload: memoryview) -> Data:
        """The next part of a frame that has been passed on in part."""
        self._missing -= len(payload)
        self._data = frame if self._missing else None
        self._cut += not self._missing
        return attrs.evolve(frame, more=frame.more or self._missing > 0, payload=payload)

    def _start(self, chunk: bytes | bytearray) -> int:
        """Where the frames begin in the chunk. The stream starts with the magic bytes, as far as they have come."""
        if self._started:
            return 0
        if chunk[: len(MAGIC)] != MAGIC[: len(chunk)]:
            hint = ": the other side uses TLS, and this side does not (`ssl_context=`)" if _is_tls(chunk) else ""
            raise ProtocolError(f"expected a stream that starts with {MAGIC!r}, got {bytes(chunk[:16])!r}{hint}")
        self._started = len(chunk) >= len(MAGIC)
        return len(MAGIC) if self._started else 0

    def _begin(self, frame: memoryview, size: int) -> Data | None:
        """What has come of a frame of `size` bytes, if it is DATA as this version sends it."""
        try:
            if frame[0] != 0x85 or frame[1] != Data.KIND:
                return None
            channel, position = _read_uint(frame, 2)
            first, position = _read_uint(frame, position)
            more, position = _read_flag(frame, position)
            major, length, position = read_head(frame, position)
        except ProtocolError:
            return None  # `decode` will say so of the whole frame
        if major != BYTES or position + length != size:
            return None
        self._data = Data(channel, first, more, b"")
        self._missing = size - len(frame)
        return attrs.evolve(self._data, more=True, payload=frame[position:])


def _is_tls(data: Buffer) -> bool:
    """Whether a stream starts as TLS does: with a handshake or an alert."""
    return bytes(data[:2]) in (b"\x16\x03", b"\x15\x03")
