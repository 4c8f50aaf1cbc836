"""Frames: each comes back equal, in any chunks, and nothing but a frame passes.

`fault N` in a test's name or parameters is case N of the catalogue of hostile peers in `docs/protocol.md`.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trionetchan._cbor import ARRAY, BYTES, TEXT, UINT, head
from trionetchan._errors import Code, ProtocolError
from trionetchan._limits import MAX_NAME_SIZE, MAX_SCHEMA_SIZE
from trionetchan._protocol import frames
from trionetchan._protocol.frames import (
    DATA_OVERHEAD,
    MAGIC,
    MAX_COUNT,
    MAX_MESSAGE,
    Accept,
    Ack,
    Close,
    Data,
    Frame,
    FrameCutter,
    Goodbye,
    Hello,
    Import,
    Ping,
    Pong,
    Position,
    Redelivered,
    Reject,
    Resume,
    Resumed,
    Seen,
    Settle,
    data_head,
    decode,
    encode,
)

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
thorough = settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

LARGEST = 64 * 2**10

numbers = st.integers(0, MAX_COUNT) | st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, MAX_COUNT])
flags = st.booleans()
codes = st.sampled_from(Code)
names = (
    st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=60)
    .filter(str.isprintable)
    .filter(lambda name: len(name.encode()) <= MAX_NAME_SIZE)
)
messages = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40).filter(str.isprintable)
payloads = st.binary(max_size=400)
PARAMETER_SIZES = {"nonce": 16, "session": 16, "secret": 32}


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return one | other


parameters = st.builds(
    together,
    st.dictionaries(st.sampled_from(["frame", "value", "buffer", "keepalive", "resume", "settle"]), numbers),
    st.fixed_dictionaries(
        {}, optional={name: st.binary(min_size=n, max_size=n) for name, n in PARAMETER_SIZES.items()}
    ),
)
ranges = st.lists(numbers, min_size=1, max_size=6).map(lambda found: (*found, *found))

# What each frame is, said once more and independently of the code: its kind, and the kind of each field.
SHAPES: dict[type[Frame], tuple[int, tuple[str, ...]]] = {
    Hello: (0, ("uint", "parameters")),
    Import: (1, ("uint", "name", "flag", "uint", "uint or null", "schema", "flag")),
    Accept: (2, ("uint", "uint", "schema")),
    Reject: (3, ("uint", "code", "text")),
    Data: (4, ("uint", "uint", "flag", "payload")),
    Ack: (5, ("uint", "uint", "uint", "uint")),
    Settle: (6, ("uint", "ranges", "outcome")),
    Close: (7, ("uint", "uint", "code", "text")),
    Ping: (8, ("uint",)),
    Pong: (9, ("uint",)),
    Goodbye: (10, ("code", "text")),
    Resume: (11, ("16 bytes", "uint", "32 bytes", "uint", "uint")),
    Resumed: (12, ("32 bytes", "uint", "uint")),
    Position: (13, ("uint", "uint")),
    Seen: (14, ("uint",)),
    Redelivered: (15, ("uint", "uint", "uint")),
}
OPTIONAL: dict[type[Frame], int] = {Import: 1}  # how many of the last fields may be absent

STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "uint": numbers,
    "uint or null": st.none() | numbers,
    "flag": flags,
    "payload": payloads,
    "schema": payloads,
    "text": messages,
    "name": names,
    "code": codes,
    "parameters": parameters,
    "16 bytes": st.binary(min_size=16, max_size=16),
    "32 bytes": st.binary(min_size=32, max_size=32),
    "ranges": ranges,
    "outcome": flags,
}

SAMPLES: dict[str, Any] = {
    "uint": 1000,
    "uint or null": 7,
    "flag": True,
    "payload": b"\x81\x01",
    "schema": b"",
    "text": "why",
    "name": "jobs",
    "code": 1,
    "parameters": {"frame": 65536},
    "16 bytes": bytes(range(16)),
    "32 bytes": bytes(range(32)),
    "ranges": [0, 3],
    "outcome": 1,
}

# CBOR items, and the kinds of field that may hold them.
ITEMS: dict[str, tuple[bytes, set[str]]] = {
    "0": (b"\x00", {"uint", "uint or null", "code", "outcome"}),
    "0 in nine bytes": (b"\x1b" + bytes(8), {"uint", "uint or null", "code", "outcome"}),
    "1": (b"\x01", {"uint", "uint or null", "code", "outcome"}),
    "2": (b"\x02", {"uint", "uint or null", "code"}),
    "2^62": (head(UINT, MAX_COUNT), {"uint", "uint or null"}),
    "2^62 + 1 (fault 55)": (head(UINT, MAX_COUNT + 1), set()),
    "2^63 - 1 (fault 55)": (head(UINT, 2**63 - 1), set()),
    "2^63 (fault 34)": (head(UINT, 2**63), set()),
    "2^64 - 1 (fault 10)": (head(UINT, 2**64 - 1), set()),
    "2^64, a bignum (fault 26)": (cbor2.dumps(2**64), set()),
    "1 as a bignum (fault 26)": (b"\xc2\x41\x01", set()),
    "a decimal (fault 26)": (b"\xc4\x82\x1a\x7f\xff\xff\xff\x01", set()),
    "-1 (fault 10)": (b"\x20", set()),
    "true (fault 27)": (b"\xf5", {"flag"}),
    "false (fault 27)": (b"\xf4", {"flag"}),
    "null": (b"\xf6", {"uint or null"}),
    "undefined": (b"\xf7", set()),
    "1.0 in half (fault 27)": (b"\xf9\x3c\x00", set()),
    "1.0 (fault 27)": (b"\xfb\x3f\xf0" + bytes(6), set()),
    "NaN (fault 27)": (b"\xf9\x7e\x00", set()),
    "simple value 20 in two bytes": (b"\xf8\x14", set()),
    "empty bytes": (b"\x40", {"schema", "payload"}),
    "bytes": (b"\x41\x00", {"schema", "payload"}),
    "empty text": (b"\x60", {"text"}),
    "text": (b"\x61a", {"text", "name"}),
    "invalid UTF-8 (fault 28)": (b"\x62\xc3\x28", set()),
    "a surrogate in UTF-8 (fault 28)": (b"\x63\xed\xa0\x80", set()),
    "an overlong NUL (fault 28)": (b"\x62\xc0\x80", set()),
    "an empty array": (b"\x80", set()),
    "an array": (b"\x81\x00", set()),
    "a range": (b"\x82\x00\x01", {"ranges"}),
    "a range and a half": (b"\x83\x00\x01\x05", set()),
    "a range with a bool": (b"\x82\x00\xf5", set()),
    "a range of more than 2^62": (b"\x82\x00" + head(UINT, MAX_COUNT + 1), set()),
    "256 ranges": (head(ARRAY, 512) + b"\x00" * 512, {"ranges"}),
    "257 ranges": (head(ARRAY, 514) + b"\x00" * 514, set()),
    "ranges in an indefinite array": (b"\x9f\x00\x01\xff", set()),
    "an empty map": (b"\xa0", {"parameters"}),
    "a map": (b"\xa1\x61x\x00", {"parameters"}),
    "a map with a number as key": (b"\xa1\x00\x00", set()),
    "a map with bytes as key": (b"\xa1\x41x\x00", set()),
    "a tag": (b"\xc1\x00", set()),
    "a shared reference (fault 24)": (b"\xd8\x1c\x00", set()),
    "a reference (fault 24)": (b"\xd8\x1d\x00", set()),
    "a string reference (fault 24)": (b"\xd9\x01\x00\x81\x00", set()),
    "a regular expression (fault 25)": (b"\xd8\x23\x61a", set()),
    "a MIME message (fault 25)": (b"\xd8\x24\x61a", set()),
    "indefinite bytes (fault 22)": (b"\x5f\x41a\xff", set()),
    "indefinite text (fault 22)": (b"\x7f\x61a\xff", set()),
    "an indefinite array (fault 22)": (b"\x9f\xff", set()),
    "an indefinite map (fault 22)": (b"\xbf\xff", set()),
    "a break (fault 22)": (b"\xff", set()),
    "a reserved head": (b"\x1c", set()),
    "bytes that claim 2^60 (fault 21)": (b"\x5b\x10" + bytes(7), set()),
    "text that claims 2^60 (fault 21)": (b"\x7b\x10" + bytes(7), set()),
    "an array that claims 2^60 (fault 21)": (b"\x9b\x10" + bytes(7), set()),
    "a map that claims 2^60 (fault 21)": (b"\xbb\x10" + bytes(7), set()),
    "100,000 nested arrays (fault 20)": (b"\x81" * 100_000 + b"\x00", set()),
    "a parameter of 100,000 nested arrays (fault 20)": (b"\xa1\x61x" + b"\x81" * 100_000 + b"\x00", set()),
    "a parameter twice (fault 23)": (b"\xa2\x65frame\x1a\x00\x01\x00\x00\x65frame\x1a\x00\x01\x00\x00", set()),
    "an unknown parameter twice (fault 23)": (b"\xa2\x61x\x00\x61x\x01", set()),
    "a parameter that is -1 (fault 10)": (b"\xa1\x65frame\x20", set()),
    "a parameter that is 2^64 (fault 10)": (b"\xa1\x65frame" + cbor2.dumps(2**64), set()),
    "a parameter that is true (fault 27)": (b"\xa1\x65value\xf5", set()),
    "a parameter that is 1.0 (fault 27)": (b"\xa1\x65value\xf9\x3c\x00", set()),
    "an unknown parameter of any kind": (b"\xa1\x61x\x82\xf5\xa1\x61y\xc1\xfb" + bytes(8), {"parameters"}),
    "64 parameters": (head(5, 64) + b"".join(cbor2.dumps(str(n)) + b"\x00" for n in range(64)), {"parameters"}),
    "65 parameters": (head(5, 65) + b"".join(cbor2.dumps(str(n)) + b"\x00" for n in range(65)), set()),
    "a name of 255 bytes": (head(TEXT, 255) + b"a" * 255, {"text", "name"}),
    "a name of 254 bytes with a long head": (b"\x7b" + (254).to_bytes(8, "big") + b"a" * 254, {"text", "name"}),
    "a name of 256 bytes (fault 46)": (head(TEXT, 256) + b"a" * 256, {"text"}),
    "a name of 256 bytes in 128 letters (fault 46)": (head(TEXT, 256) + "ä".encode() * 128, {"text"}),
    "a name with a newline (fault 46)": (b"\x63a\nb", {"text"}),
    "a name with an escape (fault 46)": (b"\x63a\x1bb", {"text"}),
    "a name with a NUL (fault 46)": (b"\x62a\x00", {"text"}),
    "a name with a line separator (fault 46)": (cbor2.dumps("a\u2028b"), {"text"}),
    "a name with a paragraph separator (fault 46)": (cbor2.dumps("a\u2029b"), {"text"}),
    "a name that turns the line around": (cbor2.dumps("a\u202eb"), {"text", "name"}),
    "a name of a character that Unicode has not assigned": (cbor2.dumps("a\U000e0080b"), {"text", "name"}),
    "a name with a space that is not broken": (cbor2.dumps("a\u00a0b"), {"text", "name"}),
    "a name with a C1 control (fault 46)": (cbor2.dumps("a\x9bb"), {"text"}),
    "a schema of 32 KiB": (head(BYTES, MAX_SCHEMA_SIZE) + bytes(MAX_SCHEMA_SIZE), {"schema", "payload"}),
    "a schema of 32 KiB and a byte, which nobody can read": (
        head(BYTES, MAX_SCHEMA_SIZE + 1) + bytes(MAX_SCHEMA_SIZE + 1),
        {"schema", "payload"},
    ),
    "the code behind the last": (head(UINT, max(Code) + 1), {"uint", "uint or null"}),
}


def frame_of(kind: type[Frame]) -> st.SearchStrategy[Frame]:
    _, fields = SHAPES[kind]
    return st.builds(kind, *(STRATEGIES[field] for field in fields))


any_frame: st.SearchStrategy[Frame] = st.one_of([frame_of(kind) for kind in SHAPES])


def field_names(kind: type[Any]) -> list[str]:
    return [field.name for field in attrs.fields(kind)]


def full(frame: Frame) -> list[Any]:
    """All fields of the frame, as a generic CBOR decoder would give them."""
    kind, fields = SHAPES[type(frame)]
    found: list[Any] = [kind, *(getattr(frame, field) for field in field_names(type(frame)))]
    for place, field in enumerate(fields, 1):
        if field == "ranges":
            found[place] = list(found[place])
        elif field == "outcome":
            found[place] = int(not found[place])
    return found


def plain(frame: Frame) -> list[Any]:
    """What a generic CBOR decoder makes of the frame."""
    found = full(frame)
    for _ in range(OPTIONAL.get(type(frame), 0)):
        if found[-1] is not False:
            break
        del found[-1]
    return found


def body(*items: bytes) -> bytes:
    return head(ARRAY, len(items)) + b"".join(items)


def wrapped(data: bytes) -> bytes:
    return head(BYTES, len(data)) + data


def sample(kind: type[Frame]) -> list[bytes]:
    """The encoded elements of a valid frame."""
    number, fields = SHAPES[kind]
    return [cbor2.dumps(number), *(cbor2.dumps(SAMPLES[field]) for field in fields)]


def owned(frame: Frame) -> Frame:
    """The frame with a payload that does not lie in somebody's buffer, so that frames can be compared."""
    return attrs.evolve(frame, payload=bytes(frame.payload)) if isinstance(frame, Data) else frame


def cut_all(cutter: FrameCutter, chunks: Iterable[bytes]) -> list[Frame]:
    return [owned(frame) for chunk in chunks for frame in cutter.cut(chunk)]


def cut_until_refused(chunks: Iterable[bytes], largest: int = LARGEST) -> tuple[list[Frame], str | None]:
    """The frames, and why there are no more if not for lack of bytes."""
    cutter = FrameCutter(largest)
    found: list[Frame] = []
    try:
        for chunk in chunks:
            for frame in cutter.cut(chunk):
                found.append(owned(frame))  # noqa: PERF401 - what came before an error counts
    except ProtocolError as error:
        return found, str(error)
    return found, None


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def test_the_shapes_here_are_all_frames() -> None:
    assert {kind: shape[0] for kind, shape in SHAPES.items()} == {kind: kind.KIND for kind in Frame.__subclasses__()}
    assert {kind: len(shape[1]) for kind, shape in SHAPES.items()} == {k: len(k.FIELDS) for k in Frame.__subclasses__()}
    assert {k: len(k.OPTIONAL) for k in Frame.__subclasses__() if k.OPTIONAL} == OPTIONAL


def test_an_optional_field_is_written_only_where_it_tells_something() -> None:
    request = Import(0, "x", True, 1, None, b"")
    asking = attrs.evolve(request, settles=True)
    assert len(encode(asking)) == len(encode(request)) + 1
    assert cbor2.loads(cbor2.loads(encode(request))) == [1, 0, "x", True, 1, None, b""]
    assert decode(cbor2.dumps([1, 0, "x", True, 1, None, b"", False])) == request
    with pytest.raises(ProtocolError, match="true or false"):
        decode(cbor2.dumps([1, 0, "x", True, 1, None, b"", None]))


@pytest.mark.parametrize("kind", SHAPES)
def test_every_frame_comes_back_equal_and_is_plain_cbor(kind: type[Frame]) -> None:
    @thorough
    @given(frame_of(kind))
    def check(frame: Frame) -> None:
        data = encode(frame)
        inner = cbor2.loads(data)
        assert type(inner) is bytes
        assert wrapped(inner) == data  # the shortest head
        assert owned(decode(inner)) == frame
        assert owned(decode(memoryview(inner))) == frame
        assert cbor2.loads(inner) == plain(frame)
        assert cbor2.dumps(plain(frame)) == inner
        for was, now in zip(plain(frame), plain(owned(decode(inner))), strict=True):
            assert type(now) is type(was)

    check()


@thorough
@given(numbers, numbers, flags, payloads)
def test_a_data_head_and_the_payload_are_a_data_frame(channel: int, first: int, more: bool, payload: bytes) -> None:
    before = data_head(channel, first, more, len(payload))
    assert before + payload == encode(Data(channel, first, more, payload))
    assert len(before) <= DATA_OVERHEAD


def test_no_data_head_is_longer_than_promised() -> None:
    assert len(data_head(MAX_COUNT, MAX_COUNT, True, 2**62)) <= DATA_OVERHEAD


@thorough
@given(st.lists(any_frame, max_size=12), st.lists(st.integers(0, 5000), max_size=12))
@example([Data(0, 0, False, b"x" * 300), Close(0, 1, Code.FINISHED, "y" * 30)], [100, 320])
def test_any_chunking_gives_equal_frames(sent: list[Frame], cuts: list[int]) -> None:
    stream = MAGIC + b"".join(map(encode, sent))
    assert cut_all(FrameCutter(LARGEST), pieces(stream, cuts)) == sent


@thorough
@given(st.lists(any_frame, max_size=8))
def test_a_frame_comes_with_its_last_byte_when_all_bytes_come_alone(sent: list[Frame]) -> None:
    cutter = FrameCutter(LARGEST)
    assert cut_all(cutter, (bytes((byte,)) for byte in MAGIC)) == []
    for frame in sent:
        data = encode(frame)
        assert cut_all(cutter, (bytes((byte,)) for byte in data[:-1])) == []
        assert cut_all(cutter, [data[-1:]]) == [frame]


def test_each_way_to_cut_a_stream_in_three() -> None:
    """Also where a chunk ends within the head of a frame and one before had been cut."""
    sent = [Data(0, 0, False, b"x" * 60), Close(0, 1, Code.FINISHED, "y" * 30), Ping(1)]
    stream = MAGIC + b"".join(map(encode, sent))
    for first in range(len(stream)):
        for second in range(first, len(stream)):
            assert cut_all(FrameCutter(LARGEST), pieces(stream, [first, second])) == sent, (first, second)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)


@thorough
@given(any_frame, st.lists(anything, max_size=4))
def test_fault_17_unknown_trailing_fields_are_ignored(frame: Frame, more: list[Any]) -> None:
    assert owned(decode(cbor2.dumps([*full(frame), *more]))) == frame


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("more", "taken"),
    [
        (b"\x00", True),
        (b"\xfb" + bytes(8), True),
        (b"\xa1\x00\x81\x20", True),
        (b"\x81" * 7 + b"\x00", True),
        (b"\x81" * 8 + b"\x00", False),  # 8 items deep at most
        (b"\x9f\xff", False),
        (b"\x5b\x10" + bytes(7), False),
        (b"\x9b\x10" + bytes(7), False),
        (b"", False),
    ],
)
def test_fault_17_a_trailing_field_is_one_bounded_item(kind: type[Frame], more: bytes, taken: bool) -> None:
    elements = sample(kind)
    data = head(ARRAY, len(elements) + 1) + b"".join(elements) + more
    if taken:
        assert plain(decode(data))[0] == kind.KIND
    else:
        with pytest.raises(ProtocolError):
            decode(data)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_number_of_trailing_fields_that_is_a_lie_is_refused_at_once(kind: type[Frame]) -> None:
    for count in 2**16, 2**32, 2**60, 2**64 - 1:
        with pytest.raises(ProtocolError, match="cut short"):
            decode(head(ARRAY, count) + b"".join(sample(kind)))


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("kind", SHAPES)
def test_each_field_takes_its_own_kind_and_no_other(kind: type[Frame], item: str) -> None:
    data, fitting = ITEMS[item]
    _, fields = SHAPES[kind]
    for position, field in enumerate(fields, 1):
        elements = sample(kind)
        elements[position] = data
        if field in fitting:
            assert decode(body(*elements)) is not None
        else:
            with pytest.raises(ProtocolError):
                decode(body(*elements))


@pytest.mark.parametrize("item", ITEMS)
def test_nothing_but_a_known_uint_is_a_kind(item: str) -> None:
    """Fault 16."""
    data, fitting = ITEMS[item]
    known = {head(UINT, kind) for kind, _ in SHAPES.values()}
    if item == "0 in nine bytes" or data in known:
        return
    assert item == "the code behind the last" or "uint" not in fitting or data == head(UINT, MAX_COUNT)
    with pytest.raises(ProtocolError):
        decode(body(data, *[b"\x00"] * 6))


@pytest.mark.parametrize("number", [16, 23, 24, 255, 256, 2**32, 2**62])
def test_fault_16_an_unknown_kind_is_refused_and_named(number: int) -> None:
    with pytest.raises(ProtocolError, match=f"got kind {number}"):
        decode(body(cbor2.dumps(number), b"\x00"))


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shorter_and_every_longer_frame_is_refused(kind: type[Frame]) -> None:
    """Faults 14 (what is cut inside a frame, but declared whole) and 18 (bytes behind the frame's array)."""
    elements = sample(kind)
    data = body(*elements)
    for size in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(data[:size])
    for fewer in range(1, len(elements)):
        if fewer < len(elements) - OPTIONAL.get(kind, 0):
            with pytest.raises(ProtocolError):
                decode(body(*elements[:fewer]))
        with pytest.raises(ProtocolError):
            decode(head(ARRAY, fewer) + b"".join(elements))
    for more in b"\x00", b"\xf6", data, bytes(1000):
        with pytest.raises(ProtocolError, match="end of the frame"):
            decode(data + more)


@pytest.mark.parametrize(
    "item", [b"\x80", b"\x00", b"\x41\x00", b"\x61a", b"\xa1\x00\x00", b"\xd9\xd9\xf7\x82\x08\x00", b"\xf6"]
)
def test_what_is_no_array_is_no_frame(item: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(item)


def test_fault_22_an_indefinite_array_is_no_frame() -> None:
    with pytest.raises(ProtocolError, match="definite"):
        decode(b"\x9f\x08\x00\xff")


def test_messages_are_made_printable_and_cut() -> None:
    """Part of fault 46: what a peer says can be logged."""
    for text in "a\nb\x1b[31m", "x" * 5000, "\u202e" * 3000:
        for kind in Reject, Close, Goodbye:
            elements = [*sample(kind)[:-1], cbor2.dumps(text)]
            frame = decode(body(*elements))
            assert isinstance(frame, Reject | Close | Goodbye)
            assert frame.message.isprintable()
            assert len(frame.message) <= 12 * MAX_MESSAGE
    encoded = encode(Goodbye(Code.FINISHED, "ä\ud800" + "x" * 5000))
    assert len(encoded) < 1100
    assert isinstance(decode(cbor2.loads(encoded)), Goodbye)


@pytest.mark.parametrize(
    "start",
    [
        b"\xd9\xd9\xf6",
        b"\x00",
        b"\xff\xff\xff",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        encode(Hello(1, {})),
        b"\xd9\xd9" + encode(Hello(1, {})),
    ],
    ids=[
        "fault 1: almost",
        "fault 1: zero",
        "fault 1: ones",
        "fault 2: HTTP",
        "fault 2: POST",
        "fault 2: TLS",
        "SSH",
        "none",
        "two",
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_a_stream_that_starts_otherwise_is_refused_as_soon_as_it_shows(start: bytes, chunk: int) -> None:
    found, why = cut_until_refused(start[at : at + chunk] for at in range(0, len(start), chunk))
    assert found == []
    assert why is not None
    assert why.isprintable()


SMALL = 1000
HEADS = {
    "fault 11: 2^32 - 1": b"\x5a\xff\xff\xff\xff",
    "fault 11: 2^64 - 1": b"\x5b" + b"\xff" * 8,
    "fault 12: zero": b"\x40",
    "fault 12: zero in nine bytes": b"\x5b" + bytes(8),
    "fault 13: the limit + 1": head(BYTES, SMALL + 1),
    "fault 13: the limit + 1 in nine bytes": b"\x5b" + (SMALL + 1).to_bytes(8, "big"),
    "fault 22: indefinite": b"\x5f",
    "reserved": b"\x5c",
    "a number": b"\x00",
    "text": b"\x61",
    "a bare frame": b"\x82",
    "the magic again": MAGIC,
    "a break": b"\xff",
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_bad_length_is_refused_with_its_head_and_before_anything_is_held(name: str, chunk: int) -> None:
    stream = MAGIC + encode(Ping(7)) + HEADS[name]
    tracemalloc.start()
    found, why = cut_until_refused((stream[at : at + chunk] for at in range(0, len(stream), chunk)), SMALL)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [Ping(7)]
    assert why is not None
    assert peak < 50_000


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    space = SMALL - (len(data_head(0, 0, False, SMALL)) - 3)
    frame = Data(0, 0, False, bytes(space))
    data = encode(frame)
    assert data.startswith(head(BYTES, SMALL))
    assert cut_until_refused([MAGIC + data], SMALL) == ([frame], None)
    assert cut_until_refused([MAGIC + data], SMALL - 1)[1] is not None


@pytest.mark.parametrize("chunk", [1, 7, 999])
def test_fault_15_a_frame_that_dribbles_is_held_once(chunk: int) -> None:
    data = MAGIC + encode(Data(0, 0, False, bytes(60_000)))
    cutter = FrameCutter(LARGEST)
    tracemalloc.start()
    for at in range(0, len(data) - chunk, chunk):
        assert list(cutter.cut(data[at : at + chunk])) == []
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.3 * len(data)
    assert peak < 3 * len(data)


def test_fault_14_a_cut_frame_is_not_seen() -> None:
    stream = MAGIC + encode(Ping(1)) + encode(Data(3, 1, False, bytes(300)))
    for end in range(len(stream)):
        found, why = cut_until_refused([stream[:end]])
        assert why is None
        assert found == ([Ping(1)] if end >= len(MAGIC + encode(Ping(1))) else [])


@thorough
@given(st.lists(st.binary(max_size=60), max_size=20), st.booleans())
def test_random_bytes_give_frames_or_a_protocol_error(chunks: list[bytes], started: bool) -> None:
    found, why = cut_until_refused([MAGIC * started, *chunks], SMALL)
    whole, whole_why = cut_until_refused([MAGIC * started + b"".join(chunks)], SMALL)
    assert (found, why is None) == (whole, whole_why is None)


@thorough
@given(
    st.lists(any_frame, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=4),
    st.lists(st.integers(0, 5000), max_size=5),
)
def test_changed_bytes_give_frames_or_a_protocol_error_whatever_the_chunks(
    sent: list[Frame], changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    data = bytearray(MAGIC + b"".join(map(encode, sent)))
    for place, change in changes:
        data[place % len(data)] ^= change
    once = cut_until_refused([bytes(data)], SMALL)
    assert cut_until_refused(pieces(bytes(data), cuts), SMALL)[0] == once[0]
    for frame in once[0]:
        if isinstance(frame, Hello):
            continue  # of which unknown parameters are skipped
        assert plain(frame)[0] in {kind for kind, _ in SHAPES.values()}
        again = cut_until_refused([MAGIC + encode(frame)], SMALL + 100)[0]
        if not isinstance(frame, Reject | Close | Goodbye):  # whose messages are made printable
            assert again == [frame]


@thorough
@given(st.binary(max_size=120), st.sampled_from(sorted(SHAPES, key=lambda kind: kind.KIND)))
def test_random_fields_give_a_frame_or_a_protocol_error(data: bytes, kind: type[Frame]) -> None:
    for size in len(SHAPES[kind][1]), len(SHAPES[kind][1]) + 1:
        try:
            frame = decode(head(ARRAY, size + 1) + cbor2.dumps(kind.KIND) + data)
        except ProtocolError:
            continue
        assert type(frame) is kind


def test_constants_are_those_of_the_specification() -> None:
    assert (MAGIC, frames.VERSION, MAX_NAME_SIZE, MAX_SCHEMA_SIZE, MAX_COUNT) == (b"\xd9\xd9\xf7", 1, 255, 32768, 2**62)
    assert {code.name: code.value for code in Code} == {
        "FINISHED": 0,
        "HUNG_UP": 1,
        "RECEIVER_GONE": 2,
        "VALUE_REFUSED": 3,
        "WITHDRAWN": 4,
        "COUNT_REACHED": 5,
        "LIMIT": 6,
        "NO_SUCH_CHANNEL": 7,
        "WRONG_DIRECTION": 8,
        "TYPE_MISMATCH": 9,
        "PROTOCOL_ERROR": 10,
        "UNSUPPORTED_VERSION": 11,
        "SESSION_LOST": 12,
        "RESTARTING": 13,
        "UNAUTHENTICATED": 14,
        "PERMISSION_DENIED": 15,
    }
