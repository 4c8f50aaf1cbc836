"""Large DATA frames are passed on in the parts in which they come, and mean the same as whole ones."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trionetchan._cbor import BYTES, head
from trionetchan._errors import ProtocolError
from trionetchan._protocol.frames import FRAGMENT, MAGIC, Ack, Data, Frame, FrameCutter, data_head, encode
from trionetchan._protocol.window import ReceiveWindow

EXAMPLES = int(os.environ.get("TRIONETCHAN_EXAMPLES", "100"))
MAX_FRAME = 2**17


def payload_of(sizes: list[int]) -> bytes:
    items = [head(BYTES, size) + bytes([number % 256]) * size for number, size in enumerate(sizes)]
    return head(4, len(items)) + b"".join(items)


def frame_of(payload: bytes, first: int, *, more: bool = False) -> bytes:
    return data_head(7, first, more, len(payload)) + payload


def cut(stream: bytes, sizes: list[int]) -> list[Frame]:
    """The frames of a stream that comes in chunks of these sizes, in turn; what has come is overwritten afterwards."""
    cutter = FrameCutter(MAX_FRAME)
    frames: list[Frame] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        chunk = stream[at : at + size]
        for frame in cutter.cut(chunk):
            if isinstance(frame, Data):
                frame.payload = bytes(frame.payload)
            frames.append(frame)
        at += size
        turn += 1
    return frames


@given(
    st.lists(st.lists(st.integers(0, 60_000), min_size=1, max_size=2), min_size=1, max_size=4),
    st.lists(st.integers(1, 150_000), min_size=1, max_size=6),
    st.integers(0, 2),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_batches_are_the_same_however_they_are_cut(batches: list[list[int]], chunks: list[int], split: int) -> None:
    chunks = [max(size, 500) for size in chunks]
    stream = bytearray(MAGIC)
    first = 0
    for number, sizes in enumerate(batches):
        payload = payload_of(sizes)
        if split and number % 2:  # the sender cuts it, too
            middle = max(9, len(payload) // (split + 1))
            stream += frame_of(payload[:middle], first, more=middle < len(payload))
            if middle < len(payload):
                stream += frame_of(payload[middle:], first)
        else:
            stream += frame_of(payload, first)
        stream += encode(Ack(1, number, 2, 3))
        first += len(sizes)
    window = ReceiveWindow(100, 2**30, None, 2**20)
    received: list[tuple[bytes, int]] = []
    others: list[Frame] = []
    for frame in cut(bytes(stream), chunks):
        if isinstance(frame, Data):
            assert frame.channel == 7
            assert frame.payload
            whole = window.receive(frame.first, frame.payload, more=frame.more)
            received += [whole] if whole is not None else []
        else:
            others.append(frame)
    assert received == [(payload_of(sizes), len(sizes)) for sizes in batches]
    assert others == [Ack(1, number, 2, 3) for number in range(len(batches))]


def test_what_has_come_of_a_large_frame_is_not_held_back() -> None:
    frame = frame_of(payload_of([100_000]), 0)
    cutter = FrameCutter(MAX_FRAME)
    (part,) = cutter.cut(MAGIC + frame[:50_000])
    assert isinstance(part, Data)
    assert part.more
    assert 49_900 < len(part.payload) < 50_000
    (part,) = cutter.cut(frame[50_000:70_000])
    assert isinstance(part, Data)
    assert (part.more, len(part.payload)) == (True, 20_000)
    (part, ack) = cutter.cut(frame[70_000:] + encode(Ack(1, 2, 3, 4)))
    assert isinstance(part, Data)
    assert not part.more
    assert ack == Ack(1, 2, 3, 4)


def test_small_frames_and_frames_with_unknown_fields_come_whole() -> None:
    small = frame_of(payload_of([FRAGMENT // 2]), 0)
    later = frame_of(payload_of([100_000]), 0)
    body = b"\x86" + later[6:] + b"\x00"  # one more field, of a later version
    for frame in (small, head(BYTES, len(body)) + body):
        cutter = FrameCutter(MAX_FRAME)
        assert list(cutter.cut(MAGIC + frame[:-1])) == []
        (whole,) = cutter.cut(frame[-1:])
        assert isinstance(whole, Data)
        assert not whole.more


@pytest.mark.parametrize(
    "body",
    [
        b"\x85\x04\x07\x00\xf4" + head(BYTES, 100_001) + bytes(100_000),  # a payload longer than its frame
        b"\x85\x04\x07\x00\xf4" + head(BYTES, 99_999) + bytes(100_000),  # and a shorter one
        b"\x85\x04\x07\x00\x00" + head(BYTES, 100_000) + bytes(100_000),  # no flag
        b"\x85\x04\x07\xff\xf4" + head(BYTES, 100_000) + bytes(100_000),  # no number
        b"\x85\x04\x07\x00\xf4" + head(3, 100_000) + bytes(100_000),  # no byte string
    ],
)
def test_malformed_large_frames_are_refused(body: bytes) -> None:
    cutter = FrameCutter(MAX_FRAME)
    stream = MAGIC + head(BYTES, len(body)) + body
    assert list(cutter.cut(stream[:50_000])) == []
    with pytest.raises(ProtocolError, match="expected"):
        list(cutter.cut(stream[50_000:]))
